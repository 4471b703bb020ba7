package tandem_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tandem-call/tandem/"

// floors lists the house from the ground up: a package may import packages of lower
// floors only. Packages of one floor are neighbours; whether they may know each other
// stands beside the floor. A prefix ending in "/" covers what is below it.
var floors = []struct {
	name       string
	packages   []string
	neighbours bool // may import each other
}{
	{"words", []string{"tel", "wire", "overlay", "internal/pidflo", "internal/store", "internal/signed", "internal/due", "internal/ipnet", "internal/testport", "internal/testpeer", "internal/chaos"}, true}, // wire speaks in tel's words
	{"core", []string{"internal/party", "internal/device", "internal/credential", "internal/call", "internal/session", "internal/passport", "internal/audit", "internal/tenant"}, false},
	{"features", []string{"internal/files", "internal/notify", "internal/guest", "internal/webhook", "internal/coupling", "internal/profile", "internal/place", "internal/agent", "internal/overlay", "internal/payment"}, false},
	{"way out", []string{"internal/edge/fetch"}, false}, // below the edge, whose adapters go out through it
	{"edge", []string{"internal/edge/", "client"}, false},
	{"server", []string{"internal/server", "internal/simulation"}, false},
	{"commands", []string{"cmd/", "spec", "docs"}, true}, // spec and docs drive the commands from outside
}

// pure lists what the core must not import: it has no I/O (STYLE, "The house has floors").
var pure = []string{"net", "net/http", "os", "syscall", "io/ioutil"}

// exceptions are arrows that are allowed although they run sideways, each with its reason.
var exceptions = map[string]string{
	"client -> wire": "the SDK speaks the wire's words and knows nothing of the server",
	"internal/passport/passporttest -> internal/passport":                           "a provider in miniature, for the tests of several packages",
	"internal/edge/store/pebblestore/pebbletest -> internal/edge/store/pebblestore": "the engine, for the tests of several packages",
}

type goPackage struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
}

func TestImportsGoDownTheStairs(t *testing.T) {
	for _, p := range list(t) {
		from := floorOf(p.ImportPath)
		if from < 0 {
			continue
		}
		for _, imp := range p.Imports {
			to := floorOf(imp)
			if to < 0 {
				continue
			}
			sideways := to == from && !floors[from].neighbours && room(p.ImportPath) != room(imp)
			arrow := short(p.ImportPath) + " -> " + short(imp)
			if _, ok := exceptions[arrow]; (to > from || sideways) && !ok {
				t.Errorf("%s: the %s floor must not import from the %s floor", arrow, floors[from].name, floors[to].name)
			}
		}
	}
}

func TestEveryPackageHasAFloor(t *testing.T) {
	for _, p := range list(t) {
		if floorOf(p.ImportPath) < 0 {
			t.Errorf("%s stands on no floor: add it to floors", short(p.ImportPath))
		}
	}
}

func TestCoreHasNoIO(t *testing.T) {
	for _, p := range list(t) {
		if f := floorOf(p.ImportPath); f < 0 || floors[f].name != "core" {
			continue
		}
		for _, imp := range p.Imports {
			if slices.Contains(pure, imp) {
				t.Errorf("%s imports %s: the core has no I/O", short(p.ImportPath), imp)
			}
		}
	}
}

func TestClientKnowsOnlyTheWords(t *testing.T) {
	for _, p := range list(t) {
		if s := short(p.ImportPath); s != "client" && !strings.HasPrefix(s, "client/") {
			continue
		}
		for _, imp := range p.Imports {
			if s := short(imp); s != imp && s != "tel" && s != "wire" && !strings.HasPrefix(s, "client") {
				t.Errorf("client imports %s: the SDK may know tel and wire only", s)
			}
		}
	}
}

// toward says who chose the address that a package connects to.
type toward string

const (
	// anybody: users, partners or messages name it. Only internal/edge/fetch may, which looks at each
	// address when it connects; whatever asks such an address asks through it.
	anybody toward = "an address that users name"
	// operator: it stands in the configuration, or follows from it, and no user changes it.
	operator toward = "an address that the operator configures"
	// own: the client's side, which runs for its own user.
	own toward = "the user's own server or machine"
	// registered: SIP sends to who has registered, or was named by the operator.
	registered toward = "telephones that have registered, and elements that the operator names"
)

