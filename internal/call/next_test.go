package call

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

var (
	alice = must(tel.ParseIdentity("+442079460001", ""))
	bob   = must(tel.ParseIdentity("+442079460002", ""))
	carol = must(tel.ParseIdentity("+442079460003", ""))
	noon  = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// scene plays events to one record.
type scene struct {
	t     interface{ Helper() }
	rec   Record
	now   time.Time
	rules Rules
	fresh int
	// did lists all effects there were.
	did []Effect
	// shared identities, and parties without a device.
	shared, away map[tel.Identity]bool
}

func newScene(t interface{ Helper() }, rules Rules) *scene {
	return &scene{t: t, now: noon, rules: must(rules.withDefaults()), shared: map[tel.Identity]bool{}, away: map[tel.Identity]bool{}}
}

func (s *scene) next() Fresh {
	s.fresh++
	return Fresh{
		Life: fmt.Sprintf("life%d", s.fresh), Session: wire.SessionID(fmt.Sprintf("s%d", s.fresh)),
		Invitation: wire.InvitationID(fmt.Sprintf("i%d", s.fresh)), Words: "amber falcon",
	}
}

func (s *scene) play(ev Event) []Effect {
	next, effects := s.rec.Next(ev, s.now, s.rules)
	s.rec = next
	s.did = append(s.did, effects...)
	return effects
}

func (s *scene) tick(d time.Duration) []Effect {
	s.now = s.now.Add(d)
	return s.play(Ticked{Fresh: s.next()})
}

// says makes a report: by is "device:d1", "element:e1", …; further words set the details.
func says(by string, own, other tel.Identity, state tel.State, more ...string) Report {
	kind, id, _ := strings.Cut(by, ":")
	r := Report{Tenant: "t", Reporter: Reporter{Kind: ReporterKind(kind), ID: id, Evidence: Trusted}}
	if r.Reporter.Kind == ByDevice {
		r.Reporter.Device, r.Reporter.Evidence = wire.DeviceID(id), Observed
	}
	r.PartyDetails = tel.PartyDetails{Own: own, Other: other, State: state}
	for _, m := range more {
		k, v, _ := strings.Cut(m, "=")
		switch k {
		case "local":
			r.Ref.Local = v
		case "call":
			r.Ref.CallID = v
		case "session":
			r.Ref.SessionID = v
		case "ext":
			r.Extension = v
		case "dialled":
			r.OtherExtension = v
		case "conf":
			r.ConferenceID = v
		case "dir":
			r.Direction = tel.Direction(v)
		case "withheld":
			r.Withheld = true
		case "other-withheld":
			r.OtherWithheld = true
		case "seq":
			_, _ = fmt.Sscan(v, &r.Seq)
		case "at":
			r.At = noon.Add(must(time.ParseDuration(v)))
		default:
			panic(m)
		}
	}
	return r
}

// pair plays a report to a pair's record; other names the other party also where the
// report does not.
func (s *scene) pair(r Report, other tel.Identity) []Effect {
	s.t.Helper()
	return s.play(Reported{
		Report: r, Kind: Pair, Key: pairKey("t", r.Own, other),
		Own: s.party(r.Own), Other: s.party(other), Fresh: s.next(),
	})
}

// divert tells the record of Alice and Bob that Carol has a call in which Alice dialled Bob.
func (s *scene) divert(state tel.State, more ...string) Event {
	r := says("element:e", carol, alice, state, more...)
	r.Direction, r.Dialled = tel.Incoming, bob
	return Diverted{
		Tenant: "t", Key: pairKey("t", alice, bob), Caller: s.party(alice), Dialled: s.party(bob), Fresh: s.next(),
		Divert: Divert{Pair: "other", Statement: Statement{Side: 1}.hear(r, s.now, s.rules)},
	}
}

func (s *scene) party(id tel.Identity) Party {
	return Party{Identity: id, Shared: s.shared[id], Reachable: !s.away[id]}
}

func (s *scene) a(state tel.State, more ...string) []Effect {
	return s.pair(says("device:a1", alice, bob, state, more...), bob)
}

func (s *scene) b(state tel.State, more ...string) []Effect {
	return s.pair(says("device:b1", bob, alice, state, more...), alice)
}

// names lists effects by name, without the index's.
func names(effects []Effect) string {
	var n []string
	for _, e := range effects {
		if e.Do != Enter {
			n = append(n, string(e.Do))
		}
	}
	return strings.Join(n, " ")
}

// phases brings a record into each phase.
var phases = map[Phase]func(*scene){
	Quiet:    func(s *scene) { s.a(tel.Ringing) },
	OneSided: func(s *scene) { s.a(tel.Active) },
	Asked:    func(s *scene) { s.a(tel.Active); s.tick(3 * time.Second) },
	Unclear: func(s *scene) {
		s.pair(says("element:e", alice, bob, tel.Active, "call=x"), bob)
		s.pair(says("element:e", alice, bob, tel.Active, "call=y"), bob)
		s.b(tel.Active)
	},
	InCall:    func(s *scene) { s.a(tel.Active); s.b(tel.Active) },
	AfterCall: func(s *scene) { s.a(tel.Active); s.b(tel.Active); s.a(tel.Ended); s.now = s.now.Add(time.Second) },
}

// TestPhasesTimesEvents is the machine as one table: every phase of a pair times every
// event, with the phase that follows and the effects.
func TestPhasesTimesEvents(t *testing.T) {
	question := func(s *scene) (id wire.InvitationID) {
		if s.rec.Question != nil {
			id = s.rec.Question.ID
		}
		return id
	}
	session := func(s *scene) (id wire.SessionID) {
		if len(s.rec.Joints) > 0 {
			id = s.rec.Joints[0].Session
		}
		return id
	}
	events := []struct {
		name string
		play func(*scene) []Effect
		// want per phase, in the order of the list below: the phase after, then the effects.
		want map[Phase]string
	}{
		{"own side rings", func(s *scene) []Effect { return s.a(tel.Ringing, "local=2") }, map[Phase]string{
			Quiet: "quiet", OneSided: "one_sided", Asked: "asked", Unclear: "unclear", InCall: "in_call", AfterCall: "after_call",
		}},
		{"own side is up", func(s *scene) []Effect { return s.a(tel.Active) }, map[Phase]string{
			Quiet: "one_sided", OneSided: "one_sided", Asked: "asked", Unclear: "unclear", InCall: "in_call", AfterCall: "in_call call_up",
		}},
		{"other side is up", func(s *scene) []Effect { return s.b(tel.Active) }, map[Phase]string{
			Quiet: "one_sided", OneSided: "in_call open", Asked: "in_call open withdraw", Unclear: "unclear", InCall: "in_call", AfterCall: "after_call",
		}},
		{"other side holds", func(s *scene) []Effect { return s.b(tel.Held) }, map[Phase]string{
			Quiet: "one_sided", OneSided: "in_call open", Asked: "in_call open withdraw", Unclear: "unclear", InCall: "in_call", AfterCall: "after_call",
		}},
		{"own side ends", func(s *scene) []Effect { return s.a(tel.Ended) }, map[Phase]string{
			Quiet: "quiet", OneSided: "quiet", Asked: "quiet withdraw", Unclear: "unclear", InCall: "after_call ended", AfterCall: "after_call",
		}},
		{"other side ends", func(s *scene) []Effect { return s.b(tel.Ended) }, map[Phase]string{
			Quiet: "quiet", OneSided: "one_sided", Asked: "asked", Unclear: "one_sided", InCall: "after_call ended", AfterCall: "after_call",
		}},
		{"a leg is chosen", func(s *scene) []Effect { return s.play(Chosen{Pair: "p", Leg: "l"}) }, map[Phase]string{
			Quiet: "quiet", OneSided: "one_sided", Asked: "asked", Unclear: "unclear", InCall: "in_call", AfterCall: "after_call",
		}},
		{"its call was diverted", func(s *scene) []Effect { return s.play(s.divert(tel.Active)) }, map[Phase]string{
			Quiet: "quiet", OneSided: "quiet hand", Asked: "quiet hand withdraw", Unclear: "unclear", InCall: "in_call", AfterCall: "after_call",
		}},
		{"other side accepts", func(s *scene) []Effect {
			return s.play(Answered{Party: bob, Device: "b2", Answer: wire.Answer{Invitation: question(s), Accept: true}, Fresh: s.next()})
		}, map[Phase]string{
			Quiet: "quiet", OneSided: "one_sided", Asked: "in_call withdraw open", Unclear: "unclear", InCall: "in_call", AfterCall: "after_call",
		}},
		{"other side declines", func(s *scene) []Effect {
			return s.play(Answered{Party: bob, Device: "b2", Answer: wire.Answer{Invitation: question(s)}, Fresh: s.next()})
		}, map[Phase]string{
			Quiet: "quiet", OneSided: "one_sided", Asked: "one_sided withdraw", Unclear: "unclear", InCall: "in_call", AfterCall: "after_call",
		}},
		{"claimant answers itself", func(s *scene) []Effect {
			return s.play(Answered{Party: alice, Device: "a1", Answer: wire.Answer{Invitation: question(s), Accept: true}, Fresh: s.next()})
		}, map[Phase]string{
			Quiet: "quiet", OneSided: "one_sided", Asked: "asked", Unclear: "unclear", InCall: "in_call", AfterCall: "after_call",
		}},
		{"words are typed", func(s *scene) []Effect {
			return s.play(Confirmed{Party: alice, Device: "a1", Confirm: wire.Confirm{Invitation: question(s), Words: "amber falcon"}, Attempt: "1", Fresh: s.next()})
		}, map[Phase]string{
			Quiet: "quiet", OneSided: "one_sided", Asked: "asked", Unclear: "unclear", InCall: "in_call", AfterCall: "after_call",
		}},
		{"3 s pass", func(s *scene) []Effect { return s.tick(3 * time.Second) }, map[Phase]string{
			Quiet: "quiet", OneSided: "asked invite", Asked: "asked", Unclear: "unclear", InCall: "in_call", AfterCall: "after_call",
		}},
		{"3 s pass, other side busy", func(s *scene) []Effect {
			s.now = s.now.Add(3 * time.Second)
			return s.play(Ticked{Busy: [2]bool{false, true}, Fresh: s.next()})
		}, map[Phase]string{
			Quiet: "quiet", OneSided: "one_sided", Asked: "one_sided withdraw", Unclear: "unclear", InCall: "in_call", AfterCall: "after_call",
		}},
		{"all leases run out", func(s *scene) []Effect { return s.tick(3 * time.Minute) }, map[Phase]string{
			Quiet: "quiet", OneSided: "quiet", Asked: "asked", Unclear: "quiet", InCall: "in_call", AfterCall: "after_call",
		}},
		{"hours pass", func(s *scene) []Effect { return s.tick(2 * time.Hour) }, map[Phase]string{
			Quiet: "quiet", OneSided: "quiet", Asked: "quiet withdraw", Unclear: "quiet", InCall: "after_call ended", AfterCall: "after_call",
		}},
		{"session is gone", func(s *scene) []Effect { return s.play(SessionGone{session(s)}) }, map[Phase]string{
			Quiet: "quiet", OneSided: "one_sided", Asked: "asked", Unclear: "unclear", InCall: "quiet", AfterCall: "quiet",
		}},
		{"member is gone", func(s *scene) []Effect { return s.play(MemberGone{session(s)}) }, map[Phase]string{
			Quiet: "quiet", OneSided: "one_sided", Asked: "asked", Unclear: "unclear", InCall: "in_call", AfterCall: "after_call",
		}},
		{"session was not taken up", func(s *scene) []Effect { return s.play(NotTakenUp{session(s), s.next()}) }, map[Phase]string{
			Quiet: "quiet", OneSided: "one_sided", Asked: "asked", Unclear: "unclear", InCall: "in_call open", AfterCall: "one_sided",
		}},
	}
	for _, ev := range events {
		if len(ev.want) != len(phases) {
			t.Fatalf("%s: the table has %d of %d phases", ev.name, len(ev.want), len(phases))
		}
		for phase, prepare := range phases {
			t.Run(string(phase)+"/"+ev.name, func(t *testing.T) {
				s := newScene(t, Rules{})
				prepare(s)
				if got := s.rec.Phase(s.now); got != phase {
					t.Fatalf("the scene is in phase %s", got)
				}
				did := ev.play(s)
				got := strings.TrimSpace(string(s.rec.Phase(s.now)) + " " + names(did))
				if got != ev.want[phase] {
					t.Errorf("%s + %s = %q, want %q", phase, ev.name, got, ev.want[phase])
				}
			})
		}
	}
}

func opened(effects []Effect) (all []Effect) {
	for _, e := range effects {
		if e.Do == OpenSession {
			all = append(all, e)
		}
	}
	return all
}

func TestMatch(t *testing.T) {
	tests := []struct {
		name string
		play func(*scene)
		want string // effects
	}{
		{"two devices", func(s *scene) { s.a(tel.Active, "dir=outgoing"); s.b(tel.Active, "dir=incoming") }, "open"},
		{"both outgoing", func(s *scene) { s.a(tel.Active, "dir=outgoing"); s.b(tel.Active, "dir=outgoing") }, ""},
		{"both incoming", func(s *scene) { s.a(tel.Active, "dir=incoming"); s.b(tel.Active, "dir=incoming") }, ""},
		{"one direction unknown", func(s *scene) { s.a(tel.Active, "dir=outgoing"); s.b(tel.Active) }, "open"},
		{"one still rings", func(s *scene) { s.a(tel.Active); s.b(tel.Ringing) }, ""},
		{"on hold counts as up", func(s *scene) { s.a(tel.Held); s.b(tel.Active) }, "open"},
		{"one has ended", func(s *scene) { s.a(tel.Active); s.a(tel.Ended); s.b(tel.Active) }, ""},
		{"one lease has run out", func(s *scene) { s.a(tel.Active); s.tick(3 * time.Minute); s.b(tel.Active) }, ""},
		{"ended, then up again late, out of order", func(s *scene) {
			s.a(tel.Ended, "seq=2")
			s.a(tel.Active, "seq=1")
			s.b(tel.Active)
		}, ""},
		{"a party without devices", func(s *scene) {
			s.away[bob] = true
			s.a(tel.Active)
			s.pair(says("element:e", bob, alice, tel.Active), alice)
		}, ""},
		{"two legs of a side, told apart by Call-ID", func(s *scene) {
			s.pair(says("element:e", alice, bob, tel.Active, "call=x"), bob)
			s.pair(says("element:e", alice, bob, tel.Active, "call=y"), bob)
			s.pair(says("element:f", bob, alice, tel.Active, "call=y"), alice)
		}, "open"},
		{"two legs of a side, told apart by Session-ID", func(s *scene) {
			s.pair(says("element:e", alice, bob, tel.Active, "session=x"), bob)
			s.pair(says("element:e", alice, bob, tel.Active, "session=y"), bob)
			s.pair(says("element:f", bob, alice, tel.Active, "session=y", "call=z"), alice)
		}, "open"},
		{"a phone that stopped ringing changes nothing", func(s *scene) {
			s.pair(says("device:b2", bob, alice, tel.Ringing), alice)
			s.b(tel.Ringing)
			s.a(tel.Active)
			s.b(tel.Active)
			s.pair(says("device:b2", bob, alice, tel.Ended), alice)
		}, "open"},
		{"several reporters of one leg", func(s *scene) {
			s.a(tel.Active)
			s.pair(says("element:e", alice, bob, tel.Active, "call=x"), bob)
			s.b(tel.Active)
			s.pair(says("device:b2", bob, alice, tel.Active), alice)
		}, "open join"},
		{"one reporter of a leg says that it is over", func(s *scene) {
			s.a(tel.Active)
			s.pair(says("element:e", alice, bob, tel.Active, "call=x"), bob)
			s.b(tel.Active)
			s.pair(says("element:e", alice, bob, tel.Ended, "call=x"), bob)
		}, "open ended"},
		{"hold and back", func(s *scene) {
			s.a(tel.Active)
			s.b(tel.Active)
			s.a(tel.Held)
			s.b(tel.Held)
			s.a(tel.Active)
		}, "open"},
		{"transfer to another phone of the side, old leg first over", func(s *scene) {
			s.a(tel.Active)
			s.b(tel.Active)
			s.b(tel.Ended)
			s.tick(time.Second)
			s.pair(says("device:b2", bob, alice, tel.Active), alice)
		}, "open ended call_up join"},
		{"transfer, new leg first", func(s *scene) {
			s.pair(says("element:e", alice, bob, tel.Active, "call=a"), bob)
			s.pair(says("element:f", bob, alice, tel.Active, "call=b"), alice)
			s.pair(says("element:f", bob, alice, tel.Active, "call=c"), alice)
			s.pair(says("element:f", bob, alice, tel.Ended, "call=b"), alice)
		}, "open"},
		{"a lease that ran out ends nothing", func(s *scene) {
			s.a(tel.Active)
			s.b(tel.Active)
			s.tick(3 * time.Minute)
		}, "open"},
		{"called again from the same devices", func(s *scene) {
			s.a(tel.Active, "local=1")
			s.b(tel.Active, "local=1")
			s.a(tel.Ended, "local=1")
			s.b(tel.Ended, "local=1")
			s.tick(time.Second)
			s.b(tel.Active, "local=2")
			s.a(tel.Active, "local=2")
		}, "open ended call_up"},
		{"called again from another device", func(s *scene) {
			s.a(tel.Active, "local=1")
			s.b(tel.Active, "local=1")
			s.a(tel.Ended, "local=1")
			s.b(tel.Ended, "local=1")
			s.tick(time.Second)
			s.pair(says("device:b2", bob, alice, tel.Active), alice)
			s.a(tel.Active, "local=2")
		}, "open ended open"},
		{"called again after somebody left", func(s *scene) {
			s.a(tel.Active, "local=1")
			s.b(tel.Active, "local=1")
			s.a(tel.Ended, "local=1")
			s.b(tel.Ended, "local=1")
			s.play(MemberGone{s.rec.Joints[0].Session})
			s.tick(time.Second)
			s.b(tel.Active, "local=2")
			s.a(tel.Active, "local=2")
		}, "open ended open"},
		{"session closed during the call is not opened again", func(s *scene) {
			s.a(tel.Active)
			s.b(tel.Active)
			s.play(SessionGone{s.rec.Joints[0].Session})
			s.a(tel.Active)
			s.b(tel.Active)
			s.tick(time.Minute)
		}, "open"},
		{"shared identity, nothing to tell calls apart: words", func(s *scene) {
			s.shared[bob] = true
			s.a(tel.Active)
			s.b(tel.Active)
		}, "read"},
		{"shared identity, extension reached", func(s *scene) {
			s.shared[bob] = true
			s.a(tel.Active, "dialled=12")
			s.b(tel.Active, "ext=12")
		}, "open"},
		{"shared identity, two callers' legs by Call-ID", func(s *scene) {
			s.shared[alice], s.shared[bob] = true, true
			s.pair(says("device:a1", alice, bob, tel.Active, "call=x"), bob)
			s.pair(says("device:a2", alice, bob, tel.Active, "call=y"), bob)
			s.pair(says("device:b1", bob, alice, tel.Active, "call=x"), alice)
			s.pair(says("device:b2", bob, alice, tel.Active, "call=y"), alice)
		}, "open open"},
		{"blocked", func(s *scene) {
			s.a(tel.Active)
			s.play(Reported{
				Report: says("device:b1", bob, alice, tel.Active), Kind: Pair, Key: s.rec.Key,
				Own: s.party(bob), Other: s.party(alice), Blocked: true, Fresh: s.next(),
			})
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t, Rules{InviteDelay: -1})
			tt.play(s)
			if got := names(s.did); got != tt.want {
				t.Errorf("effects %q, want %q", got, tt.want)
			}
		})
	}
}

