package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/edge/transport/tlscert"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// scopesOf says which scope lets an operator's key call each operation; by what the
// document's operations are for, not by how the program says it.
var scopeOf = map[string]httpapi.Scope{
	"report": "report", "offer-coupling": "couplings", "look-coupling": "couplings", "accept-coupling": "couplings", "list-couplings": "couplings", "end-coupling": "couplings",
	"bind-device": "bind", "list-credentials": "keys", "create-credential": "keys", "revoke-credential": "keys",
	"link-identity": "parties", "unlink-identity": "parties", "list-shared": "parties", "share-identity": "parties", "unshare-identity": "parties",
	"recycle-number": "parties", "export-party": "parties", "erase-party": "parties", "list-barred": "parties", "bar": "parties", "unbar": "parties",
	"explain-call": "calls", "close-session": "calls", "audit": "audit",
	"list-webhooks": "webhooks", "add-webhook": "webhooks", "remove-webhook": "webhooks", "rotate-webhook": "webhooks", "enable-webhook": "webhooks",
	"test-webhook": "webhooks", "list-webhook-deliveries": "webhooks", "replay-event": "webhooks",
	"list-agents": "agents", "set-agent": "agents", "remove-agent": "agents", "invite-agent": "agents", "revoke-sign-ins": "agents",
	"get-agent-settings": "agents", "set-agent-settings": "agents",
	"list-overlays": "overlays", "get-overlay": "overlays", "set-overlay-draft": "overlays", "preview-overlay": "overlays", "publish-overlay": "overlays",
	"roll-back-overlay": "overlays", "remove-overlay": "overlays", "get-overlay-draft-picture": "overlays", "get-overlay-version": "overlays", "send-overlay": "overlays", "list-overlay-templates": "overlays",
	"list-payment-accounts": "payments", "get-payment-account": "payments", "set-payment-account": "payments", "remove-payment-account": "payments", "list-payments": "payments",
	"backup": "server", "test-push": "server", "rotate-secrets": "server", "list-tenants": "server", "set-tenant": "server",
}

func (w *world) newKey(r wire.CredentialRequest) string {
	w.t.Helper()
	var c wire.Credential
	w.operator("POST", "/v1/operator/credentials", r, &c)
	return c.Key
}

// TestScopes: a key with one scope may call the operations of that scope, and no other.
func TestScopes(t *testing.T) {
	w := newWorld(t)
	doc := document(t, w)
	keys := map[httpapi.Scope]string{}
	for _, s := range httpapi.Scopes {
		keys[s] = w.newKey(wire.CredentialRequest{Role: "operator", Name: string(s), Scopes: []string{string(s)}})
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			o := operations[op.OperationID]
			if op.Security == nil || !strings.Contains(fmt.Sprint(o.who), "operator") {
				continue
			}
			needed, ok := scopeOf[op.OperationID]
			if !ok {
				t.Errorf("%s is new: which scope does it need?", op.OperationID)
				continue
			}
			at := strings.NewReplacer("{id}", "none", "{session}", "none", "{number}", "+442079460996", "{event}", "none").Replace(path) + o.query
			body := strings.NewReplacer("NUMBER", "+442079460985", "KEY", freshKey(t)).Replace(o.body)
			for s, key := range keys {
				r := w.ask(method, at, key, body)
				lacks := r.status == http.StatusForbidden && strings.Contains(r.body, "needs the scope")
				if lacks == (s == needed) {
					t.Errorf("%s with the scope %s: %d %s", op.OperationID, s, r.status, r.body)
				}
			}
		}
	}
	for s, key := range keys {
		if r := w.ask("GET", "/metrics", key, ""); (r.status == http.StatusOK) != (s == httpapi.ScopeServer) {
			t.Errorf("metrics with %s: %d", s, r.status)
		}
	}
	// A limited key makes no key that can do more.
	for body, want := range map[string]int{
		`{"role":"operator","name":"x"}`:                              403,
		`{"role":"operator","name":"x","scopes":["audit"]}`:           403,
		`{"role":"operator","name":"x","scopes":["keys","audit"]}`:    403,
		`{"role":"operator","name":"x","scopes":["keys"]}`:            201,
		`{"role":"operator","name":"x","scopes":["everything"]}`:      400,
		`{"role":"operator","name":"x","seconds":10}`:                 400,
		`{"role":"operator","name":"x","seconds":60,"days":1}`:        400,
		`{"role":"operator","name":"x","certificate":"` + "no" + `"}`: 400,
	} {
		token := keys[httpapi.ScopeKeys]
		if want == 400 {
			token = w.op
		}
		if r := w.ask("POST", "/v1/operator/credentials", token, body); r.status != want {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		}
	}
	var short wire.Credential
	w.operator("POST", "/v1/operator/credentials", wire.CredentialRequest{Role: "element", Name: "short", Seconds: 900}, &short)
	if d := time.Until(short.Expires); d < 14*time.Minute || d > 15*time.Minute {
		t.Errorf("a key for 900 seconds lasts %v", d)
	}
}

