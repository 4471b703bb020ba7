package session

import (
	"context"
	"errors"
	"slices"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// OfParty returns the sessions, also closed ones, that a party has or had a part in, by its
// principal identity or its devices. It looks through all sessions of the tenant.
func (s *Service) OfParty(ctx context.Context, tenant wire.TenantID, ids []tel.Identity, devices []wire.DeviceID) ([]Record, error) {
	var all []Record
	for item, err := range s.c.Records.Scan(ctx, store.Key(string(tenant))+"/") {
		if err != nil {
			return nil, err
		}
		r := item.Value
		if slices.ContainsFunc(r.Sides, func(x Side) bool { return slices.Contains(ids, x.Principal) || slices.Contains(ids, x.Shown) }) ||
			slices.ContainsFunc(r.Members, func(m Member) bool { return slices.Contains(devices, m.Device) }) {
			all = append(all, r)
		}
	}
	return all, nil
}

// Held is what a session holds of one party.
type Held struct {
	State wire.SessionState
	// Messages that its devices sent or were sent.
	Messages []wire.Envelope
	// Members that are its devices.
	Members []wire.MemberID
}

// Held returns what a session of OfParty holds of a party, by its devices.
func (s *Service) Held(ctx context.Context, rec *Record, devices []wire.DeviceID) (Held, error) {
	h := Held{Messages: []wire.Envelope{}}
	var numbers []uint32
	for i, m := range rec.Members {
		if slices.Contains(devices, m.Device) {
			n := uint32(i + 1)
			numbers, h.Members = append(numbers, n), append(h.Members, memberID(n))
		}
	}
	if len(numbers) == 0 {
		return h, nil
	}
	h.State = rec.State(numbers[0])
	key, f := roomKey{rec.Tenant, rec.ID}, framesOf(rec.ID)
	for after := uint64(0); ; {
		entries, err := s.c.Log.Read(ctx, key.log(), after, page)
		if err != nil {
			return h, err
		}
		for _, e := range entries {
			after = e.Seq
			m, err := parseEntry(e.Data)
			if err != nil || m.from == 0 || !slices.ContainsFunc(numbers, func(n uint32) bool {
				left := rec.Members[n-1].Left
				return m.visible(n, rec.firstOf(n), rec.placesOf(n)...) && (left.IsZero() || !e.Time.After(left))
			}) {
				continue
			}
			env, err := f.envelope(e, m.tail)
			if err != nil {
				return h, err
			}
			h.Messages = append(h.Messages, env)
		}
		if len(entries) < page {
			return h, nil
		}
	}
}

// Erase closes the session and drops at once all that is kept of it: the messages of all
// members, and the files. It may repeat.
func (s *Service) Erase(ctx context.Context, tenant wire.TenantID, id wire.SessionID) error {
	key := roomKey{tenant, id}
	rec, err := s.change(ctx, key, OperatorClose{})
	if gone(err) {
		return s.c.Log.DropLog(ctx, key.log()) // of a message that was on its way
	} else if err != nil {
		return err
	}
	if err := s.settled(ctx, &rec); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return s.drop(ctx, key, &rec)
}
