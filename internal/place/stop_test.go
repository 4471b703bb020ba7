package place_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore/pebbletest"
	"github.com/tandem-call/tandem/internal/place"
	"github.com/tandem-call/tandem/wire"
)

// ending is a session in which the ends of shares are told, unless it fails.
type ending struct {
	two
	fails error
	ended chan string
	sent  []string // kinds, to whom
	left  bool     // Carol has
}

func (x *ending) Session(ctx context.Context, tenant wire.TenantID, id wire.SessionID) (place.Session, error) {
	s, err := x.two.Session(ctx, tenant, id)
	if !x.left {
		s.Members = append(s.Members, place.Member{ID: "3", Device: "carol", Side: 3})
	}
	return s, err
}

func (x *ending) Send(ctx context.Context, tenant wire.TenantID, id wire.SessionID, from wire.DeviceID, to []wire.MemberID, request wire.RequestID, kind string, body any) error {
	if x.left && slices.Contains(to, "3") {
		return errors.New("there is no such member")
	}
	if x.fails == nil {
		x.sent = append(x.sent, kind+" to "+string(to[0]))
	}
	if b, ok := body.(wire.PlaceStopped); ok {
		if x.fails == nil {
			x.ended <- string(from) + " to " + string(to[0]) + " " + b.Reason + " " + string(request)
		}
		return x.fails
	}
	return x.two.Send(ctx, tenant, id, from, to, request, kind, body)
}

// TestStoppedIsTold: that a place is not shared any more is told also where the process dies between the stop and the telling, and where
// the user says so by taking back a consent; of each share once.
func TestStoppedIsTold(t *testing.T) {
	e, x := pebbletest.Open(t), &ending{ended: make(chan string, 10)}
	at := now
	c := place.Config{Engine: e, Sessions: x, Now: func() time.Time { return at }}
	s := newService(t, c)
	share := func(q wire.PlaceShare) {
		t.Helper()
		at = at.Add(time.Minute)
		q.URI = "geo:1,2"
		if _, err := s.Share(t.Context(), "t", "s", "alice", q); err != nil {
			t.Fatal(err)
		}
	}
	asked := func() string {
		t.Helper()
		a, err := s.Ask(t.Context(), "t", "s", "bob", wire.PlaceAskRequest{To: "1"})
		if err == nil {
			err = s.Answer(t.Context(), "t", "s", "alice", wire.PlaceAnswer{Request: a.Request, Consent: wire.ConsentLive, Minutes: 30})
		}
		if err != nil {
			t.Fatal(err)
		}
		return a.Request
	}
	// told is what is told from the start of a node until it has nothing more to tell.
	told := func() map[string]int {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- newService(t, c).Run(ctx) }()
		all := map[string]int{}
		for wait := 10 * time.Second; ; wait = 200 * time.Millisecond {
			select {
			case what := <-x.ended:
				all[what]++
				continue
			case <-time.After(wait):
			}
			break
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		return all
	}

	share(wire.PlaceShare{Minutes: 30})
	share(wire.PlaceShare{Request: asked()})
	dies := errors.New("the process dies")
	x.fails = dies
	if err := s.Stop(t.Context(), "t", "s", "alice"); !errors.Is(err, dies) {
		t.Fatal(err)
	}
	x.fails = nil
	ends := told()
	if len(ends) != 2 {
		t.Errorf("told %v, want the ends of two shares, by messages of their own", ends)
	}
	for what, n := range ends {
		if n != 1 || what[:len("alice to 2 stopped")] != "alice to 2 stopped" {
			t.Errorf("told %d times: %s", n, what)
		}
	}

	// A consent is taken back while its place is shared.
	id := asked()
	share(wire.PlaceShare{Request: id})
	if err := s.Answer(t.Context(), "t", "s", "alice", wire.PlaceAnswer{Request: id, Consent: wire.ConsentNo}); err != nil {
		t.Fatal(err)
	}
	if ends := told(); len(ends) != 1 {
		t.Errorf("told %v after a no, want the end of one share", ends)
	}

	// Nothing is told of what was told.
	share(wire.PlaceShare{Minutes: 30})
	if err := s.Stop(t.Context(), "t", "s", "alice"); err != nil || len(x.ended) != 1 {
		t.Fatalf("%v, %d told", err, len(x.ended))
	}
	if again := told(); len(again) != 1 {
		t.Errorf("told %v", again)
	}
}

// TestStoppedIsToldBeforeTheNext: whoever is not shared a place with any more is told so also where that could not be done before the place is
// shared with somebody else; and before that, so that nobody takes it for the end of the new one.
func TestStoppedIsToldBeforeTheNext(t *testing.T) {
	x := &ending{ended: make(chan string, 10)}
	at := now
	s := newService(t, place.Config{Engine: pebbletest.Open(t), Sessions: x, Now: func() time.Time { return at }})
	for _, d := range []wire.DeviceID{"bob", "carol"} {
		if err := s.SetAbility(t.Context(), "t", "s", d, wire.PlaceAbility{Show: wire.ShowMap}); err != nil {
			t.Fatal(err)
		}
	}
	share := func(to wire.MemberID) error {
		at = at.Add(10 * time.Second)
		_, err := s.Share(t.Context(), "t", "s", "alice", wire.PlaceShare{URI: "geo:1,2", Minutes: 30, To: []wire.MemberID{to}})
		return err
	}
	if err := share("2"); err != nil {
		t.Fatal(err)
	}
	x.fails = errors.New("the log has no leader")
	if err := s.Stop(t.Context(), "t", "s", "alice"); !errors.Is(err, x.fails) {
		t.Fatal(err)
	}
	if err := share("3"); !errors.Is(err, x.fails) {
		t.Errorf("shared with others while those before are not told: %v", err)
	}
	x.fails = nil
	if err := share("3"); err != nil {
		t.Fatal(err)
	}
	if want := []string{wire.KindPlace + " to 2", wire.KindPlaceStopped + " to 2", wire.KindPlace + " to 3"}; !slices.Equal(x.sent, want) {
		t.Errorf("sent %q, want %q", x.sent, want)
	}
}

// TestStoppedIsToldToWhoIsLeft: also where one of those who saw it has left the session.
func TestStoppedIsToldToWhoIsLeft(t *testing.T) {
	x := &ending{ended: make(chan string, 10)}
	s := newService(t, place.Config{Engine: pebbletest.Open(t), Sessions: x, Now: func() time.Time { return now }})
	for _, d := range []wire.DeviceID{"bob", "carol"} {
		if err := s.SetAbility(t.Context(), "t", "s", d, wire.PlaceAbility{Show: wire.ShowMap}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Share(t.Context(), "t", "s", "alice", wire.PlaceShare{URI: "geo:1,2", Minutes: 30}); err != nil {
		t.Fatal(err)
	}
	x.left = true
	if err := s.Stop(t.Context(), "t", "s", "alice"); err != nil {
		t.Error(err)
	}
	if len(x.ended) != 1 {
		t.Errorf("%d were told", len(x.ended))
	}
}
