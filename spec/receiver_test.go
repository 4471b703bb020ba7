package spec

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tandem-call/tandem/wire"
)

// receiverAddr, in the environment, makes a receiver of the test's own program.
const receiverAddr = "SPEC_RECEIVER"

// startReceiver starts a receiver of webhooks in the background; $NAME_url is its address.
// It verifies signatures by the reference library, with the secret that stands in the file
// NAME.secret, and answers with the status in the file NAME.status, or else 204. Where there
// is a file NAME.answer it is a provider's server, which is asked for overlays.
func startReceiver(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: receiver NAME")
	}
	self, err := os.Executable()
	ts.Check(err)
	url := ts.Getenv(args[0] + "_url") // the same one when it is started again
	if url == "" {
		url = "http://127.0.0.1:" + strconv.Itoa(freePort(ts))
		ts.Setenv(args[0]+"_url", url)
	}
	p := start(ts, args[0], environ(ts, receiverAddr+"="+strings.TrimPrefix(url, "http://"), "NAME="+args[0]), self)
	if p.await(listening) == "" {
		ts.Fatalf("the receiver did not start; it said:\n%s", p.text())
	}
}

// receive is the receiver; it prints one line for each request.
func receive(addr string) int {
	fmt.Println("listening")
	err := http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the sender has gone
		}
		if answer, err := os.ReadFile(os.Getenv("NAME") + ".answer"); err == nil {
			fmt.Printf("200 {\"verified\":%v,\"question\":%s}\n", trusted(r.Header, body), body)
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(answer) // the sender may have gone
			return
		}
		line := struct {
			Verified bool       `json:"verified"`
			Event    wire.Event `json:"event"`
		}{Verified: trusted(r.Header, body)}
		if err := json.Unmarshal(body, &line.Event); err != nil {
			fmt.Println("not an event:", err)
		}
		status := http.StatusNoContent
		if b, err := os.ReadFile(os.Getenv("NAME") + ".status"); err == nil {
			status, _ = strconv.Atoi(strings.TrimSpace(string(b)))
		}
		b, _ := json.Marshal(line) // what was read can be written
		fmt.Println(status, string(b))
		w.WriteHeader(status)
	}))
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func trusted(h http.Header, body []byte) bool {
	secret, err := os.ReadFile(os.Getenv("NAME") + ".secret")
	if err != nil {
		return false
	}
	v, err := standard.NewWebhook(strings.TrimSpace(string(secret)))
	return err == nil && v.Verify(body, h) == nil
}

var listening = regexp.MustCompile(`^listening`)
