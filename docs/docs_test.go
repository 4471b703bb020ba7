package docs_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/wire"
)

// block is a fenced block of a page, with the directives that stand before it. What
// stands after the last block comes as a block without a language.
type block struct {
	line       int
	lang       string
	text       string
	directives []string
}

type command struct {
	text   string
	output []string
}

// commands are the lines that begin with "$ ", each with what it prints; a backslash at
// a line's end joins it with the next.
func (b block) commands() (list []command) {
	goesOn := false
	for line := range strings.Lines(b.text) {
		line = strings.TrimSuffix(line, "\n")
		switch text, isCommand := strings.CutPrefix(line, "$ "); {
		case goesOn:
			list[len(list)-1].text += "\n" + strings.TrimPrefix(line, "> ")
		case isCommand:
			list = append(list, command{text: text})
		case len(list) > 0:
			list[len(list)-1].output = append(list[len(list)-1].output, line)
		}
		goesOn = strings.HasSuffix(line, `\`) && len(list) > 0
	}
	return list
}

// pages are the README and the manual.
func pages(t *testing.T) []string {
	t.Helper()
	list := []string{"../README.md", "../CONTRIBUTING.md", "../CHANGELOG.md", "../SECURITY.md"}
	for _, pattern := range []string{"*.md", "adr/*.md", "reference/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, found...)
	}
	if len(list) < 20 {
		t.Fatalf("only %d pages were found", len(list))
	}
	return list
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var directive = regexp.MustCompile(`^<!-- test: (.*) -->$`)

func parse(t *testing.T, path string) (blocks []block) {
	t.Helper()
	var b block
	inside := false
	n := 0
	for line := range strings.Lines(read(t, path)) {
		n++
		line = strings.TrimSuffix(line, "\n")
		switch fence, isFence := strings.CutPrefix(line, "```"); {
		case isFence && !inside:
			b.line, b.lang, inside = n, fence, true
		case isFence:
			blocks = append(blocks, b)
			b, inside = block{}, false
		case inside:
			b.text += line + "\n"
		default:
			if m := directive.FindStringSubmatch(line); m != nil {
				b.line = n
				b.directives = append(b.directives, m[1])
			}
		}
	}
	if inside {
		t.Fatalf("%s: the block of line %d does not end", path, b.line)
	}
	return append(blocks, b)
}

// bodies are what a json block can be besides a frame.
var bodies = map[string]any{
	"Report": &wire.Report{}, "Problem": &wire.Problem{}, "Challenge": &wire.Challenge{},
	"EnrolRequest": &wire.EnrolRequest{}, "Enrolment": &wire.Enrolment{}, "EnrolConfirm": &wire.EnrolConfirm{},
	"TokenRequest": &wire.TokenRequest{}, "Token": &wire.Token{}, "SendRequest": &wire.SendRequest{}, "Ack": &wire.Ack{},
	"Overlay": &overlay.Overlay{}, "OverlayDraft": &wire.OverlayDraft{}, "OverlayQuestion": &wire.OverlayQuestion{},
	"OverlaySource": &wire.OverlaySource{}, "OverlayResult": &wire.OverlayResult{},
	"SessionEvent": &event[wire.SessionEvent]{}, "CallEvent": &event[wire.CallEvent]{}, "DeviceEvent": &event[wire.DeviceEvent]{},
}

// event is a webhook's body with the data of one kind.
type event[T any] struct {
	wire.Event
	Data T `json:"data"`
}

// TestFrames: every json block is a frame that the wire takes, or a body that says which.
func TestFrames(t *testing.T) {
	frames := 0
	for _, path := range pages(t) {
		for _, b := range parse(t, path) {
			if b.lang != "json" {
				continue
			}
			name := ""
			for _, d := range b.directives {
				if n, ok := strings.CutPrefix(d, "body "); ok {
					name = n
				}
			}
			var err error
			if name == "" {
				frames++
				err = checkFrame([]byte(b.text))
			} else if v, ok := bodies[name]; !ok {
				err = fmt.Errorf("no body is called %s", name)
			} else {
				err = strictly([]byte(b.text), v)
			}
			if err != nil {
				t.Errorf("%s:%d: %v", path, b.line, err)
			}
		}
	}
	if frames < 10 {
		t.Errorf("only %d frames were found", frames)
	}
}

