package carddav_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/edge/fetch"
	"github.com/tandem-call/tandem/internal/edge/partner/carddav"
	"github.com/tandem-call/tandem/internal/edge/partner/carddav/radicaletest"
	"github.com/tandem-call/tandem/internal/testport"
)

// radicale starts the server with a book of Bob's, and returns the book's address and directory.
func radicale(t *testing.T) (address, dir string) {
	t.Helper()
	port, err := testport.Free(1)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	args, err := radicaletest.Args(dir, port, "bob", "secret")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(radicaletest.Path, args...)
	var says bytes.Buffer
	cmd.Stdout, cmd.Stderr = &says, &says
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (scripts/test-deps installs it)", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(says.String())
		}
	})
	address = fmt.Sprintf("http://127.0.0.1:%d/bob/book/", port)
	for until := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) { // it tells nobody when it is ready
		req, err := http.NewRequest("MKCOL", address, strings.NewReader(radicaletest.MakeBook))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("bob", "secret")
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode != http.StatusCreated {
				t.Fatalf("no book was made: %s", res.Status)
			}
			return address, filepath.Join(dir, "collection-root", "bob", "book")
		}
		if time.Now().After(until) {
			t.Fatalf("radicale does not answer: %v", err)
		}
	}
}

func open(t *testing.T, c carddav.Config) *carddav.Book {
	t.Helper()
	var err error
	if c.Fetcher, err = fetch.New(fetch.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	b, err := carddav.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func card(name string) []byte {
	return []byte("BEGIN:VCARD\r\nVERSION:4.0\r\nUID:c_1\r\nFN:" + name + "\r\nEND:VCARD\r\n")
}

// TestRadicale: cards go to a real server and come back; what somebody else has changed is neither
// overwritten nor removed.
func TestRadicale(t *testing.T) {
	ctx := context.Background()
	address, dir := radicale(t)
	b := open(t, carddav.Config{URL: address, User: "bob", Password: "secret", HTTP: true})
	if list, err := b.List(ctx); err != nil || len(list) != 0 {
		t.Fatalf("an empty book: %v, %v", list, err)
	}
	if err := b.Put(ctx, "c_1.vcf", carddav.None, card("Alice")); err != nil {
		t.Fatal(err)
	}
	if stored, err := os.ReadFile(filepath.Join(dir, "c_1.vcf")); err != nil || !strings.Contains(string(stored), "FN:Alice") {
		t.Errorf("stored: %q, %v", stored, err)
	}
	first, err := b.List(ctx)
	if err != nil || first["c_1.vcf"] == "" || len(first) != 1 {
		t.Fatalf("list: %v, %v", first, err)
	}
	if err := b.Put(ctx, "c_1.vcf", carddav.None, card("Mallory")); !errors.Is(err, carddav.ErrChanged) {
		t.Errorf("put where there is one already: %v", err)
	}
	if err := b.Put(ctx, "c_1.vcf", first["c_1.vcf"], card("Alice Ng")); err != nil {
		t.Fatal(err)
	}
	if err := b.Put(ctx, "c_1.vcf", first["c_1.vcf"], card("Old")); !errors.Is(err, carddav.ErrChanged) {
		t.Errorf("put over a version that is gone: %v", err)
	}
	if err := b.Remove(ctx, "c_1.vcf", first["c_1.vcf"]); !errors.Is(err, carddav.ErrChanged) {
		t.Errorf("remove a version that is gone: %v", err)
	}
	if got, err := b.Get(ctx, "c_1.vcf"); err != nil || !strings.Contains(string(got), "FN:Alice Ng") {
		t.Errorf("get: %q, %v", got, err)
	}
	second, err := b.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Remove(ctx, "c_1.vcf", second["c_1.vcf"]); err != nil {
		t.Error(err)
	}
	if err := b.Remove(ctx, "c_1.vcf", second["c_1.vcf"]); !errors.Is(err, carddav.ErrChanged) {
		t.Errorf("remove what is gone: %v", err)
	}

	wrong := open(t, carddav.Config{URL: address, User: "bob", Password: "wrong", HTTP: true})
	if _, err := wrong.List(ctx); !errors.Is(err, carddav.ErrRefused) {
		t.Errorf("with a wrong password: %v", err)
	}
	for _, other := range []string{"../", "nothing/"} {
		if _, err := open(t, carddav.Config{URL: address + other, User: "bob", Password: "secret", HTTP: true}).List(ctx); !errors.Is(err, carddav.ErrNoBook) {
			t.Errorf("the book %s: %v", other, err)
		}
	}
}

// TestNew: an address that would give the password away, or is none, is refused.
func TestNew(t *testing.T) {
	for _, address := range []string{"", "dav.example", "http://dav.example/", "ftp://dav.example/", "https://bob:secret@dav.example/", "https://dav.example/?a=b"} {
		if _, err := carddav.New(carddav.Config{URL: address}); !errors.Is(err, carddav.ErrAddress) {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// TestDiscover: of a real server only the host is known.
func TestDiscover(t *testing.T) {
	address, _ := radicale(t)
	host := strings.TrimSuffix(address, "bob/book/")
	config := func(at, password string) carddav.Config {
		f, err := fetch.New(fetch.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Timeout: time.Minute, Redirects: -1})
		if err != nil {
			t.Fatal(err)
		}
		return carddav.Config{Fetcher: f, URL: at, User: "bob", Password: password, HTTP: true}
	}
	for _, at := range []string{host, host + "bob/", address} {
		b, err := carddav.Discover(t.Context(), config(at, "secret"))
		if err != nil || b.Address() != address {
			t.Fatalf("%s: %v, %v", at, b, err)
		}
		if _, err := b.List(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if _, err := carddav.Discover(t.Context(), config(host, "wrong")); !errors.Is(err, carddav.ErrRefused) {
		t.Errorf("a wrong password: %v", err)
	}
	req, err := http.NewRequest("MKCOL", host+"bob/second/", strings.NewReader(radicaletest.MakeBook))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("bob", "secret")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if _, err := carddav.Discover(t.Context(), config(host, "secret")); !errors.Is(err, carddav.ErrNoBook) || !strings.Contains(err.Error(), "/bob/second/") {
		t.Errorf("two books: %v", err)
	}
}

// TestDiscoverLeavesTheHost: a server that leads elsewhere gets no password there.
func TestDiscoverLeavesTheHost(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/.well-known/") {
			http.Redirect(w, r, "http://127.0.0.2:1/dav/", http.StatusMovedPermanently)
			return
		}
		http.Error(w, "no", http.StatusMethodNotAllowed)
	}))
	defer s.Close()
	f, err := fetch.New(fetch.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Redirects: -1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = carddav.Discover(t.Context(), carddav.Config{Fetcher: f, URL: s.URL, User: "bob", Password: "secret", HTTP: true})
	if !errors.Is(err, carddav.ErrAddress) || !strings.Contains(err.Error(), "http://127.0.0.2:1/dav/") {
		t.Errorf("%v", err)
	}
}
