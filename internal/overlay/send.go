package overlay

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/tandem-call/tandem/internal/credential"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/wire"
)

// Sender is who sends an overlay into a session: a device that is in it, or whoever manages
// the overlays of a side's numbers.
type Sender struct {
	Tenant wire.TenantID
	Device wire.DeviceID
	// Owner counts where there is no Device.
	Owner credential.Owner
}

// at finds the sender's side of a session, and the device through which it speaks: any of the
// side's, where the sender is none. ErrClosed.
func (s *Service) at(ctx context.Context, by Sender, id wire.SessionID, numbers []string) (Session, int, wire.DeviceID, error) {
	x, err := s.cfg.Sessions.Session(ctx, by.Tenant, id)
	if err != nil {
		return x, 0, "", err
	}
	if by.Device != "" {
		i, err := x.Of(by.Device)
		return x, i, by.Device, err
	}
	if !by.Owner.All {
		numbers = by.Owner.Ranges
	}
	i, err := x.provider(numbers)
	if err != nil {
		return x, 0, "", err
	}
	return x, i, x.Sides[i].Members[0].Device, nil
}

// Templates lists what the sender's side may send into a session.
func (s *Service) Templates(ctx context.Context, by Sender, id wire.SessionID) ([]wire.OverlayTemplate, error) {
	x, err := s.cfg.Sessions.Session(ctx, by.Tenant, id)
	if err != nil {
		return nil, err
	}
	var sides []Side
	if by.Device != "" {
		i, err := x.Of(by.Device)
		if err != nil {
			return nil, err
		}
		sides = x.Sides[i : i+1]
	} else if sides = x.Sides; !by.Owner.All {
		i, err := x.provider(by.Owner.Ranges)
		if err != nil {
			return nil, err
		}
		sides = x.Sides[i : i+1]
	}
	all := []wire.OverlayTemplate{}
	for item, err := range s.stored.Scan(ctx, store.Key(string(by.Tenant))+"/") {
		if err != nil {
			return nil, fmt.Errorf("overlay: templates: %w", err)
		}
		o := item.Value
		if o.Live == 0 || !slices.ContainsFunc(sides, func(side Side) bool { return side.is(o.LiveNumbers) }) {
			continue
		}
		o, e, err := s.edition(ctx, by.Tenant, o.Name)
		if err != nil {
			continue // gone since
		}
		all = append(all, templateOf(o, e))
	}
	return all, nil
}

// filled fills a template for a session. The numbers of the template must be the side's.
func (s *Service) filled(ctx context.Context, by Sender, id wire.SessionID, template string, given Values) (x Session, side int, from wire.DeviceID, o overlay.Overlay, err error) {
	stored, e, err := s.edition(ctx, by.Tenant, template)
	if err != nil {
		return x, 0, "", o, err
	}
	if x, side, from, err = s.at(ctx, by, id, e.Numbers); err != nil {
		return x, 0, "", o, err
	}
	if !x.Sides[side].is(e.Numbers) || by.Device == "" && !by.Owner.Has(e.Numbers) {
		return x, 0, "", o, fmt.Errorf("%w: no template %s is live", ErrNotFound, clean(template))
	}
	for _, p := range e.Parameters {
		agents := p.From == "" || p.From == wire.FromAgent
		if _, ok := given[p.ID]; ok && !agents && (p.From == wire.FromCustomer || by.Device != "") {
			return x, 0, "", o, fmt.Errorf("%w: the value of %s is not the sender's to give", ErrRequest, p.ID)
		}
	}
	values, err := s.customers(ctx, by.Tenant, x, from, e.Parameters)
	if err != nil {
		return x, 0, "", o, err
	}
	maps.Copy(values, given)
	q, err := s.question(ctx, by.Tenant, x, side)
	if err != nil {
		return x, 0, "", o, err
	}
	o, err = s.source(ctx, stored, e, q, values)
	return x, side, from, o, err
}

// question says of a session what a provider's server is told.
func (s *Service) question(ctx context.Context, tenant wire.TenantID, x Session, side int) (wire.OverlayQuestion, error) {
	number := x.Sides[side].Shown
	if number.IsZero() {
		number = x.Sides[side].Principal
	}
	queue, err := s.cfg.Calls.Queue(ctx, tenant, x.ID, x.Sides[side].Principal)
	if err != nil {
		return wire.OverlayQuestion{}, fmt.Errorf("overlay: queue: %w", err)
	}
	q := wire.OverlayQuestion{Session: x.ID, Number: number, Queue: queue}
	for i, other := range x.Sides {
		for _, m := range other.Members {
			if i == side || q.Language != "" {
				continue
			}
			if q.Language, err = s.cfg.Devices.Language(ctx, tenant, m.Device); err != nil {
				return q, fmt.Errorf("overlay: language: %w", err)
			}
		}
	}
	return q, nil
}

// Preview fills a template as it would be sent. ErrClosed, ErrNotFound, ErrRequest,
// ErrSource, overlay.ErrInvalid.
func (s *Service) Preview(ctx context.Context, by Sender, id wire.SessionID, f wire.OverlayFill) (wire.OverlayFilled, error) {
	_, _, _, o, err := s.filled(ctx, by, id, f.Template, f.Values)
	if err != nil {
		return wire.OverlayFilled{}, err
	}
	document, err := encode(o)
	return wire.OverlayFilled{Document: document}, err
}

