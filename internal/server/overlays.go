package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	"github.com/tandem-call/tandem/internal/audit"
	"github.com/tandem-call/tandem/internal/credential"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/fetch"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/overlay"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/internal/store"
	document "github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// maxOverlayPicture in bytes.
const maxOverlayPicture = 2 << 20

// newOverlays makes the service that keeps overlays and sends them (SPEC I).
func (s *Server) newOverlays(ctx context.Context, version string) (*overlay.Service, error) {
	c := s.cfg.Overlays
	networks := make([]netip.Prefix, len(c.Networks))
	for i, n := range c.Networks {
		networks[i] = netip.MustParsePrefix(n) // checked by Validate
	}
	var err error
	if s.toProviders, err = fetch.New(fetch.Config{Allow: networks, Timeout: c.Timeout, UserAgent: "tandem/" + version}); err != nil {
		return nil, err
	}
	return overlay.New(ctx, overlay.Config{
		Engine: s.engine, Sessions: screens{s}, Calls: screens{s}, Devices: screens{s}, Ask: s.askProvider, CheckURL: s.checkProvider, Log: s.log,
	})
}

// checkOverlay refuses messages of the kind overlay that are none, whoever sends them.
func checkOverlay(body json.RawMessage) error {
	_, err := document.Decode(body)
	return err
}

// checkProvider refuses addresses of providers' servers that would not be asked.
func (s *Server) checkProvider(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.User != nil || len(address) > 2048:
		return errors.New("it is not an address of a server, without a user")
	case u.Scheme == "https", u.Scheme == "http" && s.cfg.Overlays.HTTP:
		return nil
	}
	return errors.New("it must begin with https://")
}

// askProvider asks a provider's server, with a signature as of webhooks.
func (s *Server) askProvider(ctx context.Context, q overlay.Question) ([]byte, error) {
	res, err := s.toProviders.Fetch(ctx, fetch.Request{
		URL: q.URL, Method: http.MethodPost, Body: q.Body, HTTPS: !s.cfg.Overlays.HTTP, MaxBytes: document.MaxSize + 4096, Types: []string{"application/json"},
		Header: http.Header{
			"Content-Type":      {"application/json"},
			"Accept":            {"application/json"},
			"Webhook-Id":        {q.ID},
			"Webhook-Timestamp": {strconv.FormatInt(q.Timestamp, 10)},
			"Webhook-Signature": {q.Signature},
		},
	})
	return res.Body, err
}

// screens tells overlays who is in a session, and carries them there.
type screens struct{ *Server }

