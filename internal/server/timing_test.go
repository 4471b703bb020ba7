//go:build !race

package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/tel"
)

// Timing: who reports a call, or asks for a code, must not learn from the time that the
// answer takes what the answer itself does not tell (DESIGN section 3). ranks_test.go says
// how it is decided. The tests ask as many questions as this machine answers in a few
// seconds; the benchmarks ask more than 10,000:
//
//	go test -run '^$' -bench Timing -benchtime 1x ./internal/server

// budget is how long the rounds of a test should take together, however fast the machine is.
const budget = 6 * time.Second

// Questions of each kind in a round: fewer tell too little, more are of no use to a test.
const fewest, most = 50, 200

// asker asks the questions of a block: none has so many calls that their number counts.
type asker struct {
	number tel.Number
	token  string
}

// kind is a kind of question: it is about a number of which something is so.
type kind struct {
	name    string
	prepare func(by asker, about tel.Number) error
}

// probing asks questions. Each is about a number that was not used before.
type probing struct {
	t     testing.TB
	kinds []kind
	asker func(tel.Number) (asker, error)
	ask   func(ctx context.Context, by asker, kind string, about tel.Number) (*http.Request, error)
	used  int
}

func (p *probing) fresh() tel.Number {
	p.used++
	n, err := tel.ParseNumber(fmt.Sprintf("+4420%08d", 80_000_000+p.used), "")
	check(p.t, err)
	return n
}

// question and how long its answer took, in milliseconds.
type question struct {
	kind
	by    *asker
	about tel.Number
	took  float64
}

// round asks n blocks, several questions at the same time: a server is not asked by one
// alone.
func (p *probing) round(n int) times {
	p.t.Helper()
	all := p.prepared(n)
	var g errgroup.Group
	var next atomic.Int64
	for range 4 {
		hc := clientOf(p.t, nil)
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(all) {
					return nil
				}
				q := &all[i]
				req, err := p.ask(p.t.Context(), *q.by, q.name, q.about)
				if err != nil {
					return err
				}
				took, err := timed(hc, req)
				if err != nil {
					return fmt.Errorf("%s: %w", q.name, err)
				}
				q.took = float64(took) / float64(time.Millisecond)
			}
		})
	}
	check(p.t, g.Wait())
	x := times{}
	for block := range slices.Chunk(all, len(p.kinds)) {
		b := map[string]float64{}
		for _, q := range block {
			b[q.name] = q.took
		}
		x.add(b)
	}
	return x
}

// prepared makes the questions of n blocks, and makes true what they are about.
func (p *probing) prepared(n int) (all []question) {
	p.t.Helper()
	var blocks errgroup.Group
	blocks.SetLimit(16) // they wait for one another's writes
	for range n {
		by, number := new(asker), p.fresh()
		first := len(all)
		for _, k := range rand.Perm(len(p.kinds)) {
			all = append(all, question{kind: p.kinds[k], by: by, about: p.fresh()})
		}
		block := slices.Clone(all[first:])
		blocks.Go(func() (err error) {
			*by, err = p.asker(number)
			for _, q := range block {
				if err == nil {
					err = q.prepare(*by, q.about)
				}
			}
			return err
		})
	}
	check(p.t, blocks.Wait())
	return all
}

// timed makes a request, and returns how long its answer took.
func timed(hc *http.Client, req *http.Request) (time.Duration, error) {
	began := time.Now()
	res, err := hc.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	took := time.Since(began)
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("%d %s", res.StatusCode, body)
	}
	return took, err
}

// warmUp asks a few questions, which do not count: connections and caches warm up. It
// returns how many of each kind a round should ask, and the spread of the times.
func (p *probing) warmUp() (n int, spread float64) {
	p.t.Helper()
	const few = 10
	began := time.Now()
	x := p.round(few)
	each := time.Since(began) / few
	n = min(max(int(budget/rounds/each), fewest), most)
	p.t.Logf("%d questions of each kind take %v; the middle half of the times spreads over %.2f ms", n, each*time.Duration(n), x.spread())
	return n, x.spread()
}

