// Package passporttest is a STIR provider in miniature, for tests: an [Authority] gives
// certificates with a TNAuthList to a [Signer], which signs PASSporTs, also wrong ones.
package passporttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	"github.com/tandem-call/tandem/internal/passport"
)

// Signer has a key and the chain of its certificate, its own first. An authority is one
// that may give certificates.
type Signer struct {
	Key   *ecdsa.PrivateKey
	Chain []*x509.Certificate
}

// oidTNAuthList is id-pe-TNAuthList (RFC 8226 9).
var oidTNAuthList = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 26}

// NewAuthority makes a root that is valid for a day around now.
func NewAuthority(now time.Time) (*Signer, error) {
	return (*Signer)(nil).issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "STI-CA of a test"}, NotBefore: now.Add(-12 * time.Hour), NotAfter: now.Add(12 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
}

// Issue gives a certificate that speaks for these; a nil list leaves the extension out.
// What change does to the certificate goes before.
func (s *Signer) Issue(l *passport.TNAuthList, change ...func(*x509.Certificate)) (*Signer, error) {
	ca := s.Chain[0]
	c := &x509.Certificate{
		Subject: pkix.Name{CommonName: "SHAKEN 709J"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if l != nil {
		der, err := Marshal(*l)
		if err != nil {
			return nil, err
		}
		c.ExtraExtensions = []pkix.Extension{{Id: oidTNAuthList, Value: der}}
	}
	for _, f := range change {
		f(c)
	}
	return s.issue(c)
}

func (s *Signer) issue(c *x509.Certificate) (*Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("passporttest: %w", err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	parent, by, chain := c, key, []*x509.Certificate(nil)
	if s != nil {
		parent, by, chain = s.Chain[0], s.Key, s.Chain
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		return nil, fmt.Errorf("passporttest: %w", err)
	}
	own, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("passporttest: %w", err)
	}
	return &Signer{Key: key, Chain: append([]*x509.Certificate{own}, chain...)}, nil
}

// PEM is the chain as a certificate server gives it out.
func (s *Signer) PEM() []byte {
	var b []byte
	for _, c := range s.Chain {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return b
}

// Roots trusts the chain's last certificate.
func (s *Signer) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.Chain[len(s.Chain)-1])
	return pool
}

// Claims of a PASSporT; empty ones are left out.
type Claims struct {
	Attest string      `json:"attest,omitempty"`
	Dest   Destination `json:"dest"`
	Div    *Origin     `json:"div,omitempty"`
	Iat    int64       `json:"iat"`
	Opt    string      `json:"opt,omitempty"`
	Orig   Origin      `json:"orig"`
	OrigID string      `json:"origid,omitempty"`
}

// Destination and Origin name numbers, in digits.
type (
	Destination struct {
		TN []string `json:"tn"`
	}
	Origin struct {
		TN string `json:"tn"`
	}
)

// Shaken returns the claims of a call that its provider vouches for (RFC 8588).
func Shaken(orig, dest string, at time.Time) Claims {
	return Claims{Attest: "A", Dest: Destination{[]string{dest}}, Iat: at.Unix(), Orig: Origin{orig}, OrigID: "123e4567-e89b-12d3-a456-426655440000"}
}

// Diversion returns the claims of a call from orig that was diverted (RFC 8946).
func Diversion(orig, from, to string, at time.Time) Claims {
	return Claims{Dest: Destination{[]string{to}}, Div: &Origin{from}, Iat: at.Unix(), Orig: Origin{orig}}
}

// Sign signs a PASSporT.
func (s *Signer) Sign(kind passport.Kind, url string, c Claims) (string, error) {
	header, err := json.Marshal(struct {
		Alg string        `json:"alg"`
		PPT passport.Kind `json:"ppt,omitempty"`
		Typ string        `json:"typ"`
		X5U string        `json:"x5u"`
	}{"ES256", kind, "passport", url})
	if err != nil {
		return "", fmt.Errorf("passporttest: %w", err)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("passporttest: %w", err)
	}
	return s.SignRaw(string(header), string(payload))
}

// SignRaw signs any header and payload.
func (s *Signer) SignRaw(header, payload string) (string, error) {
	b64 := base64.RawURLEncoding.EncodeToString
	signed := b64([]byte(header)) + "." + b64([]byte(payload))
	sum := sha256.Sum256([]byte(signed))
	r, v, err := ecdsa.Sign(rand.Reader, s.Key, sum[:])
	if err != nil {
		return "", fmt.Errorf("passporttest: %w", err)
	}
	var sig [64]byte
	r.FillBytes(sig[:32])
	v.FillBytes(sig[32:])
	return signed + "." + b64(sig[:]), nil
}

// Identity is the header field's value for a PASSporT.
func Identity(jws string, kind passport.Kind, url string) string {
	s := jws + ";info=<" + url + ">;alg=ES256"
	if kind != passport.Base {
		s += ";ppt=" + string(kind)
	}
	return s
}

// Marshal writes a TNAuthList as RFC 8226 has it.
func Marshal(l passport.TNAuthList) ([]byte, error) {
	var entries []asn1.RawValue
	add := func(tag int, v any, params string) error {
		inner, err := asn1.MarshalWithParams(v, params)
		if err != nil {
			return fmt.Errorf("passporttest: %w", err)
		}
		entries = append(entries, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: inner})
		return nil
	}
	for _, code := range l.Codes {
		if err := add(0, code, "ia5"); err != nil {
			return nil, err
		}
	}
	for _, r := range l.Ranges {
		if err := add(1, struct {
			Start string `asn1:"ia5"`
			Count int64
		}{r.Start, int64(r.Count)}, ""); err != nil {
			return nil, err
		}
	}
	for _, n := range l.Numbers {
		if err := add(2, n, "ia5"); err != nil {
			return nil, err
		}
	}
	der, err := asn1.Marshal(entries)
	if err != nil {
		return nil, fmt.Errorf("passporttest: %w", err)
	}
	return der, nil
}
