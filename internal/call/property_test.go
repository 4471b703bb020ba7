package call

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// world plays events to a pair's record and watches over what must always hold.
type world struct {
	*scene
	rt *rapid.T
	// sessions has what has become of each.
	sessions map[wire.SessionID]string
}

func (w *world) play(ev Event) {
	before := w.rec
	frozen := must(json.Marshal(before))
	effects := w.scene.play(ev)
	if !slices.Equal(frozen, must(json.Marshal(before))) {
		w.rt.Fatalf("%T changed the record that it was given", ev)
	}
	var back Record
	stored := must(json.Marshal(w.rec))
	if err := json.Unmarshal(stored, &back); err != nil {
		w.rt.Fatalf("the record does not survive storage: %v", err)
	}
	if again := must(json.Marshal(back)); !slices.Equal(again, stored) {
		w.rt.Fatalf("the record is another one after storage:\n%s\n%s", again, stored)
	}

	legs := w.rec.legs(w.now)
	for _, e := range effects {
		switch e.Do {
		case OpenSession:
			if w.sessions[e.Session] != "" {
				w.rt.Fatalf("session %s is opened twice", e.Session)
			}
			w.sessions[e.Session] = "open"
			for _, side := range e.Sides {
				if !slices.ContainsFunc(legs, func(l Leg) bool { return l.Side == side.Index && l.Up() && l.Session == e.Session }) {
					w.rt.Fatalf("session opened, and %s has no leg up in it", side.Principal)
				}
				if !w.rec.Parties[side.Index].Reachable && len(side.Devices) == 0 {
					w.rt.Fatalf("session opened, and %s has no device", side.Principal)
				}
			}
			if len(e.Sides) != 2 || e.Sides[0].Principal == e.Sides[1].Principal {
				w.rt.Fatalf("session opened between %+v", e.Sides)
			}
		case CallUp:
			if w.sessions[e.Session] != "ended" {
				w.rt.Fatalf("session %s taken up again while %q", e.Session, w.sessions[e.Session])
			}
			w.sessions[e.Session] = "open"
		case CallEnded:
			if w.sessions[e.Session] != "open" {
				w.rt.Fatalf("call of session %s ends while %q", e.Session, w.sessions[e.Session])
			}
			w.sessions[e.Session] = "ended"
		case JoinDevices:
			if w.sessions[e.Session] != "open" {
				w.rt.Fatalf("devices join session %s while %q", e.Session, w.sessions[e.Session])
			}
		}
	}
	inCall := 0
	for _, j := range w.rec.Joints {
		if j.inCall() {
			inCall++
		}
	}
	if inCall > 1 && !w.rec.shared() && !hasRefs(w.rec) {
		w.rt.Fatalf("%d sessions for one call", inCall)
	}
	for i, l := range legs {
		for _, o := range legs[i+1:] {
			if sameLeg(l, o) && l.open() && o.open() {
				w.rt.Fatalf("one leg is counted twice: %s / %s", l.describe(), o.describe())
			}
		}
		for _, i := range l.statements {
			if s := w.rec.Statements[i]; s.Session != "" && s.Session != l.Session {
				w.rt.Fatalf("a leg is in two sessions")
			}
		}
	}
	if len(w.rec.Statements) > w.rules.Statements {
		w.rt.Fatalf("%d statements", len(w.rec.Statements))
	}
}

func hasRefs(r Record) bool {
	return slices.ContainsFunc(r.Statements, func(s Statement) bool {
		return strength(s) > 0 || s.Details.Extension != ""
	})
}

