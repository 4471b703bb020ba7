package wire

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// DecodeBody reads the body as a T, as [Unmarshal] does. A missing body counts as {}.
// ErrFrame; with tel.ErrNumber, tel.ErrIdentity or tel.ErrDetails where that is what is
// wrong. Clients read bodies of the server with json.Unmarshal, which lets new keys pass.
func DecodeBody[T any](e Envelope) (T, error) {
	var body, zero T
	data := []byte(e.Body)
	if len(data) == 0 {
		data = []byte("{}")
	}
	if err := Unmarshal(data, &body); err != nil {
		return zero, inBody(err)
	}
	return body, nil
}

// Unmarshal reads data into v, a pointer to a struct: an object with the struct's keys
// only, written as there, each once; those without omitempty or omitzero must be there,
// and none may be null. If v has a method Validate() error, that is asked last. ErrFrame,
// or what the fields' own readers say.
func Unmarshal(data []byte, v any) error {
	s, err := newScanner(data)
	if err != nil {
		return err
	}
	if err := shapeOf(reflect.TypeOf(v).Elem()).check(&s, MaxDepth); err != nil {
		return err
	}
	if err := s.end(); err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		var te *json.UnmarshalTypeError
		if errors.As(err, &te) {
			return fault("%s: a %s does not belong there", te.Field, te.Value)
		}
		return err
	}
	if v, ok := v.(interface{ Validate() error }); ok {
		return v.Validate()
	}
	return nil
}

func inBody(err error) error {
	if errors.Is(err, ErrFrame) {
		return fmt.Errorf("%w: body: %s", ErrFrame, strings.TrimPrefix(err.Error(), ErrFrame.Error()+": "))
	}
	return fmt.Errorf("%w: body: %w", ErrFrame, err)
}

// shape is what encoding/json would not check of a type: which keys its objects have.
type shape struct {
	keys     map[string]key // of a struct; nil for other types
	names    []string       // of the keys, in their order
	required uint64         // set of keys, by index
	elem     *shape         // of a slice
	any      bool           // raw JSON: null is welcome
}

type key struct {
	index int
	shape *shape
}

var shapes sync.Map // reflect.Type to *shape

func shapeOf(t reflect.Type) *shape {
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	s := newShape(t)
	shapes.Store(t, s)
	return s
}

// newShape looks at a body's type. Bodies are not recursive and have no maps.
func newShape(t reflect.Type) *shape {
	if t.Kind() == reflect.Pointer {
		return shapeOf(t.Elem())
	}
	s := &shape{any: t == reflect.TypeFor[json.RawMessage]() || t.Kind() == reflect.Interface}
	p := reflect.PointerTo(t)
	if s.any || p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return s
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		s.elem = shapeOf(t.Elem())
	case reflect.Struct:
		s.keys = make(map[string]key)
		for _, f := range reflect.VisibleFields(t) {
			name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !f.IsExported() || name == "" || name == "-" {
				continue
			}
			if !strings.Contains(opts, "omitempty") && !strings.Contains(opts, "omitzero") {
				s.required |= 1 << len(s.names)
			}
			s.keys[name] = key{len(s.names), shapeOf(f.Type)}
			s.names = append(s.names, name)
		}
		if len(s.names) > 64 {
			panic("wire: " + t.String() + " has more than 64 keys")
		}
	}
	return s
}

// check takes a value and holds it to the shape.
func (sh *shape) check(s *scanner, depth int) error {
	if s.next() == 'n' && !sh.any {
		return fault("at byte %d: null; leave the key out instead", s.pos)
	}
	if depth == 0 {
		return fault("at byte %d: nested deeper than %d levels", s.pos, MaxDepth)
	}
	switch {
	case sh.elem != nil:
		return s.array(func() error { return sh.elem.check(s, depth-1) })
	case sh.keys == nil:
		_, err := s.value(depth)
		return err
	}
	var seen uint64
	err := s.object(func(name []byte) error {
		k, ok := sh.keys[string(name)]
		if !ok {
			return unknownKey(name, sh.names)
		}
		if seen&(1<<k.index) != 0 {
			return fault("%s is there twice", name)
		}
		seen |= 1 << k.index
		return k.shape.check(s, depth-1)
	})
	if err != nil {
		return err
	}
	if missing := sh.required &^ seen; missing != 0 {
		names := slices.Clone(sh.names)
		i := 0
		names = slices.DeleteFunc(names, func(string) bool { i++; return missing&(1<<(i-1)) == 0 })
		return fault("it lacks %s", strings.Join(names, ", "))
	}
	return nil
}
