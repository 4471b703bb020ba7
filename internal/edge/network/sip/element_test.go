package sip

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

const (
	alice = "+442079460001"
	bob   = "+442079460002"
	carol = "+442079460003"
)

// TestCalls: calls between phones on each pair of transports are carried from the first ring to
// the end, and both legs reported with one reference.
func TestCalls(t *testing.T) {
	transports := []string{"UDP", "TCP", "WS"}
	for _, x := range transports {
		for _, y := range transports {
			t.Run(x+" to "+y, func(t *testing.T) {
				w := newWorld(t)
				a, b := w.newAgent(alice, x), w.newAgent(bob, y)
				a.register()
				b.register()
				caller, callee := a.call(b)
				got := w.legs(alice+" outgoing active", bob+" incoming active")
				for s, r := range got {
					if r.Ref.CallID != caller.callID {
						t.Errorf("%s: refers to %q", s, r.Ref.CallID)
					}
				}
				if r := got[alice+" outgoing active"]; r.Other != identityOf(t, bob) {
					t.Errorf("alice's other is %s", r.Other)
				}
				if r := got[bob+" incoming active"]; r.Other != identityOf(t, alice) {
					t.Errorf("bob's other is %s", r.Other)
				}
				// Requests within the call go both ways.
				a.tell(caller.ask("INFO"))
				b.reply(b.request("INFO"), 200)
				a.answer("INFO", 200)
				b.tell(callee.ask("BYE"))
				a.reply(a.request("BYE"), 200)
				b.answer("BYE", 200)
				w.legs(alice+" outgoing ended", bob+" incoming ended")
			})
		}
	}
}

// TestDigest: nobody registers or calls as a number without its password, and a password
// is good for its own number only.
func TestDigest(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Open = false })
	of := func(user string) func() (string, string) {
		return func() (string, string) {
			name, password, _ := w.e.Credential(user, "", time.Now())
			return name, password
		}
	}
	a, b, m := w.newAgent(alice, "WS"), w.newAgent(bob, "UDP"), w.newAgent(carol, "TCP")
	a.password, b.password = of(alice), of(bob)
	a.register()
	b.register()
	caller, _ := a.call(b)
	r := w.legs(alice+" outgoing active", bob+" incoming active")
	for s, r := range r {
		if !r.Vouched {
			t.Errorf("%s is not vouched for", s)
		}
	}
	a.tell(caller.ask("BYE"))
	b.reply(b.request("BYE"), 200)
	a.answer("BYE", 200)

	for name, password := range map[string]func() (string, string){
		"a wrong password": func() (string, string) { name, _ := of(carol)(); return name, "guess" },
		"an expired password": func() (string, string) {
			name, password, _ := w.e.Credential(carol, "", time.Now().Add(-2*time.Hour))
			return name, password
		},
		"a password with more time": func() (string, string) {
			name, password := of(carol)()
			return "9" + name, password
		},
		"somebody else's": of(bob),
	} {
		t.Run(name, func(t *testing.T) {
			m.password = password
			first := m.tell(m.ask("REGISTER", "sip:example.com", m.aor(), "Expires", "300"))
			m.tell(m.again(first, m.answer("REGISTER", 401)))
			m.answer("REGISTER", 403)
			invite := m.tell(m.ask("INVITE", "sip:"+bob+"@example.com", b.aor()))
			res := m.answer("INVITE", 407)
			m.tell(ackOf(invite, res))
			invite = m.tell(m.again(invite, res))
			m.tell(ackOf(invite, m.answer("INVITE", 403)))
		})
	}
	t.Run("the same request again", func(t *testing.T) {
		m.password = of(carol)
		first := m.tell(m.ask("REGISTER", "sip:example.com", m.aor(), "Expires", "300"))
		second := m.again(first, m.answer("REGISTER", 401))
		m.tell(second)
		m.answer("REGISTER", 200)
		second.Pop(Via)
		second.Push(Via, m.via())
		m.tell(second)
		if c := m.answer("REGISTER", 401); !strings.Contains(c.Get(WWWAuthenticate), "stale=true") {
			t.Errorf("asked with %q", c.Get(WWWAuthenticate))
		}
	})
	select {
	case got := <-b.in:
		t.Errorf("bob was called: %s %d", got.Method, got.Status)
	default:
	}
}

// TestBusyPort: a port that another program has is an error that says so.
func TestBusyPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := New(Config{Domain: "example.com", Listen: l.Addr().String()}); !errors.Is(err, ErrListen) {
		t.Errorf("a busy port: %v", err)
	}
}
