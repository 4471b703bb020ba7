package sip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandem-call/tandem/tel"
)

// closedWorld is an element that asks for passwords, and phones that have theirs.
func closedWorld(t *testing.T, change ...func(*Config)) (w *world, phone func(user, transport string) *agent) {
	w = newWorld(t, append([]func(*Config){func(c *Config) { c.Open = false }}, change...)...)
	return w, func(user, transport string) *agent {
		a := w.newAgent(user, transport)
		a.password = func() (string, string) {
			name, password, _ := w.e.Credential(user, "dev_"+strings.TrimPrefix(user, "+"), time.Now())
			return name, password
		}
		return a
	}
}

// TestWithdrawnPassword: who loses the right to a password before it ends is not registered
// any more, at once, and neither registers nor calls with it.
func TestWithdrawnPassword(t *testing.T) {
	var revoked atomic.Bool
	w, phone := closedWorld(t, func(c *Config) {
		c.Holds = func(_ context.Context, user, by string) (bool, error) {
			return by == "dev_"+strings.TrimPrefix(user, "+") && (user != alice || !revoked.Load()), nil
		}
	})
	a, b, again := phone(alice, "WS"), phone(bob, "UDP"), phone(alice, "TCP")
	a.register()
	b.register()
	caller, _ := b.call(a)
	b.tell(caller.ask("BYE"))
	a.reply(a.request("BYE"), 200)
	b.answer("BYE", 200)

	via := w.e.location.find(alice, time.Now())[0].via.conn
	revoked.Store(true)
	w.e.Revoke("dev_" + strings.TrimPrefix(alice, "+"))
	if !via.over() || len(w.e.location.find(alice, time.Now())) > 0 {
		t.Error("a phone whose password was withdrawn is still registered")
	}
	first := again.tell(again.ask("REGISTER", "sip:example.com", again.aor(), "Expires", "300"))
	again.tell(again.again(first, again.answer("REGISTER", 401)))
	again.answer("REGISTER", 403)
	invite := again.tell(again.ask("INVITE", "sip:"+bob+"@example.com", b.aor()))
	res := again.answer("INVITE", 407)
	again.tell(ackOf(invite, res))
	invite = again.tell(again.again(invite, res))
	again.tell(ackOf(invite, again.answer("INVITE", 403)))
	// A name that was given to somebody else does not help.
	again.password = func() (string, string) {
		name, password, _ := w.e.Credential(alice, "dev_"+strings.TrimPrefix(bob, "+"), time.Now())
		return name, password
	}
	first = again.tell(again.ask("REGISTER", "sip:example.com", again.aor(), "Expires", "300"))
	again.tell(again.again(first, again.answer("REGISTER", 401)))
	again.answer("REGISTER", 403)
}

// TestRecheck: who loses the right to a password is found without a word of it. Where anybody may
// register, nobody has a right to lose, and keeps registration and connection.
func TestRecheck(t *testing.T) {
	for _, open := range []bool{false, true} {
		var revoked atomic.Bool
		w, phone := closedWorld(t, func(c *Config) {
			c.Open = open
			c.Holds = func(_ context.Context, user, _ string) (bool, error) { return user == alice && !revoked.Load(), nil }
		})
		a := phone(alice, "WS")
		if open {
			a = w.newAgent(alice, "WS")
		}
		a.register()
		via := w.e.location.find(alice, time.Now())[0].via.conn
		w.e.recheckNow(t.Context())
		if via.over() || len(w.e.location.find(alice, time.Now())) == 0 {
			t.Errorf("open %t: a phone lost its registration", open)
		}
		revoked.Store(true)
		w.e.recheckNow(t.Context())
		if left := len(w.e.location.find(alice, time.Now())); via.over() == open || (left > 0) != open {
			t.Errorf("open %t: %d registrations after the right was lost, connection over: %t", open, left, via.over())
		}
	}
}

// TestManyHolders: what was just found out of somebody is remembered, however many others are.
func TestManyHolders(t *testing.T) {
	var h holders
	now := time.Now()
	for i := range holdersMost + 1 {
		who := holder{alice, fmt.Sprint(i)}
		h.note(who, true, now)
		if holds, _, fresh := h.of(who, now); !holds || !fresh {
			t.Fatalf("of %d holders, the last one is not known", i+1)
		}
	}
	if len(h.known) > holdersMost {
		t.Errorf("%d are remembered", len(h.known))
	}
}

