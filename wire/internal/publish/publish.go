// Package publish makes what the project publishes about its protocol from the Go types
// of package wire and their comments: JSON Schemas, an AsyncAPI document, the reference
// page and the TypeScript types. `go generate ./wire` writes the files; a test in package wire compares
// them with what [Files] returns.
package publish

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Files returns every generated file by its path below the repository's root, which must
// be the working directory: the comments are read from the sources there.
func Files() (map[string][]byte, error) {
	g, err := newGenerator()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	documents := g.bodies()
	documents["envelope"] = g.envelope()
	documents["device_frame"] = g.frames(device)
	documents["server_frame"] = g.frames(server)
	documents["asyncapi"] = asyncAPI()
	for _, name := range slices.Sorted(maps.Keys(documents)) {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(documents[name]); err != nil {
			return nil, fmt.Errorf("publish: %s: %w", name, err)
		}
		files["wire/schema/"+name+".json"] = b.Bytes()
	}
	files["docs/reference/problems.md"] = reference(g)
	files["web/sdk/src/wire.ts"] = typescript(g)
	return files, nil
}