func TestSharedSidesBringOnlyTheirLegsDevices(t *testing.T) {
	s := newScene(t, Rules{})
	s.shared[bob] = true
	s.a(tel.Active, "dialled=12")
	s.b(tel.Active, "ext=12")
	side := opened(s.did)[0].Sides[1]
	if !side.Shared || !slices.Equal(side.Devices, []wire.DeviceID{"b1"}) {
		t.Errorf("the shared side is told as %+v", side)
	}
}

func TestWithheldStaysWithheld(t *testing.T) {
	s := newScene(t, Rules{Partial: PartialAuto})
	s.pair(says("element:e", alice, bob, tel.Active), bob)
	s.pair(says("element:f", bob, tel.Identity{}, tel.Active), alice)
	open := opened(s.did)
	if len(open) != 1 {
		t.Fatalf("effects %s, want one session", names(s.did))
	}
	for _, side := range open[0].Sides {
		if side.Principal == alice && !side.Shown.IsZero() {
			t.Errorf("alice withheld her number and is shown as %s", side.Shown)
		}
		if side.Principal == bob && side.Shown != bob {
			t.Errorf("bob is shown as %s", side.Shown)
		}
	}
	if !s.rec.Joints[0].Single {
		t.Error("a later call might be joined to a session with a withheld identity")
	}
}