// TestLimitedKeysMakeAndEndLimitedOnes: who has the keys' office can neither outlast it, nor shed its
// certificate, nor end the keys of those above.
func TestLimitedKeysMakeAndEndLimitedOnes(t *testing.T) {
	w := newWorld(t)
	make := func(r wire.CredentialRequest) (c wire.Credential) {
		w.operator("POST", "/v1/operator/credentials", r, &c)
		return c
	}
	keeper := make(wire.CredentialRequest{Role: "operator", Name: "keeper", Scopes: []string{"keys", "report"}, Seconds: 900})
	owner := make(wire.CredentialRequest{Role: "operator", Name: "owner"})
	auditor := make(wire.CredentialRequest{Role: "operator", Name: "auditor", Scopes: []string{"audit"}})
	element := make(wire.CredentialRequest{Role: "element", Name: "all that an element may", Ranges: []string{"+44"}})
	reporter := make(wire.CredentialRequest{Role: "element", Name: "reporter", Ranges: []string{"+44"}, Scopes: []string{"report"}})

	create := func(token, body string) (c wire.Credential, status int) {
		r := w.ask("POST", "/v1/operator/credentials", token, body)
		if r.status == http.StatusCreated {
			check(t, json.Unmarshal([]byte(r.body), &c))
		}
		return c, r.status
	}
	if c, status := create(keeper.Key, `{"role":"element","name":"x","ranges":["+44"],"scopes":["report"]}`); status != http.StatusCreated || c.Expires.After(keeper.Expires) {
		t.Errorf("a key that outlasts its maker's: %d, %v, not %v", status, c.Expires, keeper.Expires)
	}
	if _, status := create(keeper.Key, `{"role":"element","name":"x","ranges":["+44"],"scopes":["report"],"days":1}`); status != http.StatusForbidden {
		t.Errorf("a key for a day, of one for a quarter of an hour: %d", status)
	}
	if c, status := create(owner.Key, `{"role":"element","name":"x","ranges":["+44"],"days":700}`); status != http.StatusCreated || !c.Expires.After(owner.Expires) {
		t.Errorf("an operator's key without limits: %d, until %v", status, c.Expires)
	}
	for _, c := range []struct {
		name   string
		key    wire.Credential
		status int
	}{
		{"the owner's", owner, http.StatusForbidden},
		{"one with another office", auditor, http.StatusForbidden},
		{"an element's that may more", element, http.StatusForbidden},
		{"one that may as much", reporter, http.StatusNoContent},
		{"its own", keeper, http.StatusNoContent},
	} {
		if r := w.ask("DELETE", "/v1/operator/credentials/"+c.key.ID, keeper.Key, ""); r.status != c.status {
			t.Errorf("a keeper ends %s: %d %s", c.name, r.status, r.body)
		}
	}
	if r := w.ask("GET", "/v1/operator/credentials", keeper.Key, ""); r.status != http.StatusUnauthorized {
		t.Errorf("a key that has ended itself: %d", r.status)
	}
	if r := w.ask("DELETE", "/v1/operator/credentials/"+auditor.ID, owner.Key, ""); r.status != http.StatusNoContent {
		t.Errorf("the owner ends the auditor's: %d %s", r.status, r.body)
	}
}

// faltering is an engine whose first reading fails.
type faltering struct {
	store.Engine
	failed bool
}

