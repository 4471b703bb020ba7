package profile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// cardID is an id that is made of a card's uid; a fresh one where it has none.
func cardID(uid string) string {
	if uid == "" {
		return wire.NewID("")
	}
	sum := sha256.Sum256([]byte(uid))
	return hex.EncodeToString(sum[:12])
}

// Received lists, for the party, what others have sent it: the other side of their ledgers,
// without the names of those who withheld them.
func (s *Service) Received(ctx context.Context, tenant wire.TenantID, ids []tel.Identity) ([]wire.ProfileReceipt, error) {
	list := []wire.ProfileReceipt{}
	for item, err := range s.receipts.Scan(ctx, store.Key(string(tenant))+"/") {
		if err != nil {
			return nil, fmt.Errorf("profile: ledger: %w", err)
		}
		if r := item.Value; slices.Contains(ids, r.Receiver) {
			list = append(list, r.list()...)
		}
	}
	return list, nil
}

// between reports whether one of the identities is a side of the receipts with this key.
func between(key string, ids []tel.Identity) bool {
	parts := strings.Split(key, "/")
	return slices.ContainsFunc(ids, func(id tel.Identity) bool { return slices.Contains(parts[1:], store.Key(id.String())) })
}

// Erase removes everything that is kept of a party known by these identities, and what others have
// granted to them: who has the number next is somebody else. It may be repeated. What
// others have kept of it as a contact is theirs, and stays, but counts for nothing until they
// keep it again; that they want nothing to do with it stays too ([Service.EraseRefusals]).
func (s *Service) Erase(ctx context.Context, tenant wire.TenantID, ids []tel.Identity) error {
	all := store.Key(string(tenant)) + "/"
	for _, id := range ids {
		if err := s.Remove(ctx, tenant, id); err != nil {
			return err
		}
		list, err := s.Contacts(ctx, tenant, id)
		if err != nil {
			return err
		}
		for _, c := range list {
			if err := s.RemoveContact(ctx, tenant, id, c.ID); err != nil {
				return err
			}
		}
	}
	for item, err := range s.receipts.Scan(ctx, all) {
		if err == nil && (slices.Contains(ids, item.Value.Owner) || slices.Contains(ids, item.Value.Receiver)) {
			err = store.Remove(ctx, s.receipts, item.Key)
		}
		if err != nil {
			return fmt.Errorf("profile: erase: %w", err)
		}
	}
	// By what they lead to: a crash may have left one whose receipts were never written.
	for item, err := range s.names.Scan(ctx, all) {
		if err == nil && between(item.Value.Receipts, ids) {
			err = store.Remove(ctx, s.names, item.Key)
		}
		if err != nil {
			return fmt.Errorf("profile: erase: %w", err)
		}
	}
	if err := s.revoke(ctx, tenant, ids); err != nil {
		return fmt.Errorf("profile: erase: %w", err)
	}
	for item, err := range s.pictures.Scan(ctx, all) {
		if err == nil && slices.Contains(ids, item.Value.Owner) {
			err = s.dropPicture(ctx, tenant, item.Value)
		}
		if err != nil {
			return fmt.Errorf("profile: erase: %w", err)
		}
	}
	return nil
}

// revoke takes back what is granted to identities: their places in others' groups, that a profile
// is sent to them or taken from them unasked, and that they count as somebody's contact.
func (s *Service) revoke(ctx context.Context, tenant wire.TenantID, ids []tel.Identity) error {
	all := store.Key(string(tenant)) + "/"
	named := func(id tel.Identity) bool { return slices.Contains(ids, id) }
	for item, err := range s.rules.Scan(ctx, all) {
		r := item.Value
		mine := slices.ContainsFunc(ids, func(id tel.Identity) bool { return item.Key == ruleKey(tenant, id, r.Other) })
		switch {
		case err != nil:
		case mine || named(r.Other) && r.refusal() == (Rule{}):
			err = store.Remove(ctx, s.rules, item.Key)
		case named(r.Other):
			_, err = store.Change(ctx, s.rules, item.Key, func(r Rule, exists bool) (Rule, bool, error) {
				return r.refusal(), exists && r != r.refusal(), nil
			})
		}
		if err != nil {
			return err
		}
	}
	for item, err := range s.profiles.Scan(ctx, all) {
		if err == nil && slices.ContainsFunc(item.Value.Groups, func(g wire.ProfileGroup) bool { return slices.ContainsFunc(g.Members, named) }) {
			_, err = store.Change(ctx, s.profiles, item.Key, func(p Profile, exists bool) (Profile, bool, error) {
				p.Groups = slices.Clone(p.Groups)
				for i, g := range p.Groups {
					p.Groups[i].Members = slices.DeleteFunc(slices.Clone(g.Members), named)
				}
				return p, exists, nil
			})
		}
		if err != nil {
			return err
		}
	}
	for item, err := range s.contacts.Scan(ctx, all) {
		if err == nil && slices.ContainsFunc(item.Value.Identities, named) {
			_, err = store.Change(ctx, s.contacts, item.Key, func(c Contact, exists bool) (Contact, bool, error) {
				was := len(c.Moved)
				c.Moved = slices.Clone(c.Moved)
				for _, id := range c.Identities {
					if named(id) && !slices.Contains(c.Moved, id) {
						c.Moved = append(c.Moved, id)
					}
				}
				return c, exists && len(c.Moved) != was, nil
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// EraseRefusals removes that others want no profile of these identities, or send them none. It may
// be repeated.
func (s *Service) EraseRefusals(ctx context.Context, tenant wire.TenantID, ids []tel.Identity) error {
	for item, err := range s.rules.Scan(ctx, store.Key(string(tenant))+"/") {
		if err == nil && slices.Contains(ids, item.Value.Other) {
			err = store.Remove(ctx, s.rules, item.Key)
		}
		if err != nil {
			return fmt.Errorf("profile: erase: %w", err)
		}
	}
	return nil
}
