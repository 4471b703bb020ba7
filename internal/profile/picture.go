package profile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// PicturePath is where pictures are fetched, below the server's address.
const PicturePath = "/v1/pictures/"

// Picture is what is kept of one: table "profile-pictures", key store.Key(tenant, id). Its
// bytes are in the table "profile-picture-parts", whose records are no JSON, under
// store.Key(tenant, id, part).
type Picture struct {
	ID    string       `json:"id"`
	Owner tel.Identity `json:"owner"`
	wire.ProfilePicture
	Parts int `json:"parts"`
}

const (
	pictureParts = "profile-picture-parts"
	partBytes    = 512 << 10
)

func pictureID(p string) string { return path.Base(p) }

func pictureKey(tenant wire.TenantID, id string) string { return store.Key(string(tenant), id) }

func partKey(tenant wire.TenantID, id string, n int) string {
	return store.Key(string(tenant), id, fmt.Sprintf("%02d", n))
}

// SetPicture stores a picture and makes it the profile's field with this id. ErrType,
// ErrTooLarge, ErrRequest.
func (s *Service) SetPicture(ctx context.Context, tenant wire.TenantID, p tel.Identity, d wire.DeviceID, field string, data []byte) (wire.Profile, error) {
	if !fieldID.MatchString(field) {
		return wire.Profile{}, fmt.Errorf("%w: a field's id has 1 to 64 letters, digits, _ or -", ErrRequest)
	}
	if err := s.storePicture(ctx, tenant, p, field, data); err != nil {
		return wire.Profile{}, err
	}
	if err := s.renew(ctx, tenant, d); err != nil {
		return wire.Profile{}, err
	}
	return s.Own(ctx, tenant, p)
}

// storePicture keeps a picture only if the profile names it in the end.
func (s *Service) storePicture(ctx context.Context, tenant wire.TenantID, p tel.Identity, field string, data []byte) error {
	if len(data) > wire.MaxProfilePicture {
		return fmt.Errorf("%w: a picture has at most %d bytes", ErrTooLarge, wire.MaxProfilePicture)
	}
	if s.cfg.Clean == nil {
		return ErrType
	}
	data, kind, err := s.cfg.Clean(data)
	if err != nil {
		return err
	}
	pic, err := s.putPicture(ctx, tenant, p, data, kind)
	if err != nil {
		return err
	}
	named := false
	_, err = s.change(ctx, tenant, p, func(x Profile) (Profile, error) {
		if i := x.field(field); i >= 0 && x.Fields[i].Picture != nil && x.Fields[i].Picture.SHA256 == pic.SHA256 {
			named = x.Fields[i].Picture.Path == pic.Path
			return x, nil // the same again: whoever has it need not fetch it anew
		}
		next, _, err := x.Change(wire.ProfileChange{}, s.cfg.Now())
		if err != nil {
			return x, err
		}
		next.put(wire.ProfileField{ID: field, Name: "photo", Picture: &pic.ProfilePicture, Version: next.Version})
		err = next.check()
		named = err == nil
		return next, err
	})
	if !named {
		err = errors.Join(err, s.dropPicture(ctx, tenant, pic))
	}
	return err
}

// putPicture stores the bytes: the parts first, so that what is named is there.
func (s *Service) putPicture(ctx context.Context, tenant wire.TenantID, owner tel.Identity, data []byte, kind string) (Picture, error) {
	sum := sha256.Sum256(data)
	id := wire.NewID("pic_")
	p := Picture{ID: id, Owner: owner, ProfilePicture: wire.ProfilePicture{
		Path: PicturePath + id, SHA256: hex.EncodeToString(sum[:]), Type: kind, Size: int64(len(data)),
	}}
	for part := range slices.Chunk(data, partBytes) {
		if _, err := s.cfg.Engine.Put(ctx, pictureParts, partKey(tenant, id, p.Parts), part, 0); err != nil && !errors.Is(err, store.ErrUncertain) {
			return p, fmt.Errorf("profile: store a picture: %w", err)
		}
		p.Parts++
	}
	if _, err := s.pictures.Put(ctx, pictureKey(tenant, id), p, 0); err != nil {
		return p, fmt.Errorf("profile: store a picture: %w", err)
	}
	return p, nil
}

