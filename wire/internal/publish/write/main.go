// Command write writes the files that package publish makes. Its argument is the
// repository's root.
package main

import (
	"log"
	"os"
	"path/filepath"

	"github.com/tandem-call/tandem/wire/internal/publish"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: write ROOT")
	}
	if err := write(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func write(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	files, err := publish.Files()
	if err != nil {
		return err
	}
	stale, err := filepath.Glob("wire/schema/*.json")
	if err != nil {
		return err
	}
	for _, path := range stale {
		if files[path] == nil {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	for path, data := range files {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
