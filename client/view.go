package client

import (
	"encoding/json"
	"slices"

	"github.com/tandem-call/tandem/wire"
)

// view is what the device knows of one session. It puts the messages in order: what was
// missed comes before what comes live, each once.
//
// On every new connection the session is resumed at the view's position. Until the
// server's resumed, messages that are known to be missed ones are handed on as they come,
// so that a long history makes progress over any number of connections; live ones are
// held. Where the epoch has changed, messages may have been taken back (a rewind), which
// only resumed tells: then all are held.
//
// A view does no I/O and has no lock: Device.mu guards it.
type view struct {
	id    wire.SessionID
	state wire.SessionState // its ID is empty until told
	at    Position
	// closed: the session is over; the view goes when nothing is outstanding.
	closed bool
	// own are the requests with which this Device has sent messages, with their sequence
	// once it is known.
	own map[wire.RequestID]uint64

	// of the connection
	asked wire.RequestID // of the resume under way
	live  bool           // resumed: messages come in order
	upTo  uint64         // messages up to this one, as they come, are missed ones in order
	held  []wire.Envelope
}

func newView(id wire.SessionID) *view {
	return &view{id: id, own: map[wire.RequestID]uint64{}}
}

// begin makes ready for a new connection. inOrder is the state that its welcome gave, nil
// if it gave none.
func (v *view) begin(inOrder *wire.SessionState) {
	v.asked, v.live, v.upTo, v.held = "", false, 0, nil
	if inOrder == nil {
		return
	}
	v.state = *inOrder
	if v.at.Seq == 0 || v.at.Epoch == inOrder.Epoch {
		v.upTo = inOrder.Head
	}
}

// resume begins to resume and returns the request for it.
func (v *view) resume() wire.Envelope {
	v.asked, v.live = wire.RequestID(wire.NewID("r")), false
	body, err := json.Marshal(wire.Resume{Epoch: v.at.Epoch, Seq: v.at.Seq})
	if err != nil {
		panic(err) // two numbers can always be encoded
	}
	return wire.Envelope{Type: wire.TypeResume, ID: v.asked, Session: v.id, Body: body}
}

// message takes a message that came, and returns it if it is to be handed on now.
// again: the log has been replaced under us, and the session must be resumed.
func (v *view) message(e wire.Envelope) (now []wire.Envelope, again bool) {
	switch {
	case !v.live && e.Seq > v.upTo:
		v.held = append(v.held, e)
		return nil, false
	case v.live && e.Epoch > v.at.Epoch && e.Seq <= v.at.Seq:
		v.held, v.upTo = append(v.held, e), 0
		return nil, true
	}
	return v.order([]wire.Envelope{e}), false
}

// resumed ends the holding. rewound: the position went back. again: the session must be
// resumed once more.
func (v *view) resumed(r wire.Resumed) (now []wire.Envelope, rewound, again bool) {
	if r.RewindTo != nil && *r.RewindTo < v.at.Seq {
		rewound = true
		if v.at.Seq = *r.RewindTo; v.at.Seq == 0 {
			v.at.Epoch = 0 // the epoch is not known any more
		}
		if v.upTo > 0 { // some were handed on, or left out, by the old position
			v.upTo, v.held = 0, nil
			return nil, true, true
		}
	}
	slices.SortStableFunc(v.held, func(a, b wire.Envelope) int {
		switch {
		case a.Seq < b.Seq:
			return -1
		case a.Seq > b.Seq:
			return 1
		}
		return 0
	})
	now = v.order(v.held)
	v.asked, v.live, v.held = "", true, nil
	return now, rewound, false
}

// order leaves those that have not been handed on before. Within a connection the
// sequence alone says so: the server gives older epochs their old sequences.
func (v *view) order(l []wire.Envelope) (now []wire.Envelope) {
	last := v.at.Seq
	for _, e := range l {
		if e.Seq > last {
			now = append(now, e)
			last = e.Seq
		}
	}
	return now
}

// handed notes that a message has been handed on.
func (v *view) handed(e wire.Envelope) { v.at = Position{e.Epoch, e.Seq} }

// caughtUp notes that everything up to the head was seen. A head in an epoch from which
// nothing was seen is not noted: nothing need be stored in it yet.
func (v *view) caughtUp(r wire.Resumed) {
	if r.Epoch == v.at.Epoch {
		v.at.Seq = max(v.at.Seq, r.Head)
	}
	for id, seq := range v.own {
		if seq != 0 && seq <= v.at.Seq {
			delete(v.own, id)
		}
	}
}

// sentHere reports whether this Device itself has sent the message.
func (v *view) sentHere(e wire.Envelope) bool {
	_, ok := v.own[e.ID]
	return ok && (v.state.You == "" || e.From == v.state.You)
}
