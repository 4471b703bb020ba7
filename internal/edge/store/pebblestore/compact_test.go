package pebblestore

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/tandem-call/tandem/internal/store"
)

// files in a directory that hold the text.
func filesWith(t *testing.T, dir, text string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil // Pebble has just removed it
		}
		if bytes.Contains(b, []byte(text)) {
			found = append(found, filepath.Base(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What was deleted is in no file, neither as a value nor as a key, also where Pebble had
// written it to tables and reuses its log files.
func TestCompactLeavesNothingDeleted(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, Options{Dir: dir, memTable: 256 << 10, plain: true})
	ctx := t.Context()
	put := func(key, value string) store.Rev {
		t.Helper()
		rev, err := s.Put(ctx, "people", key, []byte(value), 0)
		if err != nil {
			t.Fatal(err)
		}
		return rev
	}
	filler := func(round string) {
		for i := range 64 {
			put(fmt.Sprintf("filler/%s/%d", round, i), rand.Text()+string(bytes.Repeat([]byte(rand.Text()), 400)))
		}
	}
	filler("a")
	revs := map[string]store.Rev{}
	for i := range 50 {
		key := fmt.Sprintf("secret-key-%d", i)
		revs[key] = put(key, "secret-value")
		p, err := s.Append(ctx, "talk", []byte("secret-message"), store.DeliverAfter)
		if err == nil {
			err = p.Wait(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	filler("b")
	put("kept", "kept-value")
	if err := s.Compact(ctx); err != nil { // down to the lowest level
		t.Fatal(err)
	}
	if len(filesWith(t, dir, "secret-key-")) == 0 {
		t.Fatal("the text is in no file: this test looks for the wrong thing")
	}
	for key, rev := range revs {
		if err := s.Delete(ctx, "people", key, rev); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DropLog(ctx, "talk"); err != nil {
		t.Fatal(err)
	}
	if err := s.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Get(ctx, "people", "kept"); err != nil || string(r.Value) != "kept-value" {
		t.Errorf("what was not deleted: %s, %v", r.Value, err)
	}
	if err := s.Close(); err != nil { // files are removed in the background
		t.Fatal(err)
	}
	for _, text := range []string{"secret-key-", "secret-value", "secret-message"} {
		if found := filesWith(t, dir, text); len(found) > 0 {
			t.Errorf("%s is left in %q", text, found)
		}
	}
	again := openStore(t, Options{Dir: dir})
	if r, err := again.Get(ctx, "people", "kept"); err != nil || string(r.Value) != "kept-value" {
		t.Errorf("after a restart: %s, %v", r.Value, err)
	}
}