// oracles decides.
func (p *probing) oracles() map[edge][]float64 {
	p.t.Helper()
	n, _ := p.warmUp()
	return oracles(func() times { return p.round(n) })
}

// measure asks more than 10,000 questions and reports the largest edge.
func (p *probing) measure(b *testing.B) {
	b.Helper()
	for b.Loop() {
		x := times{}
		for asked := 0; asked < 10_000; asked += 100 * len(p.kinds) {
			for kind, more := range p.round(100) { // tokens are fresh in each
				x[kind] = append(x[kind], more...)
			}
		}
		largest := 0.0
		for e, v := range x.edges() {
			largest = max(largest, v)
			if v > tolerated {
				b.Errorf("an oracle: %v: %+.3f", e, v)
			}
			if v > 0 {
				b.Logf("%q takes longer than %q: %+.3f", e.a, e.b, v)
			}
		}
		b.ReportMetric(largest, "edge")
		b.ReportMetric(x.chance(), "edge-by-chance")
	}
}

// timingWorld is a server that does nothing by itself while it is measured, and does not
// wait for the disk, which would only hide differences.
func timingWorld(t testing.TB, more ...func(*server.Config)) *world {
	return newWorld(t, append([]func(*server.Config){func(c *server.Config) {
		c.Engine.Durability = "relaxed"
		c.Calls.InviteDelay = time.Hour
		c.Limits.AddressPerMinute, c.Limits.DevicePerMinute, c.Limits.KeyPerMinute = 0, 0, 0
		c.Limits.DeviceReportsPerMinute, c.Limits.ElementReportsPerMinute, c.Limits.PairReportsPerMinute = 0, 0, 0
	}}, more...)...)
}

// enrolled binds a fresh device to a number.
func enrolled(w *world, past server.Past, n tel.Number) (asker, error) {
	fresh, err := client.NewIdentity(w.url())
	if err != nil {
		return asker{}, err
	}
	_, token, err := past.Enrol(w.ctx, n, fresh.PublicKey())
	return asker{n, token}, err
}

const nobody = "no such party"

// reports asks by reporting calls with a number, at the server or what stands in front of it.
func reports(t testing.TB, w *world, url string) *probing {
	t.Helper()
	past, err := w.server.At(w.ctx, time.Now().Add(-time.Minute))
	check(t, err)
	someone, err := tel.ParseNumber(dave, "")
	check(t, err)
	type step = func(by asker, about tel.Number) error
	also := func(steps ...step) step {
		return func(by asker, about tel.Number) error {
			_, err := enrolled(w, past, about)
			for _, step := range steps {
				err = errors.Join(err, step(by, about))
			}
			return err
		}
	}
	with := func(state tel.State, ref string) step {
		return func(by asker, about tel.Number) error { return past.Report(w.ctx, about, by.number, state, ref) }
	}
	return &probing{
		t: t,
		kinds: []kind{
			{nobody, func(asker, tel.Number) error { return nil }},
			{"no such call", also()},
			{"in a call with another", also(func(_ asker, about tel.Number) error { return past.Report(w.ctx, about, someone, tel.Active, "x") })},
			{"not yet: it rings", also(with(tel.Ringing, "x"))},
			{"ambiguous: it has two", also(with(tel.Active, "x"), with(tel.Active, "y"))},
			{"it has blocked the caller", also(func(by asker, about tel.Number) error { return past.Block(w.ctx, about, by.number) })},
			{"barred by the operator", also(func(_ asker, about tel.Number) error { return past.Bar(w.ctx, about) })},
		},
		asker: func(n tel.Number) (asker, error) { return enrolled(w, past, n) },
		ask: func(ctx context.Context, by asker, kind string, about tel.Number) (*http.Request, error) {
			r, err := http.NewRequestWithContext(ctx, "POST", url+"/v1/reports", strings.NewReader(report(about.String(), "outgoing", "active", "c")))
			if err == nil {
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Authorization", "Bearer "+by.token)
				r.Header.Set("Kind", kind) // the server does not look at it
			}
			return r, err
		},
	}
}