// callers are the only packages of the program that make connections of their own, by the
// standard library or by a client of somebody else's, each with whose addresses they are.
var callers = map[string]struct {
	toward toward
	why    string
}{
	"internal/edge/fetch":             {anybody, "it looks at each address that it connects to"},
	"internal/edge/push/apns":         {operator, "Apple's push service, or the address in push.apns"},
	"internal/edge/push/email":        {operator, "mail.url: the operator's own submission server"},
	"internal/edge/push/fcm":          {operator, "Google's push service, or the address in push.fcm; tokens by oauth2 from the same"},
	"internal/edge/partner/stripe":    {operator, "payments.url, or Stripe's API, by its own library"},
	"internal/testpeer/paymentserver": {operator, "a payment server for the tests, which is in no program"},
	"internal/edge/push/sms":          {operator, "codes.url: the operator's own gateway"},
	"internal/edge/s3store":           {operator, "files.s3.endpoint"},
	"internal/edge/store/natsstore":   {operator, "engine.nats"},
	"internal/edge/transport/tlscert": {operator, "tls.directory, an ACME authority; what that answers with is believed as it is"},
	"internal/edge/network/sip":       {registered, "sip.trusted, sip.watch, and contacts that were registered with a digest"},
	"internal/edge/network/ivr":       {operator, "the SIP element of this very server"},
	"internal/edge/telephony/baresip": {own, "the telephone on the user's own machine"},
	"client":                          {own, "the user's own server"},
	"client/nearby":                   {own, "machines on the user's own links, by multicast"},
	"cmd/tandem":                      {own, "the user's own server, and the admin socket"},
}

// connectors are modules of others that connect, by themselves or where they are told to; whoever
// imports one is a caller.
var connectors = []string{
	"github.com/caddyserver/certmagic", "github.com/minio/minio-go/v7", "github.com/nats-io/nats.go", "golang.org/x/oauth2",
	"github.com/stripe/stripe-go/v85", "github.com/wneessen/go-mail", "golang.org/x/net/ipv4",
	"github.com/emiago/sipgo", "github.com/emiago/diago", "github.com/coder/websocket",
}

// quiet are modules of others that know of the network and connect nowhere, as they are used here.
var quiet = map[string]string{
	"github.com/cockroachdb/pebble/v2":    "addresses in reports of errors, which are not switched on",
	"github.com/danielgtaylor/huma/v2":    "serves",
	"github.com/go-viper/mapstructure/v2": "reads addresses from text",
	"github.com/golang-jwt/jwt/v5":        "reads tokens from requests",
	"github.com/invopop/jsonschema":       "knows the type of an address",
	"github.com/knadh/koanf/v2":           "reads addresses from text",
	"github.com/lxzan/gws":                "serves; its client is in calls, below",
	"github.com/prometheus/client_golang": "serves",
	"github.com/tus/tusd/v2":              "serves; its hooks over HTTP are not linked",
	"go.uber.org/zap":                     "serves its level, if asked",
}

// calls are what makes connections in the standard library, and in modules that mostly do not.
var calls = map[string][]string{
	"net":        {"Dial", "DialTimeout", "DialTCP", "DialUDP", "DialIP", "DialUnix", "Dialer"},
	"net/http":   {"Get", "Head", "Post", "PostForm", "Client", "DefaultClient", "Transport", "DefaultTransport"},
	"net/smtp":   {"Dial", "SendMail"},
	"crypto/tls": {"Dial", "DialWithDialer", "Dialer"},

	"github.com/lxzan/gws": {"NewClient", "NewClientFromConn"},
}

