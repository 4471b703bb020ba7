package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/tandem-call/tandem/internal/edge/fetch"
	"github.com/tandem-call/tandem/internal/profile"
	"github.com/tandem-call/tandem/wire"
)

type profileSource struct {
	account
	URL  string `arg:"" optional:"" help:"Address; without it, the one that is set is read again."`
	None bool   `help:"Read no address any more. What was read stays."`
}

func (c *profileSource) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	if c.URL != "" || c.None {
		if c.URL != "" && c.None {
			return errors.New("an address, or --none; not both")
		}
		done, err := api.ChangeProfile(ctx, wire.ProfileChange{Source: &c.URL})
		if err != nil || c.None {
			return changed(done, err)
		}
	}
	p, err := api.ReadProfileSource(ctx)
	return changed(wire.ProfileChanged{Profile: p}, err)
}

type profileRead struct {
	URL      string   `arg:"" help:"Address, as in the field source that was received."`
	Networks []string `placeholder:"NETWORK" help:"Networks that are not public and may be read all the same, such as 10.0.0.0/8. The address is somebody else's word."`
}

func (c *profileRead) Run(ctx context.Context) error {
	at, err := url.Parse(c.URL)
	if err != nil {
		return fmt.Errorf("%q is no address: %w", c.URL, err)
	}
	allow, err := prefixes(c.Networks)
	if err != nil {
		return err
	}
	out, err := fetch.New(fetch.Config{Allow: allow})
	if err != nil {
		return err
	}
	r, err := out.Fetch(ctx, fetch.Request{
		URL: c.URL, Types: profile.AddressTypes, MaxBytes: wire.MaxCard, Header: http.Header{"Accept": {strings.Join(profile.AddressTypes, ", ")}},
	})
	if err != nil {
		return err
	}
	card, err := profile.ParseAddressed(r.Type, r.Body, at)
	if err != nil {
		return err
	}
	for _, f := range card.Fields {
		if f.Name != "photo" {
			fmt.Printf("%s = %s, claimed\n", f.ID, printable(f.Value))
		}
	}
	if card.Photo != "" {
		fmt.Println("picture: " + printable(card.Photo))
	}
	return nil
}

// prefixes are networks that the user names.
func prefixes(networks []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, n := range networks {
		p, err := netip.ParsePrefix(n)
		if err != nil {
			return nil, fmt.Errorf("%q is not a network such as 10.0.0.0/8", n)
		}
		list = append(list, p)
	}
	return list, nil
}
