package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/tandem-call/tandem/wire"
)

type partyExport struct {
	operator
	Party string `arg:"" help:"The party's number, or another of its identities."`
}

func (c *partyExport) Run(ctx context.Context) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	var x wire.PartyExport
	if err := api.Call(ctx, http.MethodPost, "/v1/operator/parties/export", wire.PartyRequest{Party: c.Party}, &x); err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(x)
}

type partyErase struct {
	operator
	Party string `arg:"" help:"The party's number, or another of its identities."`
	Yes   bool   `help:"Do it. There is no way back."`
}

func (c *partyErase) Run(ctx context.Context) error {
	if !c.Yes {
		return errors.New("this erases the party's devices, identities, calls, sessions with all messages and files, and blocks, for good; to do it, add --yes")
	}
	api, err := c.api()
	if err != nil {
		return err
	}
	var e wire.PartyErased
	if err := api.Call(ctx, http.MethodPost, "/v1/operator/parties/erase", wire.PartyRequest{Party: c.Party}, &e); err != nil {
		return err
	}
	fmt.Printf("erased: identities %d, devices %d, calls %d, sessions %d, webhook deliveries %d\n", e.Identities, e.Devices, e.Calls, e.Sessions, e.Deliveries)
	if e.Compacted {
		fmt.Println("nothing of it is left in the store's files; backups keep what they had")
	} else {
		fmt.Println("it is in the engine's files until they are next rewritten; backups keep what they had")
	}
	for _, id := range e.Barred {
		fmt.Printf("%s is barred, and stays so: to erase that too, lift the bar\n", id)
	}
	return nil
}