// TestAnyEvents: whatever is reported, answered, typed, and whenever it is, the promises hold.
func TestAnyEvents(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rules := Rules{Partial: rapid.SampledFrom([]PartialPolicy{PartialConfirm, PartialAuto, PartialOff}).Draw(rt, "policy")}
		w := &world{scene: newScene(rt, rules), rt: rt, sessions: map[wire.SessionID]string{}}
		w.shared[bob] = rapid.Bool().Draw(rt, "shared")
		w.away[bob] = rapid.Float64Range(0, 1).Draw(rt, "away") < 0.1
		reporters := []string{"device:1", "device:2", "element:e", "element:f"}
		states := []tel.State{tel.Ringing, tel.Active, tel.Active, tel.Active, tel.Held, tel.Ended}
		details := []string{"local=1", "local=2", "call=x", "call=y", "session=s", "ext=1", "dialled=1", "dir=outgoing", "dir=incoming", "at=-10s", "seq=1", "seq=2"}
		report := func(rt *rapid.T, own, other tel.Identity) {
			by := rapid.SampledFrom(reporters).Draw(rt, "by")
			if own == bob {
				by += "b"
			}
			named := other
			if rapid.IntRange(0, 4).Draw(rt, "named") == 0 {
				named = tel.Identity{}
			}
			more := rapid.SliceOfNDistinct(rapid.SampledFrom(details), 0, 2, rapid.ID).Draw(rt, "details")
			r := says(by, own, named, rapid.SampledFrom(states).Draw(rt, "state"), more...)
			r.Asked = rapid.IntRange(0, 4).Draw(rt, "asked") == 0
			w.play(Reported{Report: r, Kind: Pair, Key: pairKey("t", own, other), Own: w.party(own), Other: w.party(other), Fresh: w.next()})
		}
		someSession := func(rt *rapid.T) wire.SessionID {
			if len(w.rec.Joints) == 0 {
				return "none"
			}
			return rapid.SampledFrom(w.rec.Joints).Draw(rt, "joint").Session
		}
		rt.Repeat(map[string]func(*rapid.T){
			"alice reports":  func(rt *rapid.T) { report(rt, alice, bob) },
			"alice reports2": func(rt *rapid.T) { report(rt, alice, bob) },
			"bob reports":    func(rt *rapid.T) { report(rt, bob, alice) },
			"bob reports2":   func(rt *rapid.T) { report(rt, bob, alice) },
			"answer": func(rt *rapid.T) {
				if q := w.rec.Question; q != nil {
					w.play(Answered{
						Party: w.rec.Parties[q.Side].Identity, Device: "9", Fresh: w.next(),
						Answer: wire.Answer{Invitation: q.ID, Accept: rapid.Bool().Draw(rt, "accept")},
					})
				}
			},
			"type": func(rt *rapid.T) {
				if q := w.rec.Question; q != nil {
					f := w.next()
					w.play(Confirmed{
						Party: w.rec.Parties[1-q.Side].Identity, Device: "9", Fresh: f, Attempt: f.Life,
						Confirm: wire.Confirm{Invitation: q.ID, Words: rapid.SampledFrom([]string{"amber falcon", "no idea"}).Draw(rt, "words")},
					})
				}
			},
			"time passes": func(rt *rapid.T) {
				w.now = w.now.Add(rapid.SampledFrom([]time.Duration{time.Second, 3 * time.Second, 3 * time.Minute, 2 * time.Hour}).Draw(rt, "for"))
				w.play(Ticked{Busy: [2]bool{rapid.Bool().Draw(rt, "busy")}, Fresh: w.next()})
				w.settle(rt)
			},
			"session gone": func(rt *rapid.T) {
				id := someSession(rt)
				w.play(SessionGone{id})
				if w.sessions[id] != "" {
					w.sessions[id] = "gone"
				}
			},
			"diverted": func(rt *rapid.T) {
				w.play(w.divert(rapid.SampledFrom(states).Draw(rt, "state"), rapid.SampledFrom([]string{"call=x", "call=y", "session=s", "local=1"}).Draw(rt, "ref")))
			},
			"member gone": func(rt *rapid.T) { w.play(MemberGone{someSession(rt)}) },
		})
	})
}

// settle: ticks come to rest; a record never wants to be ticked again and again.
func (w *world) settle(rt *rapid.T) {
	for range 40 {
		w.rec.Pending = nil
		if w.rec.Life == "" || w.rec.empty() {
			return
		}
		if due := w.rec.due(w.now, w.rules); due.IsZero() || due.After(w.now) {
			return
		}
		w.play(Ticked{Fresh: w.next()})
	}
	rt.Fatalf("the record is always due: %s", must(json.Marshal(w.rec)))
}

