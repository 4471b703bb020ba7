package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"text/tabwriter"
	"time"

	"github.com/tandem-call/tandem/wire"
)

type partyBlock struct {
	operator
	Identity string `arg:"" help:"The number, or another identity."`
	Note     string `placeholder:"TEXT" help:"Why, for the list."`
}

// Help is shown by --help.
func (partyBlock) Help() string {
	return `Nobody is told: whoever uses the number, or calls it, gets the answers of a number
that nobody calls.`
}

func (c *partyBlock) Run(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/operator/barred", wire.BarRequest{Identity: c.Identity, Note: c.Note})
}

type partyUnblock struct {
	operator
	Identity string `arg:"" help:"The number, or another identity."`
}

func (c *partyUnblock) Run(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "/v1/operator/barred?identity="+url.QueryEscape(c.Identity), nil)
}

type partyBlocks struct{ operator }

func (c *partyBlocks) Run(ctx context.Context) error {
	var l wire.BarredList
	if err := c.get(ctx, "/v1/operator/barred", &l); err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "IDENTITY\tSINCE\tNOTE")
	for _, b := range l.Barred {
		fmt.Fprintf(w, "%s\t%s\t%s\n", b.Identity, b.Since.Local().Format(time.DateOnly), b.Note)
	}
	return w.Flush()
}
