package profile

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Contact is an entry of a party's address book: table "contacts", key
// store.Key(tenant, principal, id).
type Contact struct {
	wire.Contact
	// Receipts is the key of those that it was kept from.
	Receipts string `json:"receipts,omitempty"`
	// Moved are those of its identities that may have gone to somebody else since it was kept.
	Moved []tel.Identity `json:"moved,omitempty"`
}

// Rule is what a party wants of, and for, another: table "profile-rules", key
// store.Key(tenant, party, other), by principal identities.
type Rule struct {
	// Identity as the party wrote it.
	Identity tel.Identity  `json:"identity"`
	Other    tel.Identity  `json:"other"`
	Send     wire.SendRule `json:"send,omitempty"`
	Keep     wire.KeepRule `json:"keep,omitempty"`
}

// refusal is what of the rule refuses something; the zero Rule where nothing does.
func (r Rule) refusal() Rule {
	if r.Send != wire.SendNever {
		r.Send = ""
	}
	if r.Keep != wire.KeepNever {
		r.Keep = ""
	}
	if r.Send == "" && r.Keep == "" {
		return Rule{}
	}
	return r
}

func sendRule(r Rule, own Profile) wire.SendRule {
	if r.Send != "" {
		return r.Send
	}
	return own.Send
}

func ruleKey(tenant wire.TenantID, p, other tel.Identity) string {
	return store.Key(string(tenant), p.String(), other.String())
}

func (s *Service) rule(ctx context.Context, tenant wire.TenantID, p, other tel.Identity) (Rule, error) {
	r, _, err := s.rules.Get(ctx, ruleKey(tenant, p, other))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return r, fmt.Errorf("profile: rule: %w", err)
	}
	return r, nil
}

func (s *Service) setRule(ctx context.Context, tenant wire.TenantID, p, other tel.Identity, next func(Rule) Rule) error {
	_, err := store.Change(ctx, s.rules, ruleKey(tenant, p, other), func(r Rule, exists bool) (Rule, bool, error) {
		if !exists {
			r = Rule{Identity: other, Other: other}
		}
		return next(r), true, nil
	})
	if err != nil {
		return fmt.Errorf("profile: rule: %w", err)
	}
	return nil
}

// SetRule sets what a party wants of one other; a rule that says nothing is removed.
func (s *Service) SetRule(ctx context.Context, tenant wire.TenantID, p tel.Identity, r wire.ContactRule) error {
	other, err := s.cfg.Parties.Principal(ctx, tenant, r.Identity)
	if err != nil {
		return err
	}
	if other == p {
		return fmt.Errorf("%w: that is your own number", ErrRequest)
	}
	if r.Send == "" && r.Keep == "" {
		return store.Remove(ctx, s.rules, ruleKey(tenant, p, other))
	}
	if r.Keep == wire.KeepOnce { // once more
		key := store.Key(string(tenant), other.String(), p.String())
		_, err := store.Change(ctx, s.receipts, key, func(x Receipts, exists bool) (Receipts, bool, error) {
			was := x.Once
			x.Once = false
			return x, exists && was, nil
		})
		if err != nil {
			return fmt.Errorf("profile: ledger: %w", err)
		}
	}
	return s.setRule(ctx, tenant, p, other, func(Rule) Rule { return Rule{Identity: r.Identity, Other: other, Send: r.Send, Keep: r.Keep} })
}

// Rules lists what a party wants of others.
func (s *Service) Rules(ctx context.Context, tenant wire.TenantID, p tel.Identity) ([]wire.ContactRule, error) {
	list := []wire.ContactRule{}
	for item, err := range s.rules.Scan(ctx, partyKey(tenant, p)+"/") {
		if err != nil {
			return nil, fmt.Errorf("profile: rules: %w", err)
		}
		list = append(list, wire.ContactRule{Identity: item.Value.Identity, Send: item.Value.Send, Keep: item.Value.Keep})
	}
	return list, nil
}

// Contacts lists a party's address book.
func (s *Service) Contacts(ctx context.Context, tenant wire.TenantID, p tel.Identity) ([]wire.Contact, error) {
	list := []wire.Contact{}
	for item, err := range s.contacts.Scan(ctx, partyKey(tenant, p)+"/") {
		if err != nil {
			return nil, fmt.Errorf("profile: contacts: %w", err)
		}
		list = append(list, item.Value.Contact)
	}
	return list, nil
}

// Find lists the contacts that have an identity, with all the others that they have (A11).
func (s *Service) Find(ctx context.Context, tenant wire.TenantID, p, id tel.Identity) ([]wire.Contact, error) {
	list, err := s.Contacts(ctx, tenant, p)
	return slices.DeleteFunc(list, func(c wire.Contact) bool { return !slices.Contains(c.Identities, id) }), err
}