// Whoever says it and whoever names both, the party that withheld its number is not shown.
func TestWithheldByFlag(t *testing.T) {
	for name, play := range map[string]func(*scene){
		"her device, his device names her": func(s *scene) { s.a(tel.Active, "withheld"); s.b(tel.Active) },
		"the other order":                  func(s *scene) { s.b(tel.Active); s.a(tel.Active, "withheld") },
		"an element that knows both": func(s *scene) {
			s.pair(says("element:e", alice, bob, tel.Active, "withheld", "call=x"), bob)
			s.pair(says("element:e", bob, alice, tel.Active, "call=x"), alice)
		},
		"only the terminating element": func(s *scene) {
			s.a(tel.Active)
			s.pair(says("element:f", bob, alice, tel.Active, "other-withheld"), alice)
		},
		"repeated without the flag": func(s *scene) {
			s.pair(says("element:f", bob, alice, tel.Active, "other-withheld"), alice)
			s.pair(says("element:f", bob, alice, tel.Active), alice)
			s.a(tel.Active)
		},
		"an accepted invitation": func(s *scene) {
			s.a(tel.Active, "withheld")
			s.tick(3 * time.Second)
			s.play(Answered{Party: bob, Device: "b1", Answer: wire.Answer{Invitation: s.rec.Question.ID, Accept: true}, Fresh: s.next()})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, Rules{})
			play(s)
			open := opened(s.did)
			if len(open) != 1 {
				t.Fatalf("effects %s, want one session", names(s.did))
			}
			for _, side := range open[0].Sides {
				if side.Principal == alice && !side.Shown.IsZero() {
					t.Errorf("alice withheld her number and is shown as %s", side.Shown)
				}
				if side.Principal == bob && side.Shown != bob {
					t.Errorf("bob is shown as %s", side.Shown)
				}
			}
			for _, e := range s.did {
				if e.Do == Invite && !e.Invite.Claimant.IsZero() {
					t.Errorf("bob is invited by %s", e.Invite.Claimant)
				}
			}
			for _, l := range s.rec.legs(s.now) {
				if l.Side == s.rec.side(bob) && !l.Shown.IsZero() {
					t.Errorf("bob's list of calls shows %s", l.Shown)
				}
			}
			if !s.rec.Joints[0].Single {
				t.Error("a later call might be joined to a session with a withheld identity")
			}
		})
	}
}

