package spec

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tandem-call/tandem/internal/testport"
)

// commands that a script can give:
//
//	serve [NAME=VALUE …]       start the server, with this environment (TANDEM_…), and wait until it is ready
//	port VAR                   find a free port, for what is started twice
//	enrol NAME NUMBER [ARG …]  enrol a device, with the code that the server prints
//	host NAME                  reach the server by another name of this machine from here on
//	device NAME [ARG …]        run the device in the background; its events are JSON lines
//	background NAME ARG …      run the program in the background
//	await NAME REGEXP          wait until a line of a background program's output matches; each
//	                           line is taken once, in whatever order they came
//	capture VAR[,VAR …] NAME REGEXP  await, and keep what the expression's groups matched
//	end NAME [SIGNAL]          end a background program ("server" too) and wait for it
//	baresip NAME NUMBER [REGISTRAR [TRANSPORT]]  start a softphone; $NAME_ctrl and $NAME_sip are its
//	                           addresses. With a registrar it registers there.
//	kamailio NAME FILE         start a proxy or PBX with a configuration, in which MODULES is replaced
//	linphone NAME NUMBER REGISTRAR  start another softphone, which can transfer a call to another call
//	signin NAME FILE           sign an agent in with the code or key in a file
//	phone NAME COMMAND [ARG]   give the softphone a command, as its user would: what is typed at a Linphone
//	tandem ARG …               run the program; its standard output and error can be matched
//	api METHOD PATH AS [BODY]  call the HTTP API as a device, as nobody (-), as operator, or with the
//	                           API key in a file (key:FILE); prints status and body
//	secure KEYFILE [ARG …]     call the API over TLS with curl; see secure
//	revoke KEYFILE             revoke the API key in a file
//	bearer NAME FILE           write a bearer token of the device into a file
//	provider                   start a telephone provider, with numbers from +44 20 7946 0000
//	passport VAR ORIG DEST [NAME=VALUE …]  let it vouch for a call; keep the SIP Identity header
//	pushservice NAME           start a push service for Web Push; see startPushService
//	browser NAME SERVICE       subscribe a browser; $NAME_app is its application id
//	kannel NAME TOKEN          start a text message gateway; see startKannel
//	text KANNEL FROM WORDS …   have somebody answer by text message
//	metric REGEXP              wait until a line of the server's metrics matches
//	cluster                    start three NATS servers and three nodes by scripts/cluster; $node1 to
//	                           $node3 are their addresses, the program is called server, its data
//	                           and the process ids are in cluster/
//	road NAME FROM SERVER      lay a way to a server, whose beginning is $NAME, or lead it elsewhere; its
//	                           user comes from the address FROM
//	radicale NAME              start a CardDAV server with an address book; see startRadicale
//	mailserver NAME            start a mail server, which prints what it takes; $NAME is its address
//	site NAME DIR              serve a directory's files, as somebody's web site; $NAME is its address
//	paymentserver NAME         start a payment server in miniature; see startPaymentServer
//	receiver NAME              start a receiver of webhooks; see startReceiver
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"serve": serve, "port": findPort, "enrol": enrol, "device": runDevice, "background": background, "await": await, "end": end,
	"baresip": startBaresip, "kamailio": startKamailio, "linphone": startLinphone, "phone": phone, "heard": heard, "gif": writeGIF, "tandem": run, "api": api, "capture": capture, "receiver": startReceiver,
	"radicale": startRadicale, "paymentserver": startPaymentServer, "mailserver": startMailServer, "pushservice": startPushService, "browser": subscribeBrowser, "kannel": startKannel, "text": textBack, "metric": metric,
	"host": atHost, "cluster": startCluster, "road": takeRoad, "secure": secure, "revoke": revoke, "bearer": bearer, "provider": startProvider, "signin": signIn, "passport": signPassport, "site": startSite,
}

// patience is how long a script waits for what must come.
const patience = 30 * time.Second

type worldKey struct{}

// world is what one script has started.
type world struct {
	work     string
	mu       sync.Mutex
	programs map[string]*program
	roads    map[string]*road
	provider *provider
}

// program runs in the background.
type program struct {
	name string
	cmd  *exec.Cmd
	in   io.Writer     // what is typed at it; nil but for a Linphone
	done chan struct{} // closed when it has ended

	mu     sync.Mutex
	out    []byte
	taken  map[int]bool // offsets of the lines that await has taken
	change chan struct{}
}

