package overlay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tandem-call/tandem/internal/credential"
	"github.com/tandem-call/tandem/internal/signed"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/wire"
)

var validName = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)

func key(tenant wire.TenantID, name string) string { return store.Key(string(tenant), name) }

func editionKey(tenant wire.TenantID, name string, version int) string {
	return store.Key(string(tenant), name, strconv.Itoa(version))
}

// List returns the overlays of an owner, by name.
func (s *Service) List(ctx context.Context, by credential.Owner) ([]wire.StoredOverlay, error) {
	all := []wire.StoredOverlay{}
	for item, err := range s.stored.Scan(ctx, store.Key(string(by.Tenant))+"/") {
		if err != nil {
			return nil, fmt.Errorf("overlay: list: %w", err)
		}
		if by.Has(item.Value.Draft.Numbers) {
			all = append(all, item.Value.info())
		}
	}
	return all, nil
}

// Get returns one overlay of an owner. ErrNotFound.
func (s *Service) Get(ctx context.Context, by credential.Owner, name string) (wire.StoredOverlay, error) {
	x, err := s.get(ctx, by, name)
	return x.info(), err
}

func (s *Service) get(ctx context.Context, by credential.Owner, name string) (Stored, error) {
	x, _, err := s.stored.Get(ctx, key(by.Tenant, name))
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && !by.Has(x.Draft.Numbers):
		return Stored{}, fmt.Errorf("%w: %s", ErrNotFound, clean(name))
	case err != nil:
		return Stored{}, fmt.Errorf("overlay: read: %w", err)
	}
	return x, nil
}

// clean returns a name that may stand in an error.
func clean(name string) string {
	if validName.MatchString(name) {
		return name
	}
	return "no such name"
}

// SetDraft makes an overlay, or changes its draft; what is live stays as it is. The secret is
// returned when the overlay is made. ErrRequest, ErrNumbers, ErrFull, overlay.ErrInvalid.
func (s *Service) SetDraft(ctx context.Context, by credential.Owner, name string, d wire.OverlayDraft) (wire.StoredOverlay, error) {
	if !validName.MatchString(name) {
		return wire.StoredOverlay{}, fmt.Errorf("%w: a name has 1 to %d of a-z 0-9 _ -", ErrRequest, maxName)
	}
	d, err := s.check(d)
	if err != nil {
		return wire.StoredOverlay{}, err
	}
	if !by.Has(d.Numbers) {
		return wire.StoredOverlay{}, ErrNumbers
	}
	if err := s.room(ctx, by.Tenant, name); err != nil {
		return wire.StoredOverlay{}, err
	}
	secret, made := signed.NewKey(), false
	x, err := store.Change(ctx, s.stored, key(by.Tenant, name), func(x Stored, exists bool) (Stored, bool, error) {
		made = !exists || slices.Equal(x.Key, secret) // the second: our own write, whose answer was lost
		switch {
		case exists && !by.Has(x.Draft.Numbers):
			// A name is the tenant's. Whose it is, is not told.
			return x, false, fmt.Errorf("%w: the name is taken", ErrRequest)
		case !exists:
			x = Stored{Tenant: by.Tenant, Name: name, Key: secret, Next: 1}
		}
		x.Draft, x.Changed = d, s.cfg.Now()
		return x, true, nil
	})
	if err != nil {
		return wire.StoredOverlay{}, fmt.Errorf("overlay: draft: %w", err)
	}
	info := x.info()
	if made {
		info.Secret = signed.Text(x.Key)
	}
	return info, nil
}

// room refuses one overlay more than there may be.
func (s *Service) room(ctx context.Context, tenant wire.TenantID, name string) error {
	n := 0
	for item, err := range s.stored.Scan(ctx, store.Key(string(tenant))+"/") {
		if err != nil {
			return fmt.Errorf("overlay: count: %w", err)
		}
		if item.Value.Name == name {
			return nil
		}
		n++
	}
	if n >= MaxStored {
		return fmt.Errorf("%w: at most %d", ErrFull, MaxStored)
	}
	return nil
}

