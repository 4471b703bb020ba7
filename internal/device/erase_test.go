package device_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
)

// tables that the registry writes.
var tables = []string{"devices", "device_numbers", "enrolments", "enrolment_limits"}

func (w *world) left(t *testing.T, text string) (found []string) {
	t.Helper()
	for _, table := range tables {
		for r, err := range w.engine.Scan(t.Context(), table, "") {
			if err != nil {
				t.Fatal(err)
			}
			if s := r.Key + " " + string(r.Value); strings.Contains(s, text) {
				found = append(found, table+": "+s)
			}
		}
	}
	return found
}

func TestErase(t *testing.T) {
	w := newWorld(t)
	n, other := number(t, "+442079460001"), number(t, "+442079460002")
	a, b, c := newPhone(t), newPhone(t), newPhone(t)
	first, gone, stays := w.enrol(a, n), w.enrol(b, n), w.enrol(c, other)
	if err := w.registry.Revoke(t.Context(), "default", gone.ID); err != nil {
		t.Fatal(err)
	}
	w.begin(newPhone(t), n) // and never comes back with the code
	if len(w.left(t, "442079460001")) == 0 {
		t.Fatal("the number is in no table: this test looks in the wrong ones")
	}
	for range 2 {
		if _, err := w.registry.Erase(t.Context(), "default", []tel.Number{n}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if found := w.left(t, "442079460001"); len(found) > 0 {
		t.Errorf("left: %q", found)
	}
	for _, d := range []device.Device{first, gone} {
		got, err := w.registry.Get(t.Context(), "default", d.ID)
		if err != nil || got.RevokedAt.IsZero() || got.Name != "" || len(got.Bindings) > 0 {
			t.Errorf("device %+v, %v", got, err)
		}
	}
	if d, err := w.registry.Get(t.Context(), "default", stays.ID); err != nil || d.Check(w.clock()) != nil {
		t.Errorf("somebody else's device: %+v, %v", d, err)
	}
}

// How often an address was sent a code outlasts the code itself, but not the party.
func TestEraseForgetsMailsOfALapsedCode(t *testing.T) {
	w, mail, alice := mailWorld(t)
	bob := w.enrol(newPhone(t), number(t, "+442079460002"))
	hers, his := address(t, "alice@example.com"), address(t, "bob@example.com")
	for d, at := range map[*device.Device]tel.Identity{&alice: hers, &bob: his} {
		if _, err := w.registry.BeginMailbox(t.Context(), d.Tenant, d.ID, at); err != nil {
			t.Fatal(err)
		}
		want(t, w.registry.ConfirmMailbox(t.Context(), d.Tenant, d.ID, at, mail.code()), nil)
	}
	w.pass(time.Hour)
	if _, err := w.registry.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found := w.left(t, store.Key(hers.String())); len(found) != 1 {
		t.Fatalf("of an hour ago: %q, and this test looks for a limit", found)
	}
	n, _ := alice.Principal.Number()
	if _, err := w.registry.Erase(t.Context(), "default", []tel.Number{n}, []tel.Identity{hers}); err != nil {
		t.Fatal(err)
	}
	if found := w.left(t, store.Key(hers.String())); len(found) > 0 {
		t.Errorf("left: %q", found)
	}
	if found := w.left(t, store.Key(his.String())); len(found) != 1 {
		t.Errorf("of somebody else's address: %q", found)
	}
}

func TestSweepLapsed(t *testing.T) {
	w := newWorld(t)
	n := number(t, "+442079460001")
	d, lost := w.enrol(newPhone(t), n), w.enrol(newPhone(t), n)
	w.pass(100 * 24 * time.Hour)
	if err := w.registry.Revoke(t.Context(), "default", lost.ID); err != nil {
		t.Fatal(err)
	}
	w.pass(48 * time.Hour)
	if k, err := w.registry.SweepLapsed(t.Context(), 24*time.Hour); k != 1 || err != nil {
		t.Errorf("swept %d, %v, and one was revoked two days ago", k, err)
	}
	if d, err := w.registry.Get(t.Context(), "default", lost.ID); err != nil || d.RevokedAt.IsZero() || len(d.Bindings) > 0 {
		t.Errorf("the revoked device: %+v, %v", d, err)
	}
	w.pass(-102 * 24 * time.Hour)
	w.pass(180*24*time.Hour + time.Hour)
	if k, err := w.registry.SweepLapsed(t.Context(), 24*time.Hour); k != 0 || err != nil {
		t.Errorf("swept %d, %v, though the proof lapsed only an hour ago", k, err)
	}
	w.pass(24 * time.Hour)
	if k, err := w.registry.SweepLapsed(t.Context(), 24*time.Hour); k != 1 || err != nil {
		t.Errorf("swept %d, %v", k, err)
	}
	if _, err := w.registry.Get(t.Context(), "default", d.ID); !errors.Is(err, device.ErrNotFound) {
		t.Errorf("the device: %v", err)
	}
	if _, err := w.registry.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found := w.left(t, "442079460001"); len(found) > 0 {
		t.Errorf("left: %q", found)
	}
}
