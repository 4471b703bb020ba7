package publish

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

const (
	module  = "github.com/tandem-call/tandem"
	draft   = "https://json-schema.org/draft/2020-12/schema"
	idForm  = "^[A-Za-z0-9_-]{1,64}$"
	maxSafe = 1<<53 - 1 // what JavaScript holds exactly
)

// object is a JSON object that is built by hand.
type object = map[string]any

// side is one end of the conversation.
type side struct {
	sender wire.Sender
	title  string
	// closed: keys and types that are not listed are refused. What the server sends is
	// open, so that it can be newer than a client.
	closed bool
}

var (
	device = side{wire.FromDevice, "What a device sends", true}
	server = side{wire.FromServer, "What the server sends", false}
)

// generator reflects Go types, with the comments of their sources.
type generator struct{ comments map[string]string }

func newGenerator() (*generator, error) {
	r := new(jsonschema.Reflector)
	for _, dir := range []string{"./wire", "./tel", "./overlay"} {
		if err := r.AddGoComments(module, dir, jsonschema.WithFullComment()); err != nil {
			return nil, fmt.Errorf("publish: comments of %s: %w", dir, err)
		}
	}
	return &generator{r.CommentMap}, nil
}

var link = regexp.MustCompile(`\[([A-Za-z.]+)\]`)

// comment returns the first paragraph of the comment of a type or of a field, as one line
// of plain text. A field goes by its name in JSON.
func (g *generator) comment(t reflect.Type, field string) string {
	key := t.PkgPath() + "." + t.Name()
	if field != "" {
		key += "." + field
	}
	text, _, _ := strings.Cut(g.comments[key], "\n\n")
	text = link.ReplaceAllString(strings.Join(strings.Fields(text), " "), "$1")
	if field == "" {
		return text
	}
	if rest, ok := strings.CutPrefix(text, field); ok {
		f, _ := t.FieldByName(field)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		return name + rest
	}
	return text
}

// reflect returns the schema of a Go type, all in one file.
func (g *generator) reflect(v any, closed bool) *jsonschema.Schema {
	r := &jsonschema.Reflector{
		Anonymous:                 true,
		ExpandedStruct:            true,
		AllowAdditionalProperties: !closed,
		Mapper:                    g.leaf,
		LookupComment:             g.comment,
	}
	s := r.Reflect(v)
	s.Title = reflect.TypeOf(v).Name()
	return s
}

// leaf says what a type looks like whose Go form does not tell.
func (g *generator) leaf(t reflect.Type) *jsonschema.Schema {
	text := func(pattern string, longest uint64) *jsonschema.Schema {
		return &jsonschema.Schema{Type: "string", Pattern: pattern, MaxLength: &longest}
	}
	oneOf := func(values ...any) *jsonschema.Schema {
		return &jsonschema.Schema{Type: "string", Enum: values}
	}
	switch {
	case t == reflect.TypeFor[tel.Identity]():
		return text("", 512)
	case t == reflect.TypeFor[tel.State]():
		return oneOf(tel.Ringing, tel.Active, tel.Held, tel.Ended)
	case t == reflect.TypeFor[tel.Direction]():
		return oneOf(tel.Outgoing, tel.Incoming)
	case t == reflect.TypeFor[wire.Phase]():
		return oneOf(wire.InCall, wire.AfterCall, wire.Closed)
	case t == reflect.TypeFor[wire.Type]():
		return text("", 64)
	case t == reflect.TypeFor[wire.Code]():
		return text("^[a-z-]+$", 64)
	case t.PkgPath() == reflect.TypeFor[wire.SessionID]().PkgPath() && t.Kind() == reflect.String && strings.HasSuffix(t.Name(), "ID"):
		return &jsonschema.Schema{Type: "string", Pattern: idForm}
	case t.Kind() == reflect.Uint64:
		return &jsonschema.Schema{Type: "integer", Minimum: "0", Maximum: json.Number(fmt.Sprint(maxSafe))}
	case t.Kind() == reflect.Int64 || t.Kind() == reflect.Int:
		return &jsonschema.Schema{Type: "integer", Minimum: "0"}
	case t == reflect.TypeFor[json.RawMessage]():
		return new(jsonschema.Schema)
	}
	return nil
}

