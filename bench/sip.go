package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-call/tandem/internal/edge/network/sip"
	"github.com/tandem-call/tandem/internal/testpeer"
	"github.com/tandem-call/tandem/internal/testport"
)

// sipPath is what calls go through: nothing, Kamailio, or Tandem's element in its own process.
type sipPath struct {
	name, title string
	// start returns the address that calls go to.
	start func(b *bench, called string) (addr string, stop func() error, err error)
}

var sipPaths = []sipPath{
	{"direct", "SIPp to SIPp, nothing between", func(_ *bench, called string) (string, func() error, error) {
		return called, func() error { return nil }, nil
	}},
	{"kamailio", "Kamailio, record-routing, one process", startKamailio},
	{"element", "Tandem's SIP element, reporting both legs", startElement},
}

// sipUnderWay is how many calls are under way at once, while as many are made as can be.
const sipUnderWay = 50

// inPath compares calls through the SIP element with calls through Kamailio: INVITE, 180, 200, ACK,
// re-INVITE, BYE, between two SIPp over UDP on one machine. The delay is that of calls one after the
// other, from INVITE to 180, by a caller of ours: SIPp's clock has steps of some ms.
func inPath(b *bench) error {
	for round := range b.rounds {
		for i := range sipPaths {
			p := sipPaths[(i+round)%len(sipPaths)] // each is first in turn
			b.progress("sip: round %d, %s", round+1, p.name)
			if err := p.measure(b); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
		direct := b.figures["direct p50"][round]
		for _, p := range sipPaths {
			b.add(p.name+" added", b.figures[p.name+" p50"][round]-direct)
		}
	}
	b.printf("### Calls through the SIP element, beside Kamailio\n\n")
	b.row("way", "calls/s", "to Kamailio", "INVITE to 180, µs: p50", "p99", "added to p50", "to Kamailio")
	for _, p := range sipPaths {
		b.row(p.title, b.figure(p.name+" calls/s", 0), b.ratio(p.name+" calls/s", "kamailio calls/s"),
			b.figure(p.name+" p50", 0), b.figure(p.name+" p99", 0), b.figure(p.name+" added", 0), b.ratio(p.name+" added", "kamailio added"))
	}
	b.endTable()
	return nil
}

func (p sipPath) measure(b *bench) (err error) {
	port, err := testport.Free(1)
	if err != nil {
		return err
	}
	called := fmt.Sprintf("127.0.0.1:%d", port)
	answering := exec.Command("sipp", append(sippArgs("called.xml", port), "-timeout", "600s")...)
	answering.Dir = b.dir
	if err := answering.Start(); err != nil {
		return fmt.Errorf("%w (scripts/test-deps installs sipp)", err)
	}
	defer func() {
		_ = answering.Process.Kill()
		_ = answering.Wait() // it was killed
	}()
	addr, stop, err := p.start(b, called)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if _, err := sippCalls(b, addr, max(10, b.pairs/2)); err != nil { // all is warm
		return err
	}
	calls := 15 * b.pairs
	took, err := sippCalls(b, addr, calls)
	if err != nil {
		return err
	}
	b.add(p.name+" calls/s", float64(calls)/took.Seconds())
	return p.delay(b)
}

// delay measures how long a caller waits until it rings, on a way that carries nothing else.
func (p sipPath) delay(b *bench) (err error) {
	called, err := newRinging()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, called.stop()) }()
	addr, stop, err := p.start(b, called.LocalAddr().String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if _, err := setUps(addr, 50); err != nil { // all is warm
		return err
	}
	waits, err := setUps(addr, 2*b.pairs)
	if err != nil {
		return err
	}
	b.add(p.name+" p50", quantile(slices.Clone(waits), 0.5))
	b.add(p.name+" p99", quantile(waits, 0.99))
	return nil
}

const sipScenarios = "../internal/edge/network/sip/testdata/peers"

