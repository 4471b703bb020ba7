package overlay

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/wire"
)

// placeholder stands in a text of a template for a parameter.
var placeholder = regexp.MustCompile(`\{\{([a-z0-9_-]{1,64})\}\}`)

// Values of parameters, by their ids.
type Values = map[string][]string

// Fill puts values into a template's document and checks the outcome as a device would.
// Texts are replaced in the values of the document only, never in its keys, so a value cannot
// bring an element or action with it; "{{id}}" alone of a number becomes a number. The error is
// ErrRequest, or overlay.ErrInvalid.
func Fill(d wire.OverlayDraft, values Values) (overlay.Overlay, error) {
	values, err := complete(d.Parameters, values)
	if err != nil {
		return overlay.Overlay{}, err
	}
	decoder := json.NewDecoder(bytes.NewReader(d.Document))
	decoder.UseNumber()
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		return overlay.Overlay{}, fmt.Errorf("%w: the document is not JSON: %w", ErrRequest, err)
	}
	f := filler{values: values, numbers: map[string]bool{}, room: overlay.MaxSize}
	for _, p := range d.Parameters {
		f.numbers[p.ID] = p.Type == overlay.Number
	}
	if tree = f.fill(tree); f.unknown != "" {
		return overlay.Overlay{}, fmt.Errorf("%w: the document has {{%s}}, and there is no such parameter", ErrRequest, f.unknown)
	}
	if f.room < 0 {
		return overlay.Overlay{}, fmt.Errorf("%w: with these values the document is larger than %d bytes", ErrRequest, overlay.MaxSize)
	}
	document, err := json.Marshal(tree)
	if err != nil {
		return overlay.Overlay{}, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	return overlay.Decode(document)
}

// complete checks the values and adds the defaults.
func complete(parameters []wire.OverlayParameter, values Values) (Values, error) {
	form := overlay.Form{}
	all := Values{}
	for id := range values {
		if !slices.ContainsFunc(parameters, func(p wire.OverlayParameter) bool { return p.ID == id }) {
			return nil, fmt.Errorf("%w: there is no parameter %q", ErrRequest, id)
		}
	}
	for _, p := range parameters {
		form.Fields = append(form.Fields, p.Field)
		given := slices.DeleteFunc(slices.Clone(values[p.ID]), func(s string) bool { return s == "" })
		if len(given) == 0 {
			given = p.Default
		}
		if len(given) > 0 {
			all[p.ID] = given
		}
	}
	return all, form.Check(all)
}

// filler replaces placeholders in a document.
type filler struct {
	values  Values
	numbers map[string]bool // the parameters, and whether they are numbers
	unknown string
	// room is how many bytes of values it still takes: a small template may name a long one often.
	room int
}

func (f *filler) fill(node any) any {
	switch x := node.(type) {
	case map[string]any:
		for k, v := range x {
			x[k] = f.fill(v)
		}
	case []any:
		for i, v := range x {
			x[i] = f.fill(v)
		}
	case string:
		return f.text(x)
	}
	return node
}

func (f *filler) text(s string) any {
	if m := placeholder.FindStringSubmatch(s); m != nil && m[0] == s && f.numbers[m[1]] {
		if n, err := strconv.ParseInt(f.value(m[1]), 10, 64); err == nil {
			return n
		}
	}
	return placeholder.ReplaceAllStringFunc(s, func(m string) string { return f.value(m[2 : len(m)-2]) })
}

func (f *filler) value(id string) string {
	if _, known := f.numbers[id]; !known {
		f.unknown = id
	}
	v := strings.Join(f.values[id], ", ")
	if f.room -= len(v); f.room < 0 {
		return ""
	}
	return v
}

// sample returns values with which a template can be tried.
func sample(parameters []wire.OverlayParameter) Values {
	values := Values{}
	for _, p := range parameters {
		switch {
		case len(p.Example) > 0:
			values[p.ID] = p.Example
		case len(p.Default) > 0:
		case p.Type == overlay.Number:
			values[p.ID] = []string{strconv.FormatInt(max(p.Min, min(1, p.Max)), 10)}
		case p.Type == overlay.Date:
			values[p.ID] = []string{max(p.Least, min("2026-01-01", cmp.Or(p.Most, "2026-01-01")))}
		case p.Type == overlay.Line:
			values[p.ID] = []string{"x"}
		default:
			for _, o := range p.Options {
				if !o.Taken {
					values[p.ID] = []string{o.Value}
					break
				}
			}
		}
	}
	return values
}

// checkParameters looks at the parameters of a draft.
func checkParameters(d wire.OverlayDraft) error {
	form := overlay.Form{}
	for _, p := range d.Parameters {
		form.Fields = append(form.Fields, p.Field)
		switch {
		case !slices.Contains([]string{"", wire.FromAgent, wire.FromService, wire.FromCustomer}, p.From):
			return fmt.Errorf("%w: parameter %s: from is agent, service or customer", ErrRequest, p.ID)
		case (p.From == wire.FromCustomer) != (p.Of != ""):
			return fmt.Errorf("%w: parameter %s: of goes with customer, and customer needs it", ErrRequest, p.ID)
		case p.From == wire.FromService && d.URL == "" && p.Required && len(p.Default) == 0 && d.When != nil:
			return fmt.Errorf("%w: parameter %s comes from the service, and there is no url to ask", ErrRequest, p.ID)
		case (p.From == "" || p.From == wire.FromAgent) && p.Required && len(p.Default) == 0 && d.When != nil:
			return fmt.Errorf("%w: parameter %s needs an agent or a default, and this overlay is sent by itself", ErrRequest, p.ID)
		}
	}
	if len(form.Fields) == 0 {
		return nil
	}
	return form.Valid(languageOf(d.Parameters[0].Label))
}

// languageOf is a language that a text has, English if it has that.
func languageOf(words overlay.Words) string {
	if _, ok := words["en"]; ok || len(words) == 0 {
		return "en"
	}
	return slices.Min(slices.Collect(maps.Keys(words)))
}
