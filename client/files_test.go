package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/wire"
)

// noise is a content that nothing can compress, or take for a picture.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b) // never fails
	return b
}

// offered waits for the offer of a file.
func (d *device) offered(n int) wire.File {
	d.t.Helper()
	d.until("the offer of a file", func() bool { return len(d.got) >= n })
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := client.FileOf(d.got[n-1])
	check(d.t, err)
	return f
}

// TestTransferUnderCuts: upload and download go through connections that are each cut
// after some bytes.
func TestTransferUnderCuts(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob, id := w.pair(nil)
	content := noise(6 << 20)
	w.proxy.dropAfter(func() int64 { return 600_000 + rand.Int64N(1_500_000) })
	w.proxy.cut()
	var seen []int64
	up := client.Upload{Session: id, Content: bytes.NewReader(content), Size: int64(len(content)), Name: "a noise.bin", ID: "the-upload",
		Progress: func(sent, size int64) { seen = append(seen, sent) }}
	check(t, alice.API().Upload(w.ctx, up))
	if n := len(seen); seen[0] != 0 || seen[n-1] != up.Size || n < 4 {
		t.Errorf("progress %v", seen)
	}
	f := bob.offered(1)
	if f.Size != up.Size || f.Name != "a noise.bin" {
		t.Errorf("offered %+v", f)
	}
	var last int64
	dir := t.TempDir()
	path, err := bob.API().Download(w.ctx, f, dir, func(got, size int64) { last = got })
	check(t, err)
	got, err := os.ReadFile(path)
	check(t, err)
	if !bytes.Equal(got, content) || last != f.Size || filepath.Base(path) != "a noise.bin" {
		t.Errorf("%s: %d bytes, equal %v, progress to %d", path, len(got), bytes.Equal(got, content), last)
	}
	w.proxy.dropAfter(nil)
	// Repeated, by a program that does not know that it was done: nothing is offered again.
	check(t, alice.API().Upload(w.ctx, up))
	_, err = alice.Send(w.ctx, id, "note", 1)
	check(t, err)
	bob.until("the note", func() bool { return bob.got[len(bob.got)-1].Kind == "note" })
	if len(bob.got) != 2 {
		t.Errorf("%d messages", len(bob.got))
	}
	// A second download does not overwrite the first.
	second, err := bob.API().Download(w.ctx, f, dir, nil)
	check(t, err)
	if filepath.Base(second) != "a noise (2).bin" {
		t.Errorf("the second is %s", second)
	}
	if l, err := os.ReadDir(dir); err != nil || len(l) != 2 {
		t.Errorf("in the folder: %v, %v", l, err)
	}
}

// TestUploadOverRestart: the server is restarted in the middle of an upload.
func TestUploadOverRestart(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob, id := w.pair(nil)
	content := noise(9 << 20)
	restart := sync.OnceFunc(func() {
		w.stop()
		w.start()
	})
	err := alice.API().Upload(w.ctx, client.Upload{Session: id, Content: bytes.NewReader(content), Size: int64(len(content)),
		Name: "n", Progress: func(sent, _ int64) {
			if sent > 0 {
				restart()
			}
		}})
	check(t, err)
	var b bytes.Buffer
	_, err = bob.API().Get(w.ctx, bob.offered(1).Path, &b)
	check(t, err)
	if !bytes.Equal(b.Bytes(), content) {
		t.Errorf("%d bytes of %d, or others", b.Len(), len(content))
	}
}

func TestSendFile(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob, id := w.pair(nil)
	path := filepath.Join(t.TempDir(), "empty.txt")
	check(t, os.WriteFile(path, nil, 0o600))
	check(t, alice.SendFile(w.ctx, id, path, nil))
	got, err := bob.API().Download(w.ctx, bob.offered(1), t.TempDir(), nil)
	check(t, err)
	if st, err := os.Stat(got); err != nil || st.Size() != 0 {
		t.Errorf("%v, %v", st, err)
	}
	for name, bad := range map[string]func() error{
		"a folder":   func() error { return alice.SendFile(w.ctx, id, t.TempDir(), nil) },
		"no file":    func() error { return alice.SendFile(w.ctx, id, path+"x", nil) },
		"no content": func() error { return alice.API().Upload(w.ctx, client.Upload{Session: id, Size: 1}) },
		"a shrunk content": func() error {
			return alice.API().Upload(w.ctx, client.Upload{Session: id, Content: bytes.NewReader(nil), Size: 5})
		},
	} {
		if err := bad(); !errors.Is(err, client.ErrFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := alice.SendFile(w.ctx, "s_other", path, nil); problemCode(err) != wire.CodeNotMember {
		t.Errorf("into a session of others: %v", err)
	}
}

// TestDownloadLeftovers: whatever an earlier run has left, the file arrives whole.
func TestDownloadLeftovers(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob, id := w.pair(nil)
	content := noise(300_000)
	check(t, alice.API().Upload(w.ctx, client.Upload{Session: id, Content: bytes.NewReader(content), Size: int64(len(content)), Name: "n"}))
	f := bob.offered(1)
	for name, left := range map[string][]byte{
		"nothing": nil, "the beginning": content[:100_000], "all of it": content, "another beginning": make([]byte, 100_000),
		"too much": append(bytes.Clone(content), 1), "as much, of another": make([]byte, len(content)),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if left != nil {
				check(t, os.WriteFile(filepath.Join(dir, "."+string(f.ID)+".part"), left, 0o600))
			}
			first := int64(-1)
			path, err := bob.API().Download(w.ctx, f, dir, func(got, _ int64) {
				if first < 0 {
					first = got
				}
			})
			check(t, err)
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if name == "the beginning" && first <= 100_000 || name == "all of it" && first >= 0 {
				t.Errorf("fetched again: progress began with %d", first)
			}
		})
	}
	wrong := f
	wrong.SHA256 = wrong.SHA256[1:] + "0"
	dir := t.TempDir()
	if _, err := bob.API().Download(w.ctx, wrong, dir, nil); !errors.Is(err, client.ErrFile) {
		t.Errorf("another digest: %v", err)
	}
	elsewhere := f
	elsewhere.Path = "//" + w.proxy.addr() + f.Path
	if _, err := bob.API().Download(w.ctx, elsewhere, dir, nil); !errors.Is(err, client.ErrFile) {
		t.Error("a token went to an address that only looks like the server's")
	}
	gone := f
	gone.Path = "/v1/files/fNONE"
	if _, err := bob.API().Download(w.ctx, gone, dir, nil); problemCode(err) != wire.CodeNotFound {
		t.Errorf("what is not there: %v", err)
	}
}

