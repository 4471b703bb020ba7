// Package overlay keeps the overlays of providers and brings them onto customers' screens
// (SPEC I2 to I4, I6). The document itself, and what it may hold, is the package overlay of the
// module's root.
//
// A [Stored] overlay has a draft, published versions ([Edition]) of which one may be live, and
// the numbers whose sessions it is for: a side of a session that is one of them is the provider's.
// A document may have {{parameters}} and is then a template: [Fill] puts in what the agent enters, what
// the provider's own server answers, and what the customer has sent. One with conditions (When) is
// predetermined: [Service.Opened] notes that a session opens, and [Service.Run] sends it. What a
// device says of an overlay that it got ([Service.Shown], [Service.Answered]) is checked
// against the message with the overlay and handed to the side that sent it.
package overlay

import (
	"errors"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// Errors of this package.
var (
	// ErrNotFound: there is no such overlay, version or message for whoever asks.
	ErrNotFound = errors.New("overlay: not found")
	// ErrRequest: a field cannot be used as it is.
	ErrRequest = errors.New("overlay: unusable request")
	// ErrClosed: the session is over, or the caller is not in it.
	ErrClosed = errors.New("overlay: not in the session")
	// ErrFull: there are as many as there may be.
	ErrFull = errors.New("overlay: there are too many")
	// ErrNumbers: the numbers are not the caller's.
	ErrNumbers = errors.New("overlay: not the caller's numbers")
	// ErrSource: the provider's own server did not answer, or with something unusable.
	ErrSource = errors.New("overlay: the provider's server gave nothing usable")
)

// Limits.
const (
	MaxStored   = 500 // overlays of a tenant
	MaxVersions = 50  // that are kept of each; the oldest ones that are not live go
	maxName     = 64
	maxTitle    = 128 // bytes
)

// Stored is an overlay: table "overlays", key store.Key(tenant, name).
type Stored struct {
	Tenant wire.TenantID     `json:"tenant"`
	Name   string            `json:"name"`
	Draft  wire.OverlayDraft `json:"draft"`
	// Live is the version in use; 0: none. LiveNumbers and LiveWhen are that version's, so that
	// nobody need read every version to choose one.
	Live        int               `json:"live,omitempty"`
	LiveNumbers []string          `json:"live_numbers,omitempty"`
	LiveWhen    *wire.OverlayWhen `json:"live_when,omitempty"`
	// Next is the number of the next version.
	Next     int                   `json:"next"`
	Versions []wire.OverlayVersion `json:"versions,omitempty"`
	Changed  time.Time             `json:"changed"`
	// Key signs requests to the provider's server.
	Key []byte `json:"key"`
}

// Edition is a published version, which never changes: table "overlay-versions", key
// store.Key(tenant, name, version).
type Edition struct {
	wire.OverlayDraft
	Version int       `json:"version"`
	At      time.Time `json:"at"`
	// Attempt names the write, for when its answer is lost.
	Attempt string `json:"attempt"`
}

// info is the overlay as it is told.
func (s Stored) info() wire.StoredOverlay {
	return wire.StoredOverlay{
		Name: s.Name, Draft: s.Draft, Live: s.Live, Versions: append([]wire.OverlayVersion{}, s.Versions...), Changed: s.Changed,
	}
}
