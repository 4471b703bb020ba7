// Package webpush wakes web pages and their service workers through the push services of the
// browsers: RFC 8030 (delivery), RFC 8291 (encryption), RFC 8292 (who sends, VAPID).
//
// The address of a subscription is chosen by the device, so everything goes out through
// internal/edge/fetch. The payload is {"push":"psh_…"}, encrypted for the service worker.
package webpush

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tandem-call/tandem/internal/edge/fetch"
	"github.com/tandem-call/tandem/internal/notify"
)

// ErrSubscription: the application id is not a subscription that can be used.
var ErrSubscription = errors.New("webpush: not a push subscription")

// Fetcher is what Pusher needs of fetch.Fetcher.
type Fetcher interface {
	Fetch(ctx context.Context, r fetch.Request) (fetch.Response, error)
}

// Subscription is what PushManager.subscribe gives a page (W3C Push API), as
// JSON.stringify writes it: the application id of a device with the platform "webpush".
type Subscription struct {
	Endpoint string `json:"endpoint"`
	Keys     struct {
		// P256dh is the service worker's public key, an uncompressed point; Auth is a secret
		// of 16 bytes. Both in base64url.
		P256dh string `json:"p256dh"`
		Auth   string `json:"auth"`
	} `json:"keys"`

	public *ecdh.PublicKey
	auth   []byte
}

// Parse reads an application id. plain allows http://, besides https://. ErrSubscription.
func Parse(app string, plain bool) (Subscription, error) {
	var s Subscription
	if err := json.Unmarshal([]byte(app), &s); err != nil {
		return s, fmt.Errorf("%w: give JSON.stringify(subscription)", ErrSubscription)
	}
	u, err := url.Parse(s.Endpoint)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && !(plain && u.Scheme == "http") {
		return s, fmt.Errorf("%w: endpoint is not an https address", ErrSubscription)
	}
	point, err := decode(s.Keys.P256dh)
	if err == nil {
		s.public, err = ecdh.P256().NewPublicKey(point)
	}
	if err != nil {
		return s, fmt.Errorf("%w: keys.p256dh is not a public key on P-256", ErrSubscription)
	}
	if s.auth, err = decode(s.Keys.Auth); err != nil || len(s.auth) != 16 {
		return s, fmt.Errorf("%w: keys.auth is not 16 bytes", ErrSubscription)
	}
	return s, nil
}

// decode reads base64url with or without padding: browsers have written both.
func decode(s string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
}

// NewKey makes a VAPID key: a scalar of P-256, 32 bytes.
func NewKey() ([]byte, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("webpush: make a key: %w", err)
	}
	return k.Bytes()
}

// Config of a Pusher. Fetcher and Key are needed.
type Config struct {
	Fetcher Fetcher
	// Key from NewKey, the same for ever: subscriptions are made for it.
	Key []byte
	// Subject is how a push service reaches the operator, "mailto:…" or "https://…". Empty: left out.
	Subject string
	// Plain allows http:// endpoints, besides https://.
	Plain bool
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// Pusher implements notify.Pusher.
type Pusher struct {
	c      Config
	key    *ecdsa.PrivateKey
	public string

	mu     sync.Mutex
	tokens map[string]token // by origin of the push service
}

type token struct {
	value string
	until time.Time
}

// tokenTTL is how long a VAPID token holds (RFC 8292 2: at most 24 hours); it is used for
// half of that. maxTokens bounds how many origins are remembered.
const (
	tokenTTL  = 12 * time.Hour
	maxTokens = 1000
)

// New returns a pusher.
func New(c Config) (*Pusher, error) {
	if c.Fetcher == nil {
		return nil, errors.New("webpush: config needs Fetcher")
	}
	if c.Subject != "" && !strings.HasPrefix(c.Subject, "mailto:") && !strings.HasPrefix(c.Subject, "https://") {
		return nil, errors.New("webpush: the subject begins with mailto: or https://")
	}
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), c.Key)
	if err != nil {
		return nil, fmt.Errorf("webpush: key: %w", err)
	}
	point, err := k.PublicKey.Bytes()
	if err != nil {
		return nil, fmt.Errorf("webpush: key: %w", err)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Pusher{c: c, key: k, public: base64.RawURLEncoding.EncodeToString(point), tokens: map[string]token{}}, nil
}

// PublicKey is the applicationServerKey with which pages subscribe, in base64url.
func (p *Pusher) PublicKey() string { return p.public }

// maxPause is the longest that one push service may make us wait for one device.
const maxPause = time.Hour

