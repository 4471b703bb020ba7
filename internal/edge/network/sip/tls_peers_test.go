//go:build peers

package sip

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// certificates that another element may have, by what is wrong with them; "" where nothing is: what
// the log says then.
func certificates(t *testing.T, ours, foreign *authority) map[string]struct{ cert, key, fault string } {
	all := map[string]struct{ cert, key, fault string }{}
	add := func(name, fault string, by *authority, names []string, more ...func(*x509.Certificate)) {
		cert, key, _ := by.files(by.issue(names, more...))
		all[name] = struct{ cert, key, fault string }{cert, key, fault}
	}
	add("right", "", ours, []string{"localhost"})
	add("right of a web server", "", ours, []string{"localhost"}, forWeb)
	add("right of a SIP domain", "", ours, nil, uris("sip:localhost"), forSIP)
	add("expired", "expired", ours, []string{"localhost"}, expired)
	add("foreign", "unknown authority", foreign, []string{"localhost"})
	add("for another use", "another use", ours, []string{"localhost"}, forCode)
	return all
}

// TestTLSServer: an element that we call shows its certificate: with openssl as that element, a
// call comes there only if it holds and is for the host that was asked for.
func TestTLSServer(t *testing.T) {
	ours, foreign := newAuthority(t), newAuthority(t)
	all := certificates(t, ours, foreign)
	for name, names := range map[string][]string{"for somebody else": {"elsewhere.example"}, "a wildcard": {"*"}} {
		cert, key, _ := ours.files(ours.issue(names))
		all[name] = struct{ cert, key, fault string }{cert, key, "it is not for localhost"}
	}
	cert, key, _ := ours.files(ours.issue([]string{"localhost"}, uris("sip:elsewhere.example")))
	all["a SIP domain of somebody else"] = struct{ cert, key, fault string }{cert, key, "it is not for localhost, but for elsewhere.example"}
	for name, c := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log logged
			port := freePort(t)
			p := startPhone(t, name, t.TempDir(), "openssl", "s_server", "-accept", fmt.Sprintf("127.0.0.1:%d", port), "-cert", c.cert, "-key", c.key)
			p.says("ACCEPT")
			w := newWorld(t, func(cfg *Config) {
				cfg.NextHop, cfg.TLSRoots, cfg.Logger = fmt.Sprintf("sip:localhost:%d;transport=tls", port), ours.pool(), log.logger()
			})
			a := w.newAgent(alice, "TCP")
			invite := a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", a.aor()))
			if c.fault != "" {
				a.tell(ackOf(invite, a.answer("INVITE", 500)))
				log.await(t, "level=WARN", "could not be reached", c.fault)
				if said := p.says("(?s)ERROR.*ACCEPT|shutdown|alert|CONNECTION CLOSED"); strings.Contains(said, "INVITE") {
					t.Errorf("the call has gone there:\n%s", said)
				}
				return
			}
			p.says(regexp.QuoteMeta(invite.Get(CallID)))
		})
	}
}

// TestTLSClient: an element, openssl, connects to us. One that shows no certificate is a phone; one
// whose certificate does not hold is refused; one whose is for a trusted name is believed.
func TestTLSClient(t *testing.T) {
	ours, foreign := newAuthority(t), newAuthority(t)
	all := certificates(t, ours, foreign)
	cert, key, _ := ours.files(ours.issue([]string{"elsewhere.example"}))
	all["right but not trusted"] = struct{ cert, key, fault string }{cert, key, ""}
	all["none"] = struct{ cert, key, fault string }{}
	_, _, root := ours.files(ours.issue(nil))
	for name, c := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log logged
			w := newWorld(t, overTLSOf(ours.issue([]string{"example.com"})), func(cfg *Config) {
				cfg.Open, cfg.TLSRoots, cfg.TrustedNames, cfg.Logger = false, ours.pool(), []string{"localhost"}, log.logger()
			})
			b := w.newAgent(bob, "UDP")
			b.password = func() (string, string) {
				user, password, _ := w.e.Credential(bob, "", time.Now())
				return user, password
			}
			b.register()
			args := []string{"s_client", "-quiet", "-no_ign_eof", "-connect", fmt.Sprintf("127.0.0.1:%d", w.e.Port("TLS")), "-CAfile", root, "-verify_return_error", "-verify_hostname", "example.com"}
			if c.cert != "" {
				args = append(args, "-cert", c.cert, "-key", c.key)
			}
			p := startPhone(t, name, t.TempDir(), "openssl", args...)
			m := (&agent{w: w, user: alice, domain: "example.com", transport: "TLS", contact: "<sip:x@127.0.0.1:1;transport=tls>"}).ask(
				"INVITE", "sip:"+bob+"@example.com", b.aor(), "P-Asserted-Identity", "<tel:"+carol+">")
			m.Pop(Via)
			m.Push(Via, "SIP/2.0/TLS 127.0.0.1:1;branch="+cookie+"x;rport")
			_, _ = p.in.Write(m.Encode()) // it may have been refused already
			switch {
			case c.fault != "":
				log.await(t, "level=WARN", "a TLS peer was refused", c.fault)
			case name == "none", name == "right but not trusted":
				p.says("SIP/2.0 407 ")
			default:
				b.reply(b.request("INVITE"), 200)
				p.says("SIP/2.0 200 ")
				if got := w.legs(carol+" outgoing active", bob+" incoming active"); !got[carol+" outgoing active"].Vouched {
					t.Errorf("%+v", got)
				}
				return
			}
			select {
			case r := <-w.reports:
				t.Errorf("reported: %+v", r)
			default:
			}
		})
	}
}

