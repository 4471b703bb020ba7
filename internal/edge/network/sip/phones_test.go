//go:build peers

package sip

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"github.com/tandem-call/tandem/internal/testpeer"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// realPhone is a real softphone that a test types at.
type realPhone struct {
	t    *testing.T
	name string
	in   io.Writer
	kill func() // and waits until it is gone

	mu     sync.Mutex
	out    []byte // said, and not asked for yet
	change chan struct{}
}

// Write takes what the phone says.
func (p *realPhone) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out = append(p.out, b...)
	close(p.change)
	p.change = make(chan struct{})
	return len(b), nil
}

// typed gives the phone a command.
func (p *realPhone) typed(command string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, command+"\n"); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

// says waits until the phone has said something, and takes that, and what was before it.
func (p *realPhone) says(expr string) string {
	p.t.Helper()
	re, timeout := regexp.MustCompile(expr), time.After(2*patience)
	for {
		p.mu.Lock()
		change := p.change
		if at := re.FindIndex(p.out); at != nil {
			said := string(p.out[at[0]:at[1]])
			p.out = p.out[at[1]:]
			p.mu.Unlock()
			return said
		}
		said := string(p.out)
		p.mu.Unlock()
		select {
		case <-change:
		case <-timeout:
			p.t.Fatalf("%s did not say %s; it said:\n%s", p.name, expr, said)
		}
	}
}

// startPhone starts one, whose settings and data are in a directory, and ends it with the test.
func startPhone(t *testing.T, name, dir, program string, args ...string) *realPhone {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &realPhone{t: t, name: program + " " + name, change: make(chan struct{})}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "HOME="+dir)
	cmd.Stdout, cmd.Stderr = p, p
	cmd.SysProcAttr = withUs(syscall.SIGKILL)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in = in
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (scripts/test-deps installs it)", err)
	}
	p.kill = sync.OnceFunc(func() {
		cancel()
		_ = cmd.Wait() // it was killed: asked kindly, baresip takes five seconds
	})
	t.Cleanup(p.kill)
	return p
}

// linphone starts a Linphone that has registered with a number over UDP, or over TLS if the
// element listens on it. It understands attended transfer, by REFER with Replaces.
func (w *world) linphone(number string) *realPhone {
	w.t.Helper()
	dir := w.t.TempDir()
	at, root := w.addr.String(), ""
	if port := w.e.Port("TLS"); port != 0 {
		at, root = fmt.Sprintf("localhost:%d;transport=tls", port), filepath.Join(dir, "root.pem")
		w.must(os.WriteFile(root, w.root, 0o600))
	}
	file, err := testpeer.Linphone(dir, number+"@example.com", at, root)
	w.must(err)
	p := startPhone(w.t, number, dir, "linphonec", "-c", file, "-S")
	p.says("linphonec>")
	p.typed("soundcard use files")
	for registered := false; !registered; time.Sleep(50 * time.Millisecond) { // it tells only when it is asked
		p.typed("status register")
		registered = strings.HasSuffix(p.says(`registered[,=]`), ",")
	}
	return p
}

// baresip starts a baresip that has registered with a number, as linphone does, and answers
// by itself.
func (w *world) baresip(number string) *realPhone {
	w.t.Helper()
	dir := w.t.TempDir()
	at, root := w.addr.String(), ""
	if port := w.e.Port("TLS"); port != 0 {
		at, root = fmt.Sprintf("127.0.0.1:%d;transport=tls", port), "sip_cafile "+filepath.Join(dir, "root.pem")
		w.must(os.WriteFile(filepath.Join(dir, "root.pem"), w.root, 0o600))
	}
	for name, text := range map[string]string{
		"config": fmt.Sprintf(`poll_method epoll
sip_listen 127.0.0.1:%d
%s
audio_player aubridge,nil
audio_source aubridge,nil
audio_alert aubridge,nil
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
module_path /usr/lib/baresip/modules
module stdio.so
module g711.so
module aubridge.so
module uuid.so
module_tmp account.so
module_app menu.so
`, freePort(w.t), root),
		"contacts": "",
		"accounts": fmt.Sprintf("<sip:%s@example.com>;outbound=\"sip:%s\";regint=60;answermode=auto;audio_codecs=PCMU\n", number, at),
	} {
		w.must(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	p := startPhone(w.t, number, dir, "baresip", "-f", dir)
	p.says(`200 OK.*\[\d+ binding`)
	return p
}

// overTLS makes an element listen on TLS, with a certificate for localhost, which is returned.
func overTLS(t *testing.T) (change func(*Config), root []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) {
		c.TLSListen, c.TLS = "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestPhones: a Linphone calls a baresip by way of the element, and holds the call, over UDP and
// over TLS; the element reports both.
func TestPhones(t *testing.T) {
	for _, transport := range []string{"UDP", "TLS"} {
		t.Run(transport, func(t *testing.T) {
			var root []byte
			change := []func(*Config){func(c *Config) { c.T1 = 500 * time.Millisecond }}
			if transport == "TLS" {
				var over func(*Config)
				over, root = overTLS(t)
				change = append(change, over)
			}
			w := newWorld(t, change...)
			w.root = root
			a, b := w.linphone(alice), w.baresip(bob)
			a.typed("call sip:" + bob + "@example.com")
			got := w.legs(alice+" outgoing active", bob+" incoming active")
			if r := got[bob+" incoming active"]; r.Other != identityOf(t, alice) {
				t.Errorf("bob speaks with %s", r.Other)
			}
			if conns := w.e.Stats().Connections; (transport == "TLS") != (conns >= 2) {
				t.Errorf("%d connections", conns)
			}
			a.says(`Call 1 with .* connected`)
			b.says(`Call established`)
			a.typed("pause")
			w.legs(alice+" outgoing held", bob+" incoming held")
			a.says(`Call 1 with .* is now paused`)
			a.typed("resume 1")
			w.legs(alice+" outgoing active", bob+" incoming active")
			a.typed("terminate all")
			w.legs(alice+" outgoing ended", bob+" incoming ended")
		})
	}
}

// TestAttendedTransfer: Bob's Linphone speaks with Alice's, then with Carol's, and joins the two
// (REFER with Replaces): the legs are those of the two who speak on.
func TestAttendedTransfer(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.T1 = 500 * time.Millisecond })
	a, b, c := w.linphone(alice), w.linphone(bob), w.linphone(carol)
	a.typed("call sip:" + bob + "@example.com")
	b.says("Receiving new incoming call")
	b.typed("answer")
	w.legs(alice+" outgoing active", bob+" incoming active")
	b.says(`Call 1 with .* connected`)
	b.typed("pause")
	w.legs(alice+" outgoing held", bob+" incoming held")
	b.says(`Call 1 with .* is now paused`)
	b.typed("call sip:" + carol + "@example.com")
	c.says("Receiving new incoming call")
	c.typed("answer")
	w.legs(bob+" outgoing active", carol+" incoming active")
	b.says(`Call 2 with .* connected`)
	b.typed("transfer 1 --to-call 2")
	got := w.legs(alice+" outgoing active", carol+" incoming active", bob+" incoming ended", bob+" outgoing ended")
	for s, want := range map[string]string{alice + " outgoing active": carol, carol + " incoming active": alice} {
		if r := got[s]; r.Other != identityOf(t, want) {
			t.Errorf("%s: with %s", s, r.Other)
		}
	}
	a.typed("terminate all")
	w.legs(alice+" outgoing ended", carol+" incoming ended")
}
