package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-call/tandem/internal/edge/fetch"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/files"
	"github.com/tandem-call/tandem/internal/party"
	"github.com/tandem-call/tandem/internal/profile"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// newProfiles makes the service that sends profiles when sessions open (SPEC G).
func (s *Server) newProfiles(ctx context.Context) (*profile.Service, error) {
	networks := make([]netip.Prefix, len(s.cfg.Profiles.Networks))
	for i, n := range s.cfg.Profiles.Networks {
		networks[i] = netip.MustParsePrefix(n) // checked by Validate
	}
	out, err := fetch.New(fetch.Config{Allow: networks, UserAgent: "tandem"})
	if err != nil {
		return nil, err
	}
	return profile.New(ctx, profile.Config{Engine: s.engine, Parties: whoIs{s}, Sessions: between{s}, Clean: cleanPicture, Fetch: addressed(out), Log: s.log})
}

// addressed gets what is at the addresses of profiles.
func addressed(out *fetch.Fetcher) profile.Fetch {
	return func(ctx context.Context, address string, types []string, limit int64) (string, []byte, error) {
		r, err := out.Fetch(ctx, fetch.Request{URL: address, Types: types, MaxBytes: limit, Header: http.Header{"Accept": {strings.Join(types, ", ")}}})
		return r.Type, r.Body, err
	}
}

// cleanPicture takes place and camera out of a picture, as of a file.
func cleanPicture(data []byte) ([]byte, string, error) {
	clean, kind, err := files.Clean(data)
	switch {
	case errors.Is(err, files.ErrUncleanable):
		return nil, "", profile.ErrType
	case errors.Is(err, files.ErrDamagedPicture):
		return nil, "", fmt.Errorf("%w: %w", profile.ErrRequest, err)
	case err != nil:
		return nil, "", err
	case !slices.Contains([]string{"image/jpeg", "image/png", "image/gif", "image/webp"}, kind):
		return nil, "", profile.ErrType
	}
	return clean, kind, nil
}

// whoIs tells profiles who is who.
type whoIs struct{ *Server }

func (w whoIs) Principal(ctx context.Context, tenant wire.TenantID, id tel.Identity) (tel.Identity, error) {
	return w.parties.Principal(ctx, tenant, id)
}

func (w whoIs) Proofs(ctx context.Context, tenant wire.TenantID, principal tel.Identity) (map[tel.Identity]profile.Proof, error) {
	p, err := w.parties.Get(ctx, tenant, principal)
	if errors.Is(err, party.ErrNotFound) {
		return nil, nil
	}
	proofs := map[tel.Identity]profile.Proof{}
	for _, i := range p.Identities {
		proofs[i.Identity] = profile.Proof{Kind: i.Proof, At: i.Proved.UTC().Truncate(time.Second)}
	}
	return proofs, err
}

// between tells profiles who is in a session, and carries them there.
type between struct{ *Server }

