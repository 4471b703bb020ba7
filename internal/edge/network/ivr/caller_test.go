package ivr

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/pion/rtp"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// service is a server, and the telephones that hear it end their calls.
type service struct {
	*Server
	callers []*net.UDPConn
}

// serve starts a server whose calls are handled by f.
func serve(t *testing.T, f func(ctx context.Context, c *Call)) *service {
	t.Helper()
	return serveAs(t, Config{Serve: f})
}

func serveAs(t *testing.T, cfg Config) *service {
	t.Helper()
	if cfg.Logger = slog.New(slog.DiscardHandler); !cfg.Media.IsValid() {
		cfg.Media = loopback
	}
	server, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := &service{Server: server}
	t.Cleanup(func() { s.end(t) })
	return s
}

// end ends the calls.
func (s *service) end(t testing.TB) {
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, c := range s.callers {
		c.Close()
	}
}

// caller is a telephone of few words: it says what the test wants, byte for byte.
type caller struct {
	testing.TB
	to         string // the service
	sip, sound *net.UDPConn
	cseq       int
	tag        string
	seq        uint16
	answers    chan string
}

func newCaller(t testing.TB, s *service) *caller {
	t.Helper()
	c := &caller{TB: t, to: s.URI(), answers: make(chan string, 8)}
	for _, conn := range []**net.UDPConn{&c.sip, &c.sound} {
		u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
		if err != nil {
			t.Fatal(err)
		}
		s.callers, *conn = append(s.callers, u), u
	}
	go c.listen()
	return c
}

// listen agrees to the end of a call; answers are for the test.
func (c *caller) listen() {
	buf := make([]byte, 4096)
	for {
		n, from, err := c.sip.ReadFromUDP(buf)
		if err != nil {
			return
		}
		m := string(buf[:n])
		if end, ok := strings.CutPrefix(m, "BYE "); ok {
			_, headers, _ := strings.Cut(end, "\r\n")
			_, _ = c.sip.WriteToUDP([]byte("SIP/2.0 200 OK\r\n"+headers), from) // it asks again
			continue
		}
		c.answers <- m
	}
}

func port(u *net.UDPConn) int { return u.LocalAddr().(*net.UDPAddr).Port }

func (c *caller) say(method, branch string, cseq int, body string) {
	c.Helper()
	typed := ""
	if body != "" {
		typed = "Content-Type: application/sdp\r\n"
	}
	_, at, _ := strings.Cut(c.to, "@")
	to, err := net.ResolveUDPAddr("udp4", at)
	if err != nil {
		c.Fatal(err)
	}
	tag := ""
	if c.tag != "" {
		tag = ";tag=" + c.tag
	}
	m := fmt.Sprintf("%[1]s %[2]s SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%[3]d;branch=z9hG4bK%[9]s\r\nMax-Forwards: 9\r\n"+
		"From: <sip:phone@127.0.0.1>;tag=1\r\nTo: <%[2]s>%[5]s\r\nCall-ID: %[3]d\r\nCSeq: %[4]d %[1]s\r\n"+
		"Contact: <sip:phone@127.0.0.1:%[3]d>\r\nP-Asserted-Identity: <sip:+442079460001@127.0.0.1>\r\n%[6]sContent-Length: %[7]d\r\n\r\n%[8]s",
		method, c.to, port(c.sip), cseq, tag, typed, len(body), body, branch)
	if _, err := c.sip.WriteToUDP([]byte(m), to); err != nil {
		c.Fatal(err)
	}
}

// offer offers sound: the formats of the line m=audio, and lines after it.
func (c *caller) offer(formats string, lines ...string) string {
	return fmt.Sprintf("v=0\r\no=- 1 %d IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP %s\r\n", c.cseq+1, port(c.sound), formats) +
		strings.Join(append(lines, ""), "\r\n")
}

// invite begins a call, or makes a new offer in it; it returns the final answer.
func (c *caller) invite(offer string) (code int, answer string) {
	c.Helper()
	c.cseq++
	branch := fmt.Sprintf("invite%d", c.cseq)
	c.say("INVITE", branch, c.cseq, offer)
	for {
		var m string
		select {
		case m = <-c.answers:
		case <-time.After(5 * time.Second):
			c.Fatal("no answer")
		}
		code, err := strconv.Atoi(m[len("SIP/2.0 "):][:3])
		if err != nil || code < 200 || !strings.Contains(m, fmt.Sprintf("CSeq: %d INVITE", c.cseq)) {
			continue
		}
		if tag := regexp.MustCompile(`(?m)^To:.*;tag=([^\s;]+)`).FindStringSubmatch(m); tag != nil && code == 200 {
			c.tag = tag[1]
			branch += "ack" // RFC 3261 13.2.2.4
		}
		c.say("ACK", branch, c.cseq, "")
		if code == 491 { // the acknowledgement of the first is on its way
			return c.invite(offer)
		}
		return code, m
	}
}

