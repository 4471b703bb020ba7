package profile_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/tandem-call/tandem/internal/profile"
)

var at, _ = url.Parse("https://quay.example/people/erin")

// TestAddressed: a profile at an address in each of the forms that are read.
func TestAddressed(t *testing.T) {
	for name, c := range map[string]struct{ kind, data, want, photo string }{
		"vCard": {
			"text/vcard", "BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Erin\r\nPHOTO;VALUE=uri:erin.png\r\nPHOTO:https://quay.example/e.png\r\nEND:VCARD\r\n",
			"fn=Erin", "https://quay.example/e.png",
		},
		"jCard": {
			"application/vcard+json", `["vcard",[["version",{},"text","4.0"],["fn",{},"text","Erin"],["photo",{},"uri","https://quay.example/e.png"]]]`,
			"fn=Erin", "https://quay.example/e.png",
		},
		"h-card": {
			"text/html", `<p class="h-card"><a class="p-name u-url" href="/erin">Erin</a> <span class="p-org h-card">Quay</span>
				<a class="u-email" href="mailto:e@quay.example">e</a><a class="u-tel" href="tel:+442079460005">t</a><time class="dt-bday" datetime="1990-05-17">x</time>
				<img class="u-photo" src="e.png" alt="me">`,
			"fn=Erin org=Quay email=e@quay.example tel=+442079460005 bday=1990-05-17 url=https://quay.example/erin", "https://quay.example/people/e.png",
		},
		"h-card of an author": {
			"application/xhtml+xml", `<article class="h-entry"><a class="p-author h-card" href="/erin">Erin</a></article>`, "fn=Erin url=https://quay.example/erin", "",
		},
		"classic hCard": {
			"text/html", `<div class="vcard"><span class="fn">Erin</span><div class="adr"><span class="street-address">1 Quay; Road</span><span class="locality">Falmouth</span></div></div>`,
			"fn=Erin adr=;;1 Quay, Road;Falmouth;;;", "",
		},
		"actor": {
			"application/activity+json", `{"type":"Person","name":"Erin","preferredUsername":"erin","summary":"<p>Boats &amp; <b>tides</b></p>","icon":{"type":"Image","url":"/e.png"},"url":["https://s.example/@erin"]}`,
			"fn=Erin nickname=erin url=https://s.example/@erin note=Boats & tides", "https://quay.example/e.png",
		},
		"Person of schema.org": {
			"application/ld+json", `{"@type":"Person","name":"Erin","worksFor":{"@type":"Organization","name":"Quay","url":"https://quay.example"},"email":"mailto:e@quay.example",
				"sameAs":["https://s.example/@erin","javascript:alert(1)"],"address":{"streetAddress":"1 Quay Road","addressLocality":"Falmouth"},"image":"https://quay.example/e.png"}`,
			"fn=Erin org=Quay email=e@quay.example socialprofile=https://s.example/@erin adr=;;1 Quay Road;Falmouth;;;", "https://quay.example/e.png",
		},
	} {
		card, err := profile.ParseAddressed(c.kind, []byte(c.data), at)
		var got []string
		for _, f := range card.Fields {
			got = append(got, f.ID+"="+f.Value)
		}
		if text := strings.Join(got, " "); err != nil || text != c.want || card.Photo != c.photo {
			t.Errorf("%s: %v\n%q, picture %q\nwant\n%q, picture %q", name, err, text, card.Photo, c.want, c.photo)
		}
	}
	for name, c := range map[string][2]string{
		"a page about nobody": {"text/html", "<p>Hello"},
		"JSON of a thing":     {"application/json", `{"@type":"Product","name":"Boat"}`},
		"no JSON":             {"application/json", `<p>`},
		"an empty person":     {"application/json", `{"type":"Person"}`},
		"two cards":           {"text/vcard", strings.Repeat("BEGIN:VCARD\r\nVERSION:4.0\r\nFN:E\r\nEND:VCARD\r\n", 2)},
	} {
		if _, err := profile.ParseAddressed(c[0], []byte(c[1]), at); !errors.Is(err, profile.ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzAddressed: whatever stands at an address gives fields that could be stored, or an error.
func FuzzAddressed(f *testing.F) {
	f.Add("text/html", `<p class="h-card"><a class="p-name u-url" href="/erin">Erin</a><span class="p-adr h-adr"><b class="p-locality">F</b></span>`)
	f.Add("application/json", `{"type":"Person","name":["Erin",{"name":"E"}],"address":[{"streetAddress":1}],"icon":{"url":"/e.png"}}`)
	f.Add("application/json", `["vcard",[["fn",{},"text","Erin"]]]`)
	f.Fuzz(func(t *testing.T, kind, data string) {
		card, err := profile.ParseAddressed(kind, []byte(data), at)
		if err != nil {
			return
		}
		for _, field := range card.Fields {
			if field.Name != "photo" && field.Value == "" {
				t.Errorf("field %s is empty", field.ID)
			}
		}
	})
}
