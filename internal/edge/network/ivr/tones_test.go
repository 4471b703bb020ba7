package ivr

import (
	"context"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/emiago/diago/audio"
	"github.com/pion/rtp"
)

// keyed is the sound of keys, each for so long, with as long a silence after it.
func keyed(keys string, each time.Duration, loud, twist float64) (pcm []int16) {
	n := int(each.Seconds() * toneRate)
	for _, key := range keys {
		for row, line := range toneKeys {
			for column, k := range line {
				if k != key {
					continue
				}
				for i := range 2 * n {
					var v float64
					if at := 2 * math.Pi * float64(i) / toneRate; i < n {
						v = loud*math.Sin(at*lowTones[row]) + loud*twist*math.Sin(at*highTones[column])
					}
					pcm = append(pcm, int16(v+rand.NormFloat64()*20))
				}
			}
		}
	}
	return pcm
}

func TestTones(t *testing.T) {
	const all = "0123456789*#ABCD"
	for _, x := range []struct {
		name string
		pcm  []int16
		want string
	}{
		{"as a telephone sends them", keyed(all, 100*time.Millisecond, 6000, 1), all},
		{"short", keyed(all, 80*time.Millisecond, 6000, 1.4), all},
		{"soft", keyed(all, 100*time.Millisecond, 600, 0.8), all},
		{"held", keyed("5", 2*time.Second, 6000, 1), "5"},
		{"twice", keyed("55", 100*time.Millisecond, 6000, 1), "55"},
		{"too short to be one", keyed(all, 20*time.Millisecond, 6000, 1), ""},
		{"one tone alone", keyed(all, 100*time.Millisecond, 6000, 0.1), ""},
		{"as loud as can be", keyed("8", 100*time.Millisecond, 16000, 1), "8"},
	} {
		var found tones
		if got := string(found.press(x.pcm)); got != x.want {
			t.Errorf("%s: %q, want %q", x.name, got, x.want)
		}
	}
}

// TestSpeechIsNoTone: the announcements, which a telephone may send back.
func TestSpeechIsNoTone(t *testing.T) {
	files, err := filepath.Glob("../../../server/announcements/*.wav")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var found tones
		if got := string(found.press(pcmOf(b[44:]))); got != "" {
			t.Errorf("%s: %q", f, got)
		}
	}
}

// TestTonesInACall: a telephone that offers no telephone events is answered in G.711, and its tones
// are heard.
func TestTonesInACall(t *testing.T) {
	for _, x := range []struct {
		formats     string
		payloadType uint8
		encode      func(to, pcm []byte) (int, error)
	}{{"109 0", 0, audio.EncodeUlawTo}, {"8", 8, audio.EncodeAlawTo}} {
		heard := make(chan string, 1)
		s := serve(t, func(ctx context.Context, c *Call) {
			digits, err := c.Digits(ctx, 3, 5*time.Second)
			if err != nil {
				t.Error(err)
			}
			heard <- digits
		})
		c := newCaller(t, s)
		code, answer := c.invite(c.offer(x.formats, "a=rtpmap:109 opus/48000/2"))
		if code != 200 {
			t.Fatalf("the call was not answered: %s", answer)
		}
		to := c.soundAddr(answer)
		pcm := keyed("407", 100*time.Millisecond, 6000, 1)
		for i := range len(pcm) / samples {
			var b []byte
			for _, v := range pcm[i*samples:][:samples] {
				b = append(b, byte(v), byte(uint16(v)>>8))
			}
			p := rtp.Packet{
				Header:  rtp.Header{Version: 2, PayloadType: x.payloadType, SequenceNumber: uint16(i + 1), Timestamp: uint32(i * samples), SSRC: 7},
				Payload: make([]byte, samples),
			}
			if _, err := x.encode(p.Payload, b); err != nil {
				t.Fatal(err)
			}
			sent, err := p.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			c.send(to, sent)
		}
		select {
		case got := <-heard:
			if got != "407" {
				t.Errorf("%s: keyed %q, want 407", x.formats, got)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: no keys were heard", x.formats)
		}
	}
}

// FuzzTones: no sound breaks it, whatever is said of its kind.
func FuzzTones(f *testing.F) {
	f.Add(uint8(0), []byte{0xff, 0x7f, 0x00, 0x80})
	f.Add(uint8(8), make([]byte, 1500))
	f.Fuzz(func(_ *testing.T, payloadType uint8, payload []byte) {
		var found tones
		for range 3 {
			found.press(decoded(payloadType, payload))
		}
	})
}
