package apns

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/internal/notify"
	"github.com/tandem-call/tandem/wire"
)

// apple is APNs in miniature. It takes nothing that Apple's documentation forbids.
type apple struct {
	*httptest.Server
	key *ecdsa.PublicKey

	mu      sync.Mutex
	now     time.Time // by which tokens are judged
	tokens  map[string]bool
	refuse  []refusal                   // the next requests
	goaway  int                         // every so many requests the connection ends with GOAWAY
	dead    map[string]bool             // tokens of devices that have gone
	fault   func(n int) (refusal, bool) // by the number of the request
	n       int
	headers []http.Header
	bodies  []map[string]any
}

type refusal struct {
	status int
	reason string
	after  string
}

const device = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0"

func (a *apple) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.n++
	if a.goaway > 0 && a.n%a.goaway == 0 {
		w.Header().Set("Connection", "close") // net/http's HTTP/2 server then says GOAWAY
	}
	deny := func(status int, reason string) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"reason": reason})
	}
	if a.fault != nil {
		if f, ok := a.fault(a.n); ok {
			a.refuse = append(a.refuse, f)
		}
	}
	if len(a.refuse) > 0 {
		f := a.refuse[0]
		a.refuse = a.refuse[1:]
		if f.after != "" {
			w.Header().Set("Retry-After", f.after)
		}
		deny(f.status, f.reason)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 4097))
	var said map[string]any
	prio, kind := r.Header.Get("apns-priority"), r.Header.Get("apns-push-type")
	expiry, experr := strconv.ParseInt(r.Header.Get("apns-expiration"), 10, 64)
	switch token := strings.TrimPrefix(r.URL.Path, "/3/device/"); {
	case r.ProtoMajor != 2:
		deny(505, "not HTTP/2")
	case r.Method != http.MethodPost:
		deny(405, "MethodNotAllowed")
	case r.Header.Get("apns-topic") != "com.example.tandem":
		deny(400, "BadTopic")
	case a.dead[token]:
		deny(410, "Unregistered")
	case len(token) != len(device):
		deny(400, "BadDeviceToken")
	case len(r.Header.Get("apns-collapse-id")) > 64:
		deny(400, "BadCollapseId")
	case experr != nil || expiry <= a.now.Unix():
		deny(400, "BadExpirationDate")
	case prio != "10" && prio != "5":
		deny(400, "BadPriority")
	case kind != "alert" && kind != "background":
		deny(400, "InvalidPushType")
	case err != nil || len(body) > 4096:
		deny(413, "PayloadTooLarge")
	case json.Unmarshal(body, &said) != nil || said["aps"] == nil:
		deny(400, "PayloadEmpty")
	case kind == "background" && (prio != "5" || fmt.Sprint(said["aps"]) != "map[content-available:1]"):
		deny(400, "BadPriority")
	default:
		if reason := a.sender(r.Header.Get("Authorization")); reason != "" {
			deny(403, reason)
			return
		}
		a.headers, a.bodies = append(a.headers, r.Header), append(a.bodies, said)
		w.Header().Set("apns-id", "EC1BF194-B3B2-424A-89A9-5A918A6E6B5B")
	}
}

func (a *apple) sender(header string) string {
	token, ok := strings.CutPrefix(header, "bearer ")
	if !ok {
		return "MissingProviderToken"
	}
	var c jwt.RegisteredClaims
	t, err := jwt.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return a.key, nil }, jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer("TEAM123456"),
		jwt.WithTimeFunc(func() time.Time { return a.now }))
	if err != nil || t.Header["kid"] != "KEY1234567" || c.IssuedAt == nil {
		return "InvalidProviderToken"
	}
	if a.now.Sub(c.IssuedAt.Time) > time.Hour {
		return "ExpiredProviderToken"
	}
	a.tokens[token] = true
	return ""
}

// world is a pusher and its service, with one clock.
func newWorld(t *testing.T) (*apple, *Pusher) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	a := &apple{key: &k.PublicKey, now: time.Now(), tokens: map[string]bool{}}
	a.Server = httptest.NewUnstartedServer(a)
	a.EnableHTTP2 = true
	a.StartTLS()
	t.Cleanup(a.Close)
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate())
	p, err := New(Config{
		Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), KeyID: "KEY1234567", TeamID: "TEAM123456",
		Topic: "com.example.tandem", URL: a.URL, Roots: roots, Now: func() time.Time { a.mu.Lock(); defer a.mu.Unlock(); return a.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.client.CloseIdleConnections)
	return a, p
}

func (a *apple) pass(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now = a.now.Add(d)
}

var push = notify.Push{App: device, ID: "psh_ABCDEFGHIJKLMNOPQRSTUVWXYZ", Kind: wire.PushInvite, TTL: 10 * time.Minute, Urgent: true}

