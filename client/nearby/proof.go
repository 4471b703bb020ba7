package nearby

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tandem-call/tandem/wire"
)

// audience keeps what is signed for a neighbour from serving as an assertion to the server.
const audience = "tandem-near"

// errProof: it does not prove that the holder of the key is near.
var errProof = errors.New("nearby: no proof of nearness")

// sign makes the proof over a nonce.
func sign(key *ecdsa.PrivateKey, nonce []byte) (string, error) {
	s, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"nonce": base64.RawURLEncoding.EncodeToString(nonce), "aud": audience, "exp": time.Now().Add(time.Minute).Unix(),
	}).SignedString(key)
	if err != nil {
		return "", fmt.Errorf("nearby: sign: %w", err)
	}
	return s, nil
}

// verify checks what sign has made. The nonce is fresh, so the clocks of the two do not matter.
// errProof.
func verify(proof string, nonce []byte, key wire.JWK) error {
	x, errX := base64.RawURLEncoding.DecodeString(key.X)
	y, errY := base64.RawURLEncoding.DecodeString(key.Y)
	if err := errors.Join(errX, errY); err != nil || key.CRV != "P-256" {
		return fmt.Errorf("%w: unusable key", errProof)
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
	if err != nil {
		return fmt.Errorf("%w: %w", errProof, err)
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodES256.Alg()}), jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding())
	claims := jwt.MapClaims{}
	if _, err := parser.ParseWithClaims(proof, claims, func(*jwt.Token) (any, error) { return pub, nil }); err != nil {
		return fmt.Errorf("%w: %w", errProof, err)
	}
	if claims["aud"] != audience || claims["nonce"] != base64.RawURLEncoding.EncodeToString(nonce) {
		return fmt.Errorf("%w: it is for something else", errProof)
	}
	return nil
}
