package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/wire"
)

// deviceSet changes what the user of a device decides.
type deviceSet struct {
	account
	Unasked  string   `enum:"on,off,-" default:"-" placeholder:"on|off" help:"Whether, woken by push, it may join without asking, while its telephone is in a call."`
	Language string   `placeholder:"TAG" help:"Language of its user, such as de or pt-BR: overlays are chosen by it."`
	Ways     []string `enum:"push,text,none" placeholder:"WAY,…" help:"How the party is invited when it is not connected, in this order: push, text; or none."`
}

func (c *deviceSet) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	if c.Unasked == "-" && c.Language == "" && len(c.Ways) == 0 {
		return errors.New("nothing to set; see tandem device set --help")
	}
	if c.Unasked != "-" || c.Language != "" {
		change := wire.DeviceChange{}
		if c.Unasked != "-" {
			unasked := c.Unasked == "on"
			change.Unasked = &unasked
		}
		if c.Language != "" {
			change.Language = &c.Language
		}
		var info wire.DeviceInfo
		if err := api.Call(ctx, http.MethodPatch, "/v1/device", change, &info); err != nil {
			return err
		}
	}
	if len(c.Ways) > 0 {
		r := wire.Reach{Ways: []wire.Way{}}
		for _, w := range c.Ways {
			if w != "none" {
				r.Ways = append(r.Ways, wire.Way(w))
			}
		}
		if slices.Contains(c.Ways, "none") && len(c.Ways) > 1 {
			return errors.New("--ways: none stands alone")
		}
		if err := api.Call(ctx, http.MethodPut, "/v1/reach", r, &r); err != nil {
			return err
		}
	}
	fmt.Println("done")
	return nil
}

// deviceGuest opens a link as a page would.
type deviceGuest struct {
	account
	Link string `arg:"" help:"The link, http…/g/…."`
	Name string `placeholder:"NAME" help:"Name that the other party sees."`
}

func (c *deviceGuest) Run(ctx context.Context) error {
	path, err := c.file()
	if err != nil {
		return err
	}
	hc, err := httpClient(c.CA)
	if err != nil {
		return err
	}
	server, err := client.LinkServer(c.Link)
	if err != nil {
		return err
	}
	id, err := client.NewIdentity(server)
	if err != nil {
		return err
	}
	info, err := client.OpenLink(ctx, id, c.Link, c.Name, hc)
	if err != nil {
		return err
	}
	if err := id.Save(path); err != nil {
		return err
	}
	fmt.Printf("guest: device %s for %s, until the session is closed\nnow: tandem device run --as %s\n", info.ID, id.Number, c.As)
	return nil
}

// deviceLink confirms an installation.
type deviceLink struct {
	account
	Link string `arg:"" help:"The link, http…/g/…."`
}

func (c *deviceLink) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	ack, err := api.Installed(ctx, c.Link)
	if err != nil {
		return err
	}
	fmt.Println("joined; session", orNone(string(ack.Session)))
	return nil
}