// soundAddr is where the service hears us, by its answer.
func (c *caller) soundAddr(answer string) *net.UDPAddr {
	c.Helper()
	m := regexp.MustCompile(`(?s)c=IN IP4 (\S+)\r\n.*m=audio (\d+)`).FindStringSubmatch(answer)
	if m == nil {
		c.Fatalf("no sound in the answer:\n%s", answer)
	}
	a, err := netip.ParseAddrPort(m[1] + ":" + m[2])
	if err != nil {
		c.Fatal(err)
	}
	return net.UDPAddrFromAddrPort(a)
}

// send sends bytes to where the service hears us.
func (c *caller) send(to *net.UDPAddr, b []byte) {
	c.Helper()
	if _, err := c.sound.WriteToUDP(b, to); err != nil {
		c.Fatal(err)
	}
}

// key presses one (RFC 4733): the packet that ends it, three times.
func (c *caller) key(to *net.UDPAddr, payloadType uint8, event byte) {
	c.Helper()
	for range 3 {
		c.seq++
		p := rtp.Packet{
			Header:  rtp.Header{Version: 2, PayloadType: payloadType, SequenceNumber: c.seq, Timestamp: uint32(c.seq-1) / 3 * 1600, SSRC: 7},
			Payload: []byte{event, endBit | 10, 3, 32},
		}
		b, err := p.Marshal()
		if err != nil {
			c.Fatal(err)
		}
		c.send(to, b)
	}
}

const eventMap = "a=rtpmap:101 telephone-event/8000"

// TestSoundElsewhere: the sound is at the address that telephones are told, which is another one than that of the signalling; and
// behind an address translation, where it is nobody's here, at one of this machine's.
func TestSoundElsewhere(t *testing.T) {
	for _, media := range []string{"127.0.0.2", "203.0.113.7"} {
		told := netip.MustParseAddr(media)
		heard := make(chan string, 1)
		s := serveAs(t, Config{Media: told, Serve: func(ctx context.Context, c *Call) {
			digits, _ := c.Digits(ctx, 1, 2*time.Second)
			heard <- digits
		}})
		c := newCaller(t, s)
		code, answer := c.invite(c.offer("0 101", eventMap))
		if code != 200 {
			t.Fatalf("the call was not answered: %s", answer)
		}
		to := c.soundAddr(answer)
		if got, _ := netip.AddrFromSlice(to.IP); got.Unmap() != told {
			t.Errorf("telephones are told %v, want %v", to, told)
		}
		if !told.IsLoopback() { // what translates the address leads to this machine's
			here, _, err := sip.ResolveInterfacesIP("ip4", nil)
			if err != nil {
				t.Fatal(err)
			}
			to.IP = here
		}
		u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: to.IP})
		if err != nil {
			t.Fatal(err)
		}
		s.callers, c.sound = append(s.callers, u), u
		c.key(to, 101, 5)
		if got := <-heard; got != "5" {
			t.Errorf("at %s %q was heard, want 5", media, got)
		}
	}
}

// TestHostilePackets: whatever arrives among the sound, the keys of the caller are heard.
func TestHostilePackets(t *testing.T) {
	keyed := make(chan string, 1)
	s := serve(t, func(ctx context.Context, c *Call) {
		digits, err := c.Digits(ctx, 2, 5*time.Second)
		if err != nil {
			t.Error(err)
		}
		keyed <- digits
	})
	c := newCaller(t, s)
	code, answer := c.invite(c.offer("0 101", eventMap))
	if code != 200 {
		t.Fatalf("the call was not answered: %s", answer)
	}
	to := c.soundAddr(answer)
	c.key(to, 101, 4)
	header := []byte{0x80, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1}
	for _, hostile := range [][]byte{
		append(append([]byte{0x90}, header[1:]...), 0xbe, 0xde, 0, 2, 0x10, 0xaa, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4), // padded extensions, RFC 8285 4.2
		{}, {0}, {0x80}, header[:11], header,
		append(append([]byte{0x90}, header[1:]...), 0xbe, 0xde, 0xff, 0xff),
		append(append([]byte{0xa0}, header[1:]...), 255),
		append(append([]byte{0x8f}, header[1:]...), 1),
		bytes.Repeat([]byte{0xff}, 1600),
	} {
		c.send(to, hostile)
	}
	c.key(to, 101, 2)
	if got := <-keyed; got != "42" {
		t.Errorf("keyed: %q, want 42", got)
	}
}

