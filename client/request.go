package client

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tandem-call/tandem/wire"
)

// Report reports a call. The answer names the session, once there is one.
func (d *Device) Report(ctx context.Context, r wire.Report) (wire.Ack, error) {
	var ack wire.Ack
	a, err := d.Request(ctx, wire.Envelope{Type: wire.TypeReport}, r)
	if err != nil {
		return ack, err
	}
	if len(a.Body) > 0 {
		err = json.Unmarshal(a.Body, &ack)
	}
	if err != nil {
		return ack, fmt.Errorf("client: ack: %w", err)
	}
	return ack, nil
}

// Send sends a message to the members named, or to all others. It returns the
// message's sequence when the server has stored it.
func (d *Device) Send(ctx context.Context, session wire.SessionID, kind string, body any, to ...wire.MemberID) (uint64, error) {
	a, err := d.Request(ctx, wire.Envelope{Type: wire.TypeSend, Session: session, Kind: kind, To: to}, body)
	return a.Seq, err
}

// Signal sends what need not arrive: typing, a position. It is not stored and not
// acknowledged, and is dropped while there is no connection.
func (d *Device) Signal(ctx context.Context, session wire.SessionID, kind string, body any, to ...wire.MemberID) error {
	frame, err := encode(wire.Envelope{Type: wire.TypeSignal, Session: session, Kind: kind, To: to}, body)
	if err != nil {
		return err
	}
	d.mu.Lock()
	l := d.link
	d.mu.Unlock()
	if l == nil {
		return nil
	}
	return l.Write(ctx, frame)
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