// TestStoreDown: while nobody can say who may register, those who could go on as they are; others are asked to come
// again, and not told that they may not.
func TestStoreDown(t *testing.T) {
	var down atomic.Bool
	w, phone := closedWorld(t, func(c *Config) {
		c.Holds = func(ctx context.Context, user, _ string) (bool, error) {
			if !down.Load() {
				return true, nil
			}
			if user == bob {
				<-ctx.Done() // it may hang, too
			}
			return false, errors.New("the store is down")
		}
	})
	a, b := phone(alice, "WS"), phone(bob, "TCP")
	a.register()
	via := w.e.location.find(alice, time.Now())[0].via.conn
	down.Store(true)
	w.e.recheckNow(t.Context())
	if via.over() || len(w.e.location.find(alice, time.Now())) == 0 {
		t.Error("a phone lost its registration")
	}
	w.e.holders.note(holder{alice, "dev_" + strings.TrimPrefix(alice, "+")}, true, time.Now().Add(-time.Hour)) // it must be looked up
	a.register()
	first := b.tell(b.ask("REGISTER", "sip:example.com", b.aor(), "Expires", "300"))
	b.tell(b.again(first, b.answer("REGISTER", 401)))
	if res := b.answer("REGISTER", 503); res.Get(RetryAfter) == "" {
		t.Error("it is not said when to come again")
	}
}

// trap listens where nobody may have the element send to.
func trap(t *testing.T, host string) (addr string, sprung func() bool) {
	t.Helper()
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan bool, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			c.Close()
		}
		done <- err == nil
	}()
	return l.Addr().String(), func() bool { l.Close(); return <-done }
}

// TestNobodySendsElsewhere: neither a registration, nor a request within a call of one's own,
// makes the element send to an address that somebody chooses.
func TestNobodySendsElsewhere(t *testing.T) {
	addr, sprung := trap(t, "127.0.0.1")
	_, phone := closedWorld(t)
	a, b := phone(alice, "UDP"), phone(bob, "UDP")
	b.register()
	first := a.tell(a.ask("REGISTER", "sip:example.com", a.aor(), "Expires", "300", "Path", "<sip:"+addr+";transport=tcp;lr>"))
	a.tell(a.again(first, a.answer("REGISTER", 401)))
	a.answer("REGISTER", 403)

	caller, callee := a.call(b)
	for _, d := range []struct {
		*dialog
		other *agent
	}{{caller, b}, {callee, a}} {
		m := d.ask("INFO")
		m.URI = "sip:x@" + addr + ";transport=tcp"
		d.a.tell(m)
		d.other.reply(d.other.request("INFO"), 200)
		d.a.answer("INFO", 200)
		m = d.ask("INFO")
		m.Add(Route, "<sip:"+addr+";transport=tcp;lr>")
		d.a.tell(m)
		d.other.reply(d.other.request("INFO"), 200)
		d.a.answer("INFO", 200)
	}
	// A user of ours is not reached without a password, either, by what looks like part of a call.
	m := caller.ask("MESSAGE")
	m.Remove(Route)
	m.URI = "sip:" + bob + "@example.com"
	a.tell(m)
	a.answer("MESSAGE", 407)
	if sprung() {
		t.Error("the element connected to an address that a caller chose")
	}
}

// TestContactElsewhere: a telephone whose connection has ended is connected to anew at its own address, and not where
// its contact leads to; nor is one on UDP called there.
func TestContactElsewhere(t *testing.T) {
	for host, own := range map[string]bool{"127.0.0.1": true, "127.0.0.2": false} {
		t.Run("in a call "+host, func(t *testing.T) {
			addr, sprung := trap(t, host)
			w, phone := closedWorld(t)
			a, b := phone(alice, "UDP"), phone(bob, "TCP")
			b.contact = "<sip:" + bob + "@" + addr + ";transport=tcp>"
			b.register()
			caller, _ := a.call(b)
			b.drop()
			w.unconnected()
			invite := a.tell(caller.ask("INVITE"))
			res := a.next()
			for ; res.Status < 300; res = a.next() {
			}
			a.tell(ackOf(invite, res)) // it has failed either way
			if sprung() != own {
				t.Errorf("connected to: %t", !own)
			}
		})
		t.Run(host, func(t *testing.T) {
			addr, sprung := trap(t, host)
			w, phone := closedWorld(t)
			a, b := phone(alice, "UDP"), phone(bob, "TCP")
			b.contact = "<sip:" + bob + "@" + addr + ";transport=tcp>"
			b.register()
			b.drop()
			w.unconnected()
			invite := a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", b.aor()))
			res := a.answer("INVITE", 407)
			a.tell(ackOf(invite, res))
			invite = a.tell(a.again(invite, res))
			for res = a.next(); res.Status < 300; res = a.next() {
			}
			a.tell(ackOf(invite, res)) // it has failed either way
			if sprung() != own {
				t.Errorf("connected to: %t", !own)
			}
		})
	}
	w, phone := closedWorld(t)
	a, b := phone(alice, "UDP"), phone(bob, "UDP")
	b.contact = fmt.Sprintf("<sip:%s@%s;maddr=127.0.0.2>", bob, b.addr)
	b.register()
	a.call(b)
	w.legs(alice+" outgoing active", bob+" incoming active")
}

