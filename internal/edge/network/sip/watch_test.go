package sip

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/tel"
)

// pbx plays a PBX that tells of a user's calls.
type pbx struct {
	*beyond
	t      *testing.T
	w      *world
	sub    *Message // the SUBSCRIBE
	served int
}

func (p *pbx) next(method string) *Message {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case m := <-p.in:
			if m.Method == method {
				return m
			}
		case <-timeout:
			p.t.Fatalf("no %s came", method)
		}
	}
}

func (p *pbx) send(m *Message) {
	p.t.Helper()
	_, err := p.udp.WriteToUDPAddrPort(m.Encode(), p.w.addr)
	p.w.must(err)
}

func (p *pbx) accept(sub *Message, expires string) {
	r := sub.Response(200, "OK")
	r.tagTo("pbx")
	r.Add(Expires, expires)
	r.Add(Contact, "<sip:pbx@"+beyondAddr+">")
	p.sub = sub
	p.send(r)
}

// notify tells, and waits for the answer with a status.
func (p *pbx) notify(status int, change func(*Message), state, dialogs string) {
	p.t.Helper()
	p.served++
	m := &Message{Method: "NOTIFY", URI: contactURI(p.sub)}
	m.Add(Via, fmt.Sprintf("SIP/2.0/UDP %s;branch=%snotify%d;rport", beyondAddr, cookie, p.served))
	m.Add(From, "<sip:"+alice+"@"+beyondAddr+">;tag=pbx")
	m.Add(To, p.sub.Get(From))
	m.Add(CallID, p.sub.Get(CallID))
	m.Add(CSeq, fmt.Sprintf("%d NOTIFY", p.served))
	m.Add(MaxForwards, "70")
	m.Add(Event, "dialog")
	m.Add(SubscriptionState, "active;expires=600")
	m.Add(ContentType, "application/dialog-info+xml")
	m.Body = fmt.Appendf(nil, `<?xml version="1.0"?><dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="%d" state="%s" entity="sip:%s@%s">%s</dialog-info>`,
		p.served, state, alice, beyondAddr, dialogs)
	if change != nil {
		change(m)
	}
	p.send(m)
	for {
		select {
		case r := <-p.in:
			if r.Status == status {
				return
			}
			if r.Status != 0 {
				p.t.Fatalf("NOTIFY was answered with %d, not %d", r.Status, status)
			}
		case <-time.After(patience):
			p.t.Fatal("NOTIFY was not answered")
		}
	}
}

func dialogOf(id, direction, state, rendering string) string {
	return fmt.Sprintf(`<dialog id="%s" call-id="call-%s" direction="%s"><state>%s</state>
		<local><target uri="sip:x"><param pname="+sip.rendering" pval="%s"/></target></local><remote><identity>sip:%s@pbx;user=phone</identity></remote></dialog>`,
		id, id, direction, state, rendering, bob)
}

// TestWatch: the element subscribes to a user's calls at a PBX, with the password that it asks
// for, and reports what it is told; when the subscription ends, it begins anew.
func TestWatch(t *testing.T) {
	b, _ := newBeyond(t)
	w := newWorld(t, func(c *Config) {
		c.Watch, c.WatchUser, c.WatchPassword = []string{"sip:" + alice + "@" + beyondAddr}, "tandem", "s3cret"
	})
	p := &pbx{beyond: b, t: t, w: w}
	sub := p.next("SUBSCRIBE")
	if sub.Get(Event) != "dialog" || !strings.Contains(string(sub.Encode()), "Accept: application/dialog-info+xml") {
		t.Errorf("%s", sub.Encode())
	}
	r := sub.Response(401, "Unauthorized")
	r.tagTo("pbx")
	r.Add(WWWAuthenticate, `Digest realm="pbx", nonce="abc", qop="auth"`)
	p.send(r)
	for sub = p.next("SUBSCRIBE"); !sub.Has(Authorization); sub = p.next("SUBSCRIBE") { // repetitions
	}
	if c, _ := parseCredentials(sub.Get(Authorization)); c["username"] != "tandem" || c["response"] != digest(c, "s3cret", "SUBSCRIBE") {
		t.Errorf("Authorization: %q", sub.Get(Authorization))
	}
	p.accept(sub, "600")

	p.notify(200, nil, "full", "")
	p.notify(200, nil, "partial", dialogOf("1", "recipient", "early", "yes"))
	got := w.legs(alice + " incoming ringing")[alice+" incoming ringing"]
	if got.Other != identityOf(t, bob) || got.Ref.CallID != "call-1" || !got.Vouched {
		t.Errorf("%+v", got)
	}
	p.notify(200, nil, "partial", dialogOf("1", "recipient", "confirmed", "yes"))
	w.legs(alice + " incoming active")
	p.notify(200, nil, "partial", dialogOf("1", "recipient", "confirmed", "no"))
	w.legs(alice + " incoming held")
	p.notify(200, nil, "partial", dialogOf("2", "initiator", "confirmed", "yes"))
	w.legs(alice + " outgoing active")
	p.notify(200, nil, "partial", dialogOf("1", "recipient", "terminated", "yes"))
	w.legs(alice + " incoming ended")
	p.notify(200, nil, "full", "") // the second is not there any more
	w.legs(alice + " outgoing ended")

	// What is not of this subscription, or makes no sense.
	p.notify(481, func(m *Message) { m.Set(To, "<sip:x@y>;tag=guess") }, "full", "")
	p.notify(489, func(m *Message) { m.Set(Event, "presence") }, "full", "")
	p.notify(400, func(m *Message) { m.Body = []byte("<dialog-info") }, "full", "")
	p.notify(200, func(m *Message) {
		m.Body = []byte(`<dialog-info version="1" state="partial">` + dialogOf("9", "recipient", "confirmed", "yes") + `</dialog-info>`) // an old one
	}, "", "")
	p.notify(200, func(m *Message) { m.Set(SubscriptionState, "terminated;reason=deactivated") }, "partial", "")
	again := p.next("SUBSCRIBE")
	if again.Get(CallID) == sub.Get(CallID) {
		t.Error("the new subscription has the old Call-ID")
	}
	select {
	case r := <-w.reports:
		t.Errorf("reported: %+v", r)
	default:
	}
}

func TestDialogInfo(t *testing.T) {
	for state, want := range map[string]tel.State{"trying": tel.Ringing, "early": tel.Ringing, "confirmed": tel.Active, "terminated": tel.Ended, "odd": ""} {
		d, err := parseDialogInfo([]byte(`<dialog-info version="1" state="full">` + dialogOf("1", "initiator", state, "yes") + `</dialog-info>`))
		if err != nil || d.Dialogs[0].leg() != want || d.Dialogs[0].direction() != tel.Outgoing {
			t.Errorf("%s: %+v, %v", state, d, err)
		}
	}
	if _, err := parseDialogInfo([]byte("<x/>")); err == nil {
		t.Error("any XML is dialog-info")
	}
}
