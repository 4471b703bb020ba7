package tlscert_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"

	"github.com/tandem-call/tandem/internal/edge/transport/tlscert"
)

const domain = "tandem.example"

// lines keeps a log.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// resolver answers that every name is this machine.
func resolver(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	s := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetReply(q)
		if len(q.Question) == 1 && q.Question[0].Qtype == dns.TypeA {
			a.Answer = append(a.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(127, 0, 0, 1),
			})
		}
		if err := w.WriteMsg(a); err != nil {
			t.Errorf("dns: %v", err)
		}
	})}
	done := make(chan error, 1)
	go func() { done <- s.ActivateAndServe() }()
	t.Cleanup(func() {
		check(t, s.Shutdown())
		check(t, <-done)
	})
	return l.Addr().String()
}

// TestACME: a certificate is got from Pebble, the ACME server that Let's Encrypt tests
// clients with: it connects to our listener to see that the name leads here (RFC 8737).
func TestACME(t *testing.T) {
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	port := l.Addr().(*net.TCPAddr).Port

	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	authority := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {Description: "the default"}})
	validator := va.New(quiet, 0, port, true, resolver(t), store)
	front := wfe.New(quiet, store, validator, authority, []string{"pebble.letsencrypt.org"}, true, false, 1, 1)
	pebble := httptest.NewTLSServer(front.Handler())
	closePebble := sync.OnceFunc(pebble.Close)
	t.Cleanup(closePebble)
	dir := t.TempDir()
	roots := filepath.Join(dir, "pebble.pem")
	check(t, os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pebble.Certificate().Raw}), 0o600))

	var said lines
	config := tlscert.Config{
		Mode: tlscert.ACME, Names: []string{domain}, Email: "operator@" + domain, Directory: pebble.URL + wfe.DirectoryPath,
		Roots: roots, Dir: filepath.Join(dir, "tls"), Port: port, Logger: slog.New(slog.NewTextHandler(&said, nil)),
	}
	c, err := tlscert.New(t.Context(), config)
	check(t, err)
	server := &http.Server{ErrorLog: quiet, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "over TLS") // the client looks
	})}
	done := make(chan error, 1)
	go func() { done <- server.Serve(tls.NewListener(l, c)) }()
	t.Cleanup(func() { server.Close(); <-done })

	root := x509.NewCertPool()
	root.AddCert(authority.GetRootCert(0).Cert)
	get := func() (*http.Response, error) {
		tr := &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: root}, ForceAttemptHTTP2: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
			},
		}
		defer tr.CloseIdleConnections()
		return (&http.Client{Transport: tr}).Get("https://" + domain + "/")
	}
	// until waits for what happens in the background.
	until := func(what string, try func() error) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			err := try()
			if err == nil {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %v\n%s", what, err, said.String())
			}
		}
	}
	var res *http.Response
	until("no certificate", func() (err error) { res, err = get(); return err })
	b, err := io.ReadAll(res.Body)
	check(t, err)
	check(t, res.Body.Close())
	if string(b) != "over TLS" || res.ProtoMajor != 2 {
		t.Errorf("%s over %s", b, res.Proto)
	}

	// A restart has the certificate, also while the authority is away.
	closePebble()
	again, err := tlscert.New(t.Context(), config)
	check(t, err)
	until("after a restart", func() error {
		_, err := shake(t, again, &tls.Config{RootCAs: root, ServerName: domain})
		return err
	})
	if !strings.Contains(said.String(), "certificate obtained") {
		t.Errorf("the log: %s", said.String())
	}
	for _, f := range []string{"tls", "tls/acme"} {
		if st, err := os.Stat(filepath.Join(dir, f)); err != nil || st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s can be read by others: %v, %v", f, st, err)
		}
	}
}

// TestACMEAuthorityAway: the server starts all the same, and its log says what is wrong.
func TestACMEAuthorityAway(t *testing.T) {
	gone := httptest.NewTLSServer(http.NotFoundHandler())
	gone.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var said lines
	_, err := tlscert.New(ctx, tlscert.Config{
		Mode: tlscert.ACME, Names: []string{domain}, Directory: gone.URL, Dir: t.TempDir(), Port: 1, Logger: slog.New(slog.NewTextHandler(&said, nil)),
	})
	check(t, err)
	for end := time.Now().Add(time.Minute); !strings.Contains(said.String(), "level=ERROR"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the log: %s", said.String())
		}
	}
}
