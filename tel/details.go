package tel

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrDetails: the call party details cannot be used as they are.
var ErrDetails = errors.New("tel: unusable call party details")

// Direction of a call leg, as its own party sees it. The zero value is "unknown".
type Direction string

// Directions.
const (
	Outgoing Direction = "outgoing" // own party dialled
	Incoming Direction = "incoming" // own party was dialled
)

// State of a call leg.
type State string

// States of a call leg, in the order in which they come; held and active alternate.
const (
	Ringing State = "ringing"
	Active  State = "active"
	Held    State = "held"
	Ended   State = "ended"
)

// MaxDetail is the longest extension, conference id or reference, in bytes.
const MaxDetail = 128

// PartyDetails are the call party details that a report carries (SPEC "Words", A12):
// send both numbers when they are known.
type PartyDetails struct {
	// Own names the reporting side's party. Zero where the reporter does not know it
	// (A10); a device may leave it out, since the server knows the device's party.
	Own Identity `json:"own,omitzero"`
	// Other names the other side; zero when withheld or unknown (A10).
	Other Identity `json:"other,omitzero"`
	// Withheld: the own identity is withheld from the other side. It serves to match, and
	// the other side is never shown it.
	Withheld bool `json:"withheld,omitempty"`
	// OtherWithheld: the other side's identity is withheld from the own one, and is named
	// only by a reporter who knows both.
	OtherWithheld bool `json:"other_withheld,omitempty"`
	// Extension of the own party behind a shared number, e.g. an agent's (A7).
	Extension string `json:"extension,omitempty" jsonschema:"maxLength=128"`
	// OtherExtension is the extension that was dialled or reached, where it is known.
	OtherExtension string `json:"other_extension,omitempty" jsonschema:"maxLength=128"`
	// Dialled is whom the caller dialled, where the call was diverted from there to another
	// one (A8). It serves to match only, counts only from a network element or provider, and
	// needs the direction.
	Dialled Identity `json:"dialled,omitzero"`
	// ConferenceID identifies the conference that the call is in (K1).
	ConferenceID string `json:"conference_id,omitempty" jsonschema:"maxLength=128"`
	// Direction as the own party sees it; left out if unknown.
	Direction Direction `json:"direction,omitempty"`
	// State of the leg.
	State State `json:"state"`
	// Ref refers to the call.
	Ref Ref `json:"ref,omitzero"`
}

// Ref is a reference to a call leg: as much as the reporter knows. Any may be empty.
type Ref struct {
	// SessionID is the SIP Session-ID (RFC 7989): the same on both sides.
	SessionID string `json:"session_id,omitempty" jsonschema:"maxLength=128"`
	// CallID is the SIP Call-ID: the same on both sides unless a B2BUA is between.
	CallID string `json:"call_id,omitempty" jsonschema:"maxLength=128"`
	// Local is the reporter's own reference; it means nothing to others.
	Local string `json:"local,omitempty" jsonschema:"maxLength=128"`
}

// IsZero reports whether the reference is empty.
func (r Ref) IsZero() bool { return r == Ref{} }

// Validate reports what makes the details unusable, all of it in one error: faults of
// single fields as [PartyDetails.ValidateFields], and details that name no party (A10
// needs one). Use it once the own identity of a device's report has been filled in.
// ErrDetails.
func (d PartyDetails) Validate() error {
	faults := d.faults()
	if d.Own.IsZero() && d.Other.IsZero() {
		faults = append(faults, "neither own nor other names a party")
	}
	return detailsError(faults)
}

// ValidateFields checks each field by itself: the state is required, state and direction
// have their values only, texts are printable and of at most [MaxDetail] bytes.
// ErrDetails.
func (d PartyDetails) ValidateFields() error { return detailsError(d.faults()) }

func detailsError(faults []string) error {
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrDetails, strings.Join(faults, "; "))
}

func (d PartyDetails) faults() (faults []string) {
	switch d.State {
	case Ringing, Active, Held, Ended:
	case "":
		faults = append(faults, "state is missing: ringing, active, held or ended")
	default:
		faults = append(faults, "state is none of ringing, active, held, ended")
	}
	switch d.Direction {
	case "", Outgoing, Incoming:
	default:
		faults = append(faults, "direction is neither outgoing nor incoming; leave it out if unknown")
	}
	if !d.Dialled.IsZero() && d.Direction == "" {
		faults = append(faults, "dialled is of use only with a direction")
	}
	for _, f := range []struct{ name, value string }{
		{"extension", d.Extension},
		{"other_extension", d.OtherExtension},
		{"conference_id", d.ConferenceID},
		{"ref.session_id", d.Ref.SessionID},
		{"ref.call_id", d.Ref.CallID},
		{"ref.local", d.Ref.Local},
	} {
		if len(f.value) > MaxDetail {
			faults = append(faults, fmt.Sprintf("%s is longer than %d bytes", f.name, MaxDetail))
		} else if !isPrintable(f.value) {
			faults = append(faults, f.name+" holds characters that cannot be printed")
		}
	}
	return faults
}

func isPrintable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// LogValue masks what names a party or a call.
func (d PartyDetails) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.Any("own", d.Own), slog.Any("other", d.Other),
		slog.String("direction", string(d.Direction)), slog.String("state", string(d.State)),
	}
	if d.Extension != "" || d.OtherExtension != "" {
		attrs = append(attrs, slog.Bool("extension", true))
	}
	if !d.Dialled.IsZero() {
		attrs = append(attrs, slog.Any("dialled", d.Dialled))
	}
	if d.ConferenceID != "" {
		attrs = append(attrs, slog.Bool("conference", true))
	}
	return slog.GroupValue(attrs...)
}