func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out = append(p.out, b...)
	close(p.change)
	p.change = make(chan struct{})
	return len(b), nil
}

func setup(env *testscript.Env) error {
	w := &world{work: env.WorkDir, programs: map[string]*program{}, roads: map[string]*road{}}
	env.Values[worldKey{}] = w
	env.Setenv("TANDEM_HOME", filepath.Join(env.WorkDir, "devices"))
	env.Setenv("TANDEM_DATA", filepath.Join(env.WorkDir, "data"))
	env.Setenv("PATH", filepath.Dir(tandem)+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Defer(w.stop)
	return nil
}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

// stop ends what still runs.
func (w *world) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.programs {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		select {
		case <-p.done:
		case <-time.After(10 * time.Second):
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	}
}

// start starts a program in the background under a name.
func start(ts *testscript.TestScript, name string, environ []string, path string, args ...string) *program {
	cmd := exec.Command(path, args...)
	cmd.Env = environ
	return launch(ts, name, cmd)
}

// launch starts a command as a background program.
func launch(ts *testscript.TestScript, name string, cmd *exec.Cmd) *program {
	w := worldOf(ts)
	p := &program{name: name, cmd: cmd, done: make(chan struct{}), change: make(chan struct{}), taken: map[int]bool{}}
	p.cmd.Dir = w.work
	p.cmd.Stdout, p.cmd.Stderr = p, p
	ts.Check(p.cmd.Start())
	go func() {
		_ = p.cmd.Wait() // how it ended is in its output
		close(p.done)
	}()
	w.mu.Lock()
	w.programs[name] = p
	w.mu.Unlock()
	return p
}

func (w *world) program(ts *testscript.TestScript, name string) *program {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.programs[name]
	if p == nil {
		ts.Fatalf("no program %q was started", name)
	}
	return p
}

// environ is the script's environment, with further values.
func environ(ts *testscript.TestScript, more ...string) []string {
	var env []string
	for _, k := range append([]string{"PATH", "HOME", "TMPDIR", "TANDEM_HOME", "TANDEM_DATA", "TANDEM_SERVER", "TANDEM_CA"}, clusterEnv...) {
		if v := ts.Getenv(k); v != "" {
			env = append(env, k+"="+v)
		}
	}
	return append(env, more...)
}

func freePort(ts *testscript.TestScript) int {
	port, err := testport.Free(2) // a softphone takes the next one for TLS
	ts.Check(err)
	return port
}

func findPort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: port VAR")
	}
	ts.Setenv(args[0], strconv.Itoa(freePort(ts)))
}

// serve starts the server; a second serve in a script starts it again on the same data
// and the same port.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	addr := strings.TrimPrefix(strings.TrimPrefix(ts.Getenv("TANDEM_SERVER"), "http://"), "https://")
	if addr == "" {
		addr = "127.0.0.1:" + strconv.Itoa(freePort(ts))
	}
	ts.Setenv("TANDEM_SERVER", "http://"+addr)
	command, env := []string{tandem, "serve", "--data", ts.Getenv("TANDEM_DATA"), "--listen", addr}, environ(ts, args...)
	if nodes := ts.Getenv(fleetNodes); nodes != "" {
		self, err := os.Executable()
		ts.Check(err)
		command, env = append([]string{self}, command...), append(env, fleetNodes+"="+nodes)
	}
	p := start(ts, "server", env, command[0], command[1:]...)
	line := p.await(regexp.MustCompile(`Tandem .* is at .*`))
	if neg == (line != "") {
		ts.Fatalf("serve: unexpected outcome:\n%s", p.text())
	}
}

// atHost changes the host in the server's address.
func atHost(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: host NAME")
	}
	addr := ts.Getenv("TANDEM_SERVER")
	ts.Setenv("TANDEM_SERVER", "http://"+args[0]+addr[strings.LastIndexByte(addr, ':'):])
}

func (p *program) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.out)
}

// await takes the first line that matches and was not taken before; "" when the program
// ended or patience did.
func (p *program) await(re *regexp.Regexp) string {
	timeout := time.After(patience)
	for ended := false; ; {
		p.mu.Lock()
		line, change := p.take(re, ended), p.change
		p.mu.Unlock()
		if line != "" || ended {
			return line
		}
		select {
		case <-change:
		case <-p.done:
			ended = true
		case <-timeout:
			return ""
		}
	}
}