func (b between) Session(ctx context.Context, tenant wire.TenantID, id wire.SessionID) (profile.Session, error) {
	x := profile.Session{Tenant: tenant, ID: id}
	rec, err := b.sessions.Record(ctx, tenant, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && rec.Phase == wire.Closed {
		return x, profile.ErrClosed
	} else if err != nil {
		return x, err
	}
	w := witness{b.Server, &rec, b.demands["profile"], nil}
	for i, side := range rec.Sides {
		s := profile.Side{Principal: side.Principal, Shown: side.Shown}
		if !side.Left.IsZero() || side.Principal.IsZero() {
			x.Sides = append(x.Sides, s)
			continue
		}
		s.Guests = true
		for n, m := range rec.Members {
			if m.Side != i+1 || !m.Left.IsZero() {
				continue
			}
			guest, err := b.isGuest(ctx, tenant, m.Device)
			if err != nil {
				return x, err
			}
			s.Guests = s.Guests && guest
			enough, err := b.deviceShown(ctx, tenant, m.Device, w.least)
			if err != nil {
				return x, err
			}
			if enough {
				s.Members = append(s.Members, profile.Member{ID: wire.MemberID(strconv.Itoa(n + 1)), Device: m.Device})
			}
		}
		if s.Whole, err = b.whole(ctx, &rec, side.Principal); err == nil && s.Whole {
			s.Whole, err = w.sideShown(ctx, side.Principal)
		}
		if err != nil {
			return x, err
		}
		x.Sides = append(x.Sides, s)
	}
	return x, nil
}

// whole reports whether a side has itself said that it is in the call, by a report or by accepting
// an invitation, and its number is its own.
func (b between) whole(ctx context.Context, rec *session.Record, principal tel.Identity) (bool, error) {
	shared, err := b.parties.Shared(ctx, rec.Tenant, principal)
	if err != nil || shared {
		return false, err
	}
	by, err := b.matcher.Own(ctx, rec.Tenant, principal, rec.ID)
	return by != "", err
}

func (b between) Open(ctx context.Context, tenant wire.TenantID, d wire.DeviceID) ([]wire.SessionID, error) {
	list, err := b.sessions.Sessions(ctx, tenant, d)
	var ids []wire.SessionID
	for _, st := range list {
		if st.Phase != wire.Closed {
			ids = append(ids, st.ID)
		}
	}
	return ids, err
}

func (b between) Send(ctx context.Context, tenant wire.TenantID, id wire.SessionID, from wire.DeviceID, to wire.MemberID, request wire.RequestID, m wire.ProfileMessage) error {
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("server: profile: %w", err)
	}
	e := wire.Envelope{Type: wire.TypeSend, ID: request, Session: id, To: []wire.MemberID{to}, Kind: wire.KindProfile, Body: body}
	_, err = b.sendOwn(ctx, tenant, from, e)
	var p *wire.Problem
	if errors.As(err, &p) && slices.Contains([]wire.Code{wire.CodeNotMember, wire.CodeSessionClosed, wire.CodeLogFull, wire.CodeBadRequest, wire.CodeForbidden}, p.Code) {
		return fmt.Errorf("%w: %w", profile.ErrClosed, err) // somebody has left meanwhile
	}
	return err
}

// namedProfile takes the address of the caller's own profile, which a report may carry.
func (s calls) namedProfile(ctx context.Context, who httpapi.Caller, address string) error {
	if who.Role != httpapi.RoleDevice {
		return wire.NewProblem(wire.CodeBadRequest, "profile: only a party's own device says where its profile is")
	}
	own, err := s.own(ctx, who)
	if err != nil {
		return err
	}
	return s.people.SetSource(ctx, who.Tenant, own, address)
}

// profiles serves httpapi.Profiles.
type profiles struct{ *Server }

// own is the caller's party.
func (s profiles) own(ctx context.Context, who httpapi.Caller) (tel.Identity, error) {
	return calls(s).own(ctx, who) // not a guest's
}

// forParty does something for the caller's party.
func forParty[T any](s profiles, ctx context.Context, who httpapi.Caller, doing string, do func(p tel.Identity) (T, error)) (T, error) {
	var v T
	p, err := s.own(ctx, who)
	if err == nil {
		v, err = do(p)
	}
	return v, problem(s.log, doing, err)
}

func (s profiles) Profile(ctx context.Context, who httpapi.Caller) (wire.Profile, error) {
	return forParty(s, ctx, who, "profile", func(p tel.Identity) (wire.Profile, error) {
		return s.people.Own(ctx, who.Tenant, p)
	})
}

func (s profiles) ChangeProfile(ctx context.Context, who httpapi.Caller, c wire.ProfileChange) (wire.ProfileChanged, error) {
	return forParty(s, ctx, who, "change profile", func(p tel.Identity) (wire.ProfileChanged, error) {
		return s.people.Change(ctx, who.Tenant, p, who.Device, c)
	})
}

func (s profiles) RemoveProfile(ctx context.Context, who httpapi.Caller) error {
	_, err := forParty(s, ctx, who, "remove profile", func(p tel.Identity) (struct{}, error) {
		return struct{}{}, s.people.Remove(ctx, who.Tenant, p)
	})
	return err
}

