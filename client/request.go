package client

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tandem-call/tandem/wire"
)

// request waits for its answer, over as many connections as it takes.
type request struct {
	frame  []byte
	first  []byte             // instead of frame, until it was sent once; nil: it was, or may have been
	answer chan wire.Envelope // of one; closed when Run has ended
}

// Request makes a request and waits for its answer, over as many connections as it
// takes; what the server refuses is a *wire.Problem. An answer that leaves the outcome
// open makes it repeat the request, which is harmless. An empty e.ID is filled in.
//
// When ctx ends first the outcome is not known: repeat it with the same e.ID, which is
// returned. It waits while there is no connection, also before Run; after Run it fails
// with ErrClosed.
func (d *Device) Request(ctx context.Context, e wire.Envelope, body any) (wire.Envelope, error) {
	made := e.ID == ""
	if made {
		e.ID = wire.RequestID(wire.NewID("q"))
	}
	frame, err := encode(e, body)
	if err != nil {
		return e, err
	}
	var first []byte
	if made && e.Type == wire.TypeSend {
		fresh := e
		fresh.Fresh = true
		if first, err = encode(fresh, body); err != nil {
			return e, err
		}
	}
	// Strictly, as the server will: a frame that it cannot read has no answer.
	if _, err := wire.Decode(frame); err != nil {
		return e, fmt.Errorf("client: %s: %w", e.Type, err)
	}
	for attempt := 0; ; attempt++ {
		a, err := d.ask(ctx, e, &request{frame: frame, first: first, answer: make(chan wire.Envelope, 1)})
		first = nil
		if !isCode(err, wire.CodeUncertain, wire.CodeDraining) {
			return a, err
		}
		if !pause(ctx, backoff(attempt, err)) {
			return e, fmt.Errorf("client: %s %s: %w: %w", e.Type, e.ID, context.Cause(ctx), err)
		}
	}
}

// ask makes the request and waits for one answer.
func (d *Device) ask(ctx context.Context, e wire.Envelope, r *request) (wire.Envelope, error) {
	d.mu.Lock()
	switch {
	case d.closed:
		d.mu.Unlock()
		return e, ErrClosed
	case d.requests[e.ID] != nil:
		d.mu.Unlock()
		return e, fmt.Errorf("%w: %s", ErrPending, e.ID)
	}
	d.requests[e.ID] = r
	d.order = append(d.order, e.ID)
	d.sent(e, 0)
	if d.out != nil {
		d.out.push(r.next())
	}
	d.mu.Unlock()
	select {
	case a, ok := <-r.answer:
		if !ok {
			return e, ErrClosed
		}
		if a.Type == wire.TypeError {
			return a, problemOf(a)
		}
		d.mu.Lock()
		d.sent(e, a.Seq)
		d.mu.Unlock()
		return a, nil
	case <-ctx.Done():
		d.mu.Lock()
		d.drop(e.ID)
		d.mu.Unlock()
		return e, fmt.Errorf("client: %s %s: %w", e.Type, e.ID, context.Cause(ctx))
	}
}

// next returns the frame to be sent now.
func (r *request) next() []byte {
	frame := r.frame
	if r.first != nil {
		frame, r.first = r.first, nil
	}
	return frame
}

// sent notes a message of our own, which is not to come back to us. d.mu is held.
func (d *Device) sent(e wire.Envelope, seq uint64) {
	if v := d.sessions[e.Session]; v != nil && e.Type == wire.TypeSend {
		v.own[e.ID] = seq
	}
}

// drop forgets a request and returns it, if there was one. d.mu is held.
func (d *Device) drop(id wire.RequestID) *request {
	r := d.requests[id]
	if r != nil {
		delete(d.requests, id)
		d.order = slices.DeleteFunc(d.order, func(o wire.RequestID) bool { return o == id })
	}
	return r
}

// encode returns the frame of e with the body.
func encode(e wire.Envelope, body any) ([]byte, error) {
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("client: body: %w", err)
		}
		e.Body = b
	}
	frame, err := e.Encode()
	if err != nil {
		return nil, fmt.Errorf("client: %s: %w", e.Type, err)
	}
	return frame, nil
}

// Report reports a call. The answer names the session, once there is one.
func (d *Device) Report(ctx context.Context, r wire.Report) (wire.Ack, error) {
	var ack wire.Ack
	a, err := d.Request(ctx, wire.Envelope{Type: wire.TypeReport}, r)
	if err != nil {
		return ack, err
	}
	if len(a.Body) > 0 {
		if err := json.Unmarshal(a.Body, &ack); err != nil {
			return ack, fmt.Errorf("%w: ack: %w", ErrProtocol, err)
		}
	}
	return ack, nil
}

// Send sends a message to the members named, or to all others. It returns the
// message's sequence when the server has stored it. To be able to repeat it after ctx
// has ended, use Request with an id of your own.
func (d *Device) Send(ctx context.Context, session wire.SessionID, kind string, body any, to ...wire.MemberID) (uint64, error) {
	a, err := d.Request(ctx, wire.Envelope{Type: wire.TypeSend, Session: session, Kind: kind, To: to}, body)
	return a.Seq, err
}

// SendFile sends the file at path into a session, to the members named, or to all
// others. It returns when the server has stored all of it and told the members.
// progress may be nil. API().Upload has more to choose.
func (d *Device) SendFile(ctx context.Context, session wire.SessionID, path string, progress func(sent, size int64), to ...wire.MemberID) error {
	return d.api.SendFile(ctx, session, path, progress, to...)
}

// Signal sends what need not arrive: typing, a position. It is not stored and not
// acknowledged, and is dropped while there is no connection, or a slow one.
func (d *Device) Signal(session wire.SessionID, kind string, body any, to ...wire.MemberID) error {
	e := wire.Envelope{Type: wire.TypeSignal, Session: session, Kind: kind, To: to}
	frame, err := encode(e, body)
	if err != nil {
		return err
	}
	if _, err := wire.Decode(frame); err != nil {
		return fmt.Errorf("client: signal: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.out != nil {
		d.out.signal(frame)
	}
	return nil
}

// Answer accepts or declines an invitation.
func (d *Device) Answer(ctx context.Context, id wire.InvitationID, accept bool) error {
	_, err := d.Request(ctx, wire.Envelope{Type: wire.TypeAnswer}, wire.Answer{Invitation: id, Accept: accept})
	return err
}

// Confirm types the words heard in the call.
func (d *Device) Confirm(ctx context.Context, id wire.InvitationID, words string) error {
	_, err := d.Request(ctx, wire.Envelope{Type: wire.TypeConfirm}, wire.Confirm{Invitation: id, Words: words})
	return err
}

// Extend keeps a session open longer after the call.
func (d *Device) Extend(ctx context.Context, session wire.SessionID, seconds int) error {
	_, err := d.Request(ctx, wire.Envelope{Type: wire.TypeExtend, Session: session}, wire.Extend{Seconds: seconds})
	return err
}

// Leave takes the device's party out of a session.
func (d *Device) Leave(ctx context.Context, session wire.SessionID, l wire.Leave) error {
	_, err := d.Request(ctx, wire.Envelope{Type: wire.TypeLeave, Session: session}, l)
	return err
}
