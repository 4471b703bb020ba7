package spec

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tandem-call/tandem/internal/testpeer"
)

// startLinphone starts a real softphone that understands attended transfer (REFER with Replaces),
// which baresip does not. The command phone types at it.
func startLinphone(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: linphone NAME NUMBER REGISTRAR")
	}
	name, number, at := args[0], args[1], args[2]
	dir := filepath.Join(worldOf(ts).work, name)
	file, err := testpeer.Linphone(dir, number+"@"+at, at, "")
	ts.Check(err)
	cmd := exec.Command("linphonec", "-c", file, "-S")
	cmd.Env = append(environ(ts), "HOME="+dir)
	in, err := cmd.StdinPipe()
	ts.Check(err)
	p := launch(ts, name, cmd)
	p.in = in
	p.typed(ts, "soundcard use files")
	for registered := false; !registered; time.Sleep(50 * time.Millisecond) { // it tells only when it is asked
		p.typed(ts, "status register")
		line := p.await(regexp.MustCompile(`registered[,=]`))
		if line == "" {
			ts.Fatalf("the softphone %s did not register (scripts/test-deps installs it); it said:\n%s", name, p.text())
		}
		registered = strings.Contains(line, "registered,")
	}
}

// typed gives a program a line, as its user would.
func (p *program) typed(ts *testscript.TestScript, line string) {
	_, err := fmt.Fprintln(p.in, line)
	ts.Check(err)
}
