package device

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/tandem-call/tandem/wire"
)

// ErrKey: the key is not a public key on P-256.
var ErrKey = errors.New("device: not a P-256 public key")

// JWKOf returns a public key as a JSON Web Key (RFC 7517, 7518 6.2). ErrKey.
func JWKOf(key *ecdsa.PublicKey) (wire.JWK, error) {
	if key == nil || key.Curve != elliptic.P256() {
		return wire.JWK{}, ErrKey
	}
	point, err := key.Bytes()
	if err != nil {
		return wire.JWK{}, fmt.Errorf("%w: %v", ErrKey, err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return wire.JWK{KTY: "EC", CRV: "P-256", X: b64(point[1:33]), Y: b64(point[33:])}, nil
}

// PublicKey returns the key itself, which is certain to be a point of the curve. ErrKey.
func PublicKey(k wire.JWK) (*ecdsa.PublicKey, error) {
	if k.KTY != "EC" || k.CRV != "P-256" {
		return nil, fmt.Errorf("%w: kty is %q and crv is %q, not EC and P-256", ErrKey, k.KTY, k.CRV)
	}
	point := []byte{4} // uncompressed (SEC 1, 2.3.3)
	for _, coordinate := range []string{k.X, k.Y} {
		b, err := base64.RawURLEncoding.Strict().DecodeString(coordinate)
		if err != nil || len(b) != 32 {
			return nil, fmt.Errorf("%w: x and y are 32 bytes each, in base64url without padding", ErrKey)
		}
		point = append(point, b...)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrKey, err)
	}
	return key, nil
}

// Thumbprint names the key (RFC 7638): a SHA-256 in base64url. The key must be valid.
func Thumbprint(k wire.JWK) string {
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"%s","kty":"%s","x":"%s","y":"%s"}`, k.CRV, k.KTY, k.X, k.Y))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
