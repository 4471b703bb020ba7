package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/wire"
)

// at asks with a host name of the caller's choice.
func (w *world) at(host, method, path string, headers ...string) reply {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.ctx, method, w.url()+path, nil)
	check(w.t, err)
	_, port, _ := strings.Cut(w.addr, ":")
	req.Host = host + ":" + port
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], strings.ReplaceAll(headers[i+1], "PORT", port))
	}
	return do(w.http, req)
}

// begin asks for a code to a number, and returns the one that the server prints.
func (w *world) begin(number string) string {
	w.t.Helper()
	fresh, err := client.NewIdentity(w.url())
	check(w.t, err)
	k := fresh.PublicKey()
	r := w.ask("POST", "/v1/enrolments", "", fmt.Sprintf(`{"number":%q,"key":{"kty":"EC","crv":"P-256","x":%q,"y":%q}}`, number, k.X, k.Y))
	if r.status != http.StatusAccepted {
		w.t.Fatalf("%+v", r)
	}
	return <-w.codes
}

const (
	trialAlice = "alice.tandem.localhost"
	trialBob   = "bob.tandem.localhost"
)

// TestTrialCode: each phone of Try it gets the code of its own fictional number, once, and
// nobody else gets any: not a page of another origin, also one whose name was made to lead
// here, not what comes through a proxy, not any other number's.
func TestTrialCode(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.TrustedProxies = nil })
	var page wire.Page
	check(t, json.Unmarshal([]byte(w.at(trialAlice, "GET", "/v1/page").body), &page))
	if page.Phone == nil || len(page.TryIt) != 2 || !strings.HasPrefix(page.TryAt, "http://tandem.localhost:") {
		t.Fatalf("%+v", page)
	}
	own := []string{"Origin", "http://" + trialAlice + ":PORT", "Sec-Fetch-Site", "same-origin"}
	if r := w.at(trialAlice, "POST", "/v1/trial-code", own...); r.code(t) != wire.CodeNotFound {
		t.Errorf("before an enrolment: %s", r.body)
	}
	line := w.begin(page.Phone.Number.String())
	w.begin("+442079460001")
	for name, refused := range map[string]reply{
		"another host":          w.at("127.0.0.1", "POST", "/v1/trial-code", "Origin", "http://127.0.0.1:PORT"),
		"a rebound name":        w.at("evil.example", "POST", "/v1/trial-code", "Origin", "http://evil.example:PORT"),
		"another origin":        w.at(trialAlice, "POST", "/v1/trial-code", "Origin", "http://evil.example"),
		"the page around":       w.at(trialAlice, "POST", "/v1/trial-code", "Origin", "http://tandem.localhost:PORT", "Sec-Fetch-Site", "same-site"),
		"the other phone":       w.at(trialAlice, "POST", "/v1/trial-code", "Origin", "http://"+trialBob+":PORT"),
		"no origin":             w.at(trialAlice, "POST", "/v1/trial-code"),
		"an opaque origin":      w.at(trialAlice, "POST", "/v1/trial-code", "Origin", "null"),
		"cross-site by browser": w.at(trialAlice, "POST", "/v1/trial-code", "Origin", "http://"+trialAlice+":PORT", "Sec-Fetch-Site", "cross-site"),
		"through a proxy":       w.at(trialAlice, "POST", "/v1/trial-code", append(own, "X-Forwarded-For", "203.0.113.9")...),
		"through another proxy": w.at(trialAlice, "POST", "/v1/trial-code", append(own, "Via", "1.1 proxy")...),
	} {
		if refused.code(t) != wire.CodeForbidden || strings.Contains(refused.body, `"code":"`+digits(line)) {
			t.Errorf("%s: %d %s", name, refused.status, refused.body)
		}
	}
	bob := []string{"Origin", "http://" + trialBob + ":PORT"}
	if r := w.at(trialBob, "POST", "/v1/trial-code", bob...); r.code(t) != wire.CodeNotFound {
		t.Errorf("the other phone's page gets %s", r.body)
	}
	r := w.at(trialAlice, "POST", "/v1/trial-code", own...)
	if r.status != http.StatusOK || !strings.Contains(r.body, digits(line)) {
		t.Errorf("its own: %s, want %s", r.body, line)
	}
	if r := w.at(trialAlice, "POST", "/v1/trial-code", own...); r.code(t) != wire.CodeNotFound {
		t.Errorf("the same code twice: %s", r.body)
	}
	if r := w.at(trialAlice, "POST", "/v1/trial-code", own...); r.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("others' pages may read it: %v", r.header)
	}
	// A private window after the other uses up no quota of the fictional numbers.
	for range 15 {
		w.begin(page.Phone.Number.String())
	}
}

// digits are the six of a printed code.
func digits(line string) string {
	_, after, _ := strings.Cut(line, ": ")
	return after[:6]
}

// TestNoTrialElsewhere: a server that others can reach, by its own word, offers no trial.
func TestNoTrialElsewhere(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.PublicURL = "https://tandem.example" })
	r := w.at(trialAlice, "GET", "/v1/page")
	if strings.Contains(r.body, "try_it") || strings.Contains(r.body, "phone") {
		t.Errorf("%s", r.body)
	}
	w.begin("+442079460018")
	if r := w.at(trialAlice, "POST", "/v1/trial-code", "Origin", "http://"+trialAlice+":PORT"); r.code(t) != wire.CodeForbidden {
		t.Errorf("%s", r.body)
	}
	if r := w.at(trialAlice, "GET", "/"); !strings.Contains(r.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		t.Errorf("%v", r.header)
	}
}

// TestPagesAndAPI: pages have a policy of their own; what the API says stays without one.
func TestPagesAndAPI(t *testing.T) {
	w := newWorld(t)
	page, api := w.ask("GET", "/", "", ""), w.ask("GET", "/v1/page", "", "")
	if p := page.header.Get("Content-Security-Policy"); !strings.Contains(p, "script-src 'self'") || page.header.Get("X-Frame-Options") != "DENY" {
		t.Errorf("page: %v", page.header)
	}
	if p := api.header.Get("Content-Security-Policy"); p != "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" {
		t.Errorf("API: %q", p)
	}
	// Cross-site WebSocket hijacking: a page of another origin is refused (RFC 6455 10.2).
	r := w.ask("GET", "/v1/connect", "", "", "Origin", "https://evil.example", "Connection", "Upgrade", "Upgrade", "websocket",
		"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol", "tandem.v1")
	if r.code(t) != wire.CodeForbidden {
		t.Errorf("a foreign page connects: %d %s", r.status, r.body)
	}
}
