package sms

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"
)

const defaultTimeout = 10 * time.Second

// newClient returns a client that follows no redirects, which could carry the credentials
// elsewhere.
func newClient(timeout time.Duration) (*http.Client, error) {
	if timeout < 0 {
		return nil, fmt.Errorf("%w: negative timeout", ErrConfig)
	}
	if timeout == 0 {
		timeout = defaultTimeout
	}
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil { // not %w: the text would show what may be in the address
		return nil, fmt.Errorf("%w: the gateway's address is not a URL", ErrConfig)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%w: the gateway's address must begin with http:// or https://", ErrConfig)
	}
	if u.User != nil {
		return nil, fmt.Errorf("%w: credentials do not belong in the gateway's address", ErrConfig)
	}
	return u, nil
}

// do makes the request and returns status and the first words of the answer. Its errors
// don't show the address, which may have a password or a number in its query.
func do(client *http.Client, req *http.Request) (int, string, error) {
	res, err := client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return 0, "", fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1024))
	if err != nil {
		return 0, "", fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return res.StatusCode, firstLine(string(body)), nil
}

// digits are what a code, or a number, looks like.
var digits = regexp.MustCompile(`\d{4,}`)

// firstLine makes the answer of another's server fit for a log: one line without codes or
// numbers, which it may have repeated from the message.
func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(strings.ToValidUTF8(s, "?")), "\n")
	s = digits.ReplaceAllString(s, "…")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > 120 {
		s = string(runes[:120])
	}
	return s
}

// fault maps an answer that is no success.
func fault(status int, line string) error {
	kind := ErrRejected
	if status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout {
		kind = ErrUnavailable
	}
	return fmt.Errorf("%w: it answered %d %q", kind, status, line)
}
