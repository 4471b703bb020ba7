package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tandem-call/tandem/internal/audit"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/party"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// everything says under which names a party is known, and by which devices.
type everything struct {
	ids       []tel.Identity // the principal first
	numbers   []tel.Number
	addresses []tel.Identity // of e-mail
	devices   []wire.DeviceID
}

func (s *Server) everythingOf(ctx context.Context, tenant wire.TenantID, id tel.Identity) (e everything, err error) {
	if e.ids, err = s.parties.Identities(ctx, tenant, id); err != nil {
		return e, err
	}
	if !slices.Contains(e.ids, id) {
		e.ids = append(e.ids, id)
	}
	for _, id := range e.ids {
		if n, ok := id.Number(); ok {
			e.numbers = append(e.numbers, n)
		}
		if id.Kind() == tel.KindEmail {
			e.addresses = append(e.addresses, id)
		}
	}
	all, err := s.devices.All(ctx, tenant, e.numbers)
	for _, d := range all {
		e.devices = append(e.devices, d.ID)
	}
	return e, err
}

// ExportParty collects what is kept of a party.
func (s operator) ExportParty(ctx context.Context, who httpapi.Caller, id tel.Identity) (wire.PartyExport, error) {
	x := wire.PartyExport{
		At: time.Now().UTC(), Identities: []wire.Proved{}, Devices: []wire.PartyDevice{}, Couplings: []wire.Coupling{}, Calls: []wire.CallInfo{},
		Sessions: []wire.PartySession{}, Blocked: []tel.Identity{}, Shared: []tel.Identity{}, Audit: []string{},
		NotAsked: []tel.Identity{}, Conversations: []wire.Conversation{}, Contacts: []wire.Contact{}, Rules: []wire.ContactRule{}, Ledger: []wire.ProfileReceipt{}, Received: []wire.ProfileReceipt{},
	}
	e, err := s.everythingOf(ctx, who.Tenant, id)
	if err != nil {
		return x, problem(s.log, "export party", err)
	}
	r := audit.Record{What: audit.PartyExported, Parties: e.ids[:1]}
	return x, s.audited(ctx, who, r, func() error { return s.collect(ctx, who.Tenant, e, &x) })
}

func (s *Server) collect(ctx context.Context, tenant wire.TenantID, e everything, x *wire.PartyExport) error {
	p, err := s.parties.Get(ctx, tenant, e.ids[0])
	if err != nil && !errors.Is(err, party.ErrNotFound) {
		return err
	}
	for _, i := range p.Identities {
		x.Identities = append(x.Identities, wire.Proved{Identity: i.Identity, Proof: i.Proof})
	}
	devices, err := s.devices.All(ctx, tenant, e.numbers)
	if err != nil {
		return err
	}
	for _, d := range devices {
		x.Devices = append(x.Devices, wire.PartyDevice{
			ID: d.ID, Name: d.Name, Client: d.Client, App: d.App, Bindings: d.Bindings,
			Created: d.Created, LastSeen: d.LastSeen, Revoked: d.RevokedAt,
		})
	}
	for _, n := range e.numbers {
		list, err := s.couples.OfNumber(ctx, tenant, n)
		if err != nil {
			return err
		}
		for _, c := range list {
			info := c.Info(x.At)
			info.Key = nil
			x.Couplings = append(x.Couplings, info)
		}
	}
	calls, err := s.matcher.Calls(ctx, tenant, e.ids[0])
	if err != nil {
		return err
	}
	x.Calls = append(x.Calls, calls...)
	records, err := s.sessions.OfParty(ctx, tenant, e.ids, e.devices)
	if err != nil {
		return err
	}
	for _, rec := range records {
		h, err := s.sessions.Held(ctx, &rec, e.devices)
		if err != nil {
			return err
		}
		if len(h.Members) == 0 {
			continue // a side without a device: nothing was sent to it
		}
		list, err := s.filesOf(ctx, &rec, h, e.devices)
		if err != nil {
			return err
		}
		x.Sessions = append(x.Sessions, wire.PartySession{Session: h.State, Members: h.Members, Messages: h.Messages, Files: list})
	}
	blocked, err := s.parties.Blocks(ctx, tenant, e.ids[0])
	if err != nil {
		return err
	}
	x.Blocked = append(x.Blocked, blocked...)
	if err := s.collectProfile(ctx, tenant, e, x); err != nil {
		return err
	}
	marks, err := s.parties.ListShared(ctx, tenant)
	if err != nil {
		return err
	}
	for _, m := range marks {
		if slices.Contains(e.ids, m.Identity) {
			x.Shared = append(x.Shared, m.Identity)
		}
	}
	for _, id := range e.ids {
		name, err := s.audit.Known(ctx, tenant, id)
		if err != nil {
			return err
		}
		if name != "" {
			x.Audit = append(x.Audit, "party:"+name)
		}
	}
	return nil
}

