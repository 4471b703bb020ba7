package files

import (
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// State of a file.
type State string

// States, in their order.
const (
	Uploading State = "uploading" // Offset of Length bytes are confirmed
	Stored    State = "stored"    // complete, synced, described
	Removed   State = "removed"   // its bytes are being deleted; the record goes last
)

// Record is what the server knows of one file, in the table "files".
type Record struct {
	ID      wire.FileID    `json:"id"`
	Tenant  wire.TenantID  `json:"tenant"`
	Session wire.SessionID `json:"session"`
	// Owner is the device that uploads.
	Owner wire.DeviceID `json:"owner"`
	// To lists the members who may have it beside the owner; empty: all.
	To []wire.MemberID `json:"to,omitempty"`
	// Request is the owner's id for the offer: the same id, the same file.
	Request wire.RequestID `json:"request"`
	// Name is safe to show and to save under.
	Name string `json:"name"`
	// KeepMetadata leaves place, camera and the like in a picture.
	KeepMetadata bool      `json:"keep_metadata,omitempty"`
	State        State     `json:"state"`
	Created      time.Time `json:"created"`
	// Expires is when an unfinished upload is removed; zero once it is stored.
	Expires time.Time `json:"expires,omitzero"`

	// Length is the number of bytes to upload; Offset of them are confirmed.
	Length int64 `json:"length"`
	Offset int64 `json:"offset"`
	// Writer is the request that may append, where nodes share the table: who comes later
	// takes the upload over, and what the one before has not confirmed does not count.
	Writer string `json:"writer,omitempty"`

	// Offered: the message is in the session. A stored file that is not offered is a
	// pending effect.
	Offered bool `json:"offered,omitempty"`
	// Size in bytes of what is stored: Length, less the metadata removed.
	Size int64 `json:"size,omitempty"`
	// Type is the media type recognised in the content.
	Type string `json:"type,omitempty"`
	// SHA256 of what is stored, in hexadecimal.
	SHA256 string `json:"sha256,omitempty"`
	// Width and Height of a picture as it is shown, in pixels.
	Width  int `json:"width,omitempty"`
	Height int `json:"height,omitempty"`
	// Preview is the media type of the small picture; empty: there is none.
	Preview string `json:"preview,omitempty"`
}

// Complete reports whether all bytes are there.
func (r Record) Complete() bool { return r.State != Removed && r.Offset == r.Length }

// expired reports whether an upload has taken too long.
func (r Record) expired(now time.Time) bool {
	return r.State == Uploading && !r.Complete() && !now.Before(r.Expires)
}

// Path below which the file is served.
func (r Record) Path() string { return "/v1/files/" + string(r.ID) }

// File is the body of the message that offers the file.
func (r Record) File() wire.File {
	f := wire.File{
		ID: r.ID, Name: r.Name, Size: r.Size, Type: r.Type, SHA256: r.SHA256,
		Path: r.Path(), Width: r.Width, Height: r.Height,
	}
	if r.Preview != "" {
		f.Preview = r.Path() + "/preview"
	}
	return f
}

func (r Record) key() string { return key(r.Tenant, r.ID) }

func key(tenant wire.TenantID, id wire.FileID) string { return store.Key(string(tenant), string(id)) }
