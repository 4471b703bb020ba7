// Package apns wakes Apple devices through the Apple Push Notification service: HTTP/2 with a
// provider token (Apple, "Sending notification requests to APNs" and "Establishing a
// token-based connection to APNs").
//
// The payload is an alert of the operator's words, the same for everybody, and the identifier
// ("tandem": {"push": "psh_…"}), with which a notification service extension fetches what it
// is about before it is shown.
package apns

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tandem-call/tandem/internal/notify"
	"github.com/tandem-call/tandem/wire"
)

// Production and Sandbox are Apple's addresses.
const (
	Production = "https://api.push.apple.com"
	Sandbox    = "https://api.sandbox.push.apple.com"
)

// DefaultText is what the alert says unless the app replaces it.
const DefaultText = "The person you are speaking to wants to share something."

// Config of a Pusher. Key, KeyID, TeamID and Topic are needed.
type Config struct {
	// Key is the provider's key as Apple gives it: PEM, PKCS #8, on P-256 (a .p8 file).
	Key []byte
	// KeyID and TeamID are ten characters each.
	KeyID, TeamID string
	// Topic is the app's bundle id.
	Topic string
	// Text of the alert. Empty: DefaultText.
	Text string
	// URL; empty: Production.
	URL string
	// Roots of the service's certificate; nil: the system's.
	Roots *x509.CertPool
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// Pusher implements notify.Pusher.
type Pusher struct {
	c      Config
	key    *ecdsa.PrivateKey
	client *http.Client

	mu    sync.Mutex
	token string
	made  time.Time
}

// A provider token must be between 20 and 60 minutes old when it is replaced: younger,
// and Apple answers TooManyProviderTokenUpdates; older, and it has expired.
const (
	tokenMin = 20 * time.Minute
	tokenMax = 50 * time.Minute
)

var (
	tenChars    = regexp.MustCompile(`^[A-Z0-9]{10}$`)
	deviceToken = regexp.MustCompile(`^[0-9a-fA-F]{8,200}$`)
)

// CheckToken refuses what is no device token: hexadecimal digits.
func CheckToken(app string) error {
	if !deviceToken.MatchString(app) {
		return errors.New("apns: a device token is 8 to 200 hexadecimal digits")
	}
	return nil
}

// New returns a pusher.
func New(c Config) (*Pusher, error) {
	block, _ := pem.Decode(c.Key)
	if block == nil {
		return nil, errors.New("apns: the key is not PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("apns: key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("apns: the key is not on P-256")
	}
	if !tenChars.MatchString(c.KeyID) || !tenChars.MatchString(c.TeamID) || c.Topic == "" {
		return nil, errors.New("apns: key id and team id have ten characters each, and the topic is the app's bundle id")
	}
	if c.URL == "" {
		c.URL = Production
	}
	if u, err := url.Parse(c.URL); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("apns: the address begins with https://")
	}
	if c.Text == "" {
		c.Text = DefaultText
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Pusher{c: c, key: key, client: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:           http.ProxyFromEnvironment,
			TLSClientConfig: &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12},
			// A connection that is dead without having said so is found by pings. One that ends with
			// GOAWAY is replaced, and what it did not process is sent again, by net/http.
			HTTP2:             &http.HTTP2Config{SendPingTimeout: time.Minute, PingTimeout: 10 * time.Second},
			Protocols:         onlyHTTP2(),
			IdleConnTimeout:   time.Hour,
			ForceAttemptHTTP2: true,
		},
	}}, nil
}

func onlyHTTP2() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP2(true)
	return p
}

type payload struct {
	APS    aps               `json:"aps"`
	Tandem map[string]string `json:"tandem"`
}

type aps struct {
	Alert            *alert `json:"alert,omitempty"`
	Sound            string `json:"sound,omitempty"`
	Category         string `json:"category,omitempty"`
	Level            string `json:"interruption-level,omitempty"`
	MutableContent   int    `json:"mutable-content,omitempty"`
	ContentAvailable int    `json:"content-available,omitempty"`
}

type alert struct {
	Body string `json:"body"`
}

