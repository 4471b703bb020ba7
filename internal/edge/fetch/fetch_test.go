package fetch_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/tandem-call/tandem/internal/edge/fetch"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}

func newFetcher(t *testing.T, c fetch.Config) *fetch.Fetcher {
	t.Helper()
	f, err := fetch.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// listenOn serves on an address of its own, and counts who comes.
func listenOn(t *testing.T, addr string) (port string, visits *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	visits = new(atomic.Int64)
	s := &httptest.Server{Listener: l, Config: &http.Server{ConnState: func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			visits.Add(1)
		}
	}, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "inside") })}}
	s.Start()
	t.Cleanup(s.Close)
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port, visits
}

func TestFetch(t *testing.T) {
	var seen *http.Request
	var body []byte
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r
		body, _ = io.ReadAll(r.Body)
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, "hello")
	})
	f := newFetcher(t, fetch.Config{Allow: loopback})
	for range 2 {
		r, err := f.Fetch(t.Context(), fetch.Request{
			URL: s.URL, Method: http.MethodPost, Header: http.Header{"webhook-id": {"w1"}}, Body: []byte("data"), Types: []string{"text/*"},
		})
		if err != nil || r.Status != 201 || r.Type != "text/plain" || string(r.Body) != "hello" {
			t.Fatalf("got %+v, %v", r, err)
		}
		if string(body) != "data" || seen.Header.Get("Webhook-Id") != "w1" || seen.Header.Get("Cookie") != "" || seen.UserAgent() != "tandem" {
			t.Fatalf("sent %q, %v", body, seen.Header)
		}
	}
}

// TestNowhereInside writes the way in in many ways.
func TestNowhereInside(t *testing.T) {
	port, visits := listenOn(t, "127.0.0.1:0")
	f := newFetcher(t, fetch.Config{Timeout: 5 * time.Second})
	for _, host := range []string{
		"127.0.0.1", "127.1", "127.255.0.9", "2130706433", "0x7f000001", "0177.0.0.1", "0x7f.1", "0", "0.0.0.0", "localhost", "localhost.",
		"[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
		"[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]",
		"10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255", "169.254.169.254", "198.18.0.1",
		"224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.0.170", "168.63.129.16",
		"[fe80::1]", "[fe80::1%25lo]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[fec0::1]", "[2001:db8::1]", "[3fff::1]", "[5f00::1]",
	} {
		t.Run(host, func(t *testing.T) {
			_, err := f.Fetch(t.Context(), fetch.Request{URL: "http://" + host + ":" + port + "/"})
			if !errors.Is(err, fetch.ErrForbidden) && !noSuchName(err) {
				t.Errorf("error %v", err)
			}
		})
	}
	if n := visits.Load(); n != 0 {
		t.Errorf("%d connections came through", n)
	}
}

// noSuchName: a resolver that does not read 0x7f.1 as a number leads nowhere either.
func noSuchName(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns)
}

func TestAddresses(t *testing.T) {
	allow := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	for _, tt := range []struct {
		addr string
		may  bool
	}{
		{"93.184.216.34:443", true}, {"93.184.216.34:8443", true}, {"[2606:2800:220:1::1]:443", true}, {"[::ffff:93.184.216.34]:443", true},
		{"93.184.216.34:25", false}, {"93.184.216.34:22", false}, // mail and shells are not for fetching
		{"10.1.2.3:25", true}, {"10.2.2.3:443", false}, {"[::ffff:10.1.2.3]:443", true}, {"[::ffff:10.2.2.3]:443", false},
		{"[64:ff9b::808:808]:443", false}, {"[2002:808:808::1]:443", false}, {"[2400:cb00::1]:80", true},
	} {
		if got := fetch.Refuse(netip.MustParseAddrPort(tt.addr), allow) == ""; got != tt.may {
			t.Errorf("%s may be reached: %t", tt.addr, got)
		}
	}
}

