package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"text/tabwriter"

	"github.com/tandem-call/tandem/wire"
)

type pushCommand struct {
	Test pushTest `cmd:"" help:"Wake a party's devices now, and show what the push services say."`
}

type pushTest struct {
	operator
	Number string `arg:"" help:"The party's number."`
}

func (c *pushTest) Run(ctx context.Context) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	var l wire.PushTestedList
	if err := api.Call(ctx, http.MethodPost, "/v1/operator/push-tests", wire.PushTestRequest{Number: c.Number}, &l); err != nil {
		return err
	}
	if len(l.Devices) == 0 {
		return errors.New("this party has no device")
	}
	failed := 0
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, d := range l.Devices {
		if d.Outcome != "accepted" {
			failed++
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d ms\t%s\n", d.Device, printable(d.Name), orNone(d.Platform), d.Outcome, d.Millis, printable(d.Detail))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if failed == len(l.Devices) {
		return errors.New("no device could be woken")
	}
	return nil
}
