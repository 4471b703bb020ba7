// Package publish makes the JSON Schema of overlays from the Go types and their comments.
package publish

import (
	"encoding/json"
	"fmt"

	"github.com/invopop/jsonschema"

	"github.com/tandem-call/tandem/overlay"
)

// Schema returns the document. The working directory must be that of package overlay,
// whose sources have the comments.
func Schema() ([]byte, error) {
	r := &jsonschema.Reflector{Anonymous: true, ExpandedStruct: true}
	if err := r.AddGoComments("github.com/tandem-call/tandem/overlay", "./", jsonschema.WithFullComment()); err != nil {
		return nil, fmt.Errorf("publish: comments: %w", err)
	}
	b, err := json.MarshalIndent(r.Reflect(overlay.Overlay{}), "", "  ")
	return append(b, '\n'), err
}
