package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// API makes single requests over HTTP, as a device (with its Identity) or with an API
// key. It is safe for use by several goroutines.
type API struct {
	server string
	http   *http.Client
	id     *Identity // nil with an API key
	key    string    // API key, or empty

	mu      sync.Mutex
	token   string
	expires time.Time
}

// NewAPI returns the API as seen by a device. hc may be nil for http.DefaultClient.
func NewAPI(id *Identity, hc *http.Client) *API {
	return &API{server: strings.TrimSuffix(id.Server, "/"), http: orDefault(hc), id: id}
}

// NewKeyAPI returns the API as seen by the holder of an API key; an empty key calls as
// nobody, or, over the admin socket, as the operator.
func NewKeyAPI(server, key string, hc *http.Client) *API {
	return &API{server: strings.TrimSuffix(server, "/"), http: orDefault(hc), key: key}
}

func orDefault(hc *http.Client) *http.Client {
	if hc == nil {
		return http.DefaultClient
	}
	return hc
}

// Call makes one request and decodes the answer into out (nil: no answer is expected).
// An error of the server's is a *wire.Problem.
func (a *API) Call(ctx context.Context, method, path string, in, out any) error {
	err := a.call(ctx, method, path, in, out)
	var p *wire.Problem
	if a.id != nil && errors.As(err, &p) && p.Code == wire.CodeUnauthenticated {
		a.forget() // the token was revoked or the server's key changed: once more
		err = a.call(ctx, method, path, in, out)
	}
	return err
}

func (a *API) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("client: %s %s: %w", method, path, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := a.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := a.http.Do(req)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		return problemOf(res)
	}
	if out == nil {
		_, err = io.Copy(io.Discard, res.Body)
	} else {
		err = json.NewDecoder(res.Body).Decode(out)
	}
	if err != nil {
		return fmt.Errorf("client: %s %s: %w", method, path, err)
	}
	return nil
}

// request makes a request with the caller's credentials.
func (a *API) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	target, err := a.url(path)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	bearer := a.key
	if a.id != nil && a.id.Device != "" {
		if bearer, err = a.Bearer(ctx); err != nil {
			return nil, err
		}
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	return req, nil
}

// url resolves a path of the server's; never another host's address, since the token
// goes along.
func (a *API) url(path string) (string, error) {
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") {
		u, err := url.Parse(path)
		if err != nil || !strings.HasPrefix(path, a.server+"/") {
			return "", fmt.Errorf("client: %q is not an address of the server", path)
		}
		return u.String(), nil
	}
	return a.server + path, nil
}

// Bearer returns a token of the device's, a fresh one when the old is about to end.
func (a *API) Bearer(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token != "" && time.Until(a.expires) > 30*time.Second {
		return a.token, nil
	}
	plain := NewKeyAPI(a.server, "", a.http)
	var c wire.Challenge
	if err := plain.call(ctx, http.MethodGet, "/v1/challenge", nil, &c); err != nil {
		return "", err
	}
	assertion, err := a.id.Assert(c.Nonce)
	if err != nil {
		return "", err
	}
	var t wire.Token
	if err := plain.call(ctx, http.MethodPost, "/v1/tokens", wire.TokenRequest{Nonce: c.Nonce, Assertion: assertion}, &t); err != nil {
		return "", err
	}
	a.token, a.expires = t.Token, time.Now().Add(time.Duration(t.ExpiresInSeconds)*time.Second)
	return a.token, nil
}

func (a *API) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token = ""
}

// problemOf reads a problem, or makes one of an answer that is none.
func problemOf(res *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10)) // what could be read is judged below
	var p wire.Problem
	if json.Unmarshal(b, &p) == nil && p.Code != "" {
		return &p
	}
	return fmt.Errorf("client: the server answered %s: %.200s", res.Status, b)
}
