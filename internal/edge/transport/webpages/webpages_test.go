package webpages

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

func handler(t *testing.T, pages fstest.MapFS) http.Handler {
	t.Helper()
	h, err := newHandler(Config{Phones: []string{"alice.tandem.localhost", "bob.tandem.localhost"}, Parent: "tandem.localhost"}, pages, console)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	h.Mount(mux)
	return mux
}

func get(h http.Handler, host, path string, headers ...string) *http.Response {
	r := httptest.NewRequest(http.MethodGet, "http://"+host+path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	w.Header().Set("X-Frame-Options", "DENY") // as the server sets it before
	h.ServeHTTP(w, r)
	return w.Result()
}

var pages = fstest.MapFS{
	"index.html":           {Data: []byte("<!doctype html><title>T</title>")},
	"sw.js":                {Data: []byte("self")},
	"manifest.webmanifest": {Data: []byte("{}")},
	"assets/index-abc.js":  {Data: []byte(strings.Repeat("let a = 1;\n", 100))},
	"assets/index-abc.css": {Data: []byte("a{}")},
	"icon-192.png":         {Data: []byte("png")},
}

var console = fstest.MapFS{
	"index.html":          {Data: []byte("<!doctype html><title>A</title>")},
	"assets/index-def.js": {Data: []byte("let b = 1;\n")},
}

// TestUnbuilt: a program that was built without the pages says how to have them.
func TestUnbuilt(t *testing.T) {
	h := handler(t, fstest.MapFS{"README": {Data: []byte("x")}})
	r := get(h, "127.0.0.1:8080", "/")
	b, _ := io.ReadAll(r.Body)
	if r.StatusCode != http.StatusOK || !strings.Contains(string(b), "make build") {
		t.Errorf("%d %s", r.StatusCode, b)
	}
}

// TestEmbedded: whatever is embedded in this program can be served.
func TestEmbedded(t *testing.T) {
	h, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	h.Mount(mux)
	if r := get(mux, "127.0.0.1:8080", "/"); r.StatusCode != http.StatusOK {
		t.Errorf("%d", r.StatusCode)
	}
}

func TestFiles(t *testing.T) {
	h := handler(t, pages)
	for _, c := range []struct{ path, kind, cache string }{
		{"/", "text/html; charset=utf-8", "no-cache"},
		{"/sw.js", "text/javascript; charset=utf-8", "no-cache"},
		{"/agent/", "text/html; charset=utf-8", "no-cache"},
		{"/agent/assets/index-def.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"},
		{"/manifest.webmanifest", "application/manifest+json", "no-cache"},
		{"/assets/index-abc.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"},
		{"/assets/index-abc.css", "text/css; charset=utf-8", "public, max-age=31536000, immutable"},
	} {
		r := get(h, "127.0.0.1:8080", c.path)
		if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != c.kind || r.Header.Get("Cache-Control") != c.cache {
			t.Errorf("%s: %d %v", c.path, r.StatusCode, r.Header)
		}
		if r := get(h, "127.0.0.1:8080", c.path, "If-None-Match", r.Header.Get("ETag")); r.StatusCode != http.StatusNotModified {
			t.Errorf("%s again: %d", c.path, r.StatusCode)
		}
	}
	for _, path := range []string{"/nothing", "/assets/../index.html", "/assets/none.js", "/index.html", "/README", "/agent/none", "/agent/index.html"} {
		if r := get(h, "127.0.0.1:8080", path); r.StatusCode == http.StatusOK {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
	r := get(h, "127.0.0.1:8080", "/assets/index-abc.js", "Accept-Encoding", "gzip, br")
	z, err := gzip.NewReader(r.Body)
	if err != nil || r.Header.Get("Content-Encoding") != "gzip" {
		t.Fatal(err, r.Header)
	}
	if b, err := io.ReadAll(z); err != nil || string(b) != string(pages["assets/index-abc.js"].Data) {
		t.Errorf("%v %q", err, b)
	}
}

// TestPolicy: nothing inline, nothing of others; frames for Try it only.
func TestPolicy(t *testing.T) {
	h := handler(t, pages)
	for _, c := range []struct {
		host, frames, parents string
		framed                bool
	}{
		{"127.0.0.1:8080", "'none'", "'none'", false},
		{"tandem.example", "'none'", "'none'", false},
		{"tandem.localhost:8080", "http://alice.tandem.localhost:8080 http://bob.tandem.localhost:8080", "'none'", false},
		{"alice.tandem.localhost:8080", "'none'", "http://tandem.localhost:8080", true},
		{"x.alice.tandem.localhost:8080", "'none'", "'none'", false},
		{"a; script-src *", "'none'", "'none'", false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = c.host
		w := httptest.NewRecorder()
		w.Header().Set("X-Frame-Options", "DENY")
		h.ServeHTTP(w, r)
		policy := w.Header().Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self';", "style-src 'self';", "frame-src " + c.frames + ";", "frame-ancestors " + c.parents + ";", "require-trusted-types-for 'script'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: %q lacks %q", c.host, policy, want)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
			t.Errorf("%s: %q", c.host, policy)
		}
		if framed := w.Header().Get("X-Frame-Options") == ""; framed != c.framed {
			t.Errorf("%s: may be framed: %v", c.host, framed)
		}
	}
}
