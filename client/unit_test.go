package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

func TestSafeName(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"plain":              {"photo.jpg", "photo.jpg"},
		"spaces and accents": {"Été à la mer.png", "Été à la mer.png"},
		"empty":              {"", "file"},
		"dots only":          {"...", "file"},
		"up":                 {"../../etc/passwd", "_.._etc_passwd"},
		"Windows path":       {`C:\boot.ini`, "C__boot.ini"},
		"hidden":             {".bashrc", "bashrc"},
		"hidden by a space":  {" . .x", "x"},
		"control characters": {"a\x00b\nc\x7fd\u0085e", "a_b_c_d_e"},
		"turned around":      {"invoice\u202egnp.exe", "invoicegnp.exe"},
		"invisible":          {"a\u200bb\ufeffc\u2066d", "abcd"},
		"other spaces":       {"a\u00a0b\u3000c", "a b c"},
		"not UTF-8":          {"a\xffb", "a_b"},
		"end of Windows":     {"name. . ", "name"},
		"a device":           {"nul.txt", "_nul.txt"},
		"a port":             {"COM1", "_COM1"},
		"no port":            {"complete.txt", "complete.txt"},
		"wildcards":          {"a*b?c", "a_b_c"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := SafeName(c.in); got != c.want {
				t.Errorf("SafeName(%q) = %q, want %q", c.in, got, c.want)
			}
		})
	}
	long := SafeName(strings.Repeat("ü", 200) + ".jpeg")
	if len(long) > maxName || !strings.HasSuffix(long, "ü.jpeg") || !utf8.ValidString(long) {
		t.Errorf("a long name becomes %q", long)
	}
	rapid.Check(t, func(t *rapid.T) {
		got := SafeName(rapid.String().Draw(t, "name"))
		if got == "" || len(got) > maxName+1 || got[0] == '.' || strings.ContainsAny(got, "/\\\x00") || SafeName(got) != got {
			t.Fatalf("%q", got)
		}
	})
}

func TestReconnect(t *testing.T) {
	lost := io.ErrUnexpectedEOF
	for name, c := range map[string]struct {
		err          error
		again, pause bool
	}{
		"lost":             {lost, true, false},
		"lost, wrapped":    {fmt.Errorf("client: read: %w", lost), true, false},
		"draining":         {&CloseError{Code: wire.CloseDraining}, true, false},
		"slow":             {&CloseError{Code: wire.CloseSlow}, true, false},
		"heartbeat":        {&CloseError{Code: wire.CloseHeartbeat}, true, false},
		"too many":         {&CloseError{Code: wire.CloseTooMany}, true, true},
		"rate":             {&CloseError{Code: wire.CloseRate}, true, true},
		"fault":            {&CloseError{Code: wire.CloseInternal}, true, true},
		"not in time":      {&CloseError{Code: wire.CloseAuthTimeout}, true, true},
		"a later code":     {&CloseError{Code: 4099}, true, true},
		"revoked":          {&CloseError{Code: wire.CloseRevoked}, false, false},
		"bad frame":        {&CloseError{Code: wire.CloseBadFrame}, false, false},
		"not authentic":    {fmt.Errorf("x: %w", &CloseError{Code: wire.CloseUnauthentic}), false, false},
		"problem: revoked": {wire.NewProblem(wire.CodeRevoked, ""), false, true},
		"problem: expired": {wire.NewProblem(wire.CodeBindingExpired, ""), false, true},
		"problem: busy":    {wire.NewProblem(wire.CodeTooMany, ""), true, true},
		"problem: fault":   {wire.NewProblem(wire.CodeInternal, ""), true, true},
		"proxy's answer":   {&statusError{502, "502 Bad Gateway"}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			if again, pause := reconnect(c.err); again != c.again || again && pause != c.pause {
				t.Errorf("again %v, pause %v", again, pause)
			}
		})
	}
	var p *wire.Problem
	if !errors.As(&CloseError{Code: wire.CloseRevoked}, &p) || p.Code != wire.CodeRevoked {
		t.Errorf("a close code that ends everything is no problem: %v", p)
	}
	if got := (&CloseError{wire.CloseSlow, "queue"}).Error(); got != "client: the server closed the connection: slow (4008): queue" {
		t.Error(got)
	}
}

