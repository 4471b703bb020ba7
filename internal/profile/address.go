package profile

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/html"
	"willnorris.com/go/microformats"

	"github.com/tandem-call/tandem/wire"
)

// AddressTypes are the media types in which a profile at an address is read, the better ones first.
var AddressTypes = []string{
	"text/vcard", "application/vcard+json", "text/x-vcard", "text/directory", "text/html", "application/xhtml+xml",
	"application/activity+json", "application/ld+json", "application/json",
}

// ParseAddressed reads a profile as it stands at a network address (G2): a vCard or jCard, a page
// with an hCard (h-card of microformats2, or the classic vcard), or a JSON object that is a
// Person of schema.org or an actor of ActivityStreams, as social services have them. Addresses in it
// are resolved against at. ErrRequest, ErrTooLarge.
func ParseAddressed(mediaType string, data []byte, at *url.URL) (Card, error) {
	if len(data) > wire.MaxCard {
		return Card{}, fmt.Errorf("%w: profiles of at most %d bytes are read", ErrTooLarge, wire.MaxCard)
	}
	var card Card
	var err error
	switch {
	case strings.HasSuffix(mediaType, "json"):
		card, err = parseJSON(data)
	case strings.HasSuffix(mediaType, "html"), strings.HasSuffix(mediaType, "xhtml+xml"):
		card, err = parseHCard(data, at)
	default:
		var cards []Card
		if cards, err = ParseCards(data); err == nil {
			if len(cards) > 1 {
				return Card{}, fmt.Errorf("%w: there are %d cards at the address; which one is you?", ErrRequest, len(cards))
			}
			card = cards[0]
		}
	}
	if err != nil {
		return Card{}, err
	}
	if len(card.Fields) == 0 {
		return Card{}, fmt.Errorf("%w: what is at the address says nothing of a person", ErrRequest)
	}
	if photo, err := url.Parse(card.Photo); card.Photo != "" && err == nil {
		card.Photo = at.ResolveReference(photo).String()
	}
	return card, nil
}

// add adds a field, unless it is none, or is there already.
func (c *Card) add(name, value string) {
	f := wire.ProfileField{ID: idFor(c.Fields, name), Name: name, Value: strings.TrimSpace(value)}
	known := func(o wire.ProfileField) bool { return o.Name == name && o.Value == f.Value }
	if len(c.Fields) < wire.MaxProfileFields && valid(f) == nil && !slices.ContainsFunc(c.Fields, known) {
		c.Fields = append(c.Fields, f)
	}
}

// hCard leads from the properties of an h-card to those of a vCard, in the order in which they are shown.
var hCard = [][2]string{
	{"name", "fn"}, {"nickname", "nickname"}, {"org", "org"}, {"job-title", "title"}, {"role", "role"}, {"email", "email"}, {"tel", "tel"},
	{"impp", "impp"}, {"bday", "bday"}, {"anniversary", "anniversary"}, {"adr", "adr"}, {"url", "url"}, {"note", "note"},
}

// parseHCard reads the first h-card of a page.
func parseHCard(data []byte, at *url.URL) (Card, error) {
	found := firstCard(microformats.Parse(bytes.NewReader(data), at).Items)
	if found == nil {
		return Card{}, fmt.Errorf("%w: the page at the address has no hCard in it", ErrRequest)
	}
	card := Card{Pictures: map[string][]byte{}}
	for _, p := range hCard {
		for _, v := range found.Properties[p[0]] {
			text := property(v)
			switch p[1] {
			case "adr":
				text = postal(v)
			case "email", "tel":
				text = strings.TrimPrefix(strings.TrimPrefix(text, "mailto:"), "tel:")
			}
			card.add(p[1], text)
		}
	}
	if photos := found.Properties["photo"]; len(photos) > 0 {
		card.Photo = property(photos[0])
	}
	return card, nil
}

// firstCard finds an h-card, also within other things.
func firstCard(items []*microformats.Microformat) *microformats.Microformat {
	for _, m := range items {
		if slices.Contains(m.Type, "h-card") {
			return m
		}
		inside := slices.Clone(m.Children)
		for _, name := range []string{"author", "item"} {
			for _, v := range m.Properties[name] {
				if p, ok := v.(*microformats.Microformat); ok {
					inside = append(inside, p)
				}
			}
		}
		if found := firstCard(inside); found != nil {
			return found
		}
	}
	return nil
}

// property is a value of a microformat as text.
func property(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case *microformats.Microformat:
		return cmp.Or(first(v, "name"), v.Value)
	case map[string]string: // with its HTML, or a picture with its alternative text
		return v["value"]
	}
	return ""
}

func first(m *microformats.Microformat, name string) string {
	if list := m.Properties[name]; len(list) > 0 {
		return property(list[0])
	}
	return ""
}

