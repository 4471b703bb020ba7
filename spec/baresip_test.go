package spec

import (
	"bufio"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

const modules = "/usr/lib/baresip/modules"

// startBaresip starts a real softphone with a number. Its control interface takes one
// client at a time, the device; so the script's own commands come through a second way
// in, the phone's HTTP module, as from its user.
func startBaresip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: baresip NAME NUMBER [REGISTRAR [TRANSPORT]]")
	}
	name, number := args[0], args[1]
	if _, err := os.Stat(modules); err != nil {
		ts.Fatalf("baresip is not installed (scripts/test-deps installs it): %v", err)
	}
	dir := filepath.Join(worldOf(ts).work, name)
	ts.Check(os.MkdirAll(dir, 0o755))
	sip, ctrl, web := ts.Getenv(name+"_sip"), ts.Getenv(name+"_ctrl"), ts.Getenv(name+"_http")
	if sip == "" { // a second start takes the same ports
		addr := func() string { return "127.0.0.1:" + strconv.Itoa(freePort(ts)) }
		sip, ctrl, web = addr(), addr(), addr()
		ts.Setenv(name+"_sip", sip)
		ts.Setenv(name+"_ctrl", ctrl)
		ts.Setenv(name+"_http", web)
	}
	config := []string{
		"poll_method epoll", "sip_listen " + sip, "call_max_calls 4",
		"audio_player aubridge,nil", "audio_source aubridge,nil", "audio_alert aubridge,nil",
		"ausrc_srate 8000", "auplay_srate 8000", "ausrc_channels 1", "auplay_channels 1",
		"module_path " + modules, "module g711.so", "module aubridge.so", "module uuid.so",
		"module_tmp account.so", "module_app menu.so", "module_app ctrl_tcp.so", "module_app httpd.so",
		"ctrl_tcp_listen " + ctrl, "http_listen " + web,
	}
	ts.Check(os.WriteFile(filepath.Join(dir, "config"), []byte(strings.Join(config, "\n")+"\n"), 0o644))
	at, registers := sip, "regint=0"
	if len(args) > 2 {
		at, registers = args[2], "regint=60"
	}
	if len(args) > 3 {
		at += ";transport=" + args[3]
	}
	account := fmt.Sprintf("<sip:%s@%s>;%s;answermode=manual;audio_codecs=PCMU\n", number, at, registers)
	ts.Check(os.WriteFile(filepath.Join(dir, "accounts"), []byte(account), 0o644))
	ts.Check(os.WriteFile(filepath.Join(dir, "contacts"), nil, 0o644))
	p := start(ts, name, environ(ts), "baresip", "-f", dir)
	if p.await(regexp.MustCompile(`baresip is ready`)) == "" {
		ts.Fatalf("the softphone %s did not start; it said:\n%s", name, p.text())
	}
	if len(args) > 2 && p.await(regexp.MustCompile(`200 OK.*\[\d+ binding`)) == "" {
		ts.Fatalf("the softphone %s did not register; it said:\n%s", name, p.text())
	}
}

// phone gives a softphone a command by its web page: dial URI, accept, hangup.
func phone(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: phone NAME dial|accept|hangup [ARG]")
	}
	keys := map[string]string{"dial": "d", "accept": "a", "hangup": "b", "hold": "x", "resume": "X"}
	key, ok := keys[args[1]]
	if !ok {
		ts.Fatalf("a phone does not %s", args[1])
	}
	c, err := net.DialTimeout("tcp", ts.Getenv(args[0]+"_http"), 5*time.Second)
	ts.Check(err)
	defer c.Close()
	_, err = fmt.Fprintf(c, "GET /?%s%s HTTP/1.1\r\nHost: phone\r\nConnection: close\r\n\r\n", key, url.QueryEscape(strings.Join(args[2:], "")))
	ts.Check(err)
	ts.Check(c.SetReadDeadline(time.Now().Add(5 * time.Second)))
	status, err := bufio.NewReader(c).ReadString('\n')
	ts.Check(err)
	if !strings.Contains(status, "200") {
		ts.Fatalf("phone %s: %s", args[0], status)
	}
}
