package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/wire"
)

// consoleCommand is what an agent does, without a browser; sessions, messages and places are the
// device commands' with the same --as.
type consoleCommand struct {
	SignIn   consoleSignIn   `cmd:"" help:"Sign in with the link or the key that the provider gave."`
	SignOut  consoleSignOut  `cmd:"" help:"Sign out."`
	State    consoleState    `cmd:"" help:"Say what you are doing."`
	Note     consoleNote     `cmd:"" help:"Write a note on a session; the customer never sees it."`
	WrapUp   consoleWrapUp   `cmd:"" help:"Say how a session came out."`
	Transfer consoleTransfer `cmd:"" help:"Hand a session to another agent."`
	Search   consoleSearch   `cmd:"" help:"Search your conversations; a supervisor's are all of its number."`
}

type consoleSignIn struct {
	account
	Server string `default:"http://127.0.0.1:8080" env:"TANDEM_SERVER" placeholder:"URL" help:"The server's address (default: ${default})."`
	Code   string `arg:"" help:"The link, or the key."`
}

func (c *consoleSignIn) Run(ctx context.Context) error {
	path, err := c.file()
	if err != nil {
		return err
	}
	if _, err := client.Load(path); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("there is a device %q already; remove it first, or use another name", c.As))
	}
	hc, err := httpClient(c.CA)
	if err != nil {
		return err
	}
	id, err := client.NewIdentity(c.Server)
	if err != nil {
		return err
	}
	in, err := client.SignIn(ctx, id, c.Code, "tandem/"+version, hc)
	if err != nil {
		return err
	}
	if err := id.Save(path); err != nil {
		return err
	}
	fmt.Printf("signed in as %s until %s\n", printable(in.Agent.Name), until(in.Agent.SignedInUntil))
	return nil
}

type consoleSignOut struct{ account }

func (c *consoleSignOut) Run(ctx context.Context) error {
	return c.ask(ctx, http.MethodDelete, "/v1/agent", nil)
}

func (a account) ask(ctx context.Context, method, path string, body any) error {
	api, _, err := a.api()
	if err == nil {
		err = api.Call(ctx, method, path, body, nil)
	}
	if err != nil {
		return err
	}
	fmt.Println("done")
	return nil
}

type consoleState struct {
	account
	State  wire.AgentState `arg:"" enum:"available,busy,wrap_up,away" help:"available, busy, wrap_up or away."`
	Reason string          `placeholder:"TEXT" help:"One of the provider's."`
}

func (c *consoleState) Run(ctx context.Context) error {
	return c.ask(ctx, http.MethodPut, "/v1/agent/state", wire.AgentStateRequest{State: c.State, Reason: c.Reason})
}

func conversationPath(id wire.SessionID) string {
	return "/v1/agent/conversations/" + url.PathEscape(string(id))
}

type consoleNote struct {
	choice
	Text string `arg:"" help:"The note."`
}

func (c *consoleNote) Run(ctx context.Context) error {
	_, s, err := c.pick(ctx)
	if err != nil {
		return err
	}
	return c.ask(ctx, http.MethodPost, conversationPath(s.ID)+"/notes", wire.NoteRequest{ID: wire.NewID(""), Text: c.Text})
}

type consoleWrapUp struct {
	choice
	Code string `arg:"" help:"One of the provider's wrap-up codes."`
}

func (c *consoleWrapUp) Run(ctx context.Context) error {
	_, s, err := c.pick(ctx)
	if err != nil {
		return err
	}
	return c.ask(ctx, http.MethodPut, conversationPath(s.ID)+"/wrap-up", wire.WrapUpRequest{Code: c.Code})
}

type consoleTransfer struct {
	choice
	To string `arg:"" help:"Id of the agent."`
}

func (c *consoleTransfer) Run(ctx context.Context) error {
	_, s, err := c.pick(ctx)
	if err != nil {
		return err
	}
	return c.ask(ctx, http.MethodPost, conversationPath(s.ID)+"/transfer", wire.TransferRequest{To: c.To})
}

type consoleSearch struct {
	account
	Text string `arg:"" optional:"" help:"To be found in numbers, notes, wrap-up codes or agents' names."`
}

func (c *consoleSearch) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	var l wire.ConversationList
	if err := api.Call(ctx, http.MethodGet, "/v1/agent/conversations?text="+url.QueryEscape(c.Text), nil, &l); err != nil {
		return err
	}
	for _, x := range l.Conversations {
		customer := "withheld"
		if !x.Customer.IsZero() {
			customer = x.Customer.String()
		}
		fmt.Printf("%s  %s  %s", x.Opened.Local().Format("2006-01-02 15:04"), x.Session, customer)
		for _, s := range x.Stints {
			fmt.Printf("  %s", printable(s.Name))
		}
		if x.WrapUp != nil {
			fmt.Printf("  [%s]", x.WrapUp.Code)
		}
		fmt.Println()
		for _, n := range x.Notes {
			fmt.Printf("  %s: %s\n", printable(n.Name), printable(n.Text))
		}
	}
	return nil
}