// TestOffers: what is agreed on, and what is refused.
func TestOffers(t *testing.T) {
	s := serve(t, func(ctx context.Context, _ *Call) { <-ctx.Done() })
	for _, x := range []struct {
		name, formats string
		lines         []string
		want          string // formats of the answer; "": refused
	}{
		{"as the caller prefers it", "8 0 101", []string{eventMap}, "8 101"},
		{"something else first", "9 0 101", []string{"a=rtpmap:9 G722/8000", eventMap}, "0 101"},
		{"Opus", "109 0 101 110", []string{"a=rtpmap:109 OPUS/48000/2", eventMap, "a=rtpmap:110 telephone-event/48000"}, "109 110"},
		{"Opus, and events of 8 kHz only", "109 0 101", []string{"a=rtpmap:109 opus/48000/2", eventMap}, "109 101"},
		{"Opus, but another is preferred", "0 109 110 101", []string{"a=rtpmap:109 opus/48000/2", eventMap, "a=rtpmap:110 telephone-event/48000"}, "0 101"},
		{"no Opus: RFC 7587 has two channels", "109 8 101", []string{"a=rtpmap:109 opus/48000", eventMap}, "8 101"},
		{"a payload type that is described twice", "0 101", []string{eventMap, eventMap, "a=rtpmap:101 telephone-event/16000"}, "0 101"},
		{"one that is of another kind by standard", "0 101", []string{"a=rtpmap:0 G722/8000", eventMap}, "0 101"},
		{"numbers that are none", "0 300 -1 x 101", []string{"a=rtpmap:300 PCMA/8000", "a=rtpmap:x", "a=rtpmap:", "a=rtpmap:-1 PCMU/", eventMap}, "0 101"},
		{"no events: in G.711 the tones are heard", "109 8", []string{"a=rtpmap:109 opus/48000/2"}, "8"},
		{"Opus without events", "109", []string{"a=rtpmap:109 opus/48000/2"}, ""},
		{"nothing that is understood", "9 101", []string{"a=rtpmap:9 G722/8000", eventMap}, ""},
		{"a picture too", "0 101", []string{eventMap, "m=video 4002 RTP/AVP 34"}, ""},
	} {
		c := newCaller(t, s)
		code, answer := c.invite(c.offer(x.formats, x.lines...))
		switch {
		case x.want == "" && code != 488:
			t.Errorf("%s: %d, want 488", x.name, code)
		case x.want != "" && !regexp.MustCompile(`m=audio \d+ RTP/AVP `+x.want+`\r\n`).MatchString(answer):
			t.Errorf("%s: want %s in the answer:\n%s", x.name, x.want, answer)
		}
	}
}

// TestNewOffer: a new offer in the call is looked at as the first one is, and the keys are heard
// after it.
func TestNewOffer(t *testing.T) {
	begun, keyed := make(chan struct{}), make(chan string, 1)
	s := serve(t, func(ctx context.Context, c *Call) {
		close(begun)
		digits, err := c.Digits(ctx, 2, 5*time.Second)
		if err != nil {
			t.Error(err)
		}
		keyed <- digits
	})
	c := newCaller(t, s)
	_, answer := c.invite(c.offer("0 101", eventMap))
	to := c.soundAddr(answer)
	select { // the library confuses a new offer with the answer to the first while it waits for the acknowledgement
	case <-begun:
	case <-time.After(5 * time.Second):
		t.Fatal("the call was not served")
	}
	c.key(to, 101, 4)
	if code, answer := c.invite(c.offer("109 110", "a=rtpmap:109 opus/48000/2", "a=rtpmap:110 telephone-event/48000", "a=rtpmap:110 telephone-event/48000")); code != 200 {
		t.Fatalf("the new offer was not taken: %s", answer)
	}
	c.key(to, 110, 2)
	if got := <-keyed; got != "42" {
		t.Errorf("keyed: %q, want 42", got)
	}
}

// FuzzOffer: whatever is offered, nothing breaks, and one kind of sound is left at most.
func FuzzOffer(f *testing.F) {
	f.Add([]byte("v=0\r\nm=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"))
	f.Add([]byte("m=audio 1 RTP/AVP 96\na=rtpmap:96 opus/48000/2\na=rtpmap:96 opus/48000/2"))
	f.Add([]byte("m=\nm=audio"))
	f.Add([]byte("m=audio 4000 RTP/AVP 8 101\r0a=rtpmap:000"))
	f.Fuzz(func(t *testing.T, offer []byte) {
		got, err := tidy(offer)
		if err != nil {
			return
		}
		m := regexp.MustCompile(`(?m)^m=(.*)\r$`).FindAllSubmatch(got, -1)
		if n := len(regexp.MustCompile(`(?m)^a=rtpmap:`).FindAll(got, -1)); len(m) != 1 || n != len(bytes.Fields(m[0][1]))-3 || n > 2 {
			t.Errorf("%q becomes %q", offer, got)
		}
	})
}