// file is the name of the file that a body's schema is in.
func file(body any) string {
	var b strings.Builder
	for i, r := range reflect.TypeOf(body).Name() {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				b.WriteByte('_')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// bodies returns the schema of each body. Those of kinds are open: a kind's message
// passes as it is, between devices of any age.
func (g *generator) bodies() map[string]any {
	all := map[string]any{}
	for _, t := range wire.Types {
		if t.Body != nil {
			all[file(t.Body)] = g.reflect(t.Body, t.Sender == wire.FromDevice)
		}
	}
	for _, k := range wire.Kinds {
		all[file(k.Body)] = g.reflect(k.Body, false)
	}
	return all
}

// envelope returns the schema of the envelope by itself, whatever its type.
func (g *generator) envelope() any {
	s := g.reflect(wire.Envelope{}, true)
	g.limitEnvelope(s)
	return s
}

// limitEnvelope adds what the envelope's Go type does not say.
func (g *generator) limitEnvelope(s *jsonschema.Schema) {
	set := func(field string, change func(*jsonschema.Schema)) {
		p, ok := s.Properties.Get(field)
		if !ok {
			panic("publish: the envelope has no " + field)
		}
		change(p)
	}
	set("kind", func(p *jsonschema.Schema) { p.Pattern = fmt.Sprintf("^[a-z0-9._-]{1,%d}$", wire.MaxKind) })
	set("to", func(p *jsonschema.Schema) {
		least, most := uint64(1), uint64(wire.MaxTo)
		p.MinItems, p.MaxItems = &least, &most
	})
}

// frames returns the schema of all that one side sends: by type, which fields there are
// and what the body is.
func (g *generator) frames(by side) any {
	defs := object{}
	var names []wire.Type
	var choices []object
	for _, t := range wire.Types {
		if t.Sender != by.sender && t.Sender != wire.FromBoth {
			continue
		}
		names = append(names, t.Type)
		defs[string(t.Type)] = by.frame(t)
		choices = append(choices, object{
			"if":   object{"properties": object{"type": object{"const": t.Type}}},
			"then": object{"$ref": "#/$defs/" + string(t.Type)},
		})
	}
	kind := object{"type": "string"}
	if by.closed {
		kind["enum"] = names
	}
	return object{
		"$schema":     draft,
		"title":       by.title,
		"description": "One frame. Which fields there are depends on the type.",
		"type":        "object",
		"required":    []string{"type"},
		"properties":  object{"type": kind},
		"allOf":       choices,
		"$defs":       defs,
	}
}

// frame returns the schema of one type of envelope.
func (by side) frame(t wire.TypeInfo) object {
	properties := object{"type": object{"const": t.Type}}
	for _, f := range slices.Concat(t.Required, t.Optional) {
		properties[f] = object{"$ref": "envelope.json#/properties/" + f}
	}
	s := object{
		"title":       t.Type,
		"description": t.Summary,
		"type":        "object",
		"required":    append([]string{"type"}, t.Required...),
		"properties":  properties,
	}
	if t.Body != nil {
		properties["body"] = object{"$ref": file(t.Body) + ".json"}
	}
	if properties["kind"] != nil {
		var known []object
		for _, k := range wire.Kinds {
			if k.Sender == wire.FromDevice || !by.closed {
				known = append(known, object{
					"if":   object{"properties": object{"kind": object{"const": k.Kind}}, "required": []string{"kind"}},
					"then": object{"properties": object{"body": object{"$ref": file(k.Body) + ".json"}}, "required": []string{"body"}},
				})
			}
		}
		s["allOf"] = known
	}
	if by.closed {
		s["additionalProperties"] = false
		if properties["kind"] != nil {
			properties["kind"] = object{"$ref": "envelope.json#/properties/kind", "not": object{"pattern": `^tandem\.`}}
		}
	}
	return s
}

// sortedCodes lists the catalogue's codes by status, then by name.
func sortedCodes() []wire.Code {
	return slices.SortedFunc(maps.Keys(wire.Catalogue), func(a, b wire.Code) int {
		if d := wire.Catalogue[a].Status - wire.Catalogue[b].Status; d != 0 {
			return d
		}
		return strings.Compare(string(a), string(b))
	})
}
