package sip

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"strings"
)

// What a body is taken apart into at most: parts, and parts within parts.
const maxParts, maxNested = 16, 3

// part of a body (RFC 5621), or a body that has no parts.
type part struct {
	mediaType string // in lower case, without parameters
	id        string // Content-ID without its brackets (RFC 2392)
	content   []byte
}

// parts of a body; what cannot be read, and what is too much, is left out.
func (m *Message) parts() []part {
	return appendParts(nil, m.Get(ContentType), m.Get(ContentID), m.Body, 0) // its Content-ID: RFC 8262
}

func appendParts(all []part, contentType, id string, body []byte, depth int) []part {
	mediaType, _, _ := strings.Cut(contentType, ";")
	mediaType = strings.ToLower(strings.TrimSpace(mediaType))
	if !strings.HasPrefix(mediaType, "multipart/") {
		id = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(id), "<"), ">")
		return append(all, part{mediaType, id, body})
	}
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil || params["boundary"] == "" || depth == maxNested {
		return all
	}
	r := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for len(all) < maxParts {
		p, err := r.NextPart()
		if err != nil {
			return all
		}
		content, err := io.ReadAll(p)
		if err != nil {
			return all
		}
		all = appendParts(all, p.Header.Get("Content-Type"), p.Header.Get("Content-ID"), content, depth+1)
	}
	return all
}
