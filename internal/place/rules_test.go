package place_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore/pebbletest"
	"github.com/tandem-call/tandem/internal/place"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

func identity(s string) tel.Identity {
	id, err := tel.ParseIdentity(s, "")
	if err != nil {
		panic(err)
	}
	return id
}

var alice, bob = identity("+442079460001"), identity("+442079460002")

// parties knows an address of Bob's, and who is whose contact.
type parties struct{ contacts bool }

func (p *parties) Principal(_ context.Context, _ wire.TenantID, id tel.Identity) (tel.Identity, error) {
	if id == identity("mailto:bob@example.com") {
		return bob, nil
	}
	return id, nil
}

func (p *parties) In(_ context.Context, _ wire.TenantID, party, other tel.Identity, g wire.PlaceGroup) (bool, error) {
	return g == wire.GroupContacts && p.contacts && party == alice && other == bob, nil
}

// two is a session of Alice and Bob, who may withhold his number; it keeps what was asked.
type two struct {
	withheld, over bool
	hidden         bool // Alice's number is withheld
	asked          wire.PlaceAsked
	messages       []wire.PlaceMessage
}

func (x *two) Session(context.Context, wire.TenantID, wire.SessionID) (place.Session, error) {
	s := place.Session{InCall: !x.over, Parties: []tel.Identity{alice, bob}, Members: []place.Member{
		{ID: "1", Device: "alice", Side: 1, Principal: alice, Shown: alice},
		{ID: "2", Device: "bob", Side: 2, Principal: bob, Shown: bob},
	}}
	if x.withheld {
		s.Members[1].Shown = tel.Identity{}
	}
	if x.hidden {
		s.Members[0].Shown = tel.Identity{}
	}
	return s, nil
}

func (x *two) Send(_ context.Context, _ wire.TenantID, _ wire.SessionID, _ wire.DeviceID, _ []wire.MemberID, _ wire.RequestID, _ string, body any) error {
	switch b := body.(type) {
	case wire.PlaceAsked:
		x.asked = b
	case wire.PlaceMessage:
		x.messages = append(x.messages, b)
	}
	return nil
}

