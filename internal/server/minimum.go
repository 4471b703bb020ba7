package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/coupling"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Features name the least evidence of each thing that can be done with a number or beside a
// call, beyond Minimum (DESIGN section 5). This file holds every one of them to it.
type Features struct {
	// What members of a session send each other; see featureOf. Sender and receivers, on each
	// side, have shown as much.
	Text    Least `koanf:"text"`
	Link    Least `koanf:"link"`
	Object  Least `koanf:"object"`
	File    Least `koanf:"file"`
	Profile Least `koanf:"profile"`
	Place   Least `koanf:"place"`
	Overlay Least `koanf:"overlay"`
	// What a claimant causes who says that somebody is in a call with it: that a device is woken,
	// or a text message sent.
	Push           Least `koanf:"push"`
	TextInvitation Least `koanf:"text_invitation"`
	// Unasked: that a woken device joins without asking its user.
	Unasked Least `koanf:"unasked"`
	// What a device does with its number outside of calls: vouch for another that is coupled with
	// the telephone, and be a telephone at the SIP element.
	Coupling  LeastBinding `koanf:"coupling"`
	Telephone LeastBinding `koanf:"telephone"`
}

// Least is what both proofs must be worth; empty: anything that opens a session.
type Least struct {
	Binding device.ProofKind `koanf:"binding"`
	Call    call.Evidence    `koanf:"call"`
}

// LeastBinding is Least where there is no call.
type LeastBinding struct {
	Binding device.ProofKind `koanf:"binding"`
}

// all are the features by name.
func (f Features) all() map[string]Least {
	return map[string]Least{
		"text": f.Text, "link": f.Link, "object": f.Object, "file": f.File, "profile": f.Profile, "place": f.Place, "overlay": f.Overlay,
		"push": f.Push, "text_invitation": f.TextInvitation, "unasked": f.Unasked,
		"coupling": {Binding: f.Coupling.Binding}, "telephone": {Binding: f.Telephone.Binding},
	}
}

func (f Features) validate(roots bool, fault func(ok bool, format string, args ...any)) {
	for name, l := range f.all() {
		fault(l.Binding == "" || slices.Contains(proofs, l.Binding), "evidence.features.%s.binding: %q; use %s", name, l.Binding, strings.Join(proofs, ", "))
		switch l.Call {
		case "", call.Typed, call.Observed, call.Trusted:
		case call.Passport:
			fault(roots, "evidence.features.%s.call: passport needs evidence.stir_roots", name)
		default:
			fault(false, "evidence.features.%s.call: %q; use typed, observed, trusted or passport", name, l.Call)
		}
	}
}

// demands are the features that ask for something.
func (f Features) demands() map[string]Least {
	all := f.all()
	maps.DeleteFunc(all, func(_ string, l Least) bool { return l == Least{} })
	return all
}

// featureOf is what a kind of message belongs to.
func featureOf(kind string) string {
	switch {
	case kind == wire.KindText, kind == wire.KindLink:
		return kind
	case kind == wire.KindFile, kind == wire.KindFileProgress:
		return "file"
	case kind == wire.KindProfile:
		return "profile"
	case kind == wire.KindPlace, strings.HasPrefix(kind, wire.KindPlace+"."):
		return "place"
	case kind == "overlay", strings.HasPrefix(kind, "overlay."), strings.HasPrefix(kind, "tandem.overlay"):
		return "overlay"
	}
	return "object"
}

// bound: a proof that the device has now is worth it. A coupled device's is worth that of whoever
// vouches for it; a guest's link is worth less than any.
func (l Least) bound(d device.Device) bool {
	return l.Binding == "" || slices.ContainsFunc(d.Current(time.Now()), func(b wire.Binding) bool { return l.proves(device.FirstHand(b)) })
}

func (l Least) proves(p device.ProofKind) bool {
	return l.Binding == "" || slices.Index(proofs, p) >= slices.Index(proofs, l.Binding)
}

// tooWeak tells whoever wants to use a feature what it asks for.
func (l Least) tooWeak(feature string) error {
	var asks []string
	if l.Binding != "" {
		asks = append(asks, fmt.Sprintf("a number that is proved by %s", l.Binding))
	}
	if l.Call != "" {
		asks = append(asks, fmt.Sprintf("a call that is %s", l.Call))
	}
	return wire.NewProblem(wire.CodeForbidden, "for %s the operator asks each side for %s: enrol again in that way, or try again when the call is reported so",
		feature, strings.Join(asks, " and "))
}

// relay sends a message or signal, by session's Send or SendOwn, to those who have shown the
// evidence that its kind asks for. It is the one way into a session.
func (s *Server) relay(ctx context.Context, send sender, tenant wire.TenantID, from wire.DeviceID, out session.Outbox, e wire.Envelope, answer func(wire.Envelope)) {
	to, err := s.worthy(ctx, tenant, e.Session, from, featureOf(e.Kind), e.To)
	if err != nil {
		answer(failure(e, problem(s.log, "weigh evidence", err)))
		return
	}
	if len(e.To) == 0 { // who is named by the sender gets it
		if to, err = s.wanted(ctx, tenant, e.Session, from, wire.DataKind(featureOf(e.Kind)), to); err != nil {
			answer(failure(e, problem(s.log, "find who wants it", err)))
			return
		}
	}
	e.To = to
	send(ctx, tenant, from, out, e, answer)
}

