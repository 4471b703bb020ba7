//go:build peers

package sms_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/edge/push/sms"
	"github.com/tandem-call/tandem/internal/edge/push/sms/kanneltest"
)

// TestRealKannel sends through a real gateway (bearerbox and smsbox of Debian's package
// kannel) to the mobile network that comes with it for tests (fakesmsc, kannel-extras).
func TestRealKannel(t *testing.T) {
	dir, ports := t.TempDir(), freePorts(t, 4)
	gateway := kanneltest.Config{Dir: dir, Admin: ports[0], Boxes: ports[1], Network: ports[2], SendSMS: ports[3]}
	conf, err := gateway.Write()
	if err != nil {
		t.Fatal(err)
	}
	bearerbox := start(t, kanneltest.Bearerbox, conf)
	bearerbox.await(kanneltest.BearerboxReady)
	network := start(t, kanneltest.Fakesmsc, "-H", "127.0.0.1", "-r", gateway.Network, "-m", "0", "1 2 text never sent")
	bearerbox.await(kanneltest.FakesmscReady)
	smsbox := start(t, kanneltest.Smsbox, conf)
	smsbox.await(kanneltest.SmsboxReady)
	answers(t, gateway.URL())

	cfg := sms.KannelConfig{URL: gateway.URL(), Username: kanneltest.Username, Password: kanneltest.Password, From: "Tandem"}
	k, err := sms.NewKannel(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.SendCode(t.Context(), number(t), "123456", "123456 is your code & nobody else's: Größe"); err != nil {
		t.Fatal(err)
	}
	network.await("<Tandem +442079460001 text 123456 is your code & nobody else's: Größe>")
	if err := k.SendText(t.Context(), number(t), "123456 код"); err != nil {
		t.Fatal(err)
	}
	network.await("<Tandem +442079460001 ucs-2 %001%002%003%004%005%006%00+%04%3A%04%3E%044>")

	wrong := cfg
	wrong.Password = "guess"
	if k, err = sms.NewKannel(wrong); err != nil {
		t.Fatal(err)
	}
	if err := k.SendText(t.Context(), number(t), "x"); !errors.Is(err, sms.ErrRejected) || !strings.Contains(err.Error(), "Authorization failed") {
		t.Errorf("with a wrong password: %v", err)
	}
	smsbox.stop()
	if k, err = sms.NewKannel(cfg); err != nil {
		t.Fatal(err)
	}
	if err := k.SendText(t.Context(), number(t), "x"); !errors.Is(err, sms.ErrUnavailable) {
		t.Errorf("with the gateway gone: %v", err)
	}
}

// process is a program under test, with what it says.
type process struct {
	t      *testing.T
	name   string
	cmd    *exec.Cmd
	cancel context.CancelFunc
	lines  chan string
	ended  chan struct{}
	said   []string
}

func start(t *testing.T, path string, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{t: t, name: filepath.Base(path), cancel: cancel, lines: make(chan string, 10_000), ended: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, path, args...)
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 10 * time.Second
	out, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout = p.cmd.Stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%v (install kannel and kannel-extras: scripts/test-deps)", err)
	}
	go func() {
		defer close(p.ended)
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
		_ = p.cmd.Wait() // ended by a signal: always an error
	}()
	t.Cleanup(p.stop)
	return p
}

// await reads on until a line has the text.
func (p *process) await(text string) {
	p.t.Helper()
	late := time.After(30 * time.Second)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("%s ended before it said %q:\n%s", p.name, text, strings.Join(p.said, "\n"))
			}
			if p.said = append(p.said, line); strings.Contains(line, text) {
				return
			}
		case <-late:
			p.t.Fatalf("%s did not say %q:\n%s", p.name, text, strings.Join(p.said, "\n"))
		}
	}
}

// stop ends the program and waits for it; it may repeat.
func (p *process) stop() {
	p.cancel()
	for range p.lines { // so that the reader can go on
	}
	<-p.ended
}

// freePorts returns ports of the loopback interface that nobody has at this moment.
func freePorts(t *testing.T, n int) (ports []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // only now, so that all are different
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, port)
	}
	return ports
}

// answers waits until a server answers: smsbox says that it is ready a moment before.
func answers(t *testing.T, url string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		res, err := http.Get(url)
		if err == nil {
			res.Body.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
