//go:build peers

package sip

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/testpeer"
	"github.com/tandem-call/tandem/internal/testport"
)

// freePort finds one for a program that is started.
func freePort(t *testing.T) int {
	t.Helper()
	port, err := testport.Free(1)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// startPeer starts a real program, and ends it with the test.
func startPeer(t *testing.T, name string, args ...string) (wait func() error, said func() string) {
	t.Helper()
	var out bytes.Buffer
	var mu sync.Mutex
	ctx, cancel := context.WithCancel(context.Background())
	// Kamailio does not always end when it is told to; timeout(1) then kills it, and its children.
	cmd := exec.CommandContext(ctx, "timeout", append([]string{"-k", "3", "600", name}, args...)...)
	cmd.Stdout, cmd.Stderr = &locked{&mu, &out}, &locked{&mu, &out}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	cmd.Dir = t.TempDir()
	cmd.SysProcAttr = withUs(syscall.SIGTERM)
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (scripts/test-deps installs it)", err)
	}
	wait = sync.OnceValue(cmd.Wait)
	said = func() string {
		mu.Lock()
		defer mu.Unlock()
		return out.String()
	}
	t.Cleanup(func() {
		cancel()
		_ = wait()                                          // it was told to end
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what of it has not, such as Kamailio's children
	})
	return wait, said
}

// withUs has a program, which gets a process group of its own, end with the test's process, also
// where that is killed. The signal comes when the thread that started it ends (prctl(2),
// PR_SET_PDEATHSIG), which Go's own do not.
func withUs(signal syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: signal}
}

type locked struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func scenario(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs("testdata/peers/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// sippSide is a real SIPp that does what a scenario says.
type sippSide struct {
	wait func() error
	said func() string
}

func startSIPp(t *testing.T, file string, port int, transport string, more ...string) sippSide {
	t.Helper()
	args := []string{"-sf", scenario(t, file), "-i", "127.0.0.1", "-p", strconv.Itoa(port), "-nostdin", "-t", transport, "-timeout", "60s", "-trace_err"}
	wait, said := startPeer(t, "sipp", append(args, more...)...)
	return sippSide{wait, said}
}

// startCalled starts a SIPp that is called, and waits until it can be.
func startCalled(t *testing.T, file string, port int, transport string, more ...string) sippSide {
	t.Helper()
	called := startSIPp(t, file, port, transport, more...)
	table, state := "/proc/net/udp", "07"
	if transport == "t1" {
		table, state = "/proc/net/tcp", "0A"
	}
	bound := regexp.MustCompile(fmt.Sprintf(`(?m)^ *\d+: 0100007F:%04X [0-9A-F:]+ %s `, port, state))
	for until := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		all, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		if bound.Match(all) {
			return called
		}
		if time.Now().After(until) {
			t.Fatalf("SIPp does not listen:\n%s", called.said())
		}
	}
}

// sippCalls makes calls to a user by way of an address, and waits for their end.
func sippCalls(t *testing.T, file, by string, calls int, transport, user string, called ...sippSide) {
	t.Helper()
	numbers := filepath.Join(t.TempDir(), "numbers.csv")
	rows := "SEQUENTIAL\n"
	for i := range calls {
		rows += fmt.Sprintf("%04d;\n", 1000+i)
	}
	if err := os.WriteFile(numbers, []byte(rows), 0o600); err != nil {
		t.Fatal(err)
	}
	caller := startSIPp(t, file, freePort(t), transport, "-m", strconv.Itoa(calls), "-s", user, "-inf", numbers, "-r", "100", by)
	if err := caller.wait(); err != nil {
		said := ""
		for _, c := range called {
			said += "\nthe called:\n" + c.said()
		}
		t.Fatalf("the caller: %v\n%s%s", err, caller.said(), said)
	}
}

// sipp makes calls between two real SIPp programs, by way of an address.
func sipp(t *testing.T, called int, by string, calls int, transport, user string) {
	t.Helper()
	sippCalls(t, "caller.xml", by, calls, transport, user, startCalled(t, "called.xml", called, transport))
}

// sippPhone is a SIPp that answers for a user, as often as it is told.
func (w *world) sippPhone(user, file string, calls int) sippSide {
	w.t.Helper()
	port := freePort(w.t)
	w.registered(user, fmt.Sprintf("<sip:%s@127.0.0.1:%d>", user, port))
	return startCalled(w.t, file, port, "u1", "-s", user, "-m", strconv.Itoa(calls))
}

// registered binds a contact to a user, as the phone there would.
func (w *world) registered(user, contact string) {
	a := w.newAgent(user, "UDP")
	a.contact = contact
	a.register()
}

// count collects reports until as many legs have ended, and tells how many were in each state, and
// how many ("legs") there were in all. A state that was over before its report was taken is not
// reported: the queue keeps the newest of each leg. Only of their ends none is missing.
func (w *world) count(ended int) map[string]int {
	w.t.Helper()
	got := map[string]int{}
	seen, legs := map[string]bool{}, map[string]bool{}
	timeout := time.After(patience)
	for got["ended"] < ended {
		select {
		case r := <-w.reports:
			if key := r.Ref.Local + string(r.State); !seen[key] {
				seen[key] = true
				got[string(r.State)]++
				if legs[r.Ref.Local] = true; len(legs) > got["legs"] {
					got["legs"]++
				}
			}
		case <-timeout:
			w.t.Fatalf("reported: %v, %+v", got, w.e.Stats())
		}
	}
	return got
}

// TestSIPp: 100 calls between real SIPp programs, over UDP and TCP, with odd header fields, each
// held and ended; SIPp fails on anything that it does not expect.
func TestSIPp(t *testing.T) {
	const calls = 100
	for transport, name := range map[string]string{"u1": "udp", "t1": "tcp"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.T1 = 500 * time.Millisecond })
			called := freePort(t)
			w.registered(bob, fmt.Sprintf("<sip:called@127.0.0.1:%d;transport=%s>", called, name))
			sipp(t, called, w.addr.String(), calls, transport, bob)
			got := w.count(2 * calls)
			if got["ended"] != 2*calls {
				t.Errorf("%v", got)
			}
		})
	}
}

