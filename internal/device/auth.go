package device

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tandem-call/tandem/wire"
)

// ErrToken: the bearer token is not valid, or no longer.
var ErrToken = errors.New("device: the token does not hold")

// ErrBusy: so many devices have connected within a minute that no more nonces can be
// remembered. The device should come back after a pause.
var ErrBusy = errors.New("device: too many authentications at once")

// Lifetimes.
const (
	// NonceTTL is how long a challenge can be answered.
	NonceTTL = time.Minute
	// TokenTTL is how long a bearer token lasts.
	TokenTTL = 10 * time.Minute
)

// Authenticator proves devices by their keys. The challenge of a connection is answered there and
// nowhere else. One that is asked for over HTTP can be answered on any node, since nonces are signed
// rather than kept. That an answer serves only once is remembered for as long as the nonce lasts: by
// the node that took it and, where several nodes share the devices (Config.Shared), in the device's
// record too. Where they do not, a nonce dies with the process that gave it, since what it had taken
// is forgotten then.
type Authenticator struct {
	registry *Registry
	replay   replay
	process  []byte // random, and part of what is signed; empty where nodes share the devices
}

// NewAuthenticator returns the authenticator of a registry's devices. It remembers at
// most maxNonces answers per minute; zero means a million (about 60 MB when full).
func NewAuthenticator(r *Registry, maxNonces int) *Authenticator {
	setDefault(&maxNonces, 1<<20)
	a := &Authenticator{registry: r, replay: replay{max: maxNonces}}
	if !r.cfg.Shared {
		a.process = make([]byte, nonceRandom)
		rand.Read(a.process)
	}
	return a
}

// A nonce is 16 random bytes, its expiry as a Unix time in 8, and 16 of an HMAC over both.
const (
	nonceRandom = 16
	nonceBody   = nonceRandom + 8
	nonceSize   = nonceBody + 16
)

// Nonce returns a fresh nonce for a challenge, which lasts for [NonceTTL].
func (a *Authenticator) Nonce() string {
	b := make([]byte, nonceRandom, nonceSize)
	rand.Read(b)
	b = binary.BigEndian.AppendUint64(b, uint64(a.registry.cfg.Now().Add(NonceTTL).Unix()))
	b = append(b, a.nonceMAC(a.registry.signing(), b)...)
	return base64.RawURLEncoding.EncodeToString(b)
}

func (a *Authenticator) nonceMAC(s secrets, body []byte) []byte {
	mac := hmac.New(sha256.New, s.nonce)
	mac.Write(body)
	mac.Write(a.process)
	return mac.Sum(nil)[:nonceSize-nonceBody]
}

// checkNonce returns the random part of a nonce that this server gave and that still lasts.
func (a *Authenticator) checkNonce(nonce string, now time.Time) (random [nonceRandom]byte, err error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(b) != nonceSize || !a.registry.verified(b[nonceBody:], func(s secrets) []byte { return a.nonceMAC(s, b[:nonceBody]) }) {
		return random, fmt.Errorf("%w: the nonce is not this server's", ErrAssertion)
	}
	if now.Unix() >= int64(binary.BigEndian.Uint64(b[nonceRandom:])) {
		return random, fmt.Errorf("%w: the nonce has expired", ErrAssertion)
	}
	return [nonceRandom]byte(b), nil
}

// ConnectionNonce returns a fresh nonce for the challenge of one connection, which keeps it: only
// [Authenticator.VerifyConnection] takes an answer to it.
func (*Authenticator) ConnectionNonce() string { return rand.Text() }

// VerifyConnection is as VerifyHello, for an assertion that came by the connection that nonce, from
// ConnectionNonce, was made for. No other connection has that nonce, so nothing is noted, and a device
// comes back while the store cannot be written to.
func (a *Authenticator) VerifyConnection(ctx context.Context, home wire.TenantID, nonce, assertion string) (Device, error) {
	now := a.registry.cfg.Now()
	d, err := a.claimed(ctx, home, nonce, assertion, now)
	if err != nil {
		return Device{}, err
	}
	return d, d.Check(now)
}

// VerifyHello checks an assertion over a nonce from Nonce and returns the device, which may
// act. The nonce is used up. home is the tenant that was asked: the device must be its own;
// empty: any tenant's, and the default one's if the assertion names none. An unknown device and a wrong signature are one answer.
// ErrAssertion, ErrRevoked, ErrBindingExpired, ErrBusy.
func (a *Authenticator) VerifyHello(ctx context.Context, home wire.TenantID, nonce, assertion string) (Device, error) {
	return a.verify(ctx, home, nonce, assertion, Device.Check)
}

