package server

import (
	"context"
	"net/http"
	"time"

	"github.com/tandem-call/tandem/internal/credential"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/network/sip"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Past is a server's store as it was used at some time before: a test cannot move a
// server's clock while a network waits for it.
type Past struct {
	s       *Server
	devices *device.Registry
	keys    *credential.Store
}

type noCodes struct{}

func (noCodes) SendCode(context.Context, tel.Number, string, string) error { return nil }

// At returns the past.
func (s *Server) At(ctx context.Context, when time.Time) (Past, error) {
	now := func() time.Time { return when }
	devices, err := device.New(ctx, device.Config{Engine: s.engine, Parties: s.parties, Sender: noCodes{}, Now: now})
	if err != nil {
		return Past{}, err
	}
	keys, err := credential.Open(credential.Config{Engine: s.engine, Now: now})
	return Past{s, devices, keys}, err
}

// Token is a device's bearer token of that time.
func (p Past) Token(ctx context.Context, id wire.DeviceID) (string, error) {
	d, err := p.devices.Get(ctx, wire.DefaultTenant, id)
	if err != nil {
		return "", err
	}
	token, _, err := device.NewAuthenticator(p.devices, 0).IssueToken(d)
	return token, err
}

// Enrol proves a number of that time, and returns the device with a token of today.
func (p Past) Enrol(ctx context.Context, n tel.Number, key wire.JWK) (wire.DeviceID, string, error) {
	d, err := p.devices.Bind(ctx, device.Request{Tenant: wire.DefaultTenant, Number: n, Key: key}, device.ProofCode)
	if err != nil {
		return "", "", err
	}
	token, _, err := p.s.auth.IssueToken(d)
	return d.ID, token, err
}

// Key is an operator's API key that lasted an hour.
func (p Past) Key(ctx context.Context, when time.Time) (string, error) {
	key, _, err := p.keys.Create(ctx, credential.New{Tenant: wire.DefaultTenant, Role: credential.Operator, Name: "past", Expires: when.Add(time.Hour)})
	return key, err
}

// Block has one number's party block another's.
func (p Past) Block(ctx context.Context, by, other tel.Number) error {
	return p.s.parties.Block(ctx, wire.DefaultTenant, by.Identity(), other.Identity())
}

// Report reports a leg as the operator does, and Bar bars a number; both of today, and
// without a request.
func (p Past) Report(ctx context.Context, own, other tel.Number, state tel.State, ref string) error {
	d := tel.PartyDetails{Own: own.Identity(), Other: other.Identity(), Direction: tel.Incoming, State: state, Ref: tel.Ref{CallID: ref}}
	_, err := calls{p.s}.Report(ctx, httpapi.Caller{Tenant: wire.DefaultTenant, Role: httpapi.RoleOperator, Credential: adminCredential}, wire.Report{PartyDetails: d})
	return err
}

// Bar: see Report.
func (p Past) Bar(ctx context.Context, n tel.Number) error {
	return p.s.parties.Bar(ctx, wire.DefaultTenant, n.Identity(), "")
}

// SIP reports a leg as the SIP element does.
func (p Past) SIP(ctx context.Context, r sip.Report) error { return p.s.reportSIP(ctx, r) }

// Handler is what the server serves.
func (s *Server) Handler() http.Handler { return s.handler }

// Guest lets a device in by a link to the number, as one is that has opened it.
func (p Past) Guest(ctx context.Context, n tel.Number, key wire.JWK, link, assertion string) (wire.DeviceID, error) {
	d, err := p.s.devices.Guest(ctx, device.Request{Tenant: wire.DefaultTenant, Number: n, Key: key}, link, assertion, time.Now().Add(time.Hour))
	return d.ID, err
}
