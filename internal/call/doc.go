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
//	┌───────┐  one side is up   ┌──────────┐  InviteDelay: Invite   ┌───────┐
//	│ Quiet │ ────────────────▶ │ OneSided │ ─────────────────────▶ │ Asked │
//	└───────┘                   └──────────┘                        └───────┘
//	    ▲                         │      │ the other is up too, but     │  ▲
//	    │         the other is up │      │ which leg of it, or who?     │  │
//	    │            OpenSession  │      ▼                              │  │
//	    │                         │  ┌─────────┐         ReadOut        │  │
//	    │                         │  │ Unclear │ ───────────────────────│──┘
//	    │                         │  └─────────┘                        │ accepted, reported,
//	    │                         │      │ by Session-ID, Call-ID,      │ the words were right:
//	    │                         │      │ extension: OpenSession       │ OpenSession
//	    │                         ▼      ▼                              ▼
//	    │                       ┌─────────────────────────────────────────┐
//	    │                       │                 InCall                  │
//	    │                       └─────────────────────────────────────────┘
//	    │                         │ a side's last active   ▲ the same devices
//	    │                         ▼ leg ends: CallEnded    │ call again: CallUp
//	    │      SessionGone      ┌─────────────────────────────────────────┐
//	    └────────────────────── │                AfterCall                │
//	                            └─────────────────────────────────────────┘
//
// From OneSided, Asked and Unclear the end of the legs leads back, to Quiet in the end;
// an open question is withdrawn then, as an invitation is while its party speaks to somebody
// else. A question that was declined, refused or never answered
// leaves the phase that it came from.
//
// # What is promised
//
// No session without a leg up on both sides and a device to reach on both. No leg in two
// sessions at a time, no two sessions for one call, whichever nodes the reports reach: the
// decision is one compare-and-set on one record. Effects are carried out at least once, in their
// order, also after a crash between any two steps; each is idempotent. A reporter never
// learns whether another call or party exists: nothing yet, ambiguous and unknown are one
// answer.
package call
