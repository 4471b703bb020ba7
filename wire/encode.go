package wire

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
)

// AppendEncode appends the frame to dst. The body goes in as it is, byte for byte: it
// must be JSON, as one from [Decode] or json.Marshal is. Fields that are zero are left
// out; what a type allows is not checked.
func (e Envelope) AppendEncode(dst []byte) []byte {
	dst = appendString(append(dst, `{"type":`...), string(e.Type))
	if e.ID != "" {
		dst = appendString(append(dst, `,"id":`...), string(e.ID))
	}
	if e.Fresh {
		dst = append(dst, `,"fresh":true`...)
	}
	if e.Session != "" {
		dst = appendString(append(dst, `,"session":`...), string(e.Session))
	}
	if e.Seq != 0 {
		dst = strconv.AppendUint(append(dst, `,"seq":`...), e.Seq, 10)
	}
	if e.Epoch != 0 {
		dst = strconv.AppendUint(append(dst, `,"epoch":`...), e.Epoch, 10)
	}
	if e.From != "" {
		dst = appendString(append(dst, `,"from":`...), string(e.From))
	}
	if len(e.To) > 0 {
		dst = append(dst, `,"to":`...)
		sep := byte('[')
		for _, m := range e.To {
			dst = appendString(append(dst, sep), string(m))
			sep = ','
		}
		dst = append(dst, ']')
	}
	if e.Kind != "" {
		dst = appendString(append(dst, `,"kind":`...), e.Kind)
	}
	if !e.Time.IsZero() {
		dst = append(dst, `,"time":"`...)
		dst = append(e.Time.AppendFormat(dst, time.RFC3339Nano), '"')
	}
	if len(e.Body) > 0 {
		dst = append(append(dst, `,"body":`...), e.Body...)
	}
	return append(dst, '}')
}

// Encode returns the frame, after it has looked at what AppendEncode takes on trust: that
// the other side can read it. ErrFrame.
func (e Envelope) Encode() ([]byte, error) {
	// Room for the keys and a time; the rest is counted.
	size := 128 + len(e.ID) + len(e.Session) + len(e.From) + len(e.Kind) + (MaxID+3)*len(e.To) + len(e.Body)
	frame := e.AppendEncode(make([]byte, 0, size))
	decoded, err := DecodeServer(frame)
	if err != nil {
		return nil, err
	}
	// A body such as {},"from":"x" would have become more than a body.
	if !bytes.Equal(decoded.Body, bytes.TrimSpace(e.Body)) {
		return nil, fault("the body is not one JSON value")
	}
	return frame, nil
}

// appendString appends a JSON string. Nearly all are identifiers, which need no escapes.
func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			b, _ := json.Marshal(s) // no string fails
			return append(dst, b...)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}
