package webpages

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed all:built
var built embed.FS

//go:embed unbuilt.html
var unbuilt []byte

// Config of the pages.
type Config struct {
	// Phones are the host names, without a port, whose pages may be shown in frames by the
	// page at the host name Parent (Try it). Empty: nothing is ever framed.
	Phones []string
	Parent string
	// Connect lists further origins that the pages may fetch from: the operator's map tiles.
	Connect []string
}

// Handler serves the pages.
type Handler struct {
	Config
	files map[string]file
}

// file is one file, as it is sent.
type file struct {
	content   []byte
	zipped    func() []byte // compressed when it is first asked for; nil where that saves nothing
	kind, tag string
	// fixed: its name changes whenever its content does.
	fixed bool
}

// New reads what was built.
func New(c Config) (*Handler, error) {
	callpage, err := fs.Sub(built, "built/callpage")
	if err != nil {
		return nil, fmt.Errorf("webpages: %w", err)
	}
	console, err := fs.Sub(built, "built/agent")
	if err != nil {
		return nil, fmt.Errorf("webpages: %w", err)
	}
	return newHandler(c, callpage, console)
}

func newHandler(c Config, callpage, console fs.FS) (*Handler, error) {
	h := &Handler{Config: c, files: map[string]file{}}
	for at, pages := range map[string]fs.FS{"/": callpage, "/agent/": console} {
		if err := h.read(at, pages); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// read takes a page's files, which are served at an address.
func (h *Handler) read(at string, pages fs.FS) error {
	if _, err := fs.Stat(pages, "index.html"); err != nil {
		h.files[at] = newFile("index.html", unbuilt)
		return nil
	}
	err := fs.WalkDir(pages, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(pages, name)
		if err != nil {
			return err
		}
		if name == "index.html" {
			h.files[at] = newFile(name, content)
		} else {
			h.files[at+name] = newFile(name, content)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("webpages: read the pages: %w", err)
	}
	return nil
}

// kinds that the system's own table may not have, or have otherwise.
var kinds = map[string]string{
	".js": "text/javascript; charset=utf-8", ".webmanifest": "application/manifest+json", ".map": "application/json",
	".svg": "image/svg+xml", ".png": "image/png", ".css": "text/css; charset=utf-8", ".html": "text/html; charset=utf-8", ".json": "application/json",
}

func newFile(name string, content []byte) file {
	sum := sha256.Sum256(content)
	f := file{
		content: content, zipped: sync.OnceValue(func() []byte { return zip(content) }),
		kind: kinds[path.Ext(name)], tag: `"` + hex.EncodeToString(sum[:12]) + `"`, fixed: strings.HasPrefix(name, "assets/"),
	}
	if f.kind == "" {
		f.kind = mime.TypeByExtension(path.Ext(name))
	}
	return f
}

// zip compresses; nil where that saves less than a tenth.
func zip(content []byte) []byte {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // fails for an unknown level only
	_, _ = z.Write(content)                               // into memory
	_ = z.Close()
	if b.Len() < len(content)*9/10 {
		return b.Bytes()
	}
	return nil
}

// Mount registers the pages on mux, each at its own path.
func (h *Handler) Mount(mux *http.ServeMux) {
	folders := map[string]bool{}
	for name := range h.files {
		switch dir, _, nested := strings.Cut(strings.TrimPrefix(name, "/"), "/"); {
		case name == "/":
			mux.Handle("GET /{$}", h)
		case nested:
			folders[dir] = true
		default:
			mux.Handle("GET "+name, h)
		}
	}
	for dir := range folders {
		mux.Handle("GET /"+dir+"/{name...}", h)
	}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := h.files[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	header := w.Header()
	h.protect(header, r.Host)
	header.Set("Content-Type", f.kind)
	header.Set("ETag", f.tag)
	header.Set("Vary", "Accept-Encoding")
	header.Set("Cache-Control", "no-cache")
	if f.fixed {
		header.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	if slices.Contains(strings.Split(r.Header.Get("If-None-Match"), ", "), f.tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	content := f.content
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		if zipped := f.zipped(); zipped != nil {
			header.Set("Content-Encoding", "gzip")
			content = zipped
		}
	}
	header.Set("Content-Length", strconv.Itoa(len(content)))
	_, _ = w.Write(content) // the client has gone: nobody to tell
}

// host as browsers send it: a name or an address, and perhaps a port.
var host = regexp.MustCompile(`^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?$`)

// protect says what the page may load and who may show it in a frame.
func (h *Handler) protect(header http.Header, at string) {
	connect, frames, parents := strings.Join(append([]string{"'self'"}, h.Connect...), " "), "'none'", "'none'"
	if m := host.FindStringSubmatch(at); m != nil {
		// Not every browser takes 'self' for WebSockets (CSP 3, 6.7.2.8).
		connect += " ws://" + at + " wss://" + at
		switch name, port := strings.ToLower(m[1]), m[2]; {
		case slices.Contains(h.Phones, name):
			parents = "http://" + h.Parent + port
			header.Del("X-Frame-Options") // which knows no list, and would win in old browsers
		case len(h.Phones) > 0 && name == h.Parent:
			frames = ""
			for _, p := range h.Phones {
				frames += " http://" + p + port
			}
		}
	}
	header.Set("Content-Security-Policy", strings.Join([]string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' blob:", "media-src 'self' blob:",
		"manifest-src 'self'", "worker-src 'self'", "connect-src " + connect, "frame-src " + strings.TrimSpace(frames),
		"frame-ancestors " + parents, "base-uri 'none'", "form-action 'none'",
		"require-trusted-types-for 'script'", "trusted-types svelte-trusted-html tandem default",
	}, "; "))
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
}
