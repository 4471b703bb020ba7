package spec

import (
	"net"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// startMailServer starts aiosmtpd, a mail server in Python, which prints what it takes: $NAME is its
// address.
func startMailServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: mailserver NAME")
	}
	at := net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(ts)))
	p := start(ts, args[0], append(environ(ts), "PYTHONUNBUFFERED=1"), "/usr/bin/python3", "-m", "aiosmtpd", "-n", "-l", at, "-c", "aiosmtpd.handlers.Debugging", "stdout")
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		c, err := net.Dial("tcp", at)
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(end) {
			ts.Fatalf("the mail server does not listen (scripts/test-deps installs it); it said:\n%s", p.text())
		}
	}
	ts.Setenv(args[0], at)
}
