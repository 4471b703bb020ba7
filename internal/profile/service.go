package profile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	tenants "github.com/tandem-call/tandem/internal/tenant"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Parties is what profiles need of the directory of parties.
type Parties interface {
	// Principal returns the identity by which a party is compared.
	Principal(ctx context.Context, tenant wire.TenantID, id tel.Identity) (tel.Identity, error)
	// Proofs returns what the party's identities rest on, the current ones.
	Proofs(ctx context.Context, tenant wire.TenantID, principal tel.Identity) (map[tel.Identity]Proof, error)
}

// Proof is what an identity rests on.
type Proof struct {
	Kind string
	// At is when it was proved last, in whole seconds.
	At time.Time
}

// Sessions is what profiles need of the data sessions.
type Sessions interface {
	// Session looks at one. ErrClosed.
	Session(ctx context.Context, tenant wire.TenantID, id wire.SessionID) (Session, error)
	// Open lists the open sessions of a device.
	Open(ctx context.Context, tenant wire.TenantID, d wire.DeviceID) ([]wire.SessionID, error)
	// Send sends a message of kind tandem.profile in a device's name. The same id sends once.
	Send(ctx context.Context, tenant wire.TenantID, id wire.SessionID, from wire.DeviceID, to wire.MemberID, request wire.RequestID, m wire.ProfileMessage) error
}

// Session is an open session, as far as profiles are concerned.
type Session struct {
	Tenant wire.TenantID
	ID     wire.SessionID
	Sides  []Side
}

// Side is a party in a session, with the members that are present.
type Side struct {
	Principal, Shown tel.Identity
	// Whole: it is nobody's shared number, and its own side has reported the call with the others.
	Whole bool
	// Guests: all of its members are there by a link to its number only. The side receives what the
	// number's party would, and gives nothing that is the party's.
	Guests  bool
	Members []Member
}

// Member is a device of a side.
type Member struct {
	ID     wire.MemberID
	Device wire.DeviceID
}

// side returns the index of the device's side. ErrClosed.
func (s *Session) side(d wire.DeviceID) (int, error) {
	for i, side := range s.Sides {
		if slices.ContainsFunc(side.Members, func(m Member) bool { return m.Device == d }) {
			return i, nil
		}
	}
	return 0, ErrClosed
}

// Config of a Service. The first three are needed.
type Config struct {
	Engine   store.Engine
	Parties  Parties
	Sessions Sessions
	// Clean removes from a picture where, when and with what it was taken, and returns its
	// media type. Nil: pictures are refused.
	Clean func(picture []byte) (clean []byte, mediaType string, err error)
	// Fetch gets what is at addresses that users name. Nil: profiles at addresses are not read.
	Fetch Fetch
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log; nil means no log.
	Log *slog.Logger
}

// Service keeps profiles, ledgers and address books. Make it with [New]; [Service.Run] must
// run for profiles to be sent. Its methods may be called from several goroutines and on
// several nodes at once.
type Service struct {
	cfg      Config
	profiles store.Table[Profile]
	receipts store.Table[Receipts]
	names    store.Table[Name]
	rules    store.Table[Rule]
	contacts store.Table[Contact]
	pictures store.Table[Picture]
	jobs     store.Table[Job]
	tenants  store.Table[Tenant]

	has  *tenants.Set // those with profiles
	wake chan struct{}

	served, sent atomic.Uint64
}

// Stats are what the service has counted.
type Stats struct {
	// Sent messages, and bytes of pictures that receivers fetched.
	Sent, PictureBytes uint64
}

// Stats returns the counts since the start.
func (s *Service) Stats() Stats { return Stats{s.sent.Load(), s.served.Load()} }

// New returns the service over the engine.
func New(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Engine == nil || cfg.Parties == nil || cfg.Sessions == nil {
		return nil, errors.New("profile: config needs Engine, Parties and Sessions")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		cfg:      cfg,
		profiles: store.TableOf[Profile](cfg.Engine, "profiles"),
		receipts: store.TableOf[Receipts](cfg.Engine, "profile-ledger"),
		names:    store.TableOf[Name](cfg.Engine, "profile-names"),
		rules:    store.TableOf[Rule](cfg.Engine, "profile-rules"),
		contacts: store.TableOf[Contact](cfg.Engine, "contacts"),
		pictures: store.TableOf[Picture](cfg.Engine, "profile-pictures"),
		jobs:     store.TableOf[Job](cfg.Engine, "profile-jobs"),
		tenants:  store.TableOf[Tenant](cfg.Engine, "profile-tenants"),
		has:      tenants.NewSet(cfg.Engine, "profiles"),
		wake:     make(chan struct{}, 1),
	}
	return s, s.look(ctx)
}

