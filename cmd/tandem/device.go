package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/wire"
)

type deviceCommand struct {
	Run    deviceRun    `cmd:"" default:"withargs" help:"Run beside a telephone: report its calls, receive what the other side sends."`
	Enrol  deviceEnrol  `cmd:"" help:"Prove this device's number with a one-time code."`
	Guest  deviceGuest  `cmd:"" help:"Open a link that came by text message, and be a guest in the session."`
	Link   deviceLink   `cmd:"" help:"Say that this device was installed by way of a link."`
	Set    deviceSet    `cmd:"" help:"Change this device's settings."`
	Show   deviceShow   `cmd:"" help:"Show what the server knows of this device."`
	Remove deviceRemove `cmd:"" help:"Forget this device, here and on the server."`

	Couple    deviceCouple    `cmd:"" help:"Carry data for a telephone, on the word of somebody who has proved its number."`
	Couplings deviceCouplings `cmd:"" help:"List, make and end couplings with this device's telephone."`
}

// account is embedded in every command that acts as a device.
type account struct {
	As   string `required:"" env:"TANDEM_AS" placeholder:"NAME" help:"Which of this machine's devices to be."`
	Home string `env:"TANDEM_HOME" placeholder:"DIR" help:"Where devices are kept (default: ~/.config/tandem)."`
	CA   string `name:"ca" env:"TANDEM_CA" type:"existingfile" placeholder:"FILE" help:"Certificate of the server's local authority."`
}

func (a account) file() (string, error) {
	if a.As != filepath.Base(a.As) || strings.HasPrefix(a.As, ".") {
		return "", fmt.Errorf("--as %q: a name without slashes, please", a.As)
	}
	dir := a.Home
	if dir == "" {
		base, err := os.UserConfigDir()
		if err != nil {
			return "", fmt.Errorf("no home directory; use --home: %w", err)
		}
		dir = filepath.Join(base, "tandem")
	}
	return filepath.Join(dir, a.As, "device.json"), nil
}

// identity loads the device; its absence is explained.
func (a account) identity() (*client.Identity, error) {
	path, err := a.file()
	if err != nil {
		return nil, err
	}
	id, err := client.Load(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no device %q on this machine yet; first: tandem device enrol --as %s --number +44…", a.As, a.As)
	}
	return id, err
}

func (a account) api() (*client.API, *client.Identity, error) {
	id, err := a.identity()
	if err != nil {
		return nil, nil, err
	}
	hc, err := httpClient(a.CA)
	if err != nil {
		return nil, nil, err
	}
	return client.NewAPI(id, hc), id, nil
}

type deviceEnrol struct {
	account
	Server string `default:"http://127.0.0.1:8080" env:"TANDEM_SERVER" placeholder:"URL" help:"The server's address (default: ${default})."`
	Number string `required:"" placeholder:"NUMBER" help:"Telephone number, in international form or with --region."`
	Region string `placeholder:"GB" help:"Region of a national number."`
	Name   string `placeholder:"NAME" help:"Name that the other party sees (default: --as)."`
	Code   string `placeholder:"DIGITS" help:"The code, if it is already known; otherwise it is asked for."`
	App    string `name:"app" placeholder:"PLATFORM:ID" help:"Application to wake by push, e.g. fcm:TOKEN."`
}

func (c *deviceEnrol) Run(ctx context.Context) error {
	path, err := c.file()
	if err != nil {
		return err
	}
	hc, err := httpClient(c.CA)
	if err != nil {
		return err
	}
	id, err := client.Load(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if id, err = client.NewIdentity(c.Server); err != nil {
			return err
		}
	case err != nil:
		return err
	case id.Server != c.Server:
		return fmt.Errorf("%q is enrolled at %s; remove it first, or use another name", c.As, id.Server)
	}
	e := client.Enrolling{Number: c.Number, Region: c.Region, Name: c.Name, Client: "tandem/" + version, HTTP: hc}
	if e.Name == "" {
		e.Name = c.As
	}
	if e.App, err = parseApp(c.App); err != nil {
		return err
	}
	given := c.Code
	info, err := client.Enrol(ctx, id, e, func(ctx context.Context, begun wire.Enrolment, last error) (string, error) {
		if given != "" {
			defer func() { given = "" }()
			return given, nil
		}
		if c.Code != "" {
			return "", last
		}
		if last != nil {
			fmt.Fprintln(os.Stderr, explain(last))
		}
		where := "sent to " + c.Number
		if begun.Via == "server" {
			where = "printed by the server (a development server sends no text messages)"
		}
		fmt.Fprintf(os.Stderr, "A code was %s. Code: ", where)
		line, err := readLine(ctx)
		if err != nil {
			return "", fmt.Errorf("no code was typed: %w", err)
		}
		return line, nil
	})
	if err != nil {
		return err
	}
	if err := id.Save(path); err != nil {
		return err
	}
	fmt.Printf("enrolled: device %s for %s, until %s\nkey and id are in %s\n", info.ID, id.Number, info.Bindings[len(info.Bindings)-1].Expires.Format("2 January 2006"), path)
	return nil
}

// parseApp reads PLATFORM:ID; nil for nothing.
func parseApp(s string) (*wire.App, error) {
	if s == "" {
		return nil, nil
	}
	platform, token, ok := strings.Cut(s, ":")
	if !ok {
		return nil, fmt.Errorf("--app %q: write PLATFORM:ID", s)
	}
	return &wire.App{Platform: platform, ID: token}, nil
}

// readLine reads one line from standard input, and gives up when ctx ends.
func readLine(ctx context.Context) (string, error) {
	type result struct {
		line string
		err  error
	}
	read := make(chan result, 1)
	go func() { // ends with the line or the program: a terminal cannot be interrupted
		line, err := bufio.NewReader(os.Stdin).ReadString('\n')
		if line != "" {
			err = nil
		}
		read <- result{strings.TrimSpace(line), err}
	}()
	select {
	case r := <-read:
		return r.line, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

type deviceShow struct{ account }

func (c *deviceShow) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	var info wire.DeviceInfo
	if err := api.Call(ctx, http.MethodGet, "/v1/device", nil, &info); err != nil {
		return err
	}
	var calls wire.CallList
	if err := api.Call(ctx, http.MethodGet, "/v1/calls", nil, &calls); err != nil {
		return err
	}
	fmt.Printf("device:   %s (%s)\n", info.ID, info.Name)
	for _, p := range info.Party {
		fmt.Printf("party:    %s, proved by %s\n", p.Identity, p.Proof)
	}
	for _, b := range info.Bindings {
		fmt.Printf("number:   %s, proved %s, until %s\n", b.Number, b.Proved.Format(time.DateOnly), b.Expires.Format(time.DateOnly))
	}
	for _, call := range calls.Calls {
		fmt.Printf("call:     %s %s %s since %s, session %s\n", call.Direction, orNone(call.Other.String()), call.State, call.Since.Format(time.TimeOnly), orNone(string(call.Session)))
	}
	return nil
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

type deviceRemove struct{ account }

func (c *deviceRemove) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	if err := api.Call(ctx, http.MethodDelete, "/v1/device", nil, nil); err != nil {
		return err
	}
	path, err := c.file()
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	for _, name := range []string{memoryFile, syncFile} {
		if err := os.Remove(filepath.Join(filepath.Dir(path), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.RemoveAll(filepath.Join(filepath.Dir(path), profilesDir)); err != nil {
		return err
	}
	fmt.Println("removed")
	return nil
}