// postal is an address, an h-adr or plain text, in the form of a vCard (RFC 6350 6.3.1).
func postal(v any) string {
	m, ok := v.(*microformats.Microformat)
	if !ok {
		return address("", "", property(v), "", "", "", "")
	}
	return address(first(m, "post-office-box"), first(m, "extended-address"), first(m, "street-address"), first(m, "locality"),
		first(m, "region"), first(m, "postal-code"), first(m, "country-name"))
}

func address(parts ...string) string {
	for i, p := range parts {
		parts[i] = strings.TrimSpace(strings.ReplaceAll(p, ";", ","))
	}
	if a := strings.Join(parts, ";"); strings.Trim(a, ";") != "" {
		return a
	}
	return ""
}

// parseJSON reads a jCard, or a JSON object about a person.
func parseJSON(data []byte) (Card, error) {
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '[' {
		return ParseJCard(data)
	}
	var o object
	if err := json.Unmarshal(data, &o); err != nil {
		return Card{}, fmt.Errorf("%w: what is at the address is no JSON object", ErrRequest)
	}
	kinds := append(o.texts("@type"), o.texts("type")...)
	if !slices.ContainsFunc(kinds, func(k string) bool { return slices.Contains(jsonKinds, strings.TrimPrefix(k, "schema:")) }) {
		return Card{}, fmt.Errorf("%w: the JSON at the address is no Person, Organization, Group, Service or Application", ErrRequest)
	}
	card := Card{Pictures: map[string][]byte{}}
	for _, p := range jsonNames {
		for _, text := range o.texts(p[0]) {
			switch {
			case p[1] == "email":
				text = strings.TrimPrefix(text, "mailto:")
			case p[0] == "summary": // of ActivityStreams, in HTML
				text = plain(text)
			}
			card.add(p[1], text)
		}
	}
	for _, a := range o.objects("address") {
		one := func(name string) string { return strings.Join(a.texts(name), ", ") }
		card.add("adr", address(one("postOfficeBoxNumber"), "", one("streetAddress"), one("addressLocality"), one("addressRegion"), one("postalCode"), one("addressCountry")))
	}
	for _, name := range []string{"image", "icon"} {
		if list := o.texts(name); len(list) > 0 {
			card.Photo = cmp.Or(card.Photo, list[0])
		}
	}
	return card, nil
}

// jsonKinds are those of schema.org and of ActivityStreams that are about somebody.
var jsonKinds = []string{"Person", "Organization", "Group", "Service", "Application"}

// jsonNames lead from names of schema.org and ActivityStreams to those of a vCard.
var jsonNames = [][2]string{
	{"name", "fn"}, {"alternateName", "nickname"}, {"preferredUsername", "nickname"}, {"worksFor", "org"}, {"affiliation", "org"},
	{"jobTitle", "title"}, {"email", "email"}, {"telephone", "tel"}, {"birthDate", "bday"}, {"url", "url"}, {"sameAs", "socialprofile"},
	{"description", "note"}, {"summary", "note"},
}

// object is one of JSON, whose values may be alone or in lists, and texts or objects with a name.
type object map[string]json.RawMessage

func (o object) list(name string) (out []json.RawMessage) {
	raw, ok := o[name]
	if !ok {
		return nil
	}
	if json.Unmarshal(raw, &out) != nil {
		out = []json.RawMessage{raw}
	}
	return out
}

func (o object) objects(name string) (out []object) {
	for _, raw := range o.list(name) {
		var inner object
		if json.Unmarshal(raw, &inner) == nil && inner != nil {
			out = append(out, inner)
		}
	}
	return out
}

func (o object) texts(name string) (out []string) {
	for _, raw := range o.list(name) {
		var text string
		if json.Unmarshal(raw, &text) == nil && text != "" {
			out = append(out, text)
		}
	}
	for _, inner := range o.objects(name) {
		for _, key := range []string{"url", "contentUrl", "href", "name"} {
			if name == "worksFor" || name == "affiliation" {
				key = "name"
			}
			if found := inner.texts(key); len(found) > 0 {
				out = append(out, found[0])
				break
			}
		}
	}
	return out
}

// plain is the text of HTML.
func plain(markup string) string {
	var b strings.Builder
	z := html.NewTokenizer(strings.NewReader(markup))
	for {
		switch z.Next() {
		case html.ErrorToken:
			return b.String()
		case html.TextToken:
			b.Write(z.Text())
		case html.StartTagToken, html.SelfClosingTagToken, html.EndTagToken:
			if name, _ := z.TagName(); string(name) == "br" || string(name) == "p" {
				b.WriteByte('\n')
			}
		}
	}
}
