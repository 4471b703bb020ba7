package sip

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/tandem-call/tandem/tel"
)

// TestDiverted: Alice calls a number of the PBX's, which leads the call back through the element to Bob,
// and when he refuses or diverts it (302), to Carol, who answers. Alice is in one call, with Carol, and
// when it ends no leg stays open.
func TestDiverted(t *testing.T) {
	const pilot = "+442079460100"
	for _, refusal := range []int{302, 486} {
		t.Run(fmt.Sprint(refusal), func(t *testing.T) {
			free, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			at := free.LocalAddr().String()
			free.Close()
			w := newWorld(t, func(c *Config) { c.NextHop = "sip:" + at + ";transport=udp" })
			a, b, c, pbx := w.newAgent(alice, "UDP"), w.newAgent(bob, "TCP"), w.newAgent(carol, "TCP"), w.newAgentAt("pbx", "UDP", at)
			b.register()
			c.register()
			invite := a.tell(a.ask("INVITE", "sip:"+pilot+"@example.com", "<sip:"+pilot+"@example.com>"))
			arrived := pbx.request("INVITE")
			lead := func(user string) *Message {
				m := arrived.Clone()
				m.URI = "sip:" + user + "@example.com"
				m.Push(Via, pbx.via())
				return pbx.tell(m)
			}
			back := func(res *Message) {
				res = res.Clone()
				res.Pop(Via)
				pbx.tell(res)
			}

			toBob := lead(bob)
			atBob := b.request("INVITE")
			b.reply(atBob, 180)
			back(pbx.answer("INVITE", 180))
			b.reply(atBob, refusal)
			pbx.tell(ackOf(toBob, pbx.answer("INVITE", refusal)))
			w.legs(bob + " incoming ended")

			lead(carol)
			c.reply(c.request("INVITE"), 200)
			back(pbx.answer("INVITE", 200))
			ok := a.answer("INVITE", 200)
			got := w.legs(alice+" outgoing active", carol+" incoming active")
			for _, leg := range []string{alice + " outgoing active", carol + " incoming active"} {
				if r := got[leg]; r.Dialled != identityOf(t, pilot) {
					t.Errorf("%s: dialled is %s", leg, r.Dialled)
				}
			}
			if r := got[alice+" outgoing active"]; r.Other != identityOf(t, carol) {
				t.Errorf("alice speaks with %s", r.Other)
			}
			if _, over := got[alice+" outgoing ended"]; over {
				t.Error("alice's leg has ended when bob refused, though the call went on")
			}
			if _, wrong := got[pilot+" incoming active"]; wrong {
				t.Error("the number that was dialled is said to speak")
			}
			a.tell(a.calling(invite, ok).ask("BYE"))
			c.reply(c.request("BYE"), 200)
			a.answer("BYE", 200)
			open := map[tel.Identity]tel.State{}
			for _, r := range w.legs(alice+" outgoing ended", carol+" incoming ended") {
				if r.State != tel.Ended {
					open[r.Own] = r.State
				}
			}
			if len(open) > 0 {
				t.Errorf("legs stay open: %v", open)
			}
		})
	}
}

// TestHistory: whom a call was dialled to first is taken from History-Info or Diversion of a trusted element,
// and from nobody else; what is private in them is not shown to a telephone.
func TestHistory(t *testing.T) {
	const hidden = "+442079460111"
	for _, c := range []struct {
		name    string
		trusted bool
		headers []string
		dialled string
		shown   string // to the telephone
	}{
		{"history", true, []string{"History-Info", "<sip:" + bob + "@ims.example>;index=1,<sip:" + carol + "@example.com;cause=302>;index=1.1;mp=1"},
			bob, "<sip:" + bob + "@ims.example>;index=1,<sip:" + carol + "@example.com;cause=302>;index=1.1;mp=1"},
		{"history in another order", true, []string{"History-Info", "<tel:" + carol + ">;index=1.1;mp=1", "History-Info", "<tel:" + bob + ">;index=1"},
			bob, "<tel:" + carol + ">;index=1.1;mp=1,<tel:" + bob + ">;index=1"},
		{"private entry", true, []string{"History-Info", "<sip:" + hidden + "@ims.example?Privacy=history&Reason=SIP%3Bcause%3D302>;index=1,<sip:" + carol + "@example.com>;index=1.1"},
			hidden, "<sip:anonymous@anonymous.invalid>;index=1,<sip:" + carol + "@example.com>;index=1.1"},
		{"private as a whole", true, []string{"Privacy", "history", "History-Info", "<sip:" + hidden + "@ims.example>;index=1"},
			hidden, "<sip:anonymous@anonymous.invalid>;index=1"},
		{"anonymous", true, []string{"History-Info", "<sip:anonymous@anonymous.invalid>;index=1,<sip:" + carol + "@example.com>;index=1.1"},
			"", "<sip:anonymous@anonymous.invalid>;index=1,<sip:" + carol + "@example.com>;index=1.1"},
		{"not diverted", true, []string{"History-Info", "<sip:" + carol + "@example.com>;index=1"}, "", "<sip:" + carol + "@example.com>;index=1"},
		{"diversion", true, []string{"Diversion", "<sip:+442079460112@pbx.example>;reason=no-answer, <sip:" + bob + "@pbx.example>;reason=unconditional;privacy=off"},
			bob, "<sip:+442079460112@pbx.example>;reason=no-answer,<sip:" + bob + "@pbx.example>;reason=unconditional;privacy=off"},
		{"private diversion", true, []string{"Diversion", "<sip:" + hidden + "@pbx.example>;reason=unconditional;privacy=\"full\""}, hidden, ""},
		{"malformed", true, []string{"History-Info", "<sip:" + bob, "Diversion", "no"}, "", ""},
		{"a telephone's", false, []string{"History-Info", "<sip:" + bob + "@example.com>;index=1", "Diversion", "<sip:" + bob + "@pbx.example>"}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")} })
			phone, at := w.newAgent(carol, "TCP"), "127.0.0.1:0"
			if c.trusted {
				at = "127.0.0.2:0"
			}
			peer := w.newAgentAt(alice, "UDP", at)
			phone.register()
			peer.tell(peer.ask("INVITE", "sip:"+carol+"@example.com", phone.aor(), c.headers...))
			got := phone.request("INVITE")
			if shown := strings.Join(append(got.All(HistoryInfo), got.All(Diversion)...), ","); shown != c.shown {
				t.Errorf("the telephone is shown %q", shown)
			}
			phone.reply(got, 200)
			peer.answer("INVITE", 200)
			for leg, r := range w.legs(alice+" outgoing active", carol+" incoming active") {
				want := tel.Identity{}
				if c.dialled != "" {
					want = identityOf(t, c.dialled)
				}
				if r.Dialled != want {
					t.Errorf("%s: dialled is %q", leg, r.Dialled)
				}
			}
		})
	}
}

