package server_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/client/nearby"
	"github.com/tandem-call/tandem/internal/server"
)

// TestNearOnALink: a temporary coupling lives while the phone's device finds the other on its own
// network by its key, lapses when the cable is out, and comes back with it. Who answers without the
// key is not taken for it (B8).
func TestNearOnALink(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	l := newLAN(t) // first, for the loopback
	w := newWorld(t, func(c *server.Config) { c.Couplings.Lease = 3 * time.Second })
	home, garage, elsewhere := l.machine(), l.machine(), l.machine()
	phone, stranger := w.enrol(alice), w.enrol(bob)
	car := w.couple(phone, "car", "temporary")
	answer := func(on *machine, id *client.Identity) {
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- on.inside(func() error { return nearby.Answer(ctx, id.Key, id.PublicKey()) }) }()
		t.Cleanup(func() {
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	answer(garage, car)
	answer(elsewhere, stranger)
	found := func() (near bool) {
		t.Helper()
		done := make(chan error, 1)
		go func() {
			done <- home.inside(func() (err error) {
				near, err = nearby.Find(t.Context(), car.PublicKey(), 500*time.Millisecond)
				return err
			})
		}()
		check(t, <-done)
		return near
	}
	say := func() {
		t.Helper()
		body := `{"link":false}`
		if found() {
			body = `{"link":true}`
		}
		if r := w.ask("POST", "/v1/couplings/"+w.couplings(phone)[0].ID+"/near", w.token(phone), body); r.status != http.StatusOK {
			t.Fatalf("near: %+v", r)
		}
	}
	made := w.couplings(phone)[0].Expires
	w.until("the two find each other", found)
	w.until("the coupling outlives its first lease", func() bool { say(); return time.Now().After(made.Add(time.Second)) })
	if w.couplings(phone)[0].Apart {
		t.Error("apart, though they are on one link")
	}
	garage.cut()
	w.until("it lapses without the cable", func() bool { say(); return w.couplings(phone)[0].Apart })
	if found() {
		t.Error("another device answers for it")
	}
	garage.mend()
	w.until("it is back with the cable", func() bool { say(); return !w.couplings(phone)[0].Apart })
}
