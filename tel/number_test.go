package tel_test

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tandem-call/tandem/tel"
)

func TestParseNumber(t *testing.T) {
	for _, tt := range []struct{ name, in, region, want string }{
		{"canonical", "+442079460001", "", "+442079460001"},
		{"spaces", "+44 20 7946 0001", "", "+442079460001"},
		{"national with region", "020 7946 0001", "GB", "+442079460001"},
		{"region in lower case", "020 7946 0001", "gb", "+442079460001"},
		{"international prefix with region", "00 44 20 7946 0001", "DE", "+442079460001"},
		{"plus wins over region", "+44 20 7946 0001", "US", "+442079460001"},
		{"trunk zero in brackets", "+44 (0)20 7946 0001", "", "+442079460001"},
		{"points and brackets", "(202) 555.0100", "US", "+12025550100"},
		{"no-break spaces", "+44\u00a020\u202f7946\u20090001", "", "+442079460001"},
		{"unicode dashes", "+1‑202–555—0100", "", "+12025550100"},
		{"direction marks of an address book", "\u202a+44 20 7946 0001\u202c", "", "+442079460001"},
		{"full-width digits", "＋１２０２５５５０１００", "", "+12025550100"},
		{"arabic digits", "+٤٤٢٠٧٩٤٦٠٠٠١", "", "+442079460001"},
		{"zero kept in Italy", "+39 06 698 12345", "", "+390669812345"},
		{"freephone of no country", "+800 1234 5678", "", "+80012345678"},
		{"surrounding space", "  +442079460001\n", "", "+442079460001"},
		{"tel URI", "tel:+44-20-7946-0001", "", "+442079460001"},
		{"tel URI in upper case", "TEL:+442079460001", "", "+442079460001"},
		{"tel URI with extension", "tel:+44-20-7946-0001;ext=4711", "", "+442079460001"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, err := tel.ParseNumber(tt.in, tt.region)
			if err != nil || n.String() != tt.want {
				t.Errorf("ParseNumber(%q, %q) = %q, %v; want %q", tt.in, tt.region, n, err, tt.want)
			}
		})
	}
}

func TestParseNumberRefuses(t *testing.T) {
	for _, tt := range []struct{ name, in, region, why string }{
		{"empty", "", "", "no country code"},
		{"only a plus", "+", "", "too few"},
		{"national without region", "020 7946 0001", "", "no country code"},
		{"unknown region", "020 7946 0001", "XX", "unknown region"},
		{"letters", "+1 800 FLOWERS", "", "letters"},
		{"extension in words", "+44 20 7946 0001 ext 5", "", "letters"},
		{"two numbers", "+442079460001, +442079460002", "", "','"},
		{"plus in the middle", "44+2079460001", "", "'+'"},
		{"no such country", "+999 123 456", "", "no country"},
		{"too short", "+1 911", "", "wrong length"},
		{"local only", "+44 7946 0001", "", "wrong length"},
		{"too long for anybody", "+1" + strings.Repeat("2", 20), "", "too few or too many"},
		{"endless", "+" + strings.Repeat("1", 100), "", "longer than 64"},
		{"not UTF-8", "+44\xff20", "", "UTF-8"},
		{"null", "+44\x0020", "", "holds"},
		{"markup", "<b>+442079460001", "", "holds"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, err := tel.ParseNumber(tt.in, tt.region)
			if !errors.Is(err, tel.ErrNumber) || !n.IsZero() {
				t.Fatalf("ParseNumber(%q, %q) = %q, %v; want ErrNumber", tt.in, tt.region, n, err)
			}
			if !strings.Contains(err.Error(), tt.why) {
				t.Errorf("error %q does not say %q", err, tt.why)
			}
		})
	}
}

