package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"time"

	"github.com/tandem-call/tandem/internal/credential"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/wire"
)

// API keys: what they may do within their role, how long, and with which certificate.

// newKey reads a request for a key. A key that has scopes makes no key that can do more.
func newKey(who httpapi.Caller, r wire.CredentialRequest) (credential.New, error) {
	n := credential.New{Tenant: who.Tenant, Role: credential.Role(r.Role), Name: r.Name, Speaks: r.Ranges, Scopes: r.Scopes}
	switch {
	case r.Seconds > 0 && r.Days > 0:
		return n, wire.NewProblem(wire.CodeBadRequest, "give seconds or days, not both")
	case r.Seconds > 0 && r.Seconds < 60:
		return n, wire.NewProblem(wire.CodeBadRequest, "a key lasts at least 60 seconds")
	case r.Seconds > 0:
		n.Expires = time.Now().Add(time.Duration(r.Seconds) * time.Second)
	case r.Days > 0:
		n.Expires = time.Now().AddDate(0, 0, r.Days)
	default:
		n.Expires = time.Now().AddDate(1, 0, 0)
	}
	for _, s := range r.Scopes {
		if !slices.Contains(httpapi.Scopes, httpapi.Scope(s)) {
			return n, wire.NewProblem(wire.CodeBadRequest, "there is no scope %q; the scopes are %v", s, httpapi.Scopes)
		}
		if !who.May(httpapi.Scope(s)) {
			return n, wire.NewProblem(wire.CodeForbidden, "this key has not the scope %s itself", s)
		}
	}
	if len(who.Scopes) > 0 && len(r.Scopes) == 0 {
		return n, wire.NewProblem(wire.CodeForbidden, "this key is limited to the scopes %v: name those of the new key", who.Scopes)
	}
	if r.Certificate != "" {
		sum, err := base64.RawURLEncoding.Strict().DecodeString(r.Certificate)
		if err != nil || len(sum) != sha256.Size {
			return n, wire.NewProblem(wire.CodeBadRequest, "certificate is the SHA-256 of the certificate in base64url, 43 characters")
		}
		n.Certificate = sum
	}
	return n, nil
}

// within holds a new key to the limits of the one that makes it, where that one has scopes: it lasts
// no longer, and is bound to a certificate if that one is.
func within(by credential.Credential, n credential.New, r wire.CredentialRequest) (credential.New, error) {
	switch {
	case len(by.Scopes) == 0:
	case len(by.Certificate) > 0 && len(n.Certificate) == 0:
		return n, wire.NewProblem(wire.CodeForbidden, "this key is bound to a certificate: name that of the new key")
	case !n.Expires.After(by.Expires):
	case r.Seconds > 0 || r.Days > 0:
		return n, wire.NewProblem(wire.CodeForbidden, "this key is limited until %s, and makes none that lasts longer", by.Expires.UTC().Format(time.RFC3339))
	default:
		n.Expires = by.Expires
	}
	return n, nil
}

// mayEnd reports whether the caller may revoke a key: a limited one none that can do more.
func mayEnd(who httpapi.Caller, c credential.Credential) bool {
	if len(who.Scopes) == 0 || who.Credential == c.ID {
		return true
	}
	scopes := scopesOf(c)
	return len(scopes) > 0 && !slices.ContainsFunc(scopes, func(s httpapi.Scope) bool { return !who.May(s) })
}

func thumbprint(sum []byte) string { return base64.RawURLEncoding.EncodeToString(sum) }

// scopesOf are the scopes of a key. To say whose number it is takes a scope of its own.
func scopesOf(c credential.Credential) []httpapi.Scope {
	if len(c.Scopes) == 0 && c.Role != credential.Operator {
		scopes := []httpapi.Scope{httpapi.ScopeReport, httpapi.ScopeCouplings}
		if c.Role == credential.Provider {
			scopes = append(scopes, httpapi.ScopeOverlays, httpapi.ScopePayments)
		}
		return scopes
	}
	scopes := make([]httpapi.Scope, len(c.Scopes))
	for i, s := range c.Scopes {
		scopes[i] = httpapi.Scope(s)
	}
	return scopes
}

type certificateKey struct{}

// certificates notes the SHA-256 of the client certificate with which a request came. TLS has
// shown that the client has its key; who issued it does not matter, since keys name
// the very certificate (RFC 8705 section 3).
func certificates(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
			c, now := r.TLS.PeerCertificates[0], time.Now()
			if !now.Before(c.NotBefore) && now.Before(c.NotAfter) {
				sum := sha256.Sum256(c.Raw)
				r = r.WithContext(context.WithValue(r.Context(), certificateKey{}, sum[:]))
			}
		}
		next.ServeHTTP(w, r)
	})
}

// shows reports whether the request came with the certificate that a key needs.
func shows(ctx context.Context, needed []byte) bool {
	shown, _ := ctx.Value(certificateKey{}).([]byte)
	return len(needed) == 0 || bytes.Equal(shown, needed)
}
