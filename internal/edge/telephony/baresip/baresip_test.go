package baresip

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/tandem-call/tandem/tel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What a real phone (baresip 1.0.0) has said: an incoming call that is accepted, put on
// hold and resumed here, and hung up there.
const (
	incoming    = `{"event":true,"type":"CALL_INCOMING","class":"call","accountaor":"sip:+442079460002@127.0.0.1:25070","direction":"incoming","peeruri":"sip:+442079460001@127.0.0.1:25060","id":"62c854c38926f132","param":"sip:+442079460001@127.0.0.1:25060"}`
	answer      = `{"event":true,"type":"CALL_LOCAL_SDP","class":"other","accountaor":"sip:+442079460002@127.0.0.1:25070","direction":"incoming","peeruri":"sip:+442079460001@127.0.0.1:25060","id":"62c854c38926f132","param":"answer"}`
	established = `{"event":true,"type":"CALL_ESTABLISHED","class":"call","accountaor":"sip:+442079460002@127.0.0.1:25070","direction":"incoming","peeruri":"sip:+442079460001@127.0.0.1:25060","id":"62c854c38926f132","param":"sip:+442079460001@127.0.0.1:25060"}`
	rtcp        = `{"event":true,"type":"CALL_RTCP","class":"call","accountaor":"sip:+442079460002@127.0.0.1:25070","direction":"incoming","peeruri":"sip:+442079460001@127.0.0.1:25060","id":"62c854c38926f132","param":"audio","rtcp_stats":{"tx":{"sent":0,"lost":0,"jit":0},"rx":{"sent":0,"lost":0,"jit":0},"rtt":0}}`
	remote      = `{"event":true,"type":"CALL_REMOTE_SDP","class":"other","accountaor":"sip:+442079460002@127.0.0.1:25070","direction":"incoming","peeruri":"sip:+442079460001@127.0.0.1:25060","id":"62c854c38926f132","param":"answer"}`
	closed      = `{"event":true,"type":"CALL_CLOSED","class":"call","accountaor":"sip:+442079460002@127.0.0.1:25070","direction":"incoming","peeruri":"sip:+442079460001@127.0.0.1:25060","id":"62c854c38926f132","param":"Connection reset by peer"}`
	// of an outgoing call
	dialled = `{"event":true,"type":"CALL_LOCAL_SDP","class":"other","accountaor":"sip:+442079460001@127.0.0.1:25060","direction":"outgoing","peeruri":"sip:+442079460002@127.0.0.1:25070","param":"offer"}`
	rings   = `{"event":true,"type":"CALL_RINGING","class":"call","accountaor":"sip:+442079460001@127.0.0.1:25060","direction":"outgoing","peeruri":"sip:+442079460002@127.0.0.1:25070","id":"62c854c38926f132","param":"sip:+442079460002@127.0.0.1:25070"}`
)

// and how it lists calls.
const (
	noCalls     = "\n--- Active calls (0) ---\n\n"
	oneRinging  = "\n--- Active calls (1) ---\n> [line 1]  0:00:00   INCOMING             sip:+442079460001@127.0.0.1:25060\n\n"
	oneActive   = "\n--- Active calls (1) ---\n> [line 1]  0:00:05  ESTABLISHED             sip:+442079460001@127.0.0.1:25060\n\n"
	oneHeld     = "\n--- Active calls (1) ---\n> [line 1]  0:00:05  ESTABLISHED  (on hold)  sip:+442079460001@127.0.0.1:25060\n\n"
	twoSame     = "\n--- Active calls (2) ---\n  [line 1]  0:00:09  ESTABLISHED  (on hold)  sip:+442079460001@127.0.0.1:25060\n> [line 2]  0:00:01  ESTABLISHED             sip:+442079460001@127.0.0.1:25060\n\n"
	oneDialling = "\n--- Active calls (1) ---\n> [line 1]  0:00:00   OUTGOING             sip:+442079460001@127.0.0.1:25060\n\n"
	twoAccounts = "\n--- Active calls (0) ---\n\n\n--- Active calls (1) ---\n> [line 1]  0:00:05  ESTABLISHED             sip:+442079460001@127.0.0.1:25060\n\n"
	otherForm   = "\n--- Active calls (1) ---\n> line 1: sip:+442079460001@127.0.0.1:25060, established\n\n"
	anonymous   = "\n--- Active calls (1) ---\n> [line 1]  0:00:05  ESTABLISHED             sip:anonymous@anonymous.invalid\n\n"
)

