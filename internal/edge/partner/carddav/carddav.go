// Package carddav writes contacts into an address book of the user's own, by CardDAV (RFC 6352
// over RFC 4918). A [Book] lists, reads, puts and removes cards; nothing that somebody else has
// changed meanwhile is overwritten or removed: each change names the version that it knows (If-Match).
//
// It goes out through package fetch, since a book's address is a user's word.
package carddav

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/tandem-call/tandem/internal/edge/fetch"
)

// Errors of a book.
var (
	// ErrAddress: the address is none of a book.
	ErrAddress = errors.New("carddav: unusable address")
	// ErrRefused: the server does not take the user or password.
	ErrRefused = errors.New("carddav: user or password refused")
	// ErrNoBook: there is no address book at the address.
	ErrNoBook = errors.New("carddav: no address book there")
	// ErrChanged: somebody else has changed, made or removed the card meanwhile.
	ErrChanged = errors.New("carddav: changed by somebody else")
)

// None is the version of a card that is not there yet.
const None = ""

// maxList is the largest list of a book's cards, in bytes; maxCard the largest card.
const maxList, maxCard = 8 << 20, 4 << 20

// Config of a Book. All but User and Password are needed.
type Config struct {
	Fetcher *fetch.Fetcher
	// URL of the address book's collection, such as https://dav.example/bob/contacts/.
	URL string
	// User and Password are sent by HTTP Basic.
	User, Password string
	// HTTP allows addresses without TLS, which show the password to the network.
	HTTP bool
}

// Book is an address book on a CardDAV server.
type Book struct {
	cfg  Config
	base *url.URL
}

// New returns the book at an address. ErrAddress.
func New(c Config) (*Book, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("%w: %q is not the address of a collection, such as https://dav.example/bob/contacts/", ErrAddress, c.URL)
	case u.Scheme == "http" && !c.HTTP:
		return nil, fmt.Errorf("%w: http:// would show the password to the network; use https://", ErrAddress)
	case c.Fetcher == nil:
		return nil, errors.New("carddav: config needs Fetcher")
	}
	if !strings.HasSuffix(u.Path, "/") {
		u.Path += "/"
	}
	return &Book{c, u}, nil
}

// multistatus is what PROPFIND answers (RFC 4918 14.16).
type multistatus struct {
	Responses []struct {
		Href  string `xml:"DAV: href"`
		Props []struct {
			Status string `xml:"DAV: status"`
			Prop   struct {
				ETag string `xml:"DAV: getetag"`
				Type struct {
					Book *struct{} `xml:"urn:ietf:params:xml:ns:carddav addressbook"`
				} `xml:"DAV: resourcetype"`
				// For discovery: RFC 5397 section 3, RFC 6352 section 7.1.1.
				User hrefs `xml:"DAV: current-user-principal"`
				Home hrefs `xml:"urn:ietf:params:xml:ns:carddav addressbook-home-set"`
			} `xml:"DAV: prop"`
		} `xml:"DAV: propstat"`
	} `xml:"DAV: response"`
}

type hrefs struct {
	Hrefs []string `xml:"DAV: href"`
}

const propfind = `<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop><resourcetype/><getetag/></prop></propfind>`

// List returns the names of the book's cards, with their versions. ErrNoBook, ErrRefused.
func (b *Book) List(ctx context.Context) (map[string]string, error) {
	all, err := b.find(ctx, propfind, "1")
	if err != nil {
		return nil, err
	}
	cards, isBook := map[string]string{}, false
	for _, r := range all.Responses {
		href, err := url.Parse(r.Href)
		if err != nil {
			continue
		}
		name := nameIn(href)
		for _, p := range r.Props {
			if p.Prop.Type.Book != nil { // the collection itself; one within it is no card
				isBook, name = isBook || path.Clean(href.Path) == path.Clean(b.base.Path), ""
			}
			if name != "" && p.Prop.ETag != "" && strings.Contains(p.Status, " 200") {
				cards[name] = p.Prop.ETag
			}
		}
	}
	if !isBook {
		return nil, fmt.Errorf("%w: the collection at the address is another one", ErrNoBook)
	}
	return cards, nil
}

// find asks for properties of the collection, and of what is in it at depth 1.
func (b *Book) find(ctx context.Context, what, depth string) (all multistatus, err error) {
	body, err := b.ask(ctx, "PROPFIND", "", maxList, []byte(what), http.Header{"Depth": {depth}, "Content-Type": {"application/xml; charset=utf-8"}})
	if err != nil {
		return all, err
	}
	if err := xml.Unmarshal(body, &all); err != nil {
		return all, fmt.Errorf("%w: its answer is no multistatus", ErrNoBook)
	}
	return all, nil
}

// Get returns a card.
func (b *Book) Get(ctx context.Context, name string) ([]byte, error) {
	return b.ask(ctx, http.MethodGet, name, maxCard, nil, nil)
}

// Put writes a card over the version that is known of it; None: it must be new. ErrChanged.
func (b *Book) Put(ctx context.Context, name, version string, card []byte) error {
	h := http.Header{"Content-Type": {"text/vcard; charset=utf-8"}}
	if version == None {
		h.Set("If-None-Match", "*")
	} else {
		h.Set("If-Match", version)
	}
	_, err := b.ask(ctx, http.MethodPut, name, maxCard, card, h)
	return err
}

// Remove removes a card in the version that is known of it. ErrChanged.
func (b *Book) Remove(ctx context.Context, name, version string) error {
	_, err := b.ask(ctx, http.MethodDelete, name, maxCard, nil, http.Header{"If-Match": {version}})
	return err
}

// nameIn is the last part of a card's address; empty where it would lead out of the book, so that the card is
// passed over.
func nameIn(href *url.URL) string {
	name, err := url.PathUnescape(path.Base(href.EscapedPath()))
	if err != nil || name == "." || name == ".." || strings.Contains(name, "/") {
		return ""
	}
	return name
}

func (b *Book) ask(ctx context.Context, method, name string, limit int64, body []byte, h http.Header) ([]byte, error) {
	if h == nil {
		h = http.Header{}
	}
	if b.cfg.User != "" {
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(b.cfg.User+":"+b.cfg.Password)))
	}
	at := *b.base
	if name != "" {
		at = *b.base.JoinPath(url.PathEscape(name))
	}
	r, err := b.cfg.Fetcher.Fetch(ctx, fetch.Request{URL: at.String(), Method: method, Header: h, Body: body, MaxBytes: limit, HTTPS: !b.cfg.HTTP})
	var s *fetch.Status
	if !errors.As(err, &s) {
		return r.Body, err
	}
	switch {
	case slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden}, s.Code):
		return nil, ErrRefused
	case s.Code == http.StatusPreconditionFailed:
		return nil, ErrChanged
	case s.Code == http.StatusNotFound && method == "PROPFIND", s.Code == http.StatusMethodNotAllowed, s.Code == http.StatusConflict:
		return nil, ErrNoBook
	case s.Code == http.StatusNotFound:
		return nil, ErrChanged // it is gone
	}
	return nil, err
}
