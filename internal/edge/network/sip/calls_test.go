package sip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/tel"
)

// TestFork: a call rings at all phones of the number; when one answers, the others are
// cancelled, and the called party has one leg.
func TestFork(t *testing.T) {
	w := newWorld(t)
	a, desk, mobile := w.newAgent(alice, "UDP"), w.newAgent(bob, "TCP"), w.newAgent(bob, "WS")
	desk.register()
	mobile.register()
	invite := a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", mobile.aor()))
	one, two := desk.request("INVITE"), mobile.request("INVITE")
	desk.reply(one, 180)
	mobile.reply(two, 180)
	a.answer("INVITE", 180)
	mobile.reply(two, 200)
	ok := a.answer("INVITE", 200)
	cancel := desk.request("CANCEL")
	if r := cancel.Get(ReasonHeader); r != `SIP;cause=200;text="Call completed elsewhere"` { // RFC 3326: it is no missed call
		t.Errorf("Reason is %q", r)
	}
	desk.reply(cancel, 200)
	desk.tell(one.Response(487, reasons[487]))
	desk.request("ACK")
	w.legs(alice+" outgoing active", bob+" incoming active")
	a.tell(a.calling(invite, ok).ask("BYE"))
	mobile.reply(mobile.request("BYE"), 200)
	w.legs(alice+" outgoing ended", bob+" incoming ended")
}

// TestBest: of several refusals the caller gets the best (RFC 3261 16.7).
func TestBest(t *testing.T) {
	for _, c := range []struct{ x, y, want int }{{486, 404, 486}, {404, 486, 404}, {503, 486, 486}, {486, 603, 603}, {302, 486, 302}, {503, 503, 500}, {500, 404, 404}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			w := newWorld(t)
			a, x, y := w.newAgent(alice, "UDP"), w.newAgent(bob, "TCP"), w.newAgent(bob, "UDP")
			x.register()
			y.register()
			invite := a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", y.aor()))
			one, two := x.request("INVITE"), y.request("INVITE")
			x.reply(one, c.x)
			x.request("ACK") // so it has come before the other
			y.reply(two, c.y)
			res := a.answer("INVITE", c.want)
			a.tell(ackOf(invite, res))
			w.legs(alice + " outgoing ended")
		})
	}
}

// TestCancel: the caller gives up while it rings: the phone is cancelled, both legs end.
func TestCancel(t *testing.T) {
	w := newWorld(t)
	a, b := w.newAgent(alice, "WS"), w.newAgent(bob, "UDP")
	b.register()
	invite := a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", b.aor()))
	got := b.request("INVITE")
	b.reply(got, 180)
	a.answer("INVITE", 180)
	w.legs(alice+" outgoing ringing", bob+" incoming ringing")
	cancel := ackOf(invite, invite)
	cancel.Method = "CANCEL"
	n, _ := invite.cseq()
	cancel.Set(CSeq, fmt.Sprintf("%d CANCEL", n))
	cancel.Add(ReasonHeader, `Q.850;cause=102`)
	a.tell(cancel)
	a.answer("CANCEL", 200)
	c := b.request("CANCEL")
	if r := c.Get(ReasonHeader); r != "Q.850;cause=102" {
		t.Errorf("Reason is %q", r)
	}
	b.reply(c, 200)
	b.reply(got, 487)
	b.request("ACK")
	a.tell(ackOf(invite, a.answer("INVITE", 487)))
	w.legs(alice+" outgoing ended", bob+" incoming ended")

	// Of an INVITE that nobody knows.
	cancel = cancel.Clone()
	cancel.Pop(Via)
	cancel.Push(Via, a.via())
	a.tell(cancel)
	a.answer("CANCEL", 481)
}

// TestTimestamp: who measures the way to us finds its time in the 100 (RFC 3261 8.2.6.1).
func TestTimestamp(t *testing.T) {
	w := newWorld(t)
	a, b := w.newAgent(alice, "UDP"), w.newAgent(bob, "UDP")
	b.register()
	a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", b.aor(), "Timestamp", "54.3"))
	trying := a.next()
	if i := slices.IndexFunc(trying.Headers, func(h Header) bool { return h.Name == "Timestamp" }); trying.Status != 100 || i < 0 || trying.Headers[i].Value != "54.3" {
		t.Errorf("%s", trying.Encode())
	}
}

