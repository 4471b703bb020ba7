package client

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/tandem-call/tandem/wire"
)

// SignIn makes a fresh identity an agent's device, by the link that its provider gave it, or by its
// key. On return id has its device id: connect with it. The same identity may repeat it.
func SignIn(ctx context.Context, id *Identity, code, software string, hc *http.Client) (wire.AgentSignedIn, error) {
	var in wire.AgentSignedIn
	if i := strings.LastIndexByte(code, '#'); i >= 0 {
		code = code[i+1:] // of a link
	}
	part := strings.Split(code, "_")
	if len(part) != 3 {
		return in, fmt.Errorf("client: %.8q… is neither a link to sign in with nor an agent's key", code)
	}
	assertion, err := id.Assert(part[1])
	if err != nil {
		return in, err
	}
	err = NewKeyAPI(id.Server, "", hc).Call(ctx, http.MethodPost, "/v1/agent-sign-ins", wire.AgentSignIn{
		Code: code, Key: id.PublicKey(), Assertion: assertion, Client: software,
	}, &in)
	if err == nil {
		id.Device, id.Name, id.Number = in.Device.ID, in.Device.Name, in.Agent.Number
	}
	return in, err
}