func TestWords(t *testing.T) {
	start := func(t *testing.T, rules Rules) *scene {
		s := newScene(t, rules)
		s.a(tel.Active)
		s.pair(says("device:b1", bob, tel.Identity{}, tel.Active), alice)
		return s
	}
	try := func(s *scene, n int, words string) []Effect {
		return s.play(Confirmed{
			Party: alice, Device: "a1", Attempt: fmt.Sprint(n), Fresh: s.next(),
			Confirm: wire.Confirm{Invitation: s.rec.Question.ID, Words: words},
		})
	}
	accept := func(s *scene) []Effect {
		return s.play(Answered{Party: bob, Device: "b1", Answer: wire.Answer{Invitation: s.rec.Question.ID, Accept: true}, Fresh: s.next()})
	}

	t.Run("right at once", func(t *testing.T) {
		s := start(t, Rules{})
		if got := names(s.did); got != "read" || s.did[len(s.did)-1].To.Principal != bob {
			t.Fatalf("effects %q: the side that names nobody reads first, and nobody else is told", got)
		}
		if got := names(try(s, 1, "amber falcon")); got != "" {
			t.Fatalf("typing before the other side agreed: %q", got)
		}
		if got := accept(s); names(got) != "type" || got[0].To.Principal != alice || got[0].Words.Read != "" || got[0].Words.TriesLeft != 3 {
			t.Fatalf("after the reader's yes: %+v", got)
		}
		if got := names(try(s, 2, "  Amber-FALCON ")); got != "withdraw withdraw open" {
			t.Errorf("right words: %q", got)
		}
	})
	t.Run("three wrong tries are refused for the call", func(t *testing.T) {
		s := start(t, Rules{})
		accept(s)
		for i, want := range []string{"type", "type", "withdraw withdraw", ""} {
			if got := names(try(s, i, "wrong words")); got != want {
				t.Errorf("try %d: %q, want %q", i, got, want)
			}
		}
		if got := names(try(s, 9, "amber falcon")); got != "" {
			t.Errorf("right words after three wrong ones: %q", got)
		}
		s.a(tel.Active)
		s.tick(time.Minute)
		if got := s.rec.Phase(s.now); got != Unclear {
			t.Errorf("phase %s", got)
		}
	})
	t.Run("a repeated attempt counts once", func(t *testing.T) {
		s := start(t, Rules{})
		accept(s)
		for range 5 {
			try(s, 1, "wrong")
		}
		if s.rec.Question.Tries != 1 {
			t.Errorf("%d tries counted", s.rec.Question.Tries)
		}
	})
	t.Run("declined", func(t *testing.T) {
		s := start(t, Rules{})
		got := s.play(Answered{Party: bob, Device: "b1", Answer: wire.Answer{Invitation: s.rec.Question.ID}, Fresh: s.next()})
		if names(got) != "withdraw" || got[0].To.Principal != bob {
			t.Errorf("effects %+v: the claimant must not hear of it", got)
		}
	})
	t.Run("off", func(t *testing.T) {
		if s := start(t, Rules{Partial: PartialOff, InviteDelay: -1}); names(s.did) != "" {
			t.Errorf("effects %s", names(s.did))
		}
	})
	t.Run("auto does not trust devices", func(t *testing.T) {
		if s := start(t, Rules{Partial: PartialAuto}); names(s.did) != "read" {
			t.Errorf("effects %s", names(s.did))
		}
	})
	t.Run("the right words do not outlive the call", func(t *testing.T) {
		s := start(t, Rules{})
		accept(s)
		try(s, 1, "amber falcon")
		s.pair(says("device:b1", bob, tel.Identity{}, tel.Ended), alice)
		s.tick(time.Second)
		s.did = nil
		s.pair(says("device:b1", bob, tel.Identity{}, tel.Active, "local=other"), alice)
		if len(opened(s.did)) != 0 {
			t.Error("a further unnamed call was joined by the words of the one before")
		}
	})
}

