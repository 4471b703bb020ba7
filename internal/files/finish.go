package files

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/gabriel-vasile/mimetype"

	"github.com/tandem-call/tandem/wire"
)

// Finish describes and offers device's upload whose bytes are all there. It may be
// repeated: it does what is left to do. nil means that the file is stored; an offer that
// failed for now is completed by the next sweep. ErrNotFound, ErrInvalid (bytes are
// missing), ErrDamagedPicture, ErrClosed, ErrNotMember: the last three have removed the
// file. ErrFull, ErrDamaged.
func (s *Service) Finish(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, id wire.FileID) error {
	// The work is bounded and worth completing when the client has gone.
	ctx = context.WithoutCancel(ctx)
	unlock, err := s.hold(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	r, err := s.Upload(ctx, tenant, device, id)
	if err != nil {
		return err
	}
	return s.finish(ctx, r)
}

// finish brings a complete upload to its end; the caller holds the file's lock.
func (s *Service) finish(ctx context.Context, r Record) error {
	if !r.Complete() {
		return fmt.Errorf("%w: %d of %d bytes are there", ErrInvalid, r.Offset, r.Length)
	}
	if r.State == Uploading {
		next, err := s.store(ctx, r)
		if errors.Is(err, ErrDamagedPicture) {
			return errors.Join(err, s.remove(ctx, r))
		}
		if err != nil {
			return err
		}
		r = next
	}
	if r.Offered {
		return nil
	}
	err := s.c.Offer(ctx, r.Tenant, r.Session, r.Owner, r.To, r.Request, r.File())
	switch {
	case errors.Is(err, ErrClosed), errors.Is(err, ErrNotMember):
		return errors.Join(err, s.remove(ctx, r))
	case err != nil:
		s.c.Log.Warn("file is stored, but could not be offered yet", "file", r.ID, "session", r.Session, "error", err)
		return nil
	}
	if _, err := s.change(ctx, r, func(r *Record) error { r.Offered = true; return nil }); err != nil {
		// Offering it again is harmless.
		s.c.Log.Warn("file is offered, but its record does not say so yet", "file", r.ID, "error", err)
	}
	return nil
}

// store makes the part the content, and describes it.
func (s *Service) store(ctx context.Context, r Record) (Record, error) {
	content, err := s.content(r)
	if err != nil {
		return r, fmt.Errorf("files: finish %s: %w", r.ID, err)
	}
	defer content.Close()
	size, sum, err := digest(content)
	if err != nil {
		return r, fmt.Errorf("files: finish %s: %w", r.ID, err)
	}
	kind, err := sniff(content)
	if err != nil {
		return r, fmt.Errorf("files: finish %s: %w", r.ID, err)
	}
	pic, err := s.picture(r.ID, kind, content)
	if err != nil {
		// A file without preview is a file all the same.
		s.c.Log.Debug("no preview", "file", r.ID, "type", kind, "reason", err)
	}
	r, err = s.change(ctx, r, func(r *Record) error {
		r.State, r.Expires, r.Writer = Stored, time.Time{}, ""
		r.Size, r.SHA256, r.Type = size, sum, kind
		r.Width, r.Height, r.Preview = pic.width, pic.height, pic.preview
		return nil
	})
	if err != nil {
		return r, err
	}
	if err := s.c.Disk.Remove(r.ID, Parts); err != nil {
		s.c.Log.Warn("left-over of an upload could not be removed", "file", r.ID, "error", err)
	}
	return r, nil
}

// content opens the finished file; it makes it of the part, without metadata, unless a
// former attempt has.
func (s *Service) content(r Record) (Content, error) {
	c, err := s.c.Disk.Open(Contents, r.ID)
	if !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	part, err := s.part(r)
	if err != nil {
		return nil, err
	}
	defer part.Close()
	kind, err := sniff(part)
	if err != nil {
		return nil, err
	}
	strip, err := stripper(kind)
	if err != nil && !r.KeepMetadata {
		return nil, err
	}
	if strip != nil && !r.KeepMetadata {
		if _, err := part.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		err = s.c.Disk.Write(Contents, r.ID, func(w io.Writer) error { return strip(w, part) })
	} else {
		err = s.c.Disk.Move(r.ID)
	}
	if err != nil {
		return nil, err
	}
	return s.c.Disk.Open(Contents, r.ID)
}

// part opens the uploaded bytes, which must be all there.
func (s *Service) part(r Record) (Content, error) {
	if r.Length == 0 { // nothing was ever appended
		p, err := s.c.Disk.Append(r.ID, 0)
		if err == nil {
			err = errors.Join(p.Sync(), p.Close())
		}
		if err != nil {
			return nil, err
		}
	}
	part, err := s.c.Disk.Open(Parts, r.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return nil, err
	}
	size, err := part.Seek(0, io.SeekEnd)
	if err == nil && size != r.Length {
		err = fmt.Errorf("%w: %d of %d bytes", ErrDamaged, size, r.Length)
	}
	if err != nil {
		return nil, errors.Join(err, part.Close())
	}
	return part, nil
}

// digest reads all of c.
func digest(c Content) (size int64, sum string, err error) {
	if _, err = c.Seek(0, io.SeekStart); err != nil {
		return 0, "", err
	}
	h := sha256.New()
	size, err = io.Copy(h, c)
	return size, hex.EncodeToString(h.Sum(nil)), err
}

// sniff recognises the media type in the content. What the uploader claims it to be is
// not asked.
func sniff(c io.ReaderAt) (string, error) {
	head := make([]byte, 3072)
	n, err := c.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	return mimetype.Detect(head[:n]).String(), nil
}

// picture measures a picture and makes its preview.
func (s *Service) picture(id wire.FileID, kind string, c Content) (p picture, err error) {
	if !pictures[kind] {
		return p, nil
	}
	s.previews <- struct{}{}
	defer func() { <-s.previews }()
	p, small, err := preview(kind, c, s.c.Limits.Pixels)
	if err != nil {
		return p, err
	}
	err = s.c.Disk.Write(Previews, id, func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(small))
		return err
	})
	if err != nil {
		s.c.Log.Warn("preview could not be stored", "file", id, "error", err)
		p.preview = ""
	}
	return p, nil
}
