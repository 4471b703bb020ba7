package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/tandem-call/tandem/wire"
)

type callCommand struct {
	Explain callExplain `cmd:"" help:"Why did the reports of two parties match, or not?"`
}

type callExplain struct {
	operator
	A string `arg:"" help:"A number, or another identity, of one side."`
	B string `arg:"" help:"And of the other side."`
}

func (c *callExplain) Run(ctx context.Context) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	var x wire.Explanation
	if err := api.Call(ctx, http.MethodPost, "/v1/operator/explain", wire.ExplainRequest{A: c.A, B: c.B}, &x); err != nil {
		return err
	}
	if x.Matched {
		fmt.Println("matched: session", x.Session)
	} else {
		fmt.Println("not matched")
	}
	for _, l := range x.Lines {
		fmt.Println("  " + l)
	}
	return nil
}
