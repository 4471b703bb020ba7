package sip

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestPhoneLost: a phone whose connection ends while it rings does not ring any more: the caller
// hears what is left, and that at once where nothing more can come from the phone.
func TestPhoneLost(t *testing.T) {
	for _, transport := range []string{"WS", "TCP"} {
		ring := func(t *testing.T, phones ...string) (w *world, a *agent, invite *Message, ringing []*agent, got []*Message) {
			t.Helper()
			w = newWorld(t)
			a = w.newAgent(alice, "UDP")
			for _, transport := range phones {
				b := w.newAgent(bob, transport)
				b.register()
				ringing = append(ringing, b)
			}
			invite = a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", ringing[0].aor()))
			for _, b := range ringing {
				m := b.request("INVITE")
				b.reply(m, 180)
				a.answer("INVITE", 180)
				got = append(got, m)
			}
			w.legs(alice+" outgoing ringing", bob+" incoming ringing")
			return w, a, invite, ringing, got
		}
		t.Run(transport+" alone", func(t *testing.T) {
			w, a, invite, phones, _ := ring(t, transport)
			phones[0].drop()
			a.tell(ackOf(invite, a.answer("INVITE", 480)))
			w.legs(alice+" outgoing ended", bob+" incoming ended")
			w.idle()
		})
		t.Run(transport+" beside one that answers", func(t *testing.T) {
			w, a, invite, phones, got := ring(t, transport, "TCP")
			phones[0].drop()
			w.branchesEnd(1)
			phones[1].reply(got[1], 200)
			ok := a.answer("INVITE", 200)
			w.legs(alice+" outgoing active", bob+" incoming active")
			a.tell(a.calling(invite, ok).ask("BYE"))
			phones[1].reply(phones[1].request("BYE"), 200)
			w.legs(alice+" outgoing ended", bob+" incoming ended")
		})
		for name, first := range map[string]bool{"before": true, "after": false} {
			t.Run(transport+" "+name+" another one is busy", func(t *testing.T) {
				w, a, invite, phones, got := ring(t, transport, "TCP")
				busy := func() {
					phones[1].reply(got[1], 486)
					phones[1].request("ACK")
				}
				if first {
					phones[0].drop()
					w.branchesEnd(1)
					busy()
				} else {
					busy()
					phones[0].drop()
				}
				a.tell(ackOf(invite, a.answer("INVITE", 486)))
				w.legs(alice+" outgoing ended", bob+" incoming ended")
			})
		}
	}
}

// TestLostBeforeItAnswers: a request that is not INVITE, to a phone whose connection ends before it has
// answered, is answered too, long before timer F would end it without an answer; and a call whose BYE that
// was is over.
func TestLostBeforeItAnswers(t *testing.T) {
	for _, transport := range []string{"WS", "TCP"} {
		t.Run(transport, func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.T1 = 500 * time.Millisecond }) // timer F is 32 s
			a, b := w.newAgent(alice, "TCP"), w.newAgent(bob, transport)
			b.register()
			a.tell(a.ask("MESSAGE", "sip:"+bob+"@example.com", b.aor()))
			b.request("MESSAGE")
			caller, _ := a.call(b)
			a.tell(caller.ask("BYE"))
			b.request("BYE")
			w.legs(alice+" outgoing active", bob+" incoming active")
			b.drop()
			for range 2 {
				select {
				case m := <-a.in:
					if m.Status != 480 {
						t.Errorf("answered by %d", m.Status)
					}
				case <-time.After(patience):
					t.Fatal("not answered")
				}
			}
			w.legs(alice+" outgoing ended", bob+" incoming ended")
		})
	}
}

// TestReconnected: a phone whose TCP connection ends while it rings may answer by another one
// (RFC 3261 18.2.2).
func TestReconnected(t *testing.T) {
	w := newWorld(t)
	a, b := w.newAgent(alice, "UDP"), w.newAgent(bob, "TCP")
	b.register()
	a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", b.aor()))
	got := b.request("INVITE")
	b.reply(got, 180)
	a.answer("INVITE", 180)
	b.drop()
	w.newAgent(bob, "TCP").reply(got, 200)
	a.answer("INVITE", 200)
	w.legs(alice+" outgoing active", bob+" incoming active")
}

