// Package audit keeps what must not be denied later: who did what, and to what, in one
// append-only log per tenant that shows if somebody has changed it (DESIGN section 5).
//
// [Log] writes [wire.AuditEntry]s. Each has the SHA-256 of the one before it, so that an
// entry that is removed, changed or moved breaks the chain, which [Verifier] finds. Who can
// write to the store can also make a new chain from some entry on; against that helps the
// hash of the head, kept elsewhere: the [Verifier]'s anchor.
//
// An entry is a record of the table "audit" under its sequence, made by compare-and-set
// on that key: of two nodes one wins, and the other chains to what it finds. So the log is
// in order on both engines, without a leader and without a second write. (An engine's own
// log takes whatever is appended, in whatever order: it could not refuse the loser.)
//
// Entries hold no personal data. A party stands under a random pseudonym; which identity
// it is for says a record of its own in the table "audit-names". Erasing that record
// leaves the chain whole and the pseudonym without a meaning.
//
// What operators do is written before it is done, and not done if it cannot be written
// ([Log.Append]). What somebody without rights attempts is written behind, so that it
// costs the same time as what is not written, and at a bounded rate: further attempts are
// counted ([Log.Note], [Log.Run]).
package audit
