package fcm

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/internal/notify"
	"github.com/tandem-call/tandem/wire"
)

// google is FCM and Google's token service in miniature, as strict as their documentation.
type google struct {
	*httptest.Server
	key *rsa.PublicKey

	mu      sync.Mutex
	refuse  []refusal
	granted map[string]bool
	noToken int // status of the token service; 0: it works
	got     []message
}

type refusal struct {
	status int
	code   string
	after  string
}

func (g *google) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	deny := func(status int, code string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error":{"code":%d,"message":"…","status":"X","details":[{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":%q}]}}`, status, code)
	}
	switch r.URL.Path {
	case "/token":
		if g.noToken != 0 {
			w.WriteHeader(g.noToken)
			fmt.Fprint(w, `{"error":"invalid_grant"}`)
			return
		}
		var c jwt.MapClaims
		_, err := jwt.ParseWithClaims(r.FormValue("assertion"), &c, func(*jwt.Token) (any, error) { return g.key, nil },
			jwt.WithValidMethods([]string{"RS256"}), jwt.WithAudience(g.URL+"/token"), jwt.WithIssuer("tandem@example.iam.gserviceaccount.com"), jwt.WithExpirationRequired())
		if err != nil || r.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || c["scope"] != "https://www.googleapis.com/auth/firebase.messaging" {
			http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
			return
		}
		token := rand.Text()
		g.granted[token] = true
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":%q,"expires_in":3599,"token_type":"Bearer"}`, token)
	case "/v1/projects/example/messages:send":
		if len(g.refuse) > 0 {
			f := g.refuse[0]
			g.refuse = g.refuse[1:]
			if f.after != "" {
				w.Header().Set("Retry-After", f.after)
			}
			deny(f.status, f.code)
			return
		}
		var m request
		d := json.NewDecoder(r.Body)
		d.DisallowUnknownFields()
		switch err := d.Decode(&m); {
		case !g.granted[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]:
			deny(401, "UNAUTHENTICATED")
		case err != nil, m.Message.Token == "", m.Message.Android.Priority != "HIGH" && m.Message.Android.Priority != "NORMAL",
			!regexp.MustCompile(`^\d+s$`).MatchString(m.Message.Android.TTL):
			deny(400, "INVALID_ARGUMENT")
		default:
			g.got = append(g.got, m.Message)
			fmt.Fprint(w, `{"name":"projects/example/messages/0:1"}`)
		}
	default:
		deny(404, "NOT_FOUND")
	}
}

func newWorld(t *testing.T) (*google, *Pusher) {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	g := &google{key: &k.PublicKey, granted: map[string]bool{}}
	g.Server = httptest.NewServer(g)
	t.Cleanup(g.Close)
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "example", "client_email": "tandem@example.iam.gserviceaccount.com", "private_key_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": g.URL + "/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{Account: account, URL: g.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.client.CloseIdleConnections)
	return g, p
}

var push = notify.Push{App: "token-of-alice", ID: "psh_ABCDEFGHIJKLMNOPQRSTUVWXYZ", Kind: wire.PushInvite, TTL: 10 * time.Minute, Urgent: true}

func TestPush(t *testing.T) {
	g, p := newWorld(t)
	if err := p.Push(t.Context(), push); err != nil {
		t.Fatal(err)
	}
	m := g.got[0]
	if m.Token != "token-of-alice" || fmt.Sprint(m.Data) != "map[push:psh_ABCDEFGHIJKLMNOPQRSTUVWXYZ]" || m.Android != (android{string(push.ID), "HIGH", "600s"}) {
		t.Errorf("%+v", m)
	}
}

func TestOutcomes(t *testing.T) {
	g, p := newWorld(t)
	for _, c := range []struct {
		refusal
		is       error
		after    time.Duration
		everyone bool
	}{
		{refusal{404, "UNREGISTERED", ""}, notify.ErrGone, 0, false},
		{refusal{404, "NOT_FOUND", ""}, notify.ErrRefused, 0, false}, // the project: a mistake of the operator's
		{refusal{403, "SENDER_ID_MISMATCH", ""}, notify.ErrRefused, 0, false},
		{refusal{400, "INVALID_ARGUMENT", ""}, notify.ErrRefused, 0, false},
		{refusal{429, "QUOTA_EXCEEDED", ""}, nil, time.Minute, true},
		{refusal{429, "QUOTA_EXCEEDED", "90"}, nil, 90 * time.Second, true},
		{refusal{500, "INTERNAL", ""}, nil, 0, false},
		{refusal{503, "UNAVAILABLE", "5"}, nil, 5 * time.Second, true},
	} {
		t.Run(c.code+c.refusal.after, func(t *testing.T) {
			g.mu.Lock()
			g.refuse = []refusal{c.refusal}
			g.mu.Unlock()
			err := p.Push(t.Context(), push)
			var l *notify.Later
			if c.is != nil {
				if !errors.Is(err, c.is) {
					t.Errorf("%v", err)
				}
			} else if !errors.As(err, &l) || l.After != c.after || l.Everyone != c.everyone {
				t.Errorf("%+v", err)
			}
			if err := p.Push(t.Context(), push); err != nil {
				t.Errorf("the next one: %v", err)
			}
		})
	}
}

func TestTokens(t *testing.T) {
	g, p := newWorld(t)
	if err := p.Push(t.Context(), push); err != nil {
		t.Fatal(err)
	}
	g.mu.Lock()
	clear(g.granted) // revoked
	g.mu.Unlock()
	if err := p.Push(t.Context(), push); err == nil || errors.Is(err, notify.ErrRefused) {
		t.Errorf("a revoked token: %v", err)
	}
	if err := p.Push(t.Context(), push); err != nil {
		t.Errorf("with a fresh one: %v", err)
	}
	p.tokens, g.noToken = nil, http.StatusServiceUnavailable
	var l *notify.Later
	if err := p.Push(t.Context(), push); !errors.As(err, &l) || !l.Everyone {
		t.Errorf("no token service: %v", err)
	}
	g.noToken = http.StatusBadRequest
	if err := p.Push(t.Context(), push); !errors.Is(err, notify.ErrRefused) {
		t.Errorf("an account that is no more: %v", err)
	}
}

// TestTenThousand: all arrive, with one token.
func TestTenThousand(t *testing.T) {
	g, p := newWorld(t)
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(16)
	for range 10_000 {
		group.Go(func() error { return p.Push(ctx, push) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(g.got) != 10_000 || len(g.granted) != 1 {
		t.Errorf("%d arrived, %d tokens", len(g.got), len(g.granted))
	}
}

func TestConfig(t *testing.T) {
	for _, account := range []string{``, `{}`, `{"type":"service_account","project_id":"x","client_email":"x","private_key":"x","token_uri":"https://x"}`} {
		if _, err := New(Config{Account: []byte(account)}); err == nil {
			t.Errorf("taken: %s", account)
		}
	}
}

var _ notify.Pusher = (*Pusher)(nil)