func (e *faltering) Get(ctx context.Context, table, key string) (store.Record, error) {
	if !e.failed {
		e.failed = true
		return store.Record{}, errors.New("the disk is busy")
	}
	return e.Engine.Get(ctx, table, key)
}

// TestUnreadKeyIsNotEnded: while a key cannot be read, whoever may not end every key ends none.
func TestUnreadKeyIsNotEnded(t *testing.T) {
	w := newWorld(t)
	var owner wire.Credential
	w.operator("POST", "/v1/operator/credentials", wire.CredentialRequest{Role: "operator", Name: "owner"}, &owner)
	e := &faltering{Engine: w.server.Engine()}
	for _, want := range []wire.Code{wire.CodeInternal, wire.CodeForbidden} {
		if p := wire.ProblemOf(w.server.RevokeOver(t.Context(), e, owner.ID, httpapi.ScopeKeys)); p == nil || p.Code != want {
			t.Errorf("revoked: %v, want %s", p, want)
		}
	}
	if p := wire.ProblemOf(w.server.RevokeOver(t.Context(), e, "nobody", httpapi.ScopeKeys)); p == nil || p.Code != wire.CodeNotFound {
		t.Errorf("a key that does not exist: %v", p)
	}
	if r := w.ask("GET", "/v1/operator/credentials", owner.Key, ""); r.status != http.StatusOK {
		t.Errorf("the owner's key: %+v", r)
	}
}

// TestBindings: an element says whose a device is only with the scope, within its range, and by
// what a network can know; the device then shows its key.
func TestBindings(t *testing.T) {
	w := newWorld(t)
	var id *client.Identity
	bind := func(token, number, proof string) reply {
		fresh, err := client.NewIdentity(w.url())
		check(t, err)
		id = fresh
		k := fresh.PublicKey()
		return w.ask("POST", "/v1/bindings", token, fmt.Sprintf(`{"number":%q,"proof":%q,"key":{"kty":"EC","crv":"P-256","x":%q,"y":%q}}`, number, proof, k.X, k.Y))
	}
	plain := w.key("element", "+44")
	binder := w.newKey(wire.CredentialRequest{Role: "element", Name: "entitlement", Ranges: []string{"+44"}, Scopes: []string{"bind"}})
	provider := w.newKey(wire.CredentialRequest{Role: "provider", Name: "centre", Ranges: []string{"+44"}, Scopes: []string{"bind"}})
	w.operator("POST", "/v1/operator/barred", wire.BarRequest{Identity: carol}, nil)
	for _, c := range []struct {
		name, token, number, proof string
		status                     int
	}{
		{"an element without the scope", plain, alice, "sim", 403},
		{"a provider", provider, alice, "sim", 403},
		{"outside its range", binder, "+33142685300", "sim", 403},
		{"as an operator", binder, alice, "operator", 403},
		{"by a code", binder, alice, "one_time_code", 400},
		{"a barred number", binder, carol, "sim", 403},
		{"no number", binder, "12", "sim", 400},
		{"nobody", "", alice, "sim", 401},
		{"by the operator", w.op, bob, "operator", 201},
		{"by the SIM card", binder, alice, "sim", 201},
	} {
		if r := bind(c.token, c.number, c.proof); r.status != c.status {
			t.Errorf("%s: %d %s", c.name, r.status, r.body)
		} else if r.status == http.StatusCreated {
			var d wire.DeviceInfo
			check(t, json.Unmarshal([]byte(r.body), &d))
			id.Device = d.ID
			if len(d.Bindings) != 1 || d.Bindings[0].Kind != c.proof {
				t.Errorf("%s: %+v", c.name, d)
			}
		}
	}
	w.enter(id) // with its key
	refusals, bindings := 0, 0
	w.until("it is in the audit log", func() bool {
		refusals, bindings = 0, 0
		for _, e := range w.audit() {
			switch {
			case e.What == "enrolment.refused" && e.Who.Role == "element":
				refusals++
			case e.What == "device.enrolled" && e.Details["proof"] == "sim":
				bindings++
			}
		}
		return refusals == 3 && bindings == 1 // range, proof, bar
	})
}