// Knows reports whether an identity is one of a party's contacts, and has not gone to somebody else
// since that was kept.
func (s *Service) Knows(ctx context.Context, tenant wire.TenantID, p, id tel.Identity) (bool, error) {
	for item, err := range s.contacts.Scan(ctx, partyKey(tenant, p)+"/") {
		if err != nil {
			return false, fmt.Errorf("profile: contacts: %w", err)
		}
		if c := item.Value; slices.Contains(c.Identities, id) && !slices.Contains(c.Moved, id) {
			return true, nil
		}
	}
	return false, nil
}

// contactID is the id of what is kept of one owner: the same when it is kept again.
func contactID(owner string) string { return "c_" + owner }

// Keep keeps what a device's party was sent by an owner. ErrNotFound.
func (s *Service) Keep(ctx context.Context, tenant wire.TenantID, p tel.Identity, owner string) (wire.Contact, error) {
	key, r, err := s.receiptsOf(ctx, tenant, p, owner)
	if err != nil {
		return wire.Contact{}, err
	}
	own, err := s.load(ctx, tenant, r.Owner)
	if err != nil {
		return wire.Contact{}, err
	}
	fields, err := s.proved(ctx, tenant, r.Owner, own.Fields)
	if err != nil {
		return wire.Contact{}, err
	}
	fields = slices.DeleteFunc(fields, func(f wire.ProfileField) bool { // no more than was sent
		return !slices.ContainsFunc(r.Devices, func(h Holding) bool {
			return slices.ContainsFunc(h.Fields, func(x HeldField) bool { return x.ID == f.ID && x.Version >= f.Version })
		})
	})
	return s.keep(ctx, tenant, key, r, fields, false)
}

// receiptsOf finds what a party received of an owner that it knows by this name.
func (s *Service) receiptsOf(ctx context.Context, tenant wire.TenantID, p tel.Identity, owner string) (string, Receipts, error) {
	n, _, err := s.names.Get(ctx, store.Key(string(tenant), owner))
	var r Receipts
	if err == nil {
		r, _, err = s.receipts.Get(ctx, n.Receipts)
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		err = ErrNotFound
	case err != nil:
		err = fmt.Errorf("profile: ledger: %w", err)
	case r.ID != owner || r.Receiver != p || !r.Withdrawn.IsZero():
		err = ErrNotFound
	}
	return n.Receipts, r, err
}

// keepUnasked keeps what was just sent, as the receiver's rule has it.
func (s *Service) keepUnasked(ctx context.Context, tenant wire.TenantID, key string, r Receipts, fields []wire.ProfileField, once bool) error {
	_, err := s.keep(ctx, tenant, key, r, fields, once)
	if errors.Is(err, ErrTooLarge) { // the book is full: it is there for the call
		return nil
	}
	return err
}

func (s *Service) keep(ctx context.Context, tenant wire.TenantID, key string, r Receipts, fields []wire.ProfileField, once bool) (wire.Contact, error) {
	c := Contact{Contact: wire.Contact{ID: contactID(r.ID), Fields: slices.Clone(fields), Owner: r.ID}, Receipts: key}
	for i, f := range c.Fields { // a copy of its own: it stays when the owner changes the picture
		if f.Picture == nil {
			continue
		}
		p, b, err := s.read(ctx, tenant, pictureID(f.Picture.Path))
		if err != nil {
			return c.Contact, err
		}
		own, err := s.putPicture(ctx, tenant, r.Receiver, b, p.Type)
		if err != nil {
			return c.Contact, err
		}
		c.Fields[i].Picture = &own.ProfilePicture
	}
	c.Identities = identities(c.Fields)
	room, err := s.room(ctx, tenant, r.Receiver)
	if err != nil {
		return c.Contact, errors.Join(err, s.dropUnused(ctx, tenant, c.Fields, nil))
	}
	if _, err := s.putContact(ctx, tenant, r.Receiver, c, room); err != nil {
		return c.Contact, err
	}
	_, err = store.Change(ctx, s.receipts, key, func(r Receipts, exists bool) (Receipts, bool, error) {
		r.Contact, r.Once = c.ID, r.Once || once
		return r, exists, nil
	})
	if err != nil {
		return c.Contact, fmt.Errorf("profile: ledger: %w", err)
	}
	return s.contact(ctx, tenant, r.Receiver, c.ID)
}

func (s *Service) contact(ctx context.Context, tenant wire.TenantID, p tel.Identity, id string) (wire.Contact, error) {
	c, _, err := s.contacts.Get(ctx, store.Key(string(tenant), p.String(), id))
	if errors.Is(err, store.ErrNotFound) {
		return c.Contact, ErrNotFound
	} else if err != nil {
		return c.Contact, fmt.Errorf("profile: contact: %w", err)
	}
	return c.Contact, nil
}

