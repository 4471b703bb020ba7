package tandem_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
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
	{"words", []string{"tel", "wire", "overlay", "internal/pidflo", "internal/store", "internal/signed", "internal/due", "internal/testport", "internal/testpeer", "internal/chaos"}, true}, // wire speaks in tel's words
	{"core", []string{"internal/party", "internal/device", "internal/credential", "internal/call", "internal/session", "internal/passport", "internal/audit", "internal/tenant"}, false},
	{"features", []string{"internal/files", "internal/notify", "internal/guest", "internal/webhook", "internal/coupling", "internal/profile", "internal/place", "internal/agent", "internal/overlay"}, false},
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

// callers are the only packages of the program that make connections of their own, each
// with its reason. Whatever asks an address that somebody else chose uses internal/edge/fetch.
var callers = map[string]string{
	"internal/edge/fetch":             "it looks at each address that it connects to",
	"internal/edge/push/apns":         "Apple's push service, or the address that the operator configured",
	"internal/edge/push/fcm":          "Google's push service, or the address that the operator configured",
	"internal/edge/push/sms":          "the operator's own gateway, named in the configuration",
	"internal/edge/network/sip":       "phones that have registered, and the elements that the operator names",
	"internal/edge/telephony/baresip": "the telephone on the user's own machine",
	"client":                          "the user's own server",
	"cmd/tandem":                      "the user's own server, and the admin socket",
}

// calls are what makes connections in the standard library.
var calls = map[string][]string{
	"net":        {"Dial", "DialTimeout", "DialTCP", "DialUDP", "DialIP", "DialUnix", "Dialer"},
	"net/http":   {"Get", "Head", "Post", "PostForm", "Client", "DefaultClient", "Transport", "DefaultTransport"},
	"net/smtp":   {"Dial", "SendMail"},
	"crypto/tls": {"Dial", "DialWithDialer", "Dialer"},
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
			ast.Inspect(f, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				x, ok := sel.X.(*ast.Ident)
				if !ok || !slices.Contains(calls[names[x.Name]], sel.Sel.Name) {
					return true
				}
				if callers[short(p.ImportPath)] == "" {
					t.Errorf("%s: %s.%s: use internal/edge/fetch, which goes nowhere it should not", fset.Position(sel.Pos()), x.Name, sel.Sel.Name)
				}
				used[short(p.ImportPath)] = true
				return true
			})
		}
	}
	for p := range callers {
		if !used[p] {
			t.Errorf("%s makes no connections: take it off the list of callers", p)
		}
	}
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