func TestInvitationsAreLimited(t *testing.T) {
	s := newScene(t, Rules{})
	var invited []string
	for i := range 5 {
		s.a(tel.Active, fmt.Sprint("local=", i))
		invited = append(invited, names(s.tick(3*time.Second)))
		s.a(tel.Ended, fmt.Sprint("local=", i))
		s.tick(time.Second)
	}
	if want := []string{"invite", "invite", "invite", "", ""}; !slices.Equal(invited, want) {
		t.Errorf("invitations %q, want %q", invited, want)
	}
	s.tick(time.Hour)
	s.a(tel.Active, "local=later")
	if got := names(s.tick(3 * time.Second)); got != "invite" {
		t.Errorf("an hour later: %q", got)
	}
}

// A session that somebody has left comes back when a person asks for it, and the other side says
// yes once more; not by itself, not after a no, and no more often than any invitation.
func TestAskedAnew(t *testing.T) {
	s := newScene(t, Rules{})
	ask := func() []Effect {
		r := says("device:a1", alice, bob, tel.Active)
		r.Asked = true
		return s.pair(r, bob)
	}
	answer := func(yes bool) []Effect {
		return s.play(Answered{Party: bob, Device: "b1", Answer: wire.Answer{Invitation: s.rec.Question.ID, Accept: yes}, Fresh: s.next()})
	}
	for round := range 3 {
		ask()
		if got := names(s.tick(time.Second)); got != "invite" {
			t.Fatalf("round %d: asked: %q", round, got)
		}
		if got := names(answer(true)); got != "withdraw open" {
			t.Fatalf("round %d: accepted: %q", round, got)
		}
		s.play(SessionGone{s.rec.Joints[round].Session})
		if got := names(s.a(tel.Active)) + names(s.tick(30*time.Second)); got != "" {
			t.Fatalf("round %d: the session comes back by itself: %q", round, got)
		}
	}
	ask()
	if got := names(s.tick(time.Second)); got != "" {
		t.Errorf("a fourth time in an hour: %q", got)
	}

	s = newScene(t, Rules{})
	ask()
	s.tick(time.Second)
	answer(false)
	ask()
	if got := names(s.tick(time.Second)); got != "" {
		t.Errorf("after a no: %q", got)
	}
	// Both have reported, and one has left: the other side's own word is needed again.
	s = newScene(t, Rules{})
	s.a(tel.Active)
	s.b(tel.Active)
	s.play(SessionGone{s.rec.Joints[0].Session})
	if got := names(ask()) + names(s.tick(time.Second)); got != "invite" {
		t.Errorf("asked after both have reported: %q", got)
	}
	if got := names(s.b(tel.Active)); got != "" {
		t.Errorf("a repeated report is no yes: %q", got)
	}
	if got := names(answer(true)); got != "withdraw open" {
		t.Errorf("accepted: %q", got)
	}
}