// Push makes one attempt; after an expired token, a second one at once.
func (p *Pusher) Push(ctx context.Context, m notify.Push) error {
	if err := CheckToken(m.App); err != nil {
		return fmt.Errorf("%w: %w", notify.ErrGone, err)
	}
	body := payload{Tandem: map[string]string{"push": string(m.ID)}}
	header := http.Header{
		"Apns-Topic":       {p.c.Topic},
		"Apns-Collapse-Id": {string(m.ID)}, // at most 64 bytes
		"Apns-Expiration":  {strconv.FormatInt(p.c.Now().Add(m.TTL).Unix(), 10)},
		"Apns-Push-Type":   {"alert"},
		"Apns-Priority":    {"5"},
	}
	switch {
	case m.Withdraw: // the app takes the notification away; nobody is alerted
		header.Set("Apns-Push-Type", "background")
		body.APS.ContentAvailable = 1
	default:
		body.APS = aps{Alert: &alert{p.c.Text}, MutableContent: 1}
		if m.Urgent {
			header.Set("Apns-Priority", "10")
			body.APS.Sound, body.APS.Level = "default", "time-sensitive"
		}
		if m.Kind == wire.PushInvite {
			body.APS.Category = "tandem.invite" // for the buttons that accept and decline
		}
	}
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("apns: payload: %w", err)
	}
	for again := false; ; again = true {
		token, made, err := p.provider()
		if err != nil {
			return err
		}
		header.Set("Authorization", "bearer "+token)
		status, reason, after, err := p.post(ctx, m.App, header, b)
		if err != nil {
			return err
		}
		if status == http.StatusForbidden && reason == "ExpiredProviderToken" && !again && p.expire(made) {
			continue
		}
		return outcome(status, reason, after)
	}
}

func (p *Pusher) post(ctx context.Context, device string, header http.Header, body []byte) (status int, reason string, after time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.c.URL+"/3/device/"+device, bytes.NewReader(body))
	if err != nil {
		return 0, "", 0, errors.New("apns: the request cannot be made")
	}
	req.Header = header.Clone()
	res, err := p.client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the address, which bears the device token
		}
		return 0, "", 0, fmt.Errorf("apns: no answer: %w", err)
	}
	defer res.Body.Close()
	var said struct {
		Reason string `json:"reason"`
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, 4096))
	if err == nil && len(b) > 0 {
		err = json.Unmarshal(b, &said)
	}
	if err != nil && res.StatusCode < 500 && res.StatusCode != http.StatusOK {
		return 0, "", 0, fmt.Errorf("apns: an answer %d that cannot be read", res.StatusCode)
	}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		after = time.Duration(s) * time.Second
	}
	return res.StatusCode, said.Reason, after, nil
}

// outcome says in notify's words what the service said.
func outcome(status int, reason string, after time.Duration) error {
	said := fmt.Errorf("apns: it answered %d %s", status, reason)
	switch {
	case status == http.StatusOK:
		return nil
	case status == http.StatusGone: // Unregistered, ExpiredToken
		return fmt.Errorf("%w: %w", notify.ErrGone, said)
	case reason == "TooManyProviderTokenUpdates":
		return &notify.Later{After: max(after, tokenMin), Everyone: true, Err: said}
	case status == http.StatusTooManyRequests: // of this device
		return &notify.Later{After: after, Err: said}
	case status >= 500:
		return &notify.Later{After: after, Everyone: after > 0, Err: said}
	}
	return fmt.Errorf("%w: %w", notify.ErrRefused, said)
}

// provider returns the provider token, and when it was made.
func (p *Pusher) provider() (string, time.Time, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.c.Now()
	if p.token != "" && now.Sub(p.made) < tokenMax {
		return p.token, p.made, nil
	}
	t := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": p.c.TeamID, "iat": now.Unix()})
	t.Header["kid"] = p.c.KeyID
	s, err := t.SignedString(p.key)
	if err != nil {
		return "", now, fmt.Errorf("apns: sign: %w", err)
	}
	p.token, p.made = s, now
	return s, now, nil
}

// expire drops the token made then. False: it is too young to be replaced.
func (p *Pusher) expire(made time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.made.Equal(made) {
		return true // another has done so
	}
	if p.c.Now().Sub(made) < tokenMin {
		return false
	}
	p.token = ""
	return true
}
