package profile

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tandem-call/tandem/wire"
)

// JCard writes fields as a jCard (RFC 7095).
func JCard(uid string, fields []wire.ProfileField, pictures func(wire.ProfilePicture) []byte) ([]byte, error) {
	none := map[string]any{}
	props := []any{[]any{"version", none, "text", "4.0"}}
	if uid != "" {
		props = append(props, []any{"uid", none, "text", uid})
	}
	named := false
	for _, f := range fields {
		params := map[string]any{}
		switch len(f.Types) {
		case 0:
		case 1:
			params["type"] = f.Types[0]
		default:
			params["type"] = f.Types
		}
		kind, value := "text", any(f.Value)
		switch {
		case f.Picture != nil:
			b := pictures(*f.Picture)
			if b == nil {
				continue
			}
			kind, value = "uri", dataURI(f.Picture.Type, b)
		case slices.Contains(structured, f.Name) && strings.Contains(f.Value, ";"):
			value = strings.Split(f.Value, ";")
		case f.Name == "url" || f.Name == "impp" || f.Name == "socialprofile":
			kind = "uri"
		case f.Name == "bday" || f.Name == "anniversary":
			kind = "date-and-or-time"
		}
		named = named || f.Name == "fn"
		props = append(props, []any{f.Name, params, kind, value})
	}
	if !named {
		props = append(props, []any{"fn", none, "text", display(fields)})
	}
	return json.Marshal([]any{"vcard", props})
}

// ParseJCard reads a jCard. ErrRequest.
func ParseJCard(data []byte) (Card, error) {
	card := Card{Pictures: map[string][]byte{}}
	wrong := func(what string) (Card, error) { return Card{}, fmt.Errorf("%w: jCard: %s", ErrRequest, what) }
	var doc []json.RawMessage
	var tag string
	var props [][]json.RawMessage
	if json.Unmarshal(data, &doc) != nil || len(doc) != 2 || json.Unmarshal(doc[0], &tag) != nil || tag != "vcard" || json.Unmarshal(doc[1], &props) != nil {
		return wrong(`it is ["vcard", [property, …]]`)
	}
	for _, p := range props {
		var name string
		var params map[string]json.RawMessage
		if len(p) < 4 || json.Unmarshal(p[0], &name) != nil || json.Unmarshal(p[1], &params) != nil {
			return wrong("a property is [name, {parameters}, type, value, …]")
		}
		name = strings.ToLower(name)
		if name == "uid" {
			_ = json.Unmarshal(p[3], &card.UID) // anything but text is no uid
		}
		if !slices.Contains(names, name) && !strings.HasPrefix(name, "x-") {
			continue
		}
		for _, raw := range p[3:] {
			if len(card.Fields) == wire.MaxProfileFields {
				return card, nil
			}
			f := wire.ProfileField{ID: idFor(card.Fields, name), Name: name, Types: jTypes(params["type"]), Value: jValue(raw)}
			if name == "photo" {
				_, b64, ok := strings.Cut(f.Value, ";base64,")
				b, err := base64.StdEncoding.DecodeString(b64)
				if ok && err == nil && len(b) <= wire.MaxProfilePicture {
					f.Value, card.Pictures[f.ID] = "", b
					card.Fields = append(card.Fields, f)
				} else if card.Photo == "" && strings.Contains(f.Value, "://") {
					card.Photo = f.Value
				}
			} else if valid(f) == nil {
				card.Fields = append(card.Fields, f)
			}
		}
	}
	return card, nil
}

func jTypes(raw json.RawMessage) (out []string) {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		out = []string{one}
	} else if json.Unmarshal(raw, &out) != nil {
		return nil
	}
	return slices.DeleteFunc(out, func(t string) bool { return !typeName.MatchString(t) })
}

// jValue is a value as text; one with parts gets its semicolons.
func jValue(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var parts []json.RawMessage
	if json.Unmarshal(raw, &parts) != nil {
		return ""
	}
	text := make([]string, len(parts))
	for i, p := range parts {
		var list []string
		if json.Unmarshal(p, &text[i]) != nil && json.Unmarshal(p, &list) == nil {
			text[i] = strings.Join(list, ",")
		}
	}
	return strings.Join(text, ";")
}
