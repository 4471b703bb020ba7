package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/pidflo"
	"github.com/tandem-call/tandem/wire"
)

// placeCommand asks for places and shares this device's, in a session.
type placeCommand struct {
	Check   placeCheck   `cmd:"" help:"Can the other device say where it is, and show a place?"`
	Ask     placeAsk     `cmd:"" help:"Ask where the other one is."`
	Answer  placeAnswer  `cmd:"" help:"Answer who asks where you are."`
	Share   placeShare   `cmd:"" help:"Share where you are: once, or live by sharing again."`
	Stop    placeStop    `cmd:"" help:"Stop sharing, and take back every consent."`
	Network placeNetwork `cmd:"" help:"Where does the network say that you are?"`
	Rule    placeRule    `cmd:"" help:"Who gets your place without a question each time."`
	Export  placeExport  `cmd:"" help:"Write a place in another form, for networks and emergency services. Needs no server."`
}

// other returns the member addressed; the first of another party, where none is named.
func other(s wire.SessionState, named wire.MemberID) (wire.MemberID, error) {
	if named != "" {
		return named, nil
	}
	side := 0
	for _, m := range s.Members {
		if m.ID == s.You {
			side = m.Side
		}
	}
	for _, m := range s.Members {
		if m.Side != side && !m.Left {
			return m.ID, nil
		}
	}
	return "", fmt.Errorf("there is nobody else in the session")
}

func placePath(s wire.SessionState) string {
	return "/v1/sessions/" + url.PathEscape(string(s.ID)) + "/place"
}

type placeCheck struct {
	choice
	To wire.MemberID `placeholder:"MEMBER" help:"Which member (default: the other party)."`
}

func (c *placeCheck) Run(ctx context.Context) error {
	api, s, err := c.pick(ctx)
	if err != nil {
		return err
	}
	to, err := other(s, c.To)
	if err != nil {
		return err
	}
	var can wire.PlaceAbility
	if err := api.Call(ctx, http.MethodPost, placePath(s)+"/check", wire.PlaceCheckRequest{To: to}, &can); err != nil {
		return err
	}
	fmt.Println(abilityText(can))
	return nil
}

func abilityText(can wire.PlaceAbility) string {
	provides := "cannot say where it is"
	if can.Provide {
		provides = "can say where it is"
	}
	return fmt.Sprintf("%s; shows: %s", provides, can.Show)
}

type placeAsk struct {
	choice
	To      wire.MemberID `placeholder:"MEMBER" help:"Which member (default: the other party)."`
	Minutes int           `help:"Minutes to follow; otherwise once."`
	Check   bool          `help:"Check first, in the same step, and ask nobody who cannot."`
}

func (c *placeAsk) Run(ctx context.Context) error {
	api, s, err := c.pick(ctx)
	if err != nil {
		return err
	}
	to, err := other(s, c.To)
	if err != nil {
		return err
	}
	var asked wire.PlaceAskedFor
	if err := api.Call(ctx, http.MethodPost, placePath(s)+"/ask", wire.PlaceAskRequest{To: to, Check: c.Check, Minutes: c.Minutes}, &asked); err != nil {
		return err
	}
	if asked.Request == "" {
		fmt.Println("not asked: " + abilityText(asked.Ability))
		return nil
	}
	fmt.Println("asked:", asked.Request)
	return nil
}

type placeAnswer struct {
	choice
	Request string       `arg:"" help:"Id that came with the question."`
	Consent wire.Consent `arg:"" enum:"once,call,live,no,never" help:"once, call (as often as asked until it ends), live (with --minutes), no, never (nor ever again)."`
	Minutes int          `help:"For live."`
	Coarse  bool         `help:"Within some two kilometres only."`
	At      string       `placeholder:"GEO" help:"Share this place at once: geo:51.5074,-0.1278;u=35"`
}

func (c *placeAnswer) Run(ctx context.Context) error {
	api, s, err := c.pick(ctx)
	if err != nil {
		return err
	}
	a := wire.PlaceAnswer{Request: c.Request, Consent: c.Consent, Minutes: c.Minutes, Coarse: c.Coarse}
	if err := api.Call(ctx, http.MethodPost, placePath(s)+"/answer", a, nil); err != nil {
		return err
	}
	if c.At == "" {
		fmt.Println("answered")
		return nil
	}
	q, err := at(c.At)
	if err != nil {
		return err
	}
	q.Request = c.Request
	return share(ctx, api, s, q)
}

type placeShare struct {
	choice
	At      string          `arg:"" help:"Where: geo:51.5074,-0.1278;u=35 (RFC 5870), a GeoJSON Feature, a PIDF-LO document, - for one of these on standard input, or network for where the network says that you are."`
	Request string          `placeholder:"ID" help:"The question that it answers, again."`
	To      []wire.MemberID `placeholder:"MEMBER" help:"Members addressed (default: all other parties)."`
	Minutes int             `help:"Share live for so long: share again to move."`
	Coarse  bool            `help:"Within some two kilometres only."`
}

