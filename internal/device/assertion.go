package device

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tandem-call/tandem/wire"
)

// ErrAssertion: the assertion does not prove the device. Which of its parts is at fault
// stands in the text, for the log.
var ErrAssertion = errors.New("device: the assertion does not hold")

// Limits of an assertion.
const (
	maxAssertion    = 4096
	maxAssertionAge = 5 * time.Minute // from iat to exp
	clockSkew       = time.Minute
	audience        = "tandem"
)

type assertionClaims struct {
	jwt.RegisteredClaims
	Nonce  string        `json:"nonce"`
	Tenant wire.TenantID `json:"tenant,omitempty"`
}

// parseAssertion verifies an assertion over a nonce with the key that key finds for it.
// ErrAssertion; an error of key's is returned within it.
func parseAssertion(s, nonce string, now time.Time, key func(assertionClaims) (*ecdsa.PublicKey, error)) error {
	if len(s) > maxAssertion {
		return fmt.Errorf("%w: longer than %d characters", ErrAssertion, maxAssertion)
	}
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodES256.Alg()}),
		jwt.WithAudience(audience), jwt.WithIssuedAt(), jwt.WithExpirationRequired(),
		jwt.WithLeeway(clockSkew), jwt.WithStrictDecoding(), jwt.WithTimeFunc(func() time.Time { return now }),
	)
	var claims assertionClaims
	_, err := parser.ParseWithClaims(s, &claims, func(t *jwt.Token) (any, error) {
		if _, ok := t.Header["crit"]; ok { // RFC 7515 4.1.11: none is understood
			return nil, errors.New("it has a crit header")
		}
		switch {
		case claims.Nonce != nonce:
			return nil, errors.New("it is over another nonce")
		case claims.IssuedAt == nil || claims.ExpiresAt == nil:
			return nil, errors.New("iat or exp is missing")
		case claims.ExpiresAt.Sub(claims.IssuedAt.Time) > maxAssertionAge || claims.ExpiresAt.Before(claims.IssuedAt.Time):
			return nil, errors.New("exp is not within 5 minutes of iat")
		}
		return key(claims)
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAssertion, err)
	}
	return nil
}

// VerifyKey checks that the key signed the nonce, which is an id that was given to whoever
// asks to be enrolled or coupled (see the package comment). ErrAssertion.
func VerifyKey(assertion, nonce string, key wire.JWK, now time.Time) error {
	return parseAssertion(assertion, nonce, now, func(assertionClaims) (*ecdsa.PublicKey, error) { return PublicKey(key) })
}
