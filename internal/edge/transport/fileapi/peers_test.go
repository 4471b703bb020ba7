//go:build peers

package fileapi_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tandem-call/tandem/internal/files"
)

// TestTusJSClient uploads with the npm package tus-js-client, which the web pages use.
func TestTusJSClient(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "tusjs"))); err != nil {
		t.Fatal(err)
	}
	install := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	s := newServer(t, files.Limits{})
	content := noise(1_000_000)
	path := filepath.Join(dir, "content.bin")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	run := exec.Command("node", "upload.mjs", s.URL, path, "s1")
	run.Dir = dir
	var stderr bytes.Buffer
	run.Stderr = &stderr
	out, err := run.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, stderr.Bytes())
	}
	if len(s.offers) != 1 {
		t.Fatalf("%d offers\n%s", len(s.offers), out)
	}
	f := s.offers[0]
	if want := f.Path + "\n" + f.Path + "\n" + f.Path + "\nnot-a-member\n"; string(out) != want {
		t.Errorf("it saw:\n%swant:\n%s", out, want)
	}
	if f.SHA256 != sha(content) || f.Name != "été.bin" {
		t.Errorf("offer %+v", f)
	}
}
