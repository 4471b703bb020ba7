package client

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// ErrIdentity: the device's identity file cannot be used.
var ErrIdentity = errors.New("client: unusable device identity")

// audience of a device's assertions.
const audience = "tandem"

// Identity is what a device is: its key, its id, and where its server is. The key never
// leaves the device.
type Identity struct {
	// Server is the server's address, "https://tandem.example".
	Server string
	// Device is empty until the device is enrolled.
	Device wire.DeviceID
	// Number that was proved.
	Number tel.Number
	Name   string
	Key    *ecdsa.PrivateKey
}

// NewIdentity makes the identity of a new device, with a fresh P-256 key.
func NewIdentity(server string) (*Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("client: key: %w", err)
	}
	return &Identity{Server: server, Key: key}, nil
}

// PublicKey returns the public half (RFC 7517).
func (id *Identity) PublicKey() wire.JWK {
	p, err := id.Key.PublicKey.Bytes() // 4, X, Y (SEC 1, 2.3.3)
	if err != nil || len(p) != 65 {
		panic("client: the key is not on P-256") // NewIdentity and Load make no other
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return wire.JWK{KTY: "EC", CRV: "P-256", X: b64(p[1:33]), Y: b64(p[33:])}
}

// Assert signs a nonce of the server's (see wire.Hello).
func (id *Identity) Assert(nonce string) (string, error) {
	now := time.Now()
	t := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"sub": string(id.Device), "nonce": nonce, "aud": audience,
		"iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(),
	})
	s, err := t.SignedString(id.Key)
	if err != nil {
		return "", fmt.Errorf("client: sign: %w", err)
	}
	return s, nil
}

// identityFile is the file's form.
type identityFile struct {
	Server string        `json:"server"`
	Device wire.DeviceID `json:"device"`
	Number tel.Number    `json:"number,omitzero"`
	Name   string        `json:"name,omitempty"`
	// Key is PKCS #8 in PEM.
	Key string `json:"key"`
}

// Save writes the identity to a file that only its owner can read, in one step.
func (id *Identity) Save(path string) error {
	der, err := x509.MarshalPKCS8PrivateKey(id.Key)
	if err != nil {
		return fmt.Errorf("client: save identity: %w", err)
	}
	b, err := json.MarshalIndent(identityFile{
		Server: id.Server, Device: id.Device, Number: id.Number, Name: id.Name,
		Key: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("client: save identity: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("client: save identity: %w", err)
	}
	return writeFile(path, append(b, '\n'))
}

// writeFile replaces a file in one step, synced, readable by its owner only.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*") // mode 0600
	if err != nil {
		return fmt.Errorf("client: save: %w", err)
	}
	defer os.Remove(f.Name()) // gone already when the rename succeeded
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("client: save: %w", err)
	}
	return nil
}

// Load reads an identity that Save wrote. ErrIdentity; os.ErrNotExist where there is none.
func Load(path string) (*Identity, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("client: load identity: %w", err)
	}
	var f identityFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrIdentity, path, err)
	}
	block, _ := pem.Decode([]byte(f.Key))
	if block == nil {
		return nil, fmt.Errorf("%w: %s has no key", ErrIdentity, path)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrIdentity, path, err)
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%w: the key in %s is not on P-256", ErrIdentity, path)
	}
	return &Identity{Server: f.Server, Device: f.Device, Number: f.Number, Name: f.Name, Key: key}, nil
}