// TestCancelOfNothing: who gives up what nobody has begun takes no room from others.
func TestCancelOfNothing(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxTransactions = 1 })
	a := w.newAgent(alice, "UDP")
	for range 3 {
		a.tell(a.ask("CANCEL", "sip:"+bob+"@example.com", "<sip:"+bob+"@example.com>"))
		a.answer("CANCEL", 481)
	}
	if n := w.e.Stats().Transactions; n != 0 {
		t.Errorf("%d transactions are kept", n)
	}
	a.tell(a.ask("OPTIONS", "sip:example.com", "<sip:example.com>"))
	a.answer("OPTIONS", 200)
}

// TestChallengeKeepsNothing: who is asked for a password, or shows a wrong one, takes no room from others; when the request
// comes again it is answered again, and the ACK goes to nobody, whatever route it names.
func TestChallengeKeepsNothing(t *testing.T) {
	w, phone := closedWorld(t, func(c *Config) { c.T1 = time.Second }) // transactions are kept for 64 s
	a, b := phone(alice, "UDP"), phone(bob, "UDP")
	b.register()
	caller, _ := a.call(b)
	w.legs(alice+" outgoing active", bob+" incoming active")
	before := w.e.Stats().Transactions
	kept := func() {
		t.Helper()
		if n := w.e.Stats().Transactions - before; n != 0 {
			t.Errorf("%d transactions are kept", n)
		}
	}
	a.tell(a.ask("MESSAGE", "sip:"+bob+"@example.com", b.aor()))
	a.answer("MESSAGE", 407)
	a.tell(a.ask("REGISTER", "sip:example.com", a.aor()))
	a.answer("REGISTER", 401)
	kept()

	plain, within, routed := a.ask("INVITE", "sip:"+bob+"@example.com", b.aor()), caller.ask("INVITE"), caller.ask("INVITE")
	within.Set(To, b.aor()) // begins a call, along the route of another
	routed.URI = "sip:" + bob + "@example.com"
	routed.Remove(Route)
	routed.Add(Route, fmt.Sprintf("<sip:%s@%s;lr>", w.e.tokenFor(nil, caller.callID), w.addr))
	for _, invite := range []*Message{plain, within, routed} {
		var res *Message
		for range 2 {
			a.tell(invite)
			res = a.answer("INVITE", 407)
			kept()
		}
		ack := ackOf(invite, res)
		for _, r := range invite.All(Route) {
			ack.Add(Route, r)
		}
		a.tell(ack)
		right := a.password
		a.password = func() (string, string) { name, _ := right(); return name, "guess" }
		wrong := a.tell(a.again(invite, res))
		a.tell(ackOf(wrong, a.answer("INVITE", 403)))
		a.password = right
		kept()
	}
	a.tell(caller.ask("INFO"))
	if m := b.next(); m.Method != "INFO" {
		t.Errorf("bob got %s", m.Method)
	}
}

