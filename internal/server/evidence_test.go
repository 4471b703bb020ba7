package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/wire"
)

func TestEvidenceConfiguration(t *testing.T) {
	for want, change := range map[string]func(*server.Evidence){
		"":                            func(*server.Evidence) {},
		"evidence.freshness":          func(e *server.Evidence) { e.Freshness = time.Hour },
		"evidence.networks":           func(e *server.Evidence) { e.Networks = []string{"10.0.0.1"} },
		"evidence.minimum.binding":    func(e *server.Evidence) { e.Minimum.Binding = "word" },
		"evidence.minimum.session":    func(e *server.Evidence) { e.Minimum.Session = call.Accepted },
		"evidence.minimum.invitation": func(e *server.Evidence) { e.Minimum.Invitation = "" },
		"needs evidence.stir_roots":   func(e *server.Evidence) { e.Minimum.Session = call.Passport },
	} {
		c := server.Defaults()
		change(&c.Evidence)
		err := c.Validate()
		if want == "" && err == nil {
			continue
		}
		if !errors.Is(err, server.ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	c, err := server.Load("", []string{"TANDEM_EVIDENCE_MINIMUM_SESSION=trusted", "TANDEM_EVIDENCE_NETWORKS=10.0.0.0/8,127.0.0.1/32"})
	if err != nil || c.Evidence.Minimum.Session != call.Trusted || len(c.Evidence.Networks) != 2 || c.Evidence.Minimum.Invitation != call.Typed {
		t.Errorf("read as %+v, %v", c.Evidence, err)
	}
}

// TestRootsAreReadAtStart: a server that should verify and cannot does not start.
func TestRootsAreReadAtStart(t *testing.T) {
	w := newWorld(t)
	w.stop()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	check(t, os.WriteFile(empty, []byte("no certificate"), 0o600))
	for _, file := range []string{empty, filepath.Join(t.TempDir(), "none.pem")} {
		if _, err := w.make(func(c *server.Config) { c.Evidence.STIRRoots = file }); !errors.Is(err, server.ErrConfig) || !strings.Contains(err.Error(), "evidence.stir_roots") {
			t.Errorf("%s: %v", file, err)
		}
		if _, err := w.make(func(c *server.Config) { c.SIP.Mode, c.SIP.TLSRoots = server.SIPOpen, file }); !errors.Is(err, server.ErrConfig) || !strings.Contains(err.Error(), "sip.tls_roots") {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestPassportsArePassedOver where no roots are configured: the report stands on what else
// there is.
func TestPassportsArePassedOver(t *testing.T) {
	w := newWorld(t)
	id := w.enrol(alice)
	body := strings.Replace(report(bob, "outgoing", "active", "c"), "{", `{"passports":["whatever"],`, 1)
	if r := w.ask("POST", "/v1/reports", w.token(id), body); r.status != http.StatusOK {
		t.Errorf("got %+v", r)
	}
}

// TestMinimumOfBinding: a number that is not proved well enough takes no part in calls, as
// own one or as somebody else's.
func TestMinimumOfBinding(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.Evidence.Minimum.Binding = device.ProofSIM })
	x, y := w.enrol(alice), w.enrol(bob)
	if r := w.ask("POST", "/v1/reports", w.token(x), report(bob, "outgoing", "active", "c")); r.code(t) != wire.CodeForbidden ||
		!strings.Contains(r.body, "sim") {
		t.Errorf("a report: %+v", r)
	}
	if r := w.ask("POST", "/v1/invitations/answer", w.token(y), `{"invitation":"i_1","accept":true}`); r.code(t) != wire.CodeForbidden {
		t.Errorf("an answer: %+v", r)
	}
	element := w.key("element", "+44")
	for _, body := range []string{
		`{"own":"` + alice + `","other":"` + bob + `","direction":"outgoing","state":"active"}`,
		`{"own":"` + bob + `","other":"` + alice + `","direction":"incoming","state":"active"}`,
	} {
		if r := w.ask("POST", "/v1/reports", element, body); r.status != http.StatusOK || strings.Contains(r.body, "session") {
			t.Errorf("an element's report: %+v", r)
		}
	}
}

// root is a certificate in PEM, of somebody who has signed nothing.
func root(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	check(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