// TestUnreachable: nobody is registered; or somebody is, and does not answer.
func TestUnreachable(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.T1 = 5 * time.Millisecond })
	a, b := w.newAgent(alice, "TCP"), w.newAgent(bob, "UDP")
	for to, want := range map[string]int{
		"sip:" + carol + "@example.com": 480, "sip:nobody@example.com": 404, "sip:x@elsewhere.example": 403, "tel:" + carol: 480, "sip:example.com": 404,
	} {
		invite := a.tell(a.ask("INVITE", to, "<sip:x@example.com>"))
		a.tell(ackOf(invite, a.answer("INVITE", want)))
	}
	b.register()
	invite := a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", b.aor()))
	a.tell(ackOf(invite, a.answer("INVITE", 408)))
	w.legs(alice + " outgoing ended")
	// Another request is not answered at all then (RFC 4320).
	a.tell(a.ask("MESSAGE", "sip:"+bob+"@example.com", b.aor()))
	b.request("MESSAGE")
	// A phone on a WebSocket that is gone is not registered any more.
	c := w.newAgent(carol, "WS")
	c.register()
	for _, b := range w.e.location.find(carol, time.Now()) {
		b.via.conn.stop()
	}
	invite = a.tell(a.ask("INVITE", "sip:"+carol+"@example.com", c.aor()))
	a.tell(ackOf(invite, a.answer("INVITE", 480)))
}

const sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"

// TestHold: re-INVITE and UPDATE hold a call and take it up again; both sides may hold.
func TestHold(t *testing.T) {
	w := newWorld(t)
	a, b := w.newAgent(alice, "UDP"), w.newAgent(bob, "TCP")
	a.register()
	b.register()
	caller, callee := a.call(b)
	w.legs(alice+" outgoing active", bob+" incoming active")
	change := func(d *dialog, other *agent, method, direction string) {
		t.Helper()
		m := d.ask(method, "Content-Type", "application/sdp")
		m.Body = []byte(sdp + "a=" + direction + "\r\n")
		d.a.tell(m)
		other.reply(other.request(method), 200)
		ok := d.a.answer(method, 200)
		if method == "INVITE" {
			ack := d.ask("ACK")
			n, _ := ok.cseq()
			ack.Set(CSeq, fmt.Sprintf("%d ACK", n))
			d.a.tell(ack)
			other.request("ACK")
		}
	}
	change(caller, b, "INVITE", "sendonly")
	w.legs(alice+" outgoing held", bob+" incoming held")
	change(callee, a, "UPDATE", "inactive")
	change(caller, b, "INVITE", "sendrecv")
	change(callee, a, "UPDATE", "sendrecv") // only now neither holds
	w.legs(alice+" outgoing active", bob+" incoming active")
	a.tell(caller.ask("BYE"))
	b.reply(b.request("BYE"), 200)
	w.legs(alice+" outgoing ended", bob+" incoming ended")
}

// TestHoldByLateOffer: a re-INVITE without an offer, as of a PBX, holds a call and takes it up again by what its ACK answers;
// and by the offer of the other side, whatever the answer to that must be.
func TestHoldByLateOffer(t *testing.T) {
	w := newWorld(t)
	a, b := w.newAgent(alice, "UDP"), w.newAgent(bob, "TCP")
	b.register()
	caller, callee := a.call(b)
	w.legs(alice+" outgoing active", bob+" incoming active")
	body := func(m *Message, direction string) *Message {
		m.Add(ContentType, "application/sdp")
		m.Body = []byte(sdp + "a=" + direction + "\r\n")
		return m
	}
	change := func(d *dialog, other *agent, offer, answer string) {
		t.Helper()
		d.a.tell(d.ask("INVITE"))
		ok := other.request("INVITE").Response(200, "OK")
		ok.Add(Contact, other.contact)
		other.tell(body(ok, offer))
		n, _ := d.a.answer("INVITE", 200).cseq()
		ack := d.ask("ACK")
		ack.Set(CSeq, fmt.Sprintf("%d ACK", n))
		d.a.tell(body(ack, answer))
		other.request("ACK")
	}
	for _, c := range []struct {
		d             *dialog
		other         *agent
		offer, answer string
		want          string
	}{
		{caller, b, "sendrecv", "sendonly", "held"},
		{caller, b, "sendrecv", "sendrecv", "active"},
		{callee, a, "sendrecv", "inactive", "held"},
		{callee, a, "sendrecv", "sendrecv", "active"},
		{caller, b, "sendonly", "recvonly", "held"},
		{caller, b, "sendrecv", "sendrecv", "active"},
		{caller, b, "inactive", "inactive", "held"}, // by Bob only
		{callee, a, "sendrecv", "sendrecv", "active"},
		{caller, b, "sendrecv", "inactive", "held"},
	} {
		change(c.d, c.other, c.offer, c.answer)
		w.legs(alice+" outgoing "+c.want, bob+" incoming "+c.want)
	}
	change(caller, b, "inactive", "inactive") // Bob says what Alice's hold has left
	a.tell(body(caller.ask("UPDATE"), "sendrecv"))
	b.reply(b.request("UPDATE"), 200)
	w.legs(alice+" outgoing active", bob+" incoming active")
	a.tell(caller.ask("BYE"))
	b.reply(b.request("BYE"), 200)
	w.legs(alice+" outgoing ended", bob+" incoming ended")
}