func TestAddressesAreRead(t *testing.T) {
	f := newFetcher(t, fetch.Config{Allow: loopback})
	for _, u := range []string{
		"", "example.com", "//example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://127.0.0.1:70/", "unix:///run/x.sock",
		"http://", "http:///path", "http://user:secret@example.com/", "http://user@127.0.0.1/", "http://[::1", "http://a b/", "data:text/plain,x",
	} {
		if _, err := f.Fetch(t.Context(), fetch.Request{URL: u}); !errors.Is(err, fetch.ErrURL) {
			t.Errorf("%q: %v", u, err)
		}
	}
	if _, err := f.Fetch(t.Context(), fetch.Request{URL: "http://127.0.0.1/", HTTPS: true}); !errors.Is(err, fetch.ErrURL) {
		t.Errorf("plain http where https is demanded: %v", err)
	}
}

// TestRebinding: a name that points to a good address once and inside the next time.
func TestRebinding(t *testing.T) {
	port, inside := listenOn(t, "127.0.0.1:0")
	if l, err := net.Listen("tcp", "127.0.0.2:"+port); err != nil {
		t.Fatal(err)
	} else {
		good := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "outside")
		})}}
		good.Start()
		t.Cleanup(good.Close)
	}
	var asked atomic.Int64
	resolver := nameServer(t, func() []string {
		switch asked.Add(1) {
		case 1:
			return []string{"127.0.0.2"}
		case 2:
			return []string{"127.0.0.1"}
		default: // a good address last does not let the others through
			return []string{"127.0.0.1", "10.0.0.1", "127.0.0.2"}
		}
	})
	f := newFetcher(t, fetch.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}, Resolver: resolver, Timeout: 5 * time.Second})
	get := func() (fetch.Response, error) {
		return f.Fetch(t.Context(), fetch.Request{URL: "http://rebind.example.:" + port + "/"})
	}
	if r, err := get(); err != nil || string(r.Body) != "outside" {
		t.Fatalf("first: %+v, %v", r, err)
	}
	if _, err := get(); !errors.Is(err, fetch.ErrForbidden) {
		t.Errorf("second: %v", err)
	}
	if r, err := get(); err == nil && string(r.Body) != "outside" {
		t.Errorf("third: %+v", r)
	}
	if n := inside.Load(); n != 0 {
		t.Errorf("%d connections came in", n)
	}
}

// nameServer answers each question for an address with what next says.
func nameServer(t *testing.T, next func() []string) *net.Resolver {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { pc.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				for _, a := range next() {
					m.Answers = append(m.Answers, dnsmessage.Resource{
						Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
						Body:   &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()},
					})
				}
			}
			if b, err := m.Pack(); err == nil {
				_, _ = pc.WriteTo(b, from) // a lost answer is asked for again
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
}