func (s screens) Session(ctx context.Context, tenant wire.TenantID, id wire.SessionID) (overlay.Session, error) {
	x := overlay.Session{ID: id}
	if !wire.ValidID(string(id)) {
		return x, overlay.ErrClosed
	}
	rec, err := s.sessions.Record(ctx, tenant, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && rec.Phase == wire.Closed {
		return x, overlay.ErrClosed
	}
	for _, side := range rec.Sides {
		x.Sides = append(x.Sides, overlay.Side{Principal: side.Principal, Shown: side.Shown})
	}
	for i, m := range rec.Members {
		side, id := &x.Sides[m.Side-1], wire.MemberID(strconv.Itoa(i+1))
		if m.Left.IsZero() {
			side.Members = append(side.Members, overlay.Member{ID: id, Device: m.Device})
		} else {
			side.Left = append(side.Left, id)
		}
	}
	return x, err
}

func (s screens) Send(ctx context.Context, tenant wire.TenantID, id wire.SessionID, from wire.DeviceID, to []wire.MemberID, request wire.RequestID, kind string, what any) (wire.Sent, error) {
	body, err := json.Marshal(what)
	if err != nil {
		return wire.Sent{}, fmt.Errorf("server: overlay: %w", err)
	}
	sent, err := s.sendOwn(ctx, tenant, from, wire.Envelope{Type: wire.TypeSend, ID: request, Session: id, To: to, Kind: kind, Body: body})
	return sent, overlayError(err)
}

func (s screens) Messages(ctx context.Context, tenant wire.TenantID, d wire.DeviceID, id wire.SessionID, after uint64, limit int) ([]wire.Envelope, error) {
	l, err := s.sessions.Messages(ctx, tenant, d, id, after, limit)
	return l.Messages, overlayError(err)
}

// overlayError says in the overlays' words what the session said.
func overlayError(err error) error {
	var p *wire.Problem
	if errors.As(err, &p) && slices.Contains([]wire.Code{wire.CodeNotMember, wire.CodeSessionClosed}, p.Code) {
		return fmt.Errorf("%w: %w", overlay.ErrClosed, err)
	}
	return err
}

func (s screens) Queue(ctx context.Context, tenant wire.TenantID, id wire.SessionID, party tel.Identity) (string, error) {
	if party.IsZero() {
		return "", nil
	}
	return s.matcher.Queue(ctx, tenant, party, id)
}

func (s screens) Language(ctx context.Context, tenant wire.TenantID, id wire.DeviceID) (string, error) {
	d, err := s.devices.Get(ctx, tenant, id)
	if errors.Is(err, device.ErrNotFound) {
		return "", nil
	}
	return d.Language, err
}

// overlayOpened lets the overlay that is determined for a call be sent.
func (s *Server) overlayOpened(ctx context.Context, rec *session.Record, h session.Happened) error {
	switch h.What {
	case session.WasOpened, session.WasTakenUp:
		return s.overlays.Opened(ctx, rec.Tenant, rec.ID, h.Version, nil)
	case session.MemberJoined:
		return s.overlays.Opened(ctx, rec.Tenant, rec.ID, h.Version, h.Members)
	}
	return nil
}

// overlays serves httpapi.Overlays.
type overlays struct{ *Server }

// owner is whose overlays a key manages.
func (s overlays) owner(ctx context.Context, who httpapi.Caller) (credential.Owner, error) {
	if who.Role == httpapi.RoleOperator {
		return credential.Owner{Tenant: who.Tenant, All: true}, nil
	}
	c, err := s.keys.Get(ctx, who.Tenant, who.Credential)
	return credential.Owner{Tenant: who.Tenant, Ranges: c.Speaks}, err
}

// sender is who sends an overlay.
func (s overlays) sender(ctx context.Context, who httpapi.Caller) (overlay.Sender, error) {
	if who.Role == httpapi.RoleDevice {
		return overlay.Sender{Tenant: who.Tenant, Device: who.Device}, nil
	}
	o, err := s.owner(ctx, who)
	return overlay.Sender{Tenant: who.Tenant, Owner: o}, err
}

func forOwner[T any](s overlays, ctx context.Context, who httpapi.Caller, doing string, do func(credential.Owner) (T, error)) (v T, err error) {
	o, err := s.owner(ctx, who)
	if err == nil {
		v, err = do(o)
	}
	return v, problem(s.log, doing, err)
}

func forSender[T any](s overlays, ctx context.Context, who httpapi.Caller, doing string, do func(overlay.Sender) (T, error)) (v T, err error) {
	by, err := s.sender(ctx, who)
	if err == nil {
		v, err = do(by)
	}
	return v, problem(s.log, doing, err)
}

func (s overlays) Overlays(ctx context.Context, who httpapi.Caller) ([]wire.StoredOverlay, error) {
	return forOwner(s, ctx, who, "list overlays", func(o credential.Owner) ([]wire.StoredOverlay, error) { return s.Server.overlays.List(ctx, o) })
}

func (s overlays) Overlay(ctx context.Context, who httpapi.Caller, name string) (wire.StoredOverlay, error) {
	return forOwner(s, ctx, who, "overlay", func(o credential.Owner) (wire.StoredOverlay, error) { return s.Server.overlays.Get(ctx, o, name) })
}

func (s overlays) SetOverlayDraft(ctx context.Context, who httpapi.Caller, name string, d wire.OverlayDraft) (wire.StoredOverlay, error) {
	return forOwner(s, ctx, who, "overlay's draft", func(o credential.Owner) (wire.StoredOverlay, error) {
		return s.Server.overlays.SetDraft(ctx, o, name, d)
	})
}

// change makes a change that customers see, and writes it down.
func (s overlays) change(ctx context.Context, who httpapi.Caller, what audit.Action, name string, do func(credential.Owner) (wire.StoredOverlay, error)) (x wire.StoredOverlay, err error) {
	return x, s.audited(ctx, who, audit.Record{What: what, On: on("overlay", name)}, func() error {
		o, err := s.owner(ctx, who)
		if err == nil {
			x, err = do(o)
		}
		return err
	})
}

func (s overlays) PublishOverlay(ctx context.Context, who httpapi.Caller, name string) (wire.StoredOverlay, error) {
	return s.change(ctx, who, audit.OverlayPublished, name, func(o credential.Owner) (wire.StoredOverlay, error) {
		return s.Server.overlays.Publish(ctx, o, name)
	})
}

func (s overlays) RollBackOverlay(ctx context.Context, who httpapi.Caller, name string, version int) (wire.StoredOverlay, error) {
	return s.change(ctx, who, audit.OverlayRolledBack, name, func(o credential.Owner) (wire.StoredOverlay, error) {
		return s.Server.overlays.Rollback(ctx, o, name, version)
	})
}

func (s overlays) OverlayVersion(ctx context.Context, who httpapi.Caller, name string, version int) (wire.OverlayDraft, error) {
	return forOwner(s, ctx, who, "overlay's version", func(o credential.Owner) (wire.OverlayDraft, error) {
		return s.Server.overlays.Version(ctx, o, name, version)
	})
}

func (s overlays) RemoveOverlay(ctx context.Context, who httpapi.Caller, name string) error {
	_, err := s.change(ctx, who, audit.OverlayRemoved, name, func(o credential.Owner) (wire.StoredOverlay, error) {
		return wire.StoredOverlay{}, s.Server.overlays.Remove(ctx, o, name)
	})
	return err
}

func (s overlays) OverlayTemplates(ctx context.Context, who httpapi.Caller, id wire.SessionID) ([]wire.OverlayTemplate, error) {
	return forSender(s, ctx, who, "templates", func(by overlay.Sender) ([]wire.OverlayTemplate, error) {
		return s.Server.overlays.Templates(ctx, by, id)
	})
}

func (s overlays) PreviewOverlay(ctx context.Context, who httpapi.Caller, id wire.SessionID, f wire.OverlayFill) (wire.OverlayFilled, error) {
	if err := s.limits.fetch(who); err != nil {
		return wire.OverlayFilled{}, err
	}
	return forSender(s, ctx, who, "preview an overlay", func(by overlay.Sender) (wire.OverlayFilled, error) { return s.Server.overlays.Preview(ctx, by, id, f) })
}

func (s overlays) SendOverlay(ctx context.Context, who httpapi.Caller, id wire.SessionID, q wire.OverlaySend) (wire.OverlaySent, error) {
	if err := s.limits.fetch(who); err != nil {
		return wire.OverlaySent{}, err
	}
	return forSender(s, ctx, who, "send an overlay", func(by overlay.Sender) (wire.OverlaySent, error) { return s.Server.overlays.Send(ctx, by, id, q) })
}

func (s overlays) OverlayShown(ctx context.Context, who httpapi.Caller, id wire.SessionID, seq uint64, w wire.OverlayShow) error {
	return problem(s.log, "overlay shown", s.Server.overlays.Shown(ctx, who.Tenant, id, who.Device, seq, w))
}

func (s overlays) OverlayAnswered(ctx context.Context, who httpapi.Caller, id wire.SessionID, seq uint64, a wire.OverlayAnswer) error {
	return problem(s.log, "overlay answered", s.Server.overlays.Answered(ctx, who.Tenant, id, who.Device, seq, a))
}

func (s overlays) OverlayPicture(ctx context.Context, who httpapi.Caller, id wire.SessionID, seq uint64, region string) (string, []byte, error) {
	if err := s.limits.fetch(who); err != nil {
		return "", nil, err
	}
	address, err := s.Server.overlays.Picture(ctx, who.Tenant, id, who.Device, seq, region)
	if err != nil {
		return "", nil, problem(s.log, "overlay's picture", err)
	}
	return s.pictureAt(ctx, address)
}

func (s overlays) OverlayDraftPicture(ctx context.Context, who httpapi.Caller, name, region string) (string, []byte, error) {
	address, err := forOwner(s, ctx, who, "overlay's picture", func(o credential.Owner) (string, error) {
		return s.Server.overlays.DraftPicture(ctx, o, name, region)
	})
	if err != nil {
		return "", nil, err
	}
	return s.pictureAt(ctx, address)
}

// pictureAt fetches a picture from a provider's server, and takes out what cameras wrote into it.
func (s overlays) pictureAt(ctx context.Context, address string) (string, []byte, error) {
	res, err := s.toProviders.Fetch(ctx, fetch.Request{
		URL: address, HTTPS: true, MaxBytes: maxOverlayPicture, Types: []string{"image/*"}, Header: http.Header{"Accept": {"image/*"}},
	})
	if err != nil {
		s.log.Info("a picture of an overlay could not be fetched", "err", err)
		return "", nil, wire.NewProblem(wire.CodeConflict, "the picture's server did not give a picture of at most %d bytes", maxOverlayPicture)
	}
	data, kind, err := cleanPicture(res.Body)
	return kind, data, problem(s.log, "overlay's picture", err)
}
