package server_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every table that the program has is on the page that says what is kept.
func TestPrivacyPageListsEveryTable(t *testing.T) {
	page, err := os.ReadFile("../../docs/privacy.md")
	check(t, err)
	tables := regexp.MustCompile(`TableOf\[[^\]]+\]\([^,()]+, "([^"]+)"\)`)
	seen := map[string]bool{}
	check(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "storetest") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range tables.FindAllSubmatch(b, -1) {
			seen[string(m[1])] = true
		}
		return err
	}))
	if len(seen) < 20 {
		t.Fatalf("only %d tables: this test looks for the wrong thing", len(seen))
	}
	for table := range seen {
		if !strings.Contains(string(page), "`"+table+"`") {
			t.Errorf("docs/privacy.md does not list the table %s", table)
		}
	}
}