func sippArgs(scenario string, port int) []string {
	file, _ := filepath.Abs(filepath.Join(sipScenarios, scenario)) // fails only without a working directory
	return []string{"-sf", file, "-i", "127.0.0.1", "-p", strconv.Itoa(port), "-nostdin", "-t", "u1", "-buff_size", "4194304"}
}

// sippCalls makes calls as fast as they go.
func sippCalls(b *bench, addr string, calls int) (took time.Duration, err error) {
	port, err := testport.Free(1)
	if err != nil {
		return 0, err
	}
	numbers := filepath.Join(b.dir, "numbers.csv")
	var rows strings.Builder
	rows.WriteString("SEQUENTIAL\n")
	for i := range 9000 {
		fmt.Fprintf(&rows, "%04d;\n", 1000+i)
	}
	if err := os.WriteFile(numbers, []byte(rows.String()), 0o600); err != nil {
		return 0, err
	}
	cmd := exec.Command("sipp", append(sippArgs("caller.xml", port), "-m", strconv.Itoa(calls), "-s", "+442079460002", "-inf", numbers, "-timeout", "300s",
		"-r", "100000", "-l", strconv.Itoa(sipUnderWay), addr)...)
	cmd.Dir = b.dir
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("sipp: %w: …%s", err, out[max(0, len(out)-3000):])
	}
	return time.Since(start), nil
}

func startKamailio(b *bench, called string) (string, func() error, error) {
	port, err := testport.Free(1)
	if err != nil {
		return "", nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	modules, err := testpeer.KamailioModules()
	if err != nil {
		return "", nil, err
	}
	cfg := filepath.Join(b.dir, "kamailio.cfg")
	if err := os.WriteFile(cfg, []byte(strings.NewReplacer("MODULES", modules, "PROXY", addr, "CALLED", called).Replace(kamailioConfig)), 0o600); err != nil {
		return "", nil, err
	}
	cmd := exec.Command("kamailio", "-DD", "-E", "-m", "256", "-f", cfg, "-Y", b.dir)
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("%w (scripts/test-deps installs kamailio)", err)
	}
	stop := func() error {
		err := cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait() // it was told to end
		return err
	}
	if err := answersOptions(addr); err != nil {
		return "", nil, errors.Join(err, stop())
	}
	return addr, stop, nil
}

// answersOptions waits until something answers SIP there.
func answersOptions(addr string) error {
	c, err := net.Dial("udp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	buf := make([]byte, 65536)
	for end := time.Now().Add(late); time.Now().Before(end); {
		_, _ = fmt.Fprintf(c, "OPTIONS sip:%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bKready;rport\r\nMax-Forwards: 70\r\nFrom: <sip:bench@127.0.0.1>;tag=1\r\n"+
			"To: <sip:%s>\r\nCall-ID: ready\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n", addr, c.LocalAddr(), addr) // nobody may listen yet
		_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if n, err := c.Read(buf); err == nil && n > 0 {
			return nil
		}
	}
	return errors.New("nothing answers at " + addr)
}

// kamailioConfig has one process that reads: with more, an ACK and the request after it change places
// now and then, and SIPp gives the call up.
const kamailioConfig = `#!KAMAILIO
debug=0
log_stderror=yes
fork=yes
children=1
disable_tcp=yes
listen=udp:PROXY
mpath="MODULES"
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "siputils.so"
request_route {
	t_check_trans();
	if (has_totag()) {
		if (loose_route()) t_relay();
		exit;
	}
	if (!is_method("INVITE")) {
		sl_send_reply("200", "OK");
		exit;
	}
	record_route();
	$du = "sip:CALLED";
	t_relay();
}
`

// startElement runs the element in this process. Its reports are taken at once.
func startElement(_ *bench, called string) (string, func() error, error) {
	e, err := sip.New(sip.Config{
		Domain: "127.0.0.1", Listen: "127.0.0.1:0", NextHop: "sip:" + called, Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Report: func(context.Context, sip.Report) error { return nil },
	})
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	return fmt.Sprintf("127.0.0.1:%d", e.Port("UDP")), func() error { cancel(); return <-done }, nil
}
