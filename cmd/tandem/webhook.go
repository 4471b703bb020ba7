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

type webhookCommand struct {
	Add        webhookAdd        `cmd:"" help:"Send events to an address; the secret is shown once."`
	List       webhookList       `cmd:"" help:"List webhooks."`
	Remove     webhookRemove     `cmd:"" help:"Remove a webhook, with what is pending for it."`
	Rotate     webhookRotate     `cmd:"" help:"Make a new secret; for a day events are signed with both."`
	Enable     webhookEnable     `cmd:"" help:"Let a disabled webhook work again."`
	Test       webhookTest       `cmd:"" help:"Send one event of the type webhook.test now."`
	Deliveries webhookDeliveries `cmd:"" help:"Show the log of deliveries, the newest first."`
	Replay     webhookReplay     `cmd:"" help:"Send an event again."`
}

// Help is shown by --help.
func (webhookCommand) Help() string {
	return `Events: ` + strings.Join(wire.EventTypes, ", ") + `.
They are CloudEvents 1.0, signed as Standard Webhooks says, and come at least once, in
no promised order. Parties are pseudonyms, unless the webhook gets --identities full.`
}

type webhookAdd struct {
	operator
	URL        string   `arg:"" name:"url" help:"Where events are sent."`
	Events     []string `placeholder:"EVENT,…" help:"Types of events (\"*\": all; default: all but call.reported)."`
	Identities string   `enum:"masked,full" default:"masked" help:"masked: pseudonyms; full: the numbers themselves."`
}

func (c *webhookAdd) Run(ctx context.Context) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	var made wire.Webhook
	r := wire.WebhookRequest{URL: c.URL, Events: c.Events, Identities: c.Identities}
	if err := api.Call(ctx, http.MethodPost, "/v1/operator/webhooks", r, &made); err != nil {
		return err
	}
	return showSecret(made)
}

func showSecret(w wire.Webhook) error {
	fmt.Println(w.Secret)
	fmt.Fprintf(os.Stderr, "This is shown only now: the receiver checks signatures with it. The webhook's id is %s.\n", w.ID)
	return nil
}

type webhookList struct{ operator }

func (c *webhookList) Run(ctx context.Context) error {
	var l wire.WebhookList
	if err := c.get(ctx, "/v1/operator/webhooks", &l); err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSTATE\tIDENTITIES\tEVENTS\tURL")
	for _, h := range l.Webhooks {
		state := "working"
		switch {
		case h.DisabledBy != "":
			state = "disabled (" + h.DisabledBy + ")"
		case !h.FailingSince.IsZero():
			state = "failing since " + h.FailingSince.Format(time.DateTime)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", h.ID, state, h.Identities, strings.Join(h.Events, " "), h.URL)
	}
	return w.Flush()
}

type webhookRemove struct {
	operator
	ID string `arg:"" help:"Id of the webhook, from the list."`
}

func (c *webhookRemove) Run(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "/v1/operator/webhooks/"+url.PathEscape(c.ID), nil)
}

type webhookRotate struct {
	operator
	ID string `arg:"" help:"Id of the webhook, from the list."`
}

func (c *webhookRotate) Run(ctx context.Context) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	var made wire.Webhook
	if err := api.Call(ctx, http.MethodPost, "/v1/operator/webhooks/"+url.PathEscape(c.ID)+"/secret", nil, &made); err != nil {
		return err
	}
	return showSecret(made)
}

type webhookEnable struct {
	operator
	ID string `arg:"" help:"Id of the webhook, from the list."`
}

func (c *webhookEnable) Run(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/operator/webhooks/"+url.PathEscape(c.ID)+"/enable", nil)
}

type webhookTest struct {
	operator
	ID string `arg:"" help:"Id of the webhook, from the list."`
}

func (c *webhookTest) Run(ctx context.Context) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	var d wire.WebhookDelivery
	if err := api.Call(ctx, http.MethodPost, "/v1/operator/webhooks/"+url.PathEscape(c.ID)+"/test", nil, &d); err != nil {
		return err
	}
	fmt.Println(d.Status, lastAttempt(d))
	if d.Status != "delivered" {
		return fmt.Errorf("the webhook did not take the event")
	}
	return nil
}

type webhookDeliveries struct {
	operator
	Webhook string `arg:"" optional:"" help:"Of this webhook only."`
	Status  string `enum:"pending,delivered,failed,any" default:"any" help:"pending, delivered or failed."`
	Limit   int    `default:"100" help:"At most so many (default: ${default})."`
}

func (c *webhookDeliveries) Run(ctx context.Context) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	q := url.Values{"limit": {fmt.Sprint(c.Limit)}}
	if c.Webhook != "" {
		q.Set("webhook", c.Webhook)
	}
	if c.Status != "any" {
		q.Set("status", c.Status)
	}
	var l wire.WebhookDeliveryList
	if err := api.Call(ctx, http.MethodGet, "/v1/operator/webhook-deliveries?"+q.Encode(), nil, &l); err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "EVENT\tTYPE\tCREATED\tSTATUS\tTRIED\tLAST\tNEXT\tWEBHOOK")
	for _, d := range l.Deliveries {
		next := ""
		if !d.Next.IsZero() {
			next = d.Next.Local().Format(time.DateTime)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", d.Event, d.Type, d.Created.Local().Format(time.DateTime), d.Status, d.Tried, lastAttempt(d), next, d.Webhook)
	}
	return w.Flush()
}

func lastAttempt(d wire.WebhookDelivery) string {
	if len(d.Attempts) == 0 {
		return ""
	}
	a := d.Attempts[len(d.Attempts)-1]
	if a.Error != "" {
		return a.Error
	}
	return fmt.Sprint(a.Status)
}

type webhookReplay struct {
	operator
	Event   string `arg:"" help:"Id of the event, from the log of deliveries."`
	Webhook string `placeholder:"ID" help:"To this webhook only (default: to each that it was for)."`
}

func (c *webhookReplay) Run(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/operator/webhook-deliveries/"+url.PathEscape(c.Event)+"/replay", wire.WebhookReplay{Webhook: c.Webhook})
}
