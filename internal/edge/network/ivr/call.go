package ivr

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/emiago/diago"
	"github.com/emiago/diago/audio"
	"github.com/emiago/diago/media"
	"github.com/pion/rtp"
)

// ErrSilence: no key was pressed in time.
var ErrSilence = errors.New("ivr: no key was pressed")

// Call is one call that was answered.
type Call struct {
	// Caller is the number that the network has seen, in E.164; "" where it has seen none.
	Caller string

	media *diago.DialogMedia
	keys  chan rune
	over  chan struct{} // closed when the telephone sends nothing any more
}

// reading is the library's word for the half of a session that we take packets from.
const reading = 1

// newCall begins to listen to the keys.
func newCall(m *diago.DialogMedia) *Call {
	c := &Call{media: m, keys: make(chan rune, 32), over: make(chan struct{})}
	go func() {
		defer close(c.over)
		c.listen()
	}()
	return c
}

// eventsOf is the payload type of the telephone events that are agreed on; 0: none.
func eventsOf(s *media.MediaSession) uint8 {
	for _, codec := range s.CommonCodecs() {
		if codec.Name == media.CodecTelephoneEvent8000.Name {
			return codec.PayloadTypeRecv()
		}
	}
	return 0
}

// listen takes the packets that arrive, until the call is over. Anybody may send some: what is
// malformed is passed over. The library's own reader of packets is not used, since one whose
// header extensions are padded (RFC 8285 4.2) ends the program there.
func (c *Call) listen() {
	pad := keypad{payloadType: eventsOf(c.media.MediaSession())}
	var inSound tones
	var p rtp.Packet
	buf := make([]byte, media.RTPBufSize)
	session := c.media.RTPPacketReader.Reader()
	for {
		n, err := session.ReadRTP(buf, &p)
		var network net.Error
		switch {
		case errors.As(err, &network) && network.Timeout():
			// A new offer in the call has a new session, on the same socket.
			session = c.media.RTPPacketReader.Reader()
			s, ok := session.(*media.RTPSession)
			if !ok || s.Sess.StartRTP(reading) != nil {
				return
			}
			pad.payloadType = eventsOf(s.Sess)
		case network != nil:
			return // the call is over
		case err != nil || n == 0:
			// malformed, or on hold
		default:
			var pressed []rune
			if pad.payloadType == 0 { // who sends events may send the tones, too
				pressed = inSound.press(decoded(p.PayloadType, p.Payload))
			} else if key, ok := pad.press(p.Header, p.Payload); ok {
				pressed = append(pressed, key)
			}
			for _, key := range pressed {
				select {
				case c.keys <- key:
				default: // nobody waits for so many
				}
			}
		}
	}
}

// decoded is the sound of a packet of G.711; nil if it is of another kind.
func decoded(payloadType uint8, payload []byte) []int16 {
	decode := audio.DecodeUlawTo
	switch payloadType {
	case media.CodecAudioUlaw.PayloadType:
	case media.CodecAudioAlaw.PayloadType:
		decode = audio.DecodeAlawTo
	default:
		return nil
	}
	b := make([]byte, 2*len(payload))
	if _, err := decode(b, payload); err != nil {
		return nil
	}
	return pcmOf(b)
}

// pcmOf are samples of 16 bits, the low byte first.
func pcmOf(b []byte) []int16 {
	pcm := make([]int16, len(b)/2)
	for i := range pcm {
		pcm[i] = int16(binary.LittleEndian.Uint16(b[2*i:]))
	}
	return pcm
}

// Play plays an announcement to its end, or until a key is pressed or the call is over.
func (c *Call) Play(ctx context.Context, a *Announcement) error {
	return c.play(ctx, a, func() bool { return len(c.keys) > 0 })
}

// wait plays music, again and again, until ctx is done. What is keyed meanwhile counts for nothing.
func (c *Call) wait(ctx context.Context, music *Announcement) error {
	for ctx.Err() == nil {
		if err := c.play(ctx, music, func() bool { return false }); err != nil && ctx.Err() == nil {
			return err
		}
	}
	for len(c.keys) > 0 {
		<-c.keys
	}
	return nil
}

func (c *Call) play(ctx context.Context, a *Announcement, over func() bool) error {
	w := c.media.RTPPacketWriter
	w.ResetTimestamp() // it was silent for a while
	for i := 0; ; i++ {
		// A new offer in the call may have agreed on another kind of sound.
		packets := a.packets[media.CodecAudioFromSession(c.media.MediaSession()).Name]
		if i >= len(packets) || over() {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := w.Write(packets[i]); err != nil { // it takes 20 ms
			return fmt.Errorf("ivr: play: %w", err)
		}
	}
}

// Digits returns as many digits as are keyed, n at most; fewer if # is pressed or no key for as
// long as wait. The key * begins anew. ErrSilence if there was none at all.
func (c *Call) Digits(ctx context.Context, n int, wait time.Duration) (string, error) {
	var digits []rune
	for len(digits) < n {
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return "", ctx.Err()
		case <-c.over:
			t.Stop()
			return "", fmt.Errorf("ivr: the call is over: %w", context.Canceled)
		case key := <-c.keys:
			t.Stop()
			switch {
			case key == '*':
				digits = nil
			case key == '#':
				return c.keyed(digits)
			case key >= '0' && key <= '9':
				digits = append(digits, key)
			}
		case <-t.C:
			return c.keyed(digits)
		}
	}
	return string(digits), nil
}

func (c *Call) keyed(digits []rune) (string, error) {
	if len(digits) == 0 {
		return "", ErrSilence
	}
	return string(digits), nil
}
