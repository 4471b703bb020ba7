package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// agentCommand looks after a provider's agents; a key of the role provider with the scope agents
// does so for its own numbers.
type agentCommand struct {
	Add      agentAdd      `cmd:"" help:"Add an agent, or change one."`
	List     agentList     `cmd:"" aliases:"state" help:"List the agents, and what they are doing since when."`
	Invite   agentInvite   `cmd:"" help:"Make a link to sign in with once, or a key to keep."`
	Revoke   agentRevoke   `cmd:"" help:"End every way of an agent to sign in, and sign it out."`
	Remove   agentRemove   `cmd:"" help:"Remove an agent."`
	Settings agentSettings `cmd:"" help:"Show or change reasons, wrap-up codes, and how long conversations are kept."`
}

func agentPath(id string) string { return "/v1/agents/" + url.PathEscape(id) }

type agentAdd struct {
	operator
	ID         string   `arg:"" help:"Its id: a-z, 0-9 and hyphen."`
	Name       string   `required:"" placeholder:"TEXT" help:"As callers see it."`
	Number     string   `required:"" help:"That callers reach: the provider's, with --extension, or the agent's own."`
	Extension  string   `placeholder:"EXT" help:"Of the agent, behind the provider's number."`
	Skill      []string `placeholder:"WORD" help:"What calls it can take; may be given several times."`
	Queue      string   `placeholder:"TEXT" help:"Queue that it works for."`
	Supervisor bool     `help:"It sees what the other agents are doing."`
	MayLook    bool     `help:"A supervisor who may look into the running calls of the others, and take them over."`
}

func (c *agentAdd) Run(ctx context.Context) error {
	return c.call(ctx, http.MethodPut, agentPath(c.ID), wire.AgentRequest{
		Name: c.Name, Number: c.Number, Extension: c.Extension, Skills: c.Skill, Queue: c.Queue, Supervisor: c.Supervisor, MayLook: c.MayLook,
	})
}

type agentList struct{ operator }

func (c *agentList) Run(ctx context.Context) error {
	var l wire.AgentList
	if err := c.get(ctx, "/v1/agents", &l); err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tREACHED AT\tSTATE\tSINCE\tSESSIONS")
	for _, a := range l.Agents {
		at := a.Number.String()
		if a.Extension != "" {
			at += " ext. " + a.Extension
		}
		state := string(a.State)
		if a.Reason != "" {
			state += " (" + a.Reason + ")"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\n", a.ID, printable(a.Name), at, printable(state), a.Since.Local().Format(time.DateTime), len(a.Sessions))
	}
	return w.Flush()
}

type agentInvite struct {
	operator
	ID    string `arg:"" help:"Of the agent."`
	Keep  bool   `help:"A key that the agent keeps, rather than a link that serves once."`
	Hours int    `help:"How long it is valid (a link a day, a key 90 days)."`
}

func (c *agentInvite) Run(ctx context.Context) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	var code wire.AgentCode
	if err := api.Call(ctx, http.MethodPost, agentPath(c.ID)+"/sign-ins", wire.AgentCodeRequest{Reusable: c.Keep, Hours: c.Hours}, &code); err != nil {
		return err
	}
	if c.Keep {
		fmt.Println(code.Code)
	} else {
		fmt.Println(code.Link)
	}
	fmt.Fprintf(os.Stderr, "This is shown only now. It is valid until %s.\n", until(code.Expires))
	return nil
}

type agentRevoke struct {
	operator
	ID string `arg:"" help:"Of the agent."`
}

func (c *agentRevoke) Run(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, agentPath(c.ID)+"/sign-ins", nil)
}

type agentRemove struct {
	operator
	ID string `arg:"" help:"Of the agent."`
}

func (c *agentRemove) Run(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, agentPath(c.ID), nil)
}

type agentSettings struct {
	operator
	Reason []string `placeholder:"TEXT" help:"Reasons to be busy, in wrap-up or away: replaces those there were; may be given several times."`
	Code   []string `placeholder:"CODE=TEXT" help:"Wrap-up codes: replaces those there were; may be given several times."`
	Keep   int      `placeholder:"DAYS" help:"Days that conversations are kept."`
}

func (c *agentSettings) Run(ctx context.Context) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	var set wire.AgentSettings
	if err := api.Call(ctx, http.MethodGet, "/v1/agent-settings", nil, &set); err != nil {
		return err
	}
	if len(c.Reason) > 0 {
		set.Reasons = c.Reason
	}
	if len(c.Code) > 0 {
		set.WrapUpCodes = nil
		for _, s := range c.Code {
			code, text, ok := strings.Cut(s, "=")
			if !ok {
				return fmt.Errorf("--code %s: write CODE=TEXT", s)
			}
			set.WrapUpCodes = append(set.WrapUpCodes, wire.WrapUpCode{Code: code, Text: text})
		}
	}
	if c.Keep > 0 {
		set.RetentionDays = c.Keep
	}
	if len(c.Reason) > 0 || len(c.Code) > 0 || c.Keep > 0 {
		if err := api.Call(ctx, http.MethodPut, "/v1/agent-settings", set, &set); err != nil {
			return err
		}
	}
	fmt.Println("reasons:", strings.Join(set.Reasons, ", "))
	for _, x := range set.WrapUpCodes {
		fmt.Printf("wrap-up: %s=%s\n", x.Code, x.Text)
	}
	fmt.Println("conversations are kept for", set.RetentionDays, "days")
	return nil
}