// collectProfile adds the party's profile, what it has let others know, and its address book.
func (s *Server) collectProfile(ctx context.Context, tenant wire.TenantID, e everything, x *wire.PartyExport) error {
	own, err := s.people.Own(ctx, tenant, e.ids[0])
	if err != nil {
		return err
	}
	x.Profile = own
	contacts, err := s.people.Contacts(ctx, tenant, e.ids[0])
	if err != nil {
		return err
	}
	rules, err := s.people.Rules(ctx, tenant, e.ids[0])
	if err != nil {
		return err
	}
	ledger, err := s.people.Ledger(ctx, tenant, e.ids[0])
	if err != nil {
		return err
	}
	received, err := s.people.Received(ctx, tenant, e.ids)
	if err != nil {
		return err
	}
	placed, err := s.places.Rules(ctx, tenant, e.ids[0])
	if err != nil {
		return err
	}
	x.NotAsked, x.PlaceRules = placed.Never, placed.Rules
	if x.NetworkPlaces, err = s.places.Known(ctx, tenant, e.ids[0]); err != nil {
		return err
	}
	if x.Conversations, err = s.conversationsOf(ctx, tenant, e.ids); err != nil {
		return err
	}
	x.Contacts, x.Rules = append(x.Contacts, contacts...), append(x.Rules, rules...)
	x.Ledger, x.Received = append(x.Ledger, ledger.Receipts...), append(x.Received, received...)
	return nil
}

// filesOf lists the files of a session that the party's devices sent or may fetch.
func (s *Server) filesOf(ctx context.Context, rec *session.Record, h session.Held, devices []wire.DeviceID) ([]wire.PartyFile, error) {
	list := []wire.PartyFile{}
	all, err := s.files.OfSession(ctx, rec.Tenant, rec.ID)
	for _, f := range all {
		sent := slices.Contains(devices, f.Owner)
		if sent || len(f.To) == 0 || slices.ContainsFunc(f.To, func(m wire.MemberID) bool { return slices.Contains(h.Members, m) }) {
			list = append(list, wire.PartyFile{File: f.File(), Sent: sent, Metadata: f.KeepMetadata})
		}
	}
	return list, err
}

// compacter is an engine that can rewrite its files without what was deleted.
type compacter interface {
	Compact(ctx context.Context) error
}

// EraseParty removes everything that is kept of a party. It may be repeated, and must be
// after an error.
func (s operator) EraseParty(ctx context.Context, who httpapi.Caller, id tel.Identity) (wire.PartyErased, error) {
	done := wire.PartyErased{Barred: []tel.Identity{}}
	e, err := s.everythingOf(ctx, who.Tenant, id)
	if err != nil {
		return done, problem(s.log, "erase party", err)
	}
	// Whoever asked may go: what is begun is done.
	ctx = context.WithoutCancel(ctx)
	r := audit.Record{What: audit.PartyErased, Parties: e.ids[:1]}
	err = s.audited(ctx, who, r, func() error { return s.erase(ctx, who.Tenant, e, &done) })
	if err != nil {
		return done, err
	}
	if c, ok := s.engine.(compacter); ok {
		if err := c.Compact(ctx); err != nil {
			s.log.Warn("what was erased may be in the store's files until they are next rewritten", "err", err)
		} else {
			done.Compacted = true
		}
	}
	s.log.Info("party erased", "by", who.Credential, "devices", done.Devices, "calls", done.Calls, "sessions", done.Sessions)
	return done, nil
}

