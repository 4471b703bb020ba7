//go:build peers

package webpush

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tandem-call/tandem/internal/edge/push/webpush/webpushtest"
)

// TestHTTPECE: the npm package http_ece decrypts what we encrypt.
func TestHTTPECE(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "httpece"))); err != nil {
		t.Fatal(err)
	}
	install := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	var in bytes.Buffer
	var want strings.Builder
	for i := range 100 {
		b := (&webpushtest.Service{URL: "https://push.example"}).Subscribe("")
		s, err := Parse(b.JSON, false)
		if err != nil {
			t.Fatal(err)
		}
		payload := fmt.Sprintf(`{"push":"psh_%0*d"}`, i, i)
		body, err := Encrypt(s, []byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		private, auth := b.Secrets()
		line := map[string]string{"body": base64.RawURLEncoding.EncodeToString(body), "private": private, "auth": auth}
		if err := json.NewEncoder(&in).Encode(line); err != nil {
			t.Fatal(err)
		}
		want.WriteString(payload + "\n")
	}
	run := exec.Command("node", "decrypt.mjs")
	run.Dir, run.Stdin = dir, &in
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if string(out) != want.String() {
		t.Errorf("it read:\n%s", out)
	}
}
