package docs_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/testport"
)

// patience is how long a command may take, and a background program to say what must come.
const patience = time.Minute

// bin is the folder of the program under test, built once.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "tandem-docs-")
	if err == nil {
		bin = dir
		var out []byte
		if out, err = exec.Command("go", "build", "-o", filepath.Join(dir, "tandem"), "../cmd/tandem").CombinedOutput(); err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "docs: build tandem:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// TestCommands runs the commands of each page in their order, in a folder of its own.
func TestCommands(t *testing.T) {
	for _, path := range pages(t) {
		blocks := parse(t, path)
		if !slices.ContainsFunc(blocks, func(b block) bool { return b.lang == "console" }) {
			continue
		}
		t.Run(strings.TrimPrefix(path, "../"), func(t *testing.T) {
			t.Parallel()
			newWorld(t).play(blocks)
		})
	}
}

// world is one reader at one machine.
type world struct {
	t        *testing.T
	dir      string
	ports    map[string]string // as on the page: as in this run
	programs map[string]*program
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), ports: map[string]string{}, programs: map[string]*program{}}
	if err := os.Symlink(bin, filepath.Join(w.dir, "bin")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for name := range w.programs {
			w.end(name)
		}
	})
	return w
}

func (w *world) play(blocks []block) {
	for _, b := range blocks {
		var background, skip string
		fails := false
		for _, d := range b.directives {
			verb, rest, _ := strings.Cut(d, " ")
			switch verb {
			case "serve":
				w.start("server", "tandem serve", strings.Fields(rest)...)
				w.await("server", "Tandem .* is at")
			case "end":
				w.end(rest)
			case "await":
				name, re, _ := strings.Cut(rest, " ")
				w.await(name, re)
			case "run":
				w.run(rest, nil, false)
			case "picture":
				w.picture(rest)
			case "file":
				w.write(rest, b.text)
			case "background":
				background = rest
			case "skip":
				skip = rest
			case "fails":
				fails = true
			case "body":
			default:
				w.t.Fatalf("line %d: no such directive: %s", b.line, d)
			}
		}
		if b.lang != "console" {
			continue
		}
		if skip != "" {
			w.t.Logf("line %d is not run: %s", b.line, skip)
			continue
		}
		list := b.commands()
		if len(list) == 0 {
			w.t.Errorf("line %d: a console block without a command ($ …)", b.line)
		}
		for i, c := range list {
			if background != "" {
				w.start(background, c.text)
				continue
			}
			w.run(c.text, c.output, fails && i == len(list)-1)
		}
	}
}

var localAddress = regexp.MustCompile(`127\.0\.0\.1:(\d+)`)

// local gives each address of a page a free port in its place, so that pages can show
// the default ones.
func (w *world) local(s string) string {
	return localAddress.ReplaceAllStringFunc(s, func(addr string) string {
		port, ok := w.ports[addr]
		if !ok {
			port = freePort(w.t)
			w.ports[addr] = port
		}
		return "127.0.0.1:" + port
	})
}

func freePort(t *testing.T) string {
	port, err := testport.Free(2) // a softphone takes the next one for TLS
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}

func (w *world) command(ctx context.Context, text string, environ ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "sh", "-c", "exec 2>&1; "+w.local(text))
	c.Dir = w.dir
	c.Env = append([]string{
		"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + w.dir, "TMPDIR=" + os.TempDir(),
		"TANDEM_SERVER=" + w.local("http://127.0.0.1:8080"),
	}, environ...)
	c.WaitDelay = time.Second
	return c
}

// run runs a command and compares what it prints with the page. An enrolment gets the
// code that the server printed, as from a person.
func (w *world) run(text string, want []string, fails bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := w.command(ctx, text)
	out := &buffer{change: make(chan struct{})}
	c.Stdout = out
	var typed sync.WaitGroup
	if strings.Contains(text, "device enrol") {
		stdin, err := c.StdinPipe()
		if err != nil {
			w.t.Fatal(err)
		}
		server := w.program("server")
		server.out.skip(codeLine)
		typed.Go(func() {
			defer stdin.Close()
			line := server.out.await(ctx, codeLine, server.done)
			out.prompt(ctx, "Code: ")
			if m := codeLine.FindStringSubmatch(line); m != nil {
				out.Write([]byte(m[1] + "\n")) // as a terminal shows what is typed
				io.WriteString(stdin, m[1]+"\n")
			}
		})
	}
	err := c.Run()
	cancel()
	typed.Wait()
	if fails != (err != nil) {
		w.t.Fatalf("$ %s\n%s\nunexpected outcome: %v", text, out, err)
	}
	if got := strings.Split(strings.TrimRight(out.String(), "\n"), "\n"); len(want) > 0 && !matches(normal(w.local, want), normal(nil, got)) {
		w.t.Errorf("$ %s\nthe page shows:\n\t%s\nit prints:\n\t%s", text, strings.Join(want, "\n\t"), strings.Join(got, "\n\t"))
	}
}

var codeLine = regexp.MustCompile(`code for .*: (\d{6})`)

