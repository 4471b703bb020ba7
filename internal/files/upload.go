package files

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

const (
	// confirmEvery is how many bytes of one request may pass before they are synced and
	// confirmed: what a crash of the server can cost at most.
	confirmEvery = 16 << 20
	// progressEvery is the least time between two reports of one upload.
	progressEvery = 250 * time.Millisecond
	maxMembers    = 256
)

// NewUpload asks to upload a file.
type NewUpload struct {
	Tenant  wire.TenantID
	Device  wire.DeviceID
	Session wire.SessionID
	// To lists the members who may have it; empty: all.
	To []wire.MemberID
	// Request is the device's id; repeating it gives the same upload. Empty: a fresh one.
	Request wire.RequestID
	Name    string
	Length  int64
	// KeepMetadata leaves place, camera and the like in a picture.
	KeepMetadata bool
}

// Create makes an upload, or returns the one that this request has made before.
// ErrInvalid, ErrNotMember, ErrClosed, ErrTooLarge, ErrTooMany, ErrFull, ErrConflict.
func (s *Service) Create(ctx context.Context, n NewUpload) (r Record, repeated bool, err error) {
	switch {
	case !wire.ValidID(string(n.Session)):
		return r, false, fmt.Errorf("%w: the metadata names no session", ErrInvalid)
	case n.Request != "" && !wire.ValidID(string(n.Request)):
		return r, false, fmt.Errorf("%w: id has characters other than letters, digits, _ and -, or more than %d", ErrInvalid, wire.MaxID)
	case n.Length < 0:
		return r, false, fmt.Errorf("%w: negative length", ErrInvalid)
	case len(n.To) > maxMembers:
		return r, false, fmt.Errorf("%w: more than %d members addressed", ErrInvalid, maxMembers)
	}
	for _, m := range n.To {
		if !wire.ValidID(string(m)) {
			return r, false, fmt.Errorf("%w: to lists what is not a member id", ErrInvalid)
		}
	}
	if err := s.c.Access.MayUpload(ctx, n.Tenant, n.Device, n.Session, n.To); err != nil {
		return r, false, err
	}
	if max := s.c.Limits.FileBytes; n.Length > max {
		return r, false, fmt.Errorf("%w: %d bytes; a file has at most %d", ErrTooLarge, n.Length, max)
	}
	id := wire.FileID(wire.NewID("f"))
	if n.Request == "" {
		n.Request = wire.RequestID("file-" + id)
	}
	now := time.Now().UTC()
	r = Record{
		ID: id, Tenant: n.Tenant, Session: n.Session, Owner: n.Device, To: n.To, Request: n.Request,
		Name: CleanName(n.Name), KeepMetadata: n.KeepMetadata, Length: n.Length,
		State: Uploading, Created: now, Expires: now.Add(s.c.UnfinishedFor),
	}

	if s.c.BySession != nil {
		return s.createShared(ctx, r)
	}
	s.creating.Lock()
	defer s.creating.Unlock()
	if id, ok := s.ledger.byRequest(requestOf(r)); ok {
		before, _, err := s.get(ctx, n.Tenant, id)
		if err == nil && before.Length != n.Length {
			return r, false, fmt.Errorf("%w: id %s was used for a file of another size", ErrConflict, n.Request)
		}
		if !errors.Is(err, ErrNotFound) {
			return before, true, err
		}
	}
	if err := s.room(s.ledger, r); err != nil {
		return r, false, err
	}
	s.ledger.set(r)
	if err := s.write(ctx, r); err != nil {
		s.ledger.drop(r.ID)
		return r, false, err
	}
	return r, false, nil
}

// write makes the record of a new upload.
func (s *Service) write(ctx context.Context, r Record) error {
	_, err := store.Change(ctx, s.c.Records, r.key(), func(now Record, exists bool) (Record, bool, error) {
		return r, !exists, nil // the id is ours alone: if it exists, an uncertain attempt was made
	})
	if err != nil {
		return fmt.Errorf("files: create: %w", full(err))
	}
	return nil
}

// room says whether the limits, by what is in the ledger, and the disk have room for r.
func (s *Service) room(l *ledger, r Record) error {
	free, err := s.c.Disk.Free()
	if err != nil {
		return fmt.Errorf("files: free space: %w", err)
	}
	max := s.c.Limits
	l.mu.Lock()
	defer l.mu.Unlock()
	var held int64
	if a := l.sessions[sessionKey{r.Tenant, r.Session}]; a != nil {
		held = a.bytes
	}
	switch {
	case l.open[deviceKey{r.Tenant, r.Owner}] >= max.DeviceUploads:
		return fmt.Errorf("%w: at most %d", ErrTooMany, max.DeviceUploads)
	case held+r.Length > max.SessionBytes:
		return fmt.Errorf("%w: the files of a session have at most %d bytes together", ErrTooLarge, max.SessionBytes)
	case l.tenants[r.Tenant]+r.Length > max.TenantBytes:
		return fmt.Errorf("%w: the tenant's files have at most %d bytes together", ErrTooLarge, max.TenantBytes)
	case free-l.unfilled-r.Length < max.Headroom:
		return ErrFull
	}
	return nil
}

// Upload returns the record of device's own upload, finished or not. ErrNotFound.
func (s *Service) Upload(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, id wire.FileID) (Record, error) {
	r, _, err := s.get(ctx, tenant, id)
	if err == nil && r.Owner != device {
		err = ErrNotFound
	}
	if err == nil && r.expired(time.Now()) {
		err = ErrNotFound
	}
	return r, err
}

