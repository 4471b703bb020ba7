package sip

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"os"
)

// authority makes certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key, a.cert = a.sign(a.cert, a.cert, nil)
	return a
}

func (a *authority) sign(c, by *x509.Certificate, key *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	a.t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if key == nil {
		key = own
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by, own.Public(), key)
	if err != nil {
		a.t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		a.t.Fatal(err)
	}
	return own, c
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// issue makes a certificate for DNS names, changed by more.
func (a *authority) issue(names []string, more ...func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	for _, f := range more {
		f(c)
	}
	key, c := a.sign(c, a.cert, a.key)
	return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key, Leaf: c}
}

// files writes a certificate, its key and the authority as PEM.
func (a *authority) files(c tls.Certificate) (cert, key, root string) {
	a.t.Helper()
	dir := a.t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			a.t.Fatal(err)
		}
		return path
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		a.t.Fatal(err)
	}
	return write("cert.pem", "CERTIFICATE", c.Certificate[0]), write("key.pem", "PRIVATE KEY", der), write("root.pem", "CERTIFICATE", a.cert.Raw)
}

// uris are SIP identities.
func uris(all ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		for _, s := range all {
			u, err := url.Parse(s)
			if err != nil {
				panic(err)
			}
			c.URIs = append(c.URIs, u)
		}
	}
}

func expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
func forCode(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }
func forWeb(c *x509.Certificate)  { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
func forSIP(c *x509.Certificate)  { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{sipUsage} }
func overTLSOf(c tls.Certificate) func(*Config) {
	return func(cfg *Config) {
		cfg.TLSListen, cfg.TLS = "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{c}}
	}
}

// TestSIPDomains: which domains a certificate is for (RFC 5922 7.1, 7.2).
func TestSIPDomains(t *testing.T) {
	a := newAuthority(t)
	for name, c := range map[string]struct {
		cert tls.Certificate
		want string
	}{
		"DNS":                 {a.issue([]string{"pbx.example", "b.example"}), "pbx.example b.example"},
		"a URI goes before":   {a.issue([]string{"other.example"}, uris("sip:pbx.example")), "pbx.example"},
		"of a user":           {a.issue([]string{"b.example"}, uris("sip:bob@pbx.example")), "b.example"},
		"of another scheme":   {a.issue([]string{"b.example"}, uris("https://pbx.example")), "b.example"},
		"of the common name":  {a.issue(nil, func(c *x509.Certificate) { c.Subject.CommonName = "pbx.example" }), ""},
		"wildcards are names": {a.issue([]string{"*.example"}), "*.example"},
	} {
		if got := sipDomains(c.cert.Leaf); strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if isFor(a.issue([]string{"*.example"}).Leaf, "pbx.example") {
		t.Error("a wildcard stands for a name")
	}
	if !isFor(a.issue([]string{"PBX.example"}).Leaf, "pbx.Example") {
		t.Error("case matters")
	}
}

// logged keeps what a log says.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// await waits until one line has all the words.
func (l *logged) await(t *testing.T, words ...string) {
	t.Helper()
	said := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		l.mu.Lock()
		said = l.b.String()
		l.mu.Unlock()
		for line := range strings.Lines(said) {
			if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
				return
			}
		}
	}
	t.Fatalf("no line with %q in the log:\n%s", words, said)
}
