package spec

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tandem-call/tandem/internal/edge/push/webpush/webpushtest"
	"github.com/tandem-call/tandem/wire"
)

// pushAddr, in the environment, makes a push service of the test's own program.
const pushAddr = "SPEC_PUSH"

// startPushService starts a push service for Web Push in the background; $NAME_url is its
// address. It prints what each browser gets.
func startPushService(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: pushservice NAME")
	}
	self, err := os.Executable()
	ts.Check(err)
	addr := strings.TrimPrefix(ts.Getenv(args[0]+"_url"), "http://") // the same one when it is started again
	if addr == "" {
		addr = "127.0.0.1:" + strconv.Itoa(freePort(ts))
		ts.Setenv(args[0]+"_url", "http://"+addr)
	}
	p := start(ts, args[0], environ(ts, pushAddr+"="+addr), self)
	if p.await(listening) == "" {
		ts.Fatalf("the push service did not start; it said:\n%s", p.text())
	}
}

// subscribeBrowser subscribes a browser for the server's pushes; $NAME_app is its application id.
func subscribeBrowser(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: browser NAME PUSHSERVICE")
	}
	var key wire.PushKey
	ts.Check(json.Unmarshal(fetchAll(ts, ts.Getenv("TANDEM_SERVER")+"/v1/push-key"), &key))
	app := fetchAll(ts, ts.Getenv(args[1]+"_url")+"/subscribe?"+url.Values{"name": {args[0]}, "key": {key.Key}}.Encode())
	ts.Setenv(args[0]+"_app", string(app))
}

func fetchAll(ts *testscript.TestScript, url string) []byte {
	res, err := (&http.Client{Timeout: patience}).Get(url)
	ts.Check(err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	ts.Check(err)
	if res.StatusCode != http.StatusOK {
		ts.Fatalf("%s: %s %s", url, res.Status, b)
	}
	return b
}

// pushService is the push service: besides what RFC 8030 asks for, /subscribe?name=&key=
// makes a browser, and /expire?name= ends its subscription.
func pushService(addr string) int {
	fmt.Println("listening")
	s := &webpushtest.Service{URL: "http://" + addr}
	browsers := map[string]*webpushtest.Browser{}
	mux := http.NewServeMux()
	mux.Handle("/p/", s)
	mux.HandleFunc("/subscribe", func(w http.ResponseWriter, r *http.Request) {
		name := r.FormValue("name")
		b := s.Subscribe(r.FormValue("key"))
		browsers[name] = b
		go func() { // ends with the process
			for m := range b.Got {
				fmt.Println(name, "got", string(m.Payload), m.Urgency)
			}
		}()
		fmt.Fprint(w, b.JSON)
	})
	mux.HandleFunc("/expire", func(_ http.ResponseWriter, r *http.Request) { s.Expire(browsers[r.FormValue("name")]) })
	err := http.ListenAndServe(addr, mux)
	fmt.Fprintln(os.Stderr, strings.TrimSpace(err.Error()))
	return 1
}