// TestAnswerAfterTheEnd: an answer that comes once more when the call is over does not bring it back.
func TestAnswerAfterTheEnd(t *testing.T) {
	m := &memory{calls: map[string]Kept{}}
	w := newWorld(t, func(c *Config) { c.T1, c.Memory = 500*time.Millisecond, m })
	a, b, c := w.newAgent(alice, "UDP"), w.newAgent(bob, "UDP"), w.newAgent(carol, "UDP")
	b.register()
	c.register()
	invite := a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", b.aor()))
	got := b.request("INVITE")
	b.reply(got, 200)
	ok := a.answer("INVITE", 200)
	m.await(t, 1)
	a.tell(a.calling(invite, ok).ask("BYE"))
	b.reply(b.request("BYE"), 200)
	a.answer("BYE", 200)
	w.legs(alice+" outgoing ended", bob+" incoming ended")
	m.await(t, 0)

	b.reply(got, 200)
	a.answer("INVITE", 200)
	a.call(c) // is reported after what is reported of the other
	if legs := w.legs(carol + " incoming active"); legs[bob+" incoming active"].Seq != 0 {
		t.Errorf("the call is back: %+v", legs)
	}
}

// TestSecondAnswer: two phones answer, the caller hangs up on one of them, and its answer comes once more: the call
// ends with the other.
func TestSecondAnswer(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.T1 = 500 * time.Millisecond })
	a, one, two := w.newAgent(alice, "UDP"), w.newAgent(bob, "UDP"), w.newAgent(bob, "TCP")
	one.register()
	two.register()
	invite := a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", one.aor()))
	answer := func(b *agent, got *Message) *dialog {
		t.Helper()
		b.reply(got, 200)
		return a.calling(invite, a.answer("INVITE", 200))
	}
	first, second := one.request("INVITE"), two.request("INVITE")
	second.Set(To, second.Get(To)+";tag=second")
	kept, ended := answer(one, first), answer(two, second)
	bye := func(b *agent, d *dialog) {
		t.Helper()
		a.tell(d.ask("BYE"))
		b.reply(b.request("BYE"), 200)
		a.answer("BYE", 200)
	}
	bye(two, ended)
	answer(two, second)
	bye(one, kept)
	w.legs(alice+" outgoing ended", bob+" incoming ended")
}

// TestForeignTag: what the called side asks of a tag that is not the caller's, and the caller refuses, is of no dialog of the call: it
// neither ends the call nor takes room.
func TestForeignTag(t *testing.T) {
	w := newWorld(t)
	a, b := w.newAgent(alice, "UDP"), w.newAgent(bob, "UDP")
	b.register()
	_, callee := a.call(b)
	w.legs(alice+" outgoing active", bob+" incoming active")
	for i := range 20 {
		callee.remote = fmt.Sprintf("%s;tag=x%d", a.aor(), i)
		for _, method := range []string{"INFO", "BYE"} {
			b.tell(callee.ask(method))
			a.reply(a.request(method), 481)
			b.answer(method, 481)
		}
	}
	known := make(chan int, 1)
	s := w.e.shardOf(callee.callID)
	s.do(func() {
		defer close(known)
		if c := s.calls[callee.callID]; c != nil {
			known <- len(c.CSeqs)
		}
	})
	if n, ok := <-known; !ok || n > 0 || len(w.reports) > 0 {
		t.Errorf("it is followed: %t, %d sequences are known, %d reports", ok, n, len(w.reports))
	}
	// Peers get it wrong, as SIPp does when something else has come; what the caller accepts ends the call
	b.tell(callee.ask("BYE"))
	a.reply(a.request("BYE"), 200)
	w.legs(alice+" outgoing ended", bob+" incoming ended")
}

