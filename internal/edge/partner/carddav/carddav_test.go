package carddav

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/tandem-call/tandem/internal/edge/fetch"
)

func TestNameIn(t *testing.T) {
	for href, want := range map[string]string{
		"/bob/book/a.vcf": "a.vcf", "/bob/book/a%20b.vcf": "a b.vcf", "/bob/book/100%25.vcf": "100%.vcf", "/bob/book/": "book",
		"/bob/book/..": "", "/bob/book/%2e%2e": "", "/bob/book/.": "", "/bob/book/a%2Fb.vcf": "", "/bob/book/..%2F..%2Fadmin": "",
	} {
		u, err := url.Parse(href)
		if err != nil {
			t.Fatal(err)
		}
		if got := nameIn(u); got != want {
			t.Errorf("%s: %q, want %q", href, got, want)
		}
	}
}

// TestOddNames: a server lists cards whose names lead elsewhere; what has another odd name is asked for by it.
func TestOddNames(t *testing.T) {
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.EscapedPath())
		if r.Method != "PROPFIND" {
			return
		}
		card := func(href string) string {
			return "<response><href>" + href + "</href><propstat><prop><getetag>\"1\"</getetag></prop><status>HTTP/1.1 200 OK</status></propstat></response>"
		}
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusMultiStatus)
		_, _ = w.Write([]byte(`<multistatus xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav"><response><href>/bob/book/</href><propstat><prop><resourcetype><collection/><C:addressbook/></resourcetype></prop><status>HTTP/1.1 200 OK</status></propstat></response>` +
			card("/bob/book/..") + card("/bob/book/..%2Fother") + card("/bob/book/100%25 Bob.vcf") + "</multistatus>"))
	}))
	defer s.Close()
	f, err := fetch.New(fetch.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(Config{Fetcher: f, URL: s.URL + "/bob/book/", HTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	cards, err := b.List(t.Context())
	if err != nil || len(cards) != 1 || cards["100% Bob.vcf"] == "" {
		t.Fatalf("%v, %v", cards, err)
	}
	if err := b.Remove(t.Context(), "100% Bob.vcf", cards["100% Bob.vcf"]); err != nil {
		t.Error(err)
	}
	if want := "DELETE /bob/book/100%25%20Bob.vcf"; !slices.Contains(asked, want) {
		t.Errorf("asked %s, want %s", strings.Join(asked, ", "), want)
	}
}
