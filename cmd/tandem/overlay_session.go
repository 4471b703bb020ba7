package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/wire"
)

func overlaysPath(s wire.SessionState) string {
	return "/v1/sessions/" + url.PathEscape(string(s.ID)) + "/overlays"
}

// overlayTemplate lists and sends the templates that the device's side may send.
type overlayTemplate struct {
	List    templateList    `cmd:"" help:"List the templates for a session."`
	Preview templatePreview `cmd:"" help:"Fill a template, and print the overlay."`
	Send    templateSend    `cmd:"" help:"Fill a template, and send it into a session."`
}

type templateList struct{ choice }

func (c *templateList) Run(ctx context.Context) error {
	api, s, err := c.pick(ctx)
	if err != nil {
		return err
	}
	var l wire.OverlayTemplateList
	if err := api.Call(ctx, http.MethodGet, overlaysPath(s)+"/templates", nil, &l); err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tVERSION\tPARAMETERS")
	for _, t := range l.Templates {
		var of []string
		for _, p := range t.Parameters {
			if p.From == "" || p.From == wire.FromAgent {
				of = append(of, p.ID)
			}
		}
		fmt.Fprintf(w, "%s\t%d\t%s\n", t.Name, t.Version, strings.Join(of, " "))
	}
	return w.Flush()
}

// fieldValues reads FIELD=VALUE arguments.
func fieldValues(args []string) (map[string][]string, error) {
	values := map[string][]string{}
	for _, a := range args {
		id, value, ok := strings.Cut(a, "=")
		if !ok {
			return nil, fmt.Errorf("%q: write FIELD=VALUE", a)
		}
		values[id] = append(values[id], value)
	}
	return values, nil
}

type filling struct {
	choice
	Template string   `arg:"" help:"Name of the template."`
	Values   []string `arg:"" optional:"" help:"PARAMETER=VALUE."`
}

type templatePreview struct{ filling }

func (c *templatePreview) Run(ctx context.Context) error {
	values, err := fieldValues(c.Values)
	if err != nil {
		return err
	}
	api, s, err := c.pick(ctx)
	if err != nil {
		return err
	}
	var f wire.OverlayFilled
	if err := api.Call(ctx, http.MethodPost, overlaysPath(s)+"/preview", wire.OverlayFill{Template: c.Template, Values: values}, &f); err != nil {
		return err
	}
	fmt.Println(string(f.Document))
	return nil
}

type templateSend struct {
	filling
	To []wire.MemberID `placeholder:"MEMBER" help:"Members addressed (default: all others)."`
}

func (c *templateSend) Run(ctx context.Context) error {
	values, err := fieldValues(c.Values)
	if err != nil {
		return err
	}
	api, s, err := c.pick(ctx)
	if err != nil {
		return err
	}
	return sendOverlay(ctx, api, s, wire.OverlaySend{Template: c.Template, Values: values, To: c.To})
}

func sendOverlay(ctx context.Context, api *client.API, s wire.SessionState, q wire.OverlaySend) error {
	q.ID = wire.RequestID(wire.NewID("ovl"))
	var sent wire.OverlaySent
	if err := api.Call(ctx, http.MethodPost, overlaysPath(s), q, &sent); err != nil {
		return err
	}
	fmt.Printf("sent as message %d\n", sent.Seq)
	return nil
}

// overlayShown confirms that this device shows an overlay.
type overlayShown struct {
	choice
	Seq    uint64 `arg:"" help:"Sequence of the message with the overlay."`
	Failed string `placeholder:"REASON" help:"Say that it is not shown, and why: a code such as too_old."`
}

func (c *overlayShown) Run(ctx context.Context) error {
	api, s, err := c.pick(ctx)
	if err != nil {
		return err
	}
	w := wire.OverlayShow{State: wire.OverlayIsShown}
	if c.Failed != "" {
		w = wire.OverlayShow{State: wire.OverlayShowFailed, Reason: c.Failed}
	}
	return api.Call(ctx, http.MethodPost, fmt.Sprintf("%s/%d/shown", overlaysPath(s), c.Seq), w, nil)
}

// overlayPress does what a text device can do of a region's actions, one after the other.
type overlayPress struct {
	choice
	Seq     uint64   `arg:"" help:"Sequence of the message with the overlay."`
	Region  string   `arg:"" help:"Id of the region."`
	Answers []string `arg:"" optional:"" help:"FIELD=VALUE, for a form; several seats are several answers."`
	Address string   `placeholder:"ADDRESS" help:"Where to receive something: an e-mail address, or a number."`
	At      string   `placeholder:"GEO" help:"Where this device is, for send_location: geo:51.5074,-0.1278"`
}

