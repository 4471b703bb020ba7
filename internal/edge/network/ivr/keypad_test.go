package ivr

import (
	"testing"

	"github.com/pion/rtp"
)

// event is a packet of one, as a telephone sends it.
func event(code byte, at uint32, ended, marker bool) (rtp.Header, []byte) {
	p := []byte{code, 10, 0, 160}
	if ended {
		p[1] |= endBit
	}
	return rtp.Header{PayloadType: 101, Timestamp: at, Marker: marker}, p
}

func TestKeypad(t *testing.T) {
	type packet struct {
		code          byte
		at            uint32
		ended, marker bool
	}
	for _, x := range []struct {
		name    string
		packets []packet
		want    string
	}{
		{"one key", []packet{{1, 1000, false, true}, {1, 1000, false, false}, {1, 1000, true, false}, {1, 1000, true, false}}, "1"},
		{"the same key twice", []packet{{5, 1000, false, true}, {5, 1000, true, false}, {5, 2000, false, true}, {5, 2000, true, false}}, "55"},
		{"only an end arrives", []packet{{11, 1000, true, false}}, "#"},
		{"the first packet is lost", []packet{{3, 1000, false, true}, {3, 1000, true, false}, {4, 2000, false, false}}, "34"},
		{"one comes late", []packet{{1, 1000, false, true}, {2, 2000, false, true}, {1, 1000, true, false}, {2, 2000, true, false}}, "12"},
		{"the clock turns over", []packet{{7, 0xfffffff0, true, true}, {8, 0x400, false, true}}, "78"},
		{"held for long", []packet{{9, 0, false, true}, {9, longestEvent, false, false}, {9, longestEvent, true, false}}, "9"},
		{"no key: flash", []packet{{16, 1000, false, true}}, ""},
	} {
		k, got := keypad{payloadType: 101}, ""
		for _, p := range x.packets {
			if key, ok := k.press(event(p.code, p.at, p.ended, p.marker)); ok {
				got += string(key)
			}
		}
		if got != x.want {
			t.Errorf("%s: %q, want %q", x.name, got, x.want)
		}
	}
	k := keypad{payloadType: 101}
	if _, ok := k.press(rtp.Header{PayloadType: 0, Timestamp: 1}, make([]byte, 160)); ok {
		t.Error("sound is taken for a key")
	}
	if _, ok := k.press(rtp.Header{PayloadType: 101, Timestamp: 1}, []byte{1}); ok {
		t.Error("a short packet is taken for a key")
	}
}

// FuzzKeypad: whatever arrives, nothing breaks.
func FuzzKeypad(f *testing.F) {
	f.Add(uint8(101), uint32(1), true, []byte{1, 10, 0, 160})
	f.Add(uint8(0), uint32(0), false, []byte{})
	f.Fuzz(func(t *testing.T, pt uint8, at uint32, marker bool, payload []byte) {
		k := keypad{payloadType: 101}
		for range 2 {
			if key, ok := k.press(rtp.Header{PayloadType: pt, Timestamp: at, Marker: marker}, payload); ok && pt != 101 {
				t.Errorf("key %q in a packet of another kind", key)
			}
		}
	})
}