func TestInvitationNamesTheClaimantsPrincipal(t *testing.T) {
	s := newScene(t, Rules{})
	s.a(tel.Active)
	got := s.tick(2 * time.Second)
	if names(got) != "invite" || got[0].Invite.Claimant != alice || got[0].To.Principal != bob {
		t.Errorf("effects %+v", got)
	}
}

func TestConference(t *testing.T) {
	number := must(tel.ParseIdentity("+448005550100", ""))
	s := newScene(t, Rules{})
	s.shared[number] = true
	report := func(r Report) string {
		return names(s.play(Reported{
			Report: r, Kind: Conference, Key: conferenceKey("t", number, "77"),
			Own: s.party(r.Own), Other: s.party(number), Fresh: s.next(),
		}))
	}
	for _, step := range []struct {
		r    Report
		want string
	}{
		{says("automaton:bridge", number, alice, tel.Active, "conf=77", "local=1"), ""},
		{says("device:a1", alice, number, tel.Active, "conf=77"), ""},
		{says("device:b1", bob, number, tel.Ringing, "conf=77"), ""},
		{says("device:b1", bob, number, tel.Active, "conf=77"), "open"},
		{says("device:c1", carol, number, tel.Active, "conf=77"), "join"},
		{says("device:c2", carol, number, tel.Active, "conf=77"), "join"},
		{says("device:a1", alice, number, tel.Ended, "conf=77"), "part"},
		{says("device:a1", alice, number, tel.Active, "conf=77"), "join"},
		{says("device:a1", alice, number, tel.Ended, "conf=77"), "part"},
		{says("device:b1", bob, number, tel.Ended, "conf=77"), "ended"},
	} {
		s.now = s.now.Add(time.Second)
		if got := report(step.r); got != step.want {
			t.Errorf("%s %s: %q, want %q", step.r.Reporter.ID, step.r.State, got, step.want)
		}
	}
	if len(s.rec.Joints) != 1 {
		t.Errorf("%d sessions", len(s.rec.Joints))
	}
}

