//go:build !race

package server_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/tel"
)

// Timing: who reports a call, or asks for a code, must not learn from the time that the
// answer takes what the answer itself does not tell (DESIGN section 3).
//
// Requests of all classes come one after the other in random order, so whatever else the
// machine does meets all alike: under the hypothesis that the classes do not differ, each
// order of the times is equally likely, on a busy machine too. Of each two classes the
// test computes the Mann-Whitney statistic as the probability that a request of the one
// takes longer than one of the other: 0.5 if the times tell nothing. By chance alone it
// deviates by 1/sqrt(6n) with n requests in each class. An oracle is what deviates by
// more than maxEdge.

// maxEdge is the most that an observer may gain over guessing, from one answer.
const maxEdge = 0.05

// probe asks one question of a class.
type probe func() (*http.Request, error)

// askers ask at the same time: a server is not asked by one alone.
const askers = 10

// measure asks all questions in random order and returns the times by class, in
// nanoseconds. Each class's first tenth is not counted: connections and caches warm up.
func measure(t *testing.T, classes map[string][]probe) map[string][]float64 {
	t.Helper()
	type question struct {
		class string
		ask   probe
	}
	var warm, all []question
	for class, probes := range classes {
		for i, p := range probes {
			if i < len(probes)/10 {
				warm = append(warm, question{class, p})
			} else {
				all = append(all, question{class, p})
			}
		}
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	ask := func(hc *http.Client, q question) (time.Duration, error) {
		req, err := q.ask()
		if err != nil {
			return 0, err
		}
		began := time.Now()
		res, err := hc.Do(req)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		took := time.Since(began)
		if err == nil && res.StatusCode/100 != 2 {
			err = fmt.Errorf("%s: %d %s", q.class, res.StatusCode, body)
		}
		return took, err
	}
	times := map[string][]float64{}
	var mu sync.Mutex
	var g errgroup.Group
	var next atomic.Int64
	order := append(warm, all...)
	for range askers {
		hc := clientOf(t, nil)
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(order) {
					return nil
				}
				took, err := ask(hc, order[i])
				if err != nil {
					return err
				}
				if i >= len(warm) {
					mu.Lock()
					times[order[i].class] = append(times[order[i].class], float64(took))
					mu.Unlock()
				}
			}
		})
	}
	check(t, g.Wait())
	return times
}

// longer is the probability that a value of a is greater than one of b: the Mann-Whitney U
// divided by the number of pairs.
func longer(a, b []float64) float64 {
	type value struct {
		v     float64
		fromA bool
	}
	all := make([]value, 0, len(a)+len(b))
	for _, v := range a {
		all = append(all, value{v, true})
	}
	for _, v := range b {
		all = append(all, value{v, false})
	}
	slices.SortFunc(all, func(x, y value) int { return int(math.Copysign(1, x.v-y.v)) * btoi(x.v != y.v) })
	ranks := 0.0
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j].v == all[i].v {
			j++
		}
		for k := i; k < j; k++ {
			if all[k].fromA {
				ranks += float64(i+j+1) / 2 // ties share their ranks
			}
		}
		i = j
	}
	n := float64(len(a))
	return (ranks - n*(n+1)/2) / (n * float64(len(b)))
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// oracles are the pairs of classes that times tell apart.
func oracles(t *testing.T, times map[string][]float64) (found []string) {
	t.Helper()
	var names []string
	for class := range times {
		names = append(names, class)
	}
	slices.Sort(names)
	for i, a := range names {
		for _, b := range names[i+1:] {
			edge := longer(times[a], times[b]) - 0.5
			line := fmt.Sprintf("%q against %q: %+.3f (by chance ±%.3f)", a, b, edge, 1/math.Sqrt(6*float64(min(len(times[a]), len(times[b])))))
			t.Log(line)
			if math.Abs(edge) > maxEdge {
				found = append(found, line)
			}
		}
	}
	return found
}

