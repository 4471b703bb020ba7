package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// contactCommand is the address book of this device's party on the server.
type contactCommand struct {
	List   contactList   `cmd:"" default:"withargs" help:"List the address book."`
	Find   contactFind   `cmd:"" help:"Which contact has this identity, and which others belong to it?"`
	Keep   contactKeep   `cmd:"" help:"Keep a profile that was received."`
	Import contactImport `cmd:"" help:"Add the contacts of a vCard file."`
	Export contactExport `cmd:"" help:"Write the address book, or one contact, as vCards."`
	Sync   contactSync   `cmd:"" help:"Keep an address book of yours on a CardDAV server alike with the one here."`
	Remove contactRemove `cmd:"" help:"Remove a contact."`
	Rule   contactRule   `cmd:"" help:"Say whether the profile goes to somebody, and what becomes of theirs."`
	Rules  contactRules  `cmd:"" help:"List those rules."`

	Block   contactBlock   `cmd:"" help:"Block somebody: no more sessions with them."`
	Unblock contactUnblock `cmd:"" help:"Take a block back."`
	Blocks  contactBlocks  `cmd:"" help:"List who is blocked."`
}

type contactList struct{ account }

func (c *contactList) Run(ctx context.Context) error { return listContacts(ctx, c.account, "") }

type contactFind struct {
	account
	Identity string `arg:"" help:"A number or another identity."`
}

func (c *contactFind) Run(ctx context.Context) error { return listContacts(ctx, c.account, c.Identity) }

func listContacts(ctx context.Context, a account, of string) error {
	api, _, err := a.api()
	if err != nil {
		return err
	}
	list, err := api.Contacts(ctx, of)
	if err != nil {
		return err
	}
	for _, x := range list {
		fmt.Println(contactLine(x))
		for _, f := range x.Fields {
			fmt.Println("  " + fieldLine(f))
		}
	}
	return nil
}

func contactLine(x wire.Contact) string {
	name := "?"
	for _, f := range x.Fields {
		if f.Name == "fn" {
			name = printable(f.Value)
		}
	}
	return fmt.Sprintf("%s %s:%s", x.ID, name, identitiesText(x.Identities))
}

type contactKeep struct {
	account
	Owner string `arg:"" help:"As the received profile names its owner."`
}

func (c *contactKeep) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	x, err := api.KeepContact(ctx, c.Owner)
	if err != nil {
		return err
	}
	fmt.Println("kept: " + contactLine(x))
	return nil
}

type contactImport struct {
	account
	File string `arg:"" type:"existingfile" help:"A file of vCards."`
}

func (c *contactImport) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	data, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	list, err := api.ImportContacts(ctx, data)
	if err != nil {
		return err
	}
	for _, x := range list {
		fmt.Println("added: " + contactLine(x))
	}
	return nil
}

type contactExport struct {
	account
	ID string `arg:"" optional:"" help:"Id of a contact."`
}

func (c *contactExport) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	_, err = api.Get(ctx, "/v1/contacts/cards?id="+url.QueryEscape(c.ID), os.Stdout)
	return err
}

type contactRemove struct {
	account
	ID string `arg:"" help:"Id of the contact."`
}

func (c *contactRemove) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	if err := api.Call(ctx, http.MethodDelete, "/v1/contacts/"+url.PathEscape(c.ID), nil, nil); err != nil {
		return err
	}
	fmt.Println("removed")
	return nil
}

type contactRule struct {
	account
	Identity string        `arg:"" help:"A number or another identity."`
	Send     wire.SendRule `enum:"always,once,never," default:"" help:"Send the profile there: always, once, never."`
	Keep     wire.KeepRule `enum:"ask,once,always,never," default:"" help:"What becomes of theirs: ask, once, always, never. Without both, the rule is removed."`
}

func (c *contactRule) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	id, err := tel.ParseIdentity(c.Identity, "")
	if err != nil {
		return err
	}
	if err := api.Call(ctx, http.MethodPut, "/v1/contact-rules", wire.ContactRule{Identity: id, Send: c.Send, Keep: c.Keep}, nil); err != nil {
		return err
	}
	fmt.Println("done")
	return nil
}

type contactRules struct{ account }

func (c *contactRules) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	var l wire.ContactRuleList
	if err := api.Call(ctx, http.MethodGet, "/v1/contact-rules", nil, &l); err != nil {
		return err
	}
	for _, r := range l.Rules {
		fmt.Printf("%s: send %s, keep %s\n", r.Identity, orDefault(string(r.Send)), orDefault(string(r.Keep)))
	}
	return nil
}

func orDefault(s string) string {
	if s == "" {
		return "as the profile says"
	}
	return s
}

type contactBlock struct {
	account
	Identity string `arg:"" help:"A number or another identity."`
}

func (c *contactBlock) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	id, err := tel.ParseIdentity(c.Identity, "")
	if err != nil {
		return err
	}
	return api.Call(ctx, http.MethodPost, "/v1/blocks", wire.BlockRequest{Identity: id}, nil)
}

type contactUnblock struct {
	account
	Identity string `arg:"" help:"A number or another identity."`
}

func (c *contactUnblock) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	return api.Call(ctx, http.MethodDelete, "/v1/blocks?identity="+url.QueryEscape(c.Identity), nil, nil)
}

type contactBlocks struct{ account }

func (c *contactBlocks) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	var l wire.BlockList
	if err := api.Call(ctx, http.MethodGet, "/v1/blocks", nil, &l); err != nil {
		return err
	}
	for _, id := range l.Blocked {
		fmt.Println(id)
	}
	return nil
}
