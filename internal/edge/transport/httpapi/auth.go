package httpapi

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/tandem-call/tandem/wire"
)

const (
	rolesKey = "roles"
	scopeKey = "scope"
)

type (
	callerKey struct{}
	remoteKey struct{}
)

// WithCaller marks every request on a connection as made by who: for the admin socket.
func WithCaller(ctx context.Context, who Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, who)
}

func callerFrom(ctx context.Context) Caller {
	who, _ := ctx.Value(callerKey{}).(Caller)
	return who
}

// remoteFrom returns the client's address; the zero Addr where it is not known.
func remoteFrom(ctx context.Context) netip.Addr {
	addr, _ := ctx.Value(remoteKey{}).(netip.Addr)
	return addr
}

// Caller returns who makes a request, by its Authorization header, or else by its
// connection. The zero Caller where there is neither.
func (a *API) Caller(r *http.Request) (Caller, error) {
	return a.caller(r.Context(), r.Header.Get("Authorization"))
}

func (a *API) caller(ctx context.Context, header string) (Caller, error) {
	if header == "" {
		return callerFrom(ctx), nil
	}
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "bearer") || token == "" {
		return Caller{}, wire.NewProblem(wire.CodeUnauthenticated, "the Authorization header must be \"Bearer TOKEN\"")
	}
	return a.Auth.Bearer(ctx, strings.TrimSpace(token))
}

// authorise lets an operation run only for the roles that it names.
func (a *API) authorise(ctx huma.Context, next func(huma.Context)) {
	roles, _ := ctx.Operation().Metadata[rolesKey].([]Role)
	req, _ := humago.Unwrap(ctx)
	ctx = huma.WithValue(ctx, remoteKey{}, a.Remote(req))
	if len(roles) == 0 {
		next(ctx)
		return
	}
	who, err := a.caller(ctx.Context(), ctx.Header("Authorization"))
	if err == nil {
		scope, _ := ctx.Operation().Metadata[scopeKey].(Scope)
		err = allow(who, roles, scope)
	}
	if err != nil {
		_, w := humago.Unwrap(ctx)
		WriteProblem(w, a.problemOf(ctx.Context(), ctx.Operation().OperationID, err))
		return
	}
	next(huma.WithContext(ctx, WithCaller(ctx.Context(), who)))
}

// allow refuses a caller whose role is not among the roles, or whose key has not the scope.
func allow(who Caller, roles []Role, scope Scope) error {
	if who.Role == "" {
		return wire.NewProblem(wire.CodeUnauthenticated, "send an Authorization header with a bearer token")
	}
	if !slices.Contains(roles, who.Role) {
		names := make([]string, len(roles))
		for i, r := range roles {
			names[i] = string(r)
		}
		return wire.NewProblem(wire.CodeForbidden, "this is for the role %s, and these credentials are of the role %s", strings.Join(names, " or "), who.Role)
	}
	if who.Role != RoleDevice && !who.May(scope) {
		return wire.NewProblem(wire.CodeForbidden, "this needs the scope %s, which this key has not", scope)
	}
	return nil
}
