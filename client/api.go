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
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// API makes single requests over HTTP, as a device (with its Identity) or with an API
// key. It is safe for use by several goroutines.
type API struct {
	// fixed after construction
	server string
	http   *http.Client
	id     *Identity // nil with an API key
	key    string    // API key, or empty

	// fetching is held, by a value in it, by who gets a new token.
	fetching chan struct{}
	mu       sync.Mutex
	token    string
	expires  time.Time
	parts    map[string]bool // partial downloads in use
}

// tokenReserve is how long before its end a token is no longer used.
const tokenReserve = 30 * time.Second

// NewAPI returns the API as seen by a device. hc may be nil for http.DefaultClient.
func NewAPI(id *Identity, hc *http.Client) *API { return newAPI(id.Server, id, "", hc) }

// NewKeyAPI returns the API as seen by the holder of an API key; an empty key calls as
// nobody, or, over the admin socket, as the operator.
func NewKeyAPI(server, key string, hc *http.Client) *API { return newAPI(server, nil, key, hc) }

func newAPI(server string, id *Identity, key string, hc *http.Client) *API {
	if hc == nil {
		hc = http.DefaultClient
	}
	return &API{server: strings.TrimSuffix(server, "/"), http: hc, id: id, key: key,
		fetching: make(chan struct{}, 1), parts: map[string]bool{}}
}

// Call makes one request and decodes the answer into out (nil: no answer is expected).
// What the server refuses is a *wire.Problem.
func (a *API) Call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	header := http.Header{}
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("client: %s %s: %w", method, path, err)
		}
		header.Set("Content-Type", "application/json")
	}
	res, err := a.send(ctx, method, path, header, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
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

// stallTimeout is how long a request, or a download, may stand still before its
// connection is given up.
const stallTimeout = time.Minute

// send makes a request with the caller's credentials and returns the answer, whose body
// the caller closes. An answer that is no success is an error, a *wire.Problem if it is
// one of the server's. A token that no longer holds is replaced, once.
func (a *API) send(ctx context.Context, method, path string, header http.Header, body []byte) (*http.Response, error) {
	target, err := a.url(path)
	if err != nil {
		return nil, err
	}
	for again := false; ; again = true {
		bearer := a.key
		if a.id != nil && a.id.Device != "" {
			if bearer, err = a.Bearer(ctx); err != nil {
				return nil, err
			}
		}
		res, err := a.do(ctx, method, target, bearer, header, body)
		if err != nil {
			return nil, fmt.Errorf("client: %w", err)
		}
		if res.StatusCode >= 200 && res.StatusCode < 300 {
			return res, nil
		}
		err = refusal(res)
		res.Body.Close()
		if again || a.id == nil || !isCode(err, wire.CodeUnauthenticated) {
			return nil, err
		}
		a.forget(bearer)
	}
}

// do makes one request, and gives it up when it stands still.
func (a *API) do(ctx context.Context, method, target, bearer string, header http.Header, body []byte) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	silent := time.AfterFunc(stallTimeout, func() { cancel(errSilence) })
	defer silent.Stop()
	var r io.Reader
	if body != nil {
		r = &alive{bytes.NewReader(body), func() { silent.Reset(stallTimeout) }}
	}
	req, err := http.NewRequestWithContext(ctx, method, target, r)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	req.ContentLength = int64(len(body))
	for k, v := range header {
		req.Header[k] = v
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	res, err := a.http.Do(req)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	res.Body = &ending{res.Body, func() { cancel(nil) }}
	return res, nil
}

// alive calls heard at each sign of life.
type alive struct {
	r     io.Reader
	heard func()
}

func (a *alive) Read(b []byte) (int, error) {
	n, err := a.r.Read(b)
	if n > 0 {
		a.heard()
	}
	return n, err
}

// ending calls end when it is closed.
type ending struct {
	io.ReadCloser
	end func()
}

func (e *ending) Close() error {
	defer e.end()
	return e.ReadCloser.Close()
}

// url resolves a path of the server's; never another host's address, since the token
// goes along.
func (a *API) url(path string) (string, error) {
	if strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") {
		path = a.server + path
	}
	u, err := url.Parse(path)
	if err != nil || !strings.HasPrefix(path, a.server+"/") || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("client: %q is not an address of the server", path)
	}
	return path, nil
}

