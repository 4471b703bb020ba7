// Package tlscert makes the server's TLS configuration, in one of three ways: from
// certificate files of the operator's, from an ACME authority, or from a local
// authority of its own for trials on a LAN, whose root certificate users install once.
package tlscert

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Mode says where the certificate comes from.
type Mode string

// Modes of TLS.
const (
	Off   Mode = "off"   // no TLS: on loopback only
	Proxy Mode = "proxy" // no TLS here: a proxy in front of us ends it
	Files Mode = "files" // certificate and key from files, read again when they change
	ACME  Mode = "acme"  // RFC 8555
	Local Mode = "local" // an authority of our own, in the data directory
)

// Config of a TLS listener.
type Config struct {
	Mode Mode
	// Cert and Key are PEM files, for Files.
	Cert, Key string
	// Names are the host names (and, for Local, IP addresses) to certify. Local adds
	// localhost and this machine's own addresses.
	Names []string
	// Email of the ACME account; may be empty.
	Email string
	// Directory is the URL of the ACME authority; empty: Let's Encrypt.
	Directory string
	// Roots is a PEM file with the roots to trust when talking to a private ACME
	// authority; empty: the system's.
	Roots string
	// Dir is where keys and certificates are kept (mode 0700).
	Dir string
	// Port on which the configuration will serve. For ACME the listener must exist before
	// New is called, and must be where the authority's connections to port 443 of the names
	// arrive: the challenge is answered there (tls-alpn-01, RFC 8737). Zero: 443.
	Port   int
	Logger *slog.Logger
}

// ErrConfig: the TLS settings cannot work.
var ErrConfig = errors.New("tlscert: unusable settings")

// New returns the TLS configuration, or nil for Off and Proxy. With ACME, certificates are
// got and renewed in the background until ctx ends.
func New(ctx context.Context, c Config) (*tls.Config, error) {
	switch c.Mode {
	case Off, Proxy:
		return nil, nil
	case Files:
		return fromFiles(c)
	case ACME:
		return fromACME(ctx, c)
	case Local:
		return fromLocal(c)
	}
	return nil, fmt.Errorf("%w: mode %q; use off, proxy, files, acme or local", ErrConfig, c.Mode)
}

func base() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
}

// fromFiles reads the pair again when the certificate file changes, so that a renewal
// needs no restart.
func fromFiles(c Config) (*tls.Config, error) {
	if c.Cert == "" || c.Key == "" {
		return nil, fmt.Errorf("%w: mode files needs tls.cert and tls.key", ErrConfig)
	}
	p := &pair{cert: c.Cert, key: c.Key, log: c.Logger}
	if _, err := p.get(nil); err != nil {
		return nil, err
	}
	t := base()
	t.GetCertificate = p.get
	return t, nil
}

type pair struct {
	cert, key string
	log       *slog.Logger

	mu     sync.Mutex
	loaded *tls.Certificate
	mtime  time.Time
	looked time.Time
}

func (p *pair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loaded != nil && time.Since(p.looked) < 10*time.Second {
		return p.loaded, nil
	}
	p.looked = time.Now()
	st, err := os.Stat(p.cert)
	if err == nil && p.loaded != nil && st.ModTime().Equal(p.mtime) {
		return p.loaded, nil
	}
	if err == nil {
		var c tls.Certificate
		if c, err = tls.LoadX509KeyPair(p.cert, p.key); err == nil {
			p.loaded, p.mtime = &c, st.ModTime()
			return p.loaded, nil
		}
	}
	if p.loaded != nil { // a renewal half written: go on with the old one
		p.log.Warn("the renewed certificate cannot be read; the old one stays in use", "file", p.cert, "err", err)
		return p.loaded, nil
	}
	return nil, fmt.Errorf("tlscert: certificate: %w", err)
}

func fromACME(ctx context.Context, c Config) (*tls.Config, error) {
	if len(c.Names) == 0 {
		return nil, fmt.Errorf("%w: mode acme needs tls.names, the host names to certify", ErrConfig)
	}
	log := zap.New(bridge{c.Logger, nil})
	var magic *certmagic.Config
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return magic, nil },
		Logger:           log,
	})
	context.AfterFunc(ctx, cache.Stop)
	magic = certmagic.New(cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: c.Dir}, Logger: log,
		OnEvent: func(_ context.Context, event string, data map[string]any) error {
			if event == "cert_obtained" {
				c.Logger.Info("certificate obtained", "name", data["identifier"], "renewal", data["renewal"])
			}
			return nil
		},
	})
	issuer := certmagic.ACMEIssuer{
		CA: c.Directory, Email: c.Email, Agreed: true, DisableHTTPChallenge: true, AltTLSALPNPort: c.Port, Logger: log,
	}
	if issuer.CA == "" {
		issuer.CA = certmagic.LetsEncryptProductionCA
	}
	if c.Roots != "" {
		roots, err := readRoots(c.Roots)
		if err != nil {
			return nil, err
		}
		issuer.TrustedRoots = roots
	}
	magic.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(magic, issuer)}
	if err := magic.ManageAsync(ctx, c.Names); err != nil {
		return nil, fmt.Errorf("tlscert: acme: %w", err)
	}
	t := magic.TLSConfig()
	t.MinVersion = tls.VersionTLS12
	t.NextProtos = append([]string{"h2", "http/1.1"}, t.NextProtos...)
	return t, nil
}

// bridge hands certmagic's errors to our log; what else it says is of no use to operators.
type bridge struct {
	log    *slog.Logger
	fields []zapcore.Field
}

func (b bridge) Enabled(l zapcore.Level) bool { return l >= zapcore.ErrorLevel }

func (b bridge) With(fields []zapcore.Field) zapcore.Core {
	return bridge{b.log, slices.Concat(b.fields, fields)}
}

func (b bridge) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) {
		return c.AddCore(e, b)
	}
	return c
}

func (b bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	m := zapcore.NewMapObjectEncoder()
	for _, f := range slices.Concat(b.fields, fields) {
		f.AddTo(m)
	}
	attrs := []any{"part", "certmagic"}
	for _, k := range slices.Sorted(maps.Keys(m.Fields)) {
		attrs = append(attrs, k, m.Fields[k])
	}
	b.log.Error(e.Message, attrs...)
	return nil
}

func (b bridge) Sync() error { return nil }