func checkFrame(frame []byte) error {
	var head struct{ Type wire.Type }
	if err := json.Unmarshal(frame, &head); err != nil {
		return err
	}
	i := slices.IndexFunc(wire.Types, func(x wire.TypeInfo) bool { return x.Type == head.Type })
	if i < 0 {
		return fmt.Errorf("no type is called %q", head.Type)
	}
	info := wire.Types[i]
	decode := wire.DecodeServer
	if info.Sender != wire.FromServer {
		decode = wire.Decode
	}
	e, err := decode(frame)
	if err != nil {
		return err
	}
	body := info.Body
	if body == nil {
		for _, k := range wire.Kinds {
			if k.Kind == e.Kind {
				body = k.Body
			}
		}
	}
	if body == nil || len(e.Body) == 0 {
		return nil
	}
	return strictly(e.Body, reflect.New(reflect.TypeOf(body)).Interface())
}

func strictly(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// TestConfigurations: every yaml block of the manual is taken by the server.
func TestConfigurations(t *testing.T) {
	n := 0
	for _, path := range pages(t) {
		for _, b := range parse(t, path) {
			if b.lang != "yaml" {
				continue
			}
			n++
			file := filepath.Join(t.TempDir(), "tandem.yaml")
			if err := os.WriteFile(file, []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := server.Load(file, nil)
			if err == nil {
				err = c.Validate()
			}
			if err != nil {
				t.Errorf("%s:%d: %v", path, b.line, err)
			}
		}
	}
	if n == 0 {
		t.Error("no yaml block was found")
	}
}

// exampleKeys are the keys of the sample configuration.
func exampleKeys(t *testing.T) (keys []string) {
	t.Helper()
	section := ""
	for line := range strings.Lines(read(t, "../tandem.example.yaml")) {
		name, _, ok := strings.Cut(line, ":")
		switch trimmed := strings.TrimLeft(name, " "); {
		case !ok || strings.HasPrefix(trimmed, "#"):
		case trimmed == name:
			section = name
			keys = append(keys, name)
		default:
			keys = append(keys, section+"."+trimmed)
		}
	}
	return keys
}

var (
	code     = regexp.MustCompile("`([^`\n]+)`")
	dotted   = regexp.MustCompile(`^[a-z]+\.[a-z_]+$`)
	variable = regexp.MustCompile(`^TANDEM_[A-Z_]+$`)
	// clients are variables of the device commands.
	clients = []string{"TANDEM_SERVER", "TANDEM_HOME", "TANDEM_AS", "TANDEM_CONFIG", "TANDEM_CA", "TANDEM_KEY", "TANDEM_TENANT"}
)

// TestKeysExist: a key or variable that a page names is in the sample configuration.
func TestKeysExist(t *testing.T) {
	keys := exampleKeys(t)
	var sections []string
	for _, k := range keys {
		if s, _, ok := strings.Cut(k, "."); ok && !slices.Contains(sections, s) {
			sections = append(sections, s)
		}
	}
	if len(sections) < 5 {
		t.Fatalf("only the sections %v were found", sections)
	}
	for _, path := range pages(t) {
		if path == "glossary.md" || strings.HasPrefix(path, "reference/") {
			continue
		}
		for _, m := range code.FindAllStringSubmatch(prose(read(t, path)), -1) {
			word := m[1]
			if s, _, _ := strings.Cut(word, "."); dotted.MatchString(word) && slices.Contains(sections, s) && !slices.Contains(keys, word) && !isKind(word) {
				t.Errorf("%s: there is no key %s", path, word)
			}
			if variable.MatchString(word) && !slices.Contains(clients, word) && !slices.ContainsFunc(keys, func(k string) bool {
				return word == "TANDEM_"+strings.ToUpper(strings.ReplaceAll(k, ".", "_"))
			}) {
				t.Errorf("%s: there is no variable %s", path, word)
			}
		}
	}
}

func isKind(s string) bool {
	return slices.ContainsFunc(wire.Kinds, func(k wire.KindInfo) bool { return k.Kind == s })
}

// prose is a page without its fenced blocks.
func prose(page string) string {
	var b strings.Builder
	inside := false
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "```") {
			inside = !inside
		} else if !inside {
			b.WriteString(line)
		}
	}
	return b.String()
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"`)

// TestLinks: what a page links to within the project is there, with its heading.
func TestLinks(t *testing.T) {
	n := 0
	for _, path := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(prose(read(t, path)), -1) {
			target := m[1] + m[2]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			n++
			file, anchor, _ := strings.Cut(target, "#")
			to := path
			if file != "" {
				to = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %s leads nowhere", path, target)
			} else if anchor != "" && !slices.Contains(headings(read(t, to)), anchor) {
				t.Errorf("%s: %s has no heading #%s", path, to, anchor)
			}
		}
	}
	if n < 30 {
		t.Errorf("only %d links were found", n)
	}
}