// TestTLSRefused: a phone, openssl, that does not take our certificate leaves a line in the log.
func TestTLSRefused(t *testing.T) {
	var log logged
	ours := newAuthority(t)
	w := newWorld(t, overTLSOf(ours.issue([]string{"example.com"})), func(cfg *Config) { cfg.Logger = log.logger() })
	_, _, root := ours.files(ours.issue(nil))
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		startPeer(t, "openssl", "s_client", version, "-connect", fmt.Sprintf("127.0.0.1:%d", w.e.Port("TLS")), "-CAfile", root, "-verify_return_error", "-verify_hostname", "elsewhere.example")
		log.await(t, "level=INFO", "perhaps it does not take our certificate")
		log.mu.Lock()
		log.b.Reset()
		log.mu.Unlock()
	}
}

// TestKamailioTLS: a real proxy sends its calls through the element and gets them back, over TLS, and
// both look at the other's certificate. It is trusted by its certificate alone. With one of another
// authority its calls are refused, and so are those of an element that it does not believe.
func TestKamailioTLS(t *testing.T) {
	for _, c := range []struct{ name, fault string }{{"right", ""}, {"foreign proxy", "unknown authority"}, {"foreign element", "broken off"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ours, foreign := newAuthority(t), newAuthority(t)
			by := map[string]*authority{"proxy": ours, "element": ours}
			by[strings.TrimPrefix(c.name, "foreign ")] = foreign
			local := func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }
			cert, key, _ := by["proxy"].files(by["proxy"].issue([]string{"localhost"}, local))
			_, _, root := ours.files(ours.issue(nil))

			var log logged
			w := newWorld(t, overTLSOf(by["element"].issue([]string{"localhost"}, local)), func(cfg *Config) {
				cfg.Open, cfg.T1, cfg.TLSRoots, cfg.TrustedNames, cfg.Logger = false, 500*time.Millisecond, ours.pool(), []string{"localhost"}, log.logger()
			})
			files := filepath.Join(t.TempDir(), "tls.files.cfg")
			text := ""
			for _, side := range []string{"server", "client"} {
				text += fmt.Sprintf("[%s:default]\nmethod = TLSv1.2+\nverify_certificate = yes\nrequire_certificate = yes\nprivate_key = %s\ncertificate = %s\nca_list = %s\n", side, key, cert, root)
			}
			w.must(os.WriteFile(files, []byte(text), 0o600))
			proxy, phone := freePort(t), freePort(t)
			kamailio(t, "tls.cfg", proxy, "127.0.0.1:PHONE", fmt.Sprintf("127.0.0.1:%d", phone), "localhost:ELEMENT", fmt.Sprintf("localhost:%d", w.e.Port("TLS")),
				"localhost:PORT", fmt.Sprintf("localhost:%d", proxy), `"FILES"`, `"`+files+`"`)
			w.addr = netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", proxy))
			a, b := w.newAgent(alice, "UDP"), w.newAgentAt(bob, "UDP", fmt.Sprintf("127.0.0.1:%d", phone))
			invite := a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", b.aor()))
			if c.fault != "" {
				log.await(t, "TLS peer", c.fault)
				if n := w.e.Stats().Requests; n > 0 || len(b.in) > 0 {
					t.Errorf("%d requests were taken, %d came to the phone", n, len(b.in))
				}
				return
			}
			got := b.request("INVITE")
			answer := b.reply(got, 200)
			d := a.calling(invite, a.answer("INVITE", 200))
			a.tell(d.ask("ACK"))
			legs := w.legs(alice+" outgoing active", bob+" incoming active")
			for own, r := range legs {
				if !r.Vouched {
					t.Errorf("%s is not vouched for", own)
				}
			}
			b.tell(b.called(got, answer).ask("BYE"))
			a.reply(a.request("BYE"), 200)
			b.answer("BYE", 200)
			w.legs(alice+" outgoing ended", bob+" incoming ended")
		})
	}
}