// take looks through the whole lines, or all when the program has ended. p.mu is held.
func (p *program) take(re *regexp.Regexp, ended bool) string {
	for at := 0; at < len(p.out); {
		line, _, whole := bytes.Cut(p.out[at:], []byte("\n"))
		if (whole || ended) && !p.taken[at] && re.Match(line) {
			p.taken[at] = true
			return string(line)
		}
		at += len(line) + 1
	}
	return ""
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: await NAME REGEXP")
	}
	p := worldOf(ts).program(ts, args[0])
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	if neg {
		if re.MatchString(p.text()) {
			ts.Fatalf("%s has said what it should not:\n%s", args[0], p.text())
		}
		return
	}
	line := p.await(re)
	if line == "" {
		ts.Fatalf("%s did not say %s; it said:\n%s", args[0], args[1], p.text())
	}
	fmt.Fprintln(ts.Stdout(), line)
}

func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: capture VAR NAME REGEXP")
	}
	re, err := regexp.Compile(args[2])
	ts.Check(err)
	p := worldOf(ts).program(ts, args[1])
	m := re.FindStringSubmatch(p.await(re))
	vars := strings.Split(args[0], ",")
	if len(m) != len(vars)+1 {
		ts.Fatalf("%s did not say %s; it said:\n%s", args[1], args[2], p.text())
	}
	for i, v := range vars {
		ts.Setenv(v, m[i+1])
	}
}

func end(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: end NAME [SIGNAL]")
	}
	sig := syscall.SIGTERM
	if len(args) == 2 && args[1] == "KILL" {
		sig = syscall.SIGKILL
	}
	p := worldOf(ts).program(ts, args[0])
	ts.Check(p.cmd.Process.Signal(sig))
	select {
	case <-p.done:
	case <-time.After(patience):
		ts.Fatalf("%s did not end; it said:\n%s", args[0], p.text())
	}
}

// enrol takes the code from the server's terminal, as a person would.
func enrol(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: enrol NAME NUMBER [ARG …]")
	}
	server := worldOf(ts).program(ts, "server")
	code := regexp.MustCompile(`code for .*: (\d{6})`)
	server.mu.Lock()
	for server.take(code, false) != "" { // of enrolments that were left
	}
	server.mu.Unlock()
	cmd := exec.Command(tandem, append([]string{"device", "enrol", "--as", args[0], "--number", args[1]}, args[2:]...)...)
	cmd.Env = environ(ts)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	stdin, err := cmd.StdinPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	said := make(chan string, 1)
	go func() { said <- server.await(code) }()
	select {
	case line := <-said:
		if m := code.FindStringSubmatch(line); m != nil {
			fmt.Fprintln(stdin, m[1])
		}
		stdin.Close()
		err = <-ended
	case err = <-ended:
	}
	fmt.Fprint(ts.Stdout(), out.String())
	if (err != nil) != neg {
		ts.Fatalf("enrol: %v\n%s", err, out.String())
	}
}

// signIn takes the code from a file, since no script knows it beforehand.
func signIn(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: signin NAME FILE")
	}
	run(ts, neg, []string{"console", "sign-in", "--as", args[0], strings.TrimSpace(ts.ReadFile(args[1]))})
}

func runDevice(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: device NAME [ARG …]")
	}
	p := start(ts, args[0], environ(ts), tandem, append([]string{"device", "run", "--json", "--as", args[0]}, args[1:]...)...)
	if p.await(regexp.MustCompile(`"event":"connected"`)) == "" {
		ts.Fatalf("device %s did not connect; it said:\n%s", args[0], p.text())
	}
}

func background(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: background NAME ARG …")
	}
	start(ts, args[0], environ(ts), tandem, args[1:]...)
}

// run runs the program; stdout, stderr and cmp look at what it printed.
func run(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec(tandem, args...)
	if neg == (err == nil) {
		ts.Fatalf("tandem %s: unexpected outcome: %v", strings.Join(args, " "), err)
	}
}

// writeGIF writes a picture of just so many bytes: one pixel, and data that no picture needs.
func writeGIF(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: gif NAME BYTES")
	}
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	b := []byte("GIF89a\x01\x00\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02")
	const end = 2 // that of the data, and the trailer
	for left := size - end - len(b); left > 1; left = size - end - len(b) {
		n := min(left-1, 255)
		if left-1-n == 1 {
			n-- // a block has its length and a byte at least
		}
		b = append(append(b, byte(n)), make([]byte, n)...)
	}
	b = append(b, 0, ';')
	if len(b) != size {
		ts.Fatalf("no GIF has %d bytes", size)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o644))
}