func (s profiles) ReadSource(ctx context.Context, who httpapi.Caller) (wire.Profile, error) {
	if err := s.limits.fetch(who); err != nil {
		return wire.Profile{}, err
	}
	return forParty(s, ctx, who, "read a profile's source", func(p tel.Identity) (wire.Profile, error) {
		return s.people.ReadSource(ctx, who.Tenant, p, who.Device)
	})
}

func (s profiles) Preview(ctx context.Context, who httpapi.Caller, other tel.Identity) (wire.ProfileView, error) {
	return forParty(s, ctx, who, "preview", func(p tel.Identity) (wire.ProfileView, error) {
		return s.people.Preview(ctx, who.Tenant, p, other)
	})
}

func (s profiles) SetPicture(ctx context.Context, who httpapi.Caller, field string, data []byte) (wire.Profile, error) {
	return forParty(s, ctx, who, "picture", func(p tel.Identity) (wire.Profile, error) {
		return s.people.SetPicture(ctx, who.Tenant, p, who.Device, field, data)
	})
}

func (s profiles) Picture(ctx context.Context, who httpapi.Caller, id string) (kind string, data []byte, err error) {
	if d, err := s.devices.Get(ctx, who.Tenant, who.Device); err == nil && (d.Agent() || d.Guest()) {
		// Agents and guests see the pictures that their own device was sent.
		pic, b, err := s.people.PictureSent(ctx, who.Tenant, d.Principal, who.Device, id)
		return pic.Type, b, problem(s.log, "picture", err)
	}
	data, err = forParty(s, ctx, who, "picture", func(p tel.Identity) ([]byte, error) {
		pic, b, err := s.people.Picture(ctx, who.Tenant, p, who.Device, id)
		kind = pic.Type
		return b, err
	})
	return kind, data, err
}

func (s profiles) TakeCard(ctx context.Context, who httpapi.Caller, f httpapi.CardFormat, base uint64, data []byte) (wire.ProfileChanged, error) {
	return forParty(s, ctx, who, "take a card", func(p tel.Identity) (wire.ProfileChanged, error) {
		card, err := parseCard(f, data)
		if err != nil {
			return wire.ProfileChanged{}, err
		}
		return s.people.TakeCard(ctx, who.Tenant, p, who.Device, base, card)
	})
}

func parseCard(f httpapi.CardFormat, data []byte) (profile.Card, error) {
	if f == httpapi.JCard {
		return profile.ParseJCard(data)
	}
	cards, err := profile.ParseCards(data)
	if err == nil && len(cards) > 1 {
		err = fmt.Errorf("%w: there are %d cards in it; which one is you?", profile.ErrRequest, len(cards))
	}
	if err != nil {
		return profile.Card{}, err
	}
	return cards[0], nil
}

func (s profiles) Card(ctx context.Context, who httpapi.Caller, f httpapi.CardFormat, of tel.Identity) ([]byte, error) {
	return forParty(s, ctx, who, "card", func(p tel.Identity) ([]byte, error) {
		own, err := s.people.Own(ctx, who.Tenant, p)
		if err != nil {
			return nil, err
		}
		fields := own.Fields
		if !of.IsZero() {
			v, err := s.people.Preview(ctx, who.Tenant, p, of)
			if err != nil {
				return nil, err
			}
			fields = v.Fields
		}
		return s.write(ctx, who, f, fields)
	})
}

// write writes a card.
func (s profiles) write(ctx context.Context, who httpapi.Caller, f httpapi.CardFormat, fields []wire.ProfileField) ([]byte, error) {
	pictures := s.people.Bytes(ctx, who.Tenant)
	if f == httpapi.JCard {
		return profile.JCard("", fields, pictures)
	}
	return profile.VCard("", fields, pictures), nil
}

func (s profiles) Ledger(ctx context.Context, who httpapi.Caller) (wire.ProfileLedger, error) {
	return forParty(s, ctx, who, "ledger", func(p tel.Identity) (wire.ProfileLedger, error) {
		return s.people.Ledger(ctx, who.Tenant, p)
	})
}

