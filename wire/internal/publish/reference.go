package publish

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"

	"github.com/tandem-call/tandem/wire"
)

// reference returns docs/reference/problems.md.
func reference(g *generator) []byte {
	var b bytes.Buffer
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	p("# Codes, limits and messages\n\n")
	p("<!-- Made by `go generate ./wire` from the Go types. Change those. -->\n\n")

	p("## Problems\n\n")
	p("Over HTTP a problem is `application/problem+json` (RFC 9457) with the status given; over a\n")
	p("WebSocket it is the body of an `error` frame. `retry`: the same request may succeed later.\n\n")
	p("| code | status | meaning | what to do | retry |\n| --- | --- | --- | --- | --- |\n")
	for _, c := range sortedCodes() {
		k := wire.Catalogue[c]
		p("| `%s` | %d | %s. | %s | %s |\n", c, k.Status, cell(k.Title), cell(k.Advice), yes(k.Retry))
	}

	p("\n## Close codes\n\n")
	p("With these the server closes a WebSocket (RFC 6455 7.4).\n\n")
	p("| code | name | meaning | come back |\n| --- | --- | --- | --- |\n")
	for _, c := range wire.CloseCodes {
		p("| %d | %s | %s | %s |\n", c.Code, c.Name, cell(c.Meaning), comeBack(c.Code))
	}

	p("\n## Limits\n\n")
	p("Those in force are in the `welcome`; these are the defaults. The operator can change them.\n\n")
	p("| limit | default | what |\n| --- | --- | --- |\n")
	limits := reflect.ValueOf(wire.DefaultLimits)
	for i := range limits.NumField() {
		f := limits.Type().Field(i)
		p("| `%s` | %v | %s |\n", f.Tag.Get("json"), limits.Field(i), cell(g.comment(limits.Type(), f.Name)))
	}
	p("\nFixed: a body is nested at most %d levels deep; `to` names at most %d members; an id has\n", wire.MaxDepth, wire.MaxTo)
	p("at most %d characters, a kind %d.\n", wire.MaxID, wire.MaxKind)

	p("\n## Types of frames\n\n")
	p("The server refuses fields that a type does not list, and keys that come twice or in another\n")
	p("spelling. Clients ignore fields and types that they do not know. Schemas: `/schemas/device_frame.json`,\n")
	p("`/schemas/server_frame.json`, and one per body.\n\n")
	p("| type | from | required | optional | body | what |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, t := range wire.Types {
		p("| `%s` | %s | %s | %s | %s | %s |\n", t.Type, t.Sender, list(t.Required), list(t.Optional), body(t.Body), cell(t.Summary))
	}

	p("\n## Kinds of messages\n\n")
	p("Any other kind of 1 to %d characters a-z, 0-9, `.`, `_`, `-` passes as it is; those that\nbegin with `tandem.` are the server's.\n\n", wire.MaxKind)
	p("| kind | from | body | shown before it is stored | what |\n| --- | --- | --- | --- | --- |\n")
	for _, k := range wire.Kinds {
		p("| `%s` | %s | %s | %s | %s |\n", k.Kind, k.Sender, body(k.Body), yes(wire.DeliverFirst(k.Kind)), cell(k.Summary))
	}
	return b.Bytes()
}

func comeBack(c wire.CloseCode) string {
	again, pause := c.Reconnect()
	switch {
	case !again:
		return "no"
	case pause:
		return "after a pause, with jitter"
	}
	return "at once"
}

func body(v any) string {
	if v == nil {
		return ""
	}
	return "`" + file(v) + ".json`"
}

func list(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "`" + strings.Join(names, "`, `") + "`"
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