// Push makes one attempt (RFC 8030 5).
func (p *Pusher) Push(ctx context.Context, m notify.Push) error {
	s, err := Parse(m.App, p.c.Plain)
	if err != nil {
		return fmt.Errorf("%w: %w", notify.ErrGone, err)
	}
	payload, err := json.Marshal(map[string]string{"push": string(m.ID)})
	if err != nil {
		return fmt.Errorf("webpush: payload: %w", err)
	}
	body, err := Encrypt(s, payload)
	if err != nil {
		return err
	}
	auth, err := p.authorization(s.Endpoint)
	if err != nil {
		return err
	}
	urgency := "normal"
	if m.Urgent {
		urgency = "high"
	}
	_, err = p.c.Fetcher.Fetch(ctx, fetch.Request{
		URL: s.Endpoint, Method: http.MethodPost, Body: body, HTTPS: !p.c.Plain, MaxBytes: 16 << 10,
		Header: http.Header{
			"Authorization":    {auth},
			"Content-Encoding": {"aes128gcm"},
			"Content-Type":     {"application/octet-stream"},
			"Ttl":              {strconv.Itoa(int(m.TTL.Seconds()))},
			"Topic":            {string(m.ID)}, // RFC 8030 5.4: at most 32 characters of base64url
			"Urgency":          {urgency},
		},
	})
	return outcome(err)
}

// outcome says in notify's words what the push service said (RFC 8030 5, 7.3).
func outcome(err error) error {
	var refused *fetch.Status
	switch {
	case err == nil, errors.Is(err, fetch.ErrContent): // taken, with a body that nobody needs
		return nil
	case errors.Is(err, fetch.ErrForbidden), errors.Is(err, fetch.ErrURL):
		return fmt.Errorf("%w: the subscription's address cannot be used", notify.ErrGone)
	case !errors.As(err, &refused):
		return errors.New("webpush: no answer")
	}
	status := fmt.Errorf("webpush: the push service answered %d", refused.Code)
	switch c := refused.Code; {
	case c == http.StatusNotFound || c == http.StatusGone:
		return fmt.Errorf("%w: %w", notify.ErrGone, status)
	case c == http.StatusTooManyRequests || c >= 500 || c == http.StatusRequestTimeout:
		// One service's wish is no reason to let others wait.
		return &notify.Later{After: min(refused.RetryAfter, maxPause), Err: status}
	}
	return fmt.Errorf("%w: %w", notify.ErrRefused, status)
}

// authorization returns the header that proves who sends (RFC 8292 2, 3).
func (p *Pusher) authorization(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", fmt.Errorf("webpush: %w", ErrSubscription)
	}
	origin := u.Scheme + "://" + u.Host
	now := p.c.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	t, ok := p.tokens[origin]
	if !ok || !now.Before(t.until) {
		claims := jwt.MapClaims{"aud": origin, "exp": now.Add(tokenTTL).Unix()}
		if p.c.Subject != "" {
			claims["sub"] = p.c.Subject
		}
		if t.value, err = jwt.NewWithClaims(jwt.SigningMethodES256, claims).SignedString(p.key); err != nil {
			return "", fmt.Errorf("webpush: sign: %w", err)
		}
		t.until = now.Add(tokenTTL / 2)
		if len(p.tokens) >= maxTokens {
			clear(p.tokens)
		}
		p.tokens[origin] = t
	}
	return "vapid t=" + t.value + ", k=" + p.public, nil
}

// Encrypt encrypts a payload for a subscription, as one record of the content coding
// aes128gcm (RFC 8188) with keys after RFC 8291 3.4.
func Encrypt(s Subscription, payload []byte) ([]byte, error) {
	ephemeral, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("webpush: make a key: %w", err)
	}
	salt := make([]byte, 16)
	rand.Read(salt)
	return encrypt(s, payload, ephemeral, salt)
}

func encrypt(s Subscription, payload []byte, ephemeral *ecdh.PrivateKey, salt []byte) ([]byte, error) {
	secret, err := ephemeral.ECDH(s.public)
	if err != nil {
		return nil, fmt.Errorf("webpush: agree on a key: %w", err)
	}
	ours := ephemeral.PublicKey().Bytes()
	info := "WebPush: info\x00" + string(s.public.Bytes()) + string(ours)
	ikm, err := hkdf.Key(sha256.New, secret, s.auth, info, 32)
	if err != nil {
		return nil, fmt.Errorf("webpush: derive keys: %w", err)
	}
	key, err := hkdf.Key(sha256.New, ikm, salt, "Content-Encoding: aes128gcm\x00", 16)
	if err != nil {
		return nil, fmt.Errorf("webpush: derive keys: %w", err)
	}
	nonce, err := hkdf.Key(sha256.New, ikm, salt, "Content-Encoding: nonce\x00", 12)
	if err != nil {
		return nil, fmt.Errorf("webpush: derive keys: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("webpush: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("webpush: %w", err)
	}
	const recordSize = 4096
	out := append([]byte(nil), salt...)
	out = binary.BigEndian.AppendUint32(out, recordSize)
	out = append(out, byte(len(ours)))
	out = append(out, ours...)
	// 2 ends the last record; what would follow it is padding (RFC 8188 2).
	return gcm.Seal(out, nonce, append(append([]byte(nil), payload...), 2), nil), nil
}
