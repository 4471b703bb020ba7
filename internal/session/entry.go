package session

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

var errEntry = errors.New("session: unreadable log entry")

// entry is a message as the log keeps it: a short header that the relay reads, then
// the end of the frame that members receive, ready made. Delivering it means writing
// type, session, sequence and epoch in front; the body is never parsed again.
//
//	format (1)   from   members   number of to   to …   length of id   id   tail
//	1 byte       uvarint each                           uvarint        bytes
type entry struct {
	// from is the sender's number; zero for the server's own, which is a change of state.
	from uint32
	// members is how many the session had had when the message was taken: a party that
	// came later was not meant.
	members uint32
	// to holds the numbers of the members addressed, as uvarints; empty: all others.
	to []byte
	// id of the sender's request; for a change of state the record's version.
	id []byte
	// tail of the frame, from "from" or "kind" to the closing brace.
	tail []byte
}

const entryFormat = 1

// appendEntry encodes a message. The body must be valid JSON, as the transport's
// decoder makes sure; kind and id have been checked.
func appendEntry(b []byte, from, members uint32, to []uint32, e *wire.Envelope, at time.Time) []byte {
	b = append(b, entryFormat)
	b = binary.AppendUvarint(b, uint64(from))
	b = binary.AppendUvarint(b, uint64(members))
	b = binary.AppendUvarint(b, uint64(len(to)))
	for _, n := range to {
		b = binary.AppendUvarint(b, uint64(n))
	}
	b = binary.AppendUvarint(b, uint64(len(e.ID)))
	b = append(b, e.ID...)
	if from != 0 {
		b = append(b, `"from":"`...)
		b = strconv.AppendUint(b, uint64(from), 10)
		b = append(b, `",`...)
		if e.ID != "" {
			b = append(b, `"id":"`...)
			b = append(b, e.ID...)
			b = append(b, `",`...)
		}
	}
	for i, n := range to {
		if i == 0 {
			b = append(b, `"to":["`...)
		} else {
			b = append(b, `","`...)
		}
		b = strconv.AppendUint(b, uint64(n), 10)
	}
	if len(to) > 0 {
		b = append(b, `"],`...)
	}
	b = append(b, `"kind":"`...)
	b = append(b, e.Kind...)
	b = append(b, `","time":"`...)
	b = at.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, '"')
	if len(e.Body) > 0 {
		b = append(b, `,"body":`...)
		b = append(b, e.Body...)
	}
	return append(b, '}')
}

// parseEntry reads what appendEntry wrote; the parts share data's memory.
func parseEntry(data []byte) (entry, error) {
	if len(data) == 0 || data[0] != entryFormat {
		return entry{}, errEntry
	}
	var e entry
	b, bad := data[1:], false
	next := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			bad, b = true, nil
			return 0
		}
		b = b[n:]
		return v
	}
	e.from, e.members = uint32(next()), uint32(next())
	count, start := next(), b
	for range min(count, uint64(len(b))) {
		next()
	}
	e.to = start[:len(start)-len(b)]
	n := next()
	if bad || count > uint64(len(start)) || n > uint64(len(b)) {
		return entry{}, errEntry
	}
	e.id, e.tail = b[:n], b[n:]
	return e, nil
}

// visible reports whether member n, whose party's first member is first, may read the
// message: addressed to it or to those in whose place it is, to all since its party came, or
// its own.
func (e *entry) visible(n, first uint32, places ...uint32) bool {
	switch {
	case e.from == n:
		return true
	case len(e.to) == 0:
		return first <= e.members
	}
	for b := e.to; len(b) > 0; {
		v, w := binary.Uvarint(b)
		if uint32(v) == n || slices.Contains(places, uint32(v)) {
			return true
		}
		b = b[w:]
	}
	return false
}

// version of the state that a state entry tells.
func (e *entry) version() uint64 {
	v, _ := strconv.ParseUint(string(e.id), 10, 64)
	return v
}

// frames writes the frames of one session.
type frames struct{ message, signal string }

func framesOf(id wire.SessionID) frames {
	return frames{
		message: `{"type":"message","session":"` + string(id) + `","seq":`,
		signal:  `{"type":"message","session":"` + string(id) + `",`,
	}
}

func (f frames) messageFrame(seq, epoch uint64, tail []byte) []byte {
	b := make([]byte, 0, len(f.message)+len(tail)+50)
	b = append(b, f.message...)
	b = strconv.AppendUint(b, seq, 10)
	b = append(b, `,"epoch":`...)
	b = strconv.AppendUint(b, epoch, 10)
	b = append(b, ',')
	return append(b, tail...)
}

func (f frames) signalFrame(tail []byte) []byte {
	return append(append(make([]byte, 0, len(f.signal)+len(tail)), f.signal...), tail...)
}

// envelope reads a stored message back, for those who want it as a value.
func (f frames) envelope(e store.Entry, tail []byte) (wire.Envelope, error) {
	var env wire.Envelope
	if err := json.Unmarshal(f.messageFrame(e.Seq, e.Epoch, tail), &env); err != nil {
		return env, fmt.Errorf("session: message %d: %w", e.Seq, err)
	}
	return env, nil
}

// noteOf encodes the state of a record for the log.
func noteOf(r *Record) ([]byte, error) {
	body, err := json.Marshal(r.State(0))
	if err != nil {
		return nil, err
	}
	e := wire.Envelope{ID: wire.RequestID(strconv.FormatUint(r.Version, 10)), Kind: wire.KindState, Body: body}
	return appendEntry(nil, 0, uint32(len(r.Members)), nil, &e, r.Changed), nil
}

// frameOf encodes an envelope that is not a relayed message.
func frameOf(t wire.Type, id wire.RequestID, session wire.SessionID, body any) ([]byte, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return json.Marshal(wire.Envelope{Type: t, ID: id, Session: session, Body: b})
}
