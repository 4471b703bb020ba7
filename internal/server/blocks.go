package server

import (
	"context"

	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// blocks serves httpapi.Blocks.
type blocks struct{ *Server }

func (s blocks) Blocks(ctx context.Context, who httpapi.Caller) ([]tel.Identity, error) {
	return forParty(profiles(s), ctx, who, "blocks", func(p tel.Identity) ([]tel.Identity, error) {
		return s.parties.Blocks(ctx, who.Tenant, p)
	})
}

func (s blocks) Block(ctx context.Context, who httpapi.Caller, other tel.Identity) error {
	_, err := forParty(profiles(s), ctx, who, "block", func(p tel.Identity) (struct{}, error) {
		same, err := s.parties.Principal(ctx, who.Tenant, other)
		if err == nil && same == p {
			err = wire.NewProblem(wire.CodeBadRequest, "that is your own number")
		}
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, s.parties.Block(ctx, who.Tenant, p, other)
	})
	return err
}

func (s blocks) Unblock(ctx context.Context, who httpapi.Caller, other tel.Identity) error {
	_, err := forParty(profiles(s), ctx, who, "unblock", func(p tel.Identity) (struct{}, error) {
		return struct{}{}, s.parties.Unblock(ctx, who.Tenant, p, other)
	})
	return err
}
