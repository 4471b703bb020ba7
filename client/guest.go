package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/tandem-call/tandem/wire"
)

// OpenLink opens the link that a party without a client got by text message: the identity, a
// fresh one, becomes a guest in the session of the call. It serves once; the same identity may
// repeat it. On return id has its device id: connect with it.
func OpenLink(ctx context.Context, id *Identity, link, name string, hc *http.Client) (wire.DeviceInfo, error) {
	var info wire.DeviceInfo
	push, err := linkID(link)
	if err != nil {
		return info, err
	}
	assertion, err := id.Assert(string(push))
	if err != nil {
		return info, err
	}
	err = NewKeyAPI(id.Server, "", hc).Call(ctx, http.MethodPost, "/v1/guests", wire.GuestRequest{
		Link: push, Key: id.PublicKey(), Assertion: assertion, Name: name,
	}, &info)
	if err != nil {
		return info, err
	}
	id.Device, id.Name = info.ID, info.Name
	for _, b := range info.Bindings {
		id.Number = b.Number
	}
	return info, nil
}

// LinkServer returns the server that a link leads to.
func LinkServer(link string) (string, error) {
	u, err := url.Parse(link)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("client: %q is not a link", link)
	}
	return u.Scheme + "://" + u.Host, nil
}

// linkID returns the identifier at a link's end.
func linkID(link string) (wire.PushID, error) {
	_, id, ok := strings.Cut(link, "/g/")
	if !ok || !wire.ValidID(id) {
		return "", fmt.Errorf("client: %q is not a link: it ends with /g/ and an identifier", link)
	}
	return wire.PushID(id), nil
}

// Installed says that the device was installed by way of a link; it joins the session, still
// during the call.
func (a *API) Installed(ctx context.Context, link string) (wire.Ack, error) {
	var ack wire.Ack
	id, err := linkID(link)
	if err != nil {
		return ack, err
	}
	return ack, a.Call(ctx, http.MethodPost, "/v1/guests/installed", wire.LinkInstalled{Link: id}, &ack)
}

// Push returns what a push is about. The identifier is enough; the device's key is not needed.
func (a *API) Push(ctx context.Context, id wire.PushID) (wire.Push, error) {
	var p wire.Push
	err := a.Call(ctx, http.MethodGet, "/v1/pushes/"+url.PathEscape(string(id)), nil, &p)
	return p, err
}

// AnswerPush accepts or declines the invitation that a push is about.
func (a *API) AnswerPush(ctx context.Context, id wire.PushID, accept bool) error {
	return a.Call(ctx, http.MethodPost, "/v1/pushes/"+url.PathEscape(string(id))+"/answer", wire.PushAnswer{Accept: accept}, nil)
}

// JoinPush joins the session of the invitation that woke this device, without asking its user:
// the report is the device's own evidence of an active call (SPEC B14).
func (a *API) JoinPush(ctx context.Context, id wire.PushID, r wire.Report) (wire.Ack, error) {
	var ack wire.Ack
	err := a.Call(ctx, http.MethodPost, "/v1/pushes/"+url.PathEscape(string(id))+"/join", wire.PushJoin{Report: r}, &ack)
	return ack, err
}
