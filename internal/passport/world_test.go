package passport_test

import (
	"context"
	"crypto/x509"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore/pebbletest"
	"github.com/tandem-call/tandem/internal/passport"
	"github.com/tandem-call/tandem/internal/passport/passporttest"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
)

const (
	alice, bob, carol, dave = "12155551212", "12155551213", "442079460003", "442079460004"
	certURL                 = "https://cert.example.org/passport.pem"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func number(digits string) tel.Number { return must(tel.ParseNumber("+"+digits, "")) }

// world has a provider whose certificate speaks for a service provider's code, and a
// verifier that trusts it.
type world struct {
	t        *testing.T
	now      time.Time
	ca       *passporttest.Signer
	provider *passporttest.Signer
	verifier *passport.Verifier
	uses     store.Table[passport.Use]

	mu      sync.Mutex
	at      map[string][]byte // what is at which address
	fetched int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), at: map[string][]byte{}}
	w.uses = store.TableOf[passport.Use](pebbletest.Open(t), "passports")
	w.ca = must(passporttest.NewAuthority(w.now))
	w.provider = must(w.ca.Issue(&passport.TNAuthList{Codes: []string{"709J"}}))
	w.at[certURL] = w.provider.PEM()
	w.verifier = w.newVerifier()
	return w
}

func (w *world) newVerifier() *passport.Verifier {
	return must(passport.New(passport.Config{
		Roots: w.ca.Roots(), Fetch: w.fetch, Uses: w.uses, Now: func() time.Time { return w.now },
	}))
}

func (w *world) fetch(_ context.Context, url string) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fetched++
	b, ok := w.at[url]
	if !ok {
		return nil, errors.New("nothing there")
	}
	return b, nil
}

// publish gives a certificate for these numbers an address.
func (w *world) publish(url string, l *passport.TNAuthList, change ...func(*x509.Certificate)) *passporttest.Signer {
	s := must(w.ca.Issue(l, change...))
	w.mu.Lock()
	w.at[url] = s.PEM()
	w.mu.Unlock()
	return s
}

// shaken is the Identity header of a call that the provider vouches for.
func (w *world) shaken(orig, dest string, change ...func(*passporttest.Claims)) string {
	c := passporttest.Shaken(orig, dest, w.now)
	for _, f := range change {
		f(&c)
	}
	return passporttest.Identity(must(w.provider.Sign(passport.Shaken, certURL, c)), passport.Shaken, certURL)
}

func (w *world) div(orig, from, to string) string {
	c := passporttest.Diversion(orig, from, to, w.now)
	return passporttest.Identity(must(w.provider.Sign(passport.Div, certURL, c)), passport.Div, certURL)
}

// dialled and answered present headers for the two sides of a call.
func dialled(own, other string, identities ...string) passport.Presented {
	return passport.Presented{
		Tenant: "t", For: "element e1 call 1", Identities: identities,
		Own: number(own), Other: number(other), Direction: tel.Outgoing,
	}
}

func answered(own, other string, identities ...string) passport.Presented {
	p := dialled(own, other, identities...)
	p.Direction = tel.Incoming
	return p
}

func (w *world) verify(p passport.Presented) error { return w.verifier.Verify(w.t.Context(), p) }

func (w *world) want(err error, p passport.Presented) {
	w.t.Helper()
	if got := w.verify(p); !errors.Is(got, err) || (got == nil) != (err == nil) {
		w.t.Errorf("got %v, want %v", got, err)
	}
}

// run does so in a test of its own.
func (w *world) run(name string, err error, p passport.Presented) {
	outer := w.t
	defer func() { w.t = outer }()
	outer.Run(name, func(t *testing.T) {
		w.t = t
		w.want(err, p)
	})
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