func TestRecordIsBounded(t *testing.T) {
	s := newScene(t, Rules{InviteDelay: -1})
	for i := range 100 {
		s.a(tel.Active, fmt.Sprint("local=", i))
	}
	if n := len(s.rec.Statements); n != s.rules.Statements {
		t.Errorf("%d statements", n)
	}
	s.a(tel.Ended, "local=0")
	s.a(tel.Active, "local=fresh")
	if s.rec.knows(0, says("device:a1", alice, bob, tel.Active).Reporter, tel.Ref{Local: "fresh"}) == nil {
		t.Error("there was no room although a leg was over")
	}
}

func TestNothingIsKeptForLong(t *testing.T) {
	s := newScene(t, Rules{})
	s.a(tel.Active)
	s.b(tel.Active)
	s.a(tel.Ended)
	s.b(tel.Ended)
	s.tick(5 * time.Minute)
	if len(s.rec.Statements) != 2 {
		t.Fatalf("%d statements while the session lingers", len(s.rec.Statements))
	}
	s.play(SessionGone{s.rec.Joints[0].Session})
	s.tick(11 * time.Minute)
	s.rec.Pending = nil
	if !s.rec.empty() {
		t.Errorf("still there: %+v", s.rec)
	}
}

func TestLegs(t *testing.T) {
	tests := []struct {
		name    string
		reports []Report
		want    int
	}{
		{"same Call-ID, two reporters", []Report{says("element:e", alice, bob, tel.Active, "call=x"), says("element:f", alice, bob, tel.Active, "call=x")}, 1},
		{"different Call-IDs", []Report{says("element:e", alice, bob, tel.Active, "call=x"), says("element:f", alice, bob, tel.Active, "call=y")}, 2},
		{"Session-ID ties two Call-IDs", []Report{says("element:e", alice, bob, tel.Active, "call=x", "session=s"), says("element:f", alice, bob, tel.Active, "call=y", "session=s")}, 1},
		{"device beside element", []Report{says("device:a1", alice, bob, tel.Active, "local=1"), says("element:f", alice, bob, tel.Active, "call=y")}, 1},
		{"two devices", []Report{says("device:a1", alice, bob, tel.Active), says("device:a2", alice, bob, tel.Active)}, 1},
		{"one device, two references", []Report{says("device:a1", alice, bob, tel.Active, "local=1"), says("device:a1", alice, bob, tel.Active, "local=2")}, 2},
		{"device beside two legs of an element", []Report{
			says("element:e", alice, bob, tel.Active, "call=x"), says("element:e", alice, bob, tel.Active, "call=y"), says("device:a1", alice, bob, tel.Active),
		}, 3},
		{"device beside two legs of an element, one of them over", []Report{
			says("element:e", alice, bob, tel.Active, "call=x"), says("device:a1", alice, bob, tel.Active, "local=1"),
			says("element:e", alice, bob, tel.Ended, "call=x"), says("device:a1", alice, bob, tel.Ended, "local=1"),
			says("element:e", alice, bob, tel.Active, "call=y"), says("device:a1", alice, bob, tel.Active, "local=2"),
		}, 2},
		{"directions contradict", []Report{says("device:a1", alice, bob, tel.Active, "dir=outgoing"), says("device:a2", alice, bob, tel.Active, "dir=incoming")}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t, Rules{})
			for _, r := range tt.reports {
				s.now = s.now.Add(time.Second)
				s.pair(r, bob)
			}
			if got := s.rec.legs(s.now); len(got) != tt.want {
				for _, l := range got {
					t.Log(l.describe())
				}
				t.Errorf("%d legs, want %d", len(got), tt.want)
			}
		})
	}
}