// varies is what differs from run to run: ids, codes, times, sizes.
var varies = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\b(dev|s|inv|f)_[\w-]+…?`), "$1_ID"},
	{regexp.MustCompile(`\btdm_\w+`), "tdm_KEY"},
	{regexp.MustCompile(`\b[A-Z2-7]{26}\b`), "ID"},
	{regexp.MustCompile(`\b\d+:[0-9a-f]{16,64}…?`), "ANCHOR"},
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d([T ][\d:.]+Z?)?`), "DATE"},
	{regexp.MustCompile(`\b\d{1,2} [A-Z][a-z]+ \d{4}\b`), "DATE"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d\b`), "TIME"},
	{regexp.MustCompile(`\b[\d.]+(ms|µs|s)\b`), "TIME"},
	{regexp.MustCompile(`\b[\d.]+ (kB|MB|bytes)\b`), "SIZE"},
	{regexp.MustCompile(`(code for \+\d+:|Code:) \d{6}`), "$1 CODE"},
	{regexp.MustCompile(`Tandem \S+ is`), "Tandem VERSION is"},
	{regexp.MustCompile(`\b(records|last change|at least|counters|up to): ?\d+`), "$1: N"},
	{regexp.MustCompile(`\b(at least|up to) \d+`), "$1 N"},
	{regexp.MustCompile(`with \d+ entries`), "with N entries"},
	{regexp.MustCompile(`in \d+ table files`), "in N table files"},
	{regexp.MustCompile(`\s+`), " "},
}

func normal(local func(string) string, lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		if local != nil {
			l = local(l)
		}
		for _, v := range varies {
			l = v.re.ReplaceAllString(l, v.with)
		}
		out[i] = strings.TrimSpace(l)
	}
	return out
}

// matches compares lines; "…" alone on a line of the page stands for any lines, within
// one for any text.
func matches(want, got []string) bool {
	if len(want) == 0 {
		return len(got) == 0
	}
	if want[0] == "…" {
		for i := range len(got) + 1 {
			if matches(want[1:], got[i:]) {
				return true
			}
		}
		return false
	}
	if len(got) == 0 {
		return false
	}
	parts := strings.Split(want[0], "…")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile("^"+strings.Join(parts, ".*")+"$").MatchString(got[0]) && matches(want[1:], got[1:])
}

func (w *world) write(name, text string) {
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(w.local(text)), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) picture(name string) {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 64, 48))); err != nil {
		w.t.Fatal(err)
	}
	w.write(name, b.String())
}

// program runs in the background.
type program struct {
	cmd  *exec.Cmd
	out  *buffer
	done chan struct{} // closed when it has ended
}

func (w *world) program(name string) *program {
	p := w.programs[name]
	if p == nil {
		w.t.Fatalf("no program %q was started", name)
	}
	return p
}

func (w *world) start(name, text string, environ ...string) {
	w.t.Helper()
	if strings.Contains(text, "tandem serve") {
		environ = append(environ, "TANDEM_LISTEN="+w.local("127.0.0.1:8080"), "TANDEM_SIP_LISTEN="+w.local("127.0.0.1:5060"))
	}
	p := &program{
		cmd: w.command(context.Background(), "exec "+text, environ...),
		out: &buffer{change: make(chan struct{})}, done: make(chan struct{}),
	}
	p.cmd.Stdout = p.out
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in its output
		close(p.done)
	}()
	w.programs[name] = p
}

func (w *world) await(name, re string) {
	w.t.Helper()
	p := w.program(name)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if p.out.await(ctx, regexp.MustCompile(re), p.done) == "" {
		for other, p := range w.programs {
			w.t.Logf("%s said:\n%s", other, p.out)
		}
		w.t.Fatalf("%s did not say %s", name, re)
	}
}

func (w *world) end(name string) {
	p := w.program(name)
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
		w.t.Errorf("%s did not end; it said:\n%s", name, p.out)
	}
	delete(w.programs, name)
}

// buffer keeps what a program prints; each line is awaited once.
type buffer struct {
	mu     sync.Mutex
	b      []byte
	taken  int
	change chan struct{}
}

func (o *buffer) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b = append(o.b, p...)
	close(o.change)
	o.change = make(chan struct{})
	return len(p), nil
}

func (o *buffer) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.b)
}

// next takes the next whole line that matches; change tells when there may be more.
func (o *buffer) next(re *regexp.Regexp) (line string, change chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for at := o.taken; ; {
		l, _, whole := bytes.Cut(o.b[at:], []byte("\n"))
		if !whole {
			return "", o.change
		}
		at += len(l) + 1
		if re.Match(l) {
			o.taken = at
			return string(l), nil
		}
	}
}

// prompt waits for an unfinished line that ends so.
func (o *buffer) prompt(ctx context.Context, end string) {
	for {
		o.mu.Lock()
		there, change := bytes.HasSuffix(o.b, []byte(end)), o.change
		o.mu.Unlock()
		if there {
			return
		}
		select {
		case <-change:
		case <-ctx.Done():
			return
		}
	}
}

func (o *buffer) skip(re *regexp.Regexp) {
	for line, _ := o.next(re); line != ""; line, _ = o.next(re) {
	}
}

func (o *buffer) await(ctx context.Context, re *regexp.Regexp, done <-chan struct{}) string {
	for {
		line, change := o.next(re)
		if line != "" {
			return line
		}
		select {
		case <-change:
		case <-done:
			line, _ := o.next(re)
			return line
		case <-ctx.Done():
			return ""
		}
	}
}
