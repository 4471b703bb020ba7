package carddav

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tandem-call/tandem/internal/edge/fetch"
)

// wellKnown is where a server says where its CardDAV service is (RFC 6764 section 5).
const wellKnown = "/.well-known/carddav"

const (
	findUser = `<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop><current-user-principal/></prop></propfind>`
	findHome = `<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav"><prop><C:addressbook-home-set/></prop></propfind>`
)

// maxMoves is how often a server may lead on to another address of its own.
const maxMoves = 3

// Discover returns the user's address book on a server of which only an address is known, by way of its well-known
// address, the user's principal and that one's home (RFC 6764, RFC 6352 section 7.1.1). An address that is a book's is
// taken as it is. The password goes to no other host. ErrAddress, ErrNoBook, ErrRefused.
func Discover(ctx context.Context, c Config) (*Book, error) {
	b, err := New(c)
	if err != nil {
		return nil, err
	}
	switch _, err := b.List(ctx); {
	case err == nil, !errors.Is(err, ErrNoBook) && !errors.Is(err, fetch.ErrStatus):
		return b, err
	}
	user, err := b.user(ctx)
	if err != nil {
		return nil, err
	}
	home, err := b.lead(ctx, user, findHome, (*multistatus).homes)
	if err != nil {
		return nil, err
	}
	return b.inHome(ctx, home)
}

// user finds the principal of whoever signs in: at the well-known address, or at the address that was given.
func (b *Book) user(ctx context.Context) (string, error) {
	var errs []error
	for _, at := range []string{wellKnown, b.base.Path} {
		user, err := b.lead(ctx, at, findUser, (*multistatus).users)
		if err == nil || errors.Is(err, ErrRefused) {
			return user, err
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

// lead asks at an address, and where that leads to, for a property that is an address. ErrNoBook, ErrAddress.
func (b *Book) lead(ctx context.Context, at, what string, of func(*multistatus) []string) (string, error) {
	x, err := b.at(at)
	for range maxMoves {
		if err != nil {
			return "", err
		}
		var all multistatus
		all, err = x.find(ctx, what, "0")
		if err == nil {
			if found := of(&all); len(found) > 0 {
				return found[0], nil
			}
			return "", fmt.Errorf("%w: %s does not say whose books it has; give the book's own address", ErrNoBook, x.base.Redacted())
		}
		var s *fetch.Status
		if !errors.As(err, &s) || s.Location == "" {
			return "", err
		}
		x, err = b.at(s.Location)
	}
	return "", fmt.Errorf("%w: the server leads on and on; give the book's own address", ErrNoBook)
}

// at is a collection at another address of the same server. ErrAddress.
func (b *Book) at(href string) (*Book, error) {
	u, err := b.base.Parse(href)
	if err != nil {
		return nil, fmt.Errorf("%w: the server names %q", ErrAddress, href)
	}
	if u.Host != b.base.Host || u.Scheme != b.base.Scheme {
		return nil, fmt.Errorf("%w: the server sends you to %s; give that address, if it is yours", ErrAddress, u.Redacted())
	}
	return &Book{b.cfg, u}, nil
}

// inHome returns the one book of a home.
func (b *Book) inHome(ctx context.Context, home string) (*Book, error) {
	x, err := b.at(home)
	if err != nil {
		return nil, err
	}
	all, err := x.find(ctx, propfind, "1")
	if err != nil {
		return nil, err
	}
	var books []string
	for _, r := range all.Responses {
		for _, p := range r.Props {
			if p.Prop.Type.Book != nil && !slices.Contains(books, r.Href) {
				books = append(books, r.Href)
			}
		}
	}
	switch len(books) {
	case 0:
		return nil, fmt.Errorf("%w: the user has none", ErrNoBook)
	case 1:
		x, err := b.at(books[0])
		if err == nil && !strings.HasSuffix(x.base.Path, "/") {
			x.base.Path += "/"
		}
		return x, err
	}
	for i, href := range books {
		if u, err := x.base.Parse(href); err == nil {
			books[i] = u.Redacted()
		}
	}
	return nil, fmt.Errorf("%w: the user has several; give the address of one: %s", ErrNoBook, strings.Join(books, ", "))
}

// Address of the book.
func (b *Book) Address() string { return b.base.Redacted() }

func (m *multistatus) users() (all []string) {
	for _, r := range m.Responses {
		for _, p := range r.Props {
			all = append(all, p.Prop.User.Hrefs...)
		}
	}
	return all
}

func (m *multistatus) homes() (all []string) {
	for _, r := range m.Responses {
		for _, p := range r.Props {
			all = append(all, p.Prop.Home.Hrefs...)
		}
	}
	return all
}