// TestBackInACall: a phone in a call whose WebSocket ends, and that registers by another one, is reached there by what
// the other side asks in the call; before that, and where the contact is registered by somebody else, it is not.
func TestBackInACall(t *testing.T) {
	w := newWorld(t)
	a, b := w.newAgent(alice, "UDP"), w.newAgent(bob, "WS")
	b.register()
	d, _ := a.call(b)
	b.drop()
	w.unconnected()
	a.tell(d.ask("INFO"))
	a.answer("INFO", 430)

	thief := w.newAgent(carol, "WS")
	thief.contact = b.contact
	thief.register()
	a.tell(d.ask("INFO"))
	a.answer("INFO", 430)

	back := w.newAgent(bob, "WS")
	back.register()
	a.tell(d.ask("INFO"))
	back.reply(back.request("INFO"), 200)
	a.answer("INFO", 200)
	a.tell(d.ask("BYE"))
	back.reply(back.request("BYE"), 200)
	a.answer("BYE", 200)
	w.legs(alice+" outgoing ended", bob+" incoming ended")
}

// TestHangUpOnTheLost: who hangs up on a phone whose WebSocket has ended has no call any more, though nobody can be told.
func TestHangUpOnTheLost(t *testing.T) {
	w := newWorld(t)
	a, b := w.newAgent(alice, "UDP"), w.newAgent(bob, "WS")
	b.register()
	caller, _ := a.call(b)
	w.legs(alice+" outgoing active", bob+" incoming active")
	b.drop()
	w.unconnected()
	a.tell(caller.ask("INFO"))
	a.answer("INFO", 430)
	if len(w.reports) > 0 {
		t.Errorf("reported: %+v", <-w.reports)
	}
	a.tell(caller.ask("BYE"))
	a.answer("BYE", 430)
	w.legs(alice+" outgoing ended", bob+" incoming ended")
}

// TestManyLost: when many phones lose their WebSockets at once, as when a proxy before us is started anew, each is forgotten without
// a look at all the others: meanwhile nobody can be called.
func TestManyLost(t *testing.T) {
	const phones = 10_000
	l := newLocation(phones)
	var all []*conn
	for i := range phones {
		c := &conn{transport: "WS"}
		c.ended, c.end = context.WithCancel(t.Context())
		all = append(all, c)
		user := fmt.Sprint("u", i)
		l.update(user, func([]*binding) ([]*binding, bool) {
			return []*binding{{user: user, via: c.flow(), expires: time.Now().Add(time.Hour)}}, true
		})
	}
	began := time.Now()
	for i, c := range all {
		if c.end(); l.len() != phones-i {
			t.Fatalf("%d are left when %d are lost", l.len(), i)
		}
		l.dropFlow(c)
	}
	if took := time.Since(began); took > time.Second || l.len() > 0 || len(l.flows) > 0 {
		t.Errorf("it took %v; %d bindings and %d connections are left", took, l.len(), len(l.flows))
	}
	// Its connection may end while a REGISTER waits for its shard.
	l.update(alice, func([]*binding) ([]*binding, bool) {
		return []*binding{{user: alice, via: all[0].flow(), expires: time.Now().Add(time.Hour)}}, true
	})
	if l.len() > 0 || len(l.flows) > 0 {
		t.Error("who was lost before is registered")
	}
}

