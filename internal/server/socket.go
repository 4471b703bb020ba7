package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/tandem-call/tandem/internal/audit"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/edge/transport/wsconn"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// socket serves wsconn.Backend: it lets devices in and hands their requests on.
type socket struct{ *Server }

func (s socket) Challenge() string { return s.auth.ConnectionNonce() }

func (s socket) Hello(ctx context.Context, nonce string, h wire.Hello, from wsconn.Client) (wsconn.Identity, error) {
	ctx = s.atHost(ctx, from.Host)
	d, err := s.auth.VerifyConnection(ctx, home(ctx), nonce, h.Assertion)
	if err != nil {
		s.log.Debug("a device was not let in", "remote", from.Addr, "err", err)
		return wsconn.Identity{}, s.refused(stranger(ctx), audit.Record{What: audit.LoginRefused, Details: map[string]string{"by": "device"}}, err)
	}
	seen, cancel := context.WithTimeout(ctx, time.Second) // the device does not wait for a store that cannot be written to
	defer cancel()
	if err := s.devices.Seen(seen, d); err != nil {
		s.log.Warn("when a device was last seen could not be noted", "device", d.ID, "err", err)
	}
	return wsconn.Identity{Tenant: d.Tenant, Device: d.ID}, nil
}

func (s socket) Bearer(ctx context.Context, token string) (wsconn.Identity, error) {
	who, err := auth(s).Bearer(ctx, token)
	if err != nil {
		return wsconn.Identity{}, err
	}
	if who.Role != httpapi.RoleDevice {
		return wsconn.Identity{}, wire.NewProblem(wire.CodeForbidden, "this is for devices; these credentials are of the role %s", who.Role)
	}
	return wsconn.Identity{Tenant: who.Tenant, Device: who.Device}, nil
}

func (s socket) Attach(ctx context.Context, who wsconn.Identity, out wsconn.Outbox) (wire.Welcome, func(), error) {
	open, detach, err := s.sessions.Attach(ctx, who.Tenant, who.Device, out)
	if err != nil {
		return wire.Welcome{}, nil, problem(s.log, "attach", err)
	}
	s.wakes.Came(ctx, who.Tenant, who.Device)
	s.reminding.Go(func() { s.remind(ctx, who, open) }) // what it reads must not keep the device waiting
	return wire.Welcome{Device: who.Device, Time: time.Now(), Sessions: open}, func() {
		detach()
		if !s.sockets.Connected(who.Tenant, who.Device) {
			s.onScreen.left(who)
			s.wakes.Left(who.Tenant, who.Device)
		}
	}, nil
}