// TestOtherUsage: that a side does not know a subscription, or a transfer, or does not answer to it, says
// nothing of the call; that it does not know the call ends it (RFC 5057 5).
func TestOtherUsage(t *testing.T) {
	w := newWorld(t)
	a, b := w.newAgent(alice, "TCP"), w.newAgent(bob, "TCP")
	b.register()
	caller, _ := a.call(b)
	w.legs(alice+" outgoing active", bob+" incoming active")
	ask := func(method string, status int) {
		t.Helper()
		a.tell(caller.ask(method))
		b.reply(b.request(method), status)
		a.answer(method, status)
	}
	for _, method := range []string{"NOTIFY", "SUBSCRIBE", "REFER", "MESSAGE", "OPTIONS"} {
		ask(method, 481)
		ask(method, 408)
	}
	ask("INFO", 408)
	if len(w.reports) > 0 {
		t.Errorf("reported: %+v", <-w.reports)
	}
	hold := caller.ask("UPDATE", "Content-Type", "application/sdp")
	hold.Body = []byte(sdp + "a=sendonly\r\n")
	a.tell(hold)
	b.reply(b.request("UPDATE"), 200)
	a.answer("UPDATE", 200)
	w.legs(alice+" outgoing held", bob+" incoming held")
	ask("INFO", 481)
	w.legs(alice+" outgoing ended", bob+" incoming ended")
}

func TestHeld(t *testing.T) {
	for _, c := range []struct {
		sdp  string
		want bool
	}{
		{sdp, false}, {sdp + "a=sendonly\r\n", true}, {sdp + "a=inactive\r\n", true}, {sdp + "a=recvonly\r\n", false},
		{strings.Replace(sdp, "IN IP4 127.0.0.1\r\nt=", "IN IP4 0.0.0.0\r\nt=", 1), true},
		{strings.Replace(sdp, "t=0 0", "t=0 0\r\na=sendonly", 1), true},
		{sdp + "a=sendonly\r\nm=video 4002 RTP/AVP 31\r\n", false},
		{sdp + "a=sendonly\r\nm=video 0 RTP/AVP 31\r\n", true},
		{"v=0\r\n", false}, {"", false},
	} {
		if got := held([]byte(c.sdp)); got != c.want {
			t.Errorf("held is %v: %q", got, c.sdp)
		}
	}
}

// TestTransfer: Bob transfers Alice to Carol (REFER, Replaces): legs follow who is in the
// call.
func TestTransfer(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.newAgent(alice, "UDP"), w.newAgent(bob, "TCP"), w.newAgent(carol, "WS")
	for _, x := range []*agent{a, b, c} {
		x.register()
	}
	_, callee := a.call(b)
	w.legs(alice+" outgoing active", bob+" incoming active")
	b.tell(callee.ask("REFER", "Refer-To", "<sip:"+carol+"@example.com>", "Referred-By", b.aor()))
	refer := a.request("REFER")
	if refer.Get(ReferTo) != "<sip:"+carol+"@example.com>" {
		t.Errorf("Refer-To is %q", refer.Get(ReferTo))
	}
	a.reply(refer, 202)
	b.answer("REFER", 202)
	a.call(c, "Referred-By", b.aor(), "Replaces", "x;to-tag=1;from-tag=2")
	got := w.legs(alice+" outgoing active", carol+" incoming active")
	if r := got[carol+" incoming active"]; r.Other != identityOf(t, alice) {
		t.Errorf("carol speaks with %s", r.Other)
	}
	b.tell(callee.ask("BYE"))
	a.reply(a.request("BYE"), 200)
	got = w.legs(bob + " incoming ended")
	if _, wrong := got[carol+" incoming ended"]; wrong {
		t.Error("carol's leg has ended, too")
	}
}

