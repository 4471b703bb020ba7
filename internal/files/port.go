package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// Errors of a Service. Callers branch with errors.Is.
var (
	// ErrNotFound: no such file, or not for this device: one answer.
	ErrNotFound = errors.New("files: no such file")
	// ErrNotMember: the device is not a member of the session, or there is none.
	ErrNotMember = errors.New("files: not a member of the session")
	// ErrClosed: the session takes nothing more.
	ErrClosed = errors.New("files: the session is closed")
	// ErrInvalid: the request cannot be right.
	ErrInvalid = errors.New("files: invalid request")
	// ErrTooLarge: over the limit for one file, one session or one tenant.
	ErrTooLarge = errors.New("files: too large")
	// ErrTooMany: the device has too many unfinished uploads.
	ErrTooMany = errors.New("files: too many unfinished uploads")
	// ErrFull: the disk would run into its headroom.
	ErrFull = errors.New("files: disk is nearly full")
	// ErrConflict: the upload is not at this offset, or the request id is in use for another file.
	ErrConflict = errors.New("files: conflict")
	// ErrChecksum: the bytes are not those that the checksum was made of; none was kept.
	ErrChecksum = errors.New("files: checksum mismatch")
	// ErrDamagedPicture: metadata cannot be removed, since the picture's structure is broken.
	ErrDamagedPicture = errors.New("files: damaged picture")
	// ErrUncleanable: metadata of such pictures cannot be removed. It is an ErrDamagedPicture, whose
	// fate it shares.
	ErrUncleanable = fmt.Errorf("%w: of a kind that cannot be cleaned", ErrDamagedPicture)
	// ErrDamaged: confirmed bytes are not on the disk.
	ErrDamaged = errors.New("files: stored bytes are missing")
)

// Access is what the rules need to know of sessions.
type Access interface {
	// MayUpload returns nil if device is a member of an open session and all of to are
	// members too. ErrNotMember (also where there is no such session), ErrClosed.
	MayUpload(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, session wire.SessionID, to []wire.MemberID) error
	// Member returns the device's member id in the session, also after it has closed.
	// ErrNotMember.
	Member(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, session wire.SessionID) (wire.MemberID, error)
	// Kept reports whether the session's log is still kept; its files go with it.
	Kept(ctx context.Context, tenant wire.TenantID, session wire.SessionID) (bool, error)
}

// Offer sends the message of kind file into the session, in the name of device. It is
// called again after a crash or a failure, with the same request id, and must then do
// nothing. An error that wraps ErrClosed or ErrNotMember is final: the file is removed.
type Offer func(ctx context.Context, tenant wire.TenantID, session wire.SessionID, device wire.DeviceID, to []wire.MemberID, id wire.RequestID, f wire.File) error

// Progress of an upload, for the members who wait for it.
type Progress struct {
	Tenant  wire.TenantID
	Session wire.SessionID
	Device  wire.DeviceID
	To      []wire.MemberID
	ID      wire.FileID
	Name    string
	// Offset of Size bytes have arrived; they may not be durable yet.
	Offset, Size int64
	// Gone: the device has taken it back.
	Gone bool
}

// Records is the table of files; store.Table[Record] fits.
type Records interface {
	Get(ctx context.Context, key string) (Record, store.Rev, error)
	Put(ctx context.Context, key string, r Record, at store.Rev) (store.Rev, error)
	Delete(ctx context.Context, key string, at store.Rev) error
	Scan(ctx context.Context, prefix string) iter.Seq2[store.Item[Record], error]
}

// Index is the table of files by session and request; store.Table[Place] fits.
type Index interface {
	Get(ctx context.Context, key string) (Place, store.Rev, error)
	Put(ctx context.Context, key string, p Place, at store.Rev) (store.Rev, error)
	Delete(ctx context.Context, key string, at store.Rev) error
	Scan(ctx context.Context, prefix string) iter.Seq2[store.Item[Place], error]
}

// Area of the disk.
type Area string

// Areas.
const (
	Parts    Area = "parts"    // uploads, as they come
	Contents Area = "contents" // finished files
	Previews Area = "previews" // small pictures
)

// Disk keeps bytes. An id never contains anything but [A-Za-z0-9_-]. When a method has
// returned nil its change outlasts a crash, unless it says otherwise. ErrFull where
// there is no more room.
type Disk interface {
	// Append opens the part of id for writing at offset at, where it cuts off whatever
	// is beyond; at 0 it makes the part if there is none. ErrDamaged if it is shorter.
	Append(id wire.FileID, at int64) (Part, error)
	// Open opens for reading. An error that is fs.ErrNotExist if there is none.
	Open(a Area, id wire.FileID) (Content, error)
	// Write makes or replaces the file as a whole; if fill fails nothing is changed.
	Write(a Area, id wire.FileID, fill func(io.Writer) error) error
	// Move makes the part of id its content.
	Move(id wire.FileID) error
	// Remove deletes what there is of id, in the areas named; it is no error if there is nothing.
	Remove(id wire.FileID, areas ...Area) error
	// Free returns the bytes that can still be written.
	Free() (int64, error)
	// List walks the ids on the disk, each with the time of its last change; an id may
	// come more than once.
	List() iter.Seq2[wire.FileID, time.Time]
}

// Part is an open upload.
type Part interface {
	io.WriteCloser
	// Sync returns once what was written outlasts a crash.
	Sync() error
	// Cut drops what is beyond size, and continues there.
	Cut(size int64) error
}

// Content is an open file.
type Content interface {
	io.ReadSeekCloser
	io.ReaderAt
}
