package profile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Job is a session in which profiles are to be exchanged: table "profile-jobs", key
// store.Key(tenant, session). It is written with the event and removed when it is done, so
// that a crash between the two loses nothing.
type Job struct {
	Tenant  wire.TenantID  `json:"tenant"`
	Session wire.SessionID `json:"session"`
	At      time.Time      `json:"at"`
}

// Opened notes that a session was opened, or has somebody new in it (G8). It may be repeated.
func (s *Service) Opened(ctx context.Context, tenant wire.TenantID, id wire.SessionID) error {
	j := Job{tenant, id, s.cfg.Now()}
	_, err := store.Change(ctx, s.jobs, store.Key(string(tenant), string(id)), func(Job, bool) (Job, bool, error) { return j, true, nil })
	if err != nil {
		return fmt.Errorf("profile: note a session: %w", err)
	}
	s.signal()
	return nil
}

// Run sends profiles until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	cancel, err := s.has.Listen(ctx)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	defer cancel()
	retry := time.NewTicker(time.Minute) // what failed, and what other nodes left
	defer retry.Stop()
	for {
		if err := s.work(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("profiles are exchanged later", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-retry.C:
			if err := s.look(ctx); err != nil && ctx.Err() == nil {
				s.cfg.Log.Warn("profiles of other nodes are seen later", "err", err)
			}
		}
	}
}

// atOnce is how many sessions are served at one time.
const atOnce = 16

// work does all jobs that are there.
func (s *Service) work(ctx context.Context) error { return store.WorkOn(ctx, s.jobs, atOnce, s.workOn) }

// workOn does one job, and takes it off. One that was noted again meanwhile stays.
func (s *Service) workOn(ctx context.Context, item store.Item[Job]) error {
	j := item.Value
	if err := s.exchange(ctx, j.Tenant, j.Session); err != nil && !errors.Is(err, ErrClosed) && s.cfg.Now().Sub(j.At) < time.Hour {
		return err
	}
	again, err := store.Finish(ctx, s.jobs, item)
	if again {
		s.signal()
	}
	return err
}

func (s *Service) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// exchange sends each side of a session what it has not got yet of the others' profiles. A
// party that withheld its number sends nothing by itself, and nothing goes by itself to
// somebody who did, to a shared number, or before both sides have reported the call.
func (s *Service) exchange(ctx context.Context, tenant wire.TenantID, id wire.SessionID) error {
	x, err := s.cfg.Sessions.Session(ctx, tenant, id)
	if err != nil {
		return err
	}
	if len(x.Sides) > wire.MaxProfileSides {
		return nil
	}
	if err := s.offer(ctx, &x); err != nil || !s.freshen(ctx, &x) {
		return err
	}
	return s.offer(ctx, &x)
}

// offer is one round of an exchange.
func (s *Service) offer(ctx context.Context, x *Session) error {
	for o, owner := range x.Sides {
		for r, receiver := range x.Sides {
			if o == r || len(owner.Members) == 0 || owner.Shown.IsZero() || receiver.Shown.IsZero() || !owner.Whole || owner.Guests || !receiver.Whole {
				continue
			}
			if _, err := s.deliver(ctx, x, o, r, byItself); err != nil {
				return err
			}
		}
	}
	return nil
}

// order says what is sent.
type order struct {
	byHand bool
	// id of the request that asked for it.
	id string
	// fields by their ids; nil: what the receiver sees anyway.
	fields []string
	// from is the device that sends; empty: any of its party.
	from wire.DeviceID
}

var byItself = order{}

// key of the receipts between two sides: where one of them is not known to the other, what
// holds for one session says nothing in the next.
func receiptsKey(x *Session, owner, receiver Side) string {
	if owner.Shown.IsZero() || receiver.Shown.IsZero() {
		return store.Key(string(x.Tenant), owner.Principal.String(), receiver.Principal.String(), string(x.ID))
	}
	return store.Key(string(x.Tenant), owner.Principal.String(), receiver.Principal.String())
}