// check brings a draft into the form in which it is kept, and tries it.
func (s *Service) check(d wire.OverlayDraft) (wire.OverlayDraft, error) {
	if len(d.Numbers) == 0 {
		return d, fmt.Errorf("%w: say whose sessions it is for: numbers", ErrRequest)
	}
	var err error
	if d.Numbers, err = credential.ParseRanges(d.Numbers); err != nil {
		return d, fmt.Errorf("%w: numbers: %w", ErrRequest, err)
	}
	if len(d.Title) == 0 || len(d.Title) > 32 {
		return d, fmt.Errorf("%w: a title is needed, in at most 32 languages", ErrRequest)
	}
	for tag, text := range d.Title {
		if !languageTag.MatchString(tag) || strings.TrimSpace(text) == "" || len(text) > maxTitle || !utf8.ValidString(text) {
			return d, fmt.Errorf("%w: title: a language such as en, and at most %d bytes of text", ErrRequest, maxTitle)
		}
	}
	if d.URL != "" {
		if s.cfg.CheckURL == nil {
			return d, fmt.Errorf("%w: url: this server asks no other one", ErrRequest)
		}
		if err := s.cfg.CheckURL(d.URL); err != nil {
			return d, fmt.Errorf("%w: url: %w", ErrRequest, err)
		}
	}
	if err := checkWhen(d.When); err != nil {
		return d, err
	}
	if err := checkParameters(d); err != nil {
		return d, err
	}
	switch {
	case len(d.Document) > overlay.MaxSize:
		return d, fmt.Errorf("%w: the document is larger than %d bytes", ErrRequest, overlay.MaxSize)
	case len(d.Document) == 0 && d.URL == "":
		return d, fmt.Errorf("%w: give a document, or the url of a server that has it", ErrRequest)
	case len(d.Document) == 0:
		return d, nil
	}
	if _, err := Fill(d, sample(d.Parameters)); err != nil {
		return d, fmt.Errorf("tried with examples: %w", err)
	}
	return d, nil
}

// DraftPicture returns the address of a region's picture in a draft, with the examples of its
// parameters. ErrNotFound.
func (s *Service) DraftPicture(ctx context.Context, by credential.Owner, name, region string) (string, error) {
	x, err := s.get(ctx, by, name)
	if err != nil {
		return "", err
	}
	if len(x.Draft.Document) == 0 {
		return "", errNoPicture
	}
	o, err := Fill(x.Draft, sample(x.Draft.Parameters))
	if err != nil {
		return "", err
	}
	return pictureOf(o, region)
}

// Publish makes the draft a version, and the live one. ErrNotFound.
func (s *Service) Publish(ctx context.Context, by credential.Owner, name string) (wire.StoredOverlay, error) {
	attempt := wire.NewID("")
	for {
		x, rev, err := s.stored.Get(ctx, key(by.Tenant, name))
		if errors.Is(err, store.ErrNotFound) || err == nil && !by.Has(x.Draft.Numbers) {
			return wire.StoredOverlay{}, fmt.Errorf("%w: %s", ErrNotFound, clean(name))
		} else if err != nil {
			return wire.StoredOverlay{}, fmt.Errorf("overlay: publish: %w", err)
		}
		// The version is written before anybody is led to it. Whoever takes the same number at the
		// same time, or left it behind in a crash, is passed by.
		e, err := store.Change(ctx, s.editions, editionKey(by.Tenant, name, x.Next), func(e Edition, exists bool) (Edition, bool, error) {
			if exists {
				return e, false, nil
			}
			return Edition{OverlayDraft: x.Draft, Version: x.Next, At: s.cfg.Now(), Attempt: attempt}, true, nil
		})
		if err != nil {
			return wire.StoredOverlay{}, fmt.Errorf("overlay: publish: %w", err)
		}
		mine := e.Attempt == attempt
		if mine {
			x.Versions = append(slices.Clone(x.Versions), wire.OverlayVersion{Version: e.Version, At: e.At})
			x.Live, x.LiveNumbers, x.LiveWhen, x.Changed = e.Version, e.Numbers, e.When, e.At
		}
		x.Next++
		var gone []wire.OverlayVersion
		x.Versions, gone = recent(x.Versions, x.Live)
		_, err = s.stored.Put(ctx, key(by.Tenant, name), x, rev)
		switch {
		case err == nil && mine:
			for _, v := range gone {
				if err := store.Remove(ctx, s.editions, editionKey(by.Tenant, name, v.Version)); err != nil {
					return wire.StoredOverlay{}, fmt.Errorf("overlay: publish: %w", err)
				}
			}
			return x.info(), s.changed(ctx)
		case err == nil:
		case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrUncertain):
			if now, _, err := s.stored.Get(ctx, key(by.Tenant, name)); err == nil && mine && slices.ContainsFunc(now.Versions, func(v wire.OverlayVersion) bool { return v.Version == e.Version }) {
				return now.info(), s.changed(ctx) // stored, although its answer was lost
			}
			attempt = wire.NewID("")
		default:
			return wire.StoredOverlay{}, fmt.Errorf("overlay: publish: %w", err)
		}
	}
}

