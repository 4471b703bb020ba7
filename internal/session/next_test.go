package session

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

var (
	t0    = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	alice = identity("+442079460001")
	bob   = identity("+442079460002")
	carol = identity("+442079460003")
)

func identity(s string) tel.Identity {
	id, err := tel.ParseIdentity(s, "")
	if err != nil {
		panic(err)
	}
	return id
}

func opened(t *testing.T, at time.Time) Record {
	t.Helper()
	r, _, err := Record{}.Next(Opened{
		ID: "S1", Tenant: wire.DefaultTenant, At: at,
		Terms: Terms{Linger: 10 * time.Minute, LingerMax: time.Hour, Members: 4},
		Sides: []Joining{
			{Principal: alice, Shown: alice, Devices: []Device{{"a1", "Alice's phone"}, {"a2", ""}}},
			{Principal: bob, Shown: bob, Devices: []Device{{"b1", "Bob"}}},
		},
	}, at)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// after applies events one minute apart, the first at t0+1m.
func after(t *testing.T, r Record, events ...Event) Record {
	t.Helper()
	for i, ev := range events {
		var err error
		if r, _, err = r.Next(ev, t0.Add(time.Duration(i+1)*time.Minute)); err != nil {
			t.Fatalf("%T: %v", ev, err)
		}
	}
	return r
}

func TestNextEveryPhaseAndEvent(t *testing.T) { // B1, B6
	const (
		same    = "same" // no change, no effects
		told    = "tell note"
		over    = "tell note gone"
		blocked = "tell note block gone"
	)
	now := t0.Add(5 * time.Minute)
	none := Record{}
	inCall := opened(t, t0)
	afterCall := after(t, inCall, CallEnded{At: t0})
	lapsed := afterCall
	lapsed.Until = now
	closed := after(t, inCall, OperatorClose{})
	closed.Due = nil
	left := after(t, inCall, Leave{Device: "a2", DeviceOnly: true})
	away := after(t, inCall, Joining{Principal: carol, Shown: carol, Devices: []Device{{ID: "c1"}}}, Away{Principal: carol})
	d := func(p tel.Identity, ids ...wire.DeviceID) Joining {
		j := Joining{Principal: p, Shown: p}
		for _, id := range ids {
			j.Devices = append(j.Devices, Device{ID: id})
		}
		return j
	}
	type phase = wire.Phase
	for _, c := range []struct {
		name string
		r    Record
		ev   Event
		want string // effects, "same", or the code of the refusal
		then phase
	}{
		{"nothing, opened", none, Opened{ID: "S", Sides: []Joining{d(alice, "a1"), d(bob, "b1")}, Terms: Terms{Members: 2}}, told, wire.InCall},
		{"nothing, device joins", none, d(alice, "a1"), "not-a-member", ""},
		{"nothing, a party goes away", none, Away{Principal: alice}, "not-a-member", ""},
		{"nothing, call ended", none, CallEnded{}, "not-a-member", ""},
		{"nothing, call up", none, CallUp{}, "not-a-member", ""},
		{"nothing, extend", none, Extend{"a1", time.Minute}, "not-a-member", ""},
		{"nothing, leave", none, Leave{Device: "a1"}, "not-a-member", ""},
		{"nothing, linger over", none, LingerOver{}, "not-a-member", ""},
		{"nothing, operator", none, OperatorClose{}, "not-a-member", ""},
		{"nothing, details over", none, DetailsOver{}, "not-a-member", ""},

		{"in call, opened again", inCall, Opened{ID: "S1"}, same, wire.InCall},
		{"in call, device joins", inCall, d(bob, "b2"), told, wire.InCall},
		{"in call, known device joins", inCall, d(bob, "b1"), same, wire.InCall},
		{"in call, a third party joins", inCall, d(carol, "c1"), told, wire.InCall},
		{"in call, more than there is room for", after(t, inCall, d(carol, "c1")), d(carol, "c2"), "session-full", wire.InCall},
		{"in call, who left joins again", left, d(alice, "a2"), same, wire.InCall},
		{"in call, who is away joins again", away, d(carol, "c1"), told, wire.InCall},
		{"in call, who is away joins by what was decided before", away, Joining{Principal: carol, Devices: []Device{{ID: "c1"}}, At: t0.Add(time.Minute)}, same, wire.InCall},
		{"in call, a device goes away", inCall, Away{Principal: alice, Devices: []wire.DeviceID{"a2"}}, told, wire.InCall},
		{"in call, a party goes away", inCall, Away{Principal: alice}, told, wire.InCall},
		{"in call, who left goes away", left, Away{Principal: alice, Devices: []wire.DeviceID{"a2"}}, same, wire.InCall},
		{"in call, a stranger goes away", inCall, Away{Principal: carol}, same, wire.InCall},
		{"in call, another's device goes away", inCall, Away{Principal: alice, Devices: []wire.DeviceID{"b1"}}, same, wire.InCall},
		{"in call, who is away leaves", away, Leave{Device: "c1"}, "not-a-member", wire.InCall},
		{"in call, call ended", inCall, CallEnded{At: now}, told, wire.AfterCall},
		{"in call, call up", inCall, CallUp{}, same, wire.InCall},
		{"in call, extend", inCall, Extend{"a1", time.Minute}, "conflict", wire.InCall},
		{"in call, extend by a stranger", inCall, Extend{"x", time.Minute}, "not-a-member", wire.InCall},
		{"in call, party of two leaves", inCall, Leave{Device: "a1"}, over, wire.Closed},
		{"in call, party leaves and blocks", inCall, Leave{Device: "b1", Block: true}, blocked, wire.Closed},
		{"in call, one device leaves", inCall, Leave{Device: "a1", DeviceOnly: true}, told, wire.InCall},
		{"in call, last device of a party leaves", inCall, Leave{Device: "b1", DeviceOnly: true}, over, wire.Closed},
		{"in call, party of three leaves", after(t, inCall, d(carol, "c1")), Leave{Device: "c1"}, over, wire.InCall},
		{"in call, stranger leaves", inCall, Leave{Device: "x"}, "not-a-member", wire.InCall},
		{"in call, who left leaves", left, Leave{Device: "a2"}, "not-a-member", wire.InCall},
		{"in call, linger over", inCall, LingerOver{}, same, wire.InCall},
		{"in call, operator", inCall, OperatorClose{}, over, wire.Closed},
		{"in call, details over", inCall, DetailsOver{}, same, wire.InCall},

		{"after call, opened again", afterCall, Opened{ID: "S1"}, same, wire.AfterCall},
		{"after call, device joins", afterCall, d(bob, "b2"), told, wire.AfterCall},
		{"after call, call ended again", afterCall, CallEnded{At: now}, same, wire.AfterCall},
		{"after call, call up", afterCall, CallUp{}, told, wire.InCall},
		{"after call, call up though one left", after(t, left, CallEnded{}), CallUp{}, "not again", wire.AfterCall},
		{"after call, call up though one was away", after(t, away, d(carol, "c1"), CallEnded{}), CallUp{}, "not again", wire.AfterCall},
		{"after call, call up too late", lapsed, CallUp{}, "not again", wire.AfterCall},
		{"after call, extend", afterCall, Extend{"b1", 30 * time.Minute}, told, wire.AfterCall},
		{"after call, extend by less than is left", afterCall, Extend{"b1", time.Minute}, same, wire.AfterCall},
		{"after call, extend by nothing", afterCall, Extend{"b1", 0}, "bad-request", wire.AfterCall},
		{"after call, extend too late", lapsed, Extend{"b1", time.Minute}, "session-closed", wire.AfterCall},
		{"after call, leave", afterCall, Leave{Device: "a1"}, over, wire.Closed},
		{"after call, linger not over", afterCall, LingerOver{}, same, wire.AfterCall},
		{"after call, linger over", lapsed, LingerOver{}, over, wire.Closed},
		{"after call, operator", afterCall, OperatorClose{}, over, wire.Closed},
		{"after call, details over", afterCall, DetailsOver{}, same, wire.AfterCall},

		{"closed, opened again", closed, Opened{ID: "S1"}, same, wire.Closed},
		{"closed, a party goes away", closed, Away{Principal: alice}, same, wire.Closed},
		{"closed, device joins", closed, d(bob, "b2"), "session-closed", wire.Closed},
		{"closed, call ended", closed, CallEnded{}, same, wire.Closed},
		{"closed, call up", closed, CallUp{}, "not again", wire.Closed},
		{"closed, extend", closed, Extend{"a1", time.Minute}, "session-closed", wire.Closed},
		{"closed, leave", closed, Leave{Device: "a1"}, same, wire.Closed},
		{"closed, leave and block", closed, Leave{Device: "a1", Block: true}, "block", wire.Closed},
		{"closed, linger over", closed, LingerOver{}, same, wire.Closed},
		{"closed, operator", closed, OperatorClose{}, same, wire.Closed},
		{"closed, details over", closed, DetailsOver{}, "", wire.Closed},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := c.r
			before.Members, before.Sides, before.Due = slices.Clone(c.r.Members), slices.Clone(c.r.Sides), slices.Clone(c.r.Due)
			r, effects, err := c.r.Next(c.ev, now)
			got := ""
			for i, e := range effects {
				if i > 0 {
					got += " "
				}
				got += string(e.Do)
			}
			var p *wire.Problem
			switch {
			case errors.As(err, &p):
				got = string(p.Code)
			case errors.Is(err, ErrNotAgain):
				got = "not again"
			case err != nil:
				t.Fatal(err)
			case r.Version == c.r.Version && len(effects) == 0:
				got = same
			case r.Version != c.r.Version+1 || !r.Changed.Equal(now):
				t.Errorf("version %d after %d, changed at %v", r.Version, c.r.Version, r.Changed)
			}
			if got != c.want || r.Phase != c.then {
				t.Errorf("got %q, phase %q; want %q, phase %q", got, r.Phase, c.want, c.then)
			}
			if !slices.Equal(before.Members, c.r.Members) || !slices.Equal(before.Sides, c.r.Sides) {
				t.Error("Next changed the record that it was called on")
			}
		})
	}
}

