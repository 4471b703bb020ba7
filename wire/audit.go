package wire

import "time"

// AuditEntry is one entry of a tenant's audit log, as it is stored, exported and
// verified. Its fields are in the order of their names, and all texts are printable
// ASCII without quotes, so its JSON is canonical (RFC 8785): Hash is SHA-256 over the JSON
// of the entry without its hash, which includes Prev. No field holds personal data:
// parties stand under a pseudonym that can be erased.
type AuditEntry struct {
	// At is when it happened, in milliseconds, UTC.
	At time.Time `json:"at"`
	// Count of like events that this entry stands for, where they came too fast to be
	// written one by one; zero means one.
	Count uint64 `json:"count,omitempty"`
	// Details that the action has, by name.
	Details map[string]string `json:"details,omitempty"`
	// Failed: what was asked for did not come about. The entry before it that is like it
	// told of the attempt.
	Failed bool `json:"failed,omitempty"`
	// Hash of the entry, in hexadecimal.
	Hash string `json:"hash,omitempty"`
	// ID is random, so that no two entries are the same.
	ID string `json:"id"`
	// On lists what it was done to: "party:" and a pseudonym, "device:", "session:",
	// "credential:", "enrolment:" and an id.
	On []string `json:"on,omitempty"`
	// Prev is the hash of the entry before; empty for the first.
	Prev string `json:"prev"`
	// Seq counts the tenant's entries from 1, without a gap.
	Seq uint64 `json:"seq"`
	// What was done: an action, e.g. "credential.created".
	What string `json:"what"`
	// Who did it.
	Who AuditActor `json:"who"`
}

// AuditActor is who did what an audit entry tells.
type AuditActor struct {
	// ID of the API key or device; "admin-socket" for the operator on the machine itself;
	// empty for somebody who could not show who they are.
	ID string `json:"id,omitempty"`
	// Role: operator, element, provider, device, server or anybody.
	Role string `json:"role"`
}