func TestParseURI(t *testing.T) {
	for _, tt := range []struct {
		name, in  string
		number    string
		ext, isub string
		why       string
	}{
		{name: "global", in: "tel:+44-20-7946-0001", number: "+442079460001"},
		{name: "all separators", in: "tel:+44.(20)-7946-0001", number: "+442079460001"},
		{name: "extension", in: "tel:+442079460001;ext=47-11", number: "+442079460001", ext: "4711"},
		{name: "subaddress", in: "tel:+442079460001;isub=12%2034", number: "+442079460001", isub: "12%2034"},
		{name: "unknown parameters", in: "tel:+442079460001;x-carrier=a+b;flag", number: "+442079460001"},
		{name: "parameter names in any case", in: "tel:+442079460001;EXT=5", number: "+442079460001", ext: "5"},
		{name: "country as context", in: "tel:2079460001;phone-context=+44", number: "+442079460001"},
		{name: "country as context, trunk zero", in: "tel:020-7946-0001;phone-context=+44", number: "+442079460001"},
		{name: "town as context", in: "tel:7946-0001;phone-context=+44-20", number: "+442079460001"},
		{name: "area as context", in: "tel:863-1234;phone-context=+1-914", number: "+19148631234"},
		{name: "context on a global number", in: "tel:+442079460001;phone-context=+1", number: "+442079460001"},

		{name: "no scheme", in: "+442079460001", why: "does not begin with tel:"},
		{name: "empty", in: "tel:", why: "digits"},
		{name: "space", in: "tel:+44 20 7946 0001", why: "separators"},
		{name: "local without context", in: "tel:7042", why: "phone-context"},
		{name: "private context", in: "tel:7042;phone-context=example.com", why: "private network"},
		{name: "empty context", in: "tel:7042;phone-context=", why: "nothing"},
		{name: "context without a value", in: "tel:7042;phone-context", why: "phone-context is empty"},
		{name: "emergency is no global number", in: "tel:911;phone-context=+1", why: "no global number"},
		{name: "context too long", in: "tel:863-1234;phone-context=+1-914-555", why: "no global number"},
		{name: "other country's area", in: "tel:207-946-0001;phone-context=+1-914", why: "no global number"},
		{name: "context of digits only", in: "tel:7042;phone-context=44", why: "private network"},
		{name: "dialling string", in: "tel:*21*7042#;phone-context=+44", why: "no global number"},
		{name: "repeated parameter", in: "tel:+442079460001;ext=1;ext=2", why: "twice"},
		{name: "extension with letters", in: "tel:+442079460001;ext=x", why: "extension"},
		{name: "extension of separators", in: "tel:+442079460001;ext=--", why: "extension"},
		{name: "empty subaddress", in: "tel:+442079460001;isub", why: "subaddress"},
		{name: "parameter without a name", in: "tel:+442079460001;=1", why: "name"},
		{name: "markup in a parameter", in: "tel:+442079460001;x=<b>", why: "escaped"},
		{name: "endless", in: "tel:+44;x=" + strings.Repeat("1", 600), why: "longer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u, err := tel.ParseURI(tt.in)
			if tt.why != "" {
				if !errors.Is(err, tel.ErrNumber) || !strings.Contains(err.Error(), tt.why) {
					t.Fatalf("ParseURI(%q) = %+v, %v; want ErrNumber saying %q", tt.in, u, err, tt.why)
				}
				return
			}
			if err != nil || u.Number.String() != tt.number || u.Extension != tt.ext || u.Subaddress != tt.isub {
				t.Errorf("ParseURI(%q) = %+v, %v", tt.in, u, err)
			}
		})
	}
}

func TestNumberRegion(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"one country", "+442079460001", "GB"},
		{"shared country code", "+1 204 234 5678", "CA"},
		{"unassigned, one country", "+49 1000 1234567", "DE"},
		{"unassigned, shared country code", "+1 100 234 5678", ""},
		{"no country", "+80012345678", ""},
		{"zero", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var n tel.Number
			if tt.in != "" {
				n = number(t, tt.in)
			}
			if got := n.Region(); got != tt.want {
				t.Errorf("Region of %s = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestNumberMask(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"usual", "+442079460001", "+44…01"},
		{"short", "+290 21234", "+29…"},
		{"zero", "", "none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var n tel.Number
			if tt.in != "" {
				n = number(t, tt.in)
			}
			if got := n.Mask(); got != tt.want || n.LogValue().String() != tt.want {
				t.Errorf("Mask of %s = %q, LogValue %q, want %q", tt.in, got, n.LogValue(), tt.want)
			}
		})
	}
}

