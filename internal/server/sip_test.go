package server_test

import (
	"net/http"
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
	bad(func(c *server.Config) { c.SIP.Ranges = []string{"0044"} }, "sip.ranges")
	bad(func(c *server.Config) { c.SIP.ICE = []string{"http://x"} }, "sip.ice")
	bad(func(c *server.Config) { c.SIP.PasswordFor = time.Second }, "sip.password_for")
}
