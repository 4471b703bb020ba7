package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tandem-call/tandem/internal/pidflo"
	"github.com/tandem-call/tandem/internal/place"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// placeRule shows and changes what the party has settled about its place (F3).
type placeRule struct {
	List   ruleList   `cmd:"" default:"withargs" help:"Show the rules, and who is never asked again."`
	Add    ruleAdd    `cmd:"" help:"Let somebody have your place without a question."`
	Remove ruleRemove `cmd:"" help:"Remove a rule; or let somebody ask again."`
}

const rulesPath = "/v1/place/rules"

type ruleList struct{ account }

func (c *ruleList) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	var r wire.PlaceRules
	if err := api.Call(ctx, http.MethodGet, rulesPath, nil, &r); err != nil {
		return err
	}
	if len(r.Rules) == 0 {
		fmt.Println("you are asked each time")
	}
	for i, rule := range r.Rules {
		fmt.Printf("%d  %s\n", i+1, ruleText(rule))
	}
	for _, id := range r.Never {
		fmt.Println("never asked again:", id)
	}
	return nil
}

func ruleText(r wire.PlaceRule) string {
	text := string(r.Group)
	if r.Group == "" {
		text = r.Identity.String()
	}
	if r.Consent == wire.ConsentLive {
		text += fmt.Sprintf(": live for %d minutes", r.Minutes)
	} else {
		text += ": whenever it is asked in a call"
	}
	if r.Coarse {
		text += ", coarsely"
	}
	if r.Unasked {
		text += ", and by itself"
	}
	return text
}

type ruleAdd struct {
	account
	With    string       `arg:"" help:"emergency, providers, contacts; or a number, or another identity."`
	Consent wire.Consent `arg:"" enum:"call,live" help:"call: a place each time it is asked for; live, with --minutes."`
	Minutes int          `help:"For live."`
	Coarse  bool         `help:"Within some two kilometres only."`
	Unasked bool         `help:"Share it by itself, too, when a session opens and the other device can show it."`
}

func (c *ruleAdd) Run(ctx context.Context) error {
	rule := wire.PlaceRule{Consent: c.Consent, Minutes: c.Minutes, Coarse: c.Coarse, Unasked: c.Unasked}
	switch g := wire.PlaceGroup(c.With); g {
	case wire.GroupEmergency, wire.GroupProviders, wire.GroupContacts:
		rule.Group = g
	default:
		id, err := tel.ParseIdentity(c.With, "")
		if err != nil {
			return err
		}
		rule.Identity = id
	}
	return changeRules(ctx, c.account, func(r *wire.PlaceRules) error {
		r.Rules = append(r.Rules, rule)
		return nil
	})
}

type ruleRemove struct {
	account
	Which string `arg:"" help:"The rule's number in the list, or who may ask again."`
}

func (c *ruleRemove) Run(ctx context.Context) error {
	return changeRules(ctx, c.account, func(r *wire.PlaceRules) error {
		for i := range r.Rules {
			if fmt.Sprint(i+1) == c.Which {
				r.Rules = slices.Delete(r.Rules, i, i+1)
				return nil
			}
		}
		id, err := tel.ParseIdentity(c.Which, "")
		if err != nil {
			return err
		}
		i := slices.Index(r.Never, id)
		if i < 0 {
			return errors.New("there is no such rule; see tandem place rule list")
		}
		r.Never = slices.Delete(r.Never, i, i+1)
		return nil
	})
}

func changeRules(ctx context.Context, who account, change func(*wire.PlaceRules) error) error {
	api, _, err := who.api()
	if err != nil {
		return err
	}
	var r wire.PlaceRules
	if err := api.Call(ctx, http.MethodGet, rulesPath, nil, &r); err != nil {
		return err
	}
	if err := change(&r); err != nil {
		return err
	}
	if err := api.Call(ctx, http.MethodPut, rulesPath, r, &r); err != nil {
		return err
	}
	fmt.Println("done")
	return nil
}

// followRules shares this device's place by itself where a rule says so, after a capability check
// with a positive answer (F3).
func (s *screen) followRules(id wire.SessionID) {
	api, path := s.device.API(), "/v1/sessions/"+url.PathEscape(string(id))+"/place"
	s.group.Go(func() error {
		var here wire.PlaceRulesHere
		if err := api.Call(s.ctx, http.MethodGet, path+"/rules", nil, &here); err != nil {
			s.placeFailed(err)
			return nil
		}
		for _, r := range here.Rules {
			if !r.Rule.Unasked {
				continue
			}
			var can wire.PlaceAbility
			if err := api.Call(s.ctx, http.MethodPost, path+"/check", wire.PlaceCheckRequest{To: r.Member}, &can); err != nil {
				s.placeFailed(err)
				continue
			}
			if can.Show != wire.ShowNone || can.PIDFLO {
				s.shareUnasked(id, wire.PlaceShare{To: []wire.MemberID{r.Member}, Minutes: r.Rule.Minutes, Coarse: r.Rule.Coarse})
			}
		}
		return nil
	})
}

// shareUnasked shares where this device is.
func (s *screen) shareUnasked(id wire.SessionID, q wire.PlaceShare) {
	q.Place, q.URI, q.PIDFLO = s.at.Place, s.at.URI, s.at.PIDFLO
	s.group.Go(func() error {
		var shared wire.PlaceShared
		path := "/v1/sessions/" + url.PathEscape(string(id)) + "/place"
		err := s.device.API().Call(s.ctx, http.MethodPost, path, q, &shared)
		// Several may have a rule, and a device shares one place a second.
		for p := (*wire.Problem)(nil); errors.As(err, &p) && p.Code == wire.CodeTooMany; {
			select {
			case <-s.ctx.Done():
				return nil
			case <-time.After(wire.PlaceIntervalSeconds * time.Second):
			}
			err = s.device.API().Call(s.ctx, http.MethodPost, path, q, &shared)
		}
		if err != nil {
			s.placeFailed(err)
			return nil
		}
		s.say("place-shared", map[string]any{"session": id, "to": shared.To}, "your place was shared with %d members, as your rules say; to stop: tandem place stop --as %s", len(shared.To), s.me.Name)
		return nil
	})
}

func (s *screen) placeFailed(err error) {
	if s.ctx.Err() == nil {
		s.say("place-failed", map[string]any{"error": err.Error()}, "your place was not shared: %s", explain(err))
	}
}

// placeExport writes a place in another form.
type placeExport struct {
	At     string `arg:"" help:"Where: a geo: URI, a GeoJSON Feature, a PIDF-LO document, or - for one of these on standard input."`
	Format string `enum:"pidf-lo,geojson,uri,words" default:"pidf-lo" help:"pidf-lo (RFC 4119, 5491), geojson, uri or words."`
	Entity string `placeholder:"URI" help:"Whose place it is, for PIDF-LO: pres:, sip: or tel:."`
}

func (c *placeExport) Run() error {
	q, err := at(c.At)
	if err != nil {
		return err
	}
	p, err := place.Read(q)
	if err != nil {
		return err
	}
	switch c.Format {
	case "pidf-lo":
		fmt.Print(string(pidflo.Render(p, c.Entity)))
	case "geojson":
		e := json.NewEncoder(os.Stdout)
		e.SetEscapeHTML(false)
		return e.Encode(p)
	case "uri":
		fmt.Println(place.URI(p))
	case "words":
		fmt.Println(strings.TrimSpace(printable(place.Words(p))))
	}
	return nil
}
