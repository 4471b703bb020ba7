package place_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore/pebbletest"
	"github.com/tandem-call/tandem/internal/place"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func ask(t *testing.T, minutes int) place.State {
	t.Helper()
	st, err := place.State{}.WithAsk(place.Ask{ID: "a", From: "1", Of: "bob", Minutes: minutes}, now)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// TestConsent: which answers let a place out, when, and how often.
func TestConsent(t *testing.T) {
	others := []wire.MemberID{"1", "3"}
	for name, c := range map[string]struct {
		answer wire.PlaceAnswer
		over   bool
		after  time.Duration
		want   []error // of one share after the other
	}{
		"nothing said": {want: []error{place.ErrConsent}},
		"once":         {answer: wire.PlaceAnswer{Consent: wire.ConsentOnce}, want: []error{nil, place.ErrConsent}},
		"call":         {answer: wire.PlaceAnswer{Consent: wire.ConsentCall}, want: []error{nil, nil}},
		"call, over":   {answer: wire.PlaceAnswer{Consent: wire.ConsentCall}, over: true, want: []error{place.ErrConsent}},
		"live":         {answer: wire.PlaceAnswer{Consent: wire.ConsentLive, Minutes: 5}, want: []error{nil, nil}},
		"live, later":  {answer: wire.PlaceAnswer{Consent: wire.ConsentLive, Minutes: 5}, after: 5 * time.Minute, want: []error{place.ErrConsent}},
		"live, over":   {answer: wire.PlaceAnswer{Consent: wire.ConsentLive, Minutes: 5}, over: true, want: []error{place.ErrConsent}},
		"no":           {answer: wire.PlaceAnswer{Consent: wire.ConsentNo}, want: []error{place.ErrConsent}},
		"never":        {answer: wire.PlaceAnswer{Consent: wire.ConsentNever}, want: []error{place.ErrConsent}},
	} {
		t.Run(name, func(t *testing.T) {
			st := ask(t, 0)
			var err error
			if c.answer.Consent != "" {
				c.answer.Request, c.answer.Coarse = "a", true
				if st, err = st.Answer("bob", c.answer, now); err != nil {
					t.Fatal(err)
				}
			}
			st.Over = c.over
			for i, want := range c.want {
				next, out, err := st.Share("bob", wire.PlaceShare{Request: "a"}, others, now.Add(c.after))
				if !errors.Is(err, want) {
					t.Fatalf("share %d: %v, want %v", i+1, err, want)
				}
				if err == nil {
					st = next
					if !slices.Equal(out.To, []wire.MemberID{"1"}) || !out.Coarse {
						t.Errorf("it went to %v, coarse %v", out.To, out.Coarse)
					}
				}
			}
		})
	}
	st := ask(t, 0)
	if _, err := st.Answer("carol", wire.PlaceAnswer{Request: "a", Consent: wire.ConsentOnce}, now); !errors.Is(err, place.ErrNotFound) {
		t.Errorf("somebody else's answer: %v", err)
	}
}

// TestLive: a series keeps its end and its receivers, and takes consent back when it stops.
func TestLive(t *testing.T) {
	others := []wire.MemberID{"1"}
	st, out, err := place.State{}.Share("bob", wire.PlaceShare{Minutes: 10, Coarse: true}, others, now)
	if err != nil || !out.Live || !out.First {
		t.Fatal(out, err)
	}
	st, out, err = st.Share("bob", wire.PlaceShare{Minutes: 480}, []wire.MemberID{"1", "9"}, now.Add(9*time.Minute))
	if err != nil || out.First || !out.Coarse || !out.Until.Equal(now.Add(10*time.Minute)) || !slices.Equal(out.To, others) {
		t.Errorf("the next of the series: %+v, %v", out, err)
	}
	if e := st.Ended(now.Add(9 * time.Minute)); len(e) != 0 {
		t.Errorf("it ended early: %v", e)
	}
	if e := st.Ended(now.Add(10 * time.Minute)); len(e) != 1 || len(st.Without(e).Shares) != 0 {
		t.Errorf("it did not end: %v", e)
	}
	st.Over = true
	if e := st.Ended(now); len(e) != 1 {
		t.Error("the end of the call did not end it")
	}
	if _, _, err := (place.State{Over: true}).Share("bob", wire.PlaceShare{Minutes: 1}, others, now); !errors.Is(err, place.ErrCallOver) {
		t.Errorf("live after the call: %v", err)
	}
}

func TestURI(t *testing.T) {
	for uri, want := range map[string]string{
		"geo:51.5074,-0.1278;u=35":          "geo:51.5074,-0.1278;u=35",
		"GEO:48.2010,16.3695,183":           "geo:48.201,16.3695,183",
		"geo:-0,0;crs=WGS84;x=1":            "geo:0,0",
		"geo:90,-22.43;crs=WGS84":           "geo:90,-22.43",
		"geo:66,30;u=6.500;FOo=this%2dthat": "geo:66,30;u=6.5",
	} {
		p, err := place.ParseURI(uri)
		if err != nil || place.URI(p) != want {
			t.Errorf("%s: %s, %v", uri, place.URI(p), err)
		}
	}
	for _, uri := range []string{"", "geo:", "geo:1", "geo:1,2,3,4", "geo:91,0", "geo:0,181", "geo:NaN,0", "geo:1e2,0", "geo:+1,0", "geo:0x1p3,0", "geo:1,2;crs=nad27", "geo:1,2;u=-1", "geo:1,2;u=inf", "tel:+44"} {
		if p, err := place.ParseURI(uri); !errors.Is(err, place.ErrRequest) {
			t.Errorf("%s: %+v, %v", uri, p, err)
		}
	}
}

func FuzzURI(f *testing.F) {
	f.Add("geo:51.5,-0.12;u=35")
	f.Add("geo:-90,180,0.5;crs=wgs84")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := place.ParseURI(s)
		if err != nil {
			return
		}
		again, err := place.ParseURI(place.URI(p))
		if err != nil || math.Abs(again.Geometry.Coordinates[0]-p.Geometry.Coordinates[0]) > 1e-6 {
			t.Fatalf("%q is written as %q: %v", s, place.URI(p), err)
		}
		c := place.Coarse(p).Geometry.Coordinates
		if math.Abs(c[1]) > 90 || math.Abs(c[0]) > 180 || math.Abs(c[1]-p.Geometry.Coordinates[1]) > 0.0201 {
			t.Fatalf("%q is coarsely %v", s, c)
		}
	})
}

