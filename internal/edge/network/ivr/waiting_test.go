package ivr

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"github.com/emiago/diago/media"
	"github.com/pion/rtp"
)

// waitingMusic is what the service number plays, cut to a few packets.
func waitingMusic(t *testing.T) *Announcement {
	t.Helper()
	wav, err := os.ReadFile("../../../server/announcements/waiting.wav")
	if err != nil {
		t.Fatal(err)
	}
	opus, err := os.ReadFile("../../../server/announcements/waiting.opus")
	if err != nil {
		t.Fatal(err)
	}
	a, err := NewAnnouncement(wav, opus)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range a.packets {
		a.packets[name] = p[40:43]
	}
	return a
}

// hears reads as many packets of sound as are wanted, one after the other.
func (c *caller) hears(want ...[]byte) {
	c.Helper()
	buf := make([]byte, 2048)
	for i, w := range want {
		if err := c.sound.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			c.Fatal(err)
		}
		n, err := c.sound.Read(buf)
		var p rtp.Packet
		if err == nil {
			err = p.Unmarshal(buf[:n])
		}
		if err != nil || !bytes.Equal(p.Payload, w) {
			c.Fatalf("packet %d: %x, %v; want %x", i, p.Payload, err, w)
		}
	}
}

// TestWaiting: who finds all places taken hears music, again and again, until one is free; when too many wait, a
// call is refused.
func TestWaiting(t *testing.T) {
	music, served, next := waitingMusic(t), make(chan *Call, 3), make(chan struct{})
	s := serveAs(t, Config{Calls: 1, Waiting: 1, Music: music, Serve: func(ctx context.Context, c *Call) {
		served <- c
		select {
		case <-next:
		case <-ctx.Done():
		}
	}})
	offer := func(c *caller) int {
		code, _ := c.invite(c.offer("0 101", eventMap))
		return code
	}
	if code := offer(newCaller(t, s)); code != 200 {
		t.Fatal(code)
	}
	<-served
	second := newCaller(t, s)
	if code := offer(second); code != 200 {
		t.Fatal(code)
	}
	p := music.packets[media.CodecAudioUlaw.Name]
	second.hears(p[0], p[1], p[2], p[0], p[1], p[2], p[0])
	if code := offer(newCaller(t, s)); code != 486 {
		t.Errorf("one more than may wait: %d, want 486", code)
	}
	select {
	case <-served:
		t.Fatal("served beside the first")
	default:
	}
	next <- struct{}{}
	select {
	case <-served:
	case <-time.After(5 * time.Second):
		t.Fatal("not served after the first")
	}
	if code := offer(newCaller(t, s)); code != 200 {
		t.Errorf("the place in the queue is not free again: %d", code)
	}
}

// TestPatience: who has waited too long is no more in the queue, and was not served.
func TestPatience(t *testing.T) {
	served := make(chan *Call, 3)
	s := serveAs(t, Config{Calls: 1, Waiting: 1, Patience: 200 * time.Millisecond, Music: waitingMusic(t), Serve: func(ctx context.Context, c *Call) {
		served <- c
		<-ctx.Done()
	}})
	for i := range 2 {
		c := newCaller(t, s)
		if code, answer := c.invite(c.offer("0 101", eventMap)); code != 200 {
			t.Fatalf("caller %d: %s", i, answer)
		}
	}
	for until := time.Now().Add(10 * time.Second); ; {
		c := newCaller(t, s)
		if code, _ := c.invite(c.offer("0 101", eventMap)); code == 200 {
			break
		}
		if time.Now().After(until) {
			t.Fatal("it waits for ever")
		}
	}
	if len(served) != 1 {
		t.Errorf("%d were served, want 1", len(served))
	}
}
