package call

import (
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/tel"
)

// with gives a report this evidence.
func with(e Evidence, r Report) Report {
	r.Reporter.Evidence = e
	return r
}

// TestMinimumOfEvidence: every evidence times every minimum, for a session and for the
// invitation that leads to one.
func TestMinimumOfEvidence(t *testing.T) {
	order := []Evidence{Typed, Observed, Trusted, Passport}
	for i, least := range order {
		for j, e := range order {
			enough := j >= i
			s := newScene(t, Rules{MinSession: least})
			s.pair(with(Passport, says("element:e", alice, bob, tel.Active)), bob)
			if got := names(s.pair(with(e, says("element:f", bob, alice, tel.Active)), alice)); (got == "open") != enough {
				t.Errorf("a session needs %s, and there is %s: %q", least, e, got)
			}
			if lines := strings.Join(s.rec.reasons(s.rec.legs(s.now), s.now, s.rules), "\n"); strings.Contains(lines, "evidence is "+string(e)) == enough {
				t.Errorf("a session needs %s, and there is %s; explained as\n%s", least, e, lines)
			}

			s = newScene(t, Rules{MinInvitation: least})
			s.pair(with(e, says("device:a1", alice, bob, tel.Active)), bob)
			if got := names(s.tick(time.Minute)); (got == "invite") != enough {
				t.Errorf("an invitation needs %s, and there is %s: %q", least, e, got)
			}
		}
	}
}

// TestNoInvitationWithoutUse: a yes is a person's word; where that opens nothing, nobody
// is asked for it.
func TestNoInvitationWithoutUse(t *testing.T) {
	s := newScene(t, Rules{MinSession: Observed})
	s.pair(with(Passport, says("device:a1", alice, bob, tel.Active)), bob)
	if got := names(s.tick(time.Minute)); got != "" {
		t.Errorf("effects %q", got)
	}
}

// TestWeakLegsDoNotBlind: a leg that does not count makes nothing ambiguous either.
func TestWeakLegsDoNotBlind(t *testing.T) {
	s := newScene(t, Rules{MinSession: Trusted})
	s.pair(with(Typed, says("person:p", alice, bob, tel.Active, "call=made-up")), bob)
	s.pair(says("element:e", alice, bob, tel.Active, "call=real"), bob)
	if got := names(s.pair(says("element:f", bob, alice, tel.Active), alice)); got != "open" {
		t.Errorf("effects %q", got)
	}
}

// TestEvidenceOfSeveral: a leg has the best evidence of those who speak of it now.
func TestEvidenceOfSeveral(t *testing.T) {
	s := newScene(t, Rules{MinSession: Passport})
	s.pair(with(Passport, says("element:e", alice, bob, tel.Active)), bob)
	s.b(tel.Active)
	if got := s.rec.Phase(s.now); got != OneSided && got != Unclear {
		t.Errorf("phase %s", got)
	}
	s.pair(with(Passport, says("element:f", bob, alice, tel.Active)), alice)
	if got := s.rec.Phase(s.now); got != InCall {
		t.Errorf("phase %s", got)
	}

	// What has lapsed is no evidence.
	s = newScene(t, Rules{MinSession: Passport})
	s.pair(with(Passport, says("element:e", alice, bob, tel.Active)), bob)
	s.now = s.now.Add(100 * time.Second)
	s.a(tel.Active)
	s.now = s.now.Add(30 * time.Second)
	if got := names(s.pair(with(Passport, says("element:f", bob, alice, tel.Active)), alice)); got != "" {
		t.Errorf("effects %q", got)
	}
}

// TestEvidenceHoldsForTheCall: a PASSporT comes with the first report and is fresh only
// then; what it showed stays shown, until the call is over.
func TestEvidenceHoldsForTheCall(t *testing.T) {
	evidence := func(s *scene) Evidence { return s.rec.Statements[0].Reporter.Evidence }
	s := newScene(t, Rules{})
	say := func(e Evidence, state tel.State, more ...string) {
		s.pair(with(e, says("element:e", alice, bob, state, more...)), bob)
		s.now = s.now.Add(time.Second)
	}
	say(Passport, tel.Ringing, "seq=5")
	say(Trusted, tel.Active, "seq=6")
	if got := evidence(s); got != Passport {
		t.Errorf("after a report without one: %s", got)
	}
	say(Trusted, tel.Ended, "seq=7")
	say(Trusted, tel.Ringing, "seq=8")
	if got := evidence(s); got != Trusted {
		t.Errorf("in the next call: %s", got)
	}
	say(Passport, tel.Ringing, "seq=8")
	if got := evidence(s); got != Passport {
		t.Errorf("after it came with a repetition: %s", got)
	}
}

// TestConferenceCountsEvidence: who dials in without enough is not let in.
func TestConferenceCountsEvidence(t *testing.T) {
	s := newScene(t, Rules{MinSession: Observed})
	dial := func(e Evidence, by string, who tel.Identity) string {
		return names(s.play(Reported{
			Report: with(e, says(by, who, tel.Identity{}, tel.Active, "conf=42")), Kind: Conference, Key: conferenceKey("t", tel.Identity{}, "42"),
			Own: s.party(who), Fresh: s.next(),
		}))
	}
	dial(Observed, "device:a1", alice)
	if got := dial(Typed, "person:b1", bob); got != "" {
		t.Errorf("effects %q", got)
	}
	if got := dial(Observed, "device:c1", carol); got != "open" {
		t.Errorf("effects %q", got)
	}
	if got := dial(Trusted, "element:e", bob); got != "join" {
		t.Errorf("effects %q", got)
	}
}

func TestRulesNameEvidence(t *testing.T) {
	for _, e := range []Evidence{"", Typed, Observed, Trusted, Passport} {
		if _, err := (Rules{MinSession: e, MinInvitation: e}).withDefaults(); err != nil {
			t.Errorf("%q: %v", e, err)
		}
	}
	for _, e := range []Evidence{"none", Accepted, "Typed"} {
		if _, err := (Rules{MinSession: e}).withDefaults(); err == nil {
			t.Errorf("%q is taken", e)
		}
		if _, err := (Rules{MinInvitation: e}).withDefaults(); err == nil {
			t.Errorf("%q is taken", e)
		}
	}
}