// one is a session of two parties.
type one struct{ sent []string }

func (o *one) Session(context.Context, wire.TenantID, wire.SessionID) (place.Session, error) {
	alice, _ := tel.ParseIdentity("+442079460001", "")
	bob, _ := tel.ParseIdentity("+442079460002", "")
	return place.Session{InCall: true, Members: []place.Member{{ID: "1", Device: "alice", Side: 1, Principal: alice}, {ID: "2", Device: "bob", Side: 2, Principal: bob}}}, nil
}

func (o *one) Send(_ context.Context, _ wire.TenantID, _ wire.SessionID, from wire.DeviceID, _ []wire.MemberID, _ wire.RequestID, kind string, _ any) error {
	o.sent = append(o.sent, string(from)+" "+kind)
	return nil
}

// TestPace: a device shares a place at most once a second; what was refused does not count.
func TestPace(t *testing.T) {
	at := now
	s, err := place.New(t.Context(), place.Config{Engine: pebbletest.Open(t), Sessions: &one{}, CheckFor: time.Millisecond, Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	share := func(q wire.PlaceShare) error {
		_, err := s.Share(t.Context(), "t", "s", "alice", q)
		return err
	}
	for i, step := range []struct {
		after time.Duration
		uri   string
		want  error
	}{{0, "geo:100,0", place.ErrRequest}, {0, "geo:1,1", nil}, {999 * time.Millisecond, "geo:1,1", place.ErrTooMany}, {time.Millisecond, "geo:1,1", nil}} {
		at = at.Add(step.after)
		if err := share(wire.PlaceShare{URI: step.uri}); !errors.Is(err, step.want) {
			t.Errorf("step %d: %v, want %v", i, err, step.want)
		}
	}
}

// answering has every check answered, by a node whose clock is behind.
type answering struct {
	one
	elsewhere *place.Service
}

func (a *answering) Send(ctx context.Context, tenant wire.TenantID, id wire.SessionID, from wire.DeviceID, to []wire.MemberID, request wire.RequestID, kind string, body any) error {
	if kind == wire.KindPlaceCheck {
		return a.elsewhere.SetAbility(ctx, tenant, id, "bob", wire.PlaceAbility{Show: wire.ShowMap, Provide: true})
	}
	return a.one.Send(ctx, tenant, id, from, to, request, kind, body)
}

// TestServerChecks: before the server sends a place it asks by itself what the receiver's device can, once; consent
// that ends meanwhile counts.
func TestServerChecks(t *testing.T) {
	e := pebbletest.Open(t)
	x := &checked{}
	s := newService(t, place.Config{Engine: e, Sessions: x, CheckFor: 300 * time.Millisecond, URL: "https://tandem.example"})
	x.s = s
	share := func(id wire.SessionID, q wire.PlaceShare) error {
		_, err := s.Share(t.Context(), "t", id, wire.DeviceID("alice-"+id), q)
		return err
	}
	x.answer = func(id wire.SessionID) error {
		return s.SetAbility(t.Context(), "t", id, wire.DeviceID("bob-"+id), wire.PlaceAbility{Show: wire.ShowPicture})
	}
	if err := share("answered", wire.PlaceShare{URI: "geo:1,2"}); err != nil || x.checks != 1 || len(x.places) != 1 || x.places[0].Picture == "" {
		t.Fatalf("%v, %d checks, %+v", err, x.checks, x.places)
	}
	x.answer = nil
	for range 2 { // who is silent is asked once, and gets words
		if err := share("silent", wire.PlaceShare{URI: "geo:1,2"}); err != nil || x.checks != 2 || x.places[len(x.places)-1].Picture != "" {
			t.Fatalf("%v, %d checks, %+v", err, x.checks, x.places)
		}
		time.Sleep(wire.PlaceIntervalSeconds * time.Second)
	}
	// Bob asks, Alice agrees, and takes that back while Bob's device is asked what it shows.
	ask, err := s.Ask(t.Context(), "t", "stopped", "bob-stopped", wire.PlaceAskRequest{To: "1"})
	if err == nil {
		err = s.Answer(t.Context(), "t", "stopped", "alice-stopped", wire.PlaceAnswer{Request: ask.Request, Consent: wire.ConsentCall})
	}
	if err != nil {
		t.Fatal(err)
	}
	x.answer = func(id wire.SessionID) error { return s.Stop(t.Context(), "t", id, "alice-stopped") }
	before := len(x.places)
	if err := share("stopped", wire.PlaceShare{URI: "geo:1,2", Request: ask.Request}); !errors.Is(err, place.ErrConsent) || len(x.places) != before {
		t.Errorf("a consent that was taken back during the check: %v", err)
	}
}

// checked has sessions of two devices, whose checks are counted, and answered by a function, if there is one.
type checked struct {
	s      *place.Service
	checks int
	places []wire.PlaceMessage
	answer func(id wire.SessionID) error
}

func (x *checked) Session(_ context.Context, _ wire.TenantID, id wire.SessionID) (place.Session, error) {
	return place.Session{InCall: true, Members: []place.Member{
		{ID: "1", Device: wire.DeviceID("alice-" + id), Side: 1, Principal: alice, Shown: alice},
		{ID: "2", Device: wire.DeviceID("bob-" + id), Side: 2, Principal: bob, Shown: bob},
	}}, nil
}

func (x *checked) Send(_ context.Context, _ wire.TenantID, id wire.SessionID, _ wire.DeviceID, _ []wire.MemberID, _ wire.RequestID, kind string, body any) error {
	if kind == wire.KindPlaceCheck {
		x.checks++
		if x.answer != nil {
			return x.answer(id)
		}
	}
	if m, ok := body.(wire.PlaceMessage); ok {
		x.places = append(x.places, m)
	}
	return nil
}

// TestCheckByAnotherClock: an answer counts by whichever node's clock it was written, and an old
// one does not.
func TestCheckByAnotherClock(t *testing.T) {
	e, at := pebbletest.Open(t), now
	elsewhere, err := place.New(t.Context(), place.Config{Engine: e, Sessions: &one{}, Now: func() time.Time { at = at.Add(time.Millisecond); return at.Add(-time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	check := func(sessions place.Sessions, wait time.Duration) wire.PlaceAbility {
		s, err := place.New(t.Context(), place.Config{Engine: e, Sessions: sessions, CheckFor: wait, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		can, err := s.Check(t.Context(), "t", "s", "alice", "2")
		if err != nil {
			t.Fatal(err)
		}
		return can
	}
	for range 2 {
		if can := check(&answering{elsewhere: elsewhere}, time.Minute); !can.Provide || can.Show != wire.ShowMap {
			t.Errorf("the answer by a clock that is behind: %+v", can)
		}
	}
	if can := check(&one{}, 200*time.Millisecond); can.Provide {
		t.Errorf("silence after an old answer: %+v", can)
	}
}