// TestSIPpFork: two SIPp phones of one number ring; one answers each call, the other one is
// cancelled.
func TestSIPpFork(t *testing.T) {
	const calls = 30
	w := newWorld(t, func(c *Config) { c.T1 = 500 * time.Millisecond })
	rings, answers := w.sippPhone(bob, "rings.xml", calls), w.sippPhone(bob, "called.xml", calls)
	sippCalls(t, "caller.xml", w.addr.String(), calls, "u1", bob, rings, answers)
	if err := rings.wait(); err != nil {
		t.Errorf("the phone that rang: %v\n%s", err, rings.said())
	}
	if got := w.count(2 * calls); got["legs"] != 2*calls {
		t.Errorf("%v", got)
	}
}

// TestSIPpTransfer: a SIPp transfers its callers to another one by REFER: those who speak on have
// legs of their own, and the first ones end.
func TestSIPpTransfer(t *testing.T) {
	const calls = 30
	w := newWorld(t, func(c *Config) { c.T1 = 500 * time.Millisecond })
	transfers, answers := w.sippPhone(bob, "transfers.xml", calls), w.sippPhone(carol, "answers.xml", calls)
	sippCalls(t, "transferred.xml", w.addr.String(), calls, "u1", bob, transfers, answers)
	for _, phone := range []sippSide{transfers, answers} {
		if err := phone.wait(); err != nil {
			t.Errorf("a phone: %v\n%s", err, phone.said())
		}
	}
	if got := w.count(4 * calls); got["legs"] != 4*calls {
		t.Errorf("%v", got)
	}
}

