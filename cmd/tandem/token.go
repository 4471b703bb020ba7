package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
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
	Role    string        `required:"" enum:"operator,element,provider" help:"operator: everything; element: a network element that reports calls; provider: a contact centre, for its own numbers."`
	Name    string        `required:"" help:"Who holds it, for the list."`
	For     []string      `name:"for" placeholder:"PREFIX" help:"Number prefixes that an element or provider may speak for, e.g. +44207946."`
	Scope   []string      `placeholder:"SCOPE" help:"Limit it to report, couplings, bind, keys, parties, calls, audit, webhooks, server, overlays, agents, payments; may be given several times. bind must be named."`
	Cert    string        `type:"existingfile" placeholder:"FILE" help:"Bind it to this TLS client certificate (PEM): it is valid only together with it."`
	Days    int           `help:"Days until it expires (a year, unless --for-time says otherwise)."`
	ForTime time.Duration `placeholder:"DURATION" help:"Or the time until it expires, e.g. 15m."`
}

func (c *tokenCreate) Run(ctx context.Context) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	r := wire.CredentialRequest{Role: c.Role, Name: c.Name, Ranges: c.For, Scopes: c.Scope, Days: c.Days, Seconds: int(c.ForTime.Seconds())}
	if c.Cert != "" {
		if r.Certificate, err = certificateThumbprint(c.Cert); err != nil {
			return err
		}
	}
	var made wire.Credential
	err = api.Call(ctx, http.MethodPost, "/v1/operator/credentials", r, &made)
	if err != nil {
		return err
	}
	fmt.Println(made.Key)
	fmt.Fprintf(os.Stderr, "This is shown only now. It is valid until %s; its id is %s.\n", until(made.Expires), made.ID)
	return nil
}

// until shows the day of what lasts longer than one, or else the time.
func until(t time.Time) string {
	if time.Until(t) > 24*time.Hour {
		return t.Format(time.DateOnly)
	}
	return t.Local().Format(time.DateTime)
}

// certificateThumbprint is the x5t#S256 of RFC 8705 of the first certificate in a file.
func certificateThumbprint(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" {
		return "", fmt.Errorf("--cert %s: no certificate in PEM at its beginning", file)
	}
	sum := sha256.Sum256(block.Bytes)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

type tokenList struct{ operator }

func (c *tokenList) Run(ctx context.Context) error {
	var l wire.CredentialList
	if err := c.get(ctx, "/v1/operator/credentials", &l); err != nil {
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