// recent returns the versions to keep: the newest, and the live one.
func recent(all []wire.OverlayVersion, live int) (keep, gone []wire.OverlayVersion) {
	for i, v := range all {
		if len(all)-i > MaxVersions && v.Version != live {
			gone = append(gone, v)
		} else {
			keep = append(keep, v)
		}
	}
	return keep, gone
}

// Version returns what a version was published from. ErrNotFound.
func (s *Service) Version(ctx context.Context, by credential.Owner, name string, version int) (wire.OverlayDraft, error) {
	if _, err := s.get(ctx, by, name); err != nil {
		return wire.OverlayDraft{}, err
	}
	e, err := s.version(ctx, by, name, version)
	return e.OverlayDraft, err
}

func (s *Service) version(ctx context.Context, by credential.Owner, name string, version int) (Edition, error) {
	e, _, err := s.editions.Get(ctx, editionKey(by.Tenant, name, version))
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && !by.Has(e.Numbers):
		return Edition{}, fmt.Errorf("%w: version %d", ErrNotFound, version)
	case err != nil:
		return Edition{}, fmt.Errorf("overlay: read a version: %w", err)
	}
	return e, nil
}

// Rollback makes another version the live one; 0: none. ErrNotFound.
func (s *Service) Rollback(ctx context.Context, by credential.Owner, name string, version int) (wire.StoredOverlay, error) {
	var e Edition
	if version != 0 {
		var err error
		if e, err = s.version(ctx, by, name, version); err != nil {
			return wire.StoredOverlay{}, err
		}
	}
	x, err := store.Change(ctx, s.stored, key(by.Tenant, name), func(x Stored, exists bool) (Stored, bool, error) {
		listed := slices.ContainsFunc(x.Versions, func(v wire.OverlayVersion) bool { return v.Version == version })
		if !exists || !by.Has(x.Draft.Numbers) || version != 0 && !listed {
			return x, false, fmt.Errorf("%w: %s, version %d", ErrNotFound, clean(name), version)
		}
		x.Live, x.LiveNumbers, x.LiveWhen, x.Changed = version, e.Numbers, e.When, s.cfg.Now()
		return x, true, nil
	})
	if err != nil {
		return wire.StoredOverlay{}, fmt.Errorf("overlay: roll back: %w", err)
	}
	return x.info(), s.changed(ctx)
}

// Remove forgets an overlay with its versions. ErrNotFound.
func (s *Service) Remove(ctx context.Context, by credential.Owner, name string) error {
	x, err := s.get(ctx, by, name)
	if err != nil {
		return err
	}
	if err := store.Remove(ctx, s.stored, key(by.Tenant, name)); err != nil {
		return fmt.Errorf("overlay: remove: %w", err)
	}
	for _, v := range x.Versions {
		if err := store.Remove(ctx, s.editions, editionKey(by.Tenant, name, v.Version)); err != nil {
			return fmt.Errorf("overlay: remove: %w", err)
		}
	}
	if err := store.Remove(ctx, s.kept, key(by.Tenant, name)); err != nil {
		return fmt.Errorf("overlay: remove: %w", err)
	}
	return s.changed(ctx)
}

// edition returns the live version of an overlay. ErrNotFound.
func (s *Service) edition(ctx context.Context, tenant wire.TenantID, name string) (Stored, Edition, error) {
	x, _, err := s.stored.Get(ctx, key(tenant, name))
	if errors.Is(err, store.ErrNotFound) || err == nil && x.Live == 0 {
		return x, Edition{}, fmt.Errorf("%w: no template %s is live", ErrNotFound, clean(name))
	} else if err != nil {
		return x, Edition{}, fmt.Errorf("overlay: read: %w", err)
	}
	e, _, err := s.editions.Get(ctx, editionKey(tenant, name, x.Live))
	if errors.Is(err, store.ErrNotFound) {
		return x, e, fmt.Errorf("%w: no template %s is live", ErrNotFound, clean(name))
	}
	return x, e, err
}

// templateOf is a version as whoever sends it sees it.
func templateOf(x Stored, e Edition) wire.OverlayTemplate {
	return wire.OverlayTemplate{Name: x.Name, Title: maps.Clone(e.Title), Version: e.Version, Parameters: append([]wire.OverlayParameter{}, e.Parameters...)}
}
