package party

import (
	"errors"
	"time"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Errors of a directory.
var (
	// ErrNotFound: the directory knows no such party or identity.
	ErrNotFound = errors.New("party: not found")
	// ErrTaken: the identity already belongs to another party; unlink it there first.
	ErrTaken = errors.New("party: the identity belongs to another party")
	// ErrPrincipal: the identity is the one that others are linked to; unlink those first.
	ErrPrincipal = errors.New("party: other identities are linked to this one")
	// ErrRequest: an argument cannot be used as it is.
	ErrRequest = errors.New("party: unusable request")
)

// ProofKind says how an identity came to be a party's.
type ProofKind = string

// Kinds of proof beside those of a device's enrolment ("one_time_code", "network",
// "sim", "operator").
const (
	ProofOperator  ProofKind = "operator"  // an operator's word
	ProofAllocated ProofKind = "allocated" // made by this server
)

// Party is somebody with one or more identities.
type Party struct {
	ID     wire.PartyID  `json:"id"`
	Tenant wire.TenantID `json:"tenant"`
	// Principal is the identity by which the party is compared.
	Principal tel.Identity `json:"principal"`
	// Identities of the party, the principal among them, in the order in which they came.
	Identities []Identity `json:"identities"`
	Created    time.Time  `json:"created"`
}

// Identity is one name of a party and what it rests on.
type Identity struct {
	Identity tel.Identity `json:"identity"`
	Proof    ProofKind    `json:"proof"`
	Proved   time.Time    `json:"proved"`
	// Expires is when the proof lapses; zero: when it is unlinked. An identity whose proof
	// has lapsed is a stranger again, since a number may have gone to somebody else.
	Expires time.Time `json:"expires,omitzero"`
}

func (i Identity) current(now time.Time) bool {
	return i.Expires.IsZero() || now.Before(i.Expires)
}

// partyRecord lists the names that were ever added to a party: a list to look through.
// Which of them are the party's now is decided by each name's own record.
type partyRecord struct {
	ID      wire.PartyID   `json:"id"`
	Names   []tel.Identity `json:"names"`
	Created time.Time      `json:"created"`
}

// nameRecord is the decision whose an identity is.
type nameRecord struct {
	Principal tel.Identity `json:"principal"`
	Identity
}