func (c *placeShare) Run(ctx context.Context) error {
	api, s, err := c.pick(ctx)
	if err != nil {
		return err
	}
	q, err := at(c.At)
	if err != nil {
		return err
	}
	q.Request, q.To, q.Minutes, q.Coarse = c.Request, c.To, c.Minutes, c.Coarse
	return share(ctx, api, s, q)
}

// at reads a place in whichever form the user has it.
func at(text string) (q wire.PlaceShare, err error) {
	if text == "-" {
		b, err := io.ReadAll(io.LimitReader(os.Stdin, pidflo.MaxBytes+1))
		if err != nil {
			return q, fmt.Errorf("standard input: %w", err)
		}
		text = string(b)
	}
	text = strings.TrimSpace(text)
	switch {
	case text == "network":
		q.Network = true
	case strings.HasPrefix(text, "<"):
		q.PIDFLO = text
	case json.Valid([]byte(text)):
		q.Place = &wire.Place{}
		if err := json.Unmarshal([]byte(text), q.Place); err != nil {
			return q, fmt.Errorf("GeoJSON: %w", err)
		}
	default:
		q.URI = text
	}
	return q, nil
}

func share(ctx context.Context, api *client.API, s wire.SessionState, q wire.PlaceShare) error {
	var shared wire.PlaceShared
	if err := api.Call(ctx, http.MethodPost, placePath(s), q, &shared); err != nil {
		return err
	}
	live := ""
	if !shared.Until.IsZero() {
		live = ", live until " + shared.Until.Local().Format(time.TimeOnly)
	}
	fmt.Printf("shared with %d members%s\n", len(shared.To), live)
	return nil
}

type placeNetwork struct{ choice }

func (c *placeNetwork) Run(ctx context.Context) error {
	api, s, err := c.pick(ctx)
	if err != nil {
		return err
	}
	var k wire.NetworkPlace
	if err := api.Call(ctx, http.MethodGet, placePath(s)+"/network", nil, &k); err != nil {
		return err
	}
	fmt.Printf("%s\n%s, said at %s; nobody else sees it until you share it: tandem place share network\n", k.URI, k.Words, k.At.Local().Format(time.TimeOnly))
	return nil
}

type placeStop struct{ choice }

func (c *placeStop) Run(ctx context.Context) error {
	api, s, err := c.pick(ctx)
	if err != nil {
		return err
	}
	if err := api.Call(ctx, http.MethodDelete, placePath(s), nil, nil); err != nil {
		return err
	}
	fmt.Println("stopped")
	return nil
}

// signal shows what is not stored, as far as it is about places, and answers a check.
func (s *screen) signal(e wire.Envelope) {
	switch e.Kind {
	case wire.KindPlaceCheck:
		s.group.Go(func() error {
			err := s.device.API().Call(s.ctx, http.MethodPut, "/v1/sessions/"+url.PathEscape(string(e.Session))+"/place/ability", s.can, nil)
			if err != nil && s.ctx.Err() == nil {
				s.say("place-failed", map[string]any{"error": err.Error()}, "the question what this device can do about places was not answered: %s", explain(err))
			}
			return nil
		})
	case wire.KindPlace:
		s.place(e, string(e.From))
	}
}

// place shows a place, a question for one, or its end.
func (s *screen) place(e wire.Envelope, from string) {
	fields := map[string]any{"session": e.Session, "from": e.From, "kind": e.Kind, "body": e.Body}
	switch e.Kind {
	case wire.KindPlace:
		var p wire.PlaceMessage
		if json.Unmarshal(e.Body, &p) == nil {
			s.say("place", fields, "%s is at %s %s", from, printable(p.Words), printable(cmp.Or(p.Link, p.Picture)))
		}
	case wire.KindPlaceAsk:
		var q wire.PlaceAsked
		if json.Unmarshal(e.Body, &q) == nil {
			if q.Consent != "" && s.at != nil {
				s.say("place-ask", fields, "%s asks where you are, and may know", from)
				s.shareUnasked(e.Session, wire.PlaceShare{Request: q.Request})
				return
			}
			how := "once"
			if q.Minutes > 0 {
				how = fmt.Sprintf("for %d minutes", q.Minutes)
			}
			s.say("place-ask", fields, "%s asks where you are, %s. To answer:\n  tandem place answer --as %s %s once|call|live|no|never --at geo:LAT,LON", from, how, s.me.Name, q.Request)
		}
	case wire.KindPlaceStopped:
		s.say("place-stopped", fields, "%s shares no place any more", from)
	}
}
