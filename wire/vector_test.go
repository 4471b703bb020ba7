package wire_test

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tandem-call/tandem/wire"
)

// vector is one frame of testdata, shared with the tests of other languages.
type vector struct {
	Name   string      `json:"name"`
	Sender wire.Sender `json:"sender"`
	Frame  string      `json:"frame"`
	Base64 []byte      `json:"frame_base64"`

	// Of valid ones.
	Envelope wire.Envelope   `json:"envelope"`
	Body     json.RawMessage `json:"body"`

	// Of invalid ones.
	Code          wire.Code      `json:"code"`
	Why           string         `json:"why"`
	ID            wire.RequestID `json:"id"`
	InBody        bool           `json:"in_body"`
	SchemaRefuses bool           `json:"schema_refuses"`
}

func (v vector) frame() []byte {
	if v.Base64 != nil {
		return v.Base64
	}
	return []byte(v.Frame)
}

func vectors(t testing.TB, file string) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var f struct{ Vectors []vector }
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Vectors) == 0 {
		t.Fatalf("%s has no vectors", file)
	}
	return f.Vectors
}

func decode(v vector) (wire.Envelope, error) {
	if v.Sender == wire.FromServer {
		return wire.DecodeServer(v.frame())
	}
	return wire.Decode(v.frame())
}

// decodeBody reads a body as the receiver does.
func decodeBody(e wire.Envelope) (any, error) {
	switch e.Type {
	case wire.TypeHello:
		return wire.DecodeBody[wire.Hello](e)
	case wire.TypeReport:
		return wire.DecodeBody[wire.Report](e)
	case wire.TypeAsk:
		return wire.DecodeBody[wire.Ask](e)
	case wire.TypeResume:
		return wire.DecodeBody[wire.Resume](e)
	case wire.TypeAnswer:
		return wire.DecodeBody[wire.Answer](e)
	case wire.TypeConfirm:
		return wire.DecodeBody[wire.Confirm](e)
	case wire.TypeExtend:
		return wire.DecodeBody[wire.Extend](e)
	case wire.TypeLeave:
		return wire.DecodeBody[wire.Leave](e)
	}
	target := reflect.TypeFor[any]()
	for _, t := range wire.Types {
		if t.Type == e.Type && t.Body != nil {
			target = reflect.TypeOf(t.Body)
		}
	}
	for _, k := range wire.Kinds {
		if e.Kind == k.Kind {
			target = reflect.TypeOf(k.Body)
		}
	}
	body := reflect.New(target)
	data := e.Body
	if len(data) == 0 {
		data = json.RawMessage("{}")
	}
	err := json.Unmarshal(data, body.Interface())
	return body.Elem().Interface(), err
}

func TestValidVectors(t *testing.T) {
	seen := map[wire.Type]bool{}
	for _, v := range vectors(t, "valid.json") {
		t.Run(v.Name, func(t *testing.T) {
			e, err := decode(v)
			if err != nil {
				t.Fatal(err)
			}
			seen[e.Type] = true
			body, err := decodeBody(e)
			if err != nil {
				t.Fatal(err)
			}
			if v.Body != nil {
				equalJSON(t, body, v.Body)
			} else if e.Body != nil {
				t.Errorf("there is a body: %s", e.Body)
			}
			frame, err := e.Encode()
			if err != nil {
				t.Fatalf("cannot be encoded: %v", err)
			}
			if again, err := wire.DecodeServer(frame); err != nil || !reflect.DeepEqual(again, e) {
				t.Errorf("encoded as %s, which reads as %+v, %v", frame, again, err)
			}
			e.Body = nil
			if !reflect.DeepEqual(e, v.Envelope) {
				t.Errorf("decoded %+v, want %+v", e, v.Envelope)
			}
		})
	}
	for _, info := range wire.Types {
		if !seen[info.Type] {
			t.Errorf("no vector has the type %s", info.Type)
		}
	}
}

func equalJSON(t *testing.T, got any, want json.RawMessage) {
	t.Helper()
	data, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var g, w any
	if err := errors.Join(json.Unmarshal(data, &g), json.Unmarshal(want, &w)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("the body reads as %s, want %s", data, want)
	}
}

func TestInvalidVectors(t *testing.T) {
	for _, v := range vectors(t, "invalid.json") {
		t.Run(v.Name, func(t *testing.T) {
			e, err := decode(v)
			if v.InBody {
				if err != nil {
					t.Fatalf("the envelope is refused already: %v", err)
				}
				_, err = decodeBody(e)
			} else if !reflect.DeepEqual(e, wire.Envelope{ID: e.ID}) {
				t.Errorf("more than the id is left: %+v", e)
			}
			if e.ID != v.ID {
				t.Errorf("id %q is left, want %q", e.ID, v.ID)
			}
			if !errors.Is(err, wire.ErrFrame) {
				t.Fatalf("error %v, want ErrFrame", err)
			}
			p := wire.ProblemOf(err)
			if p.Code != v.Code || !strings.Contains(p.Detail, v.Why) {
				t.Errorf("problem %s %q, want %s with %q", p.Code, p.Detail, v.Code, v.Why)
			}
			if len(p.Detail) > 400 || strings.Contains(p.Detail, "wire:") || strings.Contains(p.Detail, "tel: ") {
				t.Errorf("detail not fit for a client: %s", p.Detail)
			}
			for _, r := range p.Detail {
				if r < ' ' || r == 0x7f || r == '\ufffd' {
					t.Errorf("detail holds %+q: %+q", r, p.Detail)
				}
			}
		})
	}
}

// The schemas agree with Decode on every vector, as far as a schema can see.
func TestVectorsAgainstSchemas(t *testing.T) {
	frames := map[wire.Sender]*jsonschema.Schema{
		wire.FromDevice: compile(t, "device_frame.json"),
		wire.FromServer: compile(t, "server_frame.json"),
	}
	for _, v := range vectors(t, "valid.json") {
		t.Run(v.Name, func(t *testing.T) {
			doc, err := jsonschema.UnmarshalJSON(strings.NewReader(v.Frame))
			if err != nil {
				t.Fatal(err)
			}
			if err := frames[v.Sender].Validate(doc); err != nil {
				t.Error(err)
			}
		})
	}
	for _, v := range vectors(t, "invalid.json") {
		t.Run(v.Name, func(t *testing.T) {
			doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(v.frame())))
			if err == nil {
				err = frames[v.Sender].Validate(doc)
			} else if v.SchemaRefuses {
				t.Fatalf("it is not even JSON: %v", err)
			} else {
				return
			}
			if (err != nil) != v.SchemaRefuses {
				t.Errorf("the schema says %v", err)
			}
		})
	}
}

// compile compiles one of the published schemas, with those that it refers to.
func compile(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.UseLoader(schemaLoader{t})
	s, err := c.Compile("https://server.example/schemas/" + name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s
}

type schemaLoader struct{ t *testing.T }

func (l schemaLoader) Load(url string) (any, error) {
	name, ok := strings.CutPrefix(url, "https://server.example/schemas/")
	if !ok {
		l.t.Fatalf("a schema refers to %s", url)
	}
	f, err := wire.Schemas().Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return jsonschema.UnmarshalJSON(f)
}
