package httpapi

import (
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/tandem-call/tandem/wire"
)

// pages serves what is about the server itself.
func (a *API) pages(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		plain(w, http.StatusOK, "alive")
	})
	var said atomic.Bool // why it is not ready
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := a.Ready(r.Context()); err != nil {
			// The reason tells of the machine: it is for the log, once, and the admin socket.
			if !said.Swap(true) {
				a.Logger.WarnContext(r.Context(), "not ready for requests", "err", err)
			}
			text := "not ready"
			if callerFrom(r.Context()).Role == RoleOperator {
				text = err.Error()
			}
			plain(w, http.StatusServiceUnavailable, text)
			return
		}
		said.Store(false)
		plain(w, http.StatusOK, "ready")
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		who, err := a.Caller(r)
		if err == nil {
			err = allow(who, operators, ScopeServer)
		}
		if err == nil && who.Tenant != wire.DefaultTenant {
			err = wire.NewProblem(wire.CodeForbidden, "metrics are of all tenants together: for the operator of the server")
		}
		if err != nil {
			WriteProblem(w, a.problemOf(r.Context(), "metrics", err))
			return
		}
		a.Metrics.ServeHTTP(w, r)
	})
	schemas := http.FileServerFS(wire.Schemas())
	mux.HandleFunc("GET /schemas/{name}", func(w http.ResponseWriter, r *http.Request) {
		if _, err := fs.Stat(wire.Schemas(), r.PathValue("name")); err != nil {
			WriteProblem(w, wire.NewProblem(wire.CodeNotFound, "there is no schema called %q; the list is at /schemas/", r.PathValue("name")))
			return
		}
		http.StripPrefix("/schemas/", schemas).ServeHTTP(w, r)
	})
	mux.Handle("GET /schemas/{$}", http.StripPrefix("/schemas/", schemas))
	mux.HandleFunc("GET /problems/{code}", func(w http.ResponseWriter, r *http.Request) {
		code := wire.Code(r.PathValue("code"))
		known, ok := wire.Catalogue[code]
		if !ok {
			WriteProblem(w, wire.NewProblem(wire.CodeNotFound, "there is no problem called %q; the list is at /problems/", code))
			return
		}
		showProblems(w, []wire.Code{code}, known.Title)
	})
	mux.HandleFunc("GET /problems/{$}", func(w http.ResponseWriter, _ *http.Request) {
		showProblems(w, slices.Sorted(maps.Keys(wire.Catalogue)), "Problems")
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { unknown(mux, w, r) })
}

// unknown answers for whatever nothing else answers for: with a problem, not with Go's
// plain text.
func unknown(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	var others []string
	for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
		if _, pattern := mux.Handler(&http.Request{Method: m, URL: r.URL, Host: r.Host}); pattern != "/" && pattern != "" {
			others = append(others, m)
		}
	}
	if len(others) > 0 {
		w.Header().Set("Allow", strings.Join(others, ", "))
		WriteProblem(w, wire.NewProblem(wire.CodeMethodNotAllowed, "%s takes %s", r.URL.Path, strings.Join(others, ", ")))
		return
	}
	WriteProblem(w, wire.NewProblem(wire.CodeNotFound, "there is nothing at %s; the operations are in /openapi.json", r.URL.Path))
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, text) // the client has gone: nobody to tell
}

var problemPage = template.Must(template.New("problems").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.Title}} – Tandem</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}code{font-size:.95em}</style>
<h1>{{.Title}}</h1>
{{range .List}}<h2><code>{{.Code}}</code> ({{.Status}})</h2><p>{{.Title}}.</p><p>{{.Advice}}{{if .Retry}} The same request may succeed later.{{end}}</p>
{{end}}`))

func showProblems(w http.ResponseWriter, list []wire.Code, title string) {
	type row struct {
		Code wire.Code
		wire.Known
	}
	rows := make([]row, len(list))
	for i, c := range list {
		rows[i] = row{c, wire.Catalogue[c]}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	_ = problemPage.Execute(w, struct {
		Title string
		List  []row
	}{title, rows}) // the client has gone: nobody to tell
}
