package server_test

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/wire"
)

// softphone asks what a device needs to register.
func (w *world) softphone(id *client.Identity) wire.Softphone {
	w.t.Helper()
	var s wire.Softphone
	check(w.t, client.NewAPI(id, w.http).Call(w.ctx, "GET", "/v1/softphone", nil, &s))
	return s
}

// TestSoftphone: a device gets what its softphone needs, for its own number.
func TestSoftphone(t *testing.T) {
	w := newWorld(t, func(c *server.Config) {
		c.SIP.Domain, c.SIP.ICE, c.SIP.TURNSecret = "example.com", []string{"stun:stun.example.com", "turn:turn.example.com"}, "s3cret"
	})
	s := w.softphone(w.enrol(alice))
	if s.URI != "sip:"+alice+"@example.com;user=phone" || s.WebSocketURL != "ws://"+w.addr+"/sip" {
		t.Errorf("%+v", s)
	}
	if !strings.HasSuffix(s.Username, "."+alice) || len(s.Password) < 20 || s.ExpiresSeconds < 3500 || s.ExpiresSeconds > 3600 {
		t.Errorf("%+v", s)
	}
	if len(s.ICEServers) != 2 || s.ICEServers[0].Credential != "" || s.ICEServers[1].Credential == "" || s.ICEServers[1].Username == "" {
		t.Errorf("%+v", s.ICEServers)
	}
	if other := w.softphone(w.enrol(bob)); other.Password == s.Password {
		t.Error("two numbers have one password")
	}
}

// TestSIPOff: without an element, that is what is said.
func TestSIPOff(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.SIP.Mode = server.SIPOff })
	token := w.token(w.enrol(alice))
	for _, path := range []string{"/v1/softphone", "/sip"} {
		if r := w.ask("GET", path, token, ""); r.code(t) != wire.CodeNotFound || !strings.Contains(r.body, "sip.mode") {
			t.Errorf("%s: %+v", path, r)
		}
	}
}

// TestSIPOrigins: pages of other hosts do not speak SIP here, unless they are allowed.
func TestSIPOrigins(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.Origins = []string{"https://app.example"} })
	for origin, ok := range map[string]bool{"": true, "http://" + w.addr: true, "https://app.example": true, "https://evil.example": false, "null": false} {
		h := http.Header{}
		if origin != "" {
			h.Set("Origin", origin)
		}
		c, res, err := websocket.Dial(w.ctx, "ws://"+w.addr+"/sip", &websocket.DialOptions{Subprotocols: []string{"sip"}, HTTPHeader: h})
		if ok != (err == nil) {
			t.Errorf("%q: %v", origin, err)
		}
		if err == nil {
			if c.Subprotocol() != "sip" {
				t.Errorf("%q: the subprotocol is %q", origin, c.Subprotocol())
			}
			check(t, c.CloseNow())
		} else if res == nil || res.StatusCode != http.StatusForbidden {
			t.Errorf("%q: %+v", origin, res)
		}
	}
}