// TestKamailio: a real proxy sends its calls through the element and gets them back, as an IMS does
// with an application server.
func TestKamailio(t *testing.T) {
	const calls = 50
	w := newWorld(t, func(c *Config) {
		c.Open, c.T1, c.Trusted = false, 500*time.Millisecond, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	proxy, phone := freePort(t), freePort(t)
	kamailio(t, "kamailio.cfg", proxy, "127.0.0.1:PHONE", fmt.Sprintf("127.0.0.1:%d", phone),
		"HEADERS", w.headers(proxy, "P-Asserted-Identity: <$fu>"), "127.0.0.1:ELEMENT", w.addr.String(), "== ELEMENT", fmt.Sprintf("== %d", w.addr.Port()))
	sipp(t, phone, fmt.Sprintf("127.0.0.1:%d", proxy), calls, "u1", bob)
	if got := w.count(2 * calls); got["ended"] != 2*calls {
		t.Errorf("%v", got)
	}
}

// headers are Kamailio's statements that lead a call through the element and back to itself, and
// add header fields.
func (w *world) headers(proxy int, more ...string) string {
	all := append([]string{fmt.Sprintf("Route: <sip:%s;lr>", w.addr), fmt.Sprintf("Route: <sip:127.0.0.1:%d;lr>", proxy)}, more...)
	text := ""
	for _, h := range all {
		text += fmt.Sprintf("append_hf(\"%s\\r\\n\");\n", h)
	}
	return text
}

// kamailio starts a real proxy with a configuration, in which words are replaced, and waits for it.
func kamailio(t *testing.T, name string, port int, replace ...string) {
	t.Helper()
	b, err := os.ReadFile("testdata/peers/" + name)
	if err != nil {
		t.Fatal(err)
	}
	modules, err := testpeer.KamailioModules()
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(append(replace, "MODULES", modules, "127.0.0.1:PROXY", fmt.Sprintf("127.0.0.1:%d", port))...).Replace(string(b))
	cfg := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(cfg, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, said := startPeer(t, "kamailio", "-DD", "-E", "-f", cfg, "-Y", t.TempDir())
	ready(t, port, said)
}

// TestKamailioPresence: a real presence server publishes the calls that go through its proxy, and
// the element, which carries none of them, reports both sides by what it is told.
func TestKamailioPresence(t *testing.T) {
	tables := t.TempDir()
	if err := os.CopyFS(tables, os.DirFS("/usr/share/kamailio/dbtext/kamailio")); err != nil {
		t.Fatalf("%v (scripts/test-deps installs kamailio)", err)
	}
	proxy, phone := freePort(t), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	kamailio(t, "presence.cfg", proxy, "TABLES", tables, "127.0.0.1:PHONE", phone)
	at := fmt.Sprintf("127.0.0.1:%d", proxy)
	w := newWorld(t, func(c *Config) {
		c.Watch = []string{"sip:" + alice + "@" + at, "sip:" + bob + "@" + at}
	})
	w.addr = netip.MustParseAddrPort(at) // the agents speak with the proxy
	a, b := w.newAgent(alice, "UDP"), w.newAgentAt(bob, "UDP", phone)
	a.domain, b.domain = at, at
	watched(t, w)
	for range 2 { // the second call is told in the same subscription
		invite := a.tell(a.ask("INVITE", "sip:"+bob+"@"+at, b.aor()))
		got := b.request("INVITE")
		b.reply(got, 180)
		a.answer("INVITE", 180)
		w.legs(alice+" outgoing ringing", bob+" incoming ringing")
		answer := b.reply(got, 200)
		ok := a.answer("INVITE", 200)
		caller, callee := a.calling(invite, ok), b.called(got, answer)
		ack := caller.ask("ACK")
		n, _ := invite.cseq()
		ack.Set(CSeq, fmt.Sprintf("%d ACK", n))
		a.tell(ack)
		b.request("ACK")
		legs := w.legs(alice+" outgoing active", bob+" incoming active")
		if r := legs[alice+" outgoing active"]; r.Other != identityOf(t, bob) || r.Ref.CallID != invite.Get(CallID) {
			t.Errorf("%+v", r)
		}
		if r := legs[bob+" incoming active"]; r.Other != identityOf(t, alice) || r.Ref.CallID != invite.Get(CallID) {
			t.Errorf("%+v", r)
		}
		b.tell(callee.ask("BYE"))
		a.reply(a.request("BYE"), 200)
		b.answer("BYE", 200)
		w.legs(alice+" outgoing ended", bob+" incoming ended")
	}
}

// watched waits until the element has been told of each user's calls.
func watched(t *testing.T, w *world) {
	t.Helper()
	for end := time.Now().Add(patience); w.e.Stats().Watched < int64(len(w.e.cfg.Watch)); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it is not told of the calls: %+v", w.e.Stats())
		}
	}
}

// ready waits until a UDP port answers OPTIONS.
func ready(t *testing.T, port int, said func() string) {
	t.Helper()
	c, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m := &Message{Method: "OPTIONS", URI: "sip:127.0.0.1"}
	m.Add(Via, fmt.Sprintf("SIP/2.0/UDP %s;branch=%sready;rport", c.LocalAddr(), cookie))
	m.Add(From, "<sip:ready@127.0.0.1>;tag=1")
	m.Add(To, "<sip:127.0.0.1>")
	m.Add(CallID, "ready")
	m.Add(CSeq, "1 OPTIONS")
	m.Add(MaxForwards, "70")
	buf := make([]byte, maxMessage)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		_, _ = c.Write(m.Encode()) // nobody may listen yet
		_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if n, err := c.Read(buf); err == nil && n > 0 {
			return
		}
	}
	t.Fatalf("it does not get ready:\n%s", said())
}