// TestFresh: only what is sent for the first time says so.
func TestFresh(t *testing.T) {
	r := &request{frame: []byte("again"), first: []byte("first")}
	for _, want := range []string{"first", "again", "again"} {
		if got := string(r.next()); got != want {
			t.Errorf("sent %s, want %s", got, want)
		}
	}
}

func TestBackoff(t *testing.T) {
	for n, most := range []time.Duration{250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000} {
		longest := time.Duration(0)
		for range 200 {
			d := backoff(n, nil)
			if d < 20*time.Millisecond || d > most*time.Millisecond+20*time.Millisecond {
				t.Fatalf("attempt %d: %v", n, d)
			}
			longest = max(longest, d)
		}
		if longest < most*time.Millisecond/2 {
			t.Errorf("attempt %d: at most %v of %v", n, longest, most*time.Millisecond)
		}
	}
	if d := backoff(1000, nil); d > 31*time.Second {
		t.Errorf("attempt 1000: %v", d)
	}
	if d := backoff(0, &wire.Problem{RetryAfterSeconds: 7}); d < 7*time.Second {
		t.Errorf("asked to wait 7 s: %v", d)
	}
}

func TestURL(t *testing.T) {
	a := NewKeyAPI("https://tandem.example/base/", "", nil)
	for in, want := range map[string]string{
		"/v1/device":                           "https://tandem.example/base/v1/device",
		"https://tandem.example/base/v1/x":     "https://tandem.example/base/v1/x",
		"https://tandem.example.evil.org/v1":   "",
		"https://tandem.example@evil.org/base": "",
		"//evil.org/v1":                        "",
		"http://tandem.example/base/v1":        "",
		"v1/device":                            "",
		"":                                     "",
	} {
		if got, err := a.url(in); got != want || (err == nil) != (want != "") {
			t.Errorf("url(%q) = %q, %v", in, got, err)
		}
	}
}

func TestEventReader(t *testing.T) {
	type event struct{ name, data string }
	for name, c := range map[string]struct {
		in   string
		want []event
	}{
		"as the server writes": {"event: stream\ndata: {}\n\n: ping\n\nevent: close\ndata: 1\n\n", []event{{"stream", "{}"}, {}, {"close", "1"}}},
		"CR LF, no space":      {"event:a\r\ndata:b\r\n\r\n", []event{{"a", "b"}}},
		"several lines":        {"event: a\ndata: b\ndata: c\n\n", []event{{"a", "b\nc"}}},
		"other fields":         {"id: 7\nretry: 5\nevent: a\ndata: b\n\n", []event{{"a", "b"}}},
		"comment in an event":  {"event: a\n: x\ndata: b\n\n", []event{{"a", "b"}}},
		"cut":                  {"event: a\ndata: b\n", nil},
		"too long":             {"event: a\ndata: " + strings.Repeat("x", maxFrame+100) + "\n\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newEventReader(strings.NewReader(c.in))
			var got []event
			for {
				name, data, err := r.next()
				if err != nil {
					break
				}
				got = append(got, event{name, string(data)})
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q", got)
			}
		})
	}
}

// TestViewOrder: whatever mixture of missed and live messages comes on however many
// connections, each is handed on once and in order.
func TestViewOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := newView("s")
		const total = 40
		var got []uint64
		take := func(l []wire.Envelope) {
			for _, e := range l {
				got = append(got, e.Seq)
				v.handed(e)
			}
		}
		msg := func(seq uint64) wire.Envelope { return wire.Envelope{Epoch: 1, Seq: seq} }
		for head := uint64(0); head < total || v.at.Seq < total; {
			head = uint64(rapid.IntRange(int(head), total).Draw(t, "head"))
			state := &wire.SessionState{Epoch: 1, Head: head}
			if rapid.Bool().Draw(t, "not in the welcome") {
				state = nil
			}
			v.begin(state)
			// Live ones may come before, between and after those from the log.
			live := head
			var stream []uint64
			early := rapid.IntRange(0, min(3, total-int(live))).Draw(t, "early")
			for range early {
				live++
				stream = append(stream, live)
			}
			var from wire.Resume
			from.Seq = v.at.Seq
			v.resume()
			for seq := from.Seq + 1; seq <= head; seq++ {
				stream = append(stream, seq)
			}
			cut := rapid.IntRange(0, len(stream)).Draw(t, "cut")
			for _, seq := range stream[:cut] {
				now, again := v.message(msg(seq))
				if again {
					t.Fatal("resumed anew")
				}
				take(now)
			}
			if cut == len(stream) {
				now, rewound, again := v.resumed(wire.Resumed{Recovered: true, Epoch: 1, Head: max(from.Seq, head)})
				if rewound || again {
					t.Fatal("rewound")
				}
				take(now)
				v.caughtUp(wire.Resumed{Epoch: 1, Head: head})
				for range rapid.IntRange(0, total-int(live)).Draw(t, "live") {
					live++
					now, _ := v.message(msg(live))
					take(now)
				}
			}
			head = max(head, live)
		}
		for i, seq := range got {
			if seq != uint64(i+1) {
				t.Fatalf("handed on: %v", got)
			}
		}
	})
}

