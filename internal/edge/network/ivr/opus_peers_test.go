//go:build peers

package ivr

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emiago/diago/audio"
	"github.com/pion/rtp"
)

const pitch = 1000 // Hz

// tone is a WAV file of two seconds of one pitch.
func tone() []byte {
	const rate, seconds = 8000, 2
	b := binary.LittleEndian.AppendUint32([]byte("RIFF"), 36+2*rate*seconds)
	b = append(b, "WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00"...)
	b = binary.LittleEndian.AppendUint32(b, rate)
	b = binary.LittleEndian.AppendUint32(b, 2*rate)
	b = append(b, "\x02\x00\x10\x00data"...)
	b = binary.LittleEndian.AppendUint32(b, 2*rate*seconds)
	for i := range rate * seconds {
		b = binary.LittleEndian.AppendUint16(b, uint16(int16(8000*math.Sin(2*math.Pi*pitch*float64(i)/rate))))
	}
	return b
}

// share of a sound's power that lies at the pitch (Goertzel), beginning a tenth of a second in.
func share(t *testing.T, pcm []int16, rate int) float64 {
	t.Helper()
	if len(pcm) < rate*3/2 {
		t.Fatalf("%d samples at %d Hz were heard, want two seconds", len(pcm), rate)
	}
	pcm = pcm[rate/10:][:rate]
	w := 2 * math.Cos(2*math.Pi*pitch/float64(rate))
	var a, b, power float64
	for _, v := range pcm {
		x := float64(v)
		a, b = x+w*a-b, a
		power += x * x
	}
	return (a*a + b*b - w*a*b) / (power * float64(len(pcm)) / 2)
}

// tool runs one of Debian's opus-tools, which are made of libopus.
func tool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s (scripts/test-deps installs it): %v\n%s", strings.Join(args, " "), err, out)
	}
}

// toneAnnouncement is the tone as an announcement.
func toneAnnouncement(t *testing.T) *Announcement {
	t.Helper()
	dir := t.TempDir()
	wav, opus := filepath.Join(dir, "tone.wav"), filepath.Join(dir, "tone.opus")
	if err := os.WriteFile(wav, tone(), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "opusenc", "--quiet", "--bitrate", "24", wav, opus)
	b, err := os.ReadFile(opus)
	if err != nil {
		t.Fatal(err)
	}
	a, err := NewAnnouncement(tone(), b)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestHeard: what a caller is sent is the announcement, as decoders say that are not ours.
func TestHeard(t *testing.T) {
	a := toneAnnouncement(t)
	s := serve(t, func(ctx context.Context, c *Call) {
		if err := c.Play(ctx, a); err != nil && ctx.Err() == nil { // the test ends with what it wants to hear
			t.Error(err)
		}
		<-ctx.Done()
	})
	for _, x := range []struct {
		name, formats string
		lines         []string
		clock         uint32 // of a packet
		decode        func(t *testing.T, packets []rtp.Packet) (pcm []int16, rate int)
	}{
		{"Opus", "109 0 101", []string{"a=rtpmap:109 opus/48000/2", "a=fmtp:109 useinbandfec=1", eventMap}, 960, decodedOpus},
		{"PCMU", "0 109 101", []string{"a=rtpmap:109 opus/48000/2", eventMap}, 160, decodedG711(audio.DecodeUlawTo)},
		{"PCMA", "8 101", []string{eventMap}, 160, decodedG711(audio.DecodeAlawTo)},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := newCaller(t, s)
			if code, answer := c.invite(c.offer(x.formats, x.lines...)); code != 200 {
				t.Fatal(answer)
			}
			packets := c.hear(100, 4*time.Second)
			for i, p := range packets {
				before := packets[max(i-1, 0)]
				if fmt.Sprint(p.PayloadType) != strings.Fields(x.formats)[0] || p.Marker != (i == 0) || p.SSRC != before.SSRC ||
					i > 0 && (p.SequenceNumber != before.SequenceNumber+1 || p.Timestamp != before.Timestamp+x.clock) {
					t.Fatalf("packet %d: %+v", i, p.Header)
				}
			}
			pcm, rate := x.decode(t, packets)
			if got := share(t, pcm, rate); got < 0.98 {
				t.Errorf("%.3f of the power is at %d Hz", got, pitch)
			}
		})
	}
}

// hear takes n packets of sound.
func (c *caller) hear(n int, within time.Duration) (packets []rtp.Packet) {
	c.Helper()
	if err := c.sound.SetReadDeadline(time.Now().Add(within)); err != nil {
		c.Fatal(err)
	}
	for len(packets) < n {
		b := make([]byte, 1500)
		read, err := c.sound.Read(b)
		if err != nil {
			c.Fatalf("after %d packets: %v", len(packets), err)
		}
		var p rtp.Packet
		if err := p.Unmarshal(b[:read]); err != nil {
			c.Fatal(err)
		}
		packets = append(packets, p)
	}
	return packets
}

func decodedG711(decode func(pcm, g711 []byte) (int, error)) func(t *testing.T, packets []rtp.Packet) ([]int16, int) {
	return func(t *testing.T, packets []rtp.Packet) (pcm []int16, rate int) {
		for _, p := range packets {
			b := make([]byte, 2*len(p.Payload))
			if _, err := decode(b, p.Payload); err != nil {
				t.Fatal(err)
			}
			pcm = append(pcm, pcmOf(b)...)
		}
		return pcm, 8000
	}
}

// decodedOpus is what opusdec makes of the packets.
func decodedOpus(t *testing.T, packets []rtp.Packet) (pcm []int16, rate int) {
	dir := t.TempDir()
	opus, raw := filepath.Join(dir, "heard.opus"), filepath.Join(dir, "heard.raw")
	head := append([]byte("OpusHead\x01\x01"), 0, 0, 0x80, 0xbb, 0, 0, 0, 0, 0)
	file := oggPage(2, 0, 0, head)
	file = append(file, oggPage(0, 1, 0, append([]byte("OpusTags"), make([]byte, 8)...))...)
	for i, p := range packets {
		last := byte(0)
		if i == len(packets)-1 {
			last = 4
		}
		file = append(file, oggPage(last, uint32(i+2), uint64(i+1)*960, p.Payload)...)
	}
	if err := os.WriteFile(opus, file, 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "opusdec", "--quiet", "--rate", "48000", opus, raw)
	b, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	return pcmOf(b), 48000
}

// oggPage is a page with one packet (RFC 3533 6).
func oggPage(kind byte, number uint32, position uint64, packet []byte) []byte {
	b := append([]byte("OggS\x00"), kind)
	b = binary.LittleEndian.AppendUint64(b, position)
	b = binary.LittleEndian.AppendUint32(b, 1)
	b = binary.LittleEndian.AppendUint32(b, number)
	b = append(b, 0, 0, 0, 0, byte(len(packet)/255+1))
	b = append(b, bytes.Repeat([]byte{255}, len(packet)/255)...)
	b = append(append(b, byte(len(packet)%255)), packet...)
	var crc uint32 // RFC 3533 6: polynomial 0x04c11db7, most significant bit first
	for _, v := range b {
		crc ^= uint32(v) << 24
		for range 8 {
			crc = crc<<1 ^ 0x04c11db7*(crc>>31)
		}
	}
	binary.LittleEndian.PutUint32(b[22:], crc)
	return b
}
