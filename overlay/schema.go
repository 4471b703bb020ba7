package overlay

import _ "embed"

//go:generate go run ./internal/publish/write schema.json

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of the document. It cannot say all that
// [Overlay.Check] asks for.
func Schema() []byte { return schema }
