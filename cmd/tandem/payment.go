package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/wire"
)

type paymentCommand struct {
	Account paymentAccount `cmd:"" help:"Accounts with a payment server, to which customers pay."`
	List    paymentList    `cmd:"" help:"List the payments of a session to your accounts."`
}

type paymentAccount struct {
	Set    paymentAccountSet    `cmd:"" help:"Make an account, or change it."`
	List   paymentAccountList   `cmd:"" help:"List accounts."`
	Remove paymentAccountRemove `cmd:"" help:"Remove an account."`
}

type paymentAccountSet struct {
	operator
	Name    string   `arg:"" help:"Name of the account: a-z 0-9 _ -"`
	Numbers []string `name:"number" required:"" placeholder:"NUMBER" help:"Number, or beginning of numbers, whose overlays are paid to it. May be repeated."`
	// In files: what stands on a command line is seen by everybody on the machine.
	KeyFile        string `type:"existingfile" placeholder:"FILE" help:"File with the secret key of the payment server. Without it, the one that is there stays."`
	HookSecretFile string `type:"existingfile" placeholder:"FILE" help:"File with the secret of its webhook. Without it, the one that is there stays."`
}

func (c *paymentAccountSet) Run(ctx context.Context) error {
	d := wire.PaymentAccountDraft{Numbers: c.Numbers}
	var err error
	if d.Key, err = secretFrom(c.KeyFile); err != nil {
		return err
	}
	if d.HookSecret, err = secretFrom(c.HookSecretFile); err != nil {
		return err
	}
	api, err := c.api()
	if err != nil {
		return err
	}
	var a wire.PaymentAccount
	if err := api.Call(ctx, http.MethodPut, "/v1/payment-accounts/"+url.PathEscape(c.Name), d, &a); err != nil {
		return err
	}
	fmt.Printf("account %s for %s\nwebhook: %s\n", a.Name, strings.Join(a.Numbers, " "), a.HookURL)
	if !a.HookSecretSet {
		fmt.Println("without the webhook's secret outcomes are learned some seconds later, by asking")
	}
	return nil
}

// secretFrom reads a secret from a file; without one there is none.
func secretFrom(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	b, err := os.ReadFile(file)
	secret := strings.TrimSpace(string(b))
	if err == nil && secret == "" {
		err = fmt.Errorf("%s is empty", file)
	}
	return secret, err
}

type paymentAccountList struct{ operator }

func (c *paymentAccountList) Run(ctx context.Context) error {
	var l wire.PaymentAccountList
	if err := c.get(ctx, "/v1/payment-accounts", &l); err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tNUMBERS\tWEBHOOK\tSECRET")
	for _, a := range l.Accounts {
		secret := "none"
		if a.HookSecretSet {
			secret = "set"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", a.Name, strings.Join(a.Numbers, " "), a.HookURL, secret)
	}
	return w.Flush()
}

type paymentAccountRemove struct {
	operator
	Name string `arg:"" help:"Name of the account."`
}

func (c *paymentAccountRemove) Run(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "/v1/payment-accounts/"+url.PathEscape(c.Name), nil)
}

type paymentList struct {
	operator
	Session string `arg:"" help:"Id of the session."`
}

func (c *paymentList) Run(ctx context.Context) error {
	var l wire.PaymentList
	if err := c.get(ctx, paymentsPath(wire.SessionID(c.Session)), &l); err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PAYMENT\tSTATE\tAMOUNT\tITEM\tREFERENCE")
	for _, p := range l.Payments {
		state := string(p.State)
		if p.Reason != "" {
			state += " (" + p.Reason + ")"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", p.ID, state, p.Amount, p.Item, p.Reference)
	}
	return w.Flush()
}

func paymentsPath(id wire.SessionID) string {
	return "/v1/sessions/" + url.PathEscape(string(id)) + "/payments"
}

// pay begins a payment, says where it is paid, and waits for what comes of it, which the server tells everybody
// itself. told is false where nothing could be begun.
func (c *overlayPress) pay(ctx context.Context, api *client.API, s wire.SessionState, a *overlay.Answer) (told bool) {
	var p wire.Payment
	err := api.Call(ctx, http.MethodPost, fmt.Sprintf("%s/%d/payments", overlaysPath(s), c.Seq), wire.PaymentRequest{Region: a.Region, Action: a.Action}, &p)
	if err != nil {
		a.Outcome, a.Reason = overlay.Failed, "not_available"
		fmt.Fprintln(os.Stderr, err)
		return false
	}
	if p.URL != "" {
		fmt.Printf("%s, %s: pay at %s\n", p.Item, p.Amount, p.URL)
	}
	for p.Ended == nil {
		select {
		case <-ctx.Done():
			a.Outcome, a.Reason = overlay.Cancelled, "interrupted"
			return true // it may still be paid, and is told then
		case <-time.After(time.Second):
		}
		switch p, err = paymentOf(ctx, api, p); {
		case errors.Is(err, errForgotten):
			a.Outcome, a.Reason = overlay.Failed, "unknown"
			fmt.Fprintln(os.Stderr, err)
			return true
		case err != nil: // the server may come back
			fmt.Fprintln(os.Stderr, err)
		}
	}
	a.Outcome, a.Reason = overlay.Done, p.Reason
	switch p.State {
	case wire.PaymentFailed:
		a.Outcome = overlay.Failed
	case wire.PaymentCancelled:
		a.Outcome = overlay.Cancelled
	}
	return true
}

// paymentOf reads a payment again; where that fails, it stays as it was.
func paymentOf(ctx context.Context, api *client.API, p wire.Payment) (wire.Payment, error) {
	var l wire.PaymentList
	if err := api.Call(ctx, http.MethodGet, paymentsPath(p.Session), nil, &l); err != nil {
		return p, err
	}
	for _, x := range l.Payments {
		if x.ID == p.ID {
			return x, nil
		}
	}
	return p, errForgotten
}

var errForgotten = errors.New("the payment is not listed any more")
