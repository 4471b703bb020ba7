package httpapi

import (
	"context"
	"net/http"

	"github.com/tandem-call/tandem/wire"
)

func (a *API) tenants() {
	const tag = "operator"
	register(a, Operation{
		ID: "list-tenants", Method: http.MethodGet, Path: "/v1/operator/tenants", Roles: operators, Scope: ScopeServer, Tag: tag,
		Summary: "The tenants that share this server, over the operator's socket only",
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.TenantList], error) {
		l, err := a.Tenants.Tenants(ctx, who)
		return answer(wire.TenantList{Tenants: l}, err)
	})
	type set struct {
		ID   string `path:"id" maxLength:"32"`
		Body wire.TenantRequest
	}
	register(a, Operation{
		ID: "set-tenant", Method: http.MethodPut, Path: "/v1/operator/tenants/{id}", Roles: operators, Scope: ScopeServer, Tag: tag,
		Summary:     "Add a tenant, or change its name and hosts; over the operator's socket only",
		Description: "Devices that ask one of its hosts enrol with it; its keys and tokens are taken by its own hosts, and by hosts of no tenant.",
		Codes:       []wire.Code{wire.CodeConflict},
	}, func(ctx context.Context, who Caller, in *set) (*body[wire.Tenant], error) {
		return answer(a.Tenants.SetTenant(ctx, who, in.ID, in.Body))
	})
}
