// Package webpushtest is a push service in miniature, with the browsers that subscribe to it,
// for the tests of several packages. It takes nothing that RFC 8030, RFC 8291 or RFC 8292
// forbids.
package webpushtest

import (
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
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Message is what a browser got.
type Message struct {
	Payload []byte
	Topic   string
	Urgency string
	TTL     int
}

// Browser is a subscription, with the secrets that a browser keeps.
type Browser struct {
	// JSON is JSON.stringify(subscription).
	JSON string
	// Got has each message that was delivered.
	Got chan Message

	id      string
	key     *ecdh.PrivateKey
	auth    []byte
	sender  string // applicationServerKey
	refuse  []Refusal
	expired bool
}

// Refusal is an answer that is no success.
type Refusal struct {
	Status     int
	RetryAfter string
}

// Service is the push service: an http.Handler. URL is where it is reached.
type Service struct {
	URL string

	mu       sync.Mutex
	browsers map[string]*Browser
	requests int
}

// Subscribe makes a subscription for a sender's public key.
func (s *Service) Subscribe(applicationServerKey string) *Browser {
	b := &Browser{Got: make(chan Message, 20_000), id: rand.Text(), auth: make([]byte, 16), sender: applicationServerKey}
	rand.Read(b.auth)
	var err error
	if b.key, err = ecdh.P256().GenerateKey(rand.Reader); err != nil {
		panic(err) // never, see crypto/rand
	}
	j, err := json.Marshal(map[string]any{
		"endpoint": s.URL + "/p/" + b.id, "expirationTime": nil,
		"keys": map[string]string{"p256dh": b64(b.key.PublicKey().Bytes()), "auth": b64(b.auth)},
	})
	if err != nil {
		panic(err) // strings can always be encoded
	}
	b.JSON = string(j)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.browsers == nil {
		s.browsers = map[string]*Browser{}
	}
	s.browsers[b.id] = b
	return b
}

// Refuse lets the service refuse what comes next for the browser, once for each refusal.
func (s *Service) Refuse(b *Browser, with ...Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.refuse = append(b.refuse, with...)
}

// Expire ends a subscription: the user has taken the permission back.
func (s *Service) Expire(b *Browser) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.expired = true
}

// Requests counts all that came.
func (s *Service) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

var topic = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests++
	b := s.browsers[strings.TrimPrefix(r.URL.Path, "/p/")]
	var refusal Refusal
	if b != nil && len(b.refuse) > 0 {
		refusal, b.refuse = b.refuse[0], b.refuse[1:]
	}
	gone := b != nil && b.expired
	s.mu.Unlock()
	switch {
	case b == nil:
		http.Error(w, "no such subscription", http.StatusNotFound)
		return
	case gone:
		http.Error(w, "expired", http.StatusGone)
		return
	case refusal.Status != 0:
		if refusal.RetryAfter != "" {
			w.Header().Set("Retry-After", refusal.RetryAfter)
		}
		http.Error(w, "refused", refusal.Status)
		return
	}
	m, status, err := s.take(b, r)
	if err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	b.Got <- m
	w.Header().Set("Location", s.URL+"/m/"+rand.Text())
	w.WriteHeader(http.StatusCreated)
}

func (s *Service) take(b *Browser, r *http.Request) (m Message, status int, err error) {
	ttl, err := strconv.Atoi(r.Header.Get("TTL"))
	switch m = (Message{Topic: r.Header.Get("Topic"), Urgency: r.Header.Get("Urgency"), TTL: ttl}); {
	case r.Method != http.MethodPost:
		return m, http.StatusMethodNotAllowed, errors.New("POST, please")
	case err != nil || ttl < 0:
		return m, http.StatusBadRequest, errors.New("no TTL (RFC 8030 5.2)")
	case m.Topic != "" && !topic.MatchString(m.Topic):
		return m, http.StatusBadRequest, errors.New("not a topic (RFC 8030 5.4)")
	case !strings.Contains("|very-low|low|normal|high|", "|"+m.Urgency+"|"):
		return m, http.StatusBadRequest, errors.New("not an urgency (RFC 8030 5.3)")
	case r.Header.Get("Content-Encoding") != "aes128gcm":
		return m, http.StatusUnsupportedMediaType, errors.New("not aes128gcm (RFC 8291 4)")
	}
	if err := s.sender(b, r.Header.Get("Authorization")); err != nil {
		return m, http.StatusForbidden, err
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 4097))
	if err != nil || len(body) > 4096 {
		return m, http.StatusRequestEntityTooLarge, errors.New("more than 4096 bytes")
	}
	if m.Payload, err = b.Decrypt(body); err != nil {
		return m, http.StatusBadRequest, err
	}
	return m, 0, nil
}

// sender checks who sends (RFC 8292).
func (s *Service) sender(b *Browser, header string) error {
	scheme, rest, _ := strings.Cut(header, " ")
	params := map[string]string{}
	for _, p := range strings.Split(rest, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
		params[k] = v
	}
	if !strings.EqualFold(scheme, "vapid") || params["k"] != b.sender {
		return errors.New("the subscription is for another sender (RFC 8292 4.2)")
	}
	point, err := base64.RawURLEncoding.DecodeString(params["k"])
	if err != nil {
		return err
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return err
	}
	var claims jwt.RegisteredClaims
	if _, err := jwt.ParseWithClaims(params["t"], &claims, func(*jwt.Token) (any, error) { return key, nil },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithAudience(s.URL), jwt.WithExpirationRequired()); err != nil {
		return err
	}
	if time.Until(claims.ExpiresAt.Time) > 24*time.Hour {
		return errors.New("the token holds for more than 24 hours (RFC 8292 2)")
	}
	return nil
}

// Decrypt decrypts a message as the browser does (RFC 8291 3.4, RFC 8188).
func (b *Browser) Decrypt(body []byte) ([]byte, error) {
	if len(body) < 21 || int(body[20]) != 65 || len(body) < 21+65+17 {
		return nil, errors.New("not a message with an uncompressed point")
	}
	salt, size, point, record := body[:16], binary.BigEndian.Uint32(body[16:20]), body[21:86], body[86:]
	if len(record) > int(size) {
		return nil, errors.New("more than one record (RFC 8291 4)")
	}
	sender, err := ecdh.P256().NewPublicKey(point)
	if err != nil {
		return nil, err
	}
	secret, err := b.key.ECDH(sender)
	if err != nil {
		return nil, err
	}
	info := "WebPush: info\x00" + string(b.key.PublicKey().Bytes()) + string(point)
	ikm, err := hkdf.Key(sha256.New, secret, b.auth, info, 32)
	if err != nil {
		return nil, err
	}
	key, err := hkdf.Key(sha256.New, ikm, salt, "Content-Encoding: aes128gcm\x00", 16)
	if err != nil {
		return nil, err
	}
	nonce, err := hkdf.Key(sha256.New, ikm, salt, "Content-Encoding: nonce\x00", 12)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	plain, err := gcm.Open(nil, nonce, record, nil)
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	plain = []byte(strings.TrimRight(string(plain), "\x00"))
	if len(plain) == 0 || plain[len(plain)-1] != 2 {
		return nil, errors.New("the last record does not end with 2 (RFC 8188 2)")
	}
	return plain[:len(plain)-1], nil
}

// Secrets of the browser, in base64url, for another library to decrypt with.
func (b *Browser) Secrets() (private, auth string) { return b64(b.key.Bytes()), b64(b.auth) }

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
