package ivr

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/emiago/diago"
	"github.com/emiago/diago/media"
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

// newCall begins to listen to the keys.
func newCall(m *diago.DialogMedia) (*Call, error) {
	pad := keypad{}
	for _, codec := range m.MediaSession().CommonCodecs() {
		if codec.Matches(media.CodecTelephoneEvent8000) {
			pad.payloadType = codec.PayloadTypeRecv()
		}
	}
	if pad.payloadType == 0 {
		return nil, errors.New("ivr: no telephone events are agreed on")
	}
	r, err := m.AudioReader()
	if err != nil {
		return nil, fmt.Errorf("ivr: %w", err)
	}
	c := &Call{media: m, keys: make(chan rune, 32), over: make(chan struct{})}
	go func() {
		defer close(c.over)
		buf := make([]byte, media.RTPBufSize)
		for {
			n, err := r.Read(buf)
			if err != nil {
				return // the call is over
			}
			key, ok := pad.press(m.RTPPacketReader.PacketHeader, buf[:n])
			if !ok {
				continue
			}
			select {
			case c.keys <- key:
			default: // nobody waits for so many
			}
		}
	}()
	return c, nil
}

// Play plays a WAV file (16 bits, 8 kHz, one channel) to its end, or until a key is pressed
// or the call is over.
func (c *Call) Play(ctx context.Context, wav []byte) error {
	p, err := c.media.PlaybackControlCreate()
	if err != nil {
		return fmt.Errorf("ivr: play: %w", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := p.Play(bytes.NewReader(wav), "audio/wav")
		done <- err
	}()
	look := time.NewTicker(20 * time.Millisecond) // one packet of sound
	defer look.Stop()
	for {
		select {
		case err := <-done:
			if err != nil {
				err = fmt.Errorf("ivr: play: %w", err)
			}
			return err
		case <-look.C:
			if len(c.keys) == 0 && ctx.Err() == nil {
				continue
			}
			p.Stop()
			<-done
			return ctx.Err()
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