// deliver sends one side's profile to the devices of another.
func (s *Service) deliver(ctx context.Context, x *Session, o, r int, do order) (sent wire.ProfileSent, err error) {
	owner, receiver := x.Sides[o], x.Sides[r]
	key := receiptsKey(x, owner, receiver)
	held, _, err := s.receipts.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return sent, fmt.Errorf("profile: ledger: %w", err)
	}
	if !held.Withdrawn.IsZero() && !do.byHand {
		return sent, s.tellWithdrawn(ctx, x, o, r, key, held)
	}
	own, err := s.load(ctx, x.Tenant, owner.Principal)
	if err != nil {
		return sent, err
	}
	theirs, err := s.load(ctx, x.Tenant, receiver.Principal)
	if err != nil {
		return sent, err
	}
	mine, err := s.rule(ctx, x.Tenant, owner.Principal, receiver.Principal)
	if err != nil {
		return sent, err
	}
	other, err := s.rule(ctx, x.Tenant, receiver.Principal, owner.Principal)
	if err != nil {
		return sent, err
	}
	send, keep := sendRule(mine, own), cmp.Or(other.Keep, theirs.Keep, wire.KeepAsk)
	known := receiver.Principal
	if receiver.Shown.IsZero() {
		known = tel.Identity{}
	}
	fields, _, err := s.seen(ctx, x.Tenant, own, known)
	if err != nil {
		return sent, err
	}
	if hand := slices.Concat(held.Hand, do.fields); len(hand) > 0 {
		every, err := s.proved(ctx, x.Tenant, own.Principal, own.Fields)
		if err != nil {
			return sent, err
		}
		seen := fields
		fields = slices.DeleteFunc(every, func(f wire.ProfileField) bool {
			return !slices.Contains(hand, f.ID) && !slices.ContainsFunc(seen, func(s wire.ProfileField) bool { return s.ID == f.ID })
		})
	}
	sent.Shown = len(fields)
	switch {
	case keep == wire.KeepNever:
		return sent, nil // as if it had been received: nobody learns whom others don't want to hear of
	case do.byHand:
	case send == wire.SendNever, send == wire.SendOnce && !held.Changed.IsZero() && !sentIn(held, x.ID):
		return sent, nil
	}
	if keep == wire.KeepOnce && held.Once {
		keep = wire.KeepAsk
	}
	news := false
	for _, m := range receiver.Members {
		missing := held.Missing(fields, m.Device, x.ID)
		if len(missing) == 0 && !held.Removed(fields, m.Device) && !held.ShownOtherwise(own.Show, m.Device) && (len(fields) == 0 || held.Told(m.Device, x.ID)) {
			continue
		}
		if held.ID == "" {
			held.ID = wire.NewID("who_")
			if _, err := s.names.Put(ctx, store.Key(string(x.Tenant), held.ID), Name{key}, 0); err != nil {
				return sent, fmt.Errorf("profile: ledger: %w", err)
			}
		}
		from := cmp.Or(do.from, owner.Members[0].Device)
		request := wire.RequestID("profile-" + cmp.Or(do.id, edition(own.Version, fields)) + "-" + string(m.ID))
		msg := wire.ProfileMessage{Fields: append([]wire.ProfileField{}, missing...), Has: []wire.FieldVersion{}, Show: own.Show, Keep: keep, Contact: held.Contact}
		for _, f := range fields {
			msg.Has = append(msg.Has, wire.FieldVersion{ID: f.ID, Version: f.Version})
		}
		// What the device is told of in this very message it may fetch, so the ledger comes first;
		// what it was not sent after all, a crash in between, it did not confirm either.
		held, err = s.note(ctx, key, held, owner, receiver, func(r Receipts) Receipts {
			r.Hand = union(r.Hand, do.fields)
			return r.Sent(missing, fields, own.Show, m.Device, "", s.cfg.Now())
		})
		if err != nil {
			return sent, err
		}
		msg.Owner = held.ID
		if err := s.cfg.Sessions.Send(ctx, x.Tenant, x.ID, from, m.ID, request, msg); err != nil {
			return sent, err
		}
		held, err = s.note(ctx, key, held, owner, receiver, func(r Receipts) Receipts {
			return r.Sent(missing, fields, own.Show, m.Device, x.ID, s.cfg.Now())
		})
		if err != nil {
			return sent, err
		}
		s.sent.Add(1)
		sent.Devices, sent.Fields, news = sent.Devices+1, max(sent.Fields, len(missing)), true
	}
	if news && (keep == wire.KeepAlways || keep == wire.KeepOnce) {
		err = s.keepUnasked(ctx, x.Tenant, key, held, fields, keep == wire.KeepOnce)
	}
	return sent, err
}