// TestBackByTCP: a phone in a call whose TCP connection ends is reached by the one that it registers by anew, from whichever
// port, if it is the same telephone of the same user.
func TestBackByTCP(t *testing.T) {
	for name, instances := range map[string]bool{"by its instance": true, "by its contact": false} {
		t.Run(name, func(t *testing.T) {
			w, phone := closedWorld(t)
			telephone := func(user, instance string) *agent {
				a := phone(user, "TCP")
				if instances {
					a.contact += `;+sip.instance="<urn:uuid:` + instance + `>"`
				}
				return a
			}
			drop := func(a *agent) {
				t.Helper()
				n := w.e.Stats().Connections
				a.drop()
				for end := time.Now().Add(patience); w.e.Stats().Connections == n; time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatal("the connection is left")
					}
				}
			}
			again := func(old *agent, instance string) *agent {
				t.Helper()
				a := telephone(old.user, instance)
				a.seq = old.seq
				if !instances {
					a.contact = old.contact
				}
				a.register()
				return a
			}
			a, b := telephone(alice, "1"), telephone(bob, "2")
			a.register()
			b.register()
			caller, callee := a.call(b)

			other, thief := telephone(bob, "3"), telephone(carol, "2")
			thief.contact = b.contact
			other.register()
			thief.register()
			drop(b)
			// To says whose telephone it is to nobody.
			m := caller.ask("INFO")
			m.Set(To, thief.aor()+";tag="+tagOf(caller.remote))
			a.tell(m)
			a.answer("INFO", 500)

			b = again(b, "2")
			a.tell(caller.ask("INFO"))
			b.reply(b.request("INFO"), 200)
			a.answer("INFO", 200)
			if instances { // its connection seems to be up
				old := b
				b = again(b, "2")
				a.tell(caller.ask("INFO"))
				b.reply(b.request("INFO"), 200)
				a.answer("INFO", 200)
				if len(old.in) > 0 {
					t.Error("it is asked by its old connection")
				}
			}
			drop(a)
			a = again(a, "1")
			callee.a = b
			b.tell(callee.ask("BYE"))
			a.reply(a.request("BYE"), 200)
			b.answer("BYE", 200)
			w.legs(alice+" outgoing ended", bob+" incoming ended")
			if len(other.in)+len(thief.in) > 0 {
				t.Error("another telephone was asked")
			}
		})
	}
}

// TestBackElsewhere: a phone without an instance is reached in a call where it has registered by since, with another contact: its
// registrations have one Call-ID (RFC 3261 10.2). So it is after a NAT has given it another port, while its connection seems to be up, and
// when that has ended. Another phone of the same user, which is registered at the same time, is asked nothing.
func TestBackElsewhere(t *testing.T) {
	for _, c := range []struct {
		transport string
		drops     bool
	}{{"UDP", false}, {"TCP", false}, {"TCP", true}, {"WS", false}, {"WS", true}} {
		t.Run(fmt.Sprint(c.transport, " drops ", c.drops), func(t *testing.T) {
			w, phone := closedWorld(t)
			made := 0
			elsewhere := func(user string, registration string, cseq int) *agent {
				t.Helper()
				a := phone(user, c.transport)
				if a.seq = cseq; c.transport == "WS" {
					made++
					a.contact = fmt.Sprintf("<sip:%s@x%d.invalid;transport=ws>", user, made)
				}
				a.registration = registration
				a.register()
				return a
			}
			a, b := elsewhere(alice, "a", 0), elsewhere(bob, "b", 0)
			caller, callee := a.call(b)
			other, guest := elsewhere(bob, "c", 0), elsewhere(carol, "b", 1000)
			old := []*agent{a, b}
			moves := func(old *agent) *agent {
				t.Helper()
				if n := w.e.Stats().Connections; c.drops {
					old.drop()
					for end := time.Now().Add(patience); w.e.Stats().Connections == n; time.Sleep(time.Millisecond) {
						if time.Now().After(end) {
							t.Fatal("the connection is left")
						}
					}
				}
				return elsewhere(old.user, old.registration, old.seq)
			}
			b = moves(b)
			a.tell(caller.ask("INFO"))
			b.reply(b.request("INFO"), 200)
			a.answer("INFO", 200)
			a = moves(a)
			a.tell(caller.ask("INFO")) // whoever the words come from
			b.reply(b.request("INFO"), 200)
			callee.a = b
			b.tell(callee.ask("BYE"))
			a.reply(a.request("BYE"), 200)
			b.answer("BYE", 200)
			w.legs(alice+" outgoing ended", bob+" incoming ended")
			for i, x := range append(old, other, guest) {
				for len(x.in) > 0 {
					if m := <-x.in; m.IsRequest() {
						t.Errorf("phone %d got %s", i, m.Method)
					}
				}
			}
		})
	}
}