// Checksum is a digest that the bytes of one request must have.
type Checksum struct {
	New func() hash.Hash
	Sum []byte
}

// Append adds what src gives to device's upload at offset at, and returns how many bytes
// are confirmed: synced, and recorded. That may be some even with an error. If src ends
// early, what came is kept, unless there is a checksum. ErrNotFound, ErrConflict (another
// offset), ErrClosed, ErrNotMember, ErrChecksum, ErrFull, ErrDamaged.
func (s *Service) Append(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, id wire.FileID, at int64, src io.Reader, sum *Checksum) (n int64, err error) {
	unlock, err := s.hold(ctx, id)
	if err != nil {
		return 0, err
	}
	defer unlock()
	r, err := s.Upload(ctx, tenant, device, id)
	if err != nil {
		return 0, err
	}
	if r.Offset != at {
		return 0, fmt.Errorf("%w: the upload is at offset %d", ErrConflict, r.Offset)
	}
	if r.State != Uploading {
		return 0, nil
	}
	if err := s.c.Access.MayUpload(ctx, tenant, device, r.Session, r.To); err != nil {
		return 0, err
	}
	if r, err = s.takeOver(ctx, r, at); err != nil {
		return 0, err
	}
	part, err := s.c.Disk.Append(id, at)
	if err != nil {
		return 0, fmt.Errorf("files: append to %s: %w", id, err)
	}
	defer func() {
		if cerr := part.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("files: close %s: %w", id, cerr)
		}
	}()

	// What has arrived is saved even when the request is over.
	save := context.WithoutCancel(ctx)
	src = io.LimitReader(&watched{src: src, s: s, r: r, at: at}, r.Length-at)
	if sum != nil {
		h := sum.New()
		got, werr := io.Copy(io.MultiWriter(part, h), src)
		if werr == nil && subtle.ConstantTimeCompare(h.Sum(nil), sum.Sum) != 1 {
			werr = ErrChecksum
		}
		if werr == nil {
			_, werr = s.confirm(save, r, part, at+got)
		}
		if werr != nil {
			return 0, errors.Join(werr, cut(part, at, werr))
		}
		return got, nil
	}
	for {
		got, werr := io.CopyN(part, src, confirmEvery)
		if got > 0 {
			next, cerr := s.confirm(save, r, part, r.Offset+got)
			if cerr != nil {
				return r.Offset - at, errors.Join(cerr, cut(part, r.Offset, cerr))
			}
			r = next
		}
		switch {
		case werr == io.EOF:
			return r.Offset - at, nil
		case werr != nil:
			return r.Offset - at, fmt.Errorf("files: append to %s: %w", id, werr)
		}
	}
}

// cut takes off what was not confirmed, unless it may have been: then the next request sees.
func cut(part Part, at int64, why error) error {
	if errors.Is(why, store.ErrUncertain) {
		return nil
	}
	return part.Cut(at)
}

// confirm makes the bytes up to offset durable, and says so in the record.
func (s *Service) confirm(ctx context.Context, r Record, part Part, offset int64) (Record, error) {
	if err := part.Sync(); err != nil {
		return r, fmt.Errorf("files: sync %s: %w", r.ID, err)
	}
	return s.change(ctx, r, func(now *Record) error {
		if now.Writer != r.Writer || now.State != Uploading {
			return fmt.Errorf("%w: another request has taken the upload over", ErrConflict)
		}
		now.Offset = offset
		return nil
	})
}

// watched tells of the progress of an upload.
type watched struct {
	src  io.Reader
	s    *Service
	r    Record
	at   int64
	told time.Time
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.src.Read(b)
	w.at += int64(n)
	if w.s.c.Progress == nil || n == 0 {
		return n, err
	}
	if now := time.Now(); now.Sub(w.told) >= progressEvery {
		w.told = now
		w.s.c.Progress(progressOf(w.r, w.at))
	}
	return n, err
}

func progressOf(r Record, at int64) Progress {
	return Progress{
		Tenant: r.Tenant, Session: r.Session, Device: r.Owner, To: r.To,
		ID: r.ID, Name: r.Name, Offset: at, Size: r.Length,
	}
}

// Delete removes device's own file, finished or not; of one that is not, the members are told. ErrNotFound.
func (s *Service) Delete(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, id wire.FileID) error {
	unlock, err := s.hold(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	r, err := s.Upload(ctx, tenant, device, id)
	if err != nil {
		return err
	}
	if err := s.remove(ctx, r); err != nil {
		return err
	}
	if s.c.Progress != nil && r.State == Uploading {
		p := progressOf(r, r.Offset)
		p.Gone = true
		s.c.Progress(p)
	}
	return nil
}

// remove deletes a file; the record goes last, so that a sweep can complete it. The
// caller holds the file's lock.
func (s *Service) remove(ctx context.Context, r Record) error {
	if r.State != Removed {
		// On a full disk it goes unmarked: that is how room is made.
		if _, err := s.change(ctx, r, func(r *Record) error { r.State = Removed; return nil }); err != nil && !errors.Is(err, ErrFull) {
			return err
		}
	}
	if err := s.c.Disk.Remove(r.ID, Parts, Contents, Previews); err != nil {
		return fmt.Errorf("files: remove %s: %w", r.ID, err)
	}
	_, rev, err := s.c.Records.Get(ctx, r.key())
	if err == nil {
		err = s.c.Records.Delete(ctx, r.key(), rev)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("files: remove %s: %w", r.ID, err)
	}
	return s.forget(ctx, r)
}