// Send sends an overlay into a session (I3): a template that is filled, or a whole document of a
// device's, or of a provider's own. The same errors as of Preview.
func (s *Service) Send(ctx context.Context, by Sender, id wire.SessionID, q wire.OverlaySend) (wire.OverlaySent, error) {
	var o overlay.Overlay
	var x Session
	var side int
	var from wire.DeviceID
	var err error
	switch {
	case (q.Template == "") == (len(q.Document) == 0):
		return wire.OverlaySent{}, fmt.Errorf("%w: give template or document", ErrRequest)
	case q.Template != "":
		x, side, from, o, err = s.filled(ctx, by, id, q.Template, q.Values)
	case len(q.Values) > 0:
		return wire.OverlaySent{}, fmt.Errorf("%w: values go with a template", ErrRequest)
	case by.Device == "" && by.Owner.All:
		return wire.OverlaySent{}, fmt.Errorf("%w: an operator sends templates, whose numbers say which side it is", ErrRequest)
	default:
		if x, side, from, err = s.at(ctx, by, id, nil); err == nil {
			o, err = overlay.Decode(q.Document)
		}
	}
	if err != nil {
		return wire.OverlaySent{}, err
	}
	to := q.To
	if len(to) > 0 {
		to = x.Sides[side].toAlso(to, from)
	}
	sent, err := s.cfg.Sessions.Send(ctx, by.Tenant, id, from, to, q.ID, overlay.Kind, o)
	return wire.OverlaySent{Sent: sent, Overlay: o.ID}, err
}

// Shown takes a device's word that it shows an overlay of somebody else's, and hands it to the
// side that sent it (I4). ErrClosed, ErrNotFound.
func (s *Service) Shown(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID, seq uint64, w wire.OverlayShow) error {
	o, to, err := s.received(ctx, tenant, id, d, seq)
	if err != nil {
		return err
	}
	if (w.State == wire.OverlayShowFailed) != (w.Reason != "") {
		return fmt.Errorf("%w: failed has a reason, shown has none", ErrRequest)
	}
	request := wire.RequestID(fmt.Sprintf("shown-%d", seq))
	body := wire.OverlayShown{Seq: seq, Overlay: o.ID, State: w.State, Reason: w.Reason}
	_, err = s.cfg.Sessions.Send(ctx, tenant, id, d, to, request, wire.KindOverlayShown, body)
	return err
}

// Answered takes a device's word of what came of an action, checks it against the overlay, and
// hands it to the side that sent it (I6). ErrClosed, ErrNotFound, overlay.ErrInvalid.
func (s *Service) Answered(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID, seq uint64, a wire.OverlayAnswer) error {
	o, to, err := s.received(ctx, tenant, id, d, seq)
	if err != nil {
		return err
	}
	if err := o.Accept(a.Answer); err != nil {
		return err
	}
	_, err = s.cfg.Sessions.Send(ctx, tenant, id, d, to, a.ID, wire.KindOverlayResult, wire.OverlayResult{Seq: seq, Overlay: o.ID, Answer: a.Answer})
	return err
}

// Picture returns the address of a region's picture in an overlay that a device sent or got.
// ErrClosed, ErrNotFound.
func (s *Service) Picture(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID, seq uint64, region string) (string, error) {
	e, err := s.message(ctx, tenant, id, d, seq)
	if err != nil {
		return "", err
	}
	o, err := decode(e)
	if err != nil {
		return "", err
	}
	return pictureOf(o, region)
}

var errNoPicture = fmt.Errorf("%w: no region of that name has a picture", ErrNotFound)

func pictureOf(o overlay.Overlay, region string) (string, error) {
	for _, r := range o.Regions {
		if r.ID == region && r.Picture != nil {
			return r.Picture.URL, nil
		}
	}
	return "", errNoPicture
}

// received returns an overlay that somebody of another side sent to a device, and the members
// of that side.
func (s *Service) received(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID, seq uint64) (overlay.Overlay, []wire.MemberID, error) {
	r, err := s.Received(ctx, tenant, id, d, seq)
	if err != nil {
		return r.Overlay, nil, err
	}
	var to []wire.MemberID
	for _, m := range r.Session.Sides[r.From].Members {
		to = append(to, m.ID)
	}
	return r.Overlay, to, nil
}

// Receipt is an overlay that somebody of another side sent to a device.
type Receipt struct {
	Overlay overlay.Overlay
	Session Session
	// From and Own are the places of the sender's side and of the device's among the session's.
	From, Own int
}

// Received returns what a device received with a message. ErrClosed, ErrNotFound.
func (s *Service) Received(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID, seq uint64) (r Receipt, err error) {
	e, err := s.message(ctx, tenant, id, d, seq)
	if err != nil {
		return r, err
	}
	if r.Overlay, err = decode(e); err != nil {
		return r, err
	}
	if r.Session, err = s.cfg.Sessions.Session(ctx, tenant, id); err != nil {
		return r, err
	}
	if r.Own, err = r.Session.Of(d); err != nil {
		return r, err
	}
	for i, side := range r.Session.Sides {
		if i != r.Own && len(side.Members) > 0 && side.had(e.From) {
			r.From = i
			return r, nil
		}
	}
	return r, fmt.Errorf("%w: the side that sent it has left, or is the device's own", ErrNotFound)
}

// decode reads the overlay of a message, which was checked when it was sent.
func decode(e wire.Envelope) (overlay.Overlay, error) {
	var o overlay.Overlay
	if err := json.Unmarshal(e.Body, &o); err != nil {
		return o, fmt.Errorf("overlay: message %d: %w", e.Seq, err)
	}
	return o, nil
}
