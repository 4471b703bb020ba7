package guest_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore"
	"github.com/tandem-call/tandem/internal/guest"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

func bubble(t *testing.T, f func(t *testing.T, s *guest.Service, e store.Engine)) {
	synctest.Test(t, func(t *testing.T) {
		e, err := pebblestore.Open(pebblestore.Options{Dir: t.TempDir(), Headroom: 1, Relaxed: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}()
		s, err := guest.New(guest.Config{Engine: e, PerNumber: 3, PerPair: 2, PerClaimant: 4})
		if err != nil {
			t.Fatal(err)
		}
		f(t, s, e)
	})
}

func number(t *testing.T, i int) tel.Number {
	t.Helper()
	n, err := tel.ParseNumber(fmt.Sprintf("+44207946%04d", i), "")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestQuotas(t *testing.T) {
	bubble(t, func(t *testing.T, s *guest.Service, e store.Engine) {
		ref := 0
		allow := func(want bool, to, by int, what string) {
			t.Helper()
			ref++
			for range 2 { // the same message, repeated, counts once
				ok, err := s.Allow(t.Context(), "t", number(t, to), number(t, by).Identity(), fmt.Sprint(ref))
				if err != nil || ok != want {
					t.Errorf("%s: %v, %v", what, ok, err)
				}
			}
		}
		allow(true, 1, 10, "the first")
		allow(true, 1, 10, "the second of a pair")
		allow(false, 1, 10, "the third of a pair")
		allow(true, 1, 11, "of another claimant")
		allow(false, 1, 12, "the fourth to a number")
		allow(true, 2, 10, "to another number")
		allow(true, 3, 10, "to a third")
		allow(false, 4, 10, "the fifth of a claimant")
		time.Sleep(24 * time.Hour)
		allow(true, 1, 10, "a day later")
		time.Sleep(24 * time.Hour)
		if n, err := s.Sweep(t.Context()); n == 0 || err != nil {
			t.Errorf("%d swept, %v", n, err)
		}
		for range e.Scan(t.Context(), "text_quotas", "") {
			t.Error("a count is left")
		}
	})
}

func TestUse(t *testing.T) {
	bubble(t, func(t *testing.T, s *guest.Service, e store.Engine) {
		l := guest.Link{Tenant: "t", Device: "dev_1", Claimant: number(t, 1).Identity()}
		for range 2 {
			if err := s.Use(t.Context(), "psh_1", l); err != nil {
				t.Fatal(err)
			}
		}
		l.Device = "dev_2"
		if err := s.Use(t.Context(), "psh_1", l); !errors.Is(err, guest.ErrUsed) {
			t.Errorf("another device: %v", err)
		}
		if got, ok, err := s.Link(t.Context(), "psh_1"); !ok || err != nil || got.Device != "dev_1" {
			t.Errorf("%+v %v %v", got, ok, err)
		}
		if err := s.Forget(t.Context(), "t", []tel.Identity{number(t, 1).Identity()}); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := s.Link(t.Context(), "psh_1"); ok || err != nil {
			t.Errorf("after it was forgotten: %v %v", ok, err)
		}
	})
}

func TestWishes(t *testing.T) {
	bubble(t, func(t *testing.T, s *guest.Service, e store.Engine) {
		n := number(t, 1)
		for _, out := range []bool{true, true, false, false} {
			if err := s.OptOut(t.Context(), n, out); err != nil {
				t.Fatal(err)
			}
			if got, err := s.OptedOut(t.Context(), n); got != out || err != nil {
				t.Errorf("%v, %v, want %v", got, err, out)
			}
		}
		if ways, err := s.Ways(t.Context(), "t", n.Identity()); ways != nil || err != nil {
			t.Errorf("%v %v", ways, err)
		}
		for _, ways := range [][]wire.Way{{}, {wire.WayText}, {wire.WayText, wire.WayPush}} {
			if err := s.SetWays(t.Context(), "t", n.Identity(), ways); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Ways(t.Context(), "t", n.Identity()); got == nil || fmt.Sprint(got) != fmt.Sprint(ways) || err != nil {
				t.Errorf("%v %v, want %v", got, err, ways)
			}
		}
		for _, ways := range [][]wire.Way{{"pigeon"}, {wire.WayPush, wire.WayPush}} {
			if err := s.SetWays(t.Context(), "t", n.Identity(), ways); !errors.Is(err, guest.ErrRequest) {
				t.Errorf("%v: %v", ways, err)
			}
		}
	})
}