// TestRefusalsKeepNothing: who has shown no right to be heard takes no room from others, whatever it is answered; when the
// request comes again it is answered alike. So it is when the password was somebody's once.
func TestRefusalsKeepNothing(t *testing.T) {
	var withdrawn, down atomic.Bool
	w, phone := closedWorld(t, func(c *Config) {
		c.T1 = time.Second // transactions are kept for 64 s
		c.Holds = func(context.Context, string, string) (bool, error) {
			if down.Load() {
				return false, errors.New("the store is down")
			}
			return !withdrawn.Load(), nil
		}
	})
	a := phone(alice, "UDP")
	to := "sip:" + bob + "@example.com"
	ask := func(method, uri string, more ...string) *Message { return a.ask(method, uri, "<"+to+">", more...) }
	with := func(m *Message, id HeaderID, value string) *Message {
		m.Set(id, value)
		return m
	}
	looped := ask("INVITE", to)
	looped.Add(Via, "SIP/2.0/UDP 127.0.0.1;branch="+w.e.newBranch(w.e.loopOf(looped)))
	expired := func(m *Message, status int) *Message {
		a.password = func() (string, string) {
			name, password, _ := w.e.Credential(alice, "", time.Now().Add(-2*time.Hour))
			return name, password
		}
		return a.again(m, a.answer(a.tell(m).Method, status))
	}
	for name, c := range map[string]struct {
		m      *Message
		status int
	}{
		"an unknown extension":                  {ask("INVITE", to, "Proxy-Require", "foo"), 420},
		"an unknown extension, no call":         {ask("MESSAGE", to, "Proxy-Require", "foo"), 420},
		"an unknown extension when registering": {ask("REGISTER", "sip:example.com", "Require", "foo"), 420},
		"an unknown extension, asked of us":     {ask("OPTIONS", "sip:example.com", "Require", "foo"), 420},
		"an address that is none of SIP's":      {ask("INVITE", "mailto:bob@example.com"), 416},
		"no hops left":                          {with(ask("INVITE", to), MaxForwards, "0"), 483},
		"a loop":                                {looped, 482},
		"another domain's registrar":            {ask("REGISTER", "sip:elsewhere.example"), 404},
		"somebody of another domain":            {a.ask("REGISTER", "sip:example.com", "<sip:x@elsewhere.example>"), 404},
		"a call of the element":                 {ask("INVITE", "sip:example.com"), 404},
		"a question to the element":             {ask("OPTIONS", "sip:example.com"), 200},
		"the last hop of a question":            {with(ask("OPTIONS", to), MaxForwards, "0"), 200},
		"a call that looks like one under way":  {with(ask("INVITE", to, "Proxy-Require", "foo", "Route", "<sip:aaaaaaaaaaaaaaaaaaaa@example.com;lr>"), To, "<"+to+">;tag=x"), 420},
		"a password of before, for a call":      {expired(ask("INVITE", to), 407), 403},
		"a password of before, to register":     {expired(a.ask("REGISTER", "sip:example.com", a.aor()), 401), 403},
	} {
		t.Run(name, func(t *testing.T) {
			tag := ""
			for range 2 {
				a.tell(c.m)
				res := a.answer(c.m.Method, c.status)
				if now := tagOf(res.Get(To)); now == "" || tag != "" && now != tag {
					t.Errorf("the tag is %q, and was %q", now, tag)
				} else {
					tag = now
				}
				if res.Status == 420 && res.Get(Unsupported) != "foo" {
					t.Errorf("Unsupported is %q", res.Get(Unsupported))
				}
				if c.m.Method == "INVITE" {
					a.tell(ackOf(c.m, res))
				}
			}
			if n := w.e.Stats().Transactions; n != 0 {
				t.Errorf("%d transactions are kept", n)
			}
		})
	}
	for name, c := range map[string]struct {
		why    *atomic.Bool
		status int
	}{"a password that was withdrawn": {&withdrawn, 403}, "a password that nobody can look up": {&down, 503}} {
		t.Run(name, func(t *testing.T) {
			c.why.Store(true)
			defer c.why.Store(false)
			b := phone(bob, "UDP")
			b.password = func() (string, string) {
				user, password, _ := w.e.Credential(bob, fmt.Sprint(c.status), time.Now())
				return user, password
			}
			m := b.ask("REGISTER", "sip:example.com", b.aor())
			m = b.again(m, b.answer(b.tell(m).Method, 401))
			for range 2 {
				b.tell(m)
				b.answer("REGISTER", c.status)
			}
			if n := w.e.Stats().Transactions; n != 0 {
				t.Errorf("%d transactions are kept", n)
			}
		})
	}
}

