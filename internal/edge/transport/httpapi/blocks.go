package httpapi

import (
	"context"
	"net/http"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Blocks are whom a party wants no sessions with (SPEC G6).
type Blocks interface {
	Blocks(ctx context.Context, who Caller) ([]tel.Identity, error)
	Block(ctx context.Context, who Caller, other tel.Identity) error
	Unblock(ctx context.Context, who Caller, other tel.Identity) error
}

func (a *API) blocks() {
	const tag = "contact"
	register(a, Operation{
		ID: "list-blocks", Method: http.MethodGet, Path: "/v1/blocks", Roles: devices, Tag: tag,
		Summary: "Whom the party has blocked, as far as it knows them",
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.BlockList], error) {
		l, err := a.Blocks.Blocks(ctx, who)
		return answer(wire.BlockList{Blocked: append([]tel.Identity{}, l...)}, err)
	})
	type block struct {
		Body wire.BlockRequest
	}
	register(a, Operation{
		ID: "block", Method: http.MethodPost, Path: "/v1/blocks", Roles: devices, Status: http.StatusNoContent, Tag: tag,
		Summary: "Block a party: no more sessions with it; it is not told", Codes: []wire.Code{wire.CodeBadIdentity},
	}, func(ctx context.Context, who Caller, in *block) (*struct{}, error) {
		return done(a.Blocks.Block(ctx, who, in.Body.Identity))
	})
	type unblock struct {
		Identity string `query:"identity" required:"true" maxLength:"512"`
	}
	register(a, Operation{
		ID: "unblock", Method: http.MethodDelete, Path: "/v1/blocks", Roles: devices, Status: http.StatusNoContent, Tag: tag,
		Summary: "Take a block back", Codes: []wire.Code{wire.CodeBadIdentity},
	}, func(ctx context.Context, who Caller, in *unblock) (*struct{}, error) {
		id, err := parseIdentity("identity", in.Identity)
		if err != nil {
			return nil, err
		}
		return done(a.Blocks.Unblock(ctx, who, id))
	})
}