// TestBackAfterRestart: which phone has a call is known also after a restart of the element.
func TestBackAfterRestart(t *testing.T) {
	m := &memory{calls: map[string]Kept{}}
	const addr = "127.88.0.3:5060"
	closed := func(c *Config) { c.Open = false }
	w := begin(t, m, addr, closed)
	phone := func(user, registration string, seq int) *agent {
		a := w.newAgent(user, "UDP")
		a.seq, a.registration = seq, registration
		a.password = func() (string, string) {
			name, password, _ := w.e.Credential(user, "", time.Now())
			return name, password
		}
		a.register()
		return a
	}
	a, b := phone(alice, "a", 0), phone(bob, "b", 0)
	_, callee := a.call(b)
	m.await(t, 1)
	w.end()
	w = begin(t, m, addr, closed)
	w.legs(alice+" outgoing active", bob+" incoming active")
	phone(alice, "c", 0)
	a = phone(alice, "a", a.seq)
	b.tell(callee.ask("BYE"))
	a.reply(a.request("BYE"), 200)
	b.answer("BYE", 200)
	w.legs(alice+" outgoing ended", bob+" incoming ended")
}

// TestSilence: a connection that is silent for long ends, unless a call or a registration needs it.
func TestSilence(t *testing.T) {
	for _, transport := range []string{"WS", "TCP"} {
		t.Run(transport, func(t *testing.T) {
			w := newWorld(t)
			a, b, registered, stranger := w.newAgent(alice, transport), w.newAgent(bob, transport), w.newAgent(carol, transport), w.newAgent("stranger", transport)
			b.register() // for less than the time of silence
			registered.tell(registered.ask("REGISTER", "sip:example.com", registered.aor(), "Expires", "3600"))
			registered.answer("REGISTER", 200)
			stranger.tell(stranger.ask("OPTIONS", "sip:example.com", "<sip:example.com>"))
			stranger.answer("OPTIONS", 200)
			caller, _ := a.call(b)
			left := func(now time.Time, want int64) {
				t.Helper()
				if w.e.endSilent(now); w.e.Stats().Connections != want {
					t.Errorf("%d connections are left, want %d", w.e.Stats().Connections, want)
				}
			}
			left(time.Now().Add(idle/2), 4)
			left(time.Now().Add(idle), 3)
			a.tell(caller.ask("BYE"))
			b.reply(b.request("BYE"), 200)
			a.answer("BYE", 200)
			w.legs(alice+" outgoing ended", bob+" incoming ended")
			left(time.Now().Add(idle), 1)
			left(time.Now().Add(2*time.Hour), 0)
		})
	}
}

// TestQuietCall: a call that is not reported, since it is with a program of ours, needs its connection, too; the phone is reached
// by the one that it has registered by since; and such a call keeps nobody from reporting another one that bears its Call-ID.
func TestQuietCall(t *testing.T) {
	const number, at = "+442079460999", "127.88.0.4:5062"
	for _, transport := range []string{"WS", "TCP"} {
		for _, told := range []bool{true, false} {
			t.Run(fmt.Sprint(transport, " reports ", told), func(t *testing.T) {
				w := newWorld(t, func(c *Config) {
					c.Services = map[string]string{number: "sip:secret@" + at}
					if !told {
						c.Report, c.Services = nil, nil
					}
				})
				service := w.newAgentAt(number, "UDP", at)
				if !told {
					service.register()
				}
				a := w.newAgent(alice, transport)
				_, callee := a.call(service)
				if w.e.endSilent(time.Now().Add(idle)); w.e.Stats().Connections != 1 {
					t.Fatal("the connection is closed in the middle of the call")
				}
				a.drop()
				w.unconnected()
				back := w.newAgent(alice, transport)
				back.contact = a.contact
				back.register()
				service.tell(callee.ask("INFO"))
				back.reply(back.request("INFO"), 200)
				service.answer("INFO", 200)
				service.tell(callee.ask("BYE"))
				back.reply(back.request("BYE"), 200)
				service.answer("BYE", 200)
				if w.e.endSilent(time.Now().Add(2 * time.Hour)); w.e.Stats().Connections != 0 {
					t.Error("the connection is left when the call is over")
				}
				if len(w.reports) > 0 {
					t.Errorf("reported: %+v", <-w.reports)
				}
				if !told {
					return
				}
				x, c := w.newAgent(carol, transport), w.newAgent(bob, "UDP")
				c.register()
				caller, _ := x.call(service)
				invite := x.ask("INVITE", "sip:"+bob+"@example.com", c.aor())
				invite.Set(CallID, caller.callID)
				x.tell(invite)
				c.reply(c.request("INVITE"), 200)
				x.answer("INVITE", 200)
				w.legs(carol+" outgoing active", bob+" incoming active")
			})
		}
	}
}