func newService(t *testing.T, c place.Config) *place.Service {
	t.Helper()
	if c.Engine == nil {
		c.Engine = pebbletest.Open(t)
	}
	if c.CheckFor == 0 {
		c.CheckFor = time.Millisecond // nobody answers here
	}
	s, err := place.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRules: what a rule agrees to, for whom, and that it can be taken back.
func TestRules(t *testing.T) {
	live := wire.PlaceRule{Identity: identity("mailto:bob@example.com"), Consent: wire.ConsentLive, Minutes: 10, Coarse: true}
	contacts := wire.PlaceRule{Group: wire.GroupContacts, Consent: wire.ConsentCall, Unasked: true}
	for name, c := range map[string]struct {
		rules    []wire.PlaceRule
		contact  bool
		withheld bool
		hidden   bool
		over     bool
		want     wire.Consent
	}{
		"no rules":                   {},
		"by another identity":        {rules: []wire.PlaceRule{live}, want: wire.ConsentLive},
		"a contact":                  {rules: []wire.PlaceRule{contacts}, contact: true, want: wire.ConsentCall},
		"no contact":                 {rules: []wire.PlaceRule{contacts}},
		"the first that fits":        {rules: []wire.PlaceRule{contacts, live}, contact: true, want: wire.ConsentCall},
		"the number is withheld":     {rules: []wire.PlaceRule{live, contacts}, contact: true, withheld: true},
		"the own number is withheld": {rules: []wire.PlaceRule{live, contacts}, contact: true, hidden: true},
		"the call is over":           {rules: []wire.PlaceRule{live}, over: true},
		"somebody else's, not his":   {rules: []wire.PlaceRule{{Identity: identity("+442079460009"), Consent: wire.ConsentCall}}},
	} {
		t.Run(name, func(t *testing.T) {
			x := &two{withheld: c.withheld, hidden: c.hidden, over: c.over}
			at := now
			s := newService(t, place.Config{Sessions: x, Parties: &parties{c.contact}, Now: func() time.Time { return at }})
			if err := s.SetRules(t.Context(), "t", alice, wire.PlaceRules{Rules: c.rules}); err != nil {
				t.Fatal(err)
			}
			asked, err := s.Ask(t.Context(), "t", "s", "bob", wire.PlaceAskRequest{To: "1"})
			if err != nil || x.asked.Consent != c.want {
				t.Fatalf("%+v, %v", x.asked, err)
			}
			_, err = s.Share(t.Context(), "t", "s", "alice", wire.PlaceShare{URI: "geo:51.5074,-0.1278", Request: asked.Request})
			if want := c.want != ""; want != (err == nil) {
				t.Errorf("sharing without a question: %v", err)
			}
			here, err := s.RulesHere(t.Context(), "t", "s", "alice")
			if err != nil || (len(here.Rules) == 1) != (c.want != "" || c.over) {
				t.Errorf("rules here: %+v, %v", here, err)
			}
			// And back: the next question is one again.
			if err := s.SetRules(t.Context(), "t", alice, wire.PlaceRules{}); err != nil {
				t.Fatal(err)
			}
			if err := s.Stop(t.Context(), "t", "s", "alice"); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Ask(t.Context(), "t", "s", "bob", wire.PlaceAskRequest{To: "1"}); err != nil || x.asked.Consent != "" {
				t.Errorf("after the rule has gone: %+v, %v", x.asked, err)
			}
		})
	}
}

func TestRulesRefused(t *testing.T) {
	s := newService(t, place.Config{Sessions: &two{}, Parties: &parties{}})
	for name, r := range map[string]wire.PlaceRule{
		"nobody":       {Consent: wire.ConsentCall},
		"both":         {Group: wire.GroupContacts, Identity: bob, Consent: wire.ConsentCall},
		"other group":  {Group: "everybody", Consent: wire.ConsentCall},
		"once":         {Identity: bob, Consent: wire.ConsentOnce},
		"live, always": {Identity: bob, Consent: wire.ConsentLive},
		"live, a week": {Identity: bob, Consent: wire.ConsentLive, Minutes: 10_000},
	} {
		if err := s.SetRules(t.Context(), "t", alice, wire.PlaceRules{Rules: []wire.PlaceRule{r}}); !errors.Is(err, place.ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNever: who may never ask is listed with the rules, and may ask again when taken off.
func TestNever(t *testing.T) {
	x := &two{}
	s := newService(t, place.Config{Sessions: x, Parties: &parties{}})
	asked, err := s.Ask(t.Context(), "t", "s", "bob", wire.PlaceAskRequest{To: "1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Answer(t.Context(), "t", "s", "alice", wire.PlaceAnswer{Request: asked.Request, Consent: wire.ConsentNever}); err != nil {
		t.Fatal(err)
	}
	ask := func() bool { // whether Alice hears of it
		x.asked = wire.PlaceAsked{}
		if _, err := s.Ask(t.Context(), "t", "s", "bob", wire.PlaceAskRequest{To: "1"}); err != nil {
			t.Fatal(err)
		}
		return x.asked.Request != ""
	}
	if ask() {
		t.Error("she is asked again")
	}
	r, err := s.Rules(t.Context(), "t", alice)
	if err != nil || len(r.Never) != 1 || r.Never[0] != bob {
		t.Fatalf("%+v, %v", r, err)
	}
	r.Never = nil
	if err := s.SetRules(t.Context(), "t", alice, r); err != nil || !ask() {
		t.Errorf("she is not asked: %v", err)
	}
	r.Never = []tel.Identity{identity("mailto:bob@example.com")}
	if err := s.SetRules(t.Context(), "t", alice, r); err != nil || ask() {
		t.Errorf("by another of his identities: %v", err)
	}
	if err := s.SetRules(t.Context(), "t", alice, wire.PlaceRules{Rules: []wire.PlaceRule{{Identity: bob, Consent: wire.ConsentCall}}, Never: r.Never}); err != nil {
		t.Fatal(err)
	}
	if err := s.Erase(t.Context(), "t", []tel.Identity{bob}); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Rules(t.Context(), "t", alice); err != nil || len(r.Rules) != 0 || len(r.Never) != 1 {
		t.Errorf("Bob's number has gone to somebody else: %+v, %v", r, err)
	}
	if err := s.EraseRefusals(t.Context(), "t", []tel.Identity{bob}); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Rules(t.Context(), "t", alice); err != nil || len(r.Never) != 0 {
		t.Errorf("after Bob's erasure: %+v, %v", r, err)
	}
}

// TestWays: the capability check decides what a device is sent (F5).
func TestWays(t *testing.T) {
	for name, c := range map[string]struct {
		can         wire.PlaceAbility
		link        string
		wantLink    bool
		wantPicture bool
		wantPIDF    bool
	}{
		"a map":                    {can: wire.PlaceAbility{Show: wire.ShowMap}, link: "https://maps.example/{lat}/{lon}"},
		"a picture":                {can: wire.PlaceAbility{Show: wire.ShowPicture}, link: "https://maps.example/{lat}/{lon}", wantPicture: true},
		"a link":                   {can: wire.PlaceAbility{Show: wire.ShowLink}, link: "https://maps.example/{lat}/{lon}", wantLink: true},
		"a link, but no service":   {can: wire.PlaceAbility{Show: wire.ShowLink}, wantPicture: true},
		"nothing said":             {can: wire.PlaceAbility{Show: wire.ShowNone}, link: "https://maps.example/{lat}/{lon}", wantLink: true},
		"nothing said, no service": {can: wire.PlaceAbility{Show: wire.ShowNone}},
		"an emergency service":     {can: wire.PlaceAbility{Show: wire.ShowMap, PIDFLO: true}, wantPIDF: true},
	} {
		x := &two{}
		s := newService(t, place.Config{Sessions: x, Link: c.link, URL: "https://tandem.example"})
		if err := s.SetAbility(t.Context(), "t", "s", "bob", c.can); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Share(t.Context(), "t", "s", "alice", wire.PlaceShare{URI: "geo:51.5074,-0.1278;u=35"}); err != nil {
			t.Fatal(err)
		}
		m := x.messages[0]
		if (m.Link != "") != c.wantLink || (m.Picture != "") != c.wantPicture || (m.PIDFLO != "") != c.wantPIDF || m.Words == "" {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

// TestSealed: a picture's address holds the place, which nobody reads in it; it holds for a day, on each node
// of the same data, and on no other server.
func TestSealed(t *testing.T) {
	x, at := &two{}, now
	clock := func() time.Time { return at }
	e := pebbletest.Open(t)
	s := newService(t, place.Config{Engine: e, Sessions: x, URL: "https://tandem.example", Now: clock})
	if err := s.SetAbility(t.Context(), "t", "s", "bob", wire.PlaceAbility{Show: wire.ShowPicture}); err != nil {
		t.Fatal(err)
	}
	share := func() string {
		at = at.Add(time.Second)
		if _, err := s.Share(t.Context(), "t", "s", "alice", wire.PlaceShare{URI: "geo:-33.8568,151.2153;u=34.2"}); err != nil {
			t.Fatal(err)
		}
		address := x.messages[len(x.messages)-1].Picture
		sealed, ok := strings.CutPrefix(address, "https://tandem.example"+place.PicturePath)
		if !ok {
			t.Fatal(address)
		}
		return strings.TrimSuffix(sealed, ".png")
	}
	one, two := share(), share()
	if one == two {
		t.Error("the same place has the same address")
	}
	elsewhere := newService(t, place.Config{Engine: e, Sessions: x, Now: clock})
	p, err := elsewhere.Opened(one)
	if err != nil || place.URI(p) != "geo:-33.8568,151.2153;u=35" {
		t.Errorf("%s, %v", place.URI(p), err)
	}
	other := newService(t, place.Config{Sessions: x, Now: clock})
	for name, sealed := range map[string]string{"empty": "", "nonsense": "AAAA", "another's": one[:20] + two[20:]} {
		if p, err := s.Opened(sealed); !errors.Is(err, place.ErrNotFound) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	if _, err := other.Opened(one); !errors.Is(err, place.ErrNotFound) {
		t.Errorf("another server opens it: %v", err)
	}
	at = at.Add(wire.PlacePictureHours * time.Hour)
	if _, err := s.Opened(one); !errors.Is(err, place.ErrNotFound) {
		t.Errorf("it holds for ever: %v", err)
	}
}

// TestPIDFLO: a place comes as a PIDF-LO, and goes on in all forms.
func TestPIDFLO(t *testing.T) {
	x := &two{}
	s := newService(t, place.Config{Sessions: x})
	doc := `<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10" xmlns:gs="http://www.opengis.net/pidflo/1.0" xmlns:gml="http://www.opengis.net/gml" entity="pres:a@example.com"><dm:device id="a"><gp:geopriv><gp:location-info><gs:Circle srsName="urn:ogc:def:crs:EPSG::4326"><gml:pos>42.5463 -73.2512</gml:pos><gs:radius uom="urn:ogc:def:uom:EPSG::9001">850.24</gs:radius></gs:Circle></gp:location-info><gp:usage-rules/></gp:geopriv></dm:device></presence>`
	if _, err := s.Share(t.Context(), "t", "s", "alice", wire.PlaceShare{PIDFLO: doc}); err != nil {
		t.Fatal(err)
	}
	if got := x.messages[0].URI; got != "geo:42.5463,-73.2512;u=850.2" {
		t.Error(got)
	}
	for _, q := range []wire.PlaceShare{{}, {PIDFLO: doc, URI: "geo:1,1"}, {PIDFLO: "<a/>"}} {
		if _, err := place.Read(q); !errors.Is(err, place.ErrRequest) {
			t.Errorf("%.20s: %v", q.PIDFLO, err)
		}
	}
}