func TestViewRewind(t *testing.T) {
	at := func(epoch, seq uint64) wire.Envelope { return wire.Envelope{Epoch: epoch, Seq: seq} }
	seqs := func(l []wire.Envelope) (s []Position) {
		for _, e := range l {
			s = append(s, Position{e.Epoch, e.Seq})
		}
		return s
	}
	back := func(n uint64) *uint64 { return &n }

	t.Run("messages of a lost tail are replaced", func(t *testing.T) {
		v := newView("s")
		v.at = Position{1, 10}
		v.begin(&wire.SessionState{Epoch: 2, Head: 10})
		v.resume()
		for _, e := range []wire.Envelope{at(2, 9), at(2, 10)} {
			if now, _ := v.message(e); now != nil {
				t.Fatalf("handed on before the rewind was known: %v", seqs(now))
			}
		}
		now, rewound, again := v.resumed(wire.Resumed{RewindTo: back(8), Epoch: 2, Head: 10})
		if !rewound || again || !slices.Equal(seqs(now), []Position{{2, 9}, {2, 10}}) {
			t.Errorf("rewound %v, again %v, %v", rewound, again, seqs(now))
		}
	})
	t.Run("the epoch is unknown", func(t *testing.T) {
		v := newView("s")
		v.at = Position{9, 10}
		v.begin(&wire.SessionState{Epoch: 11, Head: 2})
		v.resume()
		v.message(at(3, 1))
		v.message(at(11, 2))
		now, rewound, _ := v.resumed(wire.Resumed{RewindTo: back(0), Epoch: 11, Head: 2})
		if !rewound || !slices.Equal(seqs(now), []Position{{3, 1}, {11, 2}}) {
			t.Errorf("rewound %v, %v", rewound, seqs(now))
		}
	})
	t.Run("the log is replaced under a live connection", func(t *testing.T) {
		v := newView("s")
		v.begin(&wire.SessionState{Epoch: 1})
		v.resume()
		v.resumed(wire.Resumed{Epoch: 1})
		now, _ := v.message(at(1, 5))
		v.handed(now[0])
		if now, again := v.message(at(2, 3)); !again || now != nil {
			t.Fatalf("again %v, %v", again, seqs(now))
		}
		v.resume()
		v.message(at(2, 2))
		now, rewound, _ := v.resumed(wire.Resumed{RewindTo: back(1), Epoch: 2, Head: 3})
		if !rewound || !slices.Equal(seqs(now), []Position{{2, 2}, {2, 3}}) {
			t.Errorf("rewound %v, %v", rewound, seqs(now))
		}
	})
	t.Run("a rewind that nothing announced", func(t *testing.T) {
		v := newView("s")
		v.at = Position{1, 10}
		v.begin(&wire.SessionState{Epoch: 1, Head: 12})
		v.resume()
		if _, rewound, again := v.resumed(wire.Resumed{RewindTo: back(8), Epoch: 1, Head: 12}); !rewound || !again || v.at.Seq != 8 {
			t.Errorf("rewound %v, again %v, at %+v", rewound, again, v.at)
		}
	})
}

func TestOwnMessages(t *testing.T) {
	v := newView("s")
	v.state.You = "1"
	v.own["q1"], v.own["q2"], v.own["q3"] = 0, 4, 9
	for e, want := range map[*wire.Envelope]bool{
		{From: "1", ID: "q1"}: true, {From: "2", ID: "q1"}: false, {From: "1", ID: "other"}: false,
	} {
		if got := v.sentHere(*e); got != want {
			t.Errorf("%+v: %v", e, got)
		}
	}
	v.at = Position{1, 3}
	v.caughtUp(wire.Resumed{Epoch: 1, Head: 5})
	if len(v.own) != 2 || v.at.Seq != 5 {
		t.Errorf("left %v at %+v: what the log has shown is forgotten", v.own, v.at)
	}
	v.caughtUp(wire.Resumed{Epoch: 2, Head: 7})
	if v.at != (Position{1, 5}) {
		t.Errorf("the head of an epoch in which nothing need be stored was noted: %+v", v.at)
	}
}

