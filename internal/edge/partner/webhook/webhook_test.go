package webhook_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tandem-call/tandem/internal/edge/fetch"
	partner "github.com/tandem-call/tandem/internal/edge/partner/webhook"
	"github.com/tandem-call/tandem/internal/edge/store/pebblestore"
	"github.com/tandem-call/tandem/internal/webhook"
	"github.com/tandem-call/tandem/wire"
)

const tenant = wire.DefaultTenant

// request is what a receiver got.
type request struct {
	header http.Header
	body   []byte
}

// receiver answers with what handle says, and keeps what came.
func receiver(t *testing.T, handle func(w http.ResponseWriter, r *http.Request)) (url string, came chan request) {
	came = make(chan request, 64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read: %v", err)
		}
		came <- request{r.Header, b}
		handle(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL + "/hook", came
}

func ok(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

func loopback() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }

func poster(t *testing.T, allow []netip.Prefix, timeout time.Duration) partner.Poster {
	t.Helper()
	f, err := fetch.New(fetch.Config{Allow: allow, Timeout: timeout, Redirects: -1, UserAgent: "tandem/test"})
	if err != nil {
		t.Fatal(err)
	}
	return partner.Poster{Fetcher: f, Plain: true}
}

// service delivers over real HTTP.
func service(t *testing.T, p webhook.Poster) *webhook.Service {
	t.Helper()
	e, err := pebblestore.Open(pebblestore.Options{Dir: t.TempDir(), Headroom: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s, err := webhook.New(t.Context(), webhook.Config{Engine: e, Poster: p, Plain: true, Source: "http://tandem.test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func add(t *testing.T, s *webhook.Service, url string) webhook.Endpoint {
	t.Helper()
	e, err := s.Add(t.Context(), webhook.NewEndpoint{Tenant: tenant, URL: url})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func emit(t *testing.T, s *webhook.Service, id string) {
	t.Helper()
	err := s.Emit(t.Context(), webhook.Event{
		Tenant: tenant, ID: id, Type: wire.EventSessionOpened, At: time.Now(),
		Data: func(webhook.Shown) any { return wire.SessionEvent{Session: "s1"} },
	})
	if err != nil {
		t.Fatal(err)
	}
}

func verifies(secret string, r request) error {
	v, err := standard.NewWebhook(secret)
	if err != nil {
		return err
	}
	return v.Verify(r.body, r.header)
}

// The reference library of Standard Webhooks takes what we sign, before, during and after
// a change of secrets; and nothing else.
func TestReferenceLibraryVerifies(t *testing.T) {
	url, came := receiver(t, ok)
	s := service(t, poster(t, loopback(), 0))
	e := add(t, s, url)
	first := e.Secrets[0].String()
	emit(t, s, "evt_1")
	r := <-came
	if err := verifies(first, r); err != nil {
		t.Errorf("not verified: %v (%v)", err, r.header)
	}
	if got := r.header.Get("Content-Type"); got != "application/cloudevents+json; charset=utf-8" {
		t.Errorf("content type %q", got)
	}
	if r.header.Get("webhook-id") != "evt_1" || r.header.Get("User-Agent") != "tandem/test" {
		t.Errorf("headers: %v", r.header)
	}
	var ev wire.Event
	if err := json.Unmarshal(r.body, &ev); err != nil || ev.ID != "evt_1" {
		t.Errorf("body %s: %v", r.body, err)
	}
	forged := request{r.header, []byte(strings.Replace(string(r.body), "s1", "s2", 1))}
	if verifies(first, forged) == nil {
		t.Error("a changed body is verified")
	}

	rotated, err := s.Rotate(t.Context(), tenant, e.ID)
	if err != nil {
		t.Fatal(err)
	}
	second := rotated.Secrets[0].String()
	emit(t, s, "evt_2")
	r = <-came
	if err := verifies(first, r); err != nil {
		t.Errorf("the older secret, during the change: %v", err)
	}
	if err := verifies(second, r); err != nil {
		t.Errorf("the newer secret, during the change: %v", err)
	}
	rotated, err = s.Rotate(t.Context(), tenant, e.ID)
	if err != nil {
		t.Fatal(err)
	}
	emit(t, s, "evt_3")
	r = <-came
	if verifies(first, r) == nil {
		t.Error("a secret that was changed twice still signs")
	}
	if err := verifies(rotated.Secrets[0].String(), r); err != nil {
		t.Error(err)
	}
}

func TestAnswers(t *testing.T) {
	var landed bool
	elsewhere, _ := receiver(t, func(w http.ResponseWriter, _ *http.Request) { landed = true; w.WriteHeader(200) })
	for name, c := range map[string]struct {
		handle func(http.ResponseWriter, *http.Request)
		want   webhook.Answer
	}{
		"no content":     {ok, webhook.Answer{Status: 204}},
		"a long answer":  {func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 1<<20)) }, webhook.Answer{Status: 200}},
		"a strange type": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", ";;"); w.WriteHeader(202) }, webhook.Answer{Status: 200}},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
		}, webhook.Answer{Status: 307}},
		"error":          {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, webhook.Answer{Status: 500}},
		"gone":           {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(410) }, webhook.Answer{Status: 410}},
		"too many, wait": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "7"); w.WriteHeader(429) }, webhook.Answer{Status: 429, RetryAfter: 7 * time.Second}},
		"maintenance":    {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "60"); w.WriteHeader(503) }, webhook.Answer{Status: 503, RetryAfter: time.Minute}},
		"no number to wait": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "soon")
			w.WriteHeader(503)
		}, webhook.Answer{Status: 503}},
	} {
		url, _ := receiver(t, c.handle)
		got, err := poster(t, loopback(), 0).Post(t.Context(), webhook.Post{URL: url, ID: "evt_1", Body: []byte("{}")})
		if err != nil || got != c.want {
			t.Errorf("%s: %+v %v, not %+v", name, got, err, c.want)
		}
	}
	if landed {
		t.Error("a redirect was followed")
	}
}