func (c *overlayPress) Run(ctx context.Context) error {
	answers, err := fieldValues(c.Answers)
	if err != nil {
		return err
	}
	api, s, err := c.pick(ctx)
	if err != nil {
		return err
	}
	o, err := overlayOf(ctx, api, s, c.Seq)
	if err != nil {
		return err
	}
	for _, r := range o.Regions {
		if r.ID != c.Region {
			continue
		}
		open := true // nothing before was left undone
		for i, action := range r.Actions {
			a := overlay.Answer{Region: r.ID, Action: i, Type: action.Type, Outcome: overlay.Cancelled, Reason: "earlier"}
			told := false // by the server
			switch {
			case open && (action.Type == overlay.Pay || action.Type == overlay.Buy):
				told = c.pay(ctx, api, s, &a)
			case open:
				c.do(ctx, api, s, action, &a, answers)
			}
			open = open && a.Outcome == overlay.Done
			if told {
				fmt.Println(a.Type, a.Outcome, a.Reason)
				continue
			}
			if err := api.Call(ctx, http.MethodPost, fmt.Sprintf("%s/%d/answers", overlaysPath(s), c.Seq), wire.OverlayAnswer{ID: wire.RequestID(wire.NewID("ans")), Answer: a}, nil); err != nil {
				return err
			}
			fmt.Println(a.Type, a.Outcome, a.Reason)
		}
		return nil
	}
	return fmt.Errorf("%s: there is no region %q", o.ID, c.Region)
}

// do does one action, as far as a text device can.
func (c *overlayPress) do(ctx context.Context, api *client.API, s wire.SessionState, action overlay.Action, a *overlay.Answer, answers map[string][]string) {
	a.Outcome, a.Reason = overlay.Done, ""
	var err error
	switch action.Type {
	case overlay.Choose:
		a.Value = action.Value
	case overlay.Message:
		a.Value = action.Value
		err = sendText(ctx, api, s, action.Value)
	case overlay.FillIn:
		a.Answers = answers
	case overlay.ByEmail, overlay.ByText:
		a.Address = c.Address
		if c.Address == "" {
			a.Outcome, a.Reason = overlay.Cancelled, "no_address"
		}
	case overlay.SendContact:
		var sent wire.ProfileSent
		err = api.Call(ctx, http.MethodPost, "/v1/sessions/"+url.PathEscape(string(s.ID))+"/profile", wire.ProfileSend{}, &sent)
		if err == nil && sent.Shown == 0 {
			a.Outcome, a.Reason = overlay.Failed, "nothing_to_send"
		}
	case overlay.SendLocation:
		if c.At == "" {
			a.Outcome, a.Reason = overlay.Cancelled, "no_place"
			return
		}
		err = api.Call(ctx, http.MethodPost, placePath(s), wire.PlaceShare{URI: c.At}, nil)
	default:
		a.Outcome, a.Reason = overlay.Failed, "not_available"
	}
	if err != nil {
		a.Outcome, a.Reason = overlay.Failed, "refused"
		fmt.Fprintln(os.Stderr, err)
	}
}

func sendText(ctx context.Context, api *client.API, s wire.SessionState, text string) error {
	body, err := json.Marshal(wire.Text{Text: text})
	if err != nil {
		return err
	}
	return api.Call(ctx, http.MethodPost, "/v1/sessions/"+url.PathEscape(string(s.ID))+"/messages", wire.SendRequest{
		ID: wire.RequestID(wire.NewID("q")), Kind: wire.KindText, Body: body,
	}, nil)
}

// overlayOf reads an overlay out of the session, and checks it once more: this is its screen.
func overlayOf(ctx context.Context, api *client.API, s wire.SessionState, seq uint64) (overlay.Overlay, error) {
	var l wire.MessageList
	if err := api.Call(ctx, http.MethodGet, fmt.Sprintf("/v1/sessions/%s/messages?after=%d&limit=1", url.PathEscape(string(s.ID)), max(seq, 1)-1), nil, &l); err != nil {
		return overlay.Overlay{}, err
	}
	if len(l.Messages) == 0 || l.Messages[0].Seq != seq || l.Messages[0].Kind != overlay.Kind {
		return overlay.Overlay{}, errors.New("that message is no overlay")
	}
	return overlay.Decode(l.Messages[0].Body)
}