func (s profiles) Withdraw(ctx context.Context, who httpapi.Caller, receiver string) error {
	_, err := forParty(s, ctx, who, "withdraw", func(p tel.Identity) (struct{}, error) {
		return struct{}{}, s.people.Withdraw(ctx, who.Tenant, p, who.Device, receiver)
	})
	return err
}

func (s profiles) SendProfile(ctx context.Context, who httpapi.Caller, id wire.SessionID, q wire.ProfileSend) (wire.ProfileSent, error) {
	_, err := s.own(ctx, who)
	if err == nil {
		_, err = s.worthy(ctx, who.Tenant, id, who.Device, "profile", nil)
	}
	var sent wire.ProfileSent
	if err == nil {
		sent, err = s.people.Send(ctx, who.Tenant, id, who.Device, q)
	}
	return sent, problem(s.log, "send profile", err)
}

func (s profiles) HeldProfile(ctx context.Context, who httpapi.Caller, id wire.SessionID, q wire.ProfileHeld) (wire.ProfileMissing, error) {
	m, err := s.people.Held(ctx, who.Tenant, id, who.Device, q)
	return m, problem(s.log, "profile held", err)
}

func (s profiles) Contacts(ctx context.Context, who httpapi.Caller, of tel.Identity) ([]wire.Contact, error) {
	return forParty(s, ctx, who, "contacts", func(p tel.Identity) ([]wire.Contact, error) {
		if of.IsZero() {
			return s.people.Contacts(ctx, who.Tenant, p)
		}
		return s.people.Find(ctx, who.Tenant, p, of)
	})
}

func (s profiles) KeepContact(ctx context.Context, who httpapi.Caller, owner string) (wire.Contact, error) {
	return forParty(s, ctx, who, "keep contact", func(p tel.Identity) (wire.Contact, error) {
		return s.people.Keep(ctx, who.Tenant, p, owner)
	})
}

func (s profiles) ImportContacts(ctx context.Context, who httpapi.Caller, data []byte) ([]wire.Contact, error) {
	return forParty(s, ctx, who, "import contacts", func(p tel.Identity) ([]wire.Contact, error) {
		cards, err := profile.ParseCards(data)
		if err != nil {
			return nil, err
		}
		return s.people.Import(ctx, who.Tenant, p, cards)
	})
}

func (s profiles) ContactCards(ctx context.Context, who httpapi.Caller, id string) ([]byte, error) {
	return forParty(s, ctx, who, "contacts' cards", func(p tel.Identity) ([]byte, error) {
		list, err := s.people.Contacts(ctx, who.Tenant, p)
		if err != nil {
			return nil, err
		}
		var out []byte
		for _, c := range list {
			if id == "" || c.ID == id {
				out = append(out, profile.VCard(c.ID, c.Fields, s.people.Bytes(ctx, who.Tenant))...)
			}
		}
		if out == nil && id != "" {
			return nil, profile.ErrNotFound
		}
		return out, nil
	})
}

func (s profiles) RemoveContact(ctx context.Context, who httpapi.Caller, id string) error {
	_, err := forParty(s, ctx, who, "remove contact", func(p tel.Identity) (struct{}, error) {
		return struct{}{}, s.people.RemoveContact(ctx, who.Tenant, p, id)
	})
	return err
}

func (s profiles) Rules(ctx context.Context, who httpapi.Caller) ([]wire.ContactRule, error) {
	return forParty(s, ctx, who, "rules", func(p tel.Identity) ([]wire.ContactRule, error) {
		return s.people.Rules(ctx, who.Tenant, p)
	})
}

func (s profiles) SetRule(ctx context.Context, who httpapi.Caller, r wire.ContactRule) error {
	_, err := forParty(s, ctx, who, "rule", func(p tel.Identity) (struct{}, error) {
		return struct{}{}, s.people.SetRule(ctx, who.Tenant, p, r)
	})
	return err
}
