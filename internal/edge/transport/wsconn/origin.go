package wsconn

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/tandem-call/tandem/wire"
)

// origins are the hosts whose pages may connect, besides the server's own: protection
// from other sites' pages that connect with what the user's browser holds (RFC 6454;
// RFC 6455 10.2).
type origins map[string]bool

func newOrigins(hosts []string) origins {
	o := make(origins, len(hosts))
	for _, h := range hosts {
		o[strings.ToLower(h)] = true
	}
	return o
}

// check refuses a page of a host that is not allowed. A request without Origin does not
// come from a page. With cross, the answer must tell the browser that origin is allowed.
func (o origins) check(r *http.Request) (origin string, cross bool, refused *wire.Problem) {
	values := r.Header.Values("Origin")
	if len(values) == 0 {
		return "", false, nil
	}
	origin = values[0]
	u, err := url.Parse(origin)
	if len(values) > 1 || err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", false, wire.NewProblem(wire.CodeForbidden, "a page without a proper origin (%.80q) may not connect here", origin)
	}
	host := bare(u.Host, u.Scheme)
	if host == bare(r.Host, u.Scheme) {
		return origin, false, nil
	}
	if !o[host] {
		return "", false, wire.NewProblem(wire.CodeForbidden,
			"pages of %.80q may not connect here; the operator can add that host to the allowed origins", host)
	}
	return origin, true, nil
}

// Guard refuses pages of hosts that are not allowed, before next.
func (h *Handler) Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, _, refused := h.origins.check(r); refused != nil {
			h.refuse(w, refused)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// bare is a host in lower case without the scheme's default port.
func bare(host, scheme string) string {
	host = strings.ToLower(host)
	if scheme == "https" {
		return strings.TrimSuffix(host, ":443")
	}
	return strings.TrimSuffix(host, ":80")
}

// share answers for the cross-origin side of a request by fetch (Fetch standard, 3.2), and
// reports whether that was all: refused, or a preflight.
func (h *Handler) share(w http.ResponseWriter, r *http.Request, method string) (done bool) {
	w.Header().Add("Vary", "Origin")
	origin, cross, refused := h.origins.check(r)
	if refused != nil {
		h.refuse(w, refused)
		return true
	}
	if cross {
		w.Header().Set("Access-Control-Allow-Origin", origin)
	}
	switch r.Method {
	case method:
		return false
	case http.MethodOptions:
		if cross {
			w.Header().Set("Access-Control-Allow-Methods", method)
			w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type, "+streamHeader)
			w.Header().Set("Access-Control-Max-Age", "3600")
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Allow", method+", OPTIONS")
		h.refuse(w, wire.NewProblem(wire.CodeMethodNotAllowed, "use %s", method))
	}
	return true
}