func (s *Server) erase(ctx context.Context, tenant wire.TenantID, e everything, done *wire.PartyErased) error {
	records, err := s.sessions.OfParty(ctx, tenant, e.ids, e.devices)
	if err != nil {
		return err
	}
	// The devices first, while the coupled ones among them are still known by the number.
	cut, err := s.devices.Erase(ctx, tenant, e.numbers, e.addresses)
	if err != nil {
		return err
	}
	if err := s.couples.Erase(ctx, tenant, e.numbers); err != nil {
		return err
	}
	// Twice: what was under way when the devices were cut off has come to its end by then.
	for range 2 {
		calls, err := s.matcher.Erase(ctx, tenant, e.ids)
		if err != nil {
			return err
		}
		for _, rec := range records {
			if err := s.sessions.Erase(ctx, tenant, rec.ID); err != nil {
				return err
			}
		}
		done.Calls += calls
	}
	if done.Deliveries, err = s.hooks.Forget(ctx, tenant, e.ids); err != nil {
		return err
	}
	if _, err := s.wakes.Forget(ctx, tenant, e.devices, e.ids); err != nil {
		return err
	}
	if err := s.forgotten(ctx, tenant, e.ids); err != nil {
		return err
	}
	if err := errors.Join(s.people.EraseRefusals(ctx, tenant, e.ids), s.places.EraseRefusals(ctx, tenant, e.ids)); err != nil {
		return err
	}
	for _, rec := range records {
		if err := s.places.Drop(ctx, tenant, rec.ID); err != nil {
			return err
		}
	}
	if err := s.payments.ForgetDevices(ctx, tenant, e.devices); err != nil {
		return err
	}
	for _, id := range e.ids {
		if err := s.audit.Erase(ctx, tenant, id); err != nil {
			return err
		}
	}
	// Last: with it goes what leads from one identity of the party to the others.
	if err := s.parties.Erase(ctx, tenant, e.ids); err != nil {
		return err
	}
	bars, err := s.parties.Bars(ctx, tenant)
	if err != nil {
		return err
	}
	for _, b := range bars {
		if slices.Contains(e.ids, b.Identity) {
			done.Barred = append(done.Barred, b.Identity)
		}
	}
	done.Identities, done.Devices, done.Sessions = len(e.ids), len(cut), len(records)
	return nil
}

// forgotten removes what a party has set for its calls and keeps of others, when it is erased or
// the directory forgets it: whoever has the number next finds nothing.
func (s *Server) forgotten(ctx context.Context, tenant wire.TenantID, ids []tel.Identity) error {
	if err := s.guests.Forget(ctx, tenant, ids); err != nil {
		return err
	}
	if err := s.people.Erase(ctx, tenant, ids); err != nil {
		return err
	}
	if err := s.agents.Erase(ctx, tenant, ids); err != nil {
		return err
	}
	return s.places.Erase(ctx, tenant, ids)
}

// sweepEvery is how often what has lapsed is looked for.
const sweepEvery = time.Hour

// sweepLapsed forgets devices and identities whose proof lapsed long ago, old API keys, and SIP
// elements that do not come back.
func (s *Server) sweepLapsed(ctx context.Context) error {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			_, devices := s.devices.SweepLapsed(ctx, s.cfg.Retention.Lapsed)
			_, names := s.parties.Sweep(ctx, s.cfg.Retention.Lapsed)
			_, keys := s.keys.Sweep(ctx, s.cfg.Retention.Lapsed)
			calls := s.sweepSIP(ctx)
			if err := errors.Join(devices, names, keys, calls); err != nil && ctx.Err() == nil {
				s.log.Warn("what has lapsed stays until the next sweep", "err", err)
			}
		}
	}
}
