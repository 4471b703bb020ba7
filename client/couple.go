package client

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// Coupling says how a device is to be coupled with a telephone (SPEC B8).
type Coupling struct {
	// Code shown at the phone, or got from the operator. Empty: the device shows a code of its
	// own, and waits until it is typed at the phone, on a web page, or keyed in a call.
	Code string
	// Name of the device, as the phone's owner and the other party see it.
	Name string
	// Kind wished for, where whoever vouches for the device does not say; empty: permanent.
	Kind wire.CouplingKind
	// App to wake by push; may be nil.
	App *wire.App
	// Client names the software.
	Client string
	// HTTP client; nil for http.DefaultClient.
	HTTP *http.Client
}

// Couple makes a device carry data for a telephone, on the word of somebody who has proved its
// number. show is called with the device's own code where Coupling has none. On return id has
// its device id: save it. The problem coupling-pending is never returned: Couple waits.
func Couple(ctx context.Context, id *Identity, c Coupling, show func(wire.CouplingPending)) (wire.DeviceInfo, error) {
	api := NewKeyAPI(id.Server, "", c.HTTP)
	var info wire.DeviceInfo
	var p wire.CouplingPending
	err := api.Call(ctx, http.MethodPost, "/v1/couplings/requests", wire.CouplingRequest{
		Key: id.PublicKey(), Name: c.Name, Client: c.Client, App: c.App, Kind: c.Kind,
	}, &p)
	if err != nil {
		return info, err
	}
	if c.Code == "" {
		show(p)
	}
	for {
		assertion, err := id.Assert(p.ID)
		if err != nil {
			return info, err
		}
		err = api.Call(ctx, http.MethodPost, "/v1/couplings/requests/"+url.PathEscape(p.ID)+"/claim", wire.CouplingClaim{Assertion: assertion, Code: c.Code}, &info)
		if err == nil {
			break
		}
		if !isCode(err, wire.CodeCouplingPending) {
			return info, err
		}
		if !pause(ctx, time.Duration(max(1, p.IntervalSeconds))*time.Second) {
			return info, ctx.Err()
		}
	}
	id.Device, id.Name = info.ID, info.Name
	for _, b := range info.Bindings {
		id.Number = b.Number
	}
	return info, nil
}

// CouplingURI is what a QR code says, for a device to couple itself by reading it. code is
// that of an offer, or of the device's own request.
func (id *Identity) CouplingURI(code string) string {
	return "tandem:couple?" + url.Values{"server": {id.Server}, "code": {strings.ReplaceAll(code, "-", "")}}.Encode()
}

// ErrCouplingURI: it is no address of a coupling.
var ErrCouplingURI = errors.New("client: not a coupling's address (tandem:couple?server=…&code=…)")

// ParseCouplingURI reads what a QR code says. ErrCouplingURI.
func ParseCouplingURI(s string) (server, code string, err error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "tandem" || u.Opaque != "couple" {
		return "", "", ErrCouplingURI
	}
	q := u.Query()
	if at, err := url.Parse(q.Get("server")); err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" || q.Get("code") == "" {
		return "", "", ErrCouplingURI
	}
	return q.Get("server"), q.Get("code"), nil
}

// Ask asks for a session beside a call with other; the zero identity: beside the only call
// that is known (B15). The answer is a report's.
func (a *API) Ask(ctx context.Context, q wire.Ask) (ack wire.Ack, err error) {
	return ack, a.Call(ctx, http.MethodPost, "/v1/sessions", q, &ack)
}

// Join makes the device a member of a session of its party, of which it was told.
func (a *API) Join(ctx context.Context, id wire.SessionID) (st wire.SessionState, err error) {
	return st, a.Call(ctx, http.MethodPost, "/v1/sessions/"+url.PathEscape(string(id))+"/join", nil, &st)
}

// Here says that this device is here, for its temporary couplings, also while it is away from
// its telephone and gets no token; it returns its couplings.
func (a *API) Here(ctx context.Context, id *Identity) ([]wire.Coupling, error) {
	open := NewKeyAPI(id.Server, "", a.http)
	var ch wire.Challenge
	if err := open.Call(ctx, http.MethodGet, "/v1/challenge", nil, &ch); err != nil {
		return nil, err
	}
	assertion, err := id.Assert(ch.Nonce)
	if err != nil {
		return nil, err
	}
	var l wire.CouplingList
	err = open.Call(ctx, http.MethodPost, "/v1/couplings/here", wire.TokenRequest{Nonce: ch.Nonce, Assertion: assertion}, &l)
	return l.Couplings, err
}

// Near says, for a temporary coupling, that this side of it is here; link: a phone's device
// that has the other on a local link, and has made sure by its key that it is the one.
func (a *API) Near(ctx context.Context, coupling string, link bool) (c wire.Coupling, err error) {
	return c, a.Call(ctx, http.MethodPost, "/v1/couplings/"+url.PathEscape(coupling)+"/near", wire.CouplingNear{Link: link}, &c)
}
