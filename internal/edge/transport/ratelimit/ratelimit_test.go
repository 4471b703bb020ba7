package ratelimit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem-call/tandem/internal/edge/transport/ratelimit"
	"github.com/tandem-call/tandem/wire"
)

type clock struct{ now time.Time }

func (c *clock) time() time.Time { return c.now }

func TestBucketFillsAgain(t *testing.T) {
	c := &clock{time.Unix(0, 0)}
	b := ratelimit.NewBuckets(ratelimit.Policy{Name: "x", Quota: 60, Window: time.Minute}, 10, c.time)
	for i := range 60 {
		if d := b.Take("a"); !d.OK || d.Remaining != 59-i {
			t.Fatalf("request %d: %+v", i, d)
		}
	}
	d := b.Take("a")
	if d.OK || d.Retry != time.Second || d.Full != time.Minute {
		t.Errorf("with an empty bucket: %+v", d)
	}
	if !b.Take("b").OK {
		t.Error("one caller's bucket is another's")
	}
	c.now = c.now.Add(time.Second - time.Nanosecond)
	if b.Take("a").OK {
		t.Error("too early")
	}
	c.now = c.now.Add(time.Nanosecond)
	if !b.Take("a").OK {
		t.Error("Retry promised too much")
	}
	c.now = c.now.Add(-time.Hour) // a clock set back gives and takes nothing
	if b.Take("a").OK {
		t.Error("a clock that goes back fills the bucket")
	}
	if _, denied := b.Stats(); denied != 3 {
		t.Errorf("%d denied", denied)
	}
}

func TestNoLimit(t *testing.T) {
	b := ratelimit.NewBuckets(ratelimit.Policy{Window: time.Minute}, 10, nil)
	for range 1000 {
		if !b.Take("a").OK {
			t.Fatal("a quota of zero limits")
		}
	}
	if keys, _ := b.Stats(); keys != 0 {
		t.Error("keys are counted for nothing")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	c := &clock{time.Unix(0, 0)}
	b := ratelimit.NewBuckets(ratelimit.Policy{Name: "x", Quota: 1, Window: time.Hour}, 100, c.time)
	for i := range 10_000 {
		b.Take(strconv.Itoa(i))
		b.Take("often") // is used, and so not forgotten
	}
	if keys, _ := b.Stats(); keys != 100 {
		t.Errorf("%d keys", keys)
	}
	if b.Take("often").OK {
		t.Error("a key in use was forgotten")
	}
}

// However requests come, no more pass in any stretch of time than the quota and what has
// grown meanwhile; and a refused caller who waits as told passes.
func TestNeverMoreThanItsShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &clock{time.Unix(0, 0)}
		quota := rapid.IntRange(1, 50).Draw(t, "quota")
		b := ratelimit.NewBuckets(ratelimit.Policy{Name: "x", Quota: quota, Window: time.Minute}, 2, c.time)
		passed := 0
		for range rapid.IntRange(1, 300).Draw(t, "requests") {
			c.now = c.now.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "pause")))
			d := b.Take("a")
			if d.OK {
				passed++
			} else if rapid.Bool().Draw(t, "wait") {
				c.now = c.now.Add(d.Retry)
				if !b.Take("a").OK {
					t.Fatalf("refused after waiting %v", d.Retry)
				}
				passed++
			}
			most := float64(quota) + c.now.Sub(time.Unix(0, 0)).Minutes()*float64(quota)
			if float64(passed) > most+1 {
				t.Fatalf("%d passed, at most %v may", passed, most)
			}
		}
	})
}

// limiter is a Limiter whose callers say in headers who they are.
func limiter(c *clock) http.Handler {
	l := ratelimit.New(ratelimit.Config{
		Address: 3, Device: 5, Key: 7, Tenant: 8, Entries: 100, Now: c.time,
		Remote: func(r *http.Request) netip.Addr { a, _ := netip.ParseAddr(r.Header.Get("Addr")); return a },
		Identify: func(r *http.Request) (*http.Request, ratelimit.Who, error) {
			switch kind, id, _ := strings.Cut(r.Header.Get("Who"), " "); kind {
			case "device":
				return r, ratelimit.Who{Tenant: "t", Device: wire.DeviceID(id)}, nil
			case "key":
				return r, ratelimit.Who{Tenant: "t", Key: id}, nil
			case "admin":
				return r, ratelimit.Who{Tenant: "t", Key: id, Free: true}, nil
			case "bad":
				return r, ratelimit.Who{}, errors.New("no good")
			}
			return r, ratelimit.Who{}, nil
		},
	})
	return l.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
}

