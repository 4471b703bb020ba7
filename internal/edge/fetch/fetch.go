// Package fetch is the one way in which the server asks an address that somebody else
// chose: certificates of PASSporTs, receivers of webhooks, pictures.
//
// Such an address must not lead into the operator's own network (server-side request
// forgery). A [Fetcher] looks at the address that each connection really goes to, after
// all names are resolved, so that it makes no difference how the address is written, what
// a name server says the second time, or where an answer redirects to. It speaks http and
// https, with no proxy, cookies or credentials of its own, and bounds time, size and type
// of what it gets.
//
// arch_test.go holds everything else in the server to it.
package fetch

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Errors of a fetch. Their texts may tell what the operator's network looks like: they are
// for the log, not for whoever named the address.
var (
	// ErrURL: the address cannot be used as it is.
	ErrURL = errors.New("fetch: unusable address")
	// ErrForbidden: the address leads where it may not.
	ErrForbidden = errors.New("fetch: forbidden network address")
	// ErrUnavailable: no answer, or none in time.
	ErrUnavailable = errors.New("fetch: no answer")
	// ErrStatus: the answer is no success; errors.As to *Status.
	ErrStatus = errors.New("fetch: refused by the other server")
	// ErrContent: the answer is too large, or not of a type that was asked for.
	ErrContent = errors.New("fetch: unusable answer")
)

// Status is the code of an answer that is no success; it is an ErrStatus.
type Status struct {
	Code int
	// RetryAfter as the server asks for it; zero if it does not.
	RetryAfter time.Duration
	// Location of a redirect that was not followed, as the server wrote it.
	Location string
}

func (s *Status) Error() string { return fmt.Sprintf("%s: status %d", ErrStatus, s.Code) }

// Unwrap gives ErrStatus.
func (s *Status) Unwrap() error { return ErrStatus }

// Config of a [Fetcher]. Its zero value is usable.
type Config struct {
	// Allow lists networks that may be reached although they are not public.
	Allow []netip.Prefix
	// Timeout of a whole fetch, with its redirects and the body; 10 seconds.
	Timeout time.Duration
	// Redirects that are followed; 3. Negative: none.
	Redirects int
	// Roots of https servers; the system's.
	Roots *x509.CertPool
	// Resolver of names; net.DefaultResolver.
	Resolver *net.Resolver
	// UserAgent; "tandem".
	UserAgent string
}

// Fetcher fetches. Its methods may be called from several goroutines.
type Fetcher struct {
	cfg    Config
	client *http.Client
}

// Request is what to fetch.
type Request struct {
	URL string
	// Method; GET. Only GET and HEAD follow redirects.
	Method string
	Header http.Header
	Body   []byte
	// MaxBytes of the answer's body; 64 KiB. More is an error.
	MaxBytes int64
	// Types of content that are taken ("image/png", "image/*"); empty: any.
	Types []string
	// HTTPS: nothing but https, also after a redirect.
	HTTPS bool
}

// Response is a success, status 200 to 299.
type Response struct {
	Status int
	// Type of the content, without parameters.
	Type string
	Body []byte
}

// New returns a fetcher.
func New(c Config) (*Fetcher, error) {
	if c.Timeout < 0 {
		return nil, errors.New("fetch: timeout is negative")
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Redirects == 0 {
		c.Redirects = 3
	}
	if c.UserAgent == "" {
		c.UserAgent = "tandem"
	}
	dialer := &net.Dialer{Timeout: c.Timeout, Resolver: c.Resolver, ControlContext: guard(c.Allow)}
	transport := &http.Transport{
		Proxy:                  nil, // one from the environment would connect for us
		DialContext:            dialer.DialContext,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 32 << 10,
		ForceAttemptHTTP2:      true,
	}
	if c.Roots != nil {
		transport.TLSClientConfig = tlsConfig(c.Roots)
	}
	return &Fetcher{cfg: c, client: &http.Client{Transport: transport}}, nil
}

// Fetch carries out the request and reads the whole answer. ErrURL, ErrForbidden,
// ErrUnavailable, ErrStatus, ErrContent.
func (f *Fetcher) Fetch(ctx context.Context, r Request) (Response, error) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	if r.MaxBytes <= 0 {
		r.MaxBytes = 64 << 10
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return Response{}, fmt.Errorf("%w: it cannot be read", ErrURL)
	}
	if err := check(req.URL, r.HTTPS); err != nil {
		return Response{}, err
	}
	for name, values := range r.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	req.Header.Set("User-Agent", f.cfg.UserAgent)
	req.Header.Set("Accept-Encoding", "identity")

	client := *f.client
	client.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		if via[0].Method != http.MethodGet && via[0].Method != http.MethodHead || f.cfg.Redirects < 0 {
			return http.ErrUseLastResponse
		}
		if len(via) > f.cfg.Redirects {
			return fmt.Errorf("%w: more than %d redirects", ErrContent, f.cfg.Redirects)
		}
		next.Header.Del("Referer")
		// Once encrypted, always.
		return check(next.URL, r.HTTPS || via[len(via)-1].URL.Scheme == "https")
	}
	res, err := client.Do(req)
	if err != nil {
		return Response{}, failed(err)
	}
	defer res.Body.Close()
	return read(res, r)
}

// read takes the answer in, as far as it may be.
func read(res *http.Response, r Request) (Response, error) {
	if res.StatusCode < 200 || res.StatusCode > 299 {
		s := &Status{Code: res.StatusCode}
		if res.StatusCode < 400 {
			s.Location = res.Header.Get("Location")
		}
		if d, err := time.ParseDuration(res.Header.Get("Retry-After") + "s"); err == nil && d > 0 {
			s.RetryAfter = d
		}
		return Response{}, s
	}
	// What is compressed may be a bomb, and we asked for it plain.
	if e := res.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return Response{}, fmt.Errorf("%w: it is compressed", ErrContent)
	}
	out := Response{Status: res.StatusCode}
	if t := res.Header.Get("Content-Type"); t != "" {
		var err error
		if out.Type, _, err = mime.ParseMediaType(t); err != nil {
			return Response{}, fmt.Errorf("%w: its type cannot be read", ErrContent)
		}
	}
	if len(r.Types) > 0 && !slices.ContainsFunc(r.Types, func(t string) bool { return matches(t, out.Type) }) {
		return Response{}, fmt.Errorf("%w: its type is %q", ErrContent, out.Type)
	}
	if res.ContentLength > r.MaxBytes {
		return Response{}, fmt.Errorf("%w: it is larger than %d bytes", ErrContent, r.MaxBytes)
	}
	var err error
	if out.Body, err = io.ReadAll(io.LimitReader(res.Body, r.MaxBytes+1)); err != nil {
		return Response{}, failed(err)
	}
	if int64(len(out.Body)) > r.MaxBytes {
		return Response{}, fmt.Errorf("%w: it is larger than %d bytes", ErrContent, r.MaxBytes)
	}
	return out, nil
}

func matches(pattern, t string) bool {
	if family, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(t, family)
	}
	return pattern == t
}

// check looks at an address before anything is done with it.
func check(u *url.URL, https bool) error {
	switch {
	case u.Scheme != "https" && (https || u.Scheme != "http"):
		return fmt.Errorf("%w: its scheme is %q", ErrURL, u.Scheme)
	case u.Hostname() == "":
		return fmt.Errorf("%w: it names no host", ErrURL)
	case u.User != nil:
		return fmt.Errorf("%w: it holds credentials", ErrURL)
	}
	return nil
}

// failed sorts out why a request failed, without the address in it.
func failed(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	for _, known := range []error{ErrForbidden, ErrURL, ErrContent} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
