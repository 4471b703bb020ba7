package sip

import (
	"bytes"
	"net/url"
	"strings"
	"time"

	"github.com/tandem-call/tandem/internal/pidflo"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Where somebody is stands in a PIDF-LO document that Geolocation names (RFC 6442): as a part of the body (cid:), or
// by its address. A trusted element's word is taken, of whoever makes the request, if Geolocation-Routing lets
// those on the way look at it; without a yes they must not (4.2). Addresses are not followed. To the other side all of it
// goes as it came, whoever it is from: a proxy changes neither the header field (4.1) nor the body (RFC 3261 16.6).

// maxPlace is the largest document that is read, in bytes.
const maxPlace = 16 << 10

// Place is where a party is, as a trusted element says.
type Place struct {
	Where wire.Place
	// Until it may be kept; zero: nothing is said.
	Until time.Time
}

// placeOutcome is what came of a place that a request named.
type placeOutcome uint8

const (
	placeTaken placeOutcome = iota
	placeUntrusted
	placeNotForUs
	placeByReference
	placeMissing
	placeTooLarge
	placeUnusable
	numPlaceOutcomes
)

var placeOutcomes = [numPlaceOutcomes]string{
	placeTaken: "taken", placeUntrusted: "not by a trusted element", placeNotForUs: "without Geolocation-Routing: yes", placeByReference: "by reference",
	placeMissing: "no such part", placeTooLarge: "too large", placeUnusable: "unusable",
}

// placeIn is where a trusted element says that whoever makes a request is; nil where none does.
func (e *Element) placeIn(m *Message, from *flow) *Place {
	if e.cfg.Place == nil || !m.Has(Geolocation) {
		return nil
	}
	doc, what := e.document(m, from)
	var p Place
	var err error
	if what == placeTaken {
		if p, err = e.cfg.Place(doc); err != nil {
			what = placeUnusable
		}
	}
	e.stats.places[what].Add(1)
	switch what {
	case placeTaken:
		return &p
	case placeUntrusted, placeNotForUs, placeByReference: // as it may well be
	default:
		e.log.Info("a place that a trusted element says was not taken", "remote", from.remote, "why", placeOutcomes[what], "err", err)
	}
	return nil
}

// document that Geolocation names.
func (e *Element) document(m *Message, from *flow) ([]byte, placeOutcome) {
	if !e.trusts(from) {
		return nil, placeUntrusted
	}
	if !strings.EqualFold(strings.Join(m.All(GeolocationRouting), ","), "yes") {
		return nil, placeNotForUs
	}
	id := ""
	for _, value := range m.All(Geolocation) {
		address, _, ok := strings.Cut(strings.TrimPrefix(value, "<"), ">")
		if scheme, rest, found := strings.Cut(address, ":"); ok && found && strings.EqualFold(scheme, "cid") {
			id = rest
			break
		}
	}
	id, err := url.PathUnescape(id) // RFC 2392 2
	if err != nil || id == "" {
		return nil, placeByReference
	}
	for _, p := range m.parts() {
		switch {
		case p.id != id || p.mediaType != pidflo.Type:
		case len(p.content) > maxPlace:
			return nil, placeTooLarge
		default:
			return bytes.TrimSpace(p.content), placeTaken
		}
	}
	return nil, placeMissing
}

// moved takes the place out of a request within a call, of the side that makes it.
func (s *shard) moved(m *Message, from *flow) {
	c := s.calls[m.Get(CallID)]
	if c == nil || c.quiet {
		return
	}
	tag := tagOf(m.Get(From))
	l := c.Caller
	if tag != c.FromTag {
		user, ok := c.Dialogs[tag]
		if !ok {
			return
		}
		l = c.leg(user)
	}
	p := s.e.placeIn(m, from)
	if p == nil {
		return
	}
	l.Place = p
	if l.State != "" && l.State != tel.Ended {
		c.put(l)
	}
}