func TestOnlyFetchGoesOut(t *testing.T) {
	used := map[string]bool{}
	for _, p := range list(t) {
		for _, file := range p.GoFiles {
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, file), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			names := map[string]string{} // by which the file knows the packages
			for _, i := range f.Imports {
				path := strings.Trim(i.Path.Value, `"`)
				if _, ok := calls[path]; !ok {
					continue
				}
				name := path[strings.LastIndexByte(path, '/')+1:]
				if i.Name != nil {
					name = i.Name.Name
				}
				if name == "." {
					t.Errorf("%s imports %s with a dot, which hides what it calls", fset.Position(i.Pos()), path)
				}
				names[name] = path
			}
			for _, i := range f.Imports {
				connects := slices.ContainsFunc(connectors, func(m string) bool { return within(strings.Trim(i.Path.Value, `"`), m) })
				if !connects || strings.HasSuffix(p.ImportPath, "test") { // help for tests is not in the program
					continue
				}
				if _, ok := callers[short(p.ImportPath)]; !ok {
					t.Errorf("%s: %s connects to somewhere: say in callers to whose addresses", fset.Position(i.Pos()), i.Path.Value)
				}
				used[short(p.ImportPath)] = true
			}
			ast.Inspect(f, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				x, ok := sel.X.(*ast.Ident)
				if !ok || !slices.Contains(calls[names[x.Name]], sel.Sel.Name) {
					return true
				}
				if _, ok := callers[short(p.ImportPath)]; !ok {
					t.Errorf("%s: %s.%s: use internal/edge/fetch, which goes nowhere it should not", fset.Position(sel.Pos()), x.Name, sel.Sel.Name)
				}
				used[short(p.ImportPath)] = true
				return true
			})
		}
	}
	server := deps(t, "./internal/server")
	for p, c := range callers {
		if !used[p] {
			t.Errorf("%s makes no connections: take it off the list of callers", p)
		}
		if c.toward == anybody && p != "internal/edge/fetch" {
			t.Errorf("%s connects to %s: only internal/edge/fetch may", p, anybody)
		}
		if c.toward == own && slices.Contains(server, module+p) {
			t.Errorf("%s is in the server, which has no user of its own", p)
		}
	}
}

// Each module of others that our packages import, and that knows of the network, is among
// the connectors or the quiet ones: a new one fails this test until somebody has looked.
func TestModulesThatConnectAreKnown(t *testing.T) {
	imported := map[string]string{}
	for _, p := range list(t) {
		if strings.HasSuffix(p.ImportPath, "test") { // help for tests, not in the program
			continue
		}
		for _, i := range p.Imports {
			if first, _, _ := strings.Cut(i, "/"); strings.Contains(first, ".") && !strings.HasPrefix(i, module) {
				imported[i] = short(p.ImportPath)
			}
		}
	}
	known := append(slices.Sorted(maps.Keys(quiet)), connectors...)
	for path, by := range netUsers(t, slices.Sorted(maps.Keys(imported))) {
		if by && !slices.ContainsFunc(known, func(m string) bool { return within(path, m) }) {
			t.Errorf("%s, imported by %s, knows of the network: does it connect? Add it to connectors or to quiet", path, imported[path])
		}
	}
	for _, m := range known {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(imported)), func(path string) bool { return within(path, m) }) {
			t.Errorf("nobody imports %s any more", m)
		}
	}
}

// within reports whether the package is one of the module's.
func within(path, module string) bool { return path == module || strings.HasPrefix(path, module+"/") }

// netUsers says which of the packages have package net below them.
func netUsers(t *testing.T, packages []string) map[string]bool {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-json=ImportPath,Deps"}, packages...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	users := map[string]bool{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Deps       []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return users
		} else if err != nil {
			t.Fatal(err)
		}
		users[p.ImportPath] = slices.Contains(p.Deps, "net")
	}
}

// deps are the packages that one is made of.
func deps(t *testing.T, of string) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", of).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return strings.Fields(string(out))
}

func short(path string) string { return strings.TrimPrefix(path, module) }

// room is the folder that a neighbour is known by: internal/edge/push/sms is a room of
// its own, and so is each folder below internal/edge/*/.
func room(path string) string { return short(path) }

func floorOf(path string) int {
	if !strings.HasPrefix(path, module) {
		return -1
	}
	s := short(path)
	for i, f := range floors {
		for _, p := range f.packages {
			if s == p || strings.HasPrefix(s, strings.TrimSuffix(p, "/")+"/") {
				return i
			}
		}
	}
	return -1
}

func list(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports", "./...").Output()
	if err != nil {
		var e *exec.ExitError
		if errors.As(err, &e) {
			t.Fatalf("go list: %v\n%s", err, e.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		if p.ImportPath+"/" != module {
			all = append(all, p)
		}
	}
}