// read returns a picture's bytes. ErrNotFound.
func (s *Service) read(ctx context.Context, tenant wire.TenantID, id string) (Picture, []byte, error) {
	p, _, err := s.pictures.Get(ctx, pictureKey(tenant, id))
	if errors.Is(err, store.ErrNotFound) || !fieldID.MatchString(id) {
		return p, nil, ErrNotFound
	} else if err != nil {
		return p, nil, fmt.Errorf("profile: picture: %w", err)
	}
	var b bytes.Buffer
	for n := range p.Parts {
		r, err := s.cfg.Engine.Get(ctx, pictureParts, partKey(tenant, id, n))
		if err != nil {
			return p, nil, fmt.Errorf("profile: picture: %w", err)
		}
		b.Write(r.Value)
	}
	if sum := sha256.Sum256(b.Bytes()); hex.EncodeToString(sum[:]) != p.SHA256 {
		return p, nil, ErrNotFound // a part was never stored
	}
	return p, b.Bytes(), nil
}

// Bytes returns a picture for a vCard of its owner; nil if there is none.
func (s *Service) Bytes(ctx context.Context, tenant wire.TenantID) func(wire.ProfilePicture) []byte {
	return func(p wire.ProfilePicture) []byte {
		_, b, err := s.read(ctx, tenant, pictureID(p.Path))
		if err != nil {
			s.cfg.Log.Info("a picture is left out of a card", "err", err)
		}
		return b
	}
}

// Picture returns a picture to its owner's devices, and to those that were sent it.
// ErrNotFound.
func (s *Service) Picture(ctx context.Context, tenant wire.TenantID, p tel.Identity, d wire.DeviceID, id string) (wire.ProfilePicture, []byte, error) {
	pic, b, err := s.read(ctx, tenant, id)
	if err != nil {
		return pic.ProfilePicture, nil, err
	}
	if pic.Owner == p {
		return pic.ProfilePicture, b, nil
	}
	return s.sentPicture(ctx, tenant, pic, b, p, d)
}

// PictureSent is Picture for a guest or an agent: what its number's party owns is not its own.
func (s *Service) PictureSent(ctx context.Context, tenant wire.TenantID, p tel.Identity, d wire.DeviceID, id string) (wire.ProfilePicture, []byte, error) {
	pic, b, err := s.read(ctx, tenant, id)
	if err != nil {
		return pic.ProfilePicture, nil, err
	}
	return s.sentPicture(ctx, tenant, pic, b, p, d)
}

func (s *Service) sentPicture(ctx context.Context, tenant wire.TenantID, pic Picture, b []byte, p tel.Identity, d wire.DeviceID) (wire.ProfilePicture, []byte, error) {
	was, err := s.wasSent(ctx, tenant, pic.Owner, p, d, pic.ID)
	if err != nil {
		return pic.ProfilePicture, nil, err
	}
	if !was {
		return pic.ProfilePicture, nil, ErrNotFound
	}
	s.served.Add(uint64(len(b)))
	return pic.ProfilePicture, b, nil
}

func (s *Service) wasSent(ctx context.Context, tenant wire.TenantID, owner, receiver tel.Identity, d wire.DeviceID, id string) (bool, error) {
	key := store.Key(string(tenant), owner.String(), receiver.String())
	for item, err := range s.receipts.Scan(ctx, key) {
		if err != nil {
			return false, fmt.Errorf("profile: ledger: %w", err)
		}
		if r := item.Value; r.Receiver == receiver && r.Withdrawn.IsZero() {
			if h := r.of(d); h != nil && slices.ContainsFunc(h.Fields, func(f HeldField) bool { return f.Picture == id }) {
				return true, nil
			}
		}
	}
	return false, nil
}

// dropUnused removes the pictures of was that now does not name any more.
func (s *Service) dropUnused(ctx context.Context, tenant wire.TenantID, was, now []wire.ProfileField) error {
	for _, f := range was {
		if f.Picture == nil || slices.ContainsFunc(now, func(n wire.ProfileField) bool { return n.Picture != nil && n.Picture.Path == f.Picture.Path }) {
			continue
		}
		p, _, err := s.pictures.Get(ctx, pictureKey(tenant, pictureID(f.Picture.Path)))
		if errors.Is(err, store.ErrNotFound) {
			continue
		} else if err != nil {
			return fmt.Errorf("profile: pictures: %w", err)
		}
		if err := s.dropPicture(ctx, tenant, p); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) dropPicture(ctx context.Context, tenant wire.TenantID, p Picture) error {
	if err := store.Remove(ctx, s.pictures, pictureKey(tenant, p.ID)); err != nil {
		return fmt.Errorf("profile: remove a picture: %w", err)
	}
	for n := range p.Parts {
		key := partKey(tenant, p.ID, n)
		r, err := s.cfg.Engine.Get(ctx, pictureParts, key)
		if err == nil {
			err = s.cfg.Engine.Delete(ctx, pictureParts, key, r.Rev)
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("profile: remove a picture: %w", err)
		}
	}
	return nil
}