// enrolments asks by asking for codes. The gateway takes its time, as gateways do.
func enrolments(t testing.TB) *probing {
	t.Helper()
	gateway := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		time.Sleep(time.Duration(5+rand.IntN(5)) * time.Millisecond)
	}))
	t.Cleanup(gateway.Close)
	w := timingWorld(t, func(c *server.Config) { c.Codes.Sender, c.Codes.URL = "webhook", gateway.URL })
	past, err := w.server.At(w.ctx, time.Now().Add(-time.Minute))
	check(t, err)
	fresh, err := client.NewIdentity(w.url())
	check(t, err)
	k := fresh.PublicKey()
	known := func(_ asker, about tel.Number) error { _, err := enrolled(w, past, about); return err }
	return &probing{
		t: t,
		kinds: []kind{
			{"an unknown number", func(asker, tel.Number) error { return nil }},
			{"a known number", known},
			{"a barred number", func(by asker, about tel.Number) error { return errors.Join(known(by, about), past.Bar(w.ctx, about)) }},
		},
		asker: func(n tel.Number) (asker, error) { return asker{number: n}, nil },
		ask: func(ctx context.Context, by asker, _ string, about tel.Number) (*http.Request, error) {
			body := fmt.Sprintf(`{"number":%q,"key":{"kty":"EC","crv":"P-256","x":%q,"y":%q}}`, about.String(), k.X, k.Y)
			r, err := http.NewRequestWithContext(ctx, "POST", w.url()+"/v1/enrolments", strings.NewReader(body))
			if err == nil {
				digits := by.number.String()
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("X-Forwarded-For", "2001:db8:"+digits[len(digits)-4:]+"::1") // each asker has an address
			}
			return r, err
		},
	}
}

// TestTimingOfReports: the time of the answer to a report tells nothing of the other party.
func TestTimingOfReports(t *testing.T) {
	w := timingWorld(t)
	for e, v := range reports(t, w, w.url()).oracles() {
		t.Errorf("an oracle: %q takes longer than %q: %.2f", e.a, e.b, v)
	}
}

// TestTimingOfEnrolment: the time until a code is said to be on its way tells nothing of the
// number, though a barred one is sent none and the gateway takes its time.
func TestTimingOfEnrolment(t *testing.T) {
	for e, v := range enrolments(t).oracles() {
		t.Errorf("an oracle: %q takes longer than %q: %.2f", e.a, e.b, v)
	}
}

// TestTimingFindsAnOracle: the same decision finds one that is planted: 3 ms for numbers
// that nobody has, or where the machine is too busy for that to be seen, three times the
// spread of the times.
func TestTimingFindsAnOracle(t *testing.T) {
	w := timingWorld(t)
	var delay atomic.Int64
	planted := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		w.server.Handler().ServeHTTP(rec, r)
		if r.Header.Get("Kind") == nobody {
			time.Sleep(time.Duration(delay.Load()))
		}
		rw.WriteHeader(rec.Code)
	}))
	defer planted.Close()
	p := reports(t, w, planted.URL)
	n, spread := p.warmUp()
	for range 3 { // the load may have changed since
		found := oracles(func() times {
			delay.Store(int64(max(3, 3*spread) * float64(time.Millisecond)))
			x := p.round(n)
			spread = x.spread()
			return x
		})
		for e, v := range found {
			t.Logf("%q takes longer than %q: %.2f", e.a, e.b, v)
			if e.a != nobody {
				t.Error("nothing was planted there")
			}
		}
		if len(found) > 0 {
			return
		}
	}
	t.Errorf("an oracle of %v was planted, and not found", time.Duration(delay.Load()))
}

// BenchmarkTimingOfReports measures over more than 10,000 reports.
func BenchmarkTimingOfReports(b *testing.B) {
	w := timingWorld(b)
	reports(b, w, w.url()).measure(b)
}

// BenchmarkTimingOfEnrolment measures over more than 10,000 requests for codes.
func BenchmarkTimingOfEnrolment(b *testing.B) { enrolments(b).measure(b) }
