package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/wire"
)

// deviceCouple makes this device carry data for a telephone.
type deviceCouple struct {
	account
	Server    string `default:"http://127.0.0.1:8080" env:"TANDEM_SERVER" placeholder:"URL" help:"The server's address (default: ${default})."`
	Name      string `placeholder:"NAME" help:"Name of the device (default: --as)."`
	Code      string `placeholder:"CODE" help:"The code shown at the phone, or the address in its QR code; otherwise this device shows one."`
	Temporary bool   `help:"For as long as the two are near each other, if whoever vouches does not say."`
	App       string `name:"app" placeholder:"PLATFORM:ID" help:"Application to wake by push, e.g. fcm:TOKEN."`
}

func (c *deviceCouple) Run(ctx context.Context) error {
	path, err := c.file()
	if err != nil {
		return err
	}
	hc, err := httpClient(c.CA)
	if err != nil {
		return err
	}
	if server, code, err := client.ParseCouplingURI(c.Code); err == nil {
		c.Server, c.Code = server, code
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
		return fmt.Errorf("%q is known at %s; remove it first, or use another name", c.As, id.Server)
	}
	q := client.Coupling{Code: c.Code, Name: c.Name, Client: "tandem/" + version, HTTP: hc}
	if q.Name == "" {
		q.Name = c.As
	}
	if c.Temporary {
		q.Kind = wire.Temporary
	}
	if q.App, err = parseApp(c.App); err != nil {
		return err
	}
	info, err := client.Couple(ctx, id, q, func(p wire.CouplingPending) {
		fmt.Printf("code: %s\naddress: %s\nThe address, in the report of a call, couples this device for that call (tandem report --coupled).\nThe code couples it for longer: type it at the phone (tandem device couplings accept), tell it to the operator, or key it in a call to the service number.\n", p.Code, p.ID)
	})
	if err != nil {
		return err
	}
	if err := id.Save(path); err != nil {
		return err
	}
	fmt.Printf("coupled: device %s carries data for %s\nkey and id are in %s\n", info.ID, id.Number, path)
	return nil
}

// deviceCouplings are about the devices that carry data for this device's telephone.
type deviceCouplings struct {
	List   couplingsList   `cmd:"" default:"withargs" help:"List the party's devices and couplings."`
	Offer  couplingsOffer  `cmd:"" help:"Show a code to type at a device that is to be coupled."`
	Accept couplingsAccept `cmd:"" help:"Couple the device that shows a code."`
	Remove couplingsRemove `cmd:"" help:"End a coupling."`
	Choose couplingsChoose `cmd:"" help:"Say what one of the party's devices does when a session opens."`
}

type couplingsList struct{ account }

func (c *couplingsList) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	var devices wire.PartyMemberList
	if err := api.Call(ctx, http.MethodGet, "/v1/party/devices", nil, &devices); err != nil {
		return err
	}
	for _, d := range devices.Devices {
		kind := ""
		for _, b := range d.Bindings {
			kind += " " + b.Kind
		}
		you := ""
		if d.You {
			you = " (this one)"
		}
		fmt.Printf("device:   %s %s%s,%s, session %s\n", d.Device, printable(d.Name), you, kind, d.Session)
	}
	var l wire.CouplingList
	if err := api.Call(ctx, http.MethodGet, "/v1/couplings", nil, &l); err != nil {
		return err
	}
	for _, x := range l.Couplings {
		fmt.Println("coupling: " + couplingLine(x))
	}
	return nil
}

func couplingLine(x wire.Coupling) string {
	state := "until " + x.Until.Format(time.DateOnly)
	switch {
	case x.Apart:
		state = "apart"
	case x.Kind == wire.Temporary:
		state = "near"
	case x.Kind == wire.ForCall:
		state = "in the call"
	}
	return fmt.Sprintf("%s %s with %s, %s, made by %s, vouched for by %s, %s", x.ID, printable(x.Name), x.Number, x.Kind, x.Made, x.Vouched, state)
}

func kindOf(temporary bool) wire.CouplingKind {
	if temporary {
		return wire.Temporary
	}
	return wire.Permanent
}

type couplingsOffer struct {
	account
	Temporary bool `help:"The coupling lasts while the two are near each other."`
}

func (c *couplingsOffer) Run(ctx context.Context) error {
	api, id, err := c.api()
	if err != nil {
		return err
	}
	var o wire.CouplingOffer
	if err := api.Call(ctx, http.MethodPost, "/v1/couplings/offers", wire.CouplingOfferRequest{Kind: kindOf(c.Temporary)}, &o); err != nil {
		return err
	}
	fmt.Printf("code: %s\nqr: %s\nType it at the device until %s: tandem device couple --as NAME --code %s\n", o.Code, id.CouplingURI(o.Code), o.Expires.Local().Format(time.TimeOnly), o.Code)
	return nil
}

