package spec

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tandem-call/tandem/internal/passport"
	"github.com/tandem-call/tandem/internal/passport/passporttest"
)

// provider is a telephone provider that signs PASSporTs and gives its certificate out.
type provider struct {
	signer *passporttest.Signer
	url    string
}

// startProvider starts a provider. $STIR_ROOTS names its authority, $STIR_WEB the one of its
// web server.
func startProvider(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: provider")
	}
	ca, err := passporttest.NewAuthority(time.Now())
	ts.Check(err)
	signer, err := ca.Issue(&passport.TNAuthList{Ranges: []passport.Range{{Start: "442079460000", Count: 100}}})
	ts.Check(err)
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		_, _ = w.Write(signer.PEM()) // who does not wait for it misses it
	}))
	ts.Defer(web.Close)
	write := func(name string, b []byte) {
		path := filepath.Join(ts.Getenv("WORK"), name+".pem")
		ts.Check(os.WriteFile(path, b, 0o600))
		ts.Setenv(name, path)
	}
	write("STIR_ROOTS", ca.PEM())
	write("STIR_WEB", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}))
	worldOf(ts).provider = &provider{signer, web.URL + "/passport.pem"}
}

// signPassport signs a PASSporT and keeps the Identity header field in a variable.
func signPassport(ts *testscript.TestScript, neg bool, args []string) {
	p := worldOf(ts).provider
	if neg || len(args) < 3 || p == nil {
		ts.Fatalf("usage: passport VAR ORIG DEST [attest=B] [age=61s] [from=NUMBER] [tampered=yes], after provider")
	}
	digits := func(number string) string { return strings.TrimPrefix(number, "+") }
	kind, claims := passport.Shaken, passporttest.Shaken(digits(args[1]), digits(args[2]), time.Now())
	tampered := false
	for _, a := range args[3:] {
		switch name, value, _ := strings.Cut(a, "="); name {
		case "attest":
			claims.Attest = value
		case "age":
			age, err := time.ParseDuration(value)
			ts.Check(err)
			claims.Iat -= int64(age / time.Second)
		case "from":
			kind, claims = passport.Div, passporttest.Diversion(digits(args[1]), digits(value), digits(args[2]), time.Now())
		case "tampered":
			tampered = true
		default:
			ts.Fatalf("passport: unknown %s", a)
		}
	}
	jws, err := p.signer.Sign(kind, p.url, claims)
	ts.Check(err)
	if tampered {
		claims.OrigID += "x"
		other, err := p.signer.Sign(kind, p.url, claims)
		ts.Check(err)
		jws = other[:strings.LastIndexByte(other, '.')] + jws[strings.LastIndexByte(jws, '.'):]
	}
	ts.Setenv(args[0], passporttest.Identity(jws, kind, p.url))
}