func TestPush(t *testing.T) {
	a, p := newWorld(t)
	if err := p.Push(t.Context(), push); err != nil {
		t.Fatal(err)
	}
	withdraw := push
	withdraw.Withdraw, withdraw.Urgent = true, false
	if err := p.Push(t.Context(), withdraw); err != nil {
		t.Fatal(err)
	}
	data := push
	data.Kind, data.Urgent = wire.PushData, false
	if err := p.Push(t.Context(), data); err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct{ kind, prio, aps string }{
		{"alert", "10", `{"alert":{"body":"The person you are speaking to wants to share something."},"category":"tandem.invite","interruption-level":"time-sensitive","mutable-content":1,"sound":"default"}`},
		{"background", "5", `{"content-available":1}`},
		{"alert", "5", `{"alert":{"body":"The person you are speaking to wants to share something."},"mutable-content":1}`},
	} {
		b, err := json.Marshal(a.bodies[i]["aps"])
		if err != nil {
			t.Fatal(err)
		}
		h := a.headers[i]
		if string(b) != want.aps || h.Get("apns-push-type") != want.kind || h.Get("apns-priority") != want.prio || h.Get("apns-collapse-id") != string(push.ID) ||
			fmt.Sprint(a.bodies[i]["tandem"]) != "map[push:"+string(push.ID)+"]" || len(a.bodies[i]) != 2 {
			t.Errorf("%d: %s %v", i, b, h)
		}
	}
}

func TestOutcomes(t *testing.T) {
	a, p := newWorld(t)
	for _, c := range []struct {
		refusal
		is       error
		after    time.Duration
		everyone bool
	}{
		{refusal{410, "Unregistered", ""}, notify.ErrGone, 0, false},
		{refusal{410, "ExpiredToken", ""}, notify.ErrGone, 0, false},
		// These two can be a mistake in the configuration: no token is dropped for them.
		{refusal{400, "BadDeviceToken", ""}, notify.ErrRefused, 0, false},
		{refusal{400, "DeviceTokenNotForTopic", ""}, notify.ErrRefused, 0, false},
		{refusal{403, "InvalidProviderToken", ""}, notify.ErrRefused, 0, false},
		{refusal{413, "PayloadTooLarge", ""}, notify.ErrRefused, 0, false},
		{refusal{429, "TooManyRequests", "7"}, nil, 7 * time.Second, false},
		{refusal{429, "TooManyProviderTokenUpdates", ""}, nil, 20 * time.Minute, true},
		{refusal{500, "InternalServerError", ""}, nil, 0, false},
		{refusal{503, "ServiceUnavailable", "30"}, nil, 30 * time.Second, true},
	} {
		t.Run(c.reason, func(t *testing.T) {
			a.mu.Lock()
			a.refuse = []refusal{c.refusal}
			a.mu.Unlock()
			err := p.Push(t.Context(), push)
			var l *notify.Later
			if c.is != nil {
				if !errors.Is(err, c.is) {
					t.Errorf("%v", err)
				}
			} else if !errors.As(err, &l) || l.After != c.after || l.Everyone != c.everyone {
				t.Errorf("%+v", err)
			}
			if err != nil && strings.Contains(err.Error(), device) {
				t.Errorf("it shows the token: %v", err)
			}
			if err := p.Push(t.Context(), push); err != nil {
				t.Errorf("the next one: %v", err)
			}
		})
	}
	bad := push
	bad.App = "../../etc"
	if err := p.Push(t.Context(), bad); !errors.Is(err, notify.ErrGone) {
		t.Errorf("what is no token: %v", err)
	}
	a.Close()
	if err := p.Push(t.Context(), push); err == nil || errors.Is(err, notify.ErrGone) || errors.Is(err, notify.ErrRefused) || strings.Contains(err.Error(), device) {
		t.Errorf("no answer: %v", err)
	}
}

// TestProviderToken: one token serves for 20 minutes at least, and for less than an hour.
func TestProviderToken(t *testing.T) {
	a, p := newWorld(t)
	for range 12 {
		if err := p.Push(t.Context(), push); err != nil {
			t.Fatal(err)
		}
		a.pass(10 * time.Minute)
	}
	if len(a.tokens) != 3 { // at 0, 50 and 100 minutes
		t.Errorf("%d tokens in two hours", len(a.tokens))
	}
	// Apple's clock is ahead of ours: the token is taken for expired. A young one is not replaced.
	a.mu.Lock()
	a.refuse = []refusal{{403, "ExpiredProviderToken", ""}}
	p.made = a.now.Add(-time.Minute)
	a.mu.Unlock()
	if err := p.Push(t.Context(), push); !errors.Is(err, notify.ErrRefused) {
		t.Errorf("%v", err)
	}
	a.mu.Lock()
	a.refuse = []refusal{{403, "ExpiredProviderToken", ""}}
	p.made = a.now.Add(-25 * time.Minute)
	a.mu.Unlock()
	if err := p.Push(t.Context(), push); err != nil {
		t.Errorf("%v", err)
	}
}

// TestTenThousand: all arrive with one token, over connections that end with GOAWAY now and then.
func TestTenThousand(t *testing.T) {
	a, p := newWorld(t)
	a.goaway = 500
	g, ctx := errgroup.WithContext(t.Context())
	g.SetLimit(64)
	for range 10_000 {
		g.Go(func() error { return p.Push(ctx, push) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(a.bodies) != 10_000 || len(a.tokens) != 1 {
		t.Errorf("%d arrived, %d tokens", len(a.bodies), len(a.tokens))
	}
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"nothing": {},
		"not PEM": {Key: []byte("x"), KeyID: "KEY1234567", TeamID: "TEAM123456", Topic: "x"},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

var _ notify.Pusher = (*Pusher)(nil)
