package main

import (
	"context"
	"fmt"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

type reportCommand struct {
	account
	To         string   `placeholder:"IDENTITY" help:"The other party: a number, or a sip:, mailto:, user:, acct: or id: address. Leave it out where it is withheld."`
	Region     string   `placeholder:"GB" help:"Region of a national number."`
	Withheld   bool     `help:"The own number is withheld in the call: the other side is not shown it."`
	State      string   `enum:"ringing,active,held,ended" default:"active" help:"State of the call: ringing, active, held or ended (default: ${default})."`
	Direction  string   `enum:",incoming,outgoing" default:"" help:"Who dialled, where it is known: incoming or outgoing."`
	Extension  string   `placeholder:"EXT" help:"Own extension behind a shared number."`
	Queue      string   `placeholder:"NAME" help:"Queue of the contact centre that the call came in."`
	Conference string   `placeholder:"ID" help:"Id of the conference that the call is in."`
	Ref        string   `placeholder:"REF" help:"Your reference for the call; needed to tell two calls with the same party apart."`
	CallID     string   `name:"call-id" placeholder:"ID" help:"SIP Call-ID."`
	Profile    string   `placeholder:"URL" help:"Address at which the own profile lives: the server reads it there from now on."`
	Coupled    []string `placeholder:"ADDRESS,..." help:"Devices that carry data in this call: ids of your own, or the address that a device shows (tandem device couple)."`
	SessionID  string   `name:"session-id" placeholder:"ID" help:"SIP Session-ID (RFC 7989)."`
}

func (c *reportCommand) Run(ctx context.Context) error {
	api, id, err := c.api()
	if err != nil {
		return err
	}
	d := tel.PartyDetails{
		Own: id.Number.Identity(), Withheld: c.Withheld, State: tel.State(c.State), Direction: tel.Direction(c.Direction),
		Extension: c.Extension, ConferenceID: c.Conference,
		Ref: tel.Ref{Local: c.Ref, CallID: c.CallID, SessionID: c.SessionID},
	}
	if c.To != "" {
		if d.Other, err = tel.ParseIdentity(c.To, c.Region); err != nil {
			return fmt.Errorf("--to: %w", err)
		}
	}
	ack, err := api.Report(ctx, wire.Report{PartyDetails: d, Queue: c.Queue, Typed: true, Profile: c.Profile, Coupled: c.Coupled})
	if err != nil {
		return err
	}
	if ack.Session == "" {
		fmt.Println("reported; no session yet")
	} else {
		fmt.Println("reported; session", ack.Session)
	}
	return nil
}
