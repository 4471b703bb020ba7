package profile

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"fmt"
	"io"
	"mime/quotedprintable"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-vcard"

	"github.com/tandem-call/tandem/wire"
)

// Card is a profile's fields as they stand in a vCard, with the pictures themselves.
type Card struct {
	Fields []wire.ProfileField
	// Pictures by the ids of their fields.
	Pictures map[string][]byte
	// UID of the card, if it has one.
	UID string
	// Photo is the address of a picture that the card only names. Reading the card does not fetch it.
	Photo string
}

// structured are the properties whose value has parts, divided by semicolons (RFC 6350 6.2.2, 6.3.1, 6.6.4).
var structured = []string{"n", "adr", "org", "gender"}

// ParseCards reads vCards of the versions 4.0 (RFC 6350), 3.0 (RFC 2426) and 2.1. ErrRequest.
func ParseCards(data []byte) ([]Card, error) {
	if len(data) > wire.MaxCard {
		return nil, fmt.Errorf("%w: vCards of at most %d bytes are read", ErrTooLarge, wire.MaxCard)
	}
	dec := vcard.NewDecoder(bytes.NewReader(version21(data)))
	var cards []Card
	for {
		c, err := dec.Decode()
		if err == io.EOF {
			break
		} else if err != nil {
			return nil, fmt.Errorf("%w: card %d: %w", ErrRequest, len(cards)+1, err)
		}
		if v := c.Value(vcard.FieldVersion); v != "4.0" && v != "3.0" && v != "2.1" {
			return nil, fmt.Errorf("%w: card %d: version %q; 4.0, 3.0 and 2.1 are read", ErrRequest, len(cards)+1, v)
		}
		cards = append(cards, fromVCard(c))
	}
	if len(cards) == 0 {
		return nil, fmt.Errorf("%w: there is no vCard in it", ErrRequest)
	}
	return cards, nil
}

// version21 gives a card of version 2.1 the form of the later ones: parameters without a
// name get theirs, and the soft line breaks of quoted-printable are joined.
func version21(data []byte) []byte {
	var out []byte
	old, soft, at := false, false, 0
	for line := range bytes.Lines(data) {
		at += len(line)
		text := bytes.TrimRight(line, "\r\n")
		if soft {
			if soft = bytes.HasSuffix(text, []byte("=")); soft {
				text = text[:len(text)-1]
			} else {
				text = append(slices.Clone(text), "\r\n"...)
			}
			out = append(out, text...)
			continue
		}
		switch upper := bytes.ToUpper(bytes.TrimSpace(text)); {
		case bytes.Equal(upper, []byte("BEGIN:VCARD")):
			old = is21(data[at-len(line) : min(len(data), at+1<<16)])
		case old && len(text) > 0 && text[0] != ' ' && text[0] != '\t':
			head, value, _ := bytes.Cut(text, []byte(":"))
			parts := bytes.Split(head, []byte(";"))
			for i, p := range parts[1:] {
				switch {
				case bytes.Contains(p, []byte("=")):
				case bytes.EqualFold(p, []byte("QUOTED-PRINTABLE")), bytes.EqualFold(p, []byte("BASE64")):
					parts[i+1] = append([]byte("ENCODING="), p...)
				default:
					parts[i+1] = append([]byte("TYPE="), p...)
				}
			}
			head = bytes.Join(parts, []byte(";"))
			if soft = bytes.Contains(bytes.ToUpper(head), []byte("QUOTED-PRINTABLE")) && bytes.HasSuffix(value, []byte("=")); soft {
				value = value[:len(value)-1]
			}
			out = append(append(append(out, head...), ':'), value...)
			if !soft {
				out = append(out, "\r\n"...)
			}
			continue
		}
		out = append(append(out, text...), "\r\n"...)
	}
	return out
}

// is21 reports whether the card that comes first is of version 2.1.
func is21(data []byte) bool {
	card, _, _ := bytes.Cut(bytes.ToUpper(data), []byte("END:VCARD"))
	return bytes.Contains(card, []byte("VERSION:2.1"))
}

func fromVCard(c vcard.Card) Card {
	card := Card{Pictures: map[string][]byte{}, UID: c.Value(vcard.FieldUID)}
	keys := make([]string, 0, len(c))
	for k := range c {
		keys = append(keys, k)
	}
	// In the order of names, which is that of importance; extensions last.
	slices.SortFunc(keys, func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b)) })
	for _, k := range keys {
		name := strings.ToLower(k)
		if !slices.Contains(names, name) && !strings.HasPrefix(name, "x-") {
			continue
		}
		for _, prop := range c[k] {
			if len(card.Fields) == wire.MaxProfileFields {
				return card
			}
			f := wire.ProfileField{ID: idFor(card.Fields, name), Name: name, Types: types(prop.Params)}
			value := text(prop)
			if name == "photo" {
				if b := picture(prop, value); b != nil {
					card.Pictures[f.ID] = b
					card.Fields = append(card.Fields, f)
				} else if card.Photo == "" && strings.Contains(value, "://") {
					card.Photo = value
				}
				continue
			}
			if !slices.Contains(structured, name) {
				value = strings.ReplaceAll(value, `\;`, ";")
			}
			if name == "tel" {
				value = strings.TrimPrefix(value, "tel:")
			}
			f.Value = strings.TrimSpace(value)
			if valid(f) == nil {
				card.Fields = append(card.Fields, f)
			}
		}
	}
	return card
}

