package httpapi

import (
	"net/http"
	"slices"
	"strings"
)

// CORS lets pages of some other origins use what Handler serves (Fetch standard, 3.2).
// Credentials of the browser's own play no part: who calls is said by the Authorization
// header only.
type CORS struct {
	Handler http.Handler
	// Origins are whole origins, "https://app.example", in lower case.
	Origins []string
	// Methods and Headers are what a page may use beyond what any page may; Expose, the
	// headers of an answer that it may read. Each is a list with commas.
	Methods, Headers, Expose string
}

// ServeHTTP implements http.Handler.
func (c CORS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !slices.Contains(c.Origins, strings.ToLower(origin)) {
		c.Handler.ServeHTTP(w, r)
		return
	}
	h.Set("Access-Control-Allow-Origin", origin)
	if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
		h.Set("Access-Control-Allow-Methods", c.Methods)
		h.Set("Access-Control-Allow-Headers", c.Headers)
		h.Set("Access-Control-Max-Age", "3600")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	h.Set("Access-Control-Expose-Headers", c.Expose)
	c.Handler.ServeHTTP(w, r)
}
