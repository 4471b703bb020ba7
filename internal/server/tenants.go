package server

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/tandem-call/tandem/internal/audit"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/tenant"
	"github.com/tandem-call/tandem/wire"
)

// Tenants: the host that is asked says whose devices may enrol there, and whose credentials
// are taken. A host of no tenant enrols for the default one, and takes everybody's: what
// credentials open is their own tenant's, whichever way they come.

type hostKey struct{}

// atHost marks the context of what asks a host.
func (s *Server) atHost(ctx context.Context, host string) context.Context {
	if id, ok := s.tenants.ByHost(host); ok {
		return context.WithValue(ctx, hostKey{}, id)
	}
	return ctx
}

// home is the tenant whose host was asked; empty: no tenant's own.
func home(ctx context.Context) wire.TenantID {
	id, _ := ctx.Value(hostKey{}).(wire.TenantID)
	return id
}

// asked is the tenant to which one without credentials belongs.
func asked(ctx context.Context) wire.TenantID {
	if id := home(ctx); id != "" {
		return id
	}
	return wire.DefaultTenant
}

// athome: credentials of the tenant are taken where this was asked.
func athome(ctx context.Context, id wire.TenantID) bool { return home(ctx) == "" || home(ctx) == id }

// stranger is one who could not show who they are.
func stranger(ctx context.Context) httpapi.Caller { return httpapi.Caller{Tenant: asked(ctx)} }

// hosts finds the tenant of each request's host.
func (s *Server) hosts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ctx := s.atHost(r.Context(), r.Host); ctx != r.Context() {
			r = r.WithContext(ctx)
		}
		next.ServeHTTP(w, r)
	})
}

// private lets whoever has the operator's socket act for any tenant.
func (s *Server) private(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := httpapi.Caller{Tenant: wire.DefaultTenant, Role: httpapi.RoleOperator, Credential: adminCredential}
		if id := wire.TenantID(r.Header.Get(wire.TenantHeader)); id != "" {
			ok, err := s.tenants.Exists(r.Context(), id)
			if err == nil && !ok {
				err = wire.NewProblem(wire.CodeNotFound, "there is no such tenant; see: tandem tenant list")
			}
			if err != nil {
				httpapi.WriteProblem(w, wire.ProblemOf(problem(s.log, "find the tenant", err)))
				return
			}
			who.Tenant = id
		}
		next.ServeHTTP(w, r.WithContext(httpapi.WithCaller(r.Context(), who)))
	})
}

// tenants serves httpapi.Tenants.
type tenants struct{ *Server }

// onlyHere refuses all but the operator's socket: what concerns all tenants.
func onlyHere(who httpapi.Caller) error {
	if who.Credential != adminCredential {
		return wire.NewProblem(wire.CodeForbidden, "this concerns all tenants, so it is done on the server's machine, by the socket in the data directory")
	}
	return nil
}

func (s tenants) Tenants(ctx context.Context, who httpapi.Caller) ([]wire.Tenant, error) {
	if err := onlyHere(who); err != nil {
		return nil, err
	}
	list, err := s.Server.tenants.List(ctx)
	out := make([]wire.Tenant, len(list))
	for i, t := range list {
		out[i] = tenantInfo(t)
	}
	return out, problem(s.log, "list tenants", err)
}

func tenantInfo(t tenant.Tenant) wire.Tenant {
	return wire.Tenant{ID: t.ID, Name: t.Name, Hosts: append([]string{}, t.Hosts...), Created: t.Created}
}

func (s tenants) SetTenant(ctx context.Context, who httpapi.Caller, id string, r wire.TenantRequest) (wire.Tenant, error) {
	if err := onlyHere(who); err != nil {
		return wire.Tenant{}, err
	}
	var t tenant.Tenant
	err := s.audited(ctx, who, audit.Record{What: audit.TenantSet, On: on("tenant", id)}, func() (err error) {
		t, err = s.Server.tenants.Set(ctx, tenant.Tenant{ID: wire.TenantID(id), Name: r.Name, Hosts: slices.Clone(r.Hosts)})
		return err
	})
	if err != nil {
		return wire.Tenant{}, err
	}
	if err := s.engine.Publish(ctx, tenantsSubject, []byte(id)); err != nil {
		s.log.Warn("other nodes were not told of a tenant's change; they look every few minutes", "tenant", id, "err", err)
	}
	return tenantInfo(t), nil
}

// tenantsSubject says that the list has changed.
const tenantsSubject = "tenants"

// watchTenants reads the list again when another node has changed it.
func (s *Server) watchTenants(ctx context.Context) (cancel func(), err error) {
	return s.engine.Subscribe(ctx, tenantsSubject, func(string, []byte) { s.reloadTenants(ctx) })
}

func (s *Server) reloadTenants(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := s.tenants.Reload(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("the list of tenants was not read again", "err", err)
	}
}