func TestNoAnswer(t *testing.T) {
	end := make(chan struct{})
	slow, _ := receiver(t, func(http.ResponseWriter, *http.Request) { <-end })
	defer close(end)
	cut, _ := receiver(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	fine, came := receiver(t, ok)
	for name, c := range map[string]struct {
		url   string
		allow []netip.Prefix
		says  string
	}{
		"slow":              {slow, loopback(), "in time"},
		"cut off":           {cut, loopback(), "no answer"},
		"nobody there":      {"http://127.0.0.1:9/", loopback(), "network"}, // a port of another service
		"refused":           {"http://127.0.0.1:1024/", loopback(), "no answer"},
		"a private network": {fine, nil, "not public"},
		"by its name":       {strings.Replace(fine, "127.0.0.1", "localhost", 1), nil, "not public"},
	} {
		_, err := poster(t, c.allow, 200*time.Millisecond).Post(t.Context(), webhook.Post{URL: c.url, ID: "evt_1", Body: []byte(`{"secret":1}`)})
		if err == nil || !strings.Contains(err.Error(), c.says) && name != "nobody there" {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if s := err.Error(); strings.Contains(s, "secret") || strings.Contains(s, "127.0.0.1") {
			t.Errorf("%s: the error tells too much: %s", name, s)
		}
	}
	if len(came) != 0 {
		t.Error("a private address was reached")
	}
}

// Plain addresses are refused unless they are allowed.
func TestHTTPSOnly(t *testing.T) {
	url, came := receiver(t, ok)
	p := poster(t, loopback(), 0)
	p.Plain = false
	if _, err := p.Post(t.Context(), webhook.Post{URL: url, ID: "evt_1"}); err == nil || len(came) != 0 {
		t.Errorf("%v, %d requests", err, len(came))
	}
}

// The operator's trial says what came of it, and is not repeated.
func TestTrial(t *testing.T) {
	code := http.StatusOK
	url, came := receiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	s := service(t, poster(t, loopback(), 0))
	e := add(t, s, url)
	d, err := s.Test(t.Context(), tenant, e.ID)
	if err != nil || d.Status != webhook.Delivered || d.Attempts[0].Status != 200 {
		t.Errorf("%+v %v", d, err)
	}
	if err := verifies(e.Secrets[0].String(), <-came); err != nil {
		t.Error(err)
	}
	code = http.StatusTeapot
	d, err = s.Test(t.Context(), tenant, e.ID)
	if err != nil || d.Status != webhook.Failed || d.Attempts[0].Status != 418 || !d.Next.IsZero() {
		t.Errorf("%+v %v", d, err)
	}
}
