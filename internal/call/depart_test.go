package call

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// bridge is a conference that parties come to and leave.
type bridge struct {
	*scene
	number tel.Identity
	// members of the session that goes on, as the effects make them.
	members map[tel.Identity]bool
	session wire.SessionID
}

func newBridge(t interface{ Helper() }) *bridge {
	b := &bridge{scene: newScene(t, Rules{}), number: must(tel.ParseIdentity("+448005550100", "")), members: map[tel.Identity]bool{}}
	b.shared[b.number] = true
	return b
}

func (b *bridge) report(r Report) []Effect {
	return b.see(b.play(Reported{
		Report: r, Kind: Conference, Key: conferenceKey("t", b.number, "77"),
		Own: b.party(r.Own), Other: b.party(b.number), Fresh: b.next(),
	}))
}

func (b *bridge) see(effects []Effect) []Effect {
	for _, e := range effects {
		switch e.Do {
		case OpenSession:
			b.session, b.members = e.Session, map[tel.Identity]bool{}
		case CallEnded:
			b.session = ""
		}
		for _, s := range e.Sides {
			switch e.Do {
			case OpenSession, JoinDevices:
				b.members[s.Principal] = true
			case Part:
				delete(b.members, s.Principal)
			}
		}
	}
	return effects
}

// TestMembershipFollowsTheLegs: whatever comes and goes, the members of a conference's
// session are those who are in its call, as long as two are.
func TestMembershipFollowsTheLegs(t *testing.T) {
	people := []tel.Identity{alice, bob, carol, must(tel.ParseIdentity("+442079460004", ""))}
	rapid.Check(t, func(rt *rapid.T) {
		b := newBridge(rt)
		legs := map[tel.Identity]map[string]bool{} // up, by device and reference
		for i := range rapid.IntRange(1, 40).Draw(rt, "steps") {
			b.now = b.now.Add(time.Second)
			who := rapid.SampledFrom(people).Draw(rt, "who")
			n := slices.Index(people, who)
			device := fmt.Sprint(n, rapid.IntRange(1, 2).Draw(rt, "device"))
			up := legs[who]
			if up == nil {
				up = map[string]bool{}
				legs[who] = up
			}
			state := rapid.SampledFrom([]tel.State{tel.Active, tel.Active, tel.Held, tel.Ended}).Draw(rt, "state")
			// Each device has a leg of its own, under a fresh reference whenever it dials in.
			refOf := func() string {
				for ref := range up {
					if ref[:len(device)] == device {
						return ref
					}
				}
				return ""
			}
			ref := refOf()
			if ref == "" {
				if state == tel.Ended {
					continue
				}
				ref = fmt.Sprint(device, "-", i)
			}
			b.report(says("device:"+device, who, b.number, state, "conf=77", "call="+ref))
			if up[ref] = state != tel.Ended; !up[ref] {
				delete(up, ref)
			}
			var there []tel.Identity
			for _, p := range people {
				if len(legs[p]) > 0 {
					there = append(there, p)
				}
			}
			if b.session == "" {
				if len(there) >= 2 {
					rt.Fatalf("%d are in the conference, and there is no session", len(there))
				}
				continue
			}
			if len(there) < 2 {
				rt.Fatalf("%d are in the conference, and its session is in a call", len(there))
			}
			for _, p := range people {
				if b.members[p] != slices.Contains(there, p) {
					rt.Fatalf("step %d: %s is in the call: %v, in the session: %v", i, p, slices.Contains(there, p), b.members[p])
				}
			}
		}
	})
}

// TestDepartedByLapse: a party of which nothing is known for long is out, while others go on.
func TestDepartedByLapse(t *testing.T) {
	b := newBridge(t)
	for _, who := range []tel.Identity{alice, bob, carol} {
		b.report(says("device:d"+who.String()[len(who.String())-1:], who, b.number, tel.Active, "conf=77"))
	}
	for range 59 {
		b.now = b.now.Add(time.Minute)
		for _, who := range []tel.Identity{alice, bob} {
			b.report(says("device:d"+who.String()[len(who.String())-1:], who, b.number, tel.Active, "conf=77"))
		}
		b.see(b.tick(0))
	}
	if !b.members[carol] {
		t.Error("carol is out before an hour has passed since her lease")
	}
	b.now = b.rec.due(b.now, b.rules)
	for range 5 {
		b.now = b.now.Add(time.Minute)
		for _, who := range []tel.Identity{alice, bob} {
			b.report(says("device:d"+who.String()[len(who.String())-1:], who, b.number, tel.Active, "conf=77"))
		}
	}
	if b.members[carol] || !b.members[alice] || !b.members[bob] {
		t.Errorf("members: %v", b.members)
	}
	b.report(says("device:d3", carol, b.number, tel.Active, "conf=77"))
	if !b.members[carol] {
		t.Error("heard of again, she is not back")
	}
}

// TestDepartedMakeRoom: a conference that people come to and leave all day has room.
func TestDepartedMakeRoom(t *testing.T) {
	b := newBridge(t)
	b.rules.Statements = 3
	b.report(says("device:1", alice, b.number, tel.Active, "conf=77", "call=a"))
	b.report(says("device:2", bob, b.number, tel.Active, "conf=77", "call=b"))
	for i := range 8*b.rules.Statements + 10 {
		b.now = b.now.Add(time.Second)
		for _, state := range []tel.State{tel.Active, tel.Ended} {
			b.report(says("device:3", carol, b.number, state, "conf=77", fmt.Sprint("call=", i)))
			if b.members[carol] != (state == tel.Active) {
				t.Fatalf("the %dth time carol is %s: members %v", i+1, state, b.members)
			}
		}
	}
}
