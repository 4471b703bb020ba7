package natsstore

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// legalKey is what the key-value clients of NATS take.
var legalKey = regexp.MustCompile(`^[-/_=.a-zA-Z0-9]+$`)

var anyName = rapid.StringOfN(rapid.RuneFrom([]rune("abdepZ09_=+.-/")), 1, 20, -1)

func TestNamesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyName.Draw(t, "name")
		s, err := subject(in)
		if err != nil {
			t.Fatalf("%q: %v", in, err)
		}
		if name(s) != in {
			t.Fatalf("%q became %q and %q", in, s, name(s))
		}
		if !legalKey.MatchString(s) || strings.HasPrefix(s, ".") || strings.HasSuffix(s, ".") || strings.Contains(s, "..") {
			t.Fatalf("%q became %q, which NATS does not take", in, s)
		}
	})
}

// TestFilterCovers checks that a scan's filter covers the keys that begin with its prefix.
func TestFilterCovers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := anyName.Draw(t, "key")
		prefix := key[:rapid.IntRange(0, len(key)).Draw(t, "length")]
		filter, err := scanFilter(prefix)
		if err != nil {
			t.Fatal(err)
		}
		s, err := subject(key)
		if err != nil {
			t.Fatal(err)
		}
		if root := strings.TrimSuffix(filter, ">"); !strings.HasPrefix(s, root) || len(s) == len(root) {
			t.Fatalf("filter %q for prefix %q does not cover %q of key %q", filter, prefix, s, key)
		}
	})
}

func TestBucketNamesDiffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyName.Draw(t, "a"), anyName.Draw(t, "b")
		x, err := bucketName("p", a)
		if err != nil {
			t.Fatal(err)
		}
		if y, _ := bucketName("p", b); (a == b) != (x == y) {
			t.Fatalf("tables %q and %q are in buckets %q and %q", a, b, x, y)
		}
	})
}

func TestBadNames(t *testing.T) {
	for _, bad := range []string{"", "a b", "a*", ">", "a\r\nPUB x", "é", strings.Repeat("x", maxName+1)} {
		if s, err := subject(bad); err == nil {
			t.Errorf("%.20q became %.20q", bad, s)
		}
	}
	for _, bad := range []string{"", "a b", "*", "é"} {
		if s, err := bucketName("p", bad); err == nil {
			t.Errorf("%q became %q", bad, s)
		}
	}
	long := strings.Repeat("x", 300)
	if s, err := bucketName("p", long); err != nil || len(s) > maxBucket {
		t.Errorf("long table name: %q, %v", s, err)
	}
}
