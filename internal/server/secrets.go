package server

import (
	"context"
	"time"

	"github.com/tandem-call/tandem/internal/audit"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/wire"
)

// secretSubject says that the server's secret was changed.
const secretSubject = "secret"

// RotateSecrets changes the server's secret, for all tenants and on all nodes.
func (s operator) RotateSecrets(ctx context.Context, who httpapi.Caller, r wire.SecretsRotation) error {
	if err := onlyHere(who); err != nil {
		return err
	}
	return s.audited(ctx, who, audit.Record{What: audit.SecretsRotated}, func() error {
		if err := s.Server.devices.RotateSecret(ctx, r.AtOnce); err != nil {
			return err
		}
		if err := s.engine.Publish(ctx, secretSubject, nil); err != nil {
			s.log.Warn("other nodes were not told of a new secret; they look every few minutes", "err", err)
		}
		return nil
	})
}

// watchSecret reads the secret again when another node has changed it.
func (s *Server) watchSecret(ctx context.Context) (cancel func(), err error) {
	return s.engine.Subscribe(ctx, secretSubject, func(string, []byte) { s.reloadSecret(ctx) })
}

func (s *Server) reloadSecret(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := s.devices.ReloadSecret(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("the server's secret was not read again", "err", err)
	}
}
