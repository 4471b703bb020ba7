package s3store_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/tandem-call/tandem/internal/edge/s3store"
	"github.com/tandem-call/tandem/internal/edge/store/pebblestore/pebbletest"
	"github.com/tandem-call/tandem/internal/files"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// service is an S3 service with a bucket.
type service struct {
	url  string
	puts atomic.Int32
	fail atomic.Bool // every request
}

func newService(t *testing.T) *service {
	backend := s3mem.New()
	if err := backend.CreateBucket("files"); err != nil {
		t.Fatal(err)
	}
	s := &service{}
	h := gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.fail.Load() {
			w.WriteHeader(http.StatusForbidden) // is not tried again
			return
		}
		if r.Method == http.MethodPut {
			s.puts.Add(1)
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

func (s *service) open(t *testing.T) *s3store.Store {
	t.Helper()
	d, err := s3store.Open(t.Context(), s3store.Config{
		Endpoint: s.url, Bucket: "files", Region: "us-east-1", Prefix: "tandem", AccessKey: "a", SecretKey: "s", Temp: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	b[0] = 1 // no media type begins so
	return b
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// add appends and syncs.
func add(t *testing.T, d *s3store.Store, id wire.FileID, at int64, b []byte) {
	t.Helper()
	p, err := d.Append(id, at)
	check(t, err)
	_, err = p.Write(b)
	check(t, err)
	check(t, p.Sync())
	check(t, p.Close())
}

func read(t *testing.T, d *s3store.Store, a files.Area, id wire.FileID) []byte {
	t.Helper()
	c, err := d.Open(a, id)
	check(t, err)
	defer c.Close()
	b, err := io.ReadAll(c)
	check(t, err)
	return b
}

func TestConfig(t *testing.T) {
	s := newService(t)
	good := s3store.Config{Endpoint: s.url, Bucket: "files", Region: "us-east-1", AccessKey: "a", SecretKey: "s"}
	for name, edit := range map[string]func(*s3store.Config){
		"no endpoint":      func(c *s3store.Config) { c.Endpoint = "" },
		"no scheme":        func(c *s3store.Config) { c.Endpoint = "127.0.0.1:9000" },
		"a path":           func(c *s3store.Config) { c.Endpoint += "/files" },
		"no bucket":        func(c *s3store.Config) { c.Bucket = "" },
		"another bucket":   func(c *s3store.Config) { c.Bucket = "others" },
		"no secret":        func(c *s3store.Config) { c.SecretKey = "" },
		"nobody is there":  func(c *s3store.Config) { c.Endpoint = "http://127.0.0.1:1" },
		"no such protocol": func(c *s3store.Config) { c.Endpoint = "ftp://127.0.0.1" },
	} {
		c := good
		edit(&c)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		if _, err := s3store.Open(ctx, c); err == nil {
			t.Errorf("%s: it opens", name)
		}
		cancel()
	}
}

// TestStretches: pieces of any size, far below what a part of a multipart upload has, are
// one file in the end; what was not confirmed is cut off by whoever continues.
func TestStretches(t *testing.T) {
	d := newService(t).open(t)
	content := noise(4000)
	sizes := []int{1, 100, 2000, 7, 1892}
	at := 0
	for _, n := range sizes {
		add(t, d, "f1", int64(at), content[at:at+n])
		at += n
		// Somebody else's, which was never confirmed.
		if at < len(content) {
			add(t, d, "f1", int64(at), noise(33))
		}
	}
	if got := read(t, d, files.Parts, "f1"); !bytes.Equal(got, content) {
		t.Fatal("the part is not what was written")
	}
	c, err := d.Open(files.Parts, "f1")
	check(t, err)
	check(t, iotest.TestReader(c, content))
	check(t, c.Close())
	if _, err := d.Append("f1", 50_000); !errors.Is(err, files.ErrDamaged) {
		t.Errorf("beyond what is there: %v", err)
	}
	check(t, d.Move("f1"))
	if got := read(t, d, files.Contents, "f1"); !bytes.Equal(got, content) {
		t.Error("the content is not what was written")
	}
	if _, err := d.Open(files.Parts, "f1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the part is still there: %v", err)
	}
	var ids []wire.FileID
	for id, changed := range d.List() {
		if time.Since(changed) > time.Hour {
			t.Errorf("%s was changed at %v", id, changed)
		}
		ids = append(ids, id)
	}
	if !slices.Equal(ids, []wire.FileID{"f1"}) {
		t.Errorf("listed: %v", ids)
	}
	check(t, d.Remove("f1", files.Parts, files.Contents, files.Previews))
	check(t, d.Remove("f1", files.Contents))
	for id := range d.List() {
		t.Errorf("%s is left", id)
	}
}

func TestCut(t *testing.T) {
	d := newService(t).open(t)
	p, err := d.Append("f1", 0)
	check(t, err)
	for _, s := range []string{"one", "two"} {
		_, err = p.Write([]byte(s))
		check(t, err)
		check(t, p.Sync())
	}
	_, err = p.Write([]byte("never synced"))
	check(t, err)
	check(t, p.Cut(6))
	check(t, p.Cut(3))
	_, err = p.Write([]byte("2"))
	check(t, err)
	check(t, p.Sync())
	check(t, p.Close())
	if got := read(t, d, files.Parts, "f1"); string(got) != "one2" {
		t.Errorf("%q", got)
	}
}

func TestEmptyAndWhole(t *testing.T) {
	s := newService(t)
	d := s.open(t)
	add(t, d, "f0", 0, nil)
	check(t, d.Move("f0"))
	if got := read(t, d, files.Contents, "f0"); len(got) != 0 {
		t.Errorf("%q", got)
	}
	check(t, d.Write(files.Previews, "f1", func(w io.Writer) error { _, err := w.Write([]byte("small")); return err }))
	if err := d.Write(files.Previews, "f1", func(io.Writer) error { return io.ErrClosedPipe }); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	if got := read(t, d, files.Previews, "f1"); string(got) != "small" {
		t.Errorf("%q", got)
	}
	for _, id := range []wire.FileID{"", "../f1", "a/b"} {
		if _, err := d.Open(files.Contents, id); err == nil {
			t.Errorf("%q is a name", id)
		}
		if _, err := d.Append(id, 0); err == nil {
			t.Errorf("%q is a name", id)
		}
	}
	s.fail.Store(true)
	if err := d.Write(files.Previews, "f2", func(io.Writer) error { return nil }); err == nil {
		t.Error("confirmed what was refused")
	}
}

// everybody is a member of every session, and takes offers.
type everybody struct {
	mu     sync.Mutex
	offers []wire.RequestID
}

func (*everybody) MayUpload(context.Context, wire.TenantID, wire.DeviceID, wire.SessionID, []wire.MemberID) error {
	return nil
}
func (*everybody) Member(context.Context, wire.TenantID, wire.DeviceID, wire.SessionID) (wire.MemberID, error) {
	return "m1", nil
}
func (*everybody) Kept(context.Context, wire.TenantID, wire.SessionID) (bool, error) {
	return true, nil
}
func (e *everybody) offer(_ context.Context, _ wire.TenantID, _ wire.SessionID, _ wire.DeviceID, _ []wire.MemberID, id wire.RequestID, _ wire.File) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !slices.Contains(e.offers, id) {
		e.offers = append(e.offers, id)
	}
	return nil
}

// nodes are Services that share a table and a bucket, as on a cluster.
func nodes(t *testing.T, n int, limits files.Limits) ([]*files.Service, store.Engine, *everybody) {
	e, s, all := pebbletest.Open(t), newService(t), &everybody{}
	var list []*files.Service
	for range n {
		f, err := files.Open(t.Context(), files.Config{
			Records: store.TableOf[files.Record](e, "files"), BySession: store.TableOf[files.Place](e, "files-by-session"),
			Disk: s.open(t), Access: all, Offer: all.offer, Limits: limits, Log: slog.New(slog.DiscardHandler),
		})
		check(t, err)
		list = append(list, f)
	}
	return list, e, all
}

func upload(length int, request wire.RequestID) files.NewUpload {
	return files.NewUpload{Tenant: wire.DefaultTenant, Device: "alice", Session: "s1", Name: "x", Length: int64(length), Request: request}
}

// TestNodesShareABucket: an upload that began at one node goes on at another and ends at a
// third; sweeps leave it alone; and every node gives it out.
func TestNodesShareABucket(t *testing.T) {
	list, _, all := nodes(t, 3, files.Limits{})
	content := noise(30_000)
	r, again, err := list[0].Create(t.Context(), upload(len(content), "r1"))
	if err != nil || again {
		t.Fatal(again, err)
	}
	same, again, err := list[1].Create(t.Context(), upload(len(content), "r1"))
	if err != nil || !again || same.ID != r.ID {
		t.Fatalf("a repeated request at another node made %v, %v, %v", same.ID, again, err)
	}
	if _, _, err := list[2].Create(t.Context(), upload(5, "r1")); !errors.Is(err, files.ErrConflict) {
		t.Errorf("the same request for another file: %v", err)
	}
	for at := 0; at < len(content); at += 10_000 {
		n, err := list[at/10_000].Append(t.Context(), r.Tenant, r.Owner, r.ID, int64(at), bytes.NewReader(content[at:at+10_000]), nil)
		if err != nil || n != 10_000 {
			t.Fatal(n, err)
		}
		for _, f := range list {
			check(t, f.Sweep(t.Context()))
		}
	}
	for _, f := range list { // repeated by a client that did not hear the answer, or swept
		check(t, f.Finish(t.Context(), r.Tenant, r.Owner, r.ID))
	}
	for _, f := range list {
		got, c, err := f.Download(t.Context(), r.Tenant, "bob", r.ID)
		check(t, err)
		b, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(b, content) || got.Size != int64(len(content)) {
			t.Errorf("another content: %d bytes, %v", len(b), err)
		}
		check(t, c.Close())
		if of, err := f.OfSession(t.Context(), r.Tenant, r.Session); err != nil || len(of) != 1 {
			t.Errorf("of the session: %v, %v", of, err)
		}
	}
	if len(all.offers) != 1 {
		t.Errorf("offers: %v", all.offers)
	}
	check(t, list[2].Delete(t.Context(), r.Tenant, r.Owner, r.ID))
	if _, _, err := list[0].Download(t.Context(), r.Tenant, "bob", r.ID); !errors.Is(err, files.ErrNotFound) {
		t.Error(err)
	}
	if of, err := list[1].OfSession(t.Context(), r.Tenant, r.Session); err != nil || len(of) != 0 {
		t.Errorf("of the session: %v, %v", of, err)
	}
	// The request may be used again.
	if _, again, err := list[0].Create(t.Context(), upload(3, "r1")); again || err != nil {
		t.Error(again, err)
	}
}

// TestTakenOver: a device that lost its node goes on at another one, while the old request
// still holds bytes there. What that one writes afterwards does not count.
func TestTakenOver(t *testing.T) {
	list, _, _ := nodes(t, 2, files.Limits{})
	content := noise(20_000)
	r, _, err := list[0].Create(t.Context(), upload(len(content), "r1"))
	check(t, err)
	_, err = list[0].Append(t.Context(), r.Tenant, r.Owner, r.ID, 0, bytes.NewReader(content[:5000]), nil)
	check(t, err)

	old, feed := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		_, err := list[0].Append(t.Context(), r.Tenant, r.Owner, r.ID, 5000, old, nil)
		ended <- err
	}()
	_, err = feed.Write(noise(3000)) // it is appending now
	check(t, err)
	_, err = list[1].Append(t.Context(), r.Tenant, r.Owner, r.ID, 5000, bytes.NewReader(content[5000:12_000]), nil)
	check(t, err)
	check(t, feed.Close())
	if err := <-ended; !errors.Is(err, files.ErrConflict) {
		t.Errorf("the old request confirmed: %v", err)
	}
	_, err = list[0].Append(t.Context(), r.Tenant, r.Owner, r.ID, 12_000, bytes.NewReader(content[12_000:]), nil)
	check(t, err)
	check(t, list[0].Finish(t.Context(), r.Tenant, r.Owner, r.ID))
	_, c, err := list[1].Download(t.Context(), r.Tenant, r.Owner, r.ID)
	check(t, err)
	defer c.Close()
	if b, err := io.ReadAll(c); err != nil || !bytes.Equal(b, content) {
		t.Errorf("another content: %d bytes, %v", len(b), err)
	}
}

// TestLimitsAcrossNodes: however many nodes reserve at once, a session is never over its limit.
func TestLimitsAcrossNodes(t *testing.T) {
	const limit = 10
	list, e, _ := nodes(t, 4, files.Limits{SessionBytes: limit * 1000, DeviceUploads: 1000})
	var made atomic.Int32
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			_, _, err := list[i%4].Create(t.Context(), upload(1000, ""))
			switch {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, files.ErrTooLarge):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var records int32
	for _, err := range store.TableOf[files.Record](e, "files").Scan(t.Context(), "") {
		check(t, err)
		records++
	}
	if n := made.Load(); n > limit || records != n {
		t.Errorf("%d uploads are reserved, %d recorded; the limit is %d", n, records, limit)
	}
	// Whoever was refused in the crowd gets what is left.
	for range limit - made.Load() {
		_, _, err := list[0].Create(t.Context(), upload(1000, ""))
		check(t, err)
	}
	if _, _, err := list[1].Create(t.Context(), upload(1000, "")); !errors.Is(err, files.ErrTooLarge) {
		t.Error(err)
	}
}

// TestIndexIsMended: records that came by an import get into the index, and entries whose
// record was never written leave it.
func TestIndexIsMended(t *testing.T) {
	list, e, _ := nodes(t, 1, files.Limits{})
	r, _, err := list[0].Create(t.Context(), upload(10, "r1"))
	check(t, err)
	index := store.TableOf[files.Place](e, "files-by-session")
	for item, err := range index.Scan(t.Context(), "") {
		check(t, err)
		check(t, index.Delete(t.Context(), item.Key, item.Rev))
	}
	_, err = index.Put(t.Context(), "default/s1/alice/r2", files.Place{File: "f_none", At: time.Now().Add(-2 * time.Hour)}, 0)
	check(t, err)
	check(t, list[0].Sweep(t.Context()))
	of, err := list[0].OfSession(t.Context(), wire.DefaultTenant, "s1")
	if err != nil || len(of) != 1 || of[0].ID != r.ID {
		t.Errorf("of the session: %v, %v", of, err)
	}
	if _, _, err := index.Get(t.Context(), "default/s1/alice/r2"); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
}
