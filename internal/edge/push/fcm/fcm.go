// Package fcm wakes Android devices, and others, through Firebase Cloud Messaging: its HTTP v1
// API, with a service account's OAuth 2.0 token.
//
// The message has data only, {"push": "psh_…"}: the app fetches what it is about and shows the
// notification.
package fcm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	keys "github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/jwt"

	"github.com/tandem-call/tandem/internal/notify"
)

// Production is Google's address.
const Production = "https://fcm.googleapis.com"

// scope of the token.
const scope = "https://www.googleapis.com/auth/firebase.messaging"

// Config of a Pusher. Account is needed.
type Config struct {
	// Account is the service account's key as Google gives it: a JSON document with
	// project_id, client_email, private_key, private_key_id and token_uri.
	Account []byte
	// URL; empty: Production.
	URL string
	// Client; nil: one of its own.
	Client *http.Client
}

// Pusher implements notify.Pusher.
type Pusher struct {
	url    string
	client *http.Client
	conf   *jwt.Config

	mu     sync.Mutex
	tokens oauth2.TokenSource
}

// New returns a pusher.
func New(c Config) (*Pusher, error) {
	var a struct {
		Type    string `json:"type"`
		Project string `json:"project_id"`
		Email   string `json:"client_email"`
		Key     string `json:"private_key"`
		KeyID   string `json:"private_key_id"`
		Tokens  string `json:"token_uri"`
	}
	if err := json.Unmarshal(c.Account, &a); err != nil {
		return nil, errors.New("fcm: the service account is not JSON")
	}
	if a.Type != "service_account" || a.Project == "" || a.Email == "" || a.Key == "" || a.Tokens == "" {
		return nil, errors.New("fcm: not the key of a service account: it has type, project_id, client_email, private_key and token_uri")
	}
	if _, err := keys.ParseRSAPrivateKeyFromPEM([]byte(a.Key)); err != nil {
		return nil, fmt.Errorf("fcm: private_key: %w", err)
	}
	if c.URL == "" {
		c.URL = Production
	}
	for _, address := range []string{c.URL, a.Tokens} {
		if u, err := url.Parse(address); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			return nil, fmt.Errorf("fcm: %q is not an address", address)
		}
	}
	if c.Client == nil {
		t := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16, IdleConnTimeout: 5 * time.Minute}
		c.Client = &http.Client{Timeout: 30 * time.Second, Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return &Pusher{
		url: c.URL + "/v1/projects/" + url.PathEscape(a.Project) + "/messages:send", client: c.Client,
		conf: &jwt.Config{Email: a.Email, PrivateKey: []byte(a.Key), PrivateKeyID: a.KeyID, Scopes: []string{scope}, TokenURL: a.Tokens},
	}, nil
}

type request struct {
	Message message `json:"message"`
}

type message struct {
	Token   string            `json:"token"`
	Data    map[string]string `json:"data"`
	Android android           `json:"android"`
}

type android struct {
	CollapseKey string `json:"collapse_key"`
	Priority    string `json:"priority"`
	TTL         string `json:"ttl"`
}

// Push makes one attempt.
func (p *Pusher) Push(ctx context.Context, m notify.Push) error {
	r := request{message{
		Token: m.App, Data: map[string]string{"push": string(m.ID)},
		Android: android{CollapseKey: string(m.ID), Priority: "NORMAL", TTL: strconv.Itoa(int(m.TTL.Seconds())) + "s"},
	}}
	if m.Urgent {
		r.Message.Android.Priority = "HIGH"
	}
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("fcm: message: %w", err)
	}
	token, err := p.token(ctx)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return errors.New("fcm: the request cannot be made")
	}
	req.Header.Set("Content-Type", "application/json")
	token.SetAuthHeader(req)
	res, err := p.client.Do(req)
	if err != nil {
		return fmt.Errorf("fcm: no answer: %w", err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("fcm: no answer: %w", err)
	}
	if res.StatusCode == http.StatusUnauthorized {
		p.expire(token)
	}
	after := time.Duration(0)
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		after = time.Duration(s) * time.Second
	}
	return outcome(res.StatusCode, b, after)
}

// quota is how long to wait when the project's quota is used up and the answer does not say:
// quotas are of a minute.
const quota = time.Minute

// outcome says in notify's words what the service said (its ErrorCode).
func outcome(status int, body []byte, after time.Duration) error {
	if status == http.StatusOK {
		return nil
	}
	var said struct {
		Error struct {
			Status  string `json:"status"`
			Details []struct {
				ErrorCode string `json:"errorCode"`
			} `json:"details"`
		} `json:"error"`
	}
	_ = json.Unmarshal(body, &said) // what is no JSON says nothing more than its status
	code := said.Error.Status
	for _, d := range said.Error.Details {
		if d.ErrorCode != "" {
			code = d.ErrorCode
		}
	}
	err := fmt.Errorf("fcm: it answered %d %.40s", status, code)
	switch {
	case code == "UNREGISTERED":
		return fmt.Errorf("%w: %w", notify.ErrGone, err)
	case status == http.StatusTooManyRequests:
		return &notify.Later{After: max(after, quota), Everyone: true, Err: err}
	case status >= 500:
		return &notify.Later{After: after, Everyone: after > 0, Err: err}
	case status == http.StatusUnauthorized:
		return err // the next attempt has a fresh token
	}
	return fmt.Errorf("%w: %w", notify.ErrRefused, err)
}

// token returns an access token, a fresh one when the old is about to end.
func (p *Pusher) token(ctx context.Context) (*oauth2.Token, error) {
	p.mu.Lock()
	if p.tokens == nil {
		// The source outlives this push, so it does not end with it.
		p.tokens = p.conf.TokenSource(context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, p.client))
	}
	source := p.tokens
	p.mu.Unlock()
	t, err := source.Token()
	var refused *oauth2.RetrieveError
	switch {
	case errors.As(err, &refused) && refused.Response.StatusCode < 500 && refused.Response.StatusCode != http.StatusTooManyRequests:
		return nil, fmt.Errorf("%w: the service account gets no token: %d %.40s", notify.ErrRefused, refused.Response.StatusCode, refused.ErrorCode)
	case errors.As(err, &refused):
		return nil, &notify.Later{After: time.Second, Everyone: true, Err: fmt.Errorf("fcm: the token's address answered %d", refused.Response.StatusCode)}
	case err != nil:
		return nil, fmt.Errorf("fcm: no token: %w", err)
	}
	return t, nil
}

// expire drops a token that was refused, unless another came meanwhile.
func (p *Pusher) expire(old *oauth2.Token) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tokens == nil {
		return
	}
	if t, err := p.tokens.Token(); err == nil && t.AccessToken == old.AccessToken {
		p.tokens = nil
	}
}
