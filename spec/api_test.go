package spec

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tandem-call/tandem/client"
)

// api calls the HTTP API by hand, and prints the status and the body. "!" wants a status
// of 400 or more.
func api(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: api METHOD PATH AS [BODY]")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var body io.Reader
	if len(args) > 3 {
		body = strings.NewReader(strings.Join(args[3:], " "))
	}
	base, hc := ts.Getenv("TANDEM_SERVER"), &http.Client{Timeout: patience}
	if args[2] == "operator" {
		socket := filepath.Join(ts.Getenv("TANDEM_DATA"), "admin.sock")
		base = "http://admin"
		hc.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", socket)
		}}
	}
	req, err := http.NewRequestWithContext(ctx, args[0], base+args[1], body)
	ts.Check(err)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	switch as := args[2]; {
	case as == "-" || as == "operator":
	case strings.HasPrefix(as, "key:"):
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(ts.ReadFile(as[len("key:"):])))
	case strings.HasPrefix(as, "Bearer "):
		req.Header.Set("Authorization", as)
	default:
		id, err := client.Load(filepath.Join(ts.Getenv("TANDEM_HOME"), as, "device.json"))
		ts.Check(err)
		token, err := client.NewAPI(id, nil).Bearer(ctx)
		ts.Check(err)
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := hc.Do(req)
	ts.Check(err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%d %s\n%s\n", res.StatusCode, res.Header.Get("Content-Type"), strings.TrimSpace(string(b)))
	if neg != (res.StatusCode >= 400) {
		ts.Fatalf("%s %s: status %d: %s", args[0], args[1], res.StatusCode, b)
	}
	if p := res.Header.Get("Content-Type"); neg && p == "application/problem+json" {
		var problem struct{ Type, Title, Code string }
		if err := json.Unmarshal(b, &problem); err != nil || problem.Type == "" || problem.Title == "" || problem.Code == "" {
			ts.Fatalf("not a problem by RFC 9457: %s", b)
		}
	}
}