func TestRedirects(t *testing.T) {
	insidePort, inside := listenOn(t, "127.0.0.3:0")
	var referer string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			http.Redirect(w, r, "/end", http.StatusFound)
		case "/end":
			referer = r.Header.Get("Referer")
			fmt.Fprint(w, "end")
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/in":
			http.Redirect(w, r, "http://127.0.0.3:"+insidePort+"/", http.StatusFound)
		case "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		case "/user":
			http.Redirect(w, r, "http://a:b@127.0.0.1/", http.StatusFound)
		}
	})
	f := newFetcher(t, fetch.Config{Allow: loopback})
	if r, err := f.Fetch(t.Context(), fetch.Request{URL: s.URL + "/ok"}); err != nil || string(r.Body) != "end" || referer != "" {
		t.Errorf("a redirect: %+v, %v; it says it comes from %q", r, err, referer)
	}
	for path, want := range map[string]error{"/loop": fetch.ErrContent, "/in": fetch.ErrForbidden, "/file": fetch.ErrURL, "/user": fetch.ErrURL} {
		if _, err := f.Fetch(t.Context(), fetch.Request{URL: s.URL + path}); !errors.Is(err, want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	// What is sent is not sent on.
	var status *fetch.Status
	if _, err := f.Fetch(t.Context(), fetch.Request{Method: http.MethodPost, URL: s.URL + "/ok"}); !errors.As(err, &status) || status.Code != 302 {
		t.Errorf("a POST: %v", err)
	}
	if _, err := newFetcher(t, fetch.Config{Allow: loopback, Redirects: -1}).Fetch(t.Context(), fetch.Request{URL: s.URL + "/ok"}); !errors.Is(err, fetch.ErrStatus) {
		t.Errorf("where none is followed: %v", err)
	}
	if inside.Load() != 0 {
		t.Error("a redirect led inside")
	}
}

func TestEncryptionIsKept(t *testing.T) {
	plain := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "plain") })
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" {
			http.Redirect(w, r, plain.URL, http.StatusFound)
		}
	}))
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	f := newFetcher(t, fetch.Config{Allow: loopback, Roots: roots})
	if _, err := f.Fetch(t.Context(), fetch.Request{URL: s.URL + "/", HTTPS: true}); err != nil {
		t.Error(err)
	}
	if _, err := f.Fetch(t.Context(), fetch.Request{URL: s.URL + "/down"}); !errors.Is(err, fetch.ErrURL) {
		t.Errorf("from https to http: %v", err)
	}
	if _, err := newFetcher(t, fetch.Config{Allow: loopback}).Fetch(t.Context(), fetch.Request{URL: s.URL + "/"}); !errors.Is(err, fetch.ErrUnavailable) {
		t.Errorf("a server with an unknown certificate: %v", err)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := z.Write(make([]byte, 10<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		switch r.URL.Path {
		case "/long": // announced
			w.Header().Set("Content-Length", "1000001")
			_, _ = w.Write(make([]byte, 1000001)) // the fetcher hangs up
		case "/endless": // not announced
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 8<<10)); err != nil {
					return
				}
			}
		case "/bomb":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		case "/slow":
			_, _ = io.WriteString(w, "a")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case "/silent":
			<-r.Context().Done()
		case "/header":
			w.Header().Set("X-Long", strings.Repeat("a", 64<<10))
		case "/type":
			w.Header().Set("Content-Type", "text/html")
		case "/later":
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/exact":
			_, _ = w.Write(make([]byte, 1000))
		}
	})
	for path, want := range map[string]error{
		"/long": fetch.ErrContent, "/endless": fetch.ErrContent, "/bomb": fetch.ErrContent, "/slow": fetch.ErrUnavailable,
		"/silent": fetch.ErrUnavailable, "/header": fetch.ErrUnavailable, "/type": fetch.ErrContent, "/later": fetch.ErrStatus, "/exact": nil,
	} {
		t.Run(path, func(t *testing.T) {
			timeout := 20 * time.Second
			if path == "/slow" || path == "/silent" {
				timeout = 100 * time.Millisecond
			}
			f := newFetcher(t, fetch.Config{Allow: loopback, Timeout: timeout})
			r, err := f.Fetch(t.Context(), fetch.Request{URL: s.URL + path, MaxBytes: 1000, Types: []string{"application/pem-certificate-chain"}})
			if !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("error %v, %d bytes", err, len(r.Body))
			}
			var status *fetch.Status
			if errors.As(err, &status) && status.RetryAfter != 7*time.Second {
				t.Errorf("retry after %s", status.RetryAfter)
			}
		})
	}
}

// TestNoProxy: a proxy from the environment would make the connection for us, unseen.
func TestNoProxy(t *testing.T) {
	port, visits := listenOn(t, "127.0.0.1:0")
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:"+port)
	t.Setenv("http_proxy", "http://127.0.0.1:"+port)
	f := newFetcher(t, fetch.Config{Allow: loopback, Timeout: time.Second})
	if _, err := f.Fetch(t.Context(), fetch.Request{URL: "http://10.0.0.1/"}); !errors.Is(err, fetch.ErrForbidden) {
		t.Error(err)
	}
	if visits.Load() != 0 {
		t.Error("the proxy was used")
	}
}