// Tenant has, or had, a party with a profile: table "profile-tenants", key store.Key(tenant).
// So that nobody need read all profiles to know.
type Tenant struct {
	Tenant wire.TenantID `json:"tenant"`
}

// look finds the tenants that have profiles.
func (s *Service) look(ctx context.Context) error {
	for item, err := range s.tenants.Scan(ctx, "") {
		if err != nil {
			return fmt.Errorf("profile: read tenants: %w", err)
		}
		s.has.Learn(item.Value.Tenant)
	}
	return nil
}

// begin notes that a tenant has profiles, before the first one is stored.
func (s *Service) begin(ctx context.Context, tenant wire.TenantID) error {
	if s.Any(tenant) {
		return nil
	}
	_, err := store.Change(ctx, s.tenants, store.Key(string(tenant)), func(_ Tenant, exists bool) (Tenant, bool, error) {
		return Tenant{tenant}, !exists, nil
	})
	if err != nil {
		return err
	}
	return s.has.Add(ctx, tenant)
}

// Any reports whether a party of the tenant has a profile.
func (s *Service) Any(tenant wire.TenantID) bool { return s.has.Has(tenant) }

func partyKey(tenant wire.TenantID, p tel.Identity) string {
	return store.Key(string(tenant), p.String())
}

func (s *Service) load(ctx context.Context, tenant wire.TenantID, p tel.Identity) (Profile, error) {
	x, _, err := s.profiles.Get(ctx, partyKey(tenant, p))
	if errors.Is(err, store.ErrNotFound) {
		return Profile{Tenant: tenant, Principal: p, Profile: wire.Profile{Send: wire.SendAlways, Keep: wire.KeepAsk}}, nil
	} else if err != nil {
		return x, fmt.Errorf("profile: read: %w", err)
	}
	return x, nil
}

// Own returns a party's own profile; an empty one, with the version 0, if it has none.
func (s *Service) Own(ctx context.Context, tenant wire.TenantID, p tel.Identity) (wire.Profile, error) {
	x, err := s.load(ctx, tenant, p)
	if err != nil {
		return wire.Profile{}, err
	}
	if x.Fields, err = s.proved(ctx, tenant, p, x.Fields); err != nil {
		return wire.Profile{}, err
	}
	return shown(x.Profile), nil
}

// shown leaves no list out.
func shown(p wire.Profile) wire.Profile {
	if p.Fields == nil {
		p.Fields = []wire.ProfileField{}
	}
	if p.Groups == nil {
		p.Groups = []wire.ProfileGroup{}
	}
	return p
}

// Change changes a party's profile; see [Profile.Change]. Device made the change: the
// sessions that it is in get what is new.
func (s *Service) Change(ctx context.Context, tenant wire.TenantID, p tel.Identity, d wire.DeviceID, c wire.ProfileChange) (wire.ProfileChanged, error) {
	var conflicts []wire.ProfileConflict
	_, err := s.change(ctx, tenant, p, func(x Profile) (next Profile, err error) {
		next, conflicts, err = x.Change(c, s.cfg.Now())
		return next, err
	})
	if err != nil {
		return wire.ProfileChanged{}, err
	}
	if conflicts == nil {
		conflicts = []wire.ProfileConflict{}
	}
	if err := s.renew(ctx, tenant, d); err != nil {
		return wire.ProfileChanged{}, err
	}
	own, err := s.Own(ctx, tenant, p)
	return wire.ProfileChanged{Profile: own, Conflicts: conflicts}, err
}

func (s *Service) change(ctx context.Context, tenant wire.TenantID, p tel.Identity, decide func(Profile) (Profile, error)) (Profile, error) {
	if err := s.begin(ctx, tenant); err != nil {
		return Profile{}, fmt.Errorf("profile: change: %w", err)
	}
	var was []wire.ProfileField
	next, err := store.Change(ctx, s.profiles, partyKey(tenant, p), func(x Profile, exists bool) (Profile, bool, error) {
		if !exists {
			x = Profile{Tenant: tenant, Principal: p}
		}
		was = x.Fields
		next, err := decide(x)
		return next, err == nil, err
	})
	if err != nil {
		return next, fmt.Errorf("profile: change: %w", err)
	}
	return next, s.dropUnused(ctx, tenant, was, next.Fields)
}

