//go:build peers

package baresip

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/testport"
	"github.com/tandem-call/tandem/tel"
)

const modules = "/usr/lib/baresip/modules"

// softphone is a real baresip. Its control port is the detector's, so its user's keys
// are pressed by its HTTP module.
type softphone struct {
	t               *testing.T
	number          string
	dir             string
	sip, ctrl, http string
	kill            func()
	reports         chan tel.PartyDetails
}

func newSoftphone(t *testing.T, number string) *softphone {
	t.Helper()
	p := &softphone{t: t, number: number, dir: t.TempDir(), sip: freeAddr(t), ctrl: freeAddr(t), http: freeAddr(t), reports: make(chan tel.PartyDetails, 100)}
	config := []string{
		"poll_method epoll", "sip_listen " + p.sip, "call_max_calls 4",
		"audio_player aubridge,nil", "audio_source aubridge,nil", "audio_alert aubridge,nil",
		"ausrc_srate 8000", "auplay_srate 8000", "ausrc_channels 1", "auplay_channels 1",
		"module_path " + modules, "module g711.so", "module aubridge.so", "module uuid.so",
		"module_tmp account.so", "module_app menu.so", "module_app ctrl_tcp.so", "module_app httpd.so",
		"ctrl_tcp_listen " + p.ctrl, "http_listen " + p.http,
	}
	for name, text := range map[string]string{
		"config":   strings.Join(config, "\n") + "\n",
		"accounts": fmt.Sprintf("<sip:%s@%s>;regint=0;answermode=manual;audio_codecs=PCMU\n", number, p.sip),
		"contacts": "",
	} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.start()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	listens := make(listening, 1)
	go func() {
		done <- New(Config{Addr: p.ctrl, Retry: 50 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(listens, nil))}).Run(ctx, func(d tel.PartyDetails) { p.reports <- d })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", number, err)
		}
		p.kill()
	})
	select {
	case <-listens: // calls made earlier are found by the list, without their Call-ID
	case <-time.After(20 * time.Second):
		t.Fatal("the detector does not reach the softphone")
	}
	return p
}

// listening takes a detector's log, and tells when it has connected.
type listening chan bool

func (l listening) Write(line []byte) (int, error) {
	if strings.Contains(string(line), "listening to the phone") {
		select {
		case l <- true:
		default:
		}
	}
	return len(line), nil
}

// freeAddr finds a port, and the one behind it is free, too: the telephone listens there for TLS.
func freeAddr(t *testing.T) string {
	port, err := testport.Free(2)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// start starts the program, or starts it again.
func (p *softphone) start() {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "baresip", "-f", p.dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("%v (install baresip: scripts/test-deps)", err)
	}
	ready := make(chan bool, 1)
	var read sync.WaitGroup
	var said strings.Builder
	read.Go(func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			said.WriteString(s.Text() + "\n")
			if strings.Contains(s.Text(), "baresip is ready") {
				ready <- true
			}
		}
		close(ready)
	})
	p.kill = sync.OnceFunc(func() {
		cancel()
		read.Wait()
		_ = cmd.Wait() // killed: always an error
	})
	select {
	case ok := <-ready:
		if !ok {
			p.kill()
			p.t.Fatalf("the softphone did not start:\n%s", &said)
		}
	case <-time.After(20 * time.Second):
		p.kill()
		p.t.Fatalf("the softphone does not get ready:\n%s", &said)
	}
}

// press presses keys on the phone.
func (p *softphone) press(keys string) {
	p.t.Helper()
	c, err := net.Dial("tcp", p.http)
	if err != nil {
		p.t.Fatal(err)
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "GET /?%s HTTP/1.1\r\nHost: phone\r\nConnection: close\r\n\r\n", url.QueryEscape(keys)); err != nil {
		p.t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		p.t.Fatal(err)
	}
	if s, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(s, "200") {
		p.t.Fatalf("the phone answered %q, %v", s, err)
	}
}

func (p *softphone) expect(s tel.State, d tel.Direction, other *softphone) tel.PartyDetails {
	p.t.Helper()
	got := expect(p.t, p.reports, string(s)+" tel:"+other.number)
	if got.Direction != d || got.Own.String() != "tel:"+p.number {
		p.t.Errorf("%s reports %+v", p.number, got)
	}
	return got
}

// TestPeers: two real phones call each other; each side's detector sees the whole call.
func TestPeers(t *testing.T) {
	alice, bob := newSoftphone(t, "+442079460001"), newSoftphone(t, "+442079460002")
	dial := func() {
		t.Helper()
		alice.press("dsip:" + bob.number + "@" + bob.sip)
		out, in := alice.expect(tel.Ringing, tel.Outgoing, bob), bob.expect(tel.Ringing, tel.Incoming, alice)
		if out.Ref.CallID == "" || out.Ref.CallID != in.Ref.CallID {
			t.Errorf("the sides refer to the call by %q and %q", out.Ref.CallID, in.Ref.CallID)
		}
	}
	answered := func() {
		t.Helper()
		dial()
		bob.press("a")
		alice.expect(tel.Active, tel.Outgoing, bob)
		bob.expect(tel.Active, tel.Incoming, alice)
	}
	ended := func() {
		t.Helper()
		alice.expect(tel.Ended, tel.Outgoing, bob)
		bob.expect(tel.Ended, tel.Incoming, alice)
	}

	t.Log("answered, held and resumed by the caller, hung up by the other")
	answered()
	alice.press("x")
	alice.expect(tel.Held, tel.Outgoing, bob)
	alice.press("X")
	alice.expect(tel.Active, tel.Outgoing, bob)
	bob.press("b")
	ended()

	t.Log("not answered")
	dial()
	alice.press("b")
	ended()

	t.Log("the caller's phone is killed in the call, and started again")
	answered()
	alice.kill()
	alice.start()
	alice.expect(tel.Ended, tel.Outgoing, bob)
	bob.press("b")
	bob.expect(tel.Ended, tel.Incoming, alice)

	t.Log("a detector that comes late finds the call")
	answered()
	ctx, cancel := context.WithCancel(context.Background())
	late := make(chan tel.PartyDetails, 10)
	done := make(chan error, 1)
	go func() {
		done <- New(Config{Addr: bob.ctrl, Retry: time.Hour}).Run(ctx, func(d tel.PartyDetails) { late <- d })
	}()
	expect(t, late, "active tel:"+alice.number)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	alice.press("b")
	ended()
}