// TestAckOfARefusal: the ACK of what the element itself has refused goes to nobody: not within a call, where the tag is the
// other side's, nor where the INVITE was malformed.
func TestAckOfARefusal(t *testing.T) {
	for _, trusted := range []bool{false, true} {
		t.Run(fmt.Sprint(trusted), func(t *testing.T) {
			_, phone := closedWorld(t, func(c *Config) {
				if trusted {
					c.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
				}
			})
			a, b := phone(alice, "UDP"), phone(bob, "UDP")
			b.register()
			if trusted {
				a.password = nil
			}
			caller, _ := a.call(b)
			refused := func(m *Message, status int) {
				t.Helper()
				a.tell(m)
				ack := ackOf(m, a.answer("INVITE", status))
				for _, r := range m.All(Route) {
					ack.Add(Route, r)
				}
				a.tell(ack)
				after := a.ask("OPTIONS", "sip:example.com", "<sip:example.com>")
				after.Set(CallID, m.Get(CallID))
				a.tell(after)
				a.answer("OPTIONS", 200)
			}
			last := caller.ask("INVITE")
			last.Set(MaxForwards, "0")
			refused(last, 483)
			refused(caller.ask("INVITE", "Proxy-Require", "foo"), 420)
			malformed := a.ask("INVITE", "sip:"+bob+"@example.com", b.aor())
			malformed.Set(Contact, ",")
			refused(malformed, 400)
			a.tell(caller.ask("INFO"))
			if m := b.next(); m.Method != "INFO" {
				t.Errorf("bob got %s", m.Method)
			}
		})
	}
}

// TestForeignDomain: who answers for another domain is not the user of ours who has the same
// name or number, whatever the next element makes of it.
func TestForeignDomain(t *testing.T) {
	pbx, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer pbx.Close()
	var said atomic.Bool
	w, phone := closedWorld(t, func(c *Config) {
		c.NextHop = "sip:" + pbx.LocalAddr().String()
		report := c.Report
		c.Report = func(ctx context.Context, r Report) error {
			said.Store(said.Load() || r.Own == identityOf(t, bob))
			return report(ctx, r)
		}
	})
	a := phone(alice, "TCP")
	for uri, other := range map[string]tel.Identity{
		"sip:" + bob + "@evil.example":            {},
		"sip:" + bob + "@evil.example;user=phone": identityOf(t, bob), // a claim of the caller's
	} {
		invite := a.tell(a.ask("INVITE", uri, "<"+uri+">"))
		res := a.answer("INVITE", 407)
		a.tell(ackOf(invite, res))
		a.tell(a.again(invite, res))
		buf := make([]byte, maxMessage)
		_ = pbx.SetReadDeadline(time.Now().Add(patience))
		n, from, err := pbx.ReadFromUDPAddrPort(buf)
		w.must(err)
		got, fault := parseDatagram(buf[:n])
		if fault != nil {
			t.Fatal(fault)
		}
		ok := got.Response(200, "OK")
		ok.tagTo("evil")
		_, err = pbx.WriteToUDPAddrPort(ok.Encode(), from)
		w.must(err)
		a.answer("INVITE", 200)
		r := w.legs(alice + " outgoing active")[alice+" outgoing active"]
		if n, isNumber := r.Other.Number(); other.IsZero() && isNumber {
			t.Errorf("%s: alice's other is %s", uri, n)
		} else if !other.IsZero() && r.Other != other {
			t.Errorf("%s: alice's other is %s", uri, r.Other)
		}
	}
	if said.Load() {
		t.Error("a leg of bob's was reported")
	}
}

// TestForeignCallID: somebody who knows the Call-ID of a call cannot have its parties reported
// as speaking with somebody else.
func TestForeignCallID(t *testing.T) {
	var said atomic.Pointer[string]
	w, phone := closedWorld(t, func(c *Config) {
		report := c.Report
		c.Report = func(ctx context.Context, r Report) error {
			if other, _ := r.Other.Number(); other.String() == carol || r.Own == identityOf(t, carol) {
				s := fmt.Sprintf("%s %s %s", r.Own, r.State, r.Other)
				said.Store(&s)
			}
			return report(ctx, r)
		}
	})
	a, m, c := phone(alice, "UDP"), phone(bob, "TCP"), phone(carol, "WS")
	m.register()
	c.register()
	caller, _ := a.call(m)
	w.legs(alice+" outgoing active", bob+" incoming active")

	invite := m.ask("INVITE", "sip:"+carol+"@example.com", c.aor())
	invite.Set(CallID, caller.callID)
	invite.Set(From, m.aor()+";tag="+tagOf(caller.local))
	m.tell(invite)
	res := m.answer("INVITE", 407)
	m.tell(ackOf(invite, res))
	m.tell(m.again(invite, res))
	got := c.request("INVITE")
	c.reply(got, 200)
	m.answer("INVITE", 200)
	a.tell(caller.ask("BYE"))
	m.reply(m.request("BYE"), 200)
	a.answer("BYE", 200)
	w.legs(alice+" outgoing ended", bob+" incoming ended")
	if s := said.Load(); s != nil {
		t.Errorf("reported: %s", *s)
	}
}