// edition tells what is sent of a profile from what was sent of it before: by its version, and by the
// last proof of its fields, which may be renewed without it.
func edition(version uint64, fields []wire.ProfileField) string {
	var last time.Time
	for _, f := range fields {
		if f.Proved.After(last) {
			last = f.Proved
		}
	}
	if last.IsZero() {
		return fmt.Sprint(version)
	}
	return fmt.Sprintf("%d-%d", version, last.Unix())
}

// union of two lists of ids.
func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, id := range b {
		if !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	return all
}

// sentIn reports whether something was sent in the session.
func sentIn(r Receipts, id wire.SessionID) bool {
	return slices.ContainsFunc(r.Devices, func(h Holding) bool { return h.Session == id })
}

// note changes the receipts of a pair, which it makes if there are none.
func (s *Service) note(ctx context.Context, key string, fresh Receipts, owner, receiver Side, next func(Receipts) Receipts) (Receipts, error) {
	r, err := store.Change(ctx, s.receipts, key, func(r Receipts, exists bool) (Receipts, bool, error) {
		if !exists {
			r = Receipts{ID: fresh.ID, Owner: owner.Principal, Receiver: receiver.Principal}
		}
		r.Shown = receiver.Shown
		return next(r), true, nil
	})
	if err != nil {
		return r, fmt.Errorf("profile: ledger: %w", err)
	}
	return r, nil
}

// Send sends the caller's profile by hand, also where its number was withheld.
func (s *Service) Send(ctx context.Context, tenant wire.TenantID, id wire.SessionID, from wire.DeviceID, q wire.ProfileSend) (total wire.ProfileSent, err error) {
	x, err := s.cfg.Sessions.Session(ctx, tenant, id)
	if err != nil {
		return total, err
	}
	o, err := x.side(from)
	if err != nil {
		return total, err
	}
	do := order{byHand: true, id: wire.NewID(""), fields: q.Fields, from: from}
	for r, side := range x.Sides {
		if len(q.To) > 0 {
			side.Members = slices.DeleteFunc(slices.Clone(side.Members), func(m Member) bool { return !slices.Contains(q.To, m.ID) })
			x.Sides[r].Members = side.Members
		}
		if r == o || len(side.Members) == 0 {
			continue
		}
		sent, err := s.deliver(ctx, &x, o, r, do)
		if err != nil {
			return total, err
		}
		total.Devices, total.Fields, total.Shown = total.Devices+sent.Devices, max(total.Fields, sent.Fields), max(total.Shown, sent.Shown)
	}
	return total, nil
}

// Held takes a device's word of what it holds of an owner's profile, and returns what else
// it is to have, of what the session's messages promised it.
func (s *Service) Held(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID, q wire.ProfileHeld) (wire.ProfileMissing, error) {
	none := wire.ProfileMissing{Fields: []wire.ProfileField{}}
	x, err := s.cfg.Sessions.Session(ctx, tenant, id)
	if err != nil {
		return none, err
	}
	r, err := x.side(d)
	if err != nil {
		return none, err
	}
	for o, owner := range x.Sides {
		if o == r {
			continue
		}
		key := receiptsKey(&x, owner, x.Sides[r])
		held, _, err := s.receipts.Get(ctx, key)
		if errors.Is(err, store.ErrNotFound) || err == nil && held.ID != q.Owner {
			continue
		} else if err != nil {
			return none, fmt.Errorf("profile: ledger: %w", err)
		}
		held, err = store.Change(ctx, s.receipts, key, func(r Receipts, exists bool) (Receipts, bool, error) {
			return r.Confirm(q.Have, d, s.cfg.Now()), exists, nil
		})
		if err != nil {
			return none, fmt.Errorf("profile: ledger: %w", err)
		}
		own, err := s.load(ctx, tenant, owner.Principal)
		if err != nil {
			return none, err
		}
		fields, err := s.proved(ctx, tenant, owner.Principal, own.Fields)
		if err != nil {
			return none, err
		}
		// Only what it was sent before: that decides what it may see.
		h := held.of(d)
		fields = slices.DeleteFunc(fields, func(f wire.ProfileField) bool {
			return h == nil || !slices.ContainsFunc(h.Fields, func(x HeldField) bool { return x.ID == f.ID })
		})
		if missing := held.Missing(fields, d, id); len(missing) > 0 {
			none.Fields = missing
			_, err = s.note(ctx, key, held, owner, x.Sides[r], func(r Receipts) Receipts { return r.Sent(missing, nil, own.Show, d, id, s.cfg.Now()) })
		}
		return none, err
	}
	return none, ErrNotFound
}