type couplingsAccept struct {
	account
	Temporary bool   `help:"The coupling lasts while the two are near each other."`
	Code      string `arg:"" help:"The nine digits that the device shows."`
}

func (c *couplingsAccept) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	a := wire.CouplingAccept{Code: c.Code}
	if c.Temporary {
		a.Kind = wire.Temporary
	}
	var seen wire.CouplingSeen
	if err := api.Call(ctx, http.MethodPost, "/v1/couplings/accept", a, &seen); err != nil {
		return err
	}
	fmt.Printf("accepted: %s, %s\n", printable(seen.Name), seen.Kind)
	return nil
}

type couplingsRemove struct {
	account
	ID string `arg:"" help:"Id of the coupling."`
}

func (c *couplingsRemove) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	if err := api.Call(ctx, http.MethodDelete, "/v1/couplings/"+url.PathEscape(c.ID), nil, nil); err != nil {
		return err
	}
	fmt.Println("removed")
	return nil
}

type couplingsChoose struct {
	account
	Device wire.DeviceID `arg:"" help:"Id of the device, or the name that it is listed with."`
	Choice string        `arg:"" enum:"join,told,none" help:"join: becomes a member by itself; told: may join; none: hears nothing."`
	Gets   []string      `help:"Kinds of data that it gets of what is sent to all: text, link, file, place, profile, overlay, object; or all." placeholder:"KIND,..." enum:"text,link,file,place,profile,overlay,object,all"`
}

func (c *couplingsChoose) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	var devices wire.PartyMemberList
	if err := api.Call(ctx, http.MethodGet, "/v1/party/devices", nil, &devices); err != nil {
		return err
	}
	for _, d := range devices.Devices {
		if d.Name == string(c.Device) {
			c.Device = d.Device
			break
		}
	}
	change := wire.PartyMemberChange{Session: wire.SessionChoice(c.Choice)}
	for _, k := range c.Gets {
		if change.Gets = append(change.Gets, wire.DataKind(k)); k == "all" {
			change.Gets = []wire.DataKind{}
			break
		}
	}
	var m wire.PartyMember
	if err := api.Call(ctx, http.MethodPatch, "/v1/party/devices/"+url.PathEscape(string(c.Device)), change, &m); err != nil {
		return err
	}
	fmt.Printf("%s: %s", printable(m.Name), m.Session)
	for i, k := range m.Gets {
		fmt.Print([]string{", gets ", ", "}[min(i, 1)], k)
	}
	fmt.Println()
	return nil
}

// couplingCommand is what an operator does about couplings.
type couplingCommand struct {
	Add    couplingAdd    `cmd:"" help:"Couple the device that shows a code with a number."`
	Code   couplingCode   `cmd:"" help:"Make a code for an installer to type at a device."`
	List   couplingList   `cmd:"" help:"List the couplings of a number."`
	Remove couplingRemove `cmd:"" help:"End a coupling."`
}

type couplingAdd struct {
	operator
	Number    string `arg:"" help:"The telephone's number."`
	Code      string `arg:"" help:"The nine digits that the device shows."`
	Temporary bool   `help:"The coupling lasts while the two are near each other."`
}

func (c *couplingAdd) Run(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/couplings/accept", wire.CouplingAccept{Number: c.Number, Code: c.Code, Kind: kindOf(c.Temporary)})
}

type couplingCode struct {
	operator
	Number    string `arg:"" help:"The telephone's number."`
	Hours     int    `default:"24" help:"How long it is valid, at most 168 (default: ${default})."`
	Temporary bool   `help:"The coupling lasts while the two are near each other."`
}

func (c *couplingCode) Run(ctx context.Context) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	var o wire.CouplingOffer
	q := wire.CouplingOfferRequest{Number: c.Number, Kind: kindOf(c.Temporary), Hours: c.Hours}
	if err := api.Call(ctx, http.MethodPost, "/v1/couplings/offers", q, &o); err != nil {
		return err
	}
	fmt.Printf("code: %s for %s, until %s\n", o.Code, o.Number, o.Expires.Local().Format(time.DateTime))
	return nil
}

type couplingList struct {
	operator
	Number string `arg:"" help:"The telephone's number."`
}

func (c *couplingList) Run(ctx context.Context) error {
	var l wire.CouplingList
	if err := c.get(ctx, "/v1/couplings?number="+url.QueryEscape(c.Number), &l); err != nil {
		return err
	}
	for _, x := range l.Couplings {
		fmt.Println(couplingLine(x))
	}
	return nil
}

type couplingRemove struct {
	operator
	Number string `arg:"" help:"The telephone's number."`
	ID     string `arg:"" help:"Id of the coupling."`
}

func (c *couplingRemove) Run(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "/v1/couplings/"+url.PathEscape(c.ID)+"?number="+url.QueryEscape(c.Number), nil)
}