// remind tells a device that has come what it is asked, and which sessions it may join; open are those that it is in.
func (s socket) remind(ctx context.Context, who wsconn.Identity, open []wire.SessionState) {
	defer func() { // as in a request, a bug ends nothing else
		if v := recover(); v != nil {
			s.log.Error("a device was not reminded of what it is asked", "device", who.Device, "err", fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
		}
	}()
	var in []wire.SessionID
	for _, st := range open {
		in = append(in, st.ID)
	}
	s.wakes.Served(ctx, who.Tenant, who.Device, in)
	own, err := calls(s).own(ctx, httpapi.Caller{Tenant: who.Tenant, Device: who.Device})
	if err != nil {
		return // it has no number just now
	}
	if err := s.matcher.Remind(ctx, who.Tenant, who.Device, own); err != nil && ctx.Err() == nil {
		s.log.Warn("a device was not reminded of what it is asked", "device", who.Device, "err", err)
	}
	if err := s.tellAvailable(ctx, who.Tenant, who.Device, own); err != nil && ctx.Err() == nil {
		s.log.Warn("a device was not told of sessions that it may join", "device", who.Device, "err", err)
	}
}

// handlers of requests, by type. A handler's answer is an ack with the body returned,
// or the error; those that answer by themselves are in Handle.
var handlers = map[wire.Type]func(s socket, ctx context.Context, who httpapi.Caller, e wire.Envelope) (any, error){
	wire.TypeReport: with(func(s socket, ctx context.Context, who httpapi.Caller, _ wire.SessionID, r wire.Report) (any, error) {
		return calls(s).Report(ctx, who, r)
	}),
	wire.TypeAsk: with(func(s socket, ctx context.Context, who httpapi.Caller, _ wire.SessionID, a wire.Ask) (any, error) {
		return calls(s).Ask(ctx, who, a)
	}),
	wire.TypeAnswer: with(func(s socket, ctx context.Context, who httpapi.Caller, _ wire.SessionID, a wire.Answer) (any, error) {
		return nil, calls(s).Answer(ctx, who, a)
	}),
	wire.TypeConfirm: with(func(s socket, ctx context.Context, who httpapi.Caller, _ wire.SessionID, c wire.Confirm) (any, error) {
		return nil, calls(s).Confirm(ctx, who, c)
	}),
	wire.TypeExtend: with(func(s socket, ctx context.Context, who httpapi.Caller, id wire.SessionID, x wire.Extend) (any, error) {
		_, err := sessions(s).Extend(ctx, who, id, x)
		return nil, err
	}),
	wire.TypeLeave: with(func(s socket, ctx context.Context, who httpapi.Caller, id wire.SessionID, l wire.Leave) (any, error) {
		return nil, sessions(s).Leave(ctx, who, id, l)
	}),
}

// with decodes the body that f wants.
func with[B any](f func(socket, context.Context, httpapi.Caller, wire.SessionID, B) (any, error)) func(socket, context.Context, httpapi.Caller, wire.Envelope) (any, error) {
	return func(s socket, ctx context.Context, who httpapi.Caller, e wire.Envelope) (any, error) {
		b, err := wire.DecodeBody[B](e)
		if err != nil {
			return nil, problem(s.log, string(e.Type), err)
		}
		return f(s, ctx, who, e.Session, b)
	}
}

// slowRequests bounds the time of a request that is not answered at once.
const slowRequests = 15 * time.Second

func (s socket) Handle(ctx context.Context, who wsconn.Identity, e wire.Envelope, out wsconn.Outbox) {
	switch e.Type {
	case wire.TypeSend, wire.TypeSignal:
		if e.Kind == wire.KindFile {
			push(out, failure(e, wire.NewProblem(wire.CodeBadRequest, "files are uploaded at /v1/files/; the server then sends the message")))
			return
		}
		s.relay(ctx, s.sessions.Send, who.Tenant, who.Device, out, e, func(a wire.Envelope) { push(out, a) })
		return
	case wire.TypeResume:
		if err := s.sessions.Resume(ctx, who.Tenant, who.Device, out, e); err != nil {
			push(out, failure(e, problem(s.log, "resume", err)))
		}
		return
	}
	handle, ok := handlers[e.Type]
	if !ok {
		push(out, failure(e, wire.NewProblem(wire.CodeBadFrame, "a device does not send %q", e.Type)))
		return
	}
	ctx, cancel := context.WithTimeout(ctx, slowRequests)
	defer cancel()
	body, err := handle(s, ctx, httpapi.Caller{Tenant: who.Tenant, Role: httpapi.RoleDevice, Device: who.Device}, e)
	if err != nil {
		push(out, failure(e, err))
		return
	}
	answer := wire.Envelope{Type: wire.TypeAck, ID: e.ID, Session: e.Session}
	if body != nil {
		if answer.Body, err = json.Marshal(body); err != nil {
			push(out, failure(e, problem(s.log, string(e.Type), err)))
			return
		}
	}
	push(out, answer)
}

// push sends an answer. Its body comes from json.Marshal, so it needs no look.
func push(out wsconn.Outbox, e wire.Envelope) {
	out.Push(e.AppendEncode(make([]byte, 0, 96+len(e.ID)+len(e.Session)+len(e.Body))))
}

func failure(e wire.Envelope, err error) wire.Envelope {
	body, _ := json.Marshal(err) // a problem can always be encoded
	return wire.Envelope{Type: wire.TypeError, ID: e.ID, Session: e.Session, Body: body}
}

// toldSubject carries what a device is to be told, to whichever node it is connected.
const toldSubject = "tell"

type told struct {
	Tenant wire.TenantID   `json:"tenant"`
	Device wire.DeviceID   `json:"device"`
	Frame  json.RawMessage `json:"frame"`
	// Once tells it from all else that the device is told, where it may be said again; empty: each counts.
	Once string `json:"once,omitempty"`
	// Screened is what it puts on the device's screen, or takes off it.
	Screened *screened `json:"screened,omitempty"`
}

// once names what a device is asked, which it may be told by several nodes, and again.
func once(body any) string {
	switch b := body.(type) {
	case *wire.Invite:
		return "invite/" + string(b.ID)
	case *wire.Words:
		return fmt.Sprintf("words/%s/%d", b.Invitation, b.TriesLeft)
	}
	return ""
}

// notifier tells devices what belongs to no session, and has those woken that are away.
type notifier struct{ *Server }

func (s notifier) Tell(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, t wire.Type, body any) error {
	frame, err := toldFrame(t, body)
	if err != nil {
		return err
	}
	data, err := json.Marshal(told{tenant, device, frame, once(body), screenedBy(body)})
	if err != nil {
		return fmt.Errorf("server: tell: %w", err)
	}
	return errors.Join(
		s.engine.Publish(ctx, store.Key(toldSubject, string(tenant), string(device)), data),
		s.wake(ctx, tenant, device, body),
	)
}

// again tells a device that is connected to this node what it is asked, unless it has been told.
func (s notifier) again(tenant wire.TenantID, device wire.DeviceID, t wire.Type, body any) {
	if !s.sockets.Connected(tenant, device) {
		return
	}
	if err := s.screen(wsconn.Identity{Tenant: tenant, Device: device}, t, body); err != nil {
		s.log.Error("a device was not told again", "device", device, "err", err)
	}
}

// tellHere tells a device what it is to be told, if it is connected to this node.
func (s *Server) tellHere(t told) {
	if t.Screened != nil && s.sockets.Connected(t.Tenant, t.Device) {
		s.onScreen.note(wsconn.Identity{Tenant: t.Tenant, Device: t.Device}, *t.Screened)
	}
	if t.Once != "" {
		s.sockets.TellOnce(t.Tenant, t.Device, t.Once, t.Frame)
		return
	}
	s.sockets.Tell(t.Tenant, t.Device, t.Frame)
}

func toldFrame(t wire.Type, body any) ([]byte, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("server: tell: %w", err)
	}
	frame, err := wire.Envelope{Type: t, Time: time.Now(), Body: b}.Encode()
	if err != nil {
		return nil, fmt.Errorf("server: tell: %w", err)
	}
	return frame, nil
}

// watchTold hands on what devices connected here are to be told.
func (s *Server) watchTold(ctx context.Context) (cancel func(), err error) {
	return s.engine.Subscribe(ctx, toldSubject+"/>", func(_ string, data []byte) {
		var t told
		if err := json.Unmarshal(data, &t); err != nil {
			s.log.Warn("another node said what cannot be read", "err", err)
			return
		}
		s.tellHere(t)
	})
}
