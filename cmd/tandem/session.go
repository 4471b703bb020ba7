package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

type sessionCommand struct {
	Show     sessionShow    `cmd:"" default:"withargs" help:"Show this device's sessions, or one."`
	Messages sessionMessage `cmd:"" help:"Show the messages of a session."`
	Extend   sessionExtend  `cmd:"" help:"Keep a session open longer after the call."`
	Leave    sessionLeave   `cmd:"" help:"Leave a session."`
	Ask      sessionAsk     `cmd:"" help:"Ask for a session with the party that you are speaking to."`
	Join     sessionJoin    `cmd:"" help:"Join a session that this device was told of."`
	Accept   sessionAccept  `cmd:"" help:"Accept an invitation."`
	Decline  sessionDecline `cmd:"" help:"Decline an invitation."`
	Words    sessionWords   `cmd:"" help:"Type the two words that the other side reads aloud."`
}

// choice is embedded where a session can be named; the newest is meant otherwise.
type choice struct {
	account
	Session string `placeholder:"ID" help:"Which session (default: the newest)."`
}

var errNoSession = errors.New("this device has no open session; report a call first")

func (c choice) pick(ctx context.Context) (*client.API, wire.SessionState, error) {
	var s wire.SessionState
	api, _, err := c.api()
	if err != nil {
		return nil, s, err
	}
	if c.Session != "" {
		return api, s, api.Call(ctx, http.MethodGet, "/v1/sessions/"+c.Session, nil, &s)
	}
	list, err := sessions(ctx, api)
	if err != nil {
		return nil, s, err
	}
	if len(list) == 0 {
		return nil, s, errNoSession
	}
	return api, list[0], nil
}

// sessions returns the device's sessions, newest first.
func sessions(ctx context.Context, api *client.API) ([]wire.SessionState, error) {
	var l wire.SessionList
	err := api.Call(ctx, http.MethodGet, "/v1/sessions", nil, &l)
	slices.SortFunc(l.Sessions, func(a, b wire.SessionState) int { return b.Opened.Compare(a.Opened) })
	return l.Sessions, err
}

type sessionShow struct{ choice }

func (c *sessionShow) Run(ctx context.Context) error {
	if c.Session != "" {
		_, s, err := c.pick(ctx)
		if err == nil {
			show(s)
		}
		return err
	}
	api, _, err := c.api()
	if err != nil {
		return err
	}
	list, err := sessions(ctx, api)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		fmt.Println("no open session")
	}
	for _, s := range list {
		show(s)
	}
	return nil
}

func show(s wire.SessionState) {
	var names []string
	for _, m := range s.Members {
		name := label(m)
		if m.Name != "" {
			name = m.Name
		}
		if m.Left {
			name += " (left)"
		}
		names = append(names, name)
	}
	fmt.Printf("session: %s\nphase: %s\nmembers: %s\nopened: %s\n", s.ID, s.Phase, strings.Join(names, " "), s.Opened.Local().Format(time.DateTime))
	if !s.Until.IsZero() {
		fmt.Printf("until: %s\n", s.Until.Local().Format(time.DateTime))
	}
	fmt.Printf("messages: %d\n", s.Head)
}

type sessionMessage struct {
	choice
	JSON bool `name:"json" help:"One JSON object a line."`
}

func (c *sessionMessage) Run(ctx context.Context) error {
	api, s, err := c.pick(ctx)
	if err != nil {
		return err
	}
	names := map[wire.MemberID]string{}
	for _, m := range s.Members {
		names[m.ID] = label(m)
	}
	for after := uint64(0); ; {
		var page wire.MessageList
		if err := api.Call(ctx, http.MethodGet, fmt.Sprintf("/v1/sessions/%s/messages?after=%d&limit=200", s.ID, after), nil, &page); err != nil {
			return err
		}
		for _, e := range page.Messages {
			if c.JSON {
				b, err := json.Marshal(e)
				if err != nil {
					return err
				}
				fmt.Println(string(b))
			} else if e.From != "" {
				fmt.Printf("%4d  %s  %s: %s\n", e.Seq, e.Time.Local().Format(time.TimeOnly), names[e.From], bodyText(e))
			}
			after = e.Seq
		}
		if len(page.Messages) == 0 || after >= page.Head {
			return nil
		}
	}
}

