package device_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/store/pebblestore/pebbletest"
	"github.com/tandem-call/tandem/internal/party"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// world is a registry with everything around it, whose clock tests turn.
type world struct {
	t        testing.TB
	engine   store.Engine
	registry *device.Registry
	auth     *device.Authenticator
	parties  *party.Directory

	mu      sync.Mutex
	now     time.Time
	sent    []sent
	sendErr error
	alerts  []alert
	revoked []wire.DeviceID
}

type sent struct {
	to   tel.Number
	code string
	text string
}

type alert struct {
	earlier []wire.DeviceID
	added   wire.DeviceID
}

func newWorld(t testing.TB, change ...func(*device.Config)) *world {
	w := &world{t: t, engine: pebbletest.Open(t), now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	w.parties = party.New(w.engine, w.clock)
	w.restart(change...)
	return w
}

// restart makes registry and authenticator anew over the same engine.
func (w *world) restart(change ...func(*device.Config)) {
	w.t.Helper()
	cfg := device.Config{
		Engine: w.engine, Parties: w.parties, Sender: w, Now: w.clock,
		Alert: func(_ context.Context, earlier []device.Device, added device.Device) {
			w.mu.Lock()
			defer w.mu.Unlock()
			a := alert{added: added.ID}
			for _, d := range earlier {
				a.earlier = append(a.earlier, d.ID)
			}
			w.alerts = append(w.alerts, a)
		},
		OnRevoke: func(_ context.Context, _ wire.TenantID, id wire.DeviceID) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.revoked = append(w.revoked, id)
		},
	}
	for _, c := range change {
		c(&cfg)
	}
	r, err := device.New(w.t.Context(), cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.registry, w.auth = r, device.NewAuthenticator(r, 0)
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// SendCode makes the world the sender.
func (w *world) SendCode(_ context.Context, to tel.Number, code, text string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sendErr != nil {
		return w.sendErr
	}
	w.sent = append(w.sent, sent{to, code, text})
	return nil
}

func (w *world) lastCode() string {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.sent) == 0 {
		w.t.Fatal("no code was sent")
	}
	return w.sent[len(w.sent)-1].code
}

// wrong returns a code other than the last.
func (w *world) wrong() string {
	if c := w.lastCode(); c != "000000" {
		return "000000"
	}
	return "000001"
}

// phone is a device under test.
type phone struct {
	key *ecdsa.PrivateKey
	id  wire.DeviceID
}

func newPhone(t testing.TB) *phone {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &phone{key: key}
}

func (p *phone) jwk(t testing.TB) wire.JWK {
	t.Helper()
	k, err := device.JWKOf(&p.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (w *world) request(p *phone, n tel.Number) device.Request {
	return device.Request{Tenant: wire.DefaultTenant, Number: n, Key: p.jwk(w.t), Name: "Alice", Client: "test/1", Remote: netip.MustParseAddr("192.0.2.1")}
}

func (w *world) begin(p *phone, n tel.Number) wire.Enrolment {
	w.t.Helper()
	e, err := w.registry.Begin(w.t.Context(), w.request(p, n))
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// enrol takes a phone through the whole enrolment.
func (w *world) enrol(p *phone, n tel.Number) device.Device {
	w.t.Helper()
	e := w.begin(p, n)
	d, err := w.registry.Confirm(w.t.Context(), wire.DefaultTenant, e.ID, w.lastCode(), w.sign(p, jwt.MapClaims{"nonce": e.ID}))
	if err != nil {
		w.t.Fatal(err)
	}
	p.id = d.ID
	return d
}

// sign makes a good assertion, but for the claims given; a nil claim is left out.
func (w *world) sign(p *phone, change jwt.MapClaims) string {
	w.t.Helper()
	return w.signWith(jwt.SigningMethodES256, p.key, p, change)
}

func (w *world) signWith(m jwt.SigningMethod, key any, p *phone, change jwt.MapClaims) string {
	w.t.Helper()
	now := w.clock()
	claims := jwt.MapClaims{"sub": string(p.id), "aud": "tandem", "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix()}
	for k, v := range change {
		if claims[k] = v; v == nil {
			delete(claims, k)
		}
	}
	s, err := jwt.NewWithClaims(m, claims).SignedString(key)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// link makes two numbers one party's, as an operator does.
func (w *world) link(n, to tel.Number) {
	w.t.Helper()
	if err := w.parties.Link(w.t.Context(), wire.DefaultTenant, n.Identity(), to.Identity()); err != nil {
		w.t.Fatal(err)
	}
}

func number(t testing.TB, s string) tel.Number {
	t.Helper()
	n, err := tel.ParseNumber(s, "")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func ids(all []device.Device) []wire.DeviceID {
	var out []wire.DeviceID
	for _, d := range all {
		out = append(out, d.ID)
	}
	slices.Sort(out)
	return out
}

func want(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got error %v, want %v", err, target)
	}
}