// TestSIPModes: what stands for auto, and what is refused.
func TestSIPModes(t *testing.T) {
	bad := func(f func(*server.Config), want string) {
		t.Helper()
		c := server.Defaults()
		f(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	bad(func(c *server.Config) { c.SIP.Mode = "on" }, "sip.mode")
	bad(func(c *server.Config) { c.SIP.Mode, c.SIP.Listen = server.SIPOpen, "0.0.0.0:5060" }, "for loopback only")
	bad(func(c *server.Config) { c.SIP.Listen = "5060" }, "sip.listen")
	bad(func(c *server.Config) { c.SIP.TLSListen = "127.0.0.1:5061" }, "sip.tls_listen")
	bad(func(c *server.Config) { c.SIP.Trusted = []string{"10.0.0.1"} }, "sip.trusted")
	bad(func(c *server.Config) { c.SIP.TrustedNames = []string{"*.example.com"} }, "sip.trusted_names")
	bad(func(c *server.Config) { c.SIP.Ranges = []string{"0044"} }, "sip.ranges")
	bad(func(c *server.Config) { c.SIP.ICE = []string{"http://x"} }, "sip.ice")
	bad(func(c *server.Config) { c.SIP.PasswordFor = time.Second }, "sip.password_for")
}

// sipRegister registers a softphone over a WebSocket of its own, and returns the status of the answer.
func (w *world) sipRegister(s wire.Softphone) (*websocket.Conn, string) {
	w.t.Helper()
	c, _, err := websocket.Dial(w.ctx, s.WebSocketURL, &websocket.DialOptions{Subprotocols: []string{"sip"}, HTTPClient: w.http})
	check(w.t, err)
	w.t.Cleanup(func() { _ = c.CloseNow() })
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	w.t.Cleanup(cancel)
	address, _, _ := strings.Cut(s.URI, ";")
	_, domain, _ := strings.Cut(address, "@")
	ask := func(n int, more string) string {
		check(w.t, c.Write(ctx, websocket.MessageText, fmt.Appendf(nil, "REGISTER sip:%s SIP/2.0\r\nVia: SIP/2.0/WS abc.invalid;branch=z9hG4bK%d\r\nMax-Forwards: 70\r\n"+
			"From: <%s>;tag=1\r\nTo: <%s>\r\nCall-ID: register\r\nCSeq: %d REGISTER\r\nContact: <sip:x@abc.invalid;transport=ws>\r\nExpires: 300\r\n%sContent-Length: 0\r\n\r\n",
			domain, n, address, address, n, more)))
		_, b, err := c.Read(ctx)
		check(w.t, err)
		return string(b)
	}
	nonce := regexp.MustCompile(`nonce="([^"]+)"`).FindStringSubmatch(ask(1, ""))
	if nonce == nil {
		w.t.Fatal("no challenge")
	}
	h := func(s string) string { sum := md5.Sum([]byte(s)); return hex.EncodeToString(sum[:]) }
	response := h(h(s.Username+":"+domain+":"+s.Password) + ":" + nonce[1] + ":00000001:c:auth:" + h("REGISTER:sip:"+domain))
	answer := ask(2, fmt.Sprintf("Authorization: Digest username=%q, realm=%q, nonce=%q, uri=\"sip:%s\", nc=00000001, cnonce=\"c\", qop=auth, response=%q\r\n",
		s.Username, domain, nonce[1], domain, response))
	return c, strings.Fields(answer)[1]
}

// TestSoftphoneEnds: the password of a device that is revoked, or whose number has a new owner, ends at
// once, and so does the registration.
func TestSoftphoneEnds(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.SIP.Mode, c.SIP.Domain = server.SIPDigest, "example.com" })
	for name, end := range map[string]func(id *client.Identity) reply{
		"revoked": func(id *client.Identity) reply { return w.ask("DELETE", "/v1/device", w.token(id), "") },
		"recycled": func(id *client.Identity) reply {
			return w.ask("DELETE", "/v1/operator/numbers/"+id.Number.String()+"/devices", w.op, "")
		},
		"barred": func(id *client.Identity) reply {
			return w.ask("POST", "/v1/operator/barred", w.op, fmt.Sprintf(`{"identity":"tel:%s"}`, id.Number))
		},
	} {
		id := w.enrol(map[string]string{"revoked": alice, "recycled": bob, "barred": carol}[name])
		s := w.softphone(id)
		c, status := w.sipRegister(s)
		if status != "200" {
			t.Fatalf("%s: registered with %s", name, status)
		}
		if r := end(id); r.status/100 != 2 {
			t.Fatalf("%s: %+v", name, r)
		}
		ctx, cancel := context.WithTimeout(w.ctx, patience)
		if _, _, err := c.Read(ctx); err == nil || ctx.Err() != nil {
			t.Errorf("%s: the telephone is still connected: %v", name, err)
		}
		cancel()
		if _, status := w.sipRegister(s); status != "403" {
			t.Errorf("%s: registered again with %s", name, status)
		}
	}
}

// TestSoftphoneIsATelephones: neither a device that is coupled with a telephone nor a guest
// becomes the telephone.
func TestSoftphoneIsATelephones(t *testing.T) {
	w := newWorld(t)
	coupled := w.couple(w.enrol(alice), "the TV", "permanent")
	for name, token := range map[string]string{"coupled": w.token(coupled), "a guest": w.token(w.guest(bob))} {
		if r := w.ask("GET", "/v1/softphone", token, ""); r.status != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
}

// TestSIPRebinding: a page whose host's name was made to lead to this machine registers nothing.
func TestSIPRebinding(t *testing.T) {
	w := newWorld(t)
	_, port, _ := strings.Cut(w.addr, ":")
	for host, ok := range map[string]bool{w.addr: true, "localhost:" + port: true, "alice.tandem.localhost:" + port: true, "evil.example:" + port: false, "evillocalhost:" + port: false} {
		c, _, err := websocket.Dial(w.ctx, "ws://"+w.addr+"/sip", &websocket.DialOptions{
			Subprotocols: []string{"sip"}, Host: host, HTTPHeader: http.Header{"Origin": {"http://" + host}},
		})
		if ok != (err == nil) {
			t.Errorf("%s: %v", host, err)
		}
		if err == nil {
			check(t, c.CloseNow())
		}
	}
}
