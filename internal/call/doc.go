// Package call recognises that reports from two sides speak of one telephone call, and
// joins the sides in a data session (SPEC A, B; DESIGN section 3).
//
// A [Report] is one reporter's statement about one call leg. All statements that a pair
// of parties (or a conference, or a party that cannot name the other) has about its calls
// are kept in one [Record]: the latest [Statement] per reporter and reference. From them
// the [Leg]s are derived, by a function of the statements alone, so neither the order of
// the reports nor their repetition matters. [Record.Next] is the machine: a record, an
// event and the time in; the new record and the effects out. The [Matcher] is the loop
// around it: it finds the record, changes it by one compare-and-set, and carries out the
// effects, which the record remembers until they are done.
//
// The files, in the order in which they read well: report.go (what is said), leg.go (who
// speaks of the same leg), match.go (which legs are one call), record.go and event.go (the
// machine's words), next.go, join.go, ask.go (the machine), partial.go (a side that names
// nobody), then matcher.go, perform.go, timer.go (the loop), explain.go (for operators).
//
// # One pair of parties
//
// What a record is doing is its [Phase], derived like the legs:
//
//	           report: up on one side
//	┌───────┐ ───────────────────────▶ ┌──────────┐  invite delay over   ┌───────┐
//	│ Quiet │                          │ OneSided │ ───────────────────▶ │ Asked │
//	└───────┘ ◀─────────────────────── └──────────┘   Invite             └───────┘
//	    ▲        its last leg ended         │  ▲                          │  │  call over,
//	    │                  other side is up │  └──────────────────────────│──┘  declined
//	    │                                   │                             │ accepted,
//	    │         ┌─────────┐ two legs of   │         OpenSession         │ reported,
//	    │         │ Unclear │ a side, or    ├─────────────────────────────┘ words heard
//	    │         └─────────┘ shared, or    │
//	    │           │  ▲      unnamed       ▼
//	    │           │  └───────────── ┌────────┐   a side's last active   ┌───────────┐
//	    │           └───────────────▶ │ InCall │ ───────────────────────▶ │ AfterCall │
//	    │            same Session-ID, └────────┘   leg ends: CallEnded    └───────────┘
//	    │            Call-ID, extension    ▲                                 │   │
//	    │                                  └─────────────────────────────────┘   │
//	    │                                    same devices call again: CallUp     │
//	    └────────────────────────────────────────────────────────────────────────┘
//	                     the session core says: session gone
//
// # What is promised
//
// No session without a leg up on both sides and a device to reach on both. No leg in two
// sessions at a time, no two sessions for one call, whichever nodes the reports reach: the decision is
// one compare-and-set on one record. Effects are carried out at least once, in their
// order, also after a crash between any two steps; each is idempotent. A reporter never
// learns whether another call or party exists: nothing yet, ambiguous and unknown are one
// answer.
package call
