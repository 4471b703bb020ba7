package tandem_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// licences that code in the program may have: none of them asks anything of the whole. What
// is found is told apart by words that stand in one licence only.
var licences = []struct {
	name string
	text *regexp.Regexp
}{
	{"Apache-2.0", regexp.MustCompile(`Apache License,? Version 2\.0`)},
	{"MIT", regexp.MustCompile(`Permission is hereby granted, free of charge, to any person obtaining a copy`)},
	{"BSD", regexp.MustCompile(`Redistribution and use in source and binary forms, with or without modification, are permitted`)},
	{"ISC", regexp.MustCompile(`Permission to use, copy, modify, and(?:/or)? distribute this software for any purpose with or without fee is hereby granted`)},
	{"CC0-1.0", regexp.MustCompile(`CC0 1\.0 Universal`)},
	{"MPL-2.0", regexp.MustCompile(`Mozilla Public License,? [Vv]ersion 2\.0`)}, // asks for its own files only
}

// copyleft licences would ask for the whole.
var copyleft = regexp.MustCompile(`GNU (?:AFFERO |LESSER |LIBRARY )?GENERAL PUBLIC LICENSE|Server Side Public License|Business Source License|Commons Clause`)

type goModule struct {
	Path, Version, Dir string
	Main               bool
	Replace            *struct{ Path, Version string }
}

// modules are those whose code is in the programs and tests of the folder.
func modules(t *testing.T, dir string, tags ...string) map[string]goModule {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-deps", "-test", "-json=Module"}, append(tags, "./...")...)...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		var e *exec.ExitError
		if errors.As(err, &e) {
			t.Fatalf("go list: %v\n%s", err, e.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	all := map[string]goModule{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct{ Module *goModule }
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Module != nil && !p.Module.Main {
			all[p.Module.Path] = *p.Module
		}
	}
}

// TestLicences: each module in the programs and tests has a licence on the list, and a version
// that go.sum holds the hash of.
func TestLicences(t *testing.T) {
	for _, dir := range []string{".", "bench"} {
		sums, err := os.ReadFile(filepath.Join(dir, "go.sum"))
		if err != nil {
			t.Fatal(err)
		}
		all := modules(t, dir, "-tags", "peers")
		if len(all) < 30 {
			t.Fatalf("only %d modules in %s: this looks at the wrong thing", len(all), dir)
		}
		for path, m := range all {
			if strings.HasPrefix(path, strings.TrimSuffix(module, "/")) {
				continue // our own, from bench
			}
			if m.Replace != nil {
				t.Errorf("%s is replaced by %s", path, m.Replace.Path)
			}
			if !strings.Contains(string(sums), "\n"+path+" "+m.Version+" h1:") && !strings.HasPrefix(string(sums), path+" "+m.Version+" h1:") {
				t.Errorf("%s %s is not pinned by %s/go.sum", path, m.Version, dir)
			}
			if fault := licenceOf(m.Dir); fault != "" {
				t.Errorf("%s: %s", path, fault)
			}
		}
	}
}

// licenceOf says what is wrong with the licence of the module in a folder; "" if nothing is.
func licenceOf(dir string) string {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return err.Error()
	}
	found := false
	for _, f := range files {
		name := strings.ToUpper(filepath.Base(f))
		if !strings.HasPrefix(name, "LICEN") && !strings.HasPrefix(name, "COPYING") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			continue // a folder of licences
		}
		found = true
		b = []byte(strings.Join(strings.FieldsFunc(string(b), func(c rune) bool { return unicode.IsSpace(c) || c == '#' }), " "))
		known := false
		for _, l := range licences {
			known = known || l.text.Match(b)
		}
		switch {
		case known: // several licences of which one may be chosen, too
			return ""
		case copyleft.Match(b):
			return filepath.Base(f) + " asks for the whole program"
		}
	}
	if !found {
		return "there is no licence"
	}
	return "its licence is not on the list"
}

// npmLicences that packages of the web side may have, by SPDX's names.
var npmLicences = []string{"MIT", "ISC", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "0BSD", "MPL-2.0", "BlueOak-1.0.0", "CC0-1.0", "CC-BY-4.0", "Python-2.0", "Unlicense", "MIT OR Apache-2.0", "Apache-2.0 OR MIT", "(MIT OR Apache-2.0)", "(MIT OR CC0-1.0)"}

// npmUnsaid are packages whose licence stands elsewhere than in package.json, with the reason.
var npmUnsaid = map[string]string{
	"combine-errors":        "package.json says nothing; a test installs it, below tus-js-client, and nothing ships it",
	"custom-error-instance": "package.json says nothing; a test installs it, below tus-js-client, and nothing ships it",

	"@mapbox/jsonlint-lines-primitives": "2.0.2 says nothing, 2.0.3 (which wants Node 22) is MIT; installed below maplibre-gl, and nothing ships it",
}

// TestNPMLicences: each package in a lock file has a version, a hash, and a licence on the list.
func TestNPMLicences(t *testing.T) {
	out, err := exec.Command("git", "ls-files", "*package-lock.json").Output()
	if err != nil {
		t.Fatal(err)
	}
	locks := strings.Fields(string(out))
	if len(locks) == 0 {
		t.Fatal("no lock file was found")
	}
	for _, file := range locks {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var lock struct {
			Packages map[string]struct {
				Version, Integrity, License string
				Link, Optional              bool
			}
		}
		if err := json.Unmarshal(b, &lock); err != nil || len(lock.Packages) == 0 {
			t.Fatalf("%s: %v", file, err)
		}
		for path, p := range lock.Packages {
			if !strings.Contains(path, "node_modules/") || p.Link {
				continue // our own
			}
			if p.Optional && p.Integrity == "" && p.Version != "" {
				continue // the binary of a build tool for another machine than the one that made the file
			}
			if p.Version == "" || p.Integrity == "" {
				t.Errorf("%s: %s is not pinned by version and hash", file, path)
			}
			if npmUnsaid[strings.TrimPrefix(path, "node_modules/")] != "" {
				continue
			}
			if !slices.Contains(npmLicences, p.License) {
				t.Errorf("%s: %s has the licence %q", file, path, p.License)
			}
		}
	}
}