func TestNumberJSON(t *testing.T) {
	type box struct {
		N tel.Number `json:"n"`
	}
	var b box
	if err := json.Unmarshal([]byte(`{"n":"tel:+44-20-7946-0001"}`), &b); err != nil {
		t.Fatal(err)
	}
	if b.N != number(t, "+442079460001") {
		t.Errorf("not canonical after decoding: %q", b.N)
	}
	if out, err := json.Marshal(b); err != nil || string(out) != `{"n":"+442079460001"}` {
		t.Errorf("encoded as %s, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"n":""}`), &b); err != nil || !b.N.IsZero() {
		t.Errorf("empty text gives %q, %v", b.N, err)
	}
	b.N = number(t, "+442079460001")
	if err := json.Unmarshal([]byte(`{"n":"020 7946 0001"}`), &b); !errors.Is(err, tel.ErrNumber) {
		t.Errorf("a national number is taken: %v", err)
	} else if b.N != number(t, "+442079460001") {
		t.Error("a failed decoding changed the number")
	}
}

// Every number reads as itself, however often, and in every way it may be printed.
func TestNumberIsCanonical(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		raw := rapid.StringMatching(`\+[1-9][0-9]{2,16}`).Draw(rt, "raw")
		n, err := tel.ParseNumber(raw, "")
		if err != nil {
			return
		}
		var printed strings.Builder
		for i, c := range n.String() {
			printed.WriteRune(c)
			if i > 0 {
				printed.WriteString(rapid.SampledFrom([]string{"", " ", "-", ".", "\u00a0"}).Draw(rt, "separator"))
			}
		}
		for _, s := range []string{n.String(), printed.String(), "tel:" + n.String()} {
			if again, err := tel.ParseNumber(s, ""); err != nil || again != n {
				rt.Fatalf("%q reads as %q, %v; want %q", s, again, err, n)
			}
		}
	})
}

func FuzzParseNumber(f *testing.F) {
	for _, s := range []string{"+442079460001", "020 7946 0001", "tel:7946-0001;phone-context=+44-20", "+44 (0)20 7946 0001",
		"tel:+1-202-555-0100;ext=5;isub=1", "＋１２０２５５５０１００", "+5491123456789", "+3906698", "+\xff", "tel:*21#;phone-context=+1"} {
		f.Add(s, "")
		f.Add(s, "GB")
	}
	f.Fuzz(func(t *testing.T, raw, region string) {
		n, err := tel.ParseNumber(raw, region)
		if err != nil {
			if !errors.Is(err, tel.ErrNumber) || !n.IsZero() {
				t.Fatalf("ParseNumber(%q, %q) = %q, %v", raw, region, n, err)
			}
			safe(t, raw, err)
			return
		}
		if s := n.String(); s[0] != '+' || len(s) > 16 || strings.Trim(s[1:], "0123456789") != "" {
			t.Fatalf("ParseNumber(%q, %q) = %q, which is not E.164", raw, region, s)
		}
		if again, err := tel.ParseNumber(n.String(), ""); err != nil || again != n {
			t.Fatalf("%q reads as %q, %v", n, again, err)
		}
		if m := n.Mask(); len(m) > len("+44…01") || m == n.String() {
			t.Fatalf("mask %q of %q", m, n)
		}
	})
}

func BenchmarkParseNumber(b *testing.B) {
	b.Run("seen before", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := tel.ParseNumber("+442079460001", ""); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("printed", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := tel.ParseNumber("+44 20 7946 0001", ""); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func number(t testing.TB, s string) tel.Number {
	t.Helper()
	n, err := tel.ParseNumber(s, "")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

var escapes = regexp.MustCompile(`\\(\\|x..|u....|U........)`)

// safe fails if an error shows control characters, raw bytes, or a run of digits out of
// the input that could be a number.
func safe(t testing.TB, raw string, err error) {
	t.Helper()
	digits := 0
	for _, r := range escapes.ReplaceAllString(err.Error(), ".") {
		if r == '\ufffd' || r < ' ' || r == 0x7f || r >= 0x80 && r != '…' {
			t.Fatalf("error for %q holds %+q: %q", raw, r, err)
		}
		if digits++; r < '0' || r > '9' {
			digits = 0
		}
		if digits > 5 {
			t.Fatalf("error shows too much of %q: %v", raw, err)
		}
	}
}