// clientCertificate is a certificate that somebody made for themselves, and its thumbprint.
func clientCertificate(t *testing.T, until time.Time) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "proxy"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
	}, &x509.Certificate{Subject: pkix.Name{CommonName: "proxy"}}, key.Public(), key)
	check(t, err)
	sum := sha256.Sum256(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, base64.RawURLEncoding.EncodeToString(sum[:])
}

// TestKeyBoundToACertificate: the key alone, or with another certificate, is worth nothing
// (RFC 8705 section 3).
func TestKeyBoundToACertificate(t *testing.T) {
	w := newWorldOver(t, "https", func(c *server.Config) { c.TLS.Mode, c.TLS.ClientCertificates = tlscert.Local, true })
	mine, thumb := clientCertificate(t, time.Now().Add(time.Hour))
	other, _ := clientCertificate(t, time.Now().Add(time.Hour))
	stale, staleThumb := clientCertificate(t, time.Now().Add(-time.Minute))
	key := w.newKey(wire.CredentialRequest{Role: "element", Name: "proxy", Ranges: []string{"+44"}, Certificate: thumb})
	staleKey := w.newKey(wire.CredentialRequest{Role: "element", Name: "proxy", Ranges: []string{"+44"}, Certificate: staleThumb})
	free := w.key("element", "+44")
	body := strings.Replace(report(dave, "outgoing", "active", "c"), "{", fmt.Sprintf(`{"own":"tel:%s",`, alice), 1)
	keeper := w.newKey(wire.CredentialRequest{Role: "operator", Name: "keeper", Scopes: []string{"keys", "report"}, Certificate: thumb})
	made := func(certificate string) string {
		return fmt.Sprintf(`{"role":"element","name":"x","ranges":["+44"],"scopes":["report"]%s}`, certificate)
	}
	for _, c := range []struct {
		name, key string
		certs     []tls.Certificate
		status    int
	}{
		{"its certificate", key, []tls.Certificate{mine}, 200},
		{"none", key, nil, 401},
		{"another", key, []tls.Certificate{other}, 401},
		{"one that has expired", staleKey, []tls.Certificate{stale}, 401},
		{"a key that needs none", free, nil, 200},
		{"a key that needs none, with one", free, []tls.Certificate{other}, 200},
	} {
		there := *w
		tr := w.http.Transport.(withHeader).Transport.Clone()
		tr.TLSClientConfig = w.trust()
		tr.TLSClientConfig.Certificates = c.certs
		t.Cleanup(tr.CloseIdleConnections)
		there.http = &http.Client{Transport: tr}
		if r := there.ask("POST", "/v1/reports", c.key, body); r.status != c.status {
			t.Errorf("%s: %d %s", c.name, r.status, r.body)
		}
		if c.name != "its certificate" {
			continue
		}
		for certificate, status := range map[string]int{"": 403, `,"certificate":"` + thumb + `"`: 201} { // what it makes needs one too
			if r := there.ask("POST", "/v1/operator/credentials", keeper, made(certificate)); r.status != status {
				t.Errorf("made with %q: %d %s", certificate, r.status, r.body)
			}
		}
	}
}

// trust is a client's TLS configuration that trusts the server's local authority.
func (w *world) trust() *tls.Config {
	w.t.Helper()
	pem, err := os.ReadFile(filepath.Join(w.dir, "tls", "tandem-local-authority.pem"))
	check(w.t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// TestCouplingOutsideTheRange: a key that couples for a number that it may not speak for is
// refused, and the audit log says so.
func TestCouplingOutsideTheRange(t *testing.T) {
	w := newWorld(t)
	element := w.newKey(wire.CredentialRequest{Role: "element", Name: "switch", Ranges: []string{"+44"}, Scopes: []string{"couplings"}})
	if r := w.ask("POST", "/v1/couplings/accept", element, `{"code":"24681357","number":"+33142685300"}`); r.status != http.StatusForbidden {
		t.Fatalf("offered: %+v", r)
	}
	w.until("the refusal is in the audit log", func() bool {
		return slices.ContainsFunc(w.audit(), func(e wire.AuditEntry) bool {
			return e.What == "coupling.refused" && e.Who.Role == "element" && e.Details["reason"] == string(wire.CodeForbidden)
		})
	})
}
