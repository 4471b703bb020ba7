//go:build peers

package email_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/edge/push/email"
)

// peer is aiosmtpd, a mail server in Python: scripts/test-deps installs it.
type peer struct {
	t     *testing.T
	port  int
	roots *x509.CertPool
	out   *bufio.Scanner
}

// taken is a message as the peer took it.
type taken struct {
	Port       int
	From       string
	To         []string
	TLS        bool
	User       string
	Subject    string
	HeaderFrom string `json:"header_from"`
	Auto       string
	Text       string
}

func start(t *testing.T, how string) *peer {
	t.Helper()
	p := &peer{t: t, roots: x509.NewCertPool()}
	file := p.certificate()
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "testdata/server.py", how, file)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	p.out = bufio.NewScanner(out)
	p.port = p.next().Port
	return p
}

func (p *peer) next() (m taken) {
	p.t.Helper()
	if !p.out.Scan() {
		p.t.Fatal("the mail server ended; is python3-aiosmtpd installed (scripts/test-deps)?")
	}
	if err := json.Unmarshal(p.out.Bytes(), &m); err != nil {
		p.t.Fatal(err)
	}
	return m
}

// certificate of mail.example, which the peer's roots lead to.
func (p *peer) certificate() string {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.example"}, DNSNames: []string{"mail.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		p.t.Fatal(err)
	}
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		p.t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k})...)
	p.roots.AppendCertsFromPEM(text)
	file := filepath.Join(p.t.TempDir(), "cert.pem")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		p.t.Fatal(err)
	}
	return file
}

func sender(t *testing.T, p *peer, c email.Config) *email.SMTP {
	t.Helper()
	if c.From == "" {
		c.From = "Tandem <tandem@tandem.example>"
	}
	s, err := email.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(c.URL, "smtp:") {
		s.DialTo(fmt.Sprintf("127.0.0.1:%d", p.port))
	}
	return s
}

func TestSubmission(t *testing.T) {
	for how, at := range map[string]string{"starttls": "smtp://mail.example:%d", "tls": "smtps://127.0.0.1:%d"} {
		t.Run(how, func(t *testing.T) {
			p := start(t, how)
			c := email.Config{URL: fmt.Sprintf(at, p.port), Username: "tandem", Password: "right", Roots: p.roots}
			s := sender(t, p, c)
			if err := s.SendMail(t.Context(), "alice+x@example.com", "Your code", "123456 is your code.\r\nGrüße\r\n"); err != nil {
				t.Fatal(err)
			}
			m := p.next()
			text := strings.ReplaceAll(m.Text, "\r\n", "\n")
			if m.From != "tandem@tandem.example" || strings.Join(m.To, " ") != "alice+x@example.com" || !m.TLS || m.User != "tandem" ||
				m.Subject != "Your code" || text != "123456 is your code.\nGrüße\n" || m.Auto != "auto-generated" || !strings.Contains(m.HeaderFrom, "Tandem") {
				t.Errorf("taken: %+v", m)
			}
			if err := s.SendMail(t.Context(), "nobody@example.com", "x", "x"); !errors.Is(err, email.ErrRejected) {
				t.Errorf("an unknown mailbox: %v", err)
			}
			c.Password = "wrong"
			if err := sender(t, p, c).SendMail(t.Context(), "alice@example.com", "x", "x"); !errors.Is(err, email.ErrCredentials) {
				t.Errorf("a wrong password: %v", err)
			} else if strings.Contains(err.Error(), "wrong") {
				t.Errorf("the password is in %v", err)
			}
			c.Password, c.Roots = "right", x509.NewCertPool()
			if err := sender(t, p, c).SendMail(t.Context(), "alice@example.com", "x", "x"); !errors.Is(err, email.ErrUnavailable) {
				t.Errorf("a certificate of nobody's: %v", err)
			}
		})
	}
}

// Without TLS nothing is sent, but to a server on this machine.
func TestNoTLS(t *testing.T) {
	p := start(t, "plain")
	s := sender(t, p, email.Config{URL: "smtp://mail.example"})
	if err := s.SendMail(t.Context(), "alice@example.com", "x", "x"); !errors.Is(err, email.ErrUnavailable) {
		t.Errorf("sent without TLS: %v", err)
	}
	s = sender(t, p, email.Config{URL: "smtp://127.0.0.1"})
	if err := s.SendMail(t.Context(), "bob@example.com", "x", "x"); err != nil {
		t.Error(err)
	}
	if m := p.next(); m.To[0] != "bob@example.com" || m.TLS {
		t.Errorf("taken: %+v", m)
	}
}