func ask(h http.Handler, who, addr string) *http.Response {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Who", who)
	r.Header.Set("Addr", addr)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func passes(t *testing.T, h http.Handler, who, addr string) int {
	t.Helper()
	for n := range 100 {
		if ask(h, who, addr).StatusCode == http.StatusTooManyRequests {
			return n
		}
	}
	return 100
}

func TestWhoIsLimitedByWhat(t *testing.T) {
	for name, c := range map[string]struct {
		who, addr string
		want      int
	}{
		"nobody":                {"", "192.0.2.1", 3},
		"bad credentials":       {"bad", "192.0.2.1", 3},
		"mapped":                {"", "::ffff:192.0.2.1", 3},
		"device":                {"device d1", "192.0.2.1", 5},
		"key":                   {"key k1", "192.0.2.1", 7},
		"loopback":              {"", "127.0.0.1", 100},
		"no address":            {"", "", 100},
		"on the machine itself": {"admin admin-socket", "", 100},
	} {
		if got := passes(t, limiter(&clock{time.Unix(0, 0)}), c.who, c.addr); got != c.want {
			t.Errorf("%s: %d requests pass, not %d", name, got, c.want)
		}
	}
	// an IPv6 subscriber has a /64
	h := limiter(&clock{time.Unix(0, 0)})
	for i := range 3 {
		ask(h, "", fmt.Sprintf("2001:db8::%d", i))
	}
	if ask(h, "", "2001:db8::ffff").StatusCode != 429 || ask(h, "", "2001:db8:0:1::1").StatusCode == 429 {
		t.Error("an IPv6 address does not count with its /64")
	}
	// the tenant's share is all its devices'
	h = limiter(&clock{time.Unix(0, 0)})
	if n := passes(t, h, "device d1", "") + passes(t, h, "device d2", "") + passes(t, h, "key k1", ""); n != 8 {
		t.Errorf("%d requests of one tenant pass, not 8", n)
	}
	// a stranger's flood does not touch those who have credentials
	h = limiter(&clock{time.Unix(0, 0)})
	passes(t, h, "bad", "192.0.2.1")
	if ask(h, "device d1", "192.0.2.1").StatusCode == 429 {
		t.Error("a device pays for a neighbour's guesses")
	}
}

func TestHeadersTell(t *testing.T) {
	c := &clock{time.Unix(0, 0)}
	h := limiter(c)
	res := ask(h, "device d1", "")
	if p, l := res.Header.Get("RateLimit-Policy"), res.Header.Get("RateLimit"); p != `"device";q=5;w=60, "tenant";q=8;w=60` || l != `"device";r=4;t=12, "tenant";r=7;t=8` {
		t.Errorf("policy %s, limit %s", p, l)
	}
	passes(t, h, "device d1", "")
	res = ask(h, "device d1", "")
	var p wire.Problem
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 429 || p.Code != wire.CodeTooMany || p.RetryAfterSeconds != 12 || res.Header.Get("Retry-After") != "12" ||
		res.Header.Get("Content-Type") != "application/problem+json" || !strings.HasPrefix(res.Header.Get("RateLimit"), `"device";r=0;t=60`) {
		t.Errorf("%d %v %+v", res.StatusCode, res.Header, p)
	}
	c.now = c.now.Add(12 * time.Second)
	if ask(h, "device d1", "").StatusCode == 429 {
		t.Error("Retry-After promised too much")
	}
}

func BenchmarkTake(b *testing.B) {
	l := ratelimit.NewBuckets(ratelimit.Policy{Name: "x", Quota: 1 << 30, Window: time.Minute}, 10_000, nil)
	keys := make([]string, 20_000)
	for i := range keys {
		keys[i] = "tenant/dev_" + strconv.Itoa(i)
	}
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			l.Take(keys[i%len(keys)])
		}
	})
}