// TestPrivacy: a caller who is withheld is named for matching only, and to no phone.
func TestPrivacy(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Open = false })
	a, b := w.newAgent(alice, "UDP"), w.newAgent(bob, "TCP")
	of := func(user string) func() (string, string) {
		return func() (string, string) {
			name, password, _ := w.e.Credential(user, "", time.Now())
			return name, password
		}
	}
	a.password, b.password = of(alice), of(bob)
	b.register()
	invite := a.ask("INVITE", "sip:"+bob+"@example.com", b.aor(), "Privacy", "id", "P-Asserted-Identity", "<sip:+442079469999@example.com>")
	invite.Set(From, `"Anonymous" <sip:anonymous@anonymous.invalid>;tag=x`)
	a.tell(invite)
	res := a.answer("INVITE", 407)
	a.tell(ackOf(invite, res))
	a.tell(a.again(invite, res))
	got := b.request("INVITE")
	if strings.Contains(got.Get(From), alice) || got.Has(PAssertedIdentity) || got.Has(ProxyAuthorization) {
		t.Errorf("bob's phone is told: %s", got.Encode())
	}
	b.reply(got, 200)
	a.answer("INVITE", 200)
	legs := w.legs(alice+" outgoing active", bob+" incoming active")
	if r := legs[alice+" outgoing active"]; !r.Withheld || r.Other != identityOf(t, bob) {
		t.Errorf("%+v", r)
	}
	if r := legs[bob+" incoming active"]; !r.OtherWithheld || r.Other != identityOf(t, alice) {
		t.Errorf("%+v", r)
	}
}

