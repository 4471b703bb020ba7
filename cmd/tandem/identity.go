package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/tandem-call/tandem/wire"
)

type identityCommand struct {
	Link    identityLink    `cmd:"" help:"Give a party a further identity, by which reports may name it."`
	Unlink  identityUnlink  `cmd:"" help:"Take an identity from its party."`
	Share   identityShare   `cmd:"" help:"Mark a number that many callers share: a trunk, a contact centre, a conference."`
	Unshare identityUnshare `cmd:"" help:"Unmark a shared number."`
	Shared  identityShared  `cmd:"" help:"List shared numbers."`
	Recycle identityRecycle `cmd:"" help:"Forget every device's proof of a number that has a new owner."`
}

type identityLink struct {
	operator
	Identity string `arg:"" help:"The identity to add: sip:, mailto:, user:, acct: or a number."`
	Party    string `arg:"" help:"An identity of the party, normally its number."`
}

func (c *identityLink) Run(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/operator/identities", wire.LinkRequest{Identity: c.Identity, Party: c.Party})
}

type identityUnlink struct {
	operator
	Identity string `arg:"" help:"The identity to take away."`
}

func (c *identityUnlink) Run(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "/v1/operator/identities?identity="+url.QueryEscape(c.Identity), nil)
}

type identityShare struct {
	operator
	Identity string `arg:"" help:"The number, or another identity."`
}

func (c *identityShare) Run(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/operator/shared-identities", wire.SharedRequest{Identity: c.Identity})
}

type identityUnshare struct {
	operator
	Identity string `arg:"" help:"The number, or another identity."`
}

func (c *identityUnshare) Run(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "/v1/operator/shared-identities?identity="+url.QueryEscape(c.Identity), nil)
}

type identityShared struct{ operator }

func (c *identityShared) Run(ctx context.Context) error {
	var l wire.SharedList
	if err := c.get(ctx, "/v1/operator/shared-identities", &l); err != nil {
		return err
	}
	for _, id := range l.Identities {
		fmt.Println(id)
	}
	return nil
}

type identityRecycle struct {
	operator
	Number string `arg:"" help:"The number."`
}

func (c *identityRecycle) Run(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "/v1/operator/numbers/"+url.PathEscape(c.Number)+"/devices", nil)
}