// Reproved notes that what one of a party's identities rests on has changed: it was proved, proved anew, or
// is the party's no more. Whoever holds a field that names it learns that; those who are in a session
// with one of the party's devices at once, others in their next. It may be repeated.
func (s *Service) Reproved(ctx context.Context, tenant wire.TenantID, p, id tel.Identity, devices []wire.DeviceID) error {
	names := func(f wire.ProfileField) bool {
		of, ok := identityOf(f)
		return ok && of == id
	}
	x, err := s.load(ctx, tenant, p)
	if err != nil || !slices.ContainsFunc(x.Fields, names) {
		return err
	}
	// The fields say the same, so that their own versions stay.
	if _, err := s.change(ctx, tenant, p, func(x Profile) (Profile, error) { x.Version++; return x, nil }); err != nil {
		return err
	}
	for _, d := range devices {
		err = errors.Join(err, s.renew(ctx, tenant, d))
	}
	return err
}

// renew lets the sessions that a device is in get what is new.
func (s *Service) renew(ctx context.Context, tenant wire.TenantID, d wire.DeviceID) error {
	open, err := s.cfg.Sessions.Open(ctx, tenant, d)
	for _, id := range open {
		err = errors.Join(err, s.Opened(ctx, tenant, id))
	}
	return err
}

// Remove deletes a party's profile and its pictures. The ledger stays.
func (s *Service) Remove(ctx context.Context, tenant wire.TenantID, p tel.Identity) error {
	x, err := s.load(ctx, tenant, p)
	if err != nil {
		return err
	}
	if err := store.Remove(ctx, s.profiles, partyKey(tenant, p)); err != nil {
		return fmt.Errorf("profile: remove: %w", err)
	}
	return s.dropUnused(ctx, tenant, x.Fields, nil)
}

// proved marks the numbers and addresses that the server knows to be the party's.
func (s *Service) proved(ctx context.Context, tenant wire.TenantID, p tel.Identity, fields []wire.ProfileField) ([]wire.ProfileField, error) {
	proofs, err := s.cfg.Parties.Proofs(ctx, tenant, p)
	if err != nil {
		return nil, fmt.Errorf("profile: proofs: %w", err)
	}
	out := slices.Clone(fields)
	for i := range out {
		out[i].Proof, out[i].Proved = "", time.Time{}
		if id, ok := identityOf(out[i]); ok {
			out[i].Proof, out[i].Proved = proofs[id].Kind, proofs[id].At
		}
	}
	return out, nil
}

// identityOf is the identity that a field names, if it names one.
func identityOf(f wire.ProfileField) (tel.Identity, bool) {
	text := f.Value
	switch f.Name {
	case "email":
		text = "mailto:" + text
	case "socialprofile":
		if !strings.HasPrefix(text, "acct:") {
			return tel.Identity{}, false
		}
	case "tel", "impp":
	default:
		return tel.Identity{}, false
	}
	id, err := tel.ParseIdentity(text, "")
	return id, err == nil
}

// Preview says what somebody sees of the party's profile: "what will they see?".
func (s *Service) Preview(ctx context.Context, tenant wire.TenantID, p, other tel.Identity) (wire.ProfileView, error) {
	v := wire.ProfileView{Groups: []string{}, Fields: []wire.ProfileField{}}
	x, err := s.load(ctx, tenant, p)
	if err != nil {
		return v, err
	}
	principal, err := s.cfg.Parties.Principal(ctx, tenant, other)
	if err != nil {
		return v, err
	}
	fields, groups, err := s.seen(ctx, tenant, x, principal)
	if err != nil {
		return v, err
	}
	rule, err := s.rule(ctx, tenant, p, principal)
	if err != nil {
		return v, err
	}
	v.Fields, v.Groups = append(v.Fields, fields...), append(v.Groups, groups...)
	v.Sends = sendRule(rule, x) != wire.SendNever && len(fields) > 0
	return v, nil
}

// seen returns what the party of a principal identity sees of a profile; the zero one is
// somebody who is not known.
func (s *Service) seen(ctx context.Context, tenant wire.TenantID, x Profile, other tel.Identity) ([]wire.ProfileField, []string, error) {
	var ids []tel.Identity // as they stand in the groups
	if !other.IsZero() {
		for _, g := range x.Groups {
			for _, m := range g.Members {
				p, err := s.cfg.Parties.Principal(ctx, tenant, m)
				if err != nil {
					return nil, nil, fmt.Errorf("profile: group %s: %w", g.Name, err)
				}
				if p == other {
					ids = append(ids, m)
				}
			}
		}
	}
	fields, groups := x.For(ids)
	fields, err := s.proved(ctx, tenant, x.Principal, fields)
	return fields, groups, err
}