func TestLingerAndExtend(t *testing.T) { // B6
	r := after(t, opened(t, t0), CallEnded{At: t0})
	if want := t0.Add(11 * time.Minute); !r.Until.Equal(want) {
		t.Errorf("until %v, want %v", r.Until, want)
	}
	r, _, err := r.Next(Extend{"a1", 20 * time.Minute}, t0.Add(2*time.Minute))
	if want := t0.Add(22 * time.Minute); err != nil || !r.Until.Equal(want) {
		t.Errorf("until %v, %v; want %v", r.Until, err, want)
	}
	r, _, err = r.Next(Extend{"b1", 100 * time.Hour}, t0.Add(3*time.Minute))
	if want := t0.Add(61 * time.Minute); err != nil || !r.Until.Equal(want) || !r.State(1).MayExtendTo.Equal(want) {
		t.Errorf("until %v, %v; want the cap, %v", r.Until, err, want)
	}
	r, _, err = r.Next(LingerOver{}, t0.Add(61*time.Minute))
	if err != nil || r.Phase != wire.Closed || r.Reason != "linger" || len(r.Due) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestWithheldStaysWithheld(t *testing.T) {
	r, _, err := Record{}.Next(Opened{ID: "S", Terms: Terms{Members: 9}, Sides: []Joining{
		{Principal: alice, Devices: []Device{{ID: "a1"}}},
		{Principal: bob, Shown: bob, Devices: []Device{{ID: "b1"}}},
	}}, t0)
	if err != nil {
		t.Fatal(err)
	}
	st := r.State(2)
	if !st.Members[0].Identity.IsZero() || st.Members[1].Identity != bob || st.You != "2" {
		t.Errorf("%+v", st.Members)
	}
	if log := r.State(0); !log.Members[1].Identity.IsZero() || log.You != "" {
		t.Errorf("the log shows identities: %+v", log.Members)
	}
	r = after(t, r, CallEnded{})
	if _, _, err := r.Next(CallUp{}, t0.Add(2*time.Minute)); !errors.Is(err, ErrNotAgain) {
		t.Errorf("a session with a withheld identity was taken up again: %v", err)
	}
}

func TestDetailsAreForgotten(t *testing.T) {
	r := after(t, opened(t, t0), OperatorClose{})
	if again, _, _ := r.Next(DetailsOver{}, t0); again.Version != r.Version {
		t.Error("forgotten while the matcher has not heard")
	}
	r.Due = nil
	r = after(t, r, DetailsOver{})
	for _, s := range r.Sides {
		if !s.Principal.IsZero() || !s.Shown.IsZero() {
			t.Errorf("kept %+v", s)
		}
	}
}

func TestEntryRoundTrip(t *testing.T) {
	env := wire.Envelope{ID: "r-1", Kind: "text", Body: []byte(`{"text":"grüß dich"}`)}
	b := appendEntry(nil, 300, 500, []uint32{1, 400}, &env, t0)
	e, err := parseEntry(b)
	if err != nil || e.from != 300 || e.members != 500 || string(e.id) != "r-1" {
		t.Fatalf("%+v, %v", e, err)
	}
	want := `{"type":"message","session":"S","seq":7,"epoch":2,"from":"300","id":"r-1","to":["1","400"],"kind":"text","time":"2026-11-23T09:00:00Z","body":{"text":"grüß dich"}}`
	if got := string(framesOf("S").messageFrame(7, 2, e.tail)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for n, visible := range map[uint32]bool{1: true, 400: true, 300: true, 2: false} {
		if e.visible(n, 1) != visible {
			t.Errorf("member %d: visible %v", n, !visible)
		}
	}
	if !e.visible(402, 2, 7, 400) || e.visible(402, 2, 7) {
		t.Error("what was sent to one is for who takes its place")
	}
	all := entry{from: 1, members: 3}
	if !all.visible(2, 2) || !all.visible(9, 3) || all.visible(4, 4) {
		t.Error("a message to all is for parties that were there")
	}
}

// TestPlaces: who is let take another one's place, and who comes back, has what was there before
// it; another device of the party, and the other party, have not.
func TestPlaces(t *testing.T) {
	r := opened(t, t0)
	// The second side has one device, "b1".
	hand := func(from, to wire.DeviceID) {
		bob := r.Sides[1].Principal
		r = after(t, r, Joining{Principal: bob, Devices: []Device{{ID: to}}, By: from, At: t0}, Away{Principal: bob, Devices: []wire.DeviceID{from}, At: t0})
	}
	first := r.member("b1")
	hand("b1", "b2")
	hand("b2", "b1")
	r = after(t, r, Joining{Principal: r.Sides[1].Principal, Devices: []Device{{ID: "b3"}}})
	for device, want := range map[wire.DeviceID][]uint32{"b1": {first, first + 1}, "b3": nil, "a1": nil} {
		if got := r.placesOf(r.member(device)); !slices.Equal(got, want) {
			t.Errorf("%s has the places %v, want %v", device, got, want)
		}
	}
	if was := r.State(r.member("b1")).Was; !slices.Equal(was, []wire.MemberID{memberID(first)}) {
		t.Errorf("it was %v", was)
	}
	if was := r.State(r.member("b3")).Was; was != nil {
		t.Errorf("the other device was %v", was)
	}
}

func FuzzParseEntry(f *testing.F) {
	f.Add(appendEntry(nil, 1, 2, []uint32{3}, &wire.Envelope{ID: "x", Kind: "text", Body: []byte("{}")}, t0))
	f.Add([]byte{entryFormat, 1, 1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := parseEntry(b); err == nil {
			e.visible(5, 5)
			e.version()
		}
	})
}
