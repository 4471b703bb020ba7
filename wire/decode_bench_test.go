package wire_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tandem-call/tandem/wire"
)

// A chat message as devices send it, 128 bytes of text.
var chat = []byte(`{"type":"send","id":"r1234567","session":"s_7Q2VYH4ZJ3NWBTKX5LDR6FPMCA","kind":"text","body":{"text":"` + strings.Repeat("hello ", 21) + `"}}`)

func BenchmarkDecode(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(chat)))
	for b.Loop() {
		if _, err := wire.Decode(chat); err != nil {
			b.Fatal(err)
		}
	}
}

// What Decode is measured against, though it does not do the same.
func BenchmarkDecodeByEncodingJSON(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(chat)))
	for b.Loop() {
		var e wire.Envelope
		if err := json.Unmarshal(chat, &e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendEncode(b *testing.B) {
	e, err := wire.Decode(chat)
	if err != nil {
		b.Fatal(err)
	}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = e.AppendEncode(buf[:0])
	}
}

func BenchmarkDecodeBody(b *testing.B) {
	e := wire.Envelope{Body: []byte(`{"own":"tel:+442079460001","other":"tel:+442079460002","direction":"outgoing","state":"active","ref":{"call_id":"f81d4fae@192.0.2.1"},"report_seq":3}`)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := wire.DecodeBody[wire.Report](e); err != nil {
			b.Fatal(err)
		}
	}
}
