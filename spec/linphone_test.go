package spec

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// startLinphone starts a real softphone that understands attended transfer (REFER with Replaces),
// which baresip does not. The command phone types at it.
func startLinphone(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: linphone NAME NUMBER REGISTRAR")
	}
	name, number, at := args[0], args[1], args[2]
	dir := filepath.Join(worldOf(ts).work, name)
	ts.Check(os.MkdirAll(filepath.Join(dir, ".local/share/linphone"), 0o755)) // or else it does not start
	file := filepath.Join(dir, "linphonerc")
	ts.Check(os.WriteFile(file, fmt.Appendf(nil, `[sip]
sip_port=-2
sip_tcp_port=-2
sip_tls_port=-2
use_ipv6=0
guess_hostname=0
auto_net_state_mon=0
register_only_when_network_is_up=0
default_proxy=0
media_encryption=none
[rtp]
audio_rtp_port=-1
[proxy_0]
reg_proxy=<sip:%[2]s>
reg_route=<sip:%[2]s;lr>
reg_identity=sip:%[1]s@%[2]s
reg_expires=60
reg_sendregister=1
publish=0
`, number, at), 0o644))
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
