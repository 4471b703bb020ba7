package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/wire"
)

type sendCommand struct {
	choice
	To     []wire.MemberID `placeholder:"MEMBER" help:"Members addressed (default: all others)."`
	Kind   string          `placeholder:"KIND" help:"Send WHAT, which is JSON, as a service data object of this kind."`
	Keep   bool            `name:"keep-metadata" help:"Leave place and camera data in pictures."`
	What   []string        `arg:"" help:"A text, a link (https://…), or a file's path; several go one after the other."`
	Repeat wire.RequestID  `name:"id" placeholder:"ID" help:"Request id, to repeat a send harmlessly (one WHAT only)."`
}

func (c *sendCommand) Run(ctx context.Context) error {
	if c.Repeat != "" && len(c.What) != 1 {
		return fmt.Errorf("--id is for one thing to send, not %d", len(c.What))
	}
	api, s, err := c.pick(ctx)
	if err != nil {
		return err
	}
	for _, what := range c.What {
		if err := c.send(ctx, api, s.ID, what); err != nil {
			return err
		}
	}
	return nil
}

func (c *sendCommand) send(ctx context.Context, api *client.API, session wire.SessionID, what string) error {
	if c.Kind == "" {
		if st, err := os.Stat(what); err == nil && st.Mode().IsRegular() {
			return c.file(ctx, api, session, what, st)
		}
	}
	kind, body, err := c.message(what)
	if err != nil {
		return err
	}
	id := c.Repeat
	if id == "" {
		id = wire.RequestID(wire.NewID("q"))
	}
	var sent wire.Sent
	if err := api.Call(ctx, http.MethodPost, "/v1/sessions/"+url.PathEscape(string(session))+"/messages",
		wire.SendRequest{ID: id, Kind: kind, To: c.To, Body: body}, &sent); err != nil {
		return err
	}
	fmt.Printf("stored as number %d\n", sent.Seq)
	return nil
}

func (c *sendCommand) message(what string) (kind string, body json.RawMessage, err error) {
	var v any = wire.Text{Text: what}
	kind = wire.KindText
	switch u, err := url.Parse(what); {
	case c.Kind != "":
		if !json.Valid([]byte(what)) {
			return "", nil, fmt.Errorf("--kind %s: %q is not JSON", c.Kind, what)
		}
		return c.Kind, json.RawMessage(what), nil
	case err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && !strings.ContainsAny(what, " \n"):
		kind, v = wire.KindLink, wire.Link{URL: what}
	}
	body, err = json.Marshal(v)
	return kind, body, err
}

func (c *sendCommand) file(ctx context.Context, api *client.API, session wire.SessionID, path string, st os.FileInfo) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	start := time.Now()
	live := term.IsTerminal(int(os.Stderr.Fd()))
	err = api.Upload(ctx, client.Upload{
		Session: session, To: c.To, Content: f, Size: st.Size(), Name: st.Name(), KeepMetadata: c.Keep, ID: c.Repeat,
		Progress: func(sent, size int64) {
			if live && size > 0 {
				fmt.Fprintf(os.Stderr, "\r%s: %3d %% of %s ", st.Name(), 100*sent/size, bytesText(size))
			}
		},
	})
	if live {
		fmt.Fprint(os.Stderr, "\r\033[K")
	}
	if err != nil {
		return err
	}
	fmt.Printf("sent %s (%s in %s)\n", st.Name(), bytesText(st.Size()), time.Since(start).Round(time.Millisecond))
	return nil
}
