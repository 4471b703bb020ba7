package wire

import (
	"embed"
	"io/fs"
)

//go:generate go run ./internal/publish/write ..

//go:embed schema/*.json
var schemas embed.FS

// Schemas returns the generated descriptions of the protocol: envelope.json,
// device_frame.json, server_frame.json and one file per body (JSON Schema 2020-12), and
// asyncapi.json (AsyncAPI 3). They refer to each other by file name.
func Schemas() fs.FS {
	sub, err := fs.Sub(schemas, "schema")
	if err != nil {
		panic(err) // only for a malformed name
	}
	return sub
}