// TestMemberAgain: of a session whose resume was refused nothing is heard, until the device
// is a member again; of one that has ended, never.
func TestMemberAgain(t *testing.T) {
	for code, want := range map[wire.Code][]wire.Phase{
		wire.CodeNotMember:     {wire.InCall, wire.Closed, wire.InCall},
		wire.CodeSessionClosed: {wire.InCall, wire.Closed},
	} {
		var told []wire.Phase
		var texts int
		id, err := NewIdentity("http://127.0.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		id.Device = "dev_1"
		d, err := Connect(Config{Identity: id, Events: Events{
			Session: func(s wire.SessionState) { told = append(told, s.Phase) },
			Message: func(wire.Envelope) { texts++ },
		}})
		if err != nil {
			t.Fatal(err)
		}
		c := &conn{d: d, out: newQueue(), over: map[wire.SessionID]bool{}}
		c.session(wire.SessionState{ID: "s_1", Phase: wire.InCall})
		problem, err := json.Marshal(wire.NewProblem(code, ""))
		if err != nil {
			t.Fatal(err)
		}
		refusal := wire.Envelope{Type: wire.TypeError, ID: d.sessions["s_1"].asked, Session: "s_1", Body: problem}
		if err := c.answer(refusal); err != nil {
			t.Fatal(err)
		}
		// What was on its way is not told.
		c.message(wire.Envelope{Type: wire.TypeMessage, Session: "s_1", Kind: wire.KindText, Epoch: 1, Seq: 1})
		c.session(wire.SessionState{ID: "s_1", Phase: wire.Closed})
		c.session(wire.SessionState{ID: "s_1", Phase: wire.InCall})
		if !slices.Equal(told, want) || texts != 0 {
			t.Errorf("%s: told %v, %d messages", code, told, texts)
		}
		if again := d.sessions["s_1"] != nil && d.sessions["s_1"].asked != ""; again != (code == wire.CodeNotMember) {
			t.Errorf("%s: resumed again: %v", code, again)
		}
	}
}

func TestReporter(t *testing.T) {
	call := func(ref string, s tel.State) tel.PartyDetails {
		return tel.PartyDetails{State: s, Ref: tel.Ref{CallID: ref}}
	}
	for name, c := range map[string]struct {
		changes []tel.PartyDetails
		want    string
	}{
		"one call":                 {[]tel.PartyDetails{call("a", tel.Ringing)}, "a ringing"},
		"newer state":              {[]tel.PartyDetails{call("a", tel.Ringing), call("a", tel.Active)}, "a active"},
		"the end is news":          {[]tel.PartyDetails{call("a", tel.Active), call("a", tel.Ended)}, "a active, a ended"},
		"two calls":                {[]tel.PartyDetails{call("a", tel.Active), call("b", tel.Ringing), call("a", tel.Held)}, "a held, b ringing"},
		"the next of one name":     {[]tel.PartyDetails{call("a", tel.Active), call("a", tel.Ended), call("a", tel.Ringing)}, "a active, a ended, a ringing"},
		"and its newer state":      {[]tel.PartyDetails{call("a", tel.Ended), call("a", tel.Ringing), call("a", tel.Active)}, "a ended, a active"},
		"ended before it was told": {[]tel.PartyDetails{call("a", tel.Ended)}, "a ended"},
	} {
		t.Run(name, func(t *testing.T) {
			r := reporter{up: map[tel.Ref]change{}}
			for _, d := range c.changes {
				r.changed(d, time.Time{})
			}
			var got []string
			var last uint64
			up := len(r.up)
			for len(r.waiting) > 0 {
				n := r.next()
				if n.seq <= last && len(r.up) < 2 {
					t.Errorf("report %d after %d", n.seq, last)
				}
				last = n.seq
				got = append(got, n.details.Ref.CallID+" "+string(n.details.State))
			}
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("reports %q, want %q", s, c.want)
			}
			if r.repeat(time.Now()); len(r.waiting) != up {
				t.Errorf("%d of %d calls are repeated", len(r.waiting), up)
			}
		})
	}
}