// worthy returns the members that something of a feature may go to. What is for all goes to those
// who have shown enough, and not to whoever comes later: who that is, nobody knows yet. What is
// no session, or no member of it, the session itself says.
func (s *Server) worthy(ctx context.Context, tenant wire.TenantID, id wire.SessionID, from wire.DeviceID, feature string, to []wire.MemberID) ([]wire.MemberID, error) {
	l, ok := s.demands[feature]
	if !ok || !wire.ValidID(string(id)) {
		return to, nil
	}
	rec, err := s.sessions.Record(ctx, tenant, id)
	if errors.Is(err, store.ErrNotFound) {
		return to, nil
	} else if err != nil {
		return nil, err
	}
	present := func(m session.Member) bool { return m.Left.IsZero() }
	you := slices.IndexFunc(rec.Members, func(m session.Member) bool { return present(m) && m.Device == from })
	if you < 0 {
		return to, nil
	}
	w := witness{s, &rec, l, map[int]bool{}}
	if ok, err := w.shown(ctx, rec.Members[you]); err != nil || !ok {
		return nil, cmp.Or(err, l.tooWeak(feature))
	}
	enough, ok, err := audience(rec.Members, you, to, func(m session.Member) (bool, error) { return w.shown(ctx, m) })
	if err != nil || !ok {
		return nil, cmp.Or(err, l.tooWeak(feature))
	}
	return enough, nil
}

// audience is who may have something that member you (an index) sends: of those named, all or it is
// refused; of all, those who have shown enough, and it is refused where that is nobody of another
// side that is there. It is never empty: that would be to all, and to whoever comes later.
func audience(members []session.Member, you int, to []wire.MemberID, shown func(session.Member) (bool, error)) (enough []wire.MemberID, ok bool, err error) {
	reached, missed := false, false // somebody of another side
	for i, m := range members {
		n := wire.MemberID(strconv.Itoa(i + 1))
		if i == you || !m.Left.IsZero() || len(to) > 0 && !slices.Contains(to, n) {
			continue
		}
		other := m.Side != members[you].Side
		switch ok, err := shown(m); {
		case err != nil:
			return nil, false, err
		case ok:
			enough, reached = append(enough, n), reached || other
		case len(to) > 0:
			return nil, false, nil
		default:
			missed = missed || other
		}
	}
	switch {
	case len(to) > 0:
		return to, true, nil
	case len(enough) == 0:
		enough = []wire.MemberID{wire.MemberID(strconv.Itoa(you + 1))}
	}
	return enough, reached || !missed, nil
}

// witness weighs what the members of one session have shown.
type witness struct {
	*Server
	rec   *session.Record
	least Least
	sides map[int]bool // those that have been looked at
}

func (w witness) shown(ctx context.Context, m session.Member) (bool, error) {
	enough, known := w.sides[m.Side]
	if !known {
		var err error
		if enough, err = w.sideShown(ctx, w.rec.Sides[m.Side-1].Principal); err != nil {
			return false, err
		}
		w.sides[m.Side] = enough
	}
	if !enough {
		return false, nil
	}
	return w.deviceShown(ctx, w.rec.Tenant, m.Device, w.least)
}

// sideShown: the party's own side of the call is shown well enough.
func (w witness) sideShown(ctx context.Context, principal tel.Identity) (bool, error) {
	if w.least.Call == "" || principal.IsZero() {
		return w.least.Call == "", nil
	}
	by, err := w.matcher.Own(ctx, w.rec.Tenant, principal, w.rec.ID)
	return by.AtLeast(w.least.Call), err
}

func (s *Server) deviceShown(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, l Least) (bool, error) {
	if l.Binding == "" {
		return true, nil
	}
	d, err := s.devices.Get(ctx, tenant, id)
	if errors.Is(err, device.ErrNotFound) {
		return false, nil
	}
	return err == nil && l.bound(d), err
}

// claimed: the claimant of an open invitation to own's party has shown what a feature asks for.
func (s *Server) claimed(ctx context.Context, tenant wire.TenantID, own tel.Identity, id wire.InvitationID, feature string) (bool, error) {
	l, ok := s.demands[feature]
	if !ok {
		return true, nil
	}
	c, err := s.matcher.Claim(ctx, tenant, own, id)
	if errors.Is(err, call.ErrNoQuestion) {
		return false, nil // it was answered or withdrawn meanwhile
	} else if err != nil {
		return false, err
	}
	if !c.Evidence.AtLeast(l.Call) {
		return s.unclaimed(feature)
	}
	if len(c.Devices) == 0 { // elements report it
		if c.Devices, err = (directory{s}).Devices(ctx, tenant, c.Party); err != nil {
			return false, err
		}
	}
	for _, d := range c.Devices {
		if ok, err := s.deviceShown(ctx, tenant, d, l); ok || err != nil {
			return ok, err
		}
	}
	return s.unclaimed(feature)
}

func (s *Server) unclaimed(feature string) (bool, error) {
	s.log.Info("a claimant has not shown what the operator asks for", "feature", feature)
	return false, nil
}

// mayJoin: a woken device may join unasked. Both sides have shown enough, the device's by the call
// that its own telephone observes or by what is known besides.
func (s *Server) mayJoin(ctx context.Context, d device.Device, id wire.InvitationID, c call.Claim) error {
	l, ok := s.demands["unasked"]
	if !ok {
		return nil
	}
	enough, err := s.claimed(ctx, d.Tenant, d.Principal, id, "unasked")
	if err == nil && !(enough && l.bound(d) && (call.Observed.AtLeast(l.Call) || c.Own.AtLeast(l.Call))) {
		err = l.tooWeak("joining unasked")
	}
	return err
}

// mayVouch: a proof of a number is good enough to couple another device with its telephone.
func (s *Server) mayVouch(v coupling.Voucher) error {
	if l := s.demands["coupling"]; !l.proves(v.Proof) {
		return l.tooWeak("coupling")
	}
	return nil
}
