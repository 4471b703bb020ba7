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

type tokenCommand struct {
	Create tokenCreate `cmd:"" help:"Make an API key; it is shown once."`
	List   tokenList   `cmd:"" help:"List API keys."`
	Revoke tokenRevoke `cmd:"" help:"Revoke an API key."`
}

type tokenCreate struct {
	operator
	Role string   `required:"" enum:"operator,element,provider" help:"operator: everything; element: a network element that reports calls; provider: a contact centre, for its own numbers."`
	Name string   `required:"" help:"Who holds it, for the list."`
	For  []string `name:"for" placeholder:"PREFIX" help:"Number prefixes that an element or provider may speak for, e.g. +44207946."`
	Days int      `default:"365" help:"Days until it expires (default: ${default})."`
}

func (c *tokenCreate) Run(ctx context.Context) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	var made wire.Credential
	err = api.Call(ctx, http.MethodPost, "/v1/operator/credentials", wire.CredentialRequest{Role: c.Role, Name: c.Name, Ranges: c.For, Days: c.Days}, &made)
	if err != nil {
		return err
	}
	fmt.Println(made.Key)
	fmt.Fprintf(os.Stderr, "This is shown only now. It is valid until %s; its id is %s.\n", made.Expires.Format(time.DateOnly), made.ID)
	return nil
}

type tokenList struct{ operator }

func (c *tokenList) Run(ctx context.Context) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	var l wire.CredentialList
	if err := api.Call(ctx, http.MethodGet, "/v1/operator/credentials", nil, &l); err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tROLE\tNAME\tFOR\tEXPIRES\tREVOKED")
	for _, k := range l.Credentials {
		revoked := ""
		if !k.Revoked.IsZero() {
			revoked = k.Revoked.Format(time.DateOnly)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Role, k.Name, strings.Join(k.Ranges, " "), k.Expires.Format(time.DateOnly), revoked)
	}
	return w.Flush()
}

type tokenRevoke struct {
	operator
	ID string `arg:"" help:"Id of the key, from the list."`
}

func (c *tokenRevoke) Run(ctx context.Context) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	if err := api.Call(ctx, http.MethodDelete, "/v1/operator/credentials/"+url.PathEscape(c.ID), nil, nil); err != nil {
		return err
	}
	fmt.Println("revoked", c.ID)
	return nil
}