// Bearer returns a token of the device's, a fresh one when the old is about to end.
func (a *API) Bearer(ctx context.Context) (string, error) {
	if a.id == nil {
		return "", fmt.Errorf("%w: only a device has tokens", ErrIdentity)
	}
	select {
	case a.fetching <- struct{}{}:
		defer func() { <-a.fetching }()
	case <-ctx.Done():
		return "", fmt.Errorf("client: token: %w", context.Cause(ctx))
	}
	a.mu.Lock()
	token, left := a.token, time.Until(a.expires)
	a.mu.Unlock()
	if token != "" && left > tokenReserve {
		return token, nil
	}
	nobody := NewKeyAPI(a.server, "", a.http)
	var c wire.Challenge
	if err := nobody.Call(ctx, http.MethodGet, "/v1/challenge", nil, &c); err != nil {
		return "", err
	}
	assertion, err := a.id.Assert(c.Nonce)
	if err != nil {
		return "", err
	}
	var t wire.Token
	if err := nobody.Call(ctx, http.MethodPost, "/v1/tokens", wire.TokenRequest{Nonce: c.Nonce, Assertion: assertion}, &t); err != nil {
		return "", err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token, a.expires = t.Token, time.Now().Add(time.Duration(t.ExpiresInSeconds)*time.Second)
	return a.token, nil
}

// forget drops a token that did not hold, unless it was replaced meanwhile.
func (a *API) forget(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token == token {
		a.token = ""
	}
}

// refusal reads the problem in an answer, or makes an error of an answer that has none.
func refusal(res *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10)) // what could be read is judged below
	var p wire.Problem
	if json.Unmarshal(b, &p) == nil && p.Code != "" {
		return &p
	}
	if code, ok := bare[res.StatusCode]; ok && len(b) == 0 {
		return wire.NewProblem(code, "")
	}
	return &statusError{res.StatusCode, res.Status}
}

// bare are the problems behind answers without a body, as HEAD gets them.
var bare = map[int]wire.Code{
	http.StatusUnauthorized: wire.CodeUnauthenticated, http.StatusForbidden: wire.CodeForbidden, http.StatusNotFound: wire.CodeNotFound,
}

// statusError is an answer that is neither a success nor a problem of the server's: it
// is of something on the way.
type statusError struct {
	code   int
	status string
}

func (e *statusError) Error() string { return "client: the answer was " + e.status }

// final reports whether err is an answer that will be the same the next time.
func final(err error) bool {
	var s *statusError
	return errors.As(err, &s) && s.code >= 400 && s.code < 500 && s.code != http.StatusRequestTimeout && s.code != http.StatusTooManyRequests
}

// isStatus reports whether err is an answer with this status, of whatever form.
func isStatus(err error, codes ...int) bool {
	got := 0
	var s *statusError
	if errors.As(err, &s) {
		got = s.code
	} else if p := problemIn(err); p != nil {
		got = p.Status
	}
	return got != 0 && slices.Contains(codes, got)
}

// Get writes what is at a path of the server's (a preview, a schema) to w, and returns
// how many bytes that was.
func (a *API) Get(ctx context.Context, path string, w io.Writer) (int64, error) {
	res, err := a.send(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	n, err := io.Copy(w, res.Body)
	if err != nil {
		return n, fmt.Errorf("client: %s: %w", path, err)
	}
	return n, nil
}

// Report reports a call by a single request (see Device.Report).
func (a *API) Report(ctx context.Context, r wire.Report) (wire.Ack, error) {
	var ack wire.Ack
	err := a.Call(ctx, http.MethodPost, "/v1/reports", r, &ack)
	return ack, err
}