// TestTrustedElement: an IMS sends a call through the element and back to itself, as to an
// application server: its word on identities is taken, and nobody else may do so.
func TestTrustedElement(t *testing.T) {
	next, _ := newBeyond(t)
	w := newWorld(t, func(c *Config) { c.Open, c.Trusted = false, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	cscf := w.newAgent("cscf", "UDP")
	m := cscf.ask("INVITE", "sip:"+bob+"@ims.example;user=phone", "<tel:"+bob+">",
		"Route", fmt.Sprintf("<sip:127.0.0.1:%d;lr>, <sip:orig-1@%s:5060;lr>", w.addr.Port(), beyondAddr),
		"P-Asserted-Identity", "<tel:"+alice+">", "P-Served-User", "<sip:"+alice+"@ims.example>;sescase=orig;regstate=reg",
		"Session-ID", "ab30317f1a784dc48ff824d0d3715d86;remote=00000000000000000000000000000000", "Identity", "eyJ.a.b;info=<https://x>")
	m.Set(From, `"Anonymous" <sip:anonymous@anonymous.invalid>;tag=x`)
	m.Add(Privacy, "id")
	cscf.tell(m)
	got := next.await(t, w, m.Get(CallID))
	if r := got.All(Route); len(r) != 1 || !strings.Contains(r[0], "orig-1@") {
		t.Errorf("Route: %q", r)
	}
	if rr := got.All(RecordRoute); len(rr) != 2 {
		t.Errorf("Record-Route: %q", rr)
	}
	if got.Get(PAssertedIdentity) != "<tel:"+alice+">" || got.Get(PServedUser) == "" {
		t.Errorf("a trusted element is not told: %s", got.Encode())
	}
	ok := got.Response(200, "OK")
	ok.tagTo("callee")
	_, err := next.udp.WriteToUDPAddrPort(ok.Encode(), w.addr)
	w.must(err)
	cscf.answer("INVITE", 200)
	legs := w.legs(alice+" outgoing active", bob+" incoming active")
	if r := legs[alice+" outgoing active"]; !r.Vouched || !r.Withheld || r.Ref.SessionID != "ab30317f1a784dc48ff824d0d3715d86" || len(r.Passports) != 1 {
		t.Errorf("%+v", r)
	}

	// Somebody who is not trusted.
	w = newWorld(t)
	x := w.newAgent(alice, "TCP")
	invite := x.tell(x.ask("INVITE", "sip:"+bob+"@ims.example", "<tel:"+bob+">", "Route", fmt.Sprintf("<sip:%s:5060;lr>", beyondAddr)))
	x.tell(ackOf(invite, x.answer("INVITE", 403)))
}

// TestServiceCaller: a program of ours is told who calls by a password, or by what a trusted element asserts. A From that nobody
// asserts is the caller's own word, and counts only where it is configured so, or anybody is believed.
func TestServiceCaller(t *testing.T) {
	const number, at = "+442079460999", "127.88.0.4:5062"
	asserts := []string{"P-Asserted-Identity", "<tel:" + carol + ">"}
	for name, c := range map[string]struct {
		trusted, from, open bool
		headers             []string
		want                string
	}{
		"asserted by a trusted element":                 {true, false, false, asserts, carol},
		"From of a trusted element":                     {true, false, false, nil, ""},
		"From of a trusted element that vouches for it": {true, true, false, nil, alice},
		"asserted by one that vouches for its From":     {true, true, false, asserts, carol},
		"by a password":                                 {false, false, false, nil, alice},
		"by a password and not what it asserts":         {false, true, false, asserts, alice},
		"anybody in the open mode":                      {false, false, true, asserts, alice},
	} {
		t.Run(name, func(t *testing.T) {
			w, phone := closedWorld(t, func(cfg *Config) {
				cfg.Services = map[string]string{number: "sip:secret@" + at}
				cfg.TrustedFrom, cfg.Open = c.from, c.open
				if c.trusted {
					cfg.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
				}
			})
			service, a := w.newAgentAt(number, "UDP", at), phone(alice, "UDP")
			if c.trusted || c.open {
				a.password = nil
			}
			invite := a.tell(a.ask("INVITE", "sip:"+number+"@example.com", service.aor(), c.headers...))
			if a.password != nil {
				res := a.answer("INVITE", 407)
				a.tell(ackOf(invite, res))
				a.tell(a.again(invite, res))
			}
			got := service.request("INVITE")
			all := got.All(PAssertedIdentity)
			if c.want == "" {
				if len(all) > 0 {
					t.Errorf("it is told %q", all)
				}
			} else if len(all) != 1 || all[0] != "<sip:"+c.want+"@example.com>" {
				t.Errorf("it is told %q", all)
			}
			service.reply(got, 486)
			a.answer("INVITE", 486)
		})
	}
}

// TestCoreStopped: the core takes no report at all. Calls go on as if nothing was; the queue
// is bounded; when the core is back it gets the state of each leg.
func TestCoreStopped(t *testing.T) {
	stopped := make(chan struct{})
	reports := make(chan Report, 1000)
	w := newWorld(t, func(c *Config) {
		c.MaxQueue = 10
		c.Report = func(ctx context.Context, r Report) error {
			select {
			case <-stopped:
				reports <- r
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	w.reports = reports
	a, b := w.newAgent(alice, "UDP"), w.newAgent(bob, "WS")
	a.register()
	b.register()
	began := time.Now()
	for range 20 {
		caller, _ := a.call(b)
		a.tell(caller.ask("BYE"))
		b.reply(b.request("BYE"), 200)
		a.answer("BYE", 200)
	}
	a.call(b)
	if took := time.Since(began); took > patience {
		t.Errorf("21 calls took %v", took)
	}
	s := w.e.Stats()
	if s.ReportsWaiting > 10 || s.ReportsDropped == 0 || s.Reports != 0 {
		t.Errorf("%+v", s)
	}
	close(stopped)
	w.legs(alice+" outgoing ended", bob+" incoming ended")
}

// TestCoreFails: a report that was not taken is offered again; one that was refused is not.
func TestCoreFails(t *testing.T) {
	tries := make(chan Report, 100)
	n := 0
	w := newWorld(t, func(c *Config) {
		c.Report = func(_ context.Context, r Report) error {
			tries <- r
			if n++; n <= 2 {
				return errors.New("down")
			}
			return fmt.Errorf("%w: not ours", ErrRefused)
		}
	})
	w.reports = tries
	a, b := w.newAgent(alice, "UDP"), w.newAgent(bob, "UDP")
	b.register()
	a.call(b)
	w.legs(alice+" outgoing active", bob+" incoming active")
	for end := time.Now().Add(patience); w.e.Stats().ReportsWaiting > 0 || w.e.Stats().ReportsFailed != 2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%+v", w.e.Stats())
		}
	}
}

// TestLease: a call that goes on is reported again, until its session timer says that
// nobody keeps it alive.
func TestLease(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Lease = 100 * time.Millisecond })
	a, b := w.newAgent(alice, "UDP"), w.newAgent(bob, "UDP")
	b.register()
	a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", b.aor()))
	b.reply(b.request("INVITE"), 200, "Session-Expires", "1;refresher=uac")
	a.answer("INVITE", 200)
	seen := map[uint64]bool{}
	for range 3 {
		r := w.legs(alice + " outgoing active")[alice+" outgoing active"]
		if seen[r.Seq] {
			t.Errorf("the sequence %d is there twice", r.Seq)
		}
		seen[r.Seq] = true
	}
	w.legs(alice+" outgoing ended", bob+" incoming ended")
}

// TestSessionTimer: a session timer that is refreshed in time, with another interval, keeps the
// call; a later one that is not ends it (RFC 4028 8).
func TestSessionTimer(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Lease = 200 * time.Millisecond })
	a, b := w.newAgent(alice, "UDP"), w.newAgent(bob, "TCP")
	b.register()
	invite := a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", b.aor(), "Supported", "timer", "Session-Expires", "90"))
	began := time.Now()
	b.reply(b.request("INVITE"), 200, "Session-Expires", "3;refresher=uac", "Require", "timer")
	ok := a.answer("INVITE", 200)
	if ok.Get(SessionExpires) != "3;refresher=uac" {
		t.Errorf("Session-Expires is %q", ok.Get(SessionExpires))
	}
	d := a.calling(invite, ok)
	refresh := func(seconds string) {
		a.tell(d.ask("UPDATE", "Supported", "timer", "Session-Expires", seconds+";refresher=uac"))
		b.reply(b.request("UPDATE"), 200, "Session-Expires", seconds+";refresher=uac", "Require", "timer")
		a.answer("UPDATE", 200)
	}
	refresh("1800")
	for time.Since(began) < 4*time.Second {
		if r := <-w.reports; r.State == tel.Ended {
			t.Fatalf("it has ended after %v: %+v", time.Since(began), r)
		}
	}
	refresh("1")
	w.legs(alice+" outgoing ended", bob+" incoming ended")
}