// VerifyKnown is as VerifyHello, also for a device whose proofs have all expired: a coupled
// one that has been away. ErrAssertion, ErrRevoked, ErrBusy.
func (a *Authenticator) VerifyKnown(ctx context.Context, home wire.TenantID, nonce, assertion string) (Device, error) {
	return a.verify(ctx, home, nonce, assertion, func(d Device, now time.Time) error {
		if err := d.Check(now); !errors.Is(err, ErrBindingExpired) {
			return err
		}
		return nil
	})
}

func (a *Authenticator) verify(ctx context.Context, home wire.TenantID, nonce, assertion string, check func(Device, time.Time) error) (Device, error) {
	now := a.registry.cfg.Now()
	random, err := a.checkNonce(nonce, now)
	if err != nil {
		return Device{}, err
	}
	d, err := a.claimed(ctx, home, nonce, assertion, now)
	if err != nil {
		return Device{}, err
	}
	if err := check(d, now); err != nil {
		return Device{}, err
	}
	if err := a.replay.use(random, now); err != nil {
		return Device{}, err
	}
	if a.registry.cfg.Shared {
		fresh, err := a.registry.answered(ctx, d, random, now)
		if err != nil {
			return Device{}, err
		}
		return d, check(fresh, now) // what was read before may have been a lagging node's
	}
	return d, nil
}

// claimed returns the device that an assertion over the nonce names, and has signed.
func (a *Authenticator) claimed(ctx context.Context, home wire.TenantID, nonce, assertion string, now time.Time) (d Device, err error) {
	var fault error // of the store: says nothing about the assertion
	err = parseAssertion(assertion, nonce, now, func(c assertionClaims) (*ecdsa.PublicKey, error) {
		setDefault(&c.Tenant, home)
		setDefault(&c.Tenant, wire.DefaultTenant)
		if home != "" && c.Tenant != home {
			return nil, errors.New("it is for another tenant")
		}
		var err error
		d, err = a.registry.Get(ctx, c.Tenant, wire.DeviceID(c.Subject))
		if err != nil {
			if !errors.Is(err, ErrNotFound) {
				fault = err
			}
			return nil, err
		}
		return PublicKey(d.Key)
	})
	if err = cmp.Or(fault, err); err != nil {
		return Device{}, err
	}
	return d, nil
}

// Each kind of token says what it is for, so that none serves as another.
const (
	tokenIssuer   = "tandem"
	tokenAudience = "tandem-device"
)

type tokenClaims struct {
	jwt.RegisteredClaims
	Tenant wire.TenantID `json:"tenant"`
}

// IssueToken returns a bearer token for HTTP and how long it lasts. Its holder can do what
// the device can, so it is given only to the device itself, after VerifyHello.
func (a *Authenticator) IssueToken(d Device) (string, time.Duration, error) {
	now := a.registry.cfg.Now()
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, tokenClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: tokenIssuer, Audience: jwt.ClaimStrings{tokenAudience}, Subject: string(d.ID),
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(TokenTTL)),
		},
		Tenant: d.Tenant,
	})
	s, err := t.SignedString(a.registry.signing().token)
	if err != nil {
		return "", 0, fmt.Errorf("device: issue token: %w", err)
	}
	return s, TokenTTL, nil
}

// VerifyToken returns the device that a token was issued to, as it is now: a revoked device's
// token ends with it. ErrToken, ErrRevoked, ErrBindingExpired.
func (a *Authenticator) VerifyToken(ctx context.Context, token string) (Device, error) {
	now := a.registry.cfg.Now()
	if len(token) > maxAssertion {
		return Device{}, fmt.Errorf("%w: longer than %d characters", ErrToken, maxAssertion)
	}
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithIssuer(tokenIssuer), jwt.WithAudience(tokenAudience), jwt.WithExpirationRequired(),
		jwt.WithStrictDecoding(), jwt.WithTimeFunc(func() time.Time { return now }),
	)
	var claims tokenClaims
	var keys jwt.VerificationKeySet
	for _, s := range a.registry.taken() {
		keys.Keys = append(keys.Keys, s.token)
	}
	if _, err := parser.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return keys, nil }); err != nil {
		return Device{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	d, err := a.registry.Get(ctx, claims.Tenant, wire.DeviceID(claims.Subject))
	if errors.Is(err, ErrNotFound) {
		return Device{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if err != nil {
		return Device{}, err
	}
	return d, d.Check(now)
}
