package server

import (
	"context"
	"strings"

	"github.com/tandem-call/tandem/internal/credential"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// ThroughProxies is tested by itself: a test has no network of proxies.
var ThroughProxies = throughProxies

// CloseGone is what a node does every few minutes.
func (s *Server) CloseGone(ctx context.Context) { s.closeGone(ctx) }

// Sessions opens sessions that no call has brought about, with as many members as a test needs.
func (s *Server) Sessions() *session.Service { return s.sessions }

// LoseTold has the bus lose what devices are told, from before the server runs.
func (s *Server) LoseTold() { s.engine = losing{s.engine, ""} }

// LoseWithdrawn has it lose that they are not asked any more.
func (s *Server) LoseWithdrawn() { s.engine = losing{s.engine, `"type":"withdrawn"`} }

// LoseAvailable has it lose of which sessions they are told only.
func (s *Server) LoseAvailable() { s.engine = losing{s.engine, `"type":"available"`} }

type losing struct {
	store.Engine
	with string
}

func (l losing) Publish(ctx context.Context, subject string, data []byte) error {
	if strings.HasPrefix(subject, toldSubject+"/") && strings.Contains(string(data), l.with) {
		return nil
	}
	return l.Engine.Publish(ctx, subject, data)
}

// Engine is where the server keeps everything.
func (s *Server) Engine() store.Engine { return s.engine }

// RevokeOver revokes a key as an operator with these scopes does, whose keys are read over an engine.
func (s *Server) RevokeOver(ctx context.Context, e store.Engine, id string, scopes ...httpapi.Scope) error {
	keys, err := credential.Open(credential.Config{Engine: e})
	if err != nil {
		return err
	}
	who := httpapi.Caller{Tenant: wire.DefaultTenant, Role: httpapi.RoleOperator, Credential: "keeper", Scopes: scopes}
	return operator{&Server{log: s.log, audit: s.audit, keys: keys}}.RevokeCredential(ctx, who, id)
}

// SessionDropped is what the sessions call when one's time is over, minutes after it was
// closed at the earliest.
func (s *Server) SessionDropped(ctx context.Context, tenant wire.TenantID, id wire.SessionID) error {
	return watcher{s}.Dropped(ctx, tenant, id)
}

// How features are weighed, without a server.
var (
	FeatureOf = featureOf
	Audience  = audience
)