// TestHistoryInAnAnswer: a telephone that calls is not shown either what is private of where its call went.
func TestHistoryInAnAnswer(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")} })
	phone, pbx := w.newAgent(alice, "TCP"), w.newAgentAt(carol, "UDP", "127.0.0.2:0")
	pbx.register()
	phone.tell(phone.ask("INVITE", "sip:"+carol+"@example.com", pbx.aor()))
	res := pbx.request("INVITE").Response(302, "Moved")
	res.tagTo("1")
	res.Add(HistoryInfo, "<sip:"+bob+"@example.com?Privacy=history>;index=1")
	pbx.tell(res)
	if h := phone.answer("INVITE", 302).Get(HistoryInfo); h != "<sip:anonymous@anonymous.invalid>;index=1" {
		t.Errorf("the telephone is shown %q", h)
	}
}

// TestFromIsNotAsserted: to trusted elements we assert who has called by a password, and not what stands in the
// From of a call that another one has sent without asserting anything.
func TestFromIsNotAsserted(t *testing.T) {
	w, phone := closedWorld(t, func(c *Config) { c.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")} })
	b, pbx := w.newAgentAt(bob, "UDP", "127.0.0.2:0"), w.newAgentAt(carol, "UDP", "127.0.0.2:0")
	b.password = phone(bob, "UDP").password
	b.register()
	pbx.tell(pbx.ask("INVITE", "sip:"+bob+"@example.com", b.aor()))
	got := b.request("INVITE")
	if got.Has(PAssertedIdentity) {
		t.Errorf("the From is asserted: %q", got.Get(PAssertedIdentity))
	}
	b.reply(got, 200)
	pbx.answer("INVITE", 200)
	if r := w.legs(carol + " outgoing active")[carol+" outgoing active"]; !r.Vouched {
		t.Errorf("the element's word counts for nothing: %+v", r)
	}

	a := phone(alice, "TCP")
	invite := a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", b.aor()))
	res := a.answer("INVITE", 407)
	a.tell(ackOf(invite, res))
	a.tell(a.again(invite, res))
	for got = b.request("INVITE"); !strings.Contains(got.Get(From), alice); got = b.request("INVITE") {
	}
	if want := "<sip:" + alice + "@example.com;user=phone>"; got.Get(PAssertedIdentity) != want {
		t.Errorf("asserted is %q, want %q", got.Get(PAssertedIdentity), want)
	}
}

// TestAssertedInAnAnswer: who answers is told to a telephone by a trusted element alone, and not where that asks for
// privacy; a trusted element is told also then.
func TestAssertedInAnAnswer(t *testing.T) {
	const asserted = "<sip:" + bob + "@example.com>"
	for i, c := range []struct {
		caller, answerer, privacy, want string
	}{
		{"", "127.0.0.2:0", "none", asserted},
		{"", "127.0.0.2:0", "id", ""},
		{"127.0.0.2:0", "127.0.0.2:0", "id", asserted},
		{"", "127.0.0.1:0", "none", ""},
		{"127.0.0.2:0", "127.0.0.1:0", "none", ""},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")} })
			a, b := w.newAgentAt(alice, "UDP", cmp.Or(c.caller, "127.0.0.1:0")), w.newAgentAt(carol, "UDP", c.answerer)
			b.register()
			a.tell(a.ask("INVITE", "sip:"+carol+"@example.com", b.aor()))
			b.reply(b.request("INVITE"), 200, "P-Asserted-Identity", asserted, "Privacy", c.privacy)
			if got := a.answer("INVITE", 200).Get(PAssertedIdentity); got != c.want {
				t.Errorf("the caller is told %q, want %q", got, c.want)
			}
		})
	}
}