// bodyText shows a message's body in a line.
func bodyText(e wire.Envelope) string {
	var t wire.Text
	var f wire.File
	var l wire.Link
	switch {
	case e.Kind == wire.KindText && json.Unmarshal(e.Body, &t) == nil:
		return printable(t.Text)
	case e.Kind == wire.KindFile && json.Unmarshal(e.Body, &f) == nil:
		return fmt.Sprintf("[%s, %s, %s]", printable(f.Name), f.Type, bytesText(f.Size))
	case e.Kind == wire.KindLink && json.Unmarshal(e.Body, &l) == nil:
		return strings.TrimSpace(printable(l.Name + " " + l.URL))
	}
	return e.Kind + " " + printable(string(e.Body))
}

type sessionExtend struct {
	choice
	By time.Duration `default:"10m" help:"How much longer (default: ${default})."`
}

func (c *sessionExtend) Run(ctx context.Context) error {
	api, s, err := c.pick(ctx)
	if err != nil {
		return err
	}
	if err := api.Call(ctx, http.MethodPost, "/v1/sessions/"+string(s.ID)+"/extend", wire.Extend{Seconds: int(c.By.Seconds())}, &s); err != nil {
		return err
	}
	show(s)
	return nil
}

type sessionLeave struct {
	choice
	Block bool `help:"Refuse further sessions with the other parties."`
}

func (c *sessionLeave) Run(ctx context.Context) error {
	api, s, err := c.pick(ctx)
	if err != nil {
		return err
	}
	if err := api.Call(ctx, http.MethodPost, "/v1/sessions/"+string(s.ID)+"/leave", wire.Leave{Block: c.Block}, nil); err != nil {
		return err
	}
	fmt.Println("left", s.ID)
	return nil
}

type sessionAccept struct {
	account
	Invitation wire.InvitationID `arg:"" help:"Id of the invitation."`
}

func (c *sessionAccept) Run(ctx context.Context) error {
	return answerInvitation(ctx, c.account, wire.Answer{Invitation: c.Invitation, Accept: true})
}

type sessionDecline struct {
	account
	Invitation wire.InvitationID `arg:"" help:"Id of the invitation."`
}

func (c *sessionDecline) Run(ctx context.Context) error {
	return answerInvitation(ctx, c.account, wire.Answer{Invitation: c.Invitation})
}

func answerInvitation(ctx context.Context, who account, a wire.Answer) error {
	api, _, err := who.api()
	if err != nil {
		return err
	}
	return api.Call(ctx, http.MethodPost, "/v1/invitations/answer", a, nil)
}

type sessionWords struct {
	account
	Invitation wire.InvitationID `arg:"" help:"Id that came with the request for words."`
	Words      []string          `arg:"" help:"The two words."`
}

func (c *sessionWords) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	return api.Call(ctx, http.MethodPost, "/v1/invitations/confirm", wire.Confirm{Invitation: c.Invitation, Words: strings.Join(c.Words, " ")}, nil)
}

type sessionAsk struct {
	account
	To     string `placeholder:"IDENTITY" help:"The party that you are speaking to (default: that of the only call that is known)."`
	Region string `placeholder:"GB" help:"Region of a national number."`
}

func (c *sessionAsk) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	var q wire.Ask
	if c.To != "" {
		if q.Other, err = tel.ParseIdentity(c.To, c.Region); err != nil {
			return fmt.Errorf("--to: %w", err)
		}
	}
	ack, err := api.Ask(ctx, q)
	if err != nil {
		return err
	}
	if ack.Session == "" {
		fmt.Println("asked; no session yet")
	} else {
		fmt.Println("asked; session", ack.Session)
	}
	return nil
}

type sessionJoin struct {
	account
	Session wire.SessionID `arg:"" help:"Id of the session."`
}

func (c *sessionJoin) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	s, err := api.Join(ctx, c.Session)
	if err != nil {
		return err
	}
	show(s)
	return nil
}
