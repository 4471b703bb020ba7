package spec

import (
	"net/http"
	"net/http/httptest"
	"path"

	"github.com/rogpeppe/go-internal/testscript"
)

// siteTypes are the media types of a site's files, by their suffixes.
var siteTypes = map[string]string{
	".vcf": "text/vcard", ".jcard": "application/vcard+json", ".html": "text/html; charset=utf-8", ".json": "application/activity+json", ".gif": "image/gif",
}

// startSite serves the files of a directory, as somebody's web site; $NAME is its address.
func startSite(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: site NAME DIR")
	}
	dir := http.FileServer(http.Dir(ts.MkAbs(args[1])))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", siteTypes[path.Ext(r.URL.Path)])
		dir.ServeHTTP(w, r)
	}))
	ts.Defer(s.Close)
	ts.Setenv(args[0], s.URL)
}