// Ledger lists who has what of a party's profile.
func (s *Service) Ledger(ctx context.Context, tenant wire.TenantID, p tel.Identity) (wire.ProfileLedger, error) {
	l := wire.ProfileLedger{Receipts: []wire.ProfileReceipt{}}
	for item, err := range s.receipts.Scan(ctx, partyKey(tenant, p)+"/") {
		if err != nil {
			return l, fmt.Errorf("profile: ledger: %w", err)
		}
		l.Receipts = append(l.Receipts, item.Value.list()...)
	}
	return l, nil
}

// Withdraw takes back what a receiver of the ledger was sent: its devices are asked to
// forget it, now or when they are next in a session with the owner, and nothing goes there
// by itself any more. What its user has kept as a contact stays theirs.
func (s *Service) Withdraw(ctx context.Context, tenant wire.TenantID, p tel.Identity, d wire.DeviceID, receiver string) error {
	for item, err := range s.receipts.Scan(ctx, partyKey(tenant, p)+"/") {
		if err != nil {
			return fmt.Errorf("profile: ledger: %w", err)
		}
		if item.Value.ID != receiver {
			continue
		}
		r, err := store.Change(ctx, s.receipts, item.Key, func(r Receipts, exists bool) (Receipts, bool, error) {
			if r.Withdrawn.IsZero() {
				r.Withdrawn = s.cfg.Now()
			}
			return r, exists, nil
		})
		if err != nil {
			return fmt.Errorf("profile: withdraw: %w", err)
		}
		if err := s.setRule(ctx, tenant, p, r.Receiver, func(x Rule) Rule { x.Send = wire.SendNever; return x }); err != nil {
			return err
		}
		return s.renew(ctx, tenant, d)
	}
	return ErrNotFound
}

// tellWithdrawn asks those devices that are here to forget what they hold.
func (s *Service) tellWithdrawn(ctx context.Context, x *Session, o, r int, key string, held Receipts) error {
	for _, m := range x.Sides[r].Members {
		if held.of(m.Device) == nil {
			continue
		}
		msg := wire.ProfileMessage{Owner: held.ID, Fields: []wire.ProfileField{}, Has: []wire.FieldVersion{}, Keep: wire.KeepAsk, Contact: held.Contact, Withdrawn: true}
		request := wire.RequestID(fmt.Sprintf("profile-w%d-%s", held.Withdrawn.UnixMilli(), m.ID))
		if err := s.cfg.Sessions.Send(ctx, x.Tenant, x.ID, x.Sides[o].Members[0].Device, m.ID, request, msg); err != nil {
			return err
		}
		_, err := store.Change(ctx, s.receipts, key, func(r Receipts, exists bool) (Receipts, bool, error) {
			r.Devices = slices.DeleteFunc(slices.Clone(r.Devices), func(h Holding) bool { return h.Device == m.Device })
			return r, exists, nil
		})
		if err != nil {
			return fmt.Errorf("profile: withdraw: %w", err)
		}
	}
	return nil
}

func deviceName(n int) string { return fmt.Sprintf("device %d", n+1) }
