package device_test

import (
	"errors"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/party"
)

// TestRotateSecret: what was made with the secret before is taken for a while, on all nodes,
// and then no more; at once, if so wanted.
func TestRotateSecret(t *testing.T) {
	w := newWorld(t, func(c *device.Config) { c.Shared = true })
	p := newPhone(t)
	d := w.enrol(p, number(t, alice))
	another, err := device.New(t.Context(), device.Config{Engine: w.engine, Parties: party.New(w.engine, w.clock), Sender: w, Now: w.clock, Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	node := device.NewAuthenticator(another, 0)
	issue := func() string {
		s, _, err := w.auth.IssueToken(d)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	holds := func(auth *device.Authenticator, token string) bool {
		_, err := auth.VerifyToken(t.Context(), token)
		if err != nil && !errors.Is(err, device.ErrToken) {
			t.Fatal(err)
		}
		return err == nil
	}
	hello := func(auth *device.Authenticator, nonce string) error {
		_, err := auth.VerifyHello(t.Context(), "", nonce, w.sign(p, jwt.MapClaims{"nonce": nonce}))
		return err
	}

	old, key, nonce, second := issue(), string(w.auth.TokenKey()), w.auth.Nonce(), w.auth.Nonce()
	if err := w.registry.RotateSecret(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if string(w.auth.TokenKey()) == key {
		t.Fatal("the key is the old one")
	}
	fresh := issue()
	if !holds(w.auth, old) || !holds(w.auth, fresh) || hello(w.auth, nonce) != nil {
		t.Error("what is on its way is not taken")
	}
	// Another node takes the old one until it hears of the new.
	if !holds(node, old) || holds(node, fresh) {
		t.Error("another node knows the secret without having read it")
	}
	if err := another.ReloadSecret(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !holds(node, old) || !holds(node, fresh) || hello(node, second) != nil {
		t.Error("another node does not take both")
	}

	// A second change, at once: nothing old is left.
	nonce = w.auth.Nonce()
	if err := w.registry.RotateSecret(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if holds(w.auth, old) || holds(w.auth, fresh) || !errors.Is(hello(w.auth, nonce), device.ErrAssertion) {
		t.Error("what was made before is taken")
	}
	if !holds(w.auth, issue()) {
		t.Error("what is made now is not")
	}

	// The overlap ends by itself. A token lasts less long.
	later := issue()
	if err := w.registry.RotateSecret(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	w.pass(9 * time.Minute)
	if !holds(w.auth, later) {
		t.Error("within the overlap a token of the secret before is refused")
	}
	w.pass(device.SecretOverlap)
	if n := len(w.registry.Taken()); n != 1 {
		t.Errorf("%d secrets are taken after the overlap", n)
	}
}