// TestAnswerByNewConnection: an element that has closed its TCP connection while the phone rang, as
// many do, gets the answer by a new one, at the address that its Via says (RFC 3261 18.2.2); but if its
// word counts for nothing, nobody is connected to.
func TestAnswerByNewConnection(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		t.Run(fmt.Sprint(trusted), func(t *testing.T) {
			w, phone := closedWorld(t, func(c *Config) {
				if trusted {
					c.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
				}
			})
			l, err := net.Listen("tcp", "127.0.0.1:0")
			w.must(err)
			defer l.Close()
			a, b := phone(alice, "TCP"), phone(bob, "UDP")
			b.register()
			a.addr = netip.MustParseAddrPort(l.Addr().String())
			m := a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", b.aor()))
			if !trusted {
				res := a.answer("INVITE", 407)
				a.tell(ackOf(m, res))
				a.tell(a.again(m, res))
			}
			got := b.request("INVITE")
			b.reply(got, 180)
			a.answer("INVITE", 180)
			a.drop()
			w.unconnected()
			b.reply(got, 200)
			w.legs(alice+" outgoing active", bob+" incoming active")
			if !trusted {
				w.must(l.(*net.TCPListener).SetDeadline(time.Now().Add(100 * time.Millisecond)))
				if c, err := l.Accept(); err == nil {
					c.Close()
					t.Error("it connects to whoever calls")
				}
				return
			}
			w.must(l.(*net.TCPListener).SetDeadline(time.Now().Add(patience)))
			c, err := l.Accept()
			w.must(err)
			defer c.Close()
			if m, fault := readMessage(bufio.NewReader(c)); m == nil || fault != nil || m.Status != 200 {
				t.Errorf("%+v, %v", m, fault)
			}
		})
	}
}

// TestOwnConnections: the connections that we make to an element do not lock it out, and calls that need one
// at the same time make one.
func TestOwnConnections(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxPerAddress = 2 })
	remote := netip.MustParseAddrPort("192.0.2.1:5060") // loopback has no bound
	open := func(ours bool) bool {
		c := w.e.newConn("TCP", remote, ours, nil, func() error { return nil })
		if c == nil {
			return false
		}
		w.e.work.Add(-2) // nothing serves it
		t.Cleanup(c.stop)
		return true
	}
	for i := range 6 {
		if ours := i < 3; open(ours) != (i < 5) {
			t.Errorf("connection %d, ours %t: taken %t", i, ours, i >= 5)
		}
	}
	for i, at := range []string{"[2001:db8::1]:5060", "[2001:db8::ffff:2]:5060", "[2001:db8::3]:5060", "[2001:db8:0:1::3]:5060"} { // a /64 is one address
		if remote = netip.MustParseAddrPort(at); open(false) != (i != 2) {
			t.Errorf("a connection of %s: taken %t", at, i == 2)
		}
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	var made atomic.Int64
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			made.Add(1)
			all.Go(func() {
				time.Sleep(300 * time.Millisecond) // there is no answer to its handshake
				c.Close()
			})
		}
	})
	var dials sync.WaitGroup
	for range 10 {
		dials.Go(func() {
			_, err := w.e.dial(t.Context(), "TLS", netip.MustParseAddrPort(l.Addr().String()), "pbx.example")
			if err == nil {
				t.Error("connected to nobody")
			}
		})
	}
	dials.Wait()
	l.Close()
	all.Wait()
	if n := made.Load(); n != 1 {
		t.Errorf("%d connections were made", n)
	}
}