// TestAmplification: who sends datagrams with somebody else's address on them brings that one
// no more datagrams than that, and no more than two and a half times the bytes.
func TestAmplification(t *testing.T) {
	w, _ := closedWorld(t, func(c *Config) { c.T1 = 5 * time.Millisecond })
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(w.addr))
	w.must(err)
	defer c.Close()
	at := c.LocalAddr()
	small := func(method, uri, more string) string {
		return fmt.Sprintf("%s %s SIP/2.0\r\nv: SIP/2.0/UDP %s;branch=z9hG4bK%s\r\nf: <sip:a@b>;tag=1\r\nt: <sip:a@b>\r\ni: %s\r\nCSeq: 1 %s\r\n%s\r\n", method, uri, at, method, method+more[:min(3, len(more))], method, more)
	}
	for name, c2 := range map[string]struct {
		sent    string
		answers int
	}{
		"asked for a password":   {small("INVITE", "sip:"+bob+"@example.com", "Max-Forwards: 70\r\nm: <sip:a@b>\r\n"), 1},
		"no hops left":           {small("INVITE", "sip:x@example.com", "Max-Forwards: 0\r\nm: <sip:a@b>\r\n"), 1},
		"an unknown extension":   {small("INVITE", "sip:x@example.com", "Proxy-Require: foo\r\nMax-Forwards: 70\r\nm: <sip:a@b>\r\n"), 1},
		"a relay":                {small("INVITE", "sip:x@elsewhere.example", "Route: <sip:192.0.2.1;lr>\r\nMax-Forwards: 70\r\nm: <sip:a@b>\r\n"), 1},
		"registering":            {small("REGISTER", "sip:example.com", "Max-Forwards: 70\r\n"), 1},
		"options":                {small("OPTIONS", "sip:example.com", "Max-Forwards: 70\r\n"), 1},
		"a message":              {small("MESSAGE", "sip:"+bob+"@example.com", "Max-Forwards: 70\r\n"), 1},
		"a method nobody knows":  {small("X", "sip:example.com", "Max-Forwards: 70\r\n"), 1},
		"an end of no call":      {small("BYE", "sip:"+bob+"@example.com", "Max-Forwards: 70\r\n"), 1},
		"a cancel of no call":    {small("CANCEL", "sip:"+bob+"@example.com", "Max-Forwards: 70\r\n"), 1},
		"no Max-Forwards":        {small("INVITE", "sip:x@example.com", ""), 1},
		"an acknowledgement":     {small("ACK", "sip:"+bob+"@example.com", "Max-Forwards: 70\r\n"), 0},
		"an answer to nothing":   {"SIP/2.0 200 OK\r\nv: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKq\r\nf: <sip:a@b>;tag=1\r\nt: <sip:a@b>\r\ni: r\r\nCSeq: 1 INVITE\r\n\r\n", 0},
		"something else":         {"\x16\x03\x01 hello", 0},
		"a sign of life of NATs": {"\r\n\r\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Write([]byte(c2.sent))
			w.must(err)
			buf, answers, bytes := make([]byte, maxMessage), 0, 0
			took := func(wait time.Duration) bool {
				_ = c.SetReadDeadline(time.Now().Add(wait))
				n, err := c.Read(buf)
				if err == nil {
					answers, bytes = answers+1, bytes+n
				}
				return err == nil
			}
			if c2.answers > 0 && !took(patience) {
				t.Fatal("no answer")
			}
			for end := time.Now().Add(patience); w.e.Stats().Transactions > 0; { // while it might repeat it
				if took(5 * time.Millisecond); time.Now().After(end) {
					t.Fatalf("%+v", w.e.Stats())
				}
			}
			took(20 * time.Millisecond)
			t.Logf("%d bytes for %d: %.2f", bytes, len(c2.sent), float64(bytes)/float64(len(c2.sent)))
			if answers != c2.answers || 2*bytes > 5*len(c2.sent) {
				t.Errorf("%d bytes in %d answers for %d:\n%s", bytes, answers, len(c2.sent), buf)
			}
		})
	}
}
