package wire

import "crypto/rand"

// Identifiers that must not be mixed up. Each is opaque: at most 64 characters of
// [A-Za-z0-9_-]; those the server makes cannot be guessed (128 bits or more).
type (
	// TenantID names a provider or operator whose data is apart from all others'.
	TenantID string
	// DeviceID names a device for ever; only its own party learns it.
	DeviceID string
	// PartyID names a party inside the server.
	PartyID string
	// SessionID names a data session.
	SessionID string
	// MemberID names a member within one session: what others see in its place of a
	// DeviceID, so that nobody can be followed from session to session.
	MemberID string
	// InvitationID names an invitation to a session.
	InvitationID string
	// FileID names a stored file.
	FileID string
	// RequestID is chosen by a device for each request.
	RequestID string
)

// MaxID is the largest identifier, in characters.
const MaxID = 64

// DefaultTenant is the tenant of a server that has only one.
const DefaultTenant TenantID = "default"

// NewID returns a fresh identifier that cannot be guessed, prefixed to tell its sort.
func NewID(prefix string) string { return prefix + rand.Text() }

// ValidID reports whether s is well formed as an identifier.
func ValidID(s string) bool { return validID(s) }

func validID[T string | []byte](s T) bool {
	if len(s) == 0 || len(s) > MaxID {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}
