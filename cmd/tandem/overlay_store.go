package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/wire"
)

func overlayPath(name string) string { return "/v1/overlays/" + url.PathEscape(name) }

// overlayPublish stores an overlay and makes it the live one.
type overlayPublish struct {
	operator
	Name    string   `arg:"" help:"Its name in the store: a-z, 0-9, _ and hyphen."`
	File    string   `arg:"" optional:"" help:"The overlay, or a whole draft, in JSON; - is the standard input. None: publish the draft that is stored."`
	Number  []string `placeholder:"NUMBER" help:"Number whose sessions it is for; may be given several times."`
	Title   string   `placeholder:"TEXT" help:"What agents see, in English (default: its name)."`
	URL     string   `name:"url" placeholder:"URL" help:"The provider's own server, which is asked for it."`
	Opening bool     `help:"Send it when a session opens."`
	Draft   bool     `name:"draft-only" help:"Store the draft; what is live stays as it is."`
}

// Help is shown by --help.
func (overlayPublish) Help() string {
	return `A draft is what GET /v1/overlays/NAME shows under "draft": title, numbers, document, parameters,
when, url. A plain overlay needs --number. The secret that signs requests to --url is
shown once, when the overlay is made.`
}

func (c *overlayPublish) Run(ctx context.Context) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	var x wire.StoredOverlay
	if c.File != "" || c.URL != "" {
		d, err := c.read()
		if err != nil {
			return err
		}
		if err := api.Call(ctx, http.MethodPut, overlayPath(c.Name)+"/draft", d, &x); err != nil {
			return err
		}
		if x.Secret != "" && d.URL != "" {
			fmt.Println(x.Secret)
			fmt.Fprintln(os.Stderr, "This is shown only now: the provider's server checks signatures with it.")
		}
	}
	if c.Draft {
		fmt.Printf("%s: draft stored\n", c.Name)
		return nil
	}
	if err := api.Call(ctx, http.MethodPost, overlayPath(c.Name)+"/publish", nil, &x); err != nil {
		return err
	}
	fmt.Printf("%s: version %d is live\n", x.Name, x.Live)
	return nil
}

// read makes the draft of the file and the flags.
func (c *overlayPublish) read() (d wire.OverlayDraft, err error) {
	if c.File != "" {
		data, err := readLimited(c.File)
		if err != nil {
			return d, err
		}
		var keys map[string]json.RawMessage
		if err := json.Unmarshal(data, &keys); err != nil {
			return d, fmt.Errorf("%s: it is not JSON: %w", c.File, err)
		}
		if keys["document"] == nil && keys["url"] == nil {
			d.Document = data
		} else if err := wire.Unmarshal(data, &d); err != nil {
			return d, fmt.Errorf("%s: %w", c.File, err)
		}
	}
	if len(c.Number) > 0 {
		d.Numbers = c.Number
	}
	if c.Title != "" {
		d.Title = map[string]string{"en": c.Title}
	} else if d.Title == nil {
		d.Title = map[string]string{"en": c.Name}
	}
	if c.URL != "" {
		d.URL = c.URL
	}
	if c.Opening && d.When == nil {
		d.When = &wire.OverlayWhen{}
	}
	return d, nil
}

// readLimited reads a file, or the standard input, that is not larger than a draft can be.
func readLimited(file string) ([]byte, error) {
	in := os.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	return io.ReadAll(io.LimitReader(in, 2*overlay.MaxSize))
}

type overlayList struct{ operator }

func (c *overlayList) Run(ctx context.Context) error {
	var l wire.StoredOverlayList
	if err := c.get(ctx, "/v1/overlays", &l); err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tLIVE\tVERSIONS\tSENT\tNUMBERS\tCHANGED")
	for _, o := range l.Overlays {
		sent := "by agents"
		if o.Draft.When != nil {
			sent = "when a session opens"
		}
		var versions []string
		for _, v := range o.Versions {
			versions = append(versions, strconv.Itoa(v.Version))
		}
		live := "-"
		if o.Live > 0 {
			live = strconv.Itoa(o.Live)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", o.Name, live, strings.Join(versions, " "), sent, strings.Join(o.Draft.Numbers, " "), o.Changed.Local().Format(time.DateTime))
	}
	return w.Flush()
}

type overlayRollback struct {
	operator
	Name    string `arg:"" help:"Its name in the store."`
	Version int    `arg:"" help:"The version that is to be live; 0: none."`
}

func (c *overlayRollback) Run(ctx context.Context) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	if err := api.Call(ctx, http.MethodPost, overlayPath(c.Name)+"/rollback", wire.OverlayRollback{Version: c.Version}, nil); err != nil {
		return err
	}
	if c.Version == 0 {
		fmt.Printf("%s: none is live\n", c.Name)
	} else {
		fmt.Printf("%s: version %d is live\n", c.Name, c.Version)
	}
	return nil
}

type overlayRemove struct {
	operator
	Name string `arg:"" help:"Its name in the store."`
}

func (c *overlayRemove) Run(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, overlayPath(c.Name), nil)
}