// unconnected waits until no connection is left.
func (w *world) unconnected() {
	w.t.Helper()
	for end := time.Now().Add(patience); w.e.Stats().Connections > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%d connections are left", w.e.Stats().Connections)
		}
	}
}

// TestCallerLost: a caller whose WebSocket ends gives up: no answer would find it.
func TestCallerLost(t *testing.T) {
	w := newWorld(t)
	a, b := w.newAgent(alice, "WS"), w.newAgent(bob, "UDP")
	b.register()
	a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", b.aor()))
	got := b.request("INVITE")
	b.reply(got, 180)
	a.answer("INVITE", 180)
	a.drop()
	b.reply(b.request("CANCEL"), 200)
	b.reply(got, 487)
	b.request("ACK")
	w.legs(alice+" outgoing ended", bob+" incoming ended")
}

// TestCallerLostByTCP: so does a phone that calls by TCP, since it is sent no answer by another connection.
func TestCallerLostByTCP(t *testing.T) {
	w, phone := closedWorld(t)
	a, b := phone(alice, "TCP"), phone(bob, "UDP")
	b.register()
	invite := a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", b.aor()))
	res := a.answer("INVITE", 407)
	a.tell(ackOf(invite, res))
	a.tell(a.again(invite, res))
	got := b.request("INVITE")
	b.reply(got, 180)
	a.answer("INVITE", 180)
	a.drop()
	b.reply(b.request("CANCEL"), 200)
	b.reply(got, 487)
	b.request("ACK")
	w.legs(alice+" outgoing ended", bob+" incoming ended")
}

// TestManyContacts: a phone that has another contact each time that it connects anew may go on registering; of its user's
// other phones none is forgotten for it, and none beyond those is taken.
func TestManyContacts(t *testing.T) {
	for _, c := range []struct {
		name, transport, registration string
	}{{"its connections are over", "TCP", ""}, {"a NAT has changed its port", "UDP", "one"}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			others := make([]*agent, maxContacts-1)
			for i := range others {
				others[i] = w.newAgent(bob, "UDP")
				others[i].register()
			}
			for i := range 2 * maxContacts {
				n := w.e.Stats().Connections
				a := w.newAgent(bob, c.transport)
				a.seq, a.registration = i, c.registration
				a.register()
				if a.drop == nil {
					continue
				}
				for a.drop(); w.e.Stats().Connections > n; time.Sleep(time.Millisecond) {
				}
			}
			for _, o := range others {
				if at := contactURI(o.ask("OPTIONS", "sip:x", "<sip:x>")); !slices.ContainsFunc(w.e.location.find(bob, time.Now()), func(b *binding) bool { return b.contact.uri.String() == at }) {
					t.Error("another phone is registered no more")
				}
			}
			if c.transport == "TCP" {
				w.newAgent(bob, "UDP").register()
			}
			last := w.newAgent(bob, "UDP")
			last.tell(last.ask("REGISTER", "sip:example.com", last.aor(), "Expires", "300"))
			if m := last.next(); m.Status != 503 {
				t.Errorf("a phone too many is answered %d", m.Status)
			}
		})
	}
}

// idle waits until no transaction is under way.
func (w *world) idle() { w.t.Helper(); w.transactions(0) }

// branchesEnd waits until so many of two branches are over: with the INVITE that came there are as
// many transactions as branches and one.
func (w *world) branchesEnd(n int64) { w.t.Helper(); w.transactions(3 - n) }

func (w *world) transactions(want int64) {
	w.t.Helper()
	for end := time.Now().Add(patience); w.e.Stats().Transactions > want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%d transactions are under way", w.e.Stats().Transactions)
		}
	}
}
