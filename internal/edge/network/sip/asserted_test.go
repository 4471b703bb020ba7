//go:build peers

package sip

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const dave = "+442079460004"

// behindKamailio starts an element, and a real Kamailio in front of it, and gives the agents of
// Alice, who calls by way of Kamailio, and of Bob, to whom its calls come in the end.
func behindKamailio(t *testing.T, change func(*Config), statements func(w *world, proxy int) string) (w *world, a, b *agent) {
	t.Helper()
	w = newWorld(t, func(c *Config) { c.T1 = 500 * time.Millisecond }, change)
	proxy, phone := freePort(t), freePort(t)
	kamailio(t, "kamailio.cfg", proxy, "127.0.0.1:PHONE", fmt.Sprintf("127.0.0.1:%d", phone), "HEADERS", statements(w, proxy),
		"127.0.0.1:ELEMENT", w.addr.String(), "== ELEMENT", fmt.Sprintf("== %d", w.addr.Port()))
	bobs := func() *agent { return w.newAgentAt(bob, "UDP", fmt.Sprintf("127.0.0.1:%d", phone)) }
	if w.e.cfg.Open { // Bob's phone is at the element, or else at Kamailio
		b = bobs()
		b.register()
	}
	w.addr = netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", proxy))
	if b == nil {
		b = bobs()
	}
	return w, w.newAgent(alice, "UDP"), b
}

// trusting is an element that takes the word of those on this machine, and asks others for a
// password.
func trusting(c *Config) {
	c.Open, c.Trusted = false, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
}

// TestKamailioAsserts: who calls is whom a real proxy asserts, if it is trusted; and the caller of
// a call that was diverted before is with whom it was diverted to.
func TestKamailioAsserts(t *testing.T) {
	for _, c := range []struct {
		name    string
		headers []string
		retarget,
		caller, called string
		dialled string // to somebody else first
	}{
		{"asserted", []string{"P-Asserted-Identity: <tel:" + carol + ">"}, "", carol, bob, ""},
		{"served", []string{"P-Asserted-Identity: <tel:" + carol + ">", "P-Served-User: <sip:" + dave + "@ims.example>;sescase=orig;regstate=reg"}, "", dave, bob, ""},
		{"diverted", []string{
			"P-Asserted-Identity: <$fu>",
			"History-Info: <sip:" + bob + "@example.com?Reason=SIP%3Bcause%3D302>;index=1, <sip:" + carol + "@example.com;cause=302>;index=1.1;mp=1",
		}, `$rU = "` + carol + `";`, alice, carol, bob},
		{"diverted by Diversion", []string{
			"P-Asserted-Identity: <$fu>", "Diversion: <sip:" + bob + "@example.com>;reason=no-answer;counter=1",
		}, `$rU = "` + carol + `";`, alice, carol, bob},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, a, b := behindKamailio(t, trusting, func(w *world, proxy int) string {
				return c.retarget + w.headers(proxy, c.headers...)
			})
			invite := a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", b.aor(), "Session-ID", "ab30317f1a784dc48ff824d0d3715d86;remote=00000000000000000000000000000000"))
			got := b.request("INVITE")
			b.reply(got, 200)
			ok := a.answer("INVITE", 200)
			a.tell(a.calling(invite, ok).ask("ACK"))
			legs := w.legs(c.caller+" outgoing active", c.called+" incoming active")
			for own, other := range map[string]string{c.caller + " outgoing active": c.called, c.called + " incoming active": c.caller} {
				if r := legs[own]; !r.Vouched || r.Other != identityOf(t, other) || r.Ref.SessionID != "ab30317f1a784dc48ff824d0d3715d86" {
					t.Errorf("%s: %+v", own, r)
				}
				if r := legs[own]; c.dialled == "" && !r.Dialled.IsZero() || c.dialled != "" && r.Dialled != identityOf(t, c.dialled) {
					t.Errorf("%s: dialled is %q", own, r.Dialled)
				}
			}
			if c.name == "diverted" {
				if h := got.Get(HistoryInfo); !strings.Contains(h, "index=1.1") {
					t.Errorf("History-Info is %q", h)
				}
			}
		})
	}
}

// TestKamailioUntrusted: the word of a real proxy that is not trusted counts for nothing: its calls
// are asked for a password; and in the open mode they are the caller's own, and the phone is not
// shown what was asserted.
func TestKamailioUntrusted(t *testing.T) {
	t.Run("closed", func(t *testing.T) {
		w, a, b := behindKamailio(t, func(c *Config) { c.Open = false }, func(w *world, proxy int) string {
			return w.headers(proxy, "P-Asserted-Identity: <tel:"+carol+">")
		})
		invite := a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", b.aor()))
		a.tell(ackOf(invite, a.answer("INVITE", 407)))
		select {
		case r := <-w.reports:
			t.Errorf("reported: %+v", r)
		default:
		}
	})
	t.Run("open", func(t *testing.T) {
		w, a, b := behindKamailio(t, func(*Config) {}, func(w *world, _ int) string {
			return fmt.Sprintf(`append_hf("Route: <sip:%s;lr>\r\n"); append_hf("P-Asserted-Identity: <tel:%s>\r\n"); append_hf("P-Served-User: <tel:%s>;sescase=orig\r\n");`, w.addr, carol, carol)
		})
		a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", b.aor()))
		got := b.request("INVITE")
		if got.Has(PAssertedIdentity) || got.Has(PServedUser) {
			t.Errorf("the phone is shown it: %s", got.Encode())
		}
		b.reply(got, 200)
		legs := w.legs(alice+" outgoing active", bob+" incoming active")
		if r := legs[alice+" outgoing active"]; r.Vouched {
			t.Errorf("%+v", r)
		}
	})
}
