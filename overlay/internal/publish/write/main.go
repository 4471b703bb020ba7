// Command write writes the JSON Schema of overlays to the file that is its argument.
package main

import (
	"log"
	"os"

	"github.com/tandem-call/tandem/overlay/internal/publish"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: write FILE")
	}
	b, err := publish.Schema()
	if err == nil {
		err = os.WriteFile(os.Args[1], b, 0o644)
	}
	if err != nil {
		log.Fatal(err)
	}
}
