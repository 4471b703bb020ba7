package place_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/place"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

var here = wire.Place{Type: "Feature", Geometry: wire.PlacePoint{Type: "Point", Coordinates: []float64{-0.1278, 51.5074}}}

// TestKnownByTheNetwork: the party's own devices see it while the call is up, and others when it is shared.
func TestKnownByTheNetwork(t *testing.T) {
	x := &two{}
	at := now
	s := newService(t, place.Config{Sessions: x, Parties: &parties{}, Now: func() time.Time { return at }})
	share := func() error {
		at = at.Add(time.Minute) // its pace
		_, err := s.Share(t.Context(), "t", "s", "alice", wire.PlaceShare{Network: true})
		return err
	}
	seen := func(who wire.DeviceID) bool {
		k, err := s.KnownHere(t.Context(), "t", "s", who)
		if err != nil && !errors.Is(err, place.ErrNotFound) {
			t.Fatal(err)
		}
		return err == nil && k.URI == "geo:51.5074,-0.1278"
	}
	if err := share(); !errors.Is(err, place.ErrRequest) {
		t.Fatalf("shared before it is known: %v", err)
	}
	if err := s.Know(t.Context(), "t", alice, place.Call{}, here, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if !seen("alice") || seen("bob") {
		t.Fatal("not seen by the party, or seen by another")
	}
	if len(x.messages) != 0 {
		t.Fatal("it was sent without consent")
	}
	if err := share(); err != nil || len(x.messages) != 1 {
		t.Fatalf("%v, %d messages", err, len(x.messages))
	}
	if _, err := s.Share(t.Context(), "t", "s", "alice", wire.PlaceShare{Network: true, URI: "geo:1,2"}); !errors.Is(err, place.ErrRequest) {
		t.Errorf("two places at once: %v", err)
	}
	x.over = true
	if seen("alice") {
		t.Error("seen after the call")
	}
	x.over = false
	if at = at.Add(wire.PlaceNetworkMinutes * time.Minute); seen("alice") {
		t.Error("seen after its time")
	}

	// The document's expiry counts, and so does the end of the call.
	if err := s.Know(t.Context(), "t", alice, place.Call{}, here, at.Add(time.Second)); err != nil || !seen("alice") {
		t.Fatal("not known", err)
	}
	if at = at.Add(time.Second); seen("alice") {
		t.Error("seen after the document's expiry")
	}
	if err := s.Know(t.Context(), "t", alice, place.Call{}, here, at); err != nil || seen("alice") {
		t.Error("taken although it has expired", err)
	}
	if err := errors.Join(s.Know(t.Context(), "t", alice, place.Call{}, here, time.Time{}), s.Forget(t.Context(), "t", alice, place.Call{})); err != nil || seen("alice") {
		t.Error("seen after it was forgotten", err)
	}
}

// TestKnownPerCall: of two calls at once, each has its own place, and the end of one ends only that.
func TestKnownPerCall(t *testing.T) {
	x, at := &two{}, now
	s := newService(t, place.Config{Sessions: x, Parties: &parties{}, Now: func() time.Time { return at }})
	carol := identity("+442079460003")
	call := func(ref string, with tel.Identity) place.Call {
		return place.Call{Ref: tel.Ref{CallID: ref}, With: with}
	}
	know := func(c place.Call, lon float64) {
		t.Helper()
		p := here
		p.Geometry.Coordinates = []float64{lon, 51}
		at = at.Add(time.Second)
		if err := s.Know(t.Context(), "t", alice, c, p, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	seen := func() string {
		t.Helper()
		k, err := s.KnownHere(t.Context(), "t", "s", "alice")
		if err != nil && !errors.Is(err, place.ErrNotFound) {
			t.Fatal(err)
		}
		return k.URI
	}
	forget := func(c place.Call) {
		t.Helper()
		if err := s.Forget(t.Context(), "t", alice, c); err != nil {
			t.Fatal(err)
		}
	}
	know(call("1", bob), 1) // the session's call
	know(call("2", carol), 2)
	know(call("3", tel.Identity{}), 3) // with somebody who is withheld
	if got := seen(); got != "geo:51,1" {
		t.Errorf("beside the call with bob: %q", got)
	}
	know(call("1", bob), 4) // on the way
	if got := seen(); got != "geo:51,4" {
		t.Errorf("after a further report: %q", got)
	}
	forget(call("2", carol))
	if got := seen(); got != "geo:51,4" {
		t.Errorf("after the end of another call: %q", got)
	}
	if all, err := s.Known(t.Context(), "t", alice); err != nil || len(all) != 2 {
		t.Errorf("%d places, %v", len(all), err)
	}
	forget(call("1", tel.Identity{})) // by its reference
	if got := seen(); got != "geo:51,3" {
		t.Errorf("only a call is left whose other party is not named: %q", got)
	}
	know(call("2", carol), 5)
	forget(call("3", tel.Identity{}))
	if got := seen(); got != "" {
		t.Errorf("the place of another call: %q", got)
	}
}

// TestKnownAgain: a place that a report repeats is as old as when it was first said, and is kept for an hour from then on.
func TestKnownAgain(t *testing.T) {
	x, at := &two{}, now
	s := newService(t, place.Config{Sessions: x, Parties: &parties{}, Now: func() time.Time { return at }})
	know := func(c place.Call, lon float64) wire.NetworkPlace {
		t.Helper()
		p := here
		p.Geometry.Coordinates = []float64{lon, 51}
		p.Properties.Time = now.In(time.FixedZone("", 3600))
		if err := s.Know(t.Context(), "t", alice, c, p, time.Time{}); err != nil {
			t.Fatal(err)
		}
		k, err := s.KnownHere(t.Context(), "t", "s", "alice")
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	c := place.Call{Ref: tel.Ref{CallID: "1"}, With: bob}
	know(c, 1)
	at = now.Add(40 * time.Minute)
	c.Ref.SessionID = "learned later" // another key, and the same call
	for range 2 {
		if k := know(c, 1); !k.At.Equal(now) || !k.Until.Equal(at.Add(time.Hour)) {
			t.Errorf("said again: %v, until %v", k.At, k.Until)
		}
	}
	if k := know(c, 2); !k.At.Equal(at) {
		t.Errorf("another place is of %v", k.At)
	}
}

func TestReported(t *testing.T) {
	doc := func(allowed string) string {
		return `<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10" xmlns:b="urn:ietf:params:xml:ns:pidf:geopriv10:basicPolicy" xmlns:gml="http://www.opengis.net/gml"><dm:device id="a"><gp:geopriv><gp:location-info><gml:Point srsName="urn:ogc:def:crs:EPSG::4326"><gml:pos>51.5074 -0.1278</gml:pos></gml:Point></gp:location-info><gp:usage-rules><b:retransmission-allowed>` +
			allowed + `</b:retransmission-allowed></gp:usage-rules></gp:geopriv></dm:device></presence>`
	}
	if p, _, err := place.Reported(nil, doc("yes")); err != nil || place.URI(p) != "geo:51.5074,-0.1278" {
		t.Errorf("%+v, %v", p, err)
	}
	if p, _, err := place.Reported(&here, ""); err != nil || place.URI(p) != "geo:51.5074,-0.1278" {
		t.Errorf("%+v, %v", p, err)
	}
	for name, err := range map[string]error{
		"not to be passed on": second(place.Reported(nil, doc("no"))),
		"both forms":          second(place.Reported(&here, doc("yes"))),
		"no document":         second(place.Reported(nil, "<presence/>")),
	} {
		if !errors.Is(err, place.ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second(_ wire.Place, _ time.Time, err error) error { return err }