// TestOrderAndRepetition: the reports of one call, in any order, each any number of times,
// give the same members in the one session.
func TestOrderAndRepetition(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		reports := []Report{
			says("device:a1", alice, bob, tel.Ringing, "seq=1", "at=-3s", "local=1", "dir=outgoing"),
			says("device:a1", alice, bob, tel.Active, "seq=2", "at=-1s", "local=1", "dir=outgoing"),
			says("device:a2", alice, bob, tel.Active, "seq=1", "at=-1s", "local=7"),
			says("element:e", alice, bob, tel.Active, "seq=1", "at=-1s", "call=x"),
			says("device:b1", bob, alice, tel.Ringing, "seq=1", "at=-2s", "local=1", "dir=incoming"),
			says("device:b1", bob, alice, tel.Active, "seq=2", "at=-1s", "local=1", "dir=incoming"),
			says("device:b2", bob, alice, tel.Ringing, "seq=1", "at=-2s", "local=3"),
			says("device:b2", bob, alice, tel.Ended, "seq=2", "at=-1s", "local=3"),
			says("element:f", bob, alice, tel.Held, "seq=1", "at=-1s", "call=x"),
		}
		order := rapid.Permutation(reports).Draw(rt, "order")
		s := newScene(rt, Rules{})
		for _, r := range order {
			for range rapid.IntRange(1, 3).Draw(rt, "times") {
				other := bob
				if r.Own == bob {
					other = alice
				}
				s.pair(r, other)
			}
		}
		members := map[string]bool{}
		sessions := 0
		for _, e := range s.did {
			switch e.Do {
			case OpenSession:
				sessions++
			case JoinDevices, Enter:
			default:
				rt.Fatalf("unexpected effect %s", e.Do)
			}
			for _, side := range e.Sides {
				for _, d := range side.Devices {
					members[fmt.Sprint(side.Principal, " ", d)] = true
				}
			}
		}
		for _, d := range []string{"b2"} { // a phone that only rang may be told or not; its party is
			delete(members, fmt.Sprint(bob, " ", d))
		}
		want := map[string]bool{fmt.Sprint(alice, " a1"): true, fmt.Sprint(alice, " a2"): true, fmt.Sprint(bob, " b1"): true}
		if sessions != 1 || !reflect.DeepEqual(members, want) {
			rt.Fatalf("%d sessions with members %v", sessions, members)
		}
	})
}

// TestLegsDependOnTheSetAlone: statements stored in another order make the same legs.
func TestLegsDependOnTheSetAlone(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newScene(rt, Rules{})
		for i := range rapid.IntRange(1, 8).Draw(rt, "n") {
			more := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"local=1", "local=2", "call=x", "call=y", "session=s"}), 0, 2, rapid.ID).Draw(rt, "refs")
			state := rapid.SampledFrom([]tel.State{tel.Ringing, tel.Active, tel.Held, tel.Ended}).Draw(rt, "state")
			s.now = s.now.Add(time.Second)
			s.pair(says(fmt.Sprint("device:", i%3), alice, bob, state, more...), bob)
		}
		describe := func(r Record) (all []string) {
			for _, l := range r.legs(s.now) {
				members := []string{}
				for _, i := range l.statements {
					members = append(members, r.Statements[i].key())
				}
				slices.Sort(members)
				all = append(all, fmt.Sprint(l.State, members))
			}
			slices.Sort(all)
			return all
		}
		shuffled := s.rec.clone()
		shuffled.Statements = rapid.Permutation(shuffled.Statements).Draw(rt, "order")
		if a, b := describe(s.rec), describe(shuffled); !slices.Equal(a, b) {
			rt.Fatalf("legs %v, in another order %v", a, b)
		}
	})
}

// BenchmarkCall is what the machine costs per call: two reports each up, and one end.
func BenchmarkCall(b *testing.B) {
	for b.Loop() {
		s := newScene(b, Rules{})
		s.a(tel.Active, "call=x")
		s.b(tel.Active, "call=x")
		s.a(tel.Ended, "call=x")
		if len(s.rec.Joints) != 1 {
			b.Fatal("no session")
		}
	}
}
