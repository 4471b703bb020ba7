package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/wire"
)

type overlayCommand struct {
	Check  overlayCheck  `cmd:"" help:"Say whether a file is an overlay that devices show."`
	Show   overlayShow   `cmd:"" help:"Show an overlay as a device without touch or pictures does."`
	Answer overlayAnswer `cmd:"" help:"Say whether what a user filled in answers a form of an overlay."`
	Send   overlaySend   `cmd:"" help:"Check an overlay, and send it into a session."`
	Schema overlaySchema `cmd:"" help:"Print the JSON Schema of overlays."`

	Publish  overlayPublish  `cmd:"" help:"Store an overlay of a provider's, and make it the live one."`
	List     overlayList     `cmd:"" help:"List the stored overlays."`
	Rollback overlayRollback `cmd:"" help:"Make another version the live one."`
	Remove   overlayRemove   `cmd:"" help:"Remove a stored overlay with its versions."`
	Template overlayTemplate `cmd:"" help:"Fill stored overlays and send them into a session."`
	Shown    overlayShown    `cmd:"" help:"Confirm that this device shows an overlay, or not."`
	Press    overlayPress    `cmd:"" help:"Do a region's actions, as far as a text device can."`
}

type overlayFile struct {
	File string `arg:"" help:"The overlay, in JSON; - is the standard input."`
}

func (f overlayFile) read() (overlay.Overlay, error) {
	in := os.Stdin
	if f.File != "-" {
		file, err := os.Open(f.File)
		if err != nil {
			return overlay.Overlay{}, err
		}
		defer file.Close()
		in = file
	}
	data, err := io.ReadAll(io.LimitReader(in, overlay.MaxSize+1))
	if err != nil {
		return overlay.Overlay{}, err
	}
	return overlay.Decode(data)
}

type overlayCheck struct{ overlayFile }

func (c *overlayCheck) Run() error {
	o, err := c.read()
	if err != nil {
		return err
	}
	fmt.Printf("%s: valid; %d regions, %d of them buttons\n", o.ID, len(o.Regions), len(o.Softkeys(o.Language)))
	return nil
}

type overlayShow struct {
	overlayFile
	Softkeys bool   `help:"Only the menu of soft keys: region and label."`
	Language string `default:"en" placeholder:"TAG" help:"The user's language, in lower case: de, pt-br."`
}

func (c *overlayShow) Run() error {
	o, err := c.read()
	if err != nil {
		return err
	}
	if !c.Softkeys {
		fmt.Print(o.Text(c.Language))
		return nil
	}
	for _, key := range o.Softkeys(c.Language) {
		fmt.Printf("%s\t%s\n", key.Region, key.Label)
	}
	return nil
}

type overlayAnswer struct {
	overlayFile
	Region  string   `arg:"" help:"Id of the region with the form."`
	Answers []string `arg:"" optional:"" help:"FIELD=VALUE; several seats are several answers."`
}

func (c *overlayAnswer) Run() error {
	o, err := c.read()
	if err != nil {
		return err
	}
	answers, err := fieldValues(c.Answers)
	if err != nil {
		return err
	}
	for _, r := range o.Regions {
		for _, a := range r.Actions {
			if r.ID != c.Region || a.Form == nil {
				continue
			}
			if err := a.Form.Check(answers); err != nil {
				return err
			}
			fmt.Println("it answers the form")
			return nil
		}
	}
	return fmt.Errorf("%s: no region %q has a form", o.ID, c.Region)
}

type overlaySend struct {
	choice
	overlayFile
	To []wire.MemberID `placeholder:"MEMBER" help:"Members addressed (default: all others)."`
}

// Run sends only what has been checked, written anew.
func (c *overlaySend) Run(ctx context.Context) error {
	o, err := c.read()
	if err != nil {
		return err
	}
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	api, s, err := c.pick(ctx)
	if err != nil {
		return err
	}
	return sendOverlay(ctx, api, s, wire.OverlaySend{Document: body, To: c.To})
}

type overlaySchema struct{}

func (*overlaySchema) Run() error {
	_, err := os.Stdout.Write(overlay.Schema())
	return err
}
