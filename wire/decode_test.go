package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

func TestDecodeDoesNotCopyTheBody(t *testing.T) {
	frame := []byte(`{"type":"send","id":"r","session":"s","kind":"x","body": {"a": "b"} }`)
	e, err := wire.Decode(frame)
	if err != nil {
		t.Fatal(err)
	}
	if string(e.Body) != `{"a": "b"}` {
		t.Fatalf("the body is %s", e.Body)
	}
	if &e.Body[0] != &frame[bytes.IndexByte(frame[1:], '{')+1] {
		t.Error("the body was copied")
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = wire.Decode(frame) }); n > 3 {
		t.Errorf("%v allocations, want one for each of id, session and kind", n)
	}
}

// Whatever the server may send reads as it was, here and by encoding/json.
func TestEncodeRoundTrip(t *testing.T) {
	id := rapid.StringMatching(`[A-Za-z0-9_-]{1,64}`)
	maybe := rapid.OneOf(rapid.Just(""), id)
	safe := rapid.Uint64Range(0, 1<<53-1)
	rapid.Check(t, func(rt *rapid.T) {
		e := wire.Envelope{
			Type:    rapid.SampledFrom(wire.Types).Draw(rt, "type").Type,
			ID:      wire.RequestID(maybe.Draw(rt, "id")),
			Session: wire.SessionID(maybe.Draw(rt, "session")),
			Seq:     safe.Draw(rt, "seq"),
			Epoch:   safe.Draw(rt, "epoch"),
			Fresh:   rapid.Bool().Draw(rt, "fresh"),
			From:    wire.MemberID(maybe.Draw(rt, "from")),
			Kind:    rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[a-z0-9._-]{1,64}`)).Draw(rt, "kind"),
		}
		for range rapid.IntRange(0, 3).Draw(rt, "members") {
			e.To = append(e.To, wire.MemberID(id.Draw(rt, "to")))
		}
		if rapid.Bool().Draw(rt, "timed") {
			e.Time = time.Unix(rapid.Int64Range(0, 1<<36).Draw(rt, "s"), rapid.Int64Range(0, 1e9-1).Draw(rt, "ns")).UTC()
		}
		if rapid.Bool().Draw(rt, "with body") {
			var err error
			if e.Body, err = json.Marshal(rapid.MapOf(rapid.String(), rapid.String()).Draw(rt, "body")); err != nil {
				rt.Fatal(err)
			}
		}
		frame, err := e.Encode()
		if err != nil {
			rt.Fatalf("%+v: %v", e, err)
		}
		got, err := wire.DecodeServer(frame)
		if err != nil || !reflect.DeepEqual(got, e) {
			rt.Fatalf("%s reads as %+v, %v; want %+v", frame, got, err, e)
		}
		var std wire.Envelope
		if err := json.Unmarshal(frame, &std); err != nil || !reflect.DeepEqual(std, e) {
			rt.Fatalf("encoding/json reads %s as %+v, %v", frame, std, err)
		}
		// And as a device's: either it is refused, or it reads the same.
		if got, err := wire.Decode(frame); err == nil && !reflect.DeepEqual(got, e) {
			rt.Fatalf("%s reads as %+v from a device", frame, got)
		}
	})
}

func TestEncodeRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		e    wire.Envelope
	}{
		{"no type", wire.Envelope{ID: "r"}},
		{"bad id", wire.Envelope{Type: wire.TypePing, ID: `"`}},
		{"id that is no text", wire.Envelope{Type: wire.TypePing, ID: "\xff"}},
		{"bad kind", wire.Envelope{Type: wire.TypeSend, Kind: "a b"}},
		{"bad member", wire.Envelope{Type: wire.TypeSend, To: []wire.MemberID{""}}},
		{"sequence too large", wire.Envelope{Type: wire.TypeAck, Seq: 1 << 53}},
		{"time after the year 9999", wire.Envelope{Type: wire.TypeAck, Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}},
		{"body cut short", wire.Envelope{Type: wire.TypeSend, Body: []byte(`{`)}},
		{"body of white space", wire.Envelope{Type: wire.TypeSend, Body: []byte(` `)}},
		{"body of two values", wire.Envelope{Type: wire.TypeSend, Body: []byte(`{} {}`)}},
		{"body with a sender smuggled in", wire.Envelope{Type: wire.TypeSend, Body: []byte(`{},"from":"mem_a"`)}},
		{"body with an unknown key smuggled in", wire.Envelope{Type: wire.TypeSend, Body: []byte(`{},"x":1`)}},
		{"body that ends the frame", wire.Envelope{Type: wire.TypeSend, Body: []byte(`1}{"type":"ping"`)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if frame, err := tt.e.Encode(); !errors.Is(err, wire.ErrFrame) {
				t.Errorf("encoded as %s, %v", frame, err)
			}
		})
	}
}

func TestAppendEncodeAppends(t *testing.T) {
	e := wire.Envelope{Type: wire.TypePing, ID: "p"}
	if got := string(e.AppendEncode([]byte("data: "))); got != `data: {"type":"ping","id":"p"}` {
		t.Errorf("got %s", got)
	}
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() { buf = e.AppendEncode(buf[:0]) }); n != 0 {
		t.Errorf("%v allocations with room enough", n)
	}
}

func TestDecodeBodyOfAnyShape(t *testing.T) {
	type inner struct {
		N int `json:"n"`
	}
	type body struct {
		List []inner         `json:"list"`
		Ptr  *inner          `json:"ptr,omitempty"`
		Raw  json.RawMessage `json:"raw,omitempty"`
	}
	for _, tt := range []struct{ name, body, why string }{
		{"good", `{"list":[{"n":1},{"n":2}],"ptr":{"n":3},"raw":{"A":null,"a":[]}}`, ""},
		{"empty list", `{"list":[]}`, ""},
		{"raw null", `{"list":[],"raw":null}`, ""},
		{"key twice within a list", `{"list":[{"n":1},{"n":1,"n":2}]}`, "n is there twice"},
		{"capitals within a list", `{"list":[{"N":1}]}`, "must be written n"},
		{"unknown behind a pointer", `{"list":[],"ptr":{"n":1,"x":1}}`, "not known"},
		{"missing within a list", `{"list":[{}]}`, "it lacks n"},
		{"null within a list", `{"list":[null]}`, "null"},
		{"object for a list", `{"list":{}}`, "an array should come"},
		{"too deep", `{"list":[],"raw":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, "nested deeper"},
		{"something after", `{"list":[]} {}`, "something follows"},
		{"not UTF-8", "{\"list\":[\xff]}", "UTF-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := wire.DecodeBody[body](wire.Envelope{Body: []byte(tt.body)})
			if tt.why == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, wire.ErrFrame) || !strings.Contains(err.Error(), tt.why) || !reflect.DeepEqual(b, body{}) {
				t.Errorf("got %+v, %v; want %q", b, err, tt.why)
			}
		})
	}
}

func TestProblemOf(t *testing.T) {
	own := wire.NewProblem(wire.CodeDraining, "soon")
	if p := wire.ProblemOf(own); p != own {
		t.Errorf("a problem became %v", p)
	}
	if p := wire.ProblemOf(errors.New("disk sda1 on fire")); p.Code != wire.CodeInternal || p.Detail != "" {
		t.Errorf("what went wrong inside is shown: %v", p)
	}
	_, err := tel.ParseNumber("nonsense", "")
	if p := wire.ProblemOf(err); p.Code != wire.CodeBadNumber || strings.HasPrefix(p.Detail, "tel:") {
		t.Errorf("bad number: %v", p)
	}
}

func TestValidKind(t *testing.T) {
	for kind, want := range map[string]bool{
		"text": true, "tandem.state": true, "a.b_c-9": true, strings.Repeat("k", 64): true,
		"": false, "Text": false, "a b": false, "é": false, strings.Repeat("k", 65): false,
	} {
		if wire.ValidKind(kind) != want {
			t.Errorf("ValidKind(%q) = %v", kind, !want)
		}
	}
}

func TestValidID(t *testing.T) {
	for id, want := range map[string]bool{
		wire.NewID("ses_"): true, "a": true, "A-z_0": true, strings.Repeat("a", 64): true,
		"": false, "a b": false, "a/b": false, "é": false, "a\x00": false, strings.Repeat("a", 65): false,
	} {
		if wire.ValidID(id) != want {
			t.Errorf("ValidID(%q) = %v", id, !want)
		}
	}
}

// Decode never takes what encoding/json would not, nor reads it differently; what it
// takes has one meaning for every reader.
func FuzzDecode(f *testing.F) {
	for _, file := range []string{"valid.json", "invalid.json"} {
		for _, v := range vectors(f, file) {
			f.Add(v.frame())
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		e, err := wire.Decode(frame)
		server, serverErr := wire.DecodeServer(frame)
		if serverErr == nil && !json.Valid(frame) {
			t.Fatalf("not JSON, but taken: %q", frame)
		}
		if err != nil {
			if !errors.Is(err, wire.ErrFrame) || !reflect.DeepEqual(e, wire.Envelope{ID: e.ID}) {
				t.Fatalf("%+v, %v", e, err)
			}
			p := wire.ProblemOf(err)
			if b, err := json.Marshal(p); err != nil || len(b) > 2000 {
				t.Fatalf("problem of %d bytes, %v: %s", len(b), err, b)
			}
			return
		}
		if serverErr != nil || !reflect.DeepEqual(server, e) {
			t.Fatalf("a device's frame reads as %+v, %v for a client", server, serverErr)
		}
		var std wire.Envelope
		if err := json.Unmarshal(frame, &std); err != nil || !reflect.DeepEqual(std, e) {
			t.Fatalf("encoding/json reads %q as %+v, %v; Decode as %+v", frame, std, err, e)
		}
		encoded, err := e.Encode()
		if err != nil {
			t.Fatalf("%q cannot be encoded again: %v", frame, err)
		}
		if again, err := wire.Decode(encoded); err != nil || !reflect.DeepEqual(again, e) {
			t.Fatalf("%q encoded as %q reads as %+v, %v", frame, encoded, again, err)
		}
		body, err := decodeBody(e)
		if err != nil && !errors.Is(err, wire.ErrFrame) && e.Type != wire.TypeSend && e.Type != wire.TypeSignal {
			t.Fatalf("body: %v", err)
		}
		if report, ok := body.(wire.Report); ok && err == nil && report.Validate() != nil {
			t.Fatalf("a report that is not valid: %+v", report)
		}
	})
}