// TestDownloadTwiceAtOnce: two callers do not write to one partial file.
func TestDownloadTwiceAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob, id := w.pair(nil)
	content := noise(100_000)
	check(t, alice.API().Upload(w.ctx, client.Upload{Session: id, Content: bytes.NewReader(content), Size: int64(len(content)), Name: "n"}))
	f := bob.offered(1)
	dir := t.TempDir()
	inner := sync.OnceValue(func() error {
		_, err := bob.API().Download(w.ctx, f, dir, nil)
		return err
	})
	_, err := bob.API().Download(w.ctx, f, dir, func(int64, int64) { _ = inner() })
	check(t, err)
	if err := inner(); !errors.Is(err, client.ErrFile) {
		t.Errorf("at the same time: %v", err)
	}
}

// TestRangesIgnored: a server, or a cache before it, that answers with the whole file
// where a range was asked for.
func TestRangesIgnored(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob, id := w.pair(nil)
	content := noise(100_000)
	check(t, alice.API().Upload(w.ctx, client.Upload{Session: id, Content: bytes.NewReader(content), Size: int64(len(content)), Name: "n"}))
	f := bob.offered(1)
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") == "" || r.Header.Get("If-Range") != `"`+f.SHA256+`"` {
			t.Errorf("asked with %v", r.Header)
		}
		_, _ = rw.Write(content) // the client reads what it wants
	}))
	defer s.Close()
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "."+string(f.ID)+".part"), content[:1000], 0o600))
	path, err := client.NewKeyAPI(s.URL, "", s.Client()).Download(w.ctx, f, dir, nil)
	check(t, err)
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestTokenRefresh: a token that no longer holds is replaced, for every kind of request.
func TestTokenRefresh(t *testing.T) {
	w := newWorld(t, nil)
	id := w.enrol("alice", aliceNumber)
	var mu sync.Mutex
	spoil := true
	requests, tokens := 0, 0
	hc := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/v1/tokens" {
			tokens++
		}
		if b := r.Header.Get("Authorization"); b != "" {
			requests++
			if spoil {
				spoil = false
				r = r.Clone(r.Context())
				r.Header.Set("Authorization", b+"x")
			}
		}
		return w.http().Transport.RoundTrip(r)
	})}
	api := client.NewAPI(id, hc)
	check(t, api.Call(w.ctx, http.MethodGet, "/v1/device", nil, nil))
	if requests != 2 || tokens != 2 {
		t.Errorf("%d requests with %d tokens", requests, tokens)
	}
	check(t, api.Call(w.ctx, http.MethodGet, "/v1/device", nil, nil))
	if requests != 3 || tokens != 2 {
		t.Errorf("%d requests with %d tokens: a token serves until it ends", requests, tokens)
	}
	mu.Lock()
	spoil = true
	mu.Unlock()
	_, err := api.Get(w.ctx, "/v1/device", io.Discard)
	check(t, err)
	ctx, cancel := context.WithTimeout(w.ctx, time.Nanosecond)
	defer cancel()
	if err := api.Call(ctx, http.MethodGet, "/v1/device", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without time: %v", err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestFallback: with Auto, something on the way refuses or swallows WebSockets.
func TestFallback(t *testing.T) {
	for name, handshake := range map[string]func(*http.Request) (*http.Response, error){
		"refused": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 403, Status: "403 Forbidden", Body: io.NopCloser(bytes.NewReader([]byte("<html>no</html>")))}, nil
		},
		"cut": func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			inner := w.http().Transport
			d := w.run(w.enrol("alice", aliceNumber), func(c *client.Config) {
				c.HTTP = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
					if r.Header.Get("Upgrade") != "" {
						return handshake(r)
					}
					return inner.RoundTrip(r)
				})}
			})
			d.until("the connection", func() bool { return d.welcomes == 1 })
			_, err := d.Report(w.ctx, wire.Report{PartyDetails: d.id.Details(d.id.Number.Identity(), "", "")})
			if problemCode(err) == "" {
				t.Errorf("an impossible report: %v", err)
			}
		})
	}
}
