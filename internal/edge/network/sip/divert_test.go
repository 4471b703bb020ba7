package sip

import (
	"fmt"
	"net"
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
