package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Enrolling says what to prove.
type Enrolling struct {
	// Number as a person writes it, with Region (ISO 3166-1) for national ones.
	Number, Region string
	// Name that the other party sees.
	Name string
	// App to wake by push; may be nil.
	App *wire.App
	// Client names the software.
	Client string
	// HTTP client; nil for http.DefaultClient.
	HTTP *http.Client
}

// Enrol proves that the device has a number: the server sends a code to it, and code is
// called to ask the user for it; as long as the code was mistyped and tries are left,
// again, with the problem. On return id has its device id: save it.
func Enrol(ctx context.Context, id *Identity, e Enrolling, code func(context.Context, wire.Enrolment, error) (string, error)) (wire.DeviceInfo, error) {
	api := NewKeyAPI(id.Server, "", e.HTTP)
	var begun wire.Enrolment
	var info wire.DeviceInfo
	err := api.Call(ctx, http.MethodPost, "/v1/enrolments", wire.EnrolRequest{
		Number: e.Number, Region: e.Region, Key: id.PublicKey(), Name: e.Name, App: e.App, Client: e.Client,
	}, &begun)
	if err != nil {
		return info, err
	}
	for {
		digits, cerr := code(ctx, begun, err)
		if cerr != nil {
			return info, cerr
		}
		assertion, aerr := id.Assert(begun.ID)
		if aerr != nil {
			return info, aerr
		}
		err = api.Call(ctx, http.MethodPost, "/v1/enrolments/"+url.PathEscape(begun.ID)+"/confirm",
			wire.EnrolConfirm{Code: digits, Assertion: assertion}, &info)
		if err == nil {
			break
		}
		if !isCode(err, wire.CodeWrongCode) {
			return info, err
		}
	}
	id.Device, id.Name = info.ID, info.Name
	for _, b := range info.Bindings {
		id.Number = b.Number
	}
	return info, nil
}

// Details returns the call party details of a call of this device's with other.
func (id *Identity) Details(other tel.Identity, d tel.Direction, s tel.State) tel.PartyDetails {
	return tel.PartyDetails{Own: id.Number.Identity(), Other: other, Direction: d, State: s}
}