func TestStatementHears(t *testing.T) {
	tests := []struct {
		name    string
		reports []Report
		state   tel.State
		active  bool
	}{
		{"in order", []Report{says("device:a1", alice, bob, tel.Ringing, "seq=1"), says("device:a1", alice, bob, tel.Active, "seq=2")}, tel.Active, true},
		{"lower sequence later", []Report{says("device:a1", alice, bob, tel.Active, "seq=2"), says("device:a1", alice, bob, tel.Ringing, "seq=1")}, tel.Active, true},
		{"late news that it was up", []Report{says("device:a1", alice, bob, tel.Ended, "seq=2", "at=0s"), says("device:a1", alice, bob, tel.Active, "seq=1", "at=-5s")}, tel.Ended, true},
		{"by time without sequence", []Report{says("device:a1", alice, bob, tel.Ended, "at=0s"), says("device:a1", alice, bob, tel.Active, "at=-5s")}, tel.Ended, true},
		{"never up", []Report{says("device:a1", alice, bob, tel.Ringing), says("device:a1", alice, bob, tel.Ended)}, tel.Ended, false},
		{"the reference serves a new call", []Report{says("device:a1", alice, bob, tel.Active), says("device:a1", alice, bob, tel.Ended), says("device:a1", alice, bob, tel.Ringing)}, tel.Ringing, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var s Statement
			now := noon
			for _, r := range tt.reports {
				now = now.Add(time.Second)
				s = s.hear(r, now, must(Rules{}.withDefaults()))
			}
			if s.Details.State != tt.state || s.everActive() != tt.active {
				t.Errorf("state %s, ever active %v; want %s, %v", s.Details.State, s.everActive(), tt.state, tt.active)
			}
		})
	}
}

// TestLegOverBeforeJoining: a leg that was over before another one of its side was joined does
// not become part of it afterwards, and end it (found by TestAnyEvents).
func TestLegOverBeforeJoining(t *testing.T) {
	s := newScene(t, Rules{})
	unnamed := func(by string, state tel.State, more ...string) {
		s.pair(says(by, alice, tel.Identity{}, state, more...), bob)
	}
	unnamed("device:a1", tel.Ringing)
	s.pair(says("device:a2", alice, bob, tel.Active), bob)
	s.b(tel.Active)
	unnamed("device:a1", tel.Ringing, "local=1") // a second leg: the element's may be either
	unnamed("element:e", tel.Active)
	unnamed("element:e", tel.Ringing, "call=x")
	s.b(tel.Ended)
	unnamed("element:e", tel.Ended)
	if did := names(s.b(tel.Active)); did != string(OpenSession) {
		t.Errorf("the second call did %q, want one session that stays open", did)
	}
}

// TestTelephoneRestarts: what was known of a call has lapsed, and both sides report one under new
// references. It may be the same call, so there is still one session (found by TestAnyEvents).
func TestTelephoneRestarts(t *testing.T) {
	s := newScene(t, Rules{})
	s.a(tel.Active)
	s.b(tel.Active)
	s.tick(3 * time.Minute)
	s.a(tel.Active, "local=new")
	if did := names(s.b(tel.Active, "local=new")); did != string(CallEnded)+" "+string(CallUp) {
		t.Errorf("did %q, want the same session to go on", did)
	}
}

// TestLateRinging: "ringing" that comes after "active" changes nothing, unless what was known of
// that call has lapsed: then it is a new one (found by TestAnyEvents).
func TestLateRinging(t *testing.T) {
	s := newScene(t, Rules{})
	s.a(tel.Active)
	s.b(tel.Active)
	if did := names(s.b(tel.Ringing)); did != "" {
		t.Errorf("late ringing did %q", did)
	}
	s.tick(time.Minute)
	s.a(tel.Active)
	s.tick(90 * time.Second) // only Alice's report still holds
	if did := names(s.b(tel.Ringing)); did != string(CallEnded) {
		t.Errorf("ringing after the lease did %q, want the end of the earlier call", did)
	}
	if did := names(s.b(tel.Active)); did != string(CallUp) {
		t.Errorf("the new call did %q", did)
	}
}

// TestRingsAlong: a telephone that starts to ring under the joined leg's reference does not keep
// a call up that nobody says is up any more; the next one has the pair's one session (found by
// TestAnyEvents).
func TestRingsAlong(t *testing.T) {
	s := newScene(t, Rules{})
	unnamed := func(by string, more ...string) {
		s.pair(says(by, alice, tel.Identity{}, tel.Ringing, more...), bob)
	}
	unnamed("device:a2")
	s.pair(says("device:a2", alice, bob, tel.Active, "local=1"), bob)
	unnamed("device:a1")
	s.b(tel.Active)
	s.tick(3 * time.Minute)
	unnamed("device:a1", "local=1")
	s.b(tel.Active, "local=1")
	s.pair(says("device:a1", alice, bob, tel.Active), bob)
	up := slices.DeleteFunc(slices.Clone(s.rec.Joints), func(j Joint) bool { return !j.inCall() })
	if len(up) != 1 {
		t.Errorf("sessions in a call: %+v, want one", up)
	}
}

// TestUpAgain: a call of which nothing was known for so long that it counted as over goes on when
// both sides speak of it again (found by the simulation).
func TestUpAgain(t *testing.T) {
	s := newScene(t, Rules{})
	s.a(tel.Active, "local=1")
	s.b(tel.Active, "local=1")
	s.tick(2 * time.Minute)
	if did := names(s.tick(time.Hour)); did != string(CallEnded) {
		t.Fatalf("an hour without a word did %q", did)
	}
	if did := names(s.a(tel.Active, "local=1")); did != "" {
		t.Errorf("one side's word did %q", did)
	}
	if did := names(s.b(tel.Active, "local=1")); did != string(CallUp) {
		t.Errorf("both sides' word did %q, want the session to go on", did)
	}
}
