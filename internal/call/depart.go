package call

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
)

// Membership follows the legs that are up: who leaves a conference that goes on is out of its
// session, and what is said there afterwards is not for them; who dials in again is a
// newcomer. In a transfer a leg turns to somebody else, and its call with the first is over.

// depart takes out of a conference's session the parties whose legs are over, as long as
// others go on; and those of whom nothing has been known for so long that a call would count
// as over.
func (t *turn) depart() {
	legs := t.legs(t.now)
	for i := range t.Joints {
		j := &t.Joints[i]
		if !j.inCall() || t.presence(*j, legs).parties < 2 {
			continue
		}
		for _, side := range slices.Clone(j.Sides) {
			a := attendanceOf(side, *j, legs)
			if t.host(side) || a.there && !a.lost(t.now, t.rules) || t.remaining(*j, legs) < 2 && a.there {
				continue
			}
			j.Sides = slices.DeleteFunc(j.Sides, func(s int) bool { return s == side })
			for _, l := range legs {
				if l.Side == side {
					j.Devices = subtract(j.Devices, l.members())
				}
			}
			t.do(Effect{Do: Part, Session: j.Session, At: t.now, Sides: []Side{{Index: side, Principal: t.Parties[side].Identity}}})
		}
	}
}

// remaining counts the parties of a joint of whom something is known.
func (t *turn) remaining(j Joint, legs []Leg) (n int) {
	for _, side := range j.Sides {
		if a := attendanceOf(side, j, legs); a.there && !a.lost(t.now, t.rules) && !t.host(side) {
			n++
		}
	}
	return n
}

// attendance is how one side takes part in a session's call.
type attendance struct {
	there   bool      // one of its legs is not over
	unknown bool      // nobody says any more that one of them is up
	last    time.Time // when the last lease of them runs out, or did
	over    time.Time // when the last one ended that is over
}

// attendanceOf looks at the legs of a side that were ever active. A leg of which nothing is
// known any more has not ended; nor has one that only rings now, as the telephone says that was
// started again, but neither is it up.
func attendanceOf(side int, j Joint, legs []Leg) attendance {
	a := attendance{unknown: true}
	for _, l := range legs {
		switch {
		case l.Side != side || l.Session != j.Session || !l.EverActive:
		case l.open():
			a.there = true
			a.unknown = a.unknown && !l.Up()
			a.last = later(a.last, l.Last)
		default:
			a.over = later(a.over, l.Over)
		}
	}
	return a
}

// lost: nothing has been known of the side for as long as it takes for a call to count as over.
func (a attendance) lost(now time.Time, rules Rules) bool {
	return a.there && a.unknown && now.Sub(a.last) >= rules.Abandon
}

// moved looks at a party's other calls when it is reported to be in one. What the reporter has said
// under the same reference of a call with somebody else ends: one leg leads to one party at a
// time; of two statements the later one holds, in whatever order they arrive. Invitations
// from others are taken off the party's screen.
func (m *Matcher) moved(ctx context.Context, rec Record, own Party, r Report) error {
	said := rec.knows(rec.side(own.Identity), r.Reporter, r.Ref)
	if said == nil || !said.up() || !said.UpHeard.Equal(said.Heard) {
		return nil
	}
	var invitations []Record
	prefix := store.Key(string(rec.Tenant), own.Identity.String()) + "/"
	for item, err := range m.Index.Scan(ctx, prefix) {
		if err != nil {
			return err
		}
		if item.Value.Record == rec.Key {
			continue
		}
		other, _, err := m.Records.Get(ctx, item.Value.Record)
		if errors.Is(err, store.ErrNotFound) {
			continue
		} else if err != nil {
			return err
		}
		if other.invites(own.Identity) {
			invitations = append(invitations, other)
		}
		if r.Ref == (tel.Ref{}) {
			continue
		}
		before := other.knows(other.side(own.Identity), r.Reporter, r.Ref)
		if before == nil || !before.up() || before.Pair == rec.Key || said.Pair == other.Key {
			continue
		}
		if before.laterThan(*said) {
			return m.turned(ctx, rec, own, *said, *before)
		}
		if err := m.turned(ctx, other, own, *before, *said); err != nil {
			return err
		}
	}
	for _, rec := range invitations {
		if _, err := m.look(ctx, rec.Key); err != nil {
			return fmt.Errorf("take an invitation back: %w", err)
		}
	}
	return nil
}

// turned has the reporter say that the leg of an earlier statement is over, at the time of the
// later one.
func (m *Matcher) turned(ctx context.Context, rec Record, own Party, earlier, later Statement) error {
	r := earlier.report(rec.Tenant)
	r.State, r.At, r.Seq, r.Raw = tel.Ended, later.At, max(later.Seq, earlier.Seq), nil
	if r.Seq == earlier.Seq {
		r.Seq = 0 // by its time, then
	}
	ev := Reported{Report: r, Kind: rec.Kind, Key: rec.Key, Own: own, Blocked: rec.Blocked, Fresh: m.Fresh()}
	if i := rec.side(own.Identity); rec.Kind == Pair {
		ev.Other = rec.Parties[1-i]
	}
	if _, err := m.apply(ctx, rec.Key, ev); err != nil {
		return fmt.Errorf("end a leg that leads elsewhere: %w", err)
	}
	return nil
}

func (s Statement) up() bool { return s.Details.State == tel.Active || s.Details.State == tel.Held }

// laterThan compares by the reporter's own order, or else by its clock.
func (s Statement) laterThan(o Statement) bool {
	if s.Seq != 0 && o.Seq != 0 {
		return s.Seq > o.Seq
	}
	return s.At.After(o.At)
}