func TestRanks(t *testing.T) {
	for _, c := range []struct {
		a, b []float64
		want float64
	}{
		{[]float64{1, 2}, []float64{3, 4}, 0},
		{[]float64{3, 4}, []float64{1, 2}, 1},
		{[]float64{1, 3}, []float64{2, 4}, 0.25},
		{[]float64{1, 1}, []float64{1, 1}, 0.5},
		{[]float64{1, 2, 2}, []float64{2}, 1.0 / 3},
	} {
		if got := longer(c.a, c.b); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%v, %v: %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

// timingWorld is a server that does nothing by itself while it is measured, and does not
// wait for the disk, which would only hide differences.
func timingWorld(t *testing.T, more ...func(*server.Config)) *world {
	return newWorld(t, append([]func(*server.Config){func(c *server.Config) {
		c.Engine.Durability = "relaxed"
		c.Calls.InviteDelay = time.Hour
		c.Limits.AddressPerMinute, c.Limits.DevicePerMinute, c.Limits.KeyPerMinute = 0, 0, 0
		c.Limits.DeviceReportsPerMinute, c.Limits.ElementReportsPerMinute, c.Limits.PairReportsPerMinute = 0, 0, 0
	}}, more...)...)
}

// numbers hands out numbers that were not used before.
type numbers struct{ n atomic.Int64 }

func (x *numbers) next(t *testing.T) tel.Number {
	n, err := tel.ParseNumber(fmt.Sprintf("+4420%08d", 80_000_000+x.n.Add(1)), "")
	check(t, err)
	return n
}

// prepared makes n probes of each class, in the order of their numbers.
func prepared(t *testing.T, n int, ask func(tel.Number) probe, classes map[string]func(tel.Number) error) map[string][]probe {
	t.Helper()
	var all numbers
	made := map[string][]probe{}
	for class, prepare := range classes {
		made[class] = make([]probe, n)
		var g errgroup.Group
		g.SetLimit(16) // they wait for one another's writes
		for i := range made[class] {
			number := all.next(t)
			made[class][i] = ask(number)
			g.Go(func() error { return prepare(number) })
		}
		check(t, g.Wait())
	}
	return made
}

// enrolled binds a fresh device to a number.
func enrolled(w *world, past server.Past, n tel.Number) error {
	fresh, err := client.NewIdentity(w.url())
	if err == nil {
		_, _, err = past.Enrol(w.ctx, n, fresh.PublicKey())
	}
	return err
}

// reportProbes prepares n questions of each class: a device reports a call with a number of
// which this or that is so.
func reportProbes(t *testing.T, w *world, url string, n int) map[string][]probe {
	t.Helper()
	me := w.enrol(alice)
	token := w.token(me)
	past, err := w.server.At(w.ctx, time.Now().Add(-time.Minute))
	check(t, err)
	someone, err := tel.ParseNumber(dave, "")
	check(t, err)
	ask := func(other tel.Number) probe {
		body := []byte(report(other.String(), "outgoing", "active", "c"))
		return func() (*http.Request, error) {
			r, err := http.NewRequestWithContext(w.ctx, "POST", url+"/v1/reports", bytes.NewReader(body))
			if err == nil {
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Authorization", "Bearer "+token)
			}
			return r, err
		}
	}
	also := func(steps ...func(tel.Number) error) func(tel.Number) error {
		return func(n tel.Number) error {
			err := enrolled(w, past, n)
			for _, step := range steps {
				err = errors.Join(err, step(n))
			}
			return err
		}
	}
	in := func(other tel.Number, state tel.State, ref string) func(tel.Number) error {
		return func(n tel.Number) error { return past.Report(w.ctx, n, other, state, ref) }
	}
	return prepared(t, n, ask, map[string]func(tel.Number) error{
		"no such party":             func(tel.Number) error { return nil },
		"no such call":              also(),
		"in a call with another":    also(in(someone, tel.Active, "x")),
		"not yet: it rings":         also(in(me.Number, tel.Ringing, "x")),
		"ambiguous: it has two":     also(in(me.Number, tel.Active, "x"), in(me.Number, tel.Active, "y")),
		"it has blocked the caller": also(func(n tel.Number) error { return past.Block(w.ctx, n, me.Number) }),
		"barred by the operator":    also(func(n tel.Number) error { return past.Bar(w.ctx, n) }),
	})
}

// perClass makes more than 10,000 questions that count, of seven classes.
const perClass = 1600

// TestTimingOfReports: over 10,000 reports, their times tell nothing.
func TestTimingOfReports(t *testing.T) {
	w := timingWorld(t)
	for _, o := range oracles(t, measure(t, reportProbes(t, w, w.url(), perClass))) {
		t.Errorf("an oracle: %s", o)
	}
}

// TestTimingOfEnrolment: the time until a code is said to be on its way tells nothing of the
// number, though a barred one is sent none and the gateway takes its time.
func TestTimingOfEnrolment(t *testing.T) {
	gateway := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		time.Sleep(time.Duration(5+rand.IntN(5)) * time.Millisecond) // as a gateway does
	}))
	defer gateway.Close()
	w := timingWorld(t, func(c *server.Config) { c.Codes.Sender, c.Codes.URL = "webhook", gateway.URL })
	past, err := w.server.At(w.ctx, time.Now().Add(-time.Minute))
	check(t, err)
	fresh, err := client.NewIdentity(w.url())
	check(t, err)
	k := fresh.PublicKey()
	var addresses atomic.Int64
	ask := func(n tel.Number) probe {
		body := []byte(fmt.Sprintf(`{"number":%q,"key":{"kty":"EC","crv":"P-256","x":%q,"y":%q}}`, n.String(), k.X, k.Y))
		return func() (*http.Request, error) {
			r, err := http.NewRequestWithContext(w.ctx, "POST", w.url()+"/v1/enrolments", bytes.NewReader(body))
			if err == nil {
				a := addresses.Add(1)
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("X-Forwarded-For", fmt.Sprintf("203.%d.%d.%d", a>>16, a>>8&255, a&255))
			}
			return r, err
		}
	}
	for _, o := range oracles(t, measure(t, prepared(t, perClass, ask, map[string]func(tel.Number) error{
		"an unknown number": func(tel.Number) error { return nil },
		"a known number":    func(n tel.Number) error { return enrolled(w, past, n) },
		"a barred number":   func(n tel.Number) error { return errors.Join(enrolled(w, past, n), past.Bar(w.ctx, n)) },
	}))) {
		t.Errorf("an oracle: %s", o)
	}
}

// TestTimingFindsAnOracle: the same measurement finds one that is planted, a millisecond for
// numbers that nobody has.
func TestTimingFindsAnOracle(t *testing.T) {
	w := timingWorld(t)
	const telling = "no such party"
	planted := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		w.server.Handler().ServeHTTP(rec, r)
		if r.Header.Get("Planted") == telling {
			time.Sleep(time.Millisecond)
		}
		rw.WriteHeader(rec.Code)
	}))
	defer planted.Close()
	classes := reportProbes(t, w, planted.URL, 200)
	for class, probes := range classes {
		for i, p := range probes {
			probes[i] = func() (*http.Request, error) {
				r, err := p()
				if err == nil {
					r.Header.Set("Planted", class)
				}
				return r, err
			}
		}
	}
	found := 0
	for _, o := range oracles(t, measure(t, classes)) {
		if strings.Contains(o, telling) {
			found++
		}
	}
	if found != len(classes)-1 {
		t.Errorf("found %d of the %d pairs in which an oracle was planted", found, len(classes)-1)
	}
}
