package wire

import (
	"bytes"
	"errors"
	"strings"
	"time"

	"github.com/tandem-call/tandem/tel"
)

// MaxTo is the most members that one message may name; it goes to all others instead.
const MaxTo = 1000

// Decode reads a frame from a device: one JSON object with the fields that its type
// allows and requires (see [Types]), each once, nothing after it. The body is checked to
// be JSON of at most [MaxDepth] levels, and not looked into; it is a part of frame, so
// copy it to keep it longer. How long a frame may be is the transport's concern.
//
// ErrFrame says what is wrong; the envelope then holds the request's id, if that had
// been read. See [ProblemOf].
func Decode(frame []byte) (Envelope, error) {
	e, seen, err := decode(frame, true)
	if err != nil {
		return Envelope{ID: e.ID}, err
	}
	r := rules[string(e.Type)] // decode has found it
	switch {
	case r.sender == FromServer:
		err = fault("only the server sends %s", e.Type)
	case seen&^r.allowed != 0:
		err = fault("%s has no place in %s", strings.Join((seen&^r.allowed).names(), ", "), e.Type)
	case r.required&^seen != 0:
		err = fault("%s lacks %s", e.Type, strings.Join((r.required&^seen).names(), ", "))
	case strings.HasPrefix(e.Kind, reservedKinds):
		err = fault("kinds that begin with %s are the server's", reservedKinds)
	}
	if err != nil {
		return Envelope{ID: e.ID}, err
	}
	return e, nil
}

// DecodeServer reads a frame from the server, for clients. So that servers can be newer
// than clients, fields and types that it does not know are let through, and fields may
// come with any type: a client ignores what it does not know. The body is a part of
// frame. ErrFrame.
func DecodeServer(frame []byte) (Envelope, error) {
	e, _, err := decode(frame, false)
	if err != nil {
		return Envelope{ID: e.ID}, err
	}
	return e, nil
}

// decode reads an envelope; strict refuses fields and types that are not known.
func decode(frame []byte, strict bool) (e Envelope, seen fields, err error) {
	s, err := newScanner(frame)
	if err != nil {
		return e, 0, err
	}
	err = s.object(func(key []byte) error {
		f := fieldOf(key)
		if f == 0 && strict {
			return unknownKey(key, fieldNames[:])
		}
		if f == 0 {
			_, err := s.value(MaxDepth)
			return err
		}
		if seen&f != 0 {
			return fault("%s is there twice", key)
		}
		seen |= f
		return e.read(f, &s, strict)
	})
	if err == nil {
		err = s.end()
	}
	if err == nil && seen&fieldType == 0 {
		err = fault("type is missing")
	}
	return e, seen, err
}

func fieldOf(key []byte) fields {
	switch string(key) {
	case "type":
		return fieldType
	case "id":
		return fieldID
	case "fresh":
		return fieldFresh
	case "session":
		return fieldSession
	case "seq":
		return fieldSeq
	case "epoch":
		return fieldEpoch
	case "from":
		return fieldFrom
	case "to":
		return fieldTo
	case "kind":
		return fieldKind
	case "time":
		return fieldTime
	case "body":
		return fieldBody
	}
	return 0
}

// unknownKey is the fault of a key that is none of those known.
func unknownKey(key []byte, known []string) error {
	for _, k := range known {
		if strings.EqualFold(k, string(key)) {
			return fault("the key %+q must be written %s", key, k)
		}
	}
	if bytes.IndexByte(key, '\\') >= 0 {
		return fault("the key %+q must be written without escapes", clip(key))
	}
	return fault("the key %+q is not known here", clip(key))
}

// clip shortens text from outside for an error.
func clip(b []byte) string {
	const longest = 40
	if len(b) <= longest {
		return string(b)
	}
	return strings.ToValidUTF8(string(b[:longest]), "") + "…"
}

// read takes the value of one field.
func (e *Envelope) read(f fields, s *scanner, strict bool) (err error) {
	switch f {
	case fieldType:
		b, err := s.str()
		if err != nil {
			return err
		}
		if r, ok := rules[string(b)]; ok {
			e.Type = r.name
		} else if strict || len(b) == 0 {
			return fault("there is no type %+q", clip(b))
		} else {
			e.Type = Type(b)
		}
	case fieldID:
		e.ID, err = readID[RequestID](s, "id")
	case fieldFresh:
		e.Fresh, err = s.bool()
	case fieldSession:
		e.Session, err = readID[SessionID](s, "session")
	case fieldFrom:
		e.From, err = readID[MemberID](s, "from")
	case fieldSeq:
		e.Seq, err = s.uint()
	case fieldEpoch:
		e.Epoch, err = s.uint()
	case fieldTo:
		e.To, err = readTo(s)
	case fieldKind:
		b, err := s.str()
		if err != nil {
			return err
		}
		if e.Kind = kindOf(b); e.Kind == "" {
			return fault("kind has 1 to %d of the characters a-z, 0-9, . _ -", MaxKind)
		}
	case fieldTime:
		b, err := s.str()
		if err != nil {
			return err
		}
		if e.Time, err = time.Parse(time.RFC3339, string(b)); err != nil {
			return fault("time is not written as in RFC 3339")
		}
	case fieldBody:
		e.Body, err = s.value(MaxDepth)
	}
	return err
}

func readID[T ~string](s *scanner, field string) (T, error) {
	b, err := s.str()
	if err != nil {
		return "", err
	}
	if !validID(b) {
		return "", fault("%s is not an id: 1 to %d letters, digits, _ or -", field, MaxID)
	}
	return T(b), nil
}

// readTo takes the list of members. An empty one is refused: it would mean everybody,
// and a program that filtered a list down to nobody means the contrary.
func readTo(s *scanner) (to []MemberID, err error) {
	err = s.array(func() error {
		if len(to) == MaxTo {
			return fault("to names more than %d members", MaxTo)
		}
		m, err := readID[MemberID](s, "to")
		to = append(to, m)
		return err
	})
	if err == nil && len(to) == 0 {
		err = fault("to is empty; leave it out to address all others")
	}
	return to, err
}

// ProblemOf gives an error of Decode or DecodeBody the form in which a client gets it.
func ProblemOf(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	code := CodeInternal
	switch {
	case errors.Is(err, tel.ErrNumber):
		code = CodeBadNumber
	case errors.Is(err, tel.ErrIdentity):
		code = CodeBadIdentity
	case errors.Is(err, tel.ErrDetails):
		code = CodeBadRequest
	case errors.Is(err, ErrFrame):
		code = CodeBadFrame
	default:
		return NewProblem(code, "") // what went wrong inside stays inside
	}
	detail := err.Error()
	for _, prefix := range []error{ErrFrame, tel.ErrNumber, tel.ErrIdentity, tel.ErrDetails} {
		detail = strings.Replace(detail, prefix.Error()+": ", "", 1)
	}
	return NewProblem(code, "%s", detail)
}
