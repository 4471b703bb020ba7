package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/files"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// sessions serves httpapi.Sessions.
type sessions struct{ *Server }

func (s sessions) Sessions(ctx context.Context, who httpapi.Caller) ([]wire.SessionState, error) {
	l, err := s.Server.sessions.Sessions(store.Linearizable(ctx), who.Tenant, who.Device)
	if l == nil {
		l = []wire.SessionState{}
	}
	return l, problem(s.log, "list sessions", err)
}

func (s sessions) Session(ctx context.Context, who httpapi.Caller, id wire.SessionID) (wire.SessionState, error) {
	st, err := s.Server.sessions.Get(store.Linearizable(ctx), who.Tenant, who.Device, id)
	return st, problem(s.log, "session", err)
}

func (s sessions) Messages(ctx context.Context, who httpapi.Caller, id wire.SessionID, after uint64, limit int) (wire.MessageList, error) {
	l, err := s.Server.sessions.Messages(store.Linearizable(ctx), who.Tenant, who.Device, id, after, limit)
	if l.Messages == nil {
		l.Messages = []wire.Envelope{}
	}
	return l, problem(s.log, "messages", err)
}

func (s sessions) Send(ctx context.Context, who httpapi.Caller, id wire.SessionID, r wire.SendRequest) (wire.Sent, error) {
	if r.Kind == wire.KindFile {
		return wire.Sent{}, wire.NewProblem(wire.CodeBadRequest, "files are uploaded at /v1/files/; the server then sends the message")
	}
	return s.send(ctx, who.Tenant, who.Device, wire.Envelope{Type: wire.TypeSend, ID: r.ID, Session: id, Kind: r.Kind, To: r.To, Body: r.Body})
}

// send relays a message in a device's name and waits until it is stored.
func (s *Server) send(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, e wire.Envelope) (wire.Sent, error) {
	return s.sent(ctx, s.sessions.Send, tenant, device, e)
}

// sendOwn does so with a kind of the server's own.
func (s *Server) sendOwn(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, e wire.Envelope) (wire.Sent, error) {
	return s.sent(ctx, s.sessions.SendOwn, tenant, device, e)
}

type sender func(context.Context, wire.TenantID, wire.DeviceID, session.Outbox, wire.Envelope, func(wire.Envelope))

func (s *Server) sent(ctx context.Context, send sender, tenant wire.TenantID, device wire.DeviceID, e wire.Envelope) (wire.Sent, error) {
	answers := make(chan wire.Envelope, 1)
	s.relay(ctx, send, tenant, device, nil, e, func(a wire.Envelope) { answers <- a })
	select {
	case a := <-answers:
		if a.Type == wire.TypeError {
			var p wire.Problem
			if err := json.Unmarshal(a.Body, &p); err != nil {
				return wire.Sent{}, fmt.Errorf("server: answer of the session: %w", err)
			}
			return wire.Sent{}, &p
		}
		return wire.Sent{ID: e.ID, Seq: a.Seq, Epoch: a.Epoch}, nil
	case <-ctx.Done():
		return wire.Sent{}, wire.NewProblem(wire.CodeUncertain, "the message may or may not be stored")
	}
}

func (s sessions) Extend(ctx context.Context, who httpapi.Caller, id wire.SessionID, e wire.Extend) (wire.SessionState, error) {
	st, err := s.Server.sessions.Extend(ctx, who.Tenant, who.Device, id, e)
	return st, problem(s.log, "extend session", err)
}

func (s sessions) Leave(ctx context.Context, who httpapi.Caller, id wire.SessionID, l wire.Leave) error {
	return problem(s.log, "leave session", s.Server.sessions.Leave(ctx, who.Tenant, who.Device, id, l))
}

// access tells the files who is in a session.
type access struct{ *Server }

func (a access) MayUpload(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, id wire.SessionID, to []wire.MemberID) error {
	st, err := a.sessions.Get(ctx, tenant, device, id)
	if err != nil {
		return fileError(err)
	}
	if st.Phase == wire.Closed {
		return files.ErrClosed
	}
	present := map[wire.MemberID]bool{}
	for _, m := range st.Members {
		present[m.ID] = !m.Left
	}
	if !present[st.You] {
		return files.ErrNotMember
	}
	for _, m := range to {
		if !present[m] {
			return files.ErrNotMember
		}
	}
	_, err = a.worthy(ctx, tenant, id, device, "file", to)
	return err
}

func (a access) Member(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, id wire.SessionID) (wire.MemberID, error) {
	st, err := a.sessions.Get(ctx, tenant, device, id)
	if err != nil {
		return "", fileError(err)
	}
	// Of the call there may be nothing left; it was shown well enough when the file was offered.
	if enough, err := a.deviceShown(ctx, tenant, device, a.demands["file"]); err != nil || !enough {
		return "", cmp.Or(err, files.ErrNotMember)
	}
	return st.You, nil
}

func (a access) Kept(ctx context.Context, tenant wire.TenantID, id wire.SessionID) (bool, error) {
	_, err := a.sessions.Record(ctx, tenant, id)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// fileError says in the files' words what the session said.
func fileError(err error) error {
	var p *wire.Problem
	switch {
	case err == nil:
		return nil
	case errors.As(err, &p) && (p.Code == wire.CodeNotMember || p.Code == wire.CodeNotFound || p.Code == wire.CodeForbidden):
		return files.ErrNotMember
	case errors.As(err, &p) && p.Code == wire.CodeSessionClosed:
		return files.ErrClosed
	}
	return err
}

// offerFile tells the session that a file is stored.
func (s *Server) offerFile(ctx context.Context, tenant wire.TenantID, id wire.SessionID, device wire.DeviceID, to []wire.MemberID, request wire.RequestID, f wire.File) error {
	body, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("server: offer file: %w", err)
	}
	_, err = s.send(ctx, tenant, device, wire.Envelope{Type: wire.TypeSend, ID: request, Session: id, To: to, Kind: wire.KindFile, Body: body})
	return fileError(err)
}

// fileProgress lets the members see how far an upload is.
func (s *Server) fileProgress(p files.Progress) {
	body, err := json.Marshal(wire.FileProgress{ID: p.ID, Name: p.Name, Offset: p.Offset, Size: p.Size, Gone: p.Gone})
	if err != nil {
		return // names and numbers can always be encoded
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s.relay(ctx, s.sessions.Send, p.Tenant, p.Device, nil, wire.Envelope{Type: wire.TypeSignal, Session: p.Session, To: p.To, Kind: wire.KindFileProgress, Body: body}, func(wire.Envelope) {})
}
