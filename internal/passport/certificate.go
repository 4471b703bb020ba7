package passport

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/tandem-call/tandem/tel"
)

// maxCertificates in one chain.
const maxCertificates = 8

// parseChain reads the certificates at an x5u: PEM, or one in DER; the signer's first.
func parseChain(b []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	add := func(der []byte) error {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("%w: what is at x5u is not a certificate", ErrCertificate)
		}
		if len(chain) == maxCertificates {
			return fmt.Errorf("%w: the chain has more than %d", ErrCertificate, maxCertificates)
		}
		// We read this one ourselves; marked critical or not.
		c.UnhandledCriticalExtensions = slices.DeleteFunc(c.UnhandledCriticalExtensions, oidTNAuthList.Equal)
		chain = append(chain, c)
		return nil
	}
	if !bytes.Contains(b, []byte("-----BEGIN")) {
		return chain, add(b)
	}
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if err := add(block.Bytes); err != nil {
			return nil, err
		}
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("%w: what is at x5u is not a certificate", ErrCertificate)
	}
	return chain, nil
}

// accept says whether the chain's first certificate may sign for the number now. Each
// certificate of the chain that has a TNAuthList must cover the number: a delegate gets
// no more than the one who delegates (RFC 9060).
func accept(chain []*x509.Certificate, roots *x509.CertPool, n tel.Number, now time.Time) (*ecdsa.PublicKey, error) {
	fault := func(what string) error { return fmt.Errorf("%w: %s", ErrCertificate, what) }
	leaf := chain[0]
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	paths, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return nil, fault("it has expired, or is not yet valid")
	case err != nil:
		return nil, fault("it does not go back to a root that is trusted here")
	case leaf.IsCA:
		return nil, fault("an authority's certificate signs no PASSporT")
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return nil, fault("its key is not for signatures")
	}
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fault("its key is not on P-256")
	}
	if l, err := authorised(leaf); l == nil || err != nil {
		return nil, fault("it has no TNAuthList that can be read")
	}
	for _, path := range paths {
		if !slices.ContainsFunc(path, func(c *x509.Certificate) bool {
			l, err := authorised(c)
			return err != nil || l != nil && !l.Covers(n)
		}) {
			return key, nil
		}
	}
	return nil, fault("its TNAuthList does not cover the number")
}

// authorised returns the certificate's TNAuthList; nil if it has none.
func authorised(c *x509.Certificate) (*TNAuthList, error) {
	for _, e := range c.Extensions {
		if e.Id.Equal(oidTNAuthList) {
			l, err := ParseTNAuthList(e.Value)
			return &l, err
		}
	}
	return nil, nil
}

// signedBy verifies the signature, ECDSA on P-256 with SHA-256 (RFC 7518 3.4).
func (t Token) signedBy(key *ecdsa.PublicKey) bool {
	sum := sha256.Sum256([]byte(t.signed))
	r, s := new(big.Int).SetBytes(t.signature[:32]), new(big.Int).SetBytes(t.signature[32:])
	return ecdsa.Verify(key, sum[:], r, s)
}

// cache keeps chains by their address, and for a short while that there was none: who
// sends many reports does not make us ask somebody else's server as many times.
type cache struct {
	fetch  func(ctx context.Context, url string) ([]byte, error)
	now    func() time.Time
	flight singleflight.Group

	mu      sync.Mutex
	entries map[string]entry
}

type entry struct {
	chain []*x509.Certificate
	err   error
	until time.Time
}

// How long a chain is kept, how long a failure, and how many of them.
const (
	keepChain   = time.Hour
	keepFailure = 30 * time.Second
	maxCached   = 1024
)

// get returns the chain at the address. ErrFetch, ErrCertificate.
func (c *cache) get(ctx context.Context, url string) ([]*x509.Certificate, error) {
	c.mu.Lock()
	e, ok := c.entries[url]
	c.mu.Unlock()
	if ok && c.now().Before(e.until) {
		return e.chain, e.err
	}
	got, _, _ := c.flight.Do(url, func() (any, error) {
		// For everybody who waits: not ended by the first one's leaving.
		b, err := c.fetch(context.WithoutCancel(ctx), url)
		if err != nil {
			err = fmt.Errorf("%w: %w", ErrFetch, err)
		}
		e := entry{err: err, until: c.now().Add(keepFailure)}
		if err == nil {
			if e.chain, e.err = parseChain(b); e.err == nil {
				e.until = c.now().Add(keepChain)
			}
		}
		c.put(url, e)
		return e, nil
	})
	e = got.(entry)
	return e.chain, e.err
}

func (c *cache) put(url string, e entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other, old := range c.entries {
		if len(c.entries) < maxCached {
			break
		}
		if !c.now().Before(old.until) {
			delete(c.entries, other)
		}
	}
	for other := range c.entries { // still full: any one goes
		if len(c.entries) < maxCached {
			break
		}
		delete(c.entries, other)
	}
	c.entries[url] = e
}
