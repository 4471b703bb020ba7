package wire_test

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tandem-call/tandem/wire"
	"github.com/tandem-call/tandem/wire/internal/publish"
)

// What is published is what the Go types say.
func TestGenerateLeavesNoDifference(t *testing.T) {
	t.Chdir("..")
	files, err := publish.Files()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range files {
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is out of date (%v): run go generate ./wire", path, err)
		}
	}
	there, err := filepath.Glob("wire/schema/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range there {
		if files[path] == nil {
			t.Errorf("%s is no longer generated", path)
		}
	}
}

func TestEverySchemaCompilesAndIsDescribed(t *testing.T) {
	names, err := fs.Glob(wire.Schemas(), "*.json")
	if err != nil || len(names) < len(wire.Types) {
		t.Fatalf("%d schemas, %v", len(names), err)
	}
	for _, name := range names {
		data, err := fs.ReadFile(wire.Schemas(), name)
		if err != nil {
			t.Fatal(err)
		}
		var doc map[string]any
		if err := json.Unmarshal(data, &doc); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if name != "asyncapi.json" {
			compile(t, name)
			described(t, name, doc)
		}
	}
}

// described demands that every property is explained, by itself or where it refers to.
func described(t *testing.T, at string, node any) {
	switch n := node.(type) {
	case map[string]any:
		// GeoJSON has a property of the name "properties".
		if properties, ok := n["properties"].(map[string]any); ok && !strings.HasSuffix(at, "/properties") {
			for name, p := range properties {
				p, _ := p.(map[string]any)
				if p["description"] == nil && p["$ref"] == nil && p["const"] == nil && p["enum"] == nil && !strings.HasSuffix(at, "_frame.json") {
					t.Errorf("%s: %s has no description", at, name)
				}
			}
		}
		for key, v := range n {
			if key != "allOf" {
				described(t, at+"/"+key, v)
			}
		}
	}
}

func TestAsyncAPIRefersToWhatExists(t *testing.T) {
	data, err := fs.ReadFile(wire.Schemas(), "asyncapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	refs := 0
	var walk func(node any)
	walk = func(node any) {
		switch n := node.(type) {
		case map[string]any:
			if ref, ok := n["$ref"].(string); ok {
				refs++
				resolve(t, doc, ref)
			}
			for _, v := range n {
				walk(v)
			}
		case []any:
			for _, v := range n {
				walk(v)
			}
		}
	}
	walk(doc)
	if refs < 3*len(wire.Types) {
		t.Errorf("only %d references", refs)
	}
}

func resolve(t *testing.T, doc any, ref string) {
	t.Helper()
	file, pointer, _ := strings.Cut(ref, "#")
	if file != "" {
		data, err := fs.ReadFile(wire.Schemas(), file)
		if err == nil {
			err = json.Unmarshal(data, &doc)
		}
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			return
		}
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		m, _ := doc.(map[string]any)
		if doc = m[part]; doc == nil {
			t.Errorf("%s leads nowhere at %s", ref, part)
			return
		}
	}
}

// The tables miss no constant of their package, and name nothing twice.
func TestTablesAreComplete(t *testing.T) {
	table := map[string]map[string]int{"Type": {}, "Kind": {}, "Code": {}, "CloseCode": {}}
	for _, i := range wire.Types {
		table["Type"][string(i.Type)]++
	}
	for _, k := range wire.Kinds {
		table["Kind"][k.Kind]++
	}
	for c := range wire.Catalogue {
		table["Code"][string(c)]++
	}
	for _, c := range wire.CloseCodes {
		table["CloseCode"][strconv.Itoa(int(c.Code))]++
	}
	found := 0
	for name, c := range constants(t) {
		sort := c.typ
		if sort == "" && strings.HasPrefix(name, "Kind") {
			sort = "Kind"
		}
		rows, ok := table[sort]
		if !ok {
			continue
		}
		if found++; rows[c.value] != 1 {
			t.Errorf("%s (%s) is in its table %d times", name, c.value, rows[c.value])
		}
	}
	total := 0
	for _, rows := range table {
		total += len(rows)
	}
	if found != total {
		t.Errorf("%d constants, but %d rows", found, total)
	}
}

type constant struct{ typ, value string }

// constants reads the constants of the package's sources.
func constants(t *testing.T) map[string]constant {
	t.Helper()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]constant{}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			lit, ok := spec.Values[0].(*ast.BasicLit)
			if !ok || !spec.Names[0].IsExported() {
				return true
			}
			c := constant{value: strings.Trim(lit.Value, `"`)}
			if typ, ok := spec.Type.(*ast.Ident); ok {
				c.typ = typ.Name
			}
			all[spec.Names[0].Name] = c
			return true
		})
	}
	return all
}

func TestCatalogue(t *testing.T) {
	for code, k := range wire.Catalogue {
		if k.Status < 400 || k.Status > 599 || k.Title == "" || k.Advice == "" || strings.HasSuffix(k.Title, ".") || !strings.HasSuffix(k.Advice, ".") {
			t.Errorf("%s: %+v", code, k)
		}
		if p := wire.NewProblem(code, "because of %s", "this"); p.Status != k.Status || p.Detail != "because of this" || p.Type != "/problems/"+string(code) {
			t.Errorf("%s: %+v", code, p)
		}
	}
	if p := wire.NewProblem("no-such-code", "x"); p.Code != wire.CodeInternal || p.Status != 500 {
		t.Errorf("an unknown code gives %+v", p)
	}
}
