package tlscert_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-call/tandem/internal/edge/transport/tlscert"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// local makes the configuration of a local authority in dir.
func local(t testing.TB, dir string, names ...string) *tls.Config {
	t.Helper()
	c, err := tlscert.New(t.Context(), tlscert.Config{Mode: tlscert.Local, Dir: dir, Names: names, Logger: slog.New(slog.DiscardHandler)})
	check(t, err)
	return c
}

func rootOf(t testing.TB, dir string) *x509.CertPool {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, tlscert.RootFile))
	check(t, err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		t.Fatal("no certificate in the root file")
	}
	return pool
}

// shake makes one handshake over a real connection.
func shake(t testing.TB, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = tls.Server(c, server).Handshake()
			c.Close()
		}
		done <- err
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	check(t, err)
	k := tls.Client(c, client)
	err = k.Handshake()
	state := k.ConnectionState()
	c.Close()
	return state, errors.Join(err, <-done)
}

func TestLocalAuthority(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	c := local(t, dir, "tandem.lan", "192.0.2.7")
	host, err := os.Hostname()
	check(t, err)
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "tandem.lan", "192.0.2.7", host, host + ".local"} {
		s, err := shake(t, c, &tls.Config{RootCAs: rootOf(t, dir), ServerName: name, NextProtos: []string{"h2"}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if s.NegotiatedProtocol != "h2" || s.Version != tls.VersionTLS13 {
			t.Errorf("%s: %s over %x", name, s.NegotiatedProtocol, s.Version)
		}
	}
	var wrong x509.HostnameError
	if _, err := shake(t, c, &tls.Config{RootCAs: rootOf(t, dir), ServerName: "example.com"}); !errors.As(err, &wrong) {
		t.Errorf("a name that is not ours: %v", err)
	}
	if _, err := shake(t, c, &tls.Config{ServerName: "localhost"}); err == nil {
		t.Error("without the root")
	}
	if _, err := shake(t, c, &tls.Config{RootCAs: rootOf(t, dir), ServerName: "localhost", MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1")
	}

	if st, err := os.Stat(filepath.Join(dir, "tandem-local-authority.key")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode: %v, %v", st.Mode(), err)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the directory's mode: %v, %v", st.Mode(), err)
	}

	// The root stays; devices have it installed.
	root := rootOf(t, dir)
	if again := local(t, dir); !rootOf(t, dir).Equal(root) {
		t.Error("a new root")
	} else if _, err := shake(t, again, &tls.Config{RootCAs: root, ServerName: "localhost"}); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	// The authority's own certificate may sign nothing but certificates of servers.
	leaf, err := c.GetCertificate(nil)
	check(t, err)
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageCodeSigning} {
		if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: root, KeyUsages: []x509.ExtKeyUsage{use}}); err == nil {
			t.Errorf("good for the use %d", use)
		}
	}
}

// TestRenewals: the server's certificate is made anew in time, by the same authority; and
// the authority's own before it ends, at a start.
func TestRenewals(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		c := local(t, dir)
		root := rootOf(t, dir)
		first, err := c.GetCertificate(nil)
		check(t, err)
		for range 4 * 365 / 20 {
			time.Sleep(20 * day)
			now, err := c.GetCertificate(nil)
			check(t, err)
			if left := time.Until(now.Leaf.NotAfter); left < 30*day {
				t.Fatalf("%v are left", left)
			}
			if _, err := now.Leaf.Verify(x509.VerifyOptions{Roots: root, DNSName: "localhost", CurrentTime: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
		if now, err := c.GetCertificate(nil); err != nil || now.Leaf.SerialNumber.Cmp(first.Leaf.SerialNumber) == 0 {
			t.Errorf("never renewed: %v", err)
		}
		if local(t, dir); !rootOf(t, dir).Equal(root) {
			t.Error("a new root after four years")
		}
		time.Sleep(300 * day)
		if local(t, dir); rootOf(t, dir).Equal(root) {
			t.Error("still the old root, which ends soon")
		}
	})
}

// pair writes a self-signed certificate for a name.
func pair(t testing.TB, dir, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	check(t, err)
	b, err := x509.MarshalPKCS8PrivateKey(k)
	check(t, err)
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	check(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b}), 0o600))
	check(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	check(t, os.Chtimes(cert, time.Now(), time.Now()))
	return cert, key
}

// TestFiles: a renewed pair is taken without a restart, and a renewal half done does no harm.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		cert, key := pair(t, dir, "first.example")
		var log bytes.Buffer
		c, err := tlscert.New(t.Context(), tlscert.Config{Mode: tlscert.Files, Cert: cert, Key: key, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		check(t, err)
		serves := func(name string) {
			t.Helper()
			now, err := c.GetCertificate(nil)
			check(t, err)
			if got := now.Leaf.Subject.CommonName; got != name {
				t.Errorf("serves %s, not %s", got, name)
			}
		}
		serves("first.example")
		time.Sleep(time.Hour)
		pair(t, dir, "second.example")
		time.Sleep(time.Minute)
		serves("second.example")
		whole, err := os.ReadFile(key)
		check(t, err)
		_, other := pair(t, t.TempDir(), "third.example")
		b, err := os.ReadFile(other)
		check(t, err)
		check(t, os.WriteFile(key, b, 0o600)) // the certificate has not come yet
		check(t, os.Chtimes(cert, time.Now(), time.Now()))
		time.Sleep(time.Minute)
		serves("second.example")
		if !strings.Contains(log.String(), "the old one stays in use") {
			t.Errorf("the log: %s", log.String())
		}
		check(t, os.WriteFile(key, whole, 0o600))
		check(t, os.Remove(cert))
		time.Sleep(time.Minute)
		serves("second.example")
		pair(t, dir, "fourth.example")
		time.Sleep(time.Minute)
		serves("fourth.example")
	})
}

func TestSettings(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for _, m := range []tlscert.Mode{tlscert.Off, tlscert.Proxy} {
		if c, err := tlscert.New(t.Context(), tlscert.Config{Mode: m, Logger: log}); c != nil || err != nil {
			t.Errorf("%s: %v, %v", m, c, err)
		}
	}
	garbage := filepath.Join(t.TempDir(), "garbage.pem")
	check(t, os.WriteFile(garbage, []byte("garbage"), 0o600))
	for name, c := range map[string]tlscert.Config{
		"no such mode":      {Mode: "magic"},
		"files of no name":  {Mode: tlscert.Files},
		"files of no key":   {Mode: tlscert.Files, Cert: garbage},
		"acme for no name":  {Mode: tlscert.ACME},
		"roots of no value": {Mode: tlscert.ACME, Names: []string{"tandem.example"}, Roots: garbage},
	} {
		c.Logger = log
		c.Dir = t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := tlscert.New(ctx, c); !errors.Is(err, tlscert.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	if _, err := tlscert.New(t.Context(), tlscert.Config{Mode: tlscert.Files, Cert: garbage, Key: garbage, Logger: log}); err == nil {
		t.Error("garbage is a certificate")
	}
	dir := t.TempDir()
	local(t, dir)
	check(t, os.WriteFile(filepath.Join(dir, "tandem-local-authority.key"), []byte("garbage"), 0o600))
	if _, err := tlscert.New(t.Context(), tlscert.Config{Mode: tlscert.Local, Dir: dir, Logger: log}); err == nil {
		t.Error("a damaged key is replaced, and with it the root that users have installed")
	}
}