// TestTshark: an independent decoder reads all that the element sends, and finds nothing
// malformed.
func TestTshark(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Open, c.Trusted = false, []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}
	})
	a, b, pbx := w.newAgent(alice, "UDP"), w.newAgent(bob, "TCP"), w.newAgentAt(carol, "UDP", "127.0.0.2:0")
	var sent [][]byte
	for _, x := range []*agent{a, b} {
		user, in := x.user, x.in
		x.password = func() (string, string) {
			name, password, _ := w.e.Credential(user, "", time.Now())
			return name, password
		}
		x.in = make(chan *Message, 1000)
		go func() {
			for m := range in {
				x.in <- m
			}
		}()
		t.Cleanup(func() { close(in) })
	}
	keep := func(m *Message) *Message { sent = append(sent, m.Encode()); return m }
	keep(a.register())
	keep(b.register())
	headers := []string{
		"Session-ID", "ab30317f1a784dc48ff824d0d3715d86;remote=00000000000000000000000000000000",
		"Session-Expires", "1800;refresher=uac",
	}
	invite := a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", b.aor(), headers...))
	res := keep(a.answer("INVITE", 407))
	a.tell(ackOf(invite, res))
	invite = a.tell(a.again(invite, res))
	got := keep(b.request("INVITE"))
	b.reply(got, 180)
	keep(a.answer("INVITE", 180))
	answer := b.reply(got, 200)
	ok := keep(a.answer("INVITE", 200))
	caller, callee := a.calling(invite, ok), b.called(got, answer)
	ack := caller.ask("ACK")
	n, _ := invite.cseq()
	ack.Set(CSeq, fmt.Sprintf("%d ACK", n))
	a.tell(ack)
	keep(b.request("ACK"))
	b.tell(callee.ask("BYE"))
	a.reply(keep(a.request("BYE")), 200)
	keep(b.answer("BYE", 200))
	a.tell(a.ask("OPTIONS", "sip:example.com", "<sip:example.com>"))
	keep(a.answer("OPTIONS", 200))
	a.tell(a.ask("INVITE", "sip:"+carol+"@example.com", "<sip:x@example.com>", "Proxy-Require", "foo"))
	keep(a.answer("INVITE", 420))
	// Where a call was before is taken from a trusted element alone.
	history := "<sip:" + carol + "@example.com>;index=1, <sip:" + bob + "@example.com;cause=302>;index=1.1;mp=1"
	invite = pbx.tell(pbx.ask("INVITE", "sip:"+bob+"@example.com", b.aor(), append(headers, "History-Info", history)...))
	diverted := keep(b.request("INVITE"))
	b.reply(diverted, 486)
	keep(b.request("ACK"))
	pbx.tell(ackOf(invite, keep(pbx.answer("INVITE", 486))))
	// A place goes on as it came, in a body of several parts.
	invite = pbx.tell(withBody(pbx.ask("INVITE", "sip:"+bob+"@example.com", b.aor(), append(headers, yesOf("cell@ims.example")...)...),
		sdpBody, partOf("cell@ims.example", pidfAt(51.5, -0.12, "yes"))))
	located := keep(b.request("INVITE"))
	b.reply(located, 486)
	keep(b.request("ACK"))
	pbx.tell(ackOf(invite, keep(pbx.answer("INVITE", 486))))

	file := filepath.Join(t.TempDir(), "sent.pcap")
	w.must(os.WriteFile(file, pcap(sent), 0o600))
	out, err := exec.Command("tshark", "-r", file, "-d", "udp.port==5060,sip", "-T", "fields", "-e", "frame.protocols", "-e", "sip.CSeq.method", "-e", "_ws.malformed", "-e", "_ws.expert.message",
		"-e", "sip.Session-ID.local_uuid", "-e", "sip.History-Info", "-e", "sip.Session-Expires", "-e", "sip.Geolocation", "-e", "sip.Geolocation-Routing",
		"-e", "mime_multipart.header.content-id", "-e", "xml.cdata").Output()
	if err != nil {
		t.Fatalf("%v (scripts/test-deps installs tshark)", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(sent) {
		t.Fatalf("tshark sees %d of %d messages:\n%s", len(lines), len(sent), out)
	}
	for i, line := range lines {
		f := strings.Split(line, "\t")
		if !strings.Contains(f[0], "sip") || f[1] == "" || len(f) > 2 && strings.TrimSpace(f[2]) != "" || len(f) > 3 && strings.Contains(strings.ToLower(f[3]), "malformed") {
			t.Errorf("tshark says %q of\n%s", line, sent[i])
		}
		if told := strings.Join(f[2:], " "); bytes.HasPrefix(sent[i], []byte("INVITE")) &&
			(!strings.Contains(told, "ab30317f-1a78-4dc4-8ff8-24d0d3715d86") || !strings.Contains(told, "1800") ||
				strings.Contains(told, "index=1.1") != bytes.Equal(sent[i], diverted.Encode())) {
			t.Errorf("tshark reads %q in\n%s", told, sent[i])
		}
		if bytes.Equal(sent[i], located.Encode()) && (!strings.Contains(line, "<cid:cell@ims.example>\tyes") || !strings.Contains(line, "51.5 -0.12") ||
			!strings.Contains(f[0], "mime_multipart") || !strings.Contains(f[0], "sdp") || !strings.Contains(f[0], "xml")) {
			t.Errorf("tshark reads %q in\n%s", line, sent[i])
		}
	}
}

// pcap makes a capture file (libpcap 2.4, raw IPv4) of UDP datagrams.
func pcap(messages [][]byte) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0xa1b2c3d4)
	b = le.AppendUint16(le.AppendUint16(b, 2), 4)
	b = le.AppendUint32(le.AppendUint32(le.AppendUint32(b, 0), 0), 65535)
	b = le.AppendUint32(b, 101)
	for i, m := range messages {
		be := binary.BigEndian
		ip := []byte{0x45, 0}
		ip = be.AppendUint16(ip, uint16(28+len(m)))
		ip = append(ip, 0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1)
		udp := be.AppendUint16(be.AppendUint16(nil, 5060), 5060)
		udp = be.AppendUint16(be.AppendUint16(udp, uint16(8+len(m))), 0)
		packet := append(append(ip, udp...), m...)
		b = le.AppendUint32(le.AppendUint32(b, uint32(i)), 0)
		b = le.AppendUint32(le.AppendUint32(b, uint32(len(packet))), uint32(len(packet)))
		b = append(b, packet...)
	}
	return b
}
