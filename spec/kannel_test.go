package spec

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tandem-call/tandem/internal/edge/push/sms/kanneltest"
)

// startKannel starts a real text message gateway, NAME, which tells the server of what people
// send, with the token. Its mobile network, NAME_network, prints each message that it gets:
// "<SENDER RECEIVER text WORDS>". $NAME_url, $NAME_user and $NAME_password are for senders.
func startKannel(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: kannel NAME TOKEN")
	}
	name := args[0]
	port := func() string { return strconv.Itoa(freePort(ts)) }
	c := kanneltest.Config{Dir: filepath.Join(worldOf(ts).work, name), Admin: port(), Boxes: port(), Network: port(), SendSMS: port()}
	c.Inbound = ts.Getenv("TANDEM_SERVER") + "/v1/texts/inbound?token=" + url.QueryEscape(args[1]) + "&from=%p&text=%a"
	ts.Check(os.MkdirAll(c.Dir, 0o755))
	conf, err := c.Write()
	ts.Check(err)
	for v, value := range map[string]string{"url": c.URL(), "user": kanneltest.Username, "password": kanneltest.Password, "port": c.Network} {
		ts.Setenv(name+"_"+v, value)
	}
	ready(ts, start(ts, name, environ(ts), kanneltest.Bearerbox, conf), kanneltest.BearerboxReady)
	startNetwork(ts, name, "0", "1 2 text never sent")
	ready(ts, start(ts, name+"_box", environ(ts), kanneltest.Smsbox, conf), kanneltest.SmsboxReady)
}

// startNetwork has a mobile network send messages to the gateway, and take what it sends.
func startNetwork(ts *testscript.TestScript, name, count, message string) {
	start(ts, name+"_network", environ(ts), kanneltest.Fakesmsc, "-H", "127.0.0.1", "-r", ts.Getenv(name+"_port"), "-m", count, message)
	ready(ts, worldOf(ts).program(ts, name), kanneltest.FakesmscReady)
}

func ready(ts *testscript.TestScript, p *program, says string) {
	if p.await(regexp.MustCompile(says)) == "" {
		ts.Fatalf("%s is not ready; it said:\n%s", p.name, p.text())
	}
}

// textBack has somebody send a text message to the gateway: its mobile network is started
// again, with that to send.
func textBack(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: text KANNEL FROM WORDS …")
	}
	end(ts, false, []string{args[0] + "_network"})
	startNetwork(ts, args[0], "1", args[1]+" 44123 text "+strings.Join(args[2:], " "))
}

// metric waits until a line of the server's metrics matches.
func metric(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: metric REGEXP")
	}
	re := regexp.MustCompile("(?m)^" + args[0] + "$")
	local := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(ts.Getenv("TANDEM_DATA"), "admin.sock"))
	}}}
	var text []byte
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		res, err := local.Get("http://admin/metrics")
		ts.Check(err)
		text, err = io.ReadAll(res.Body)
		res.Body.Close()
		ts.Check(err)
		if re.Match(text) {
			return
		}
	}
	ts.Fatalf("no metric %s in:\n%s", re, text)
}
