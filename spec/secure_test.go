package spec

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tandem-call/tandem/client"
)

// secure asks a server with a local authority over TLS, by curl, with the API key in a file;
// "--path PATH" is ours, the rest is curl's. Without --data or --request it reports a call. It
// prints the status; "!" wants one of 400 or more.
func secure(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: secure KEYFILE [--path PATH] [ARG …]")
	}
	path, rest := "/v1/reports", args[1:]
	if i := slices.Index(rest, "--path"); i >= 0 {
		path, rest = rest[i+1], slices.Concat(rest[:i], rest[i+2:])
	}
	if !slices.Contains(rest, "--data") && !slices.Contains(rest, "--request") {
		rest = append(rest, "--data", `{"own":"+442079460001","other":"+442079460002","direction":"outgoing","state":"active"}`)
	}
	curl := append([]string{
		"--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{http_code}",
		"--cacert", filepath.Join(ts.Getenv("TANDEM_DATA"), "tls", "tandem-local-authority.pem"),
		"--header", "Content-Type: application/json", "--header", "Authorization: Bearer " + strings.TrimSpace(ts.ReadFile(args[0])),
		strings.Replace(ts.Getenv("TANDEM_SERVER"), "http://", "https://", 1) + path,
	}, rest...)
	cmd := exec.Command("curl", curl...)
	cmd.Dir = worldOf(ts).work
	out, err := cmd.CombinedOutput()
	if err != nil {
		ts.Fatalf("curl: %v: %s", err, out)
	}
	fmt.Fprintln(ts.Stdout(), string(out))
	if neg != (string(out) >= "400") {
		ts.Fatalf("%s: status %s", path, out)
	}
}

// revoke revokes the API key in a file.
func revoke(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: revoke KEYFILE")
	}
	run(ts, neg, []string{"token", "revoke", strings.Split(ts.ReadFile(args[0]), "_")[1]})
}

// bearer writes a device's bearer token into a file.
func bearer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: bearer NAME FILE")
	}
	id, err := client.Load(filepath.Join(ts.Getenv("TANDEM_HOME"), args[0], "device.json"))
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	token, err := client.NewAPI(id, nil).Bearer(ctx)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(token), 0o600))
}
