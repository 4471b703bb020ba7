package spec

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// startPaymentServer starts a payment server in miniature (internal/testpeer/paymentserver): $NAME is its address. Its
// secret key is sk_test_tandem, the secret of its events whsec_tandem; further arguments are its flags.
func startPaymentServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: paymentserver NAME [FLAG...]")
	}
	bin := filepath.Join(ts.Getenv("WORK"), "paymentserver")
	if _, err := os.Stat(bin); err != nil {
		out, err := exec.Command("go", "build", "-o", bin, "../internal/testpeer/paymentserver").CombinedOutput()
		if err != nil {
			ts.Fatalf("%v\n%s", err, out)
		}
	}
	p := start(ts, args[0], environ(ts), bin, args[1:]...)
	line := p.await(regexp.MustCompile(`^payment server at`))
	if line == "" {
		ts.Fatalf("the payment server did not start; it said:\n%s", p.text())
	}
	ts.Setenv(args[0], strings.TrimPrefix(strings.TrimSpace(line), "payment server at "))
}