func rank(key string) int {
	if i := slices.Index(names, strings.ToLower(key)); i >= 0 {
		return i
	}
	return len(names)
}

// idFor returns the id of a further field of a name: email, email-2, …
func idFor(fields []wire.ProfileField, name string) string {
	n := 1
	for _, f := range fields {
		if f.Name == name {
			n++
		}
	}
	if n == 1 {
		return name
	}
	return fmt.Sprintf("%s-%d", name, n)
}

// types of a property.
func types(p vcard.Params) (out []string) {
	add := func(t string) {
		if t = strings.ToLower(t); typeName.MatchString(t) && t != "pref" && len(out) < 8 && !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	for _, list := range p["TYPE"] {
		for t := range strings.SplitSeq(list, ",") {
			add(t)
		}
	}
	slices.Sort(out)
	return out
}

func encoding(p vcard.Params) string { return strings.ToUpper(p.Get("ENCODING")) }

// text of a property, in UTF-8.
func text(f *vcard.Field) string {
	v := f.Value
	if encoding(f.Params) == "QUOTED-PRINTABLE" {
		if b, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(v))); err == nil {
			v = string(b)
		}
	}
	if !utf8.ValidString(v) { // version 2.1 without a word about it: ISO 8859-1
		r := make([]rune, len(v))
		for i := range len(v) {
			r[i] = rune(v[i])
		}
		v = string(r)
	}
	return strings.ReplaceAll(v, "\r\n", "\n")
}

// picture returns the bytes of a photo that the card has in it; one at an address is not fetched.
func picture(f *vcard.Field, value string) []byte {
	switch e := encoding(f.Params); {
	case strings.HasPrefix(value, "data:"):
		_, value, _ = strings.Cut(value, ",")
	case e != "B" && e != "BASE64":
		return nil
	}
	b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(value), ""))
	if err != nil || len(b) > wire.MaxProfilePicture {
		return nil
	}
	return b
}

// VCard writes fields as a vCard 4.0. pictures returns a picture's bytes; nil leaves it out.
func VCard(uid string, fields []wire.ProfileField, pictures func(wire.ProfilePicture) []byte) []byte {
	c := vcard.Card{}
	c.SetValue(vcard.FieldVersion, "4.0")
	if uid != "" {
		c.SetValue(vcard.FieldUID, uid)
	}
	for _, f := range fields {
		p := &vcard.Field{Value: f.Value, Params: vcard.Params{}}
		if len(f.Types) > 0 {
			p.Params["TYPE"] = f.Types
		}
		switch {
		case f.Picture != nil:
			b := pictures(*f.Picture)
			if b == nil {
				continue
			}
			p.Value = dataURI(f.Picture.Type, b)
		case f.Name == "tel":
			p.Params.Set("VALUE", "text")
		}
		c.Add(strings.ToUpper(f.Name), p)
	}
	if c.Get(vcard.FieldFormattedName) == nil { // it must be there (RFC 6350 6.2.1)
		c.SetValue(vcard.FieldFormattedName, display(fields))
	}
	var b bytes.Buffer
	if err := vcard.NewEncoder(&b).Encode(c); err != nil {
		return nil // only without a version
	}
	// A comma is no delimiter in an address (RFC 6350 3.4).
	return fold(bytes.ReplaceAll(b.Bytes(), []byte(`;base64\,`), []byte(`;base64,`)))
}

func dataURI(kind string, b []byte) string {
	return "data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(b)
}

// display is what a person without a name is called.
func display(fields []wire.ProfileField) string {
	for _, name := range []string{"nickname", "org", "email", "tel"} {
		for _, f := range fields {
			if f.Name == name {
				return strings.TrimRight(f.Value, ";")
			}
		}
	}
	return "?"
}

// fold breaks lines at 75 octets (RFC 6350 3.2), not within a character.
func fold(data []byte) []byte {
	var out []byte
	for line := range bytes.Lines(data) {
		line = bytes.TrimRight(line, "\r\n")
		for room := 75; len(line) > room; room = 74 {
			at := room
			for !utf8.RuneStart(line[at]) {
				at--
			}
			out = append(append(out, line[:at]...), "\r\n "...)
			line = line[at:]
		}
		out = append(append(out, line...), "\r\n"...)
	}
	return out
}