// TestLoop: a call that comes back unchanged is ended (482), and one that goes round for
// ever by its hops (483).
func TestLoop(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Listen, c.NextHop = "127.88.0.2:5060", "sip:127.88.0.2:5060" }) // itself
	w.addr = netip.MustParseAddrPort("127.88.0.2:5060")
	a := w.newAgent(alice, "TCP")
	invite := a.tell(a.ask("INVITE", "sip:"+carol+"@example.com", "<sip:x@example.com>"))
	a.tell(ackOf(invite, a.answer("INVITE", 482)))
	few := a.ask("INVITE", "sip:"+carol+"@example.com", "<sip:x@example.com>")
	few.Set(MaxForwards, "0")
	a.tell(few)
	a.tell(ackOf(few, a.answer("INVITE", 483)))
}

// TestFlood: many requests at once, most of them for nothing: what is kept is bounded, and
// a good one is answered afterwards.
func TestFlood(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxTransactions = 100; c.MaxBindings = 50; c.T1 = 10 * time.Millisecond })
	a, b := w.newAgent(alice, "UDP"), w.newAgent(bob, "TCP")
	b.register()
	for i := range 2000 {
		m := a.ask("REGISTER", "sip:example.com", fmt.Sprintf("<sip:u%d@example.com>", i), "Expires", "300")
		a.tell(m)
		if i%20 == 19 { // as fast as they are taken
			drain(a.in)
		}
	}
	if s := w.e.Stats(); s.Bindings > 50 || s.Transactions > 110 {
		t.Errorf("%+v", s)
	}
	for end := time.Now().Add(patience); w.e.Stats().Transactions > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%+v", w.e.Stats())
		}
	}
	drain(a.in)
	b.tell(b.ask("OPTIONS", "sip:example.com", "<sip:example.com>"))
	b.answer("OPTIONS", 200)
}

func drain(c chan *Message) {
	for {
		select {
		case <-c:
		default:
			return
		}
	}
}
