package spec

import (
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tandem-call/tandem/internal/edge/partner/carddav/radicaletest"
)

// startRadicale starts a CardDAV server with the user bob, password secret, who has an address book:
// $NAME is its address, and radicale/collection-root/bob/book its directory.
func startRadicale(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: radicale NAME")
	}
	port := freePort(ts)
	ts.Check(ts.Exec("mkdir", "radicale"))
	opts, err := radicaletest.Args(ts.MkAbs("radicale"), port, "bob", "secret")
	ts.Check(err)
	start(ts, args[0], environ(ts), radicaletest.Path, opts...)
	address := "http://127.0.0.1:" + strconv.Itoa(port) + "/bob/book/"
	ts.Check(ts.Exec("curl", "-sf", "--retry", "60", "--retry-connrefused", "--retry-delay", "1", "-u", "bob:secret", "-X", "MKCOL", "-d", radicaletest.MakeBook, address))
	ts.Setenv(args[0], address)
}
