package atlas

import (
	"net/http"
	"os"
	"strings"
)

// Paths of what the page's maps are made of.
const (
	OutlinePath = "/maps/outline.json"
	TilesPath   = "/maps/tiles.pmtiles"
)

// Mount serves the outline, and the operator's file, by ranges (RFC 9110 14.2). Both are the
// same for everybody, and so for everybody.
func (a *Atlas) Mount(mux *http.ServeMux) {
	mux.HandleFunc("GET "+OutlinePath, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/geo+json")
		w.Header().Set("Cache-Control", "public, max-age=86400")
		w.Header().Set("Vary", "Accept-Encoding")
		content := outlineJSON
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			content = zippedOutline()
		}
		_, _ = w.Write(content) // the client has gone: nobody to tell
	})
	if a.cfg.File == "" {
		return
	}
	mux.HandleFunc("GET "+TilesPath, func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(a.cfg.File)
		if err != nil {
			a.cfg.Log.Error("the file of map tiles cannot be read", "err", err)
			http.Error(w, "the map cannot be read just now", http.StatusServiceUnavailable)
			return
		}
		defer f.Close() // nothing was written
		stat, err := f.Stat()
		if err != nil {
			http.Error(w, "the map cannot be read just now", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/vnd.pmtiles")
		w.Header().Set("Cache-Control", "no-cache") // it may be replaced; its time tells
		http.ServeContent(w, r, "", stat.ModTime(), f)
	})
}