// change gives a recorded event other values.
func change(event string, pairs ...string) string {
	return strings.NewReplacer(pairs...).Replace(event)
}

// line is what a test compares of a report.
func line(p tel.PartyDetails) string {
	ref := p.Ref.CallID
	if p.Ref.Local != "" {
		ref = "local"
	}
	return fmt.Sprintf("%s %s %s %s", p.Direction, p.Other, p.State, ref)
}

// TestCalls: events ("{…") and lists go in, reports come out; "?" says that the list was
// asked for.
func TestCalls(t *testing.T) {
	const from, id = "tel:+442079460001", "62c854c38926f132"
	in := func(state string) string { return "incoming " + from + " " + state + " " + id }
	found := func(state string) string { return " " + from + " " + state + " local" }
	other := []string{id, "another", "+442079460001", "+442079460003"}
	for name, c := range map[string]struct {
		in, want []string
	}{
		"incoming, as recorded": {[]string{incoming, answer, rtcp, established, rtcp, closed}, []string{in("ringing"), in("active"), in("ended")}},
		"outgoing, as recorded": {
			[]string{dialled, rings, change(established, "incoming", "outgoing", "460001", "460002"), change(closed, "incoming", "outgoing", "460001", "460002")},
			[]string{"outgoing tel:+442079460002 ringing " + id, "outgoing tel:+442079460002 active " + id, "outgoing tel:+442079460002 ended " + id},
		},
		"not reached":           {[]string{dialled, change(closed, "incoming", "outgoing")}, []string{"outgoing " + from + " ended " + id}},
		"ringing, then early":   {[]string{rings, change(rings, "CALL_RINGING", "CALL_PROGRESS")}, []string{"outgoing tel:+442079460002 ringing " + id}},
		"late ringing":          {[]string{incoming, established, change(incoming, "CALL_INCOMING", "CALL_PROGRESS")}, []string{in("ringing"), in("active")}},
		"hold":                  {[]string{incoming, established, remote, oneHeld, remote, oneActive, closed}, []string{in("ringing"), in("active"), "?", in("held"), "?", in("active"), in("ended")}},
		"hold in later phones":  {[]string{established, change(established, "ESTABLISHED", "HOLD"), change(established, "ESTABLISHED", "RESUME")}, []string{in("active"), in("held"), in("active")}},
		"two calls":             {[]string{incoming, change(incoming, other...), closed, change(established, other...)}, []string{in("ringing"), "incoming tel:+442079460003 ringing another", in("ended"), "incoming tel:+442079460003 active another"}},
		"nothing up":            {[]string{noCalls}, nil},
		"found in a call":       {[]string{oneActive, oneActive}, []string{found("active")}},
		"found, then ended":     {[]string{oneActive, closed}, []string{found("active"), found("ended"), in("ended")}},
		"found, then gone":      {[]string{oneActive, noCalls}, []string{found("active"), found("ended")}},
		"found ringing":         {[]string{oneRinging, established, closed}, []string{"incoming " + from + " ringing local", "incoming " + from + " active local", "incoming " + from + " ended local", in("ended")}},
		"found before told of":  {[]string{oneRinging, incoming, closed}, []string{"incoming " + from + " ringing local", "incoming " + from + " ringing local", "incoming " + from + " ended local", in("ended")}},
		"found dialling":        {[]string{oneDialling}, nil},
		"found, then another":   {[]string{oneActive, incoming}, []string{found("active"), in("ringing")}},
		"ended while away":      {[]string{incoming, established, noCalls}, []string{in("ringing"), in("active"), in("ended")}},
		"answered while away":   {[]string{incoming, oneActive}, []string{in("ringing"), in("active")}},
		"still up":              {[]string{incoming, established, oneActive}, []string{in("ringing"), in("active")}},
		"another while away":    {[]string{incoming, established, twoSame}, []string{in("ringing"), in("active"), found("held")}},
		"several accounts":      {[]string{twoAccounts}, []string{found("active")}},
		"a list not understood": {[]string{incoming, otherForm, "nonsense"}, []string{in("ringing")}},
		"withheld": {
			[]string{change(incoming, "sip:+442079460001@127.0.0.1:25060", "sip:anonymous@anonymous.invalid"), anonymous, change(closed, "sip:+442079460001@127.0.0.1:25060", "sip:anonymous@anonymous.invalid")},
			[]string{"incoming  ringing " + id, "incoming  active " + id, "incoming  ended " + id},
		},
		"a long Call-ID":   {[]string{change(incoming, id, strings.Repeat("x", 200))}, []string{"incoming " + from + " ringing local"}},
		"an odd Call-ID":   {[]string{change(incoming, id, `\u0000\u0007`)}, []string{"incoming " + from + " ringing local"}},
		"other events":     {[]string{`{"event":true,"type":"REGISTER_OK","class":"register","accountaor":"sip:x@y","param":"200 OK"}`, change(incoming, "CALL_INCOMING", "CALL_DTMF_START")}, nil},
		"no address":       {[]string{change(incoming, "sip:+442079460001@127.0.0.1:25060", "")}, []string{"incoming  ringing " + id}},
		"an address not a": {[]string{change(incoming, "sip:+442079460001@127.0.0.1:25060", "sip:")}, []string{"incoming  ringing " + id}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			d := New(Config{})
			d.calls.report = func(p tel.PartyDetails) {
				if err := p.ValidateFields(); err != nil {
					t.Errorf("%v", err)
				}
				got = append(got, line(p))
			}
			for _, s := range c.in {
				if !strings.HasPrefix(s, "{") {
					d.calls.list(s)
					continue
				}
				var m message
				if err := json.Unmarshal([]byte(s), &m); err != nil {
					t.Fatal(err)
				}
				if d.calls.event(m) {
					got = append(got, "?")
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("reports:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
			}
		})
	}
}

func TestIdentity(t *testing.T) {
	for _, c := range []struct {
		uri      string
		sipUsers bool
		want     string
	}{
		{"sip:+442079460001@127.0.0.1:5060", false, "tel:+442079460001"},
		{"sip:+442079460001@127.0.0.1:5070", true, "sip:+442079460001@127.0.0.1:5070"},
		{"sips:+442079460001@pbx.example;transport=tls", false, "tel:+442079460001"},
		{"sip:alice@example.com", false, "sip:alice@example.com"},
		{"sip:1001@pbx.example", false, "sip:1001@pbx.example"},
		{"sip:Anonymous@anonymous.invalid", false, ""},
		{"sip:x@anonymous.invalid;user=phone", false, ""},
		{"", false, ""},
		{"nonsense", false, ""},
	} {
		d := New(Config{SIPUsers: c.sipUsers})
		if got := d.calls.identity(c.uri).String(); got != c.want {
			t.Errorf("%q, SIP users %v: %q, want %q", c.uri, c.sipUsers, got, c.want)
		}
	}
}

// TestCompare: whatever the phone lists, afterwards we know just that, and each call has
// been reported into the state that it has.
func TestCompare(t *testing.T) {
	identities := []tel.Identity{{}}
	for _, n := range []string{"+442079460001", "+442079460002"} {
		id, err := tel.ParseIdentity(n, "")
		if err != nil {
			t.Fatal(err)
		}
		identities = append(identities, id)
	}
	rapid.Check(t, func(t *rapid.T) {
		c := New(Config{}).calls
		last := map[tel.Ref]tel.State{}
		c.report = func(p tel.PartyDetails) {
			if last[p.Ref] == p.State || last[p.Ref] == tel.Ended {
				t.Fatalf("%v reported as %s after %s", p.Ref, p.State, last[p.Ref])
			}
			last[p.Ref] = p.State
		}
		for range rapid.IntRange(1, 8).Draw(t, "lists") {
			var now []listed
			for range rapid.IntRange(0, 4).Draw(t, "calls") {
				now = append(now, listed{other: rapid.SampledFrom(identities).Draw(t, "other"), state: rapid.SampledFrom([]tel.State{tel.Ringing, tel.Active, tel.Held}).Draw(t, "state")})
			}
			c.compare(now)
			if len(c.up) != len(now) {
				t.Fatalf("%d calls known of %d", len(c.up), len(now))
			}
			for _, k := range c.up {
				i := slices.IndexFunc(now, func(l listed) bool { return l.other == k.details.Other && l.state == k.details.State })
				if i < 0 || last[k.details.Ref] != k.details.State {
					t.Fatalf("%+v is not listed, or was last reported as %s", k.details, last[k.details.Ref])
				}
				now = slices.Delete(now, i, i+1)
			}
		}
	})
}

// phone is a scripted ctrl_tcp server.
type phone struct {
	t *testing.T
	l net.Listener
	c net.Conn
	r *bufio.Reader
}

func startPhone(t *testing.T, addr string) *phone {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p := &phone{t: t, l: l}
	t.Cleanup(p.stop)
	return p
}

// accept waits for the detector, and its question for the calls.
func (p *phone) accept(calls string) {
	p.t.Helper()
	c, err := p.l.Accept()
	if err != nil {
		p.t.Fatal(err)
	}
	p.c, p.r = c, bufio.NewReader(c)
	p.asked(calls)
}

// asked waits for the question and answers it.
func (p *phone) asked(calls string) {
	p.t.Helper()
	b, err := readNetstring(p.r)
	if err != nil || string(b) != `{"command":"listcalls","token":"tandem-calls"}` {
		p.t.Fatalf("asked %q, %v", b, err)
	}
	data, err := json.Marshal(map[string]any{"response": true, "ok": true, "data": calls, "token": "tandem-calls"})
	if err != nil {
		p.t.Fatal(err)
	}
	p.say(string(data))
}

func (p *phone) say(messages ...string) {
	p.t.Helper()
	var b []byte
	for _, m := range messages {
		b = appendNetstring(b, []byte(m))
	}
	if _, err := p.c.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

func (p *phone) stop() {
	p.l.Close()
	if p.c != nil {
		p.c.Close()
	}
}

// listen runs a detector until the test ends.
func listen(t *testing.T, c Config) (reports <-chan tel.PartyDetails, ended <-chan error) {
	ctx, cancel := context.WithCancel(context.Background())
	ch, end := make(chan tel.PartyDetails, 100), make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() { end <- New(c).Run(ctx, func(p tel.PartyDetails) { ch <- p }) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return ch, end
}

func expect(t *testing.T, reports <-chan tel.PartyDetails, want string) tel.PartyDetails {
	t.Helper()
	select {
	case p := <-reports:
		if got := string(p.State) + " " + p.Other.String(); got != want {
			t.Fatalf("reported %q, want %q", got, want)
		}
		return p
	case <-time.After(20 * time.Second):
		t.Fatalf("%q was not reported", want)
	}
	panic("not reached")
}

func TestRun(t *testing.T) {
	p := startPhone(t, "127.0.0.1:0")
	addr := p.l.Addr().String()
	reports, ended := listen(t, Config{Addr: addr, Retry: time.Millisecond, Gone: time.Hour})
	p.accept(noCalls)
	p.say(incoming, answer)
	first := expect(t, reports, "ringing tel:+442079460001")
	if first.Own.String() != "tel:+442079460002" || first.Direction != tel.Incoming || first.Ref.CallID != "62c854c38926f132" {
		t.Errorf("%+v", first)
	}
	p.say(established, remote)
	expect(t, reports, "active tel:+442079460001")
	p.asked(oneHeld)
	expect(t, reports, "held tel:+442079460001")

	t.Run("the connection is lost", func(t *testing.T) {
		p.c.Close()
		p.accept(oneActive)
		if again := expect(t, reports, "active tel:+442079460001"); again.Ref != first.Ref {
			t.Errorf("by another reference, %+v", again.Ref)
		}
	})
	t.Run("the phone is restarted in the middle of the call", func(t *testing.T) {
		p.stop()
		p = startPhone(t, addr)
		p.accept(noCalls)
		if end := expect(t, reports, "ended tel:+442079460001"); end.Ref != first.Ref {
			t.Errorf("by another reference, %+v", end.Ref)
		}
	})
	t.Run("in pieces", func(t *testing.T) {
		p = startPhone(t, "127.0.0.1:0")
		reports, _ := listen(t, Config{Addr: p.l.Addr().String()})
		p.accept(noCalls)
		for _, b := range appendNetstring(nil, []byte(incoming)) {
			if _, err := p.c.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		expect(t, reports, "ringing tel:+442079460001")
	})
	select {
	case err := <-ended:
		t.Errorf("Run ended: %v", err)
	default:
	}
}

// TestGone: a phone that does not come back has no calls any more.
func TestGone(t *testing.T) {
	p := startPhone(t, "127.0.0.1:0")
	reports, _ := listen(t, Config{Addr: p.l.Addr().String(), Retry: time.Millisecond, Gone: 20 * time.Millisecond})
	p.accept(oneActive)
	expect(t, reports, "active tel:+442079460001")
	p.stop()
	expect(t, reports, "ended tel:+442079460001")
}

// TestNotAPhone: Run ends when something else answers.
func TestNotAPhone(t *testing.T) {
	for name, said := range map[string]string{
		"a web server":      "HTTP/1.1 400 Bad Request\r\n\r\n",
		"an SSH server":     "SSH-2.0-OpenSSH_9.2\r\n",
		"netstrings of XML": "4:<a/>,",
		"too long":          "9999999:",
		"no comma":          "2:{}x",
	} {
		t.Run(name, func(t *testing.T) {
			p := startPhone(t, "127.0.0.1:0")
			_, ended := listen(t, Config{Addr: p.l.Addr().String()})
			p.accept(noCalls)
			if _, err := io.WriteString(p.c, said); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; !errors.Is(err, ErrProtocol) {
				t.Errorf("Run ended with %v", err)
			}
		})
	}
}

func TestNetstring(t *testing.T) {
	for name, c := range map[string]struct {
		in, want string
		err      error
	}{
		"empty":           {"0:,", "", nil},
		"one":             {"5:hello,", "hello", nil},
		"with commas":     {"3:,,,,", ",,,", nil},
		"end":             {"", "", io.EOF},
		"cut length":      {"12", "", io.ErrUnexpectedEOF},
		"cut body":        {"5:hel", "", io.ErrUnexpectedEOF},
		"cut comma":       {"5:hello", "", io.ErrUnexpectedEOF},
		"no length":       {":x,", "", ErrProtocol},
		"leading zero":    {"05:hello,", "", ErrProtocol},
		"sign":            {"+5:hello,", "", ErrProtocol},
		"space":           {" 5:hello,", "", ErrProtocol},
		"too many bytes":  {"1048577:", "", ErrProtocol},
		"digits for ever": {strings.Repeat("1", 5000), "", ErrProtocol},
		"wrong end":       {"5:hello;", "", ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readNetstring(bufio.NewReader(iotest.OneByteReader(strings.NewReader(c.in))))
			if string(got) != c.want || !errors.Is(err, c.err) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func FuzzNetstring(f *testing.F) {
	for _, s := range []string{"0:,", "5:hello,", "05:hello,", "5:hello", "1048577:", "12", ":,", "2:{},2:{},"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		var back []byte
		for {
			m, err := readNetstring(r)
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, ErrProtocol) {
					t.Fatalf("%v", err)
				}
				if errors.Is(err, io.EOF) && !bytes.Equal(back, b) {
					t.Fatalf("read to the end, %q is not %q", back, b)
				}
				break
			}
			back = appendNetstring(back, m)
		}
		if !bytes.HasPrefix(b, back) {
			t.Fatalf("%q does not begin with %q", b, back)
		}
	})
}

// FuzzMessages: whatever a phone says, nothing is reported that could not be.
func FuzzMessages(f *testing.F) {
	for _, s := range []string{incoming, established, closed, dialled, rings, remote} {
		f.Add(s, oneActive)
	}
	f.Add(incoming, twoSame)
	f.Fuzz(func(t *testing.T, event, data string) {
		d := New(Config{})
		d.calls.report = func(p tel.PartyDetails) {
			if err := p.ValidateFields(); err != nil {
				t.Fatal(err)
			}
		}
		var m message
		if json.Unmarshal([]byte(event), &m) == nil {
			d.calls.event(m)
		}
		d.calls.list(data)
		if json.Unmarshal([]byte(event), &m) == nil {
			d.calls.event(m)
		}
		d.calls.gone()
		if len(d.calls.up) != 0 {
			t.Fatal("calls are left")
		}
	})
}