// headings are the anchors that Markdown renderers make of a page's headings.
func headings(page string) (anchors []string) {
	for line := range strings.Lines(prose(page)) {
		if text := strings.TrimLeft(line, "#"); text != line && strings.HasPrefix(text, " ") {
			anchors = append(anchors, strings.Map(func(r rune) rune {
				switch {
				case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
					return unicode.ToLower(r)
				case r == ' ':
					return '-'
				}
				return -1
			}, strings.TrimSpace(text)))
		}
	}
	return anchors
}

var (
	file = regexp.MustCompile(`^(?:internal|cmd|client|spec|tel|wire|docs|scripts|bench|web)/[\w./-]+$`)
	test = regexp.MustCompile(`^((?:internal|client|spec|tel|wire|docs)(?:/[\w./-]*)?): ((?:Test|Fuzz)\w+)$`)
)

// TestPathsExist: files, folders and tests that pages name are there.
func TestPathsExist(t *testing.T) {
	for _, path := range pages(t) {
		if path == "../CHANGELOG.md" { // it tells of what was
			continue
		}
		for _, m := range code.FindAllStringSubmatch(prose(read(t, path)), -1) {
			if x := test.FindStringSubmatch(m[1]); x != nil {
				if !hasTest(t, x[1], x[2]) {
					t.Errorf("%s: there is no %s in %s", path, x[2], x[1])
				}
			} else if file.MatchString(m[1]) {
				if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
					t.Errorf("%s: there is no %s", path, m[1])
				}
			}
		}
	}
}

func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(f string) bool { return strings.Contains(read(t, f), "func "+name+"(") })
}

// rows are how many rows each part of the specification has.
var rows = map[string]int{"A": 12, "B": 16, "C": 6, "D": 5, "E": 3, "F": 5, "G": 8, "H": 5, "I": 8, "J": 7, "K": 3}

// TestCoverage: each row of the specification stands in the table once; a row that is
// served names a test; a script that exists is named by its row.
func TestCoverage(t *testing.T) {
	found := map[string][]string{}
	row := regexp.MustCompile(`^\| ([A-K]\d+) \|(.*)\|(.*)\|$`)
	for line := range strings.Lines(read(t, "coverage.md")) {
		if m := row.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			if found[m[1]] != nil {
				t.Errorf("%s is there twice", m[1])
			}
			found[m[1]] = m[2:]
		}
	}
	for part, n := range rows {
		for i := 1; i <= n; i++ {
			id := fmt.Sprint(part, i)
			script := "spec/testdata/" + id + ".txtar"
			cells := found[id]
			switch _, err := os.Stat("../" + script); {
			case cells == nil:
				t.Errorf("%s is missing", id)
			case err == nil && !strings.Contains(cells[1], "`"+script+"`"):
				t.Errorf("%s: the table does not name %s", id, script)
			case strings.Contains(cells[0], "not yet"):
				if !regexp.MustCompile(`not yet.*(issue \d+|later)`).MatchString(cells[0]) {
					t.Errorf("%s: when, or by which issue?", id)
				}
			case !strings.Contains(cells[1], "`"):
				t.Errorf("%s is said to be served, but no test is named", id)
			}
			delete(found, id)
		}
	}
	for id := range found {
		t.Errorf("the specification has no row %s", id)
	}
}

// metrics are the names that the server gives its metrics.
func metrics(t *testing.T) (names []string) {
	t.Helper()
	sources, err := filepath.Glob("../internal/server/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range sources {
		for _, m := range regexp.MustCompile(`desc\("(\w+)"`).FindAllStringSubmatch(read(t, path), -1) {
			names = append(names, "tandem_"+m[1])
		}
	}
	if len(names) < 10 {
		t.Fatalf("only the metrics %v were found", names)
	}
	return names
}

// TestMetrics: the page for operators lists exactly the metrics that there are.
func TestMetrics(t *testing.T) {
	real := metrics(t)
	var told []string
	for _, m := range regexp.MustCompile("`(tandem_[a-z_]+)").FindAllStringSubmatch(read(t, "operations.md"), -1) {
		if !slices.Contains(told, m[1]) {
			told = append(told, m[1])
		}
	}
	slices.Sort(real)
	slices.Sort(told)
	if !slices.Equal(real, told) {
		t.Errorf("operations.md tells of\n%s\nthe server has\n%s", strings.Join(told, "\n"), strings.Join(real, "\n"))
	}
}