// room is how many contacts a party's address book can still take.
func (s *Service) room(ctx context.Context, tenant wire.TenantID, p tel.Identity) (int, error) {
	list, err := s.Contacts(ctx, tenant, p)
	return wire.MaxContacts - len(list), err
}

// putContact stores a contact, whose pictures are copies of its own; they go where it does not
// come in. It returns the room that is left. ErrTooLarge.
func (s *Service) putContact(ctx context.Context, tenant wire.TenantID, p tel.Identity, c Contact, room int) (int, error) {
	var was []wire.ProfileField
	key := store.Key(string(tenant), p.String(), c.ID)
	switch _, _, err := s.contacts.Get(ctx, key); {
	case err == nil: // it takes the place of what was kept before
	case !errors.Is(err, store.ErrNotFound):
		return room, fmt.Errorf("profile: contact: %w", err)
	case room <= 0:
		err := fmt.Errorf("%w: an address book has at most %d contacts", ErrTooLarge, wire.MaxContacts)
		return room, errors.Join(err, s.dropUnused(ctx, tenant, c.Fields, nil))
	default:
		room--
	}
	c.Changed = s.cfg.Now()
	_, err := store.Change(ctx, s.contacts, key, func(x Contact, _ bool) (Contact, bool, error) {
		was = x.Fields
		return c, true, nil
	})
	if err != nil {
		return room, fmt.Errorf("profile: contact: %w", err)
	}
	return room, s.dropUnused(ctx, tenant, was, c.Fields)
}

// RemoveContact removes one. ErrNotFound.
func (s *Service) RemoveContact(ctx context.Context, tenant wire.TenantID, p tel.Identity, id string) error {
	key := store.Key(string(tenant), p.String(), id)
	c, _, err := s.contacts.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return ErrNotFound
	} else if err != nil {
		return fmt.Errorf("profile: contact: %w", err)
	}
	if err := store.Remove(ctx, s.contacts, key); err != nil {
		return fmt.Errorf("profile: contact: %w", err)
	}
	if c.Receipts != "" {
		_, err := store.Change(ctx, s.receipts, c.Receipts, func(r Receipts, exists bool) (Receipts, bool, error) {
			r.Contact = ""
			return r, exists, nil
		})
		if err != nil {
			return fmt.Errorf("profile: ledger: %w", err)
		}
	}
	return s.dropUnused(ctx, tenant, c.Fields, nil)
}

// Import adds the contacts of vCards; a card with the uid of one that is there replaces it.
func (s *Service) Import(ctx context.Context, tenant wire.TenantID, p tel.Identity, cards []Card) ([]wire.Contact, error) {
	added := []wire.Contact{}
	room, err := s.room(ctx, tenant, p)
	if err != nil {
		return added, err
	}
	for _, card := range cards {
		id := "c_" + cardID(card.UID)
		c := Contact{Contact: wire.Contact{ID: id, Fields: []wire.ProfileField{}}}
		for _, f := range card.Fields {
			if f.Name == "photo" {
				if s.cfg.Clean == nil {
					continue
				}
				clean, kind, err := s.cfg.Clean(card.Pictures[f.ID])
				if err != nil {
					continue // the rest of the card is good
				}
				pic, err := s.putPicture(ctx, tenant, p, clean, kind)
				if err != nil {
					return added, err
				}
				f.Picture = &pic.ProfilePicture
			}
			c.Fields = append(c.Fields, f)
		}
		c.Identities = identities(c.Fields)
		if room, err = s.putContact(ctx, tenant, p, c, room); err != nil {
			return added, err
		}
		one, err := s.contact(ctx, tenant, p, id)
		if err != nil {
			return added, err
		}
		added = append(added, one)
	}
	return added, nil
}

// identities are what a contact's fields name.
func identities(fields []wire.ProfileField) []tel.Identity {
	ids := []tel.Identity{}
	for _, f := range fields {
		if id, ok := identityOf(f); ok && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// TakeCard makes a card's fields the party's own: those with the same ids are replaced.
func (s *Service) TakeCard(ctx context.Context, tenant wire.TenantID, p tel.Identity, d wire.DeviceID, base uint64, card Card) (wire.ProfileChanged, error) {
	c := wire.ProfileChange{Base: base}
	for _, f := range card.Fields {
		if f.Name != "photo" {
			c.Set = append(c.Set, f)
			continue
		}
		if err := s.storePicture(ctx, tenant, p, f.ID, card.Pictures[f.ID]); err != nil {
			return wire.ProfileChanged{}, err
		}
	}
	return s.Change(ctx, tenant, p, d, c)
}
