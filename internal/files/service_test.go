package files_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/tandem-call/tandem/internal/edge/filestore"
	"github.com/tandem-call/tandem/internal/edge/store/pebblestore"
	"github.com/tandem-call/tandem/internal/files"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// sessions is what the test's server would know: session → device → member.
type sessions struct {
	mu      sync.Mutex
	members map[wire.SessionID]map[wire.DeviceID]wire.MemberID
	closed  map[wire.SessionID]bool
	gone    map[wire.SessionID]bool
	offers  []offer
	fail    error // what Offer answers
	told    []files.Progress
}

type offer struct {
	session wire.SessionID
	device  wire.DeviceID
	to      []wire.MemberID
	request wire.RequestID
	file    wire.File
}

func (s *sessions) MayUpload(_ context.Context, tenant wire.TenantID, d wire.DeviceID, id wire.SessionID, to []wire.MemberID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.members[id]
	if m[d] == "" || tenant != wire.DefaultTenant {
		return files.ErrNotMember
	}
	for _, want := range to {
		if !slices.ContainsFunc([]wire.DeviceID{"alice", "bob", "carol"}, func(d wire.DeviceID) bool { return m[d] == want }) {
			return files.ErrNotMember
		}
	}
	if s.closed[id] {
		return files.ErrClosed
	}
	return nil
}

func (s *sessions) Member(_ context.Context, tenant wire.TenantID, d wire.DeviceID, id wire.SessionID) (wire.MemberID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.members[id][d]; m != "" && tenant == wire.DefaultTenant {
		return m, nil
	}
	return "", files.ErrNotMember
}

func (s *sessions) Kept(_ context.Context, _ wire.TenantID, id wire.SessionID) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.gone[id], nil
}

func (s *sessions) offer(_ context.Context, _ wire.TenantID, id wire.SessionID, d wire.DeviceID, to []wire.MemberID, req wire.RequestID, f wire.File) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	s.offers = append(s.offers, offer{id, d, to, req, f})
	return nil
}

func (s *sessions) progress(p files.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, p)
}

// house is a Service with its disk and its table.
type house struct {
	*files.Service
	*sessions
	dir     string
	disk    *filestore.Store
	engine  *pebblestore.Store
	records store.Table[files.Record]
	config  files.Config
}

func newHouse(t *testing.T, edit ...func(*files.Config)) *house {
	t.Helper()
	h := &house{dir: t.TempDir(), sessions: &sessions{
		members: map[wire.SessionID]map[wire.DeviceID]wire.MemberID{
			"s1": {"alice": "m1", "bob": "m2", "carol": "m3"}, "s2": {"carol": "m9"},
		},
		closed: map[wire.SessionID]bool{}, gone: map[wire.SessionID]bool{},
	}}
	var err error
	if h.engine, err = pebblestore.Open(pebblestore.Options{Dir: filepath.Join(h.dir, "engine"), Relaxed: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.engine.Close() })
	h.records = store.TableOf[files.Record](h.engine, "files")
	if h.disk, err = filestore.Open(filestore.Config{Dir: filepath.Join(h.dir, "files")}); err != nil {
		t.Fatal(err)
	}
	h.config = files.Config{
		Records: h.records, Disk: h.disk, Access: h.sessions, Offer: h.sessions.offer, Progress: h.progress,
		Log: slog.New(slog.DiscardHandler),
	}
	for _, e := range edit {
		e(&h.config)
	}
	h.restart(t)
	return h
}

// restart opens the Service anew, as after a crash: nothing but the disk and the table
// is left.
func (h *house) restart(t *testing.T) {
	t.Helper()
	s, err := files.Open(t.Context(), h.config)
	if err != nil {
		t.Fatal(err)
	}
	h.Service = s
}

// alices is an upload of Alice's.
func alices(name string, length int) files.NewUpload {
	return files.NewUpload{Tenant: wire.DefaultTenant, Device: "alice", Session: "s1", Name: name, Length: int64(length)}
}

func (h *house) create(t *testing.T, n files.NewUpload) files.Record {
	t.Helper()
	r, _, err := h.Create(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (h *house) append(t *testing.T, r files.Record, at int64, b []byte) {
	t.Helper()
	n, err := h.Append(t.Context(), r.Tenant, r.Owner, r.ID, at, bytes.NewReader(b), nil)
	if err != nil || n != int64(len(b)) {
		t.Fatalf("append: %d of %d bytes, %v", n, len(b), err)
	}
}

// put uploads a whole file of Alice's.
func (h *house) put(t *testing.T, n files.NewUpload, content []byte) files.Record {
	t.Helper()
	r := h.create(t, n)
	h.append(t, r, 0, content)
	if err := h.Finish(t.Context(), r.Tenant, r.Owner, r.ID); err != nil {
		t.Fatal(err)
	}
	return h.record(t, r.ID)
}

func (h *house) record(t *testing.T, id wire.FileID) files.Record {
	t.Helper()
	r, _, err := h.records.Get(t.Context(), store.Key(string(wire.DefaultTenant), string(id)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (h *house) fetch(device wire.DeviceID, id wire.FileID) ([]byte, error) {
	_, c, err := h.Download(context.Background(), wire.DefaultTenant, device, id)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return io.ReadAll(c)
}

// onDisk lists what the disk holds.
func (h *house) onDisk(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, a := range []string{"parts", "contents", "previews"} {
		entries, err := os.ReadDir(filepath.Join(h.dir, "files", a))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, a+"/"+e.Name())
		}
	}
	return names
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	b[0] = 1 // no media type begins so
	return b
}

func sha(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func TestUploadIsStoredDescribedAndOffered(t *testing.T) {
	h := newHouse(t)
	content := noise(100_000)
	n := alices("../a.bin", len(content))
	n.Request, n.To = "r1", []wire.MemberID{"m2"}
	r := h.put(t, n, content)
	want := wire.File{ID: r.ID, Name: "a.bin", Size: 100_000, Type: "application/octet-stream", SHA256: sha(content), Path: "/v1/files/" + string(r.ID)}
	if len(h.offers) != 1 || h.offers[0].file != want || h.offers[0].request != "r1" || h.offers[0].device != "alice" || !slices.Equal(h.offers[0].to, n.To) {
		t.Errorf("offers %+v\nwant %+v", h.offers, want)
	}
	if !r.Offered || r.State != files.Stored || !r.Expires.IsZero() {
		t.Errorf("record %+v", r)
	}
	if got := h.onDisk(t); !slices.Equal(got, []string{"contents/" + string(r.ID)}) {
		t.Errorf("on disk: %v", got)
	}
	for _, who := range []wire.DeviceID{"alice", "bob"} {
		if b, err := h.fetch(who, r.ID); err != nil || !bytes.Equal(b, content) {
			t.Errorf("%s gets %d bytes, %v", who, len(b), err)
		}
	}
	for _, who := range []wire.DeviceID{"carol", "mallory"} { // not addressed; not a member
		if _, err := h.fetch(who, r.ID); err != files.ErrNotFound {
			t.Errorf("%s: %v, want exactly ErrNotFound", who, err)
		}
	}
	if _, _, err := h.Download(t.Context(), "other", "alice", r.ID); err != files.ErrNotFound {
		t.Errorf("other tenant: %v", err)
	}
	// All over again is harmless.
	if err := h.Finish(t.Context(), r.Tenant, "alice", r.ID); err != nil || len(h.offers) != 1 {
		t.Errorf("repeated: %v, %d offers", err, len(h.offers))
	}
}

func TestTypesComeFromTheContent(t *testing.T) {
	h := newHouse(t)
	for content, want := range map[string]string{
		"<!DOCTYPE html><script>alert(1)</script>":         "text/html; charset=utf-8",
		"<svg xmlns=\"http://www.w3.org/2000/svg\"></svg>": "image/svg+xml",
		"MZ\x90\x00" + strings.Repeat("\x00", 100):         "application/vnd.microsoft.portable-executable",
		"%PDF-1.7\n":  "application/pdf",
		"hello there": "text/plain; charset=utf-8",
	} {
		if r := h.put(t, alices("photo.jpg", len(content)), []byte(content)); r.Type != want {
			t.Errorf("%q: %s, want %s", content[:4], r.Type, want)
		}
	}
}

// A picture that may say where it was taken, and cannot be cleaned, goes only if its sender says so.
func TestPicturesThatCannotBeCleaned(t *testing.T) {
	h := newHouse(t)
	for name, content := range map[string]string{
		"TIFF":      "II*\x00\x08\x00\x00\x00\x00\x00",
		"JPEG XL":   "\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a",
		"JPEG 2000": "\x00\x00\x00\x0cjP  \x0d\x0a\x87\x0a\x00\x00\x00\x14ftypjp2 ",
		"Photoshop": "8BPS\x00\x01",
	} {
		n := alices("photo", len(content))
		r := h.create(t, n)
		h.append(t, r, 0, []byte(content))
		if err := h.Finish(t.Context(), r.Tenant, "alice", r.ID); !errors.Is(err, files.ErrUncleanable) {
			t.Errorf("%s: %v, want ErrUncleanable", name, err)
		}
		if _, _, err := files.Clean([]byte(content)); !errors.Is(err, files.ErrUncleanable) {
			t.Errorf("%s, as a picture of a profile: %v", name, err)
		}
		n.KeepMetadata = true
		h.put(t, n, []byte(content))
	}
	if r := h.put(t, alices("a.ico", 10), []byte("\x00\x00\x01\x00\x01\x00\x10\x10\x00\x00")); r.Type != "image/x-icon" {
		t.Errorf("an icon, in which no camera writes: %s", r.Type)
	}
}

func TestEmptyFile(t *testing.T) {
	h := newHouse(t)
	r := h.create(t, alices("empty.txt", 0))
	if err := h.Finish(t.Context(), r.Tenant, "alice", r.ID); err != nil {
		t.Fatal(err)
	}
	b, err := h.fetch("bob", r.ID)
	if err != nil || len(b) != 0 || len(h.offers) != 1 || h.offers[0].file.SHA256 != sha(nil) {
		t.Errorf("%q, %v, %+v", b, err, h.offers)
	}
}

func TestResumeAfterCrashKeepsWhatWasConfirmed(t *testing.T) {
	h := newHouse(t)
	content := noise(1000)
	r := h.create(t, alices("a", 1000))
	h.append(t, r, 0, content[:400])
	// Bytes that reached the disk, but were not confirmed before the crash.
	f, err := os.OpenFile(filepath.Join(h.dir, "files", "parts", string(r.ID)), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("torn")
	f.Close()
	h.restart(t)
	u, err := h.Upload(t.Context(), r.Tenant, "alice", r.ID)
	if err != nil || u.Offset != 400 {
		t.Fatalf("offset %d, %v", u.Offset, err)
	}
	h.append(t, r, 400, content[400:])
	if err := h.Finish(t.Context(), r.Tenant, "alice", r.ID); err != nil {
		t.Fatal(err)
	}
	if b, err := h.fetch("bob", r.ID); err != nil || !bytes.Equal(b, content) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestBytesBeforeAFailureAreKept(t *testing.T) {
	h := newHouse(t)
	content := noise(1000)
	r := h.create(t, alices("a", 1000))
	broken := io.MultiReader(bytes.NewReader(content[:300]), iotest.ErrReader(io.ErrUnexpectedEOF))
	n, err := h.Append(t.Context(), r.Tenant, "alice", r.ID, 0, broken, nil)
	if n != 300 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("%d, %v", n, err)
	}
	if _, err := h.Append(t.Context(), r.Tenant, "alice", r.ID, 200, bytes.NewReader(content), nil); !errors.Is(err, files.ErrConflict) {
		t.Errorf("wrong offset: %v", err)
	}
	// More than was declared is not taken.
	n, err = h.Append(t.Context(), r.Tenant, "alice", r.ID, 300, bytes.NewReader(append(content[300:], "more"...)), nil)
	if n != 700 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestMissingBytesAreNoticed(t *testing.T) {
	h := newHouse(t)
	r := h.create(t, alices("a", 1000))
	h.append(t, r, 0, noise(400))
	if err := os.Truncate(filepath.Join(h.dir, "files", "parts", string(r.ID)), 100); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Append(t.Context(), r.Tenant, "alice", r.ID, 400, bytes.NewReader(noise(600)), nil); !errors.Is(err, files.ErrDamaged) {
		t.Errorf("%v, want ErrDamaged", err)
	}
}

func TestChecksum(t *testing.T) {
	h := newHouse(t)
	content := noise(500)
	right := sha256.Sum256(content)
	wrong := sha256.Sum256([]byte("other"))
	r := h.create(t, alices("a", 500))
	n, err := h.Append(t.Context(), r.Tenant, "alice", r.ID, 0, bytes.NewReader(content), &files.Checksum{New: sha256.New, Sum: wrong[:]})
	if n != 0 || !errors.Is(err, files.ErrChecksum) {
		t.Errorf("%d, %v, want ErrChecksum", n, err)
	}
	n, err = h.Append(t.Context(), r.Tenant, "alice", r.ID, 0, bytes.NewReader(content), &files.Checksum{New: sha256.New, Sum: right[:]})
	if n != 500 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// TestCut: what an attempt has written and the record does not confirm is taken off, unless the record may confirm it.
func TestCut(t *testing.T) {
	full := errors.New("the store has no room")
	wrong := sha256.Sum256([]byte("other"))
	for name, c := range map[string]struct {
		sum   *files.Checksum
		fails error // the write of the record
		lost  bool  // it is stored all the same
		left  int64 // of the part
		want  error
	}{
		"wrong checksum":           {sum: &files.Checksum{New: sha256.New, Sum: wrong[:]}, left: 200, want: files.ErrChecksum},
		"not recorded":             {fails: full, left: 200, want: full},
		"perhaps recorded":         {fails: store.ErrUncertain, left: 500, want: store.ErrUncertain},
		"recorded, answer is lost": {fails: store.ErrUncertain, lost: true, left: 500, want: store.ErrUncertain},
	} {
		t.Run(name, func(t *testing.T) {
			var f *forgetful
			h := newHouse(t, func(c *files.Config) {
				f = &forgetful{Table: c.Records.(store.Table[files.Record])}
				c.Records = f
			})
			content := noise(500)
			r := h.create(t, alices("a", 500))
			h.append(t, r, 0, content[:200])
			f.fails, f.lost = c.fails, c.lost
			if _, err := h.Append(t.Context(), r.Tenant, "alice", r.ID, 200, bytes.NewReader(content[200:]), c.sum); !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			st, err := os.Stat(filepath.Join(h.dir, "files", "parts", string(r.ID)))
			if err != nil || st.Size() != c.left {
				t.Errorf("%d bytes are left, %v; want %d", st.Size(), err, c.left)
			}
			f.fails, f.broken = nil, false
			h.restart(t)
			u, err := h.Upload(t.Context(), r.Tenant, "alice", r.ID)
			if want := map[bool]int64{false: 200, true: 500}[c.lost]; err != nil || u.Offset != want {
				t.Fatalf("at %d, %v; want %d", u.Offset, err, want)
			}
			h.append(t, r, u.Offset, content[u.Offset:])
			if err := h.Finish(t.Context(), r.Tenant, "alice", r.ID); err != nil {
				t.Fatal(err)
			}
			if b, err := h.fetch("bob", r.ID); err != nil || !bytes.Equal(b, content) {
				t.Errorf("%d bytes, %v", len(b), err)
			}
		})
	}
}

// forgetful is a table whose writes fail; after one whose outcome is unknown it cannot be read either.
type forgetful struct {
	store.Table[files.Record]
	fails        error
	lost, broken bool
}

func (f *forgetful) Put(ctx context.Context, key string, r files.Record, at store.Rev) (store.Rev, error) {
	if f.fails == nil {
		return f.Table.Put(ctx, key, r, at)
	}
	if f.broken = errors.Is(f.fails, store.ErrUncertain); f.lost {
		if _, err := f.Table.Put(ctx, key, r, at); err != nil {
			return 0, err
		}
	}
	return 0, f.fails
}

func (f *forgetful) Get(ctx context.Context, key string) (files.Record, store.Rev, error) {
	if f.broken {
		return files.Record{}, 0, errors.New("the disk has failed")
	}
	return f.Table.Get(ctx, key)
}

// TestCrashBetweenStepsOfFinish stops after each step, as a crash would, and lets the
// next start complete it: the file is offered once it is there, and only it.
func TestCrashBetweenStepsOfFinish(t *testing.T) {
	var photo bytes.Buffer
	if err := png.Encode(&photo, image.NewGray(image.Rect(0, 0, 640, 480))); err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"before content", "after content", "after preview", "before offer"} {
		t.Run(step, func(t *testing.T) {
			stop := errors.New("crash")
			h := newHouse(t, func(c *files.Config) {
				c.Disk = crashing{Disk: c.Disk, step: step, err: stop}
			})
			if step == "before offer" {
				h.fail = stop
			}
			r := h.create(t, alices("photo.png", photo.Len()))
			h.append(t, r, 0, photo.Bytes())
			err := h.Finish(t.Context(), r.Tenant, "alice", r.ID)
			if step == "before content" || step == "after content" {
				if !errors.Is(err, stop) {
					t.Fatalf("finish: %v, want the crash", err)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if len(h.offers) != 0 && step != "after preview" {
				t.Fatal("offered already")
			}
			h.fail, h.config.Disk = nil, h.disk
			h.restart(t)
			for range 2 {
				if err := h.Sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if len(h.offers) != 1 || h.offers[0].file.Width != 640 {
				t.Fatalf("offers %+v", h.offers)
			}
			if b, err := h.fetch("bob", r.ID); err != nil || sha(b) != h.offers[0].file.SHA256 {
				t.Errorf("%d bytes, %v", len(b), err)
			}
			if left := h.onDisk(t); slices.Contains(left, "parts/"+string(r.ID)) {
				t.Errorf("left over: %v", left)
			}
		})
	}
}

// crashing is a disk that fails at one step of Finish.
type crashing struct {
	files.Disk
	step string
	err  error
}

func (d crashing) Write(a files.Area, id wire.FileID, fill func(io.Writer) error) error {
	if d.step == "before content" && a == files.Contents || d.step == "after preview" && a == files.Previews {
		return d.err
	}
	return d.Disk.Write(a, id, fill)
}

func (d crashing) Open(a files.Area, id wire.FileID) (files.Content, error) {
	c, err := d.Disk.Open(a, id)
	if err == nil && d.step == "after content" && a == files.Contents {
		return nil, errors.Join(d.err, c.Close())
	}
	return c, err
}

func TestOfferRefusedRemovesTheFile(t *testing.T) {
	h := newHouse(t)
	h.fail = fmt.Errorf("session: %w", files.ErrClosed)
	r := h.create(t, alices("a", 3))
	h.append(t, r, 0, []byte("abc"))
	if err := h.Finish(t.Context(), r.Tenant, "alice", r.ID); !errors.Is(err, files.ErrClosed) {
		t.Errorf("%v, want ErrClosed", err)
	}
	if left := h.onDisk(t); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestDamagedPictureIsRefusedUnlessKept(t *testing.T) {
	h := newHouse(t)
	broken := []byte("\xFF\xD8\xFF\xE1\xFF\xFFExif\x00\x00 and no more")
	r := h.create(t, alices("a.jpg", len(broken)))
	h.append(t, r, 0, broken)
	if err := h.Finish(t.Context(), r.Tenant, "alice", r.ID); !errors.Is(err, files.ErrDamagedPicture) {
		t.Errorf("%v, want ErrDamagedPicture", err)
	}
	if left := h.onDisk(t); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
	n := alices("a.jpg", len(broken))
	n.KeepMetadata = true
	if r := h.put(t, n, broken); r.SHA256 != sha(broken) || r.Preview != "" {
		t.Errorf("%+v", r)
	}
}

func TestCreateRefuses(t *testing.T) {
	h := newHouse(t, func(c *files.Config) {
		c.Limits = files.Limits{FileBytes: 1000, SessionBytes: 2500, TenantBytes: 3000, DeviceUploads: 3}
	})
	h.closed["s2"] = true
	for _, c := range []struct {
		name string
		edit func(*files.NewUpload)
		want error
	}{
		{"no session", func(n *files.NewUpload) { n.Session = "" }, files.ErrInvalid},
		{"a path as session", func(n *files.NewUpload) { n.Session = "../s1" }, files.ErrInvalid},
		{"unknown session", func(n *files.NewUpload) { n.Session = "s77" }, files.ErrNotMember},
		{"not a member", func(n *files.NewUpload) { n.Device = "mallory" }, files.ErrNotMember},
		{"other tenant", func(n *files.NewUpload) { n.Tenant = "other" }, files.ErrNotMember},
		{"closed", func(n *files.NewUpload) { n.Session, n.Device = "s2", "carol" }, files.ErrClosed},
		{"to somebody else", func(n *files.NewUpload) { n.To = []wire.MemberID{"m9"} }, files.ErrNotMember},
		{"to a path", func(n *files.NewUpload) { n.To = []wire.MemberID{"../m2"} }, files.ErrInvalid},
		{"negative", func(n *files.NewUpload) { n.Length = -1 }, files.ErrInvalid},
		{"too large", func(n *files.NewUpload) { n.Length = 1001 }, files.ErrTooLarge},
		{"odd request id", func(n *files.NewUpload) { n.Request = "a b" }, files.ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := alices("a", 10)
			c.edit(&n)
			if _, _, err := h.Create(t.Context(), n); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
	r := h.create(t, alices("a", 1000))
	h.create(t, alices("b", 1000))
	if _, _, err := h.Create(t.Context(), alices("c", 501)); !errors.Is(err, files.ErrTooLarge) {
		t.Errorf("over the session's bytes: %v", err)
	}
	h.restart(t) // the counts come back from the table
	h.create(t, alices("c", 500))
	if _, _, err := h.Create(t.Context(), alices("d", 0)); !errors.Is(err, files.ErrTooMany) {
		t.Errorf("a fourth unfinished upload: %v", err)
	}
	h.closed["s2"] = false
	n := alices("e", 501)
	n.Session, n.Device = "s2", "carol"
	if _, _, err := h.Create(t.Context(), n); !errors.Is(err, files.ErrTooLarge) {
		t.Errorf("over the tenant's bytes: %v", err)
	}
	if err := h.Delete(t.Context(), r.Tenant, "alice", r.ID); err != nil {
		t.Fatal(err)
	}
	h.create(t, n) // what was deleted has made room
}

func TestRepeatedRequestGivesTheSameUpload(t *testing.T) {
	h := newHouse(t)
	n := alices("a", 10)
	n.Request = "r1"
	r := h.create(t, n)
	h.append(t, r, 0, noise(4))
	h.restart(t)
	again, repeated, err := h.Create(t.Context(), n)
	if err != nil || !repeated || again.ID != r.ID || again.Offset != 4 {
		t.Errorf("%+v, %v, %v", again, repeated, err)
	}
	n.Length = 11
	if _, _, err := h.Create(t.Context(), n); !errors.Is(err, files.ErrConflict) {
		t.Errorf("same id, other size: %v", err)
	}
	n.Device = "bob" // has ids of his own
	if other, repeated, err := h.Create(t.Context(), n); err != nil || repeated || other.ID == r.ID {
		t.Errorf("Bob: %v, %v", repeated, err)
	}
}

func TestNearlyFullDisk(t *testing.T) {
	free := int64(10_000)
	h := newHouse(t, func(c *files.Config) {
		c.Limits.Headroom = 1000
		c.Disk = roomy{c.Disk, &free}
	})
	a := h.create(t, alices("a", 8000))
	if _, _, err := h.Create(t.Context(), alices("b", 1001)); !errors.Is(err, files.ErrFull) {
		t.Errorf("what is reserved was promised again: %v", err)
	}
	h.append(t, a, 0, noise(5000))
	free -= 5000
	h.create(t, alices("b", 1000))
	if _, _, err := h.Create(t.Context(), alices("c", 1)); !errors.Is(err, files.ErrFull) {
		t.Errorf("one byte over: %v", err)
	}
}

type roomy struct {
	files.Disk
	free *int64
}

func (d roomy) Free() (int64, error) { return *d.free, nil }

func TestOnlyTheOwnerTouchesAnUpload(t *testing.T) {
	h := newHouse(t)
	r := h.create(t, alices("a", 10))
	for _, who := range []wire.DeviceID{"bob", "mallory"} {
		if _, err := h.Upload(t.Context(), r.Tenant, who, r.ID); err != files.ErrNotFound {
			t.Errorf("%s looks: %v", who, err)
		}
		if _, err := h.Append(t.Context(), r.Tenant, who, r.ID, 0, strings.NewReader("x"), nil); err != files.ErrNotFound {
			t.Errorf("%s writes: %v", who, err)
		}
		if err := h.Delete(t.Context(), r.Tenant, who, r.ID); err != files.ErrNotFound {
			t.Errorf("%s deletes: %v", who, err)
		}
	}
	if _, err := h.fetch("bob", r.ID); err != files.ErrNotFound {
		t.Errorf("unfinished, yet: %v", err)
	}
	h.closed["s1"] = true
	if _, err := h.Append(t.Context(), r.Tenant, "alice", r.ID, 0, strings.NewReader("x"), nil); !errors.Is(err, files.ErrClosed) {
		t.Errorf("closed meanwhile: %v", err)
	}
	for _, id := range []wire.FileID{"../../etc/passwd", "", "f\x00", wire.FileID(strings.Repeat("f", 65))} {
		if _, err := h.fetch("alice", id); err != files.ErrNotFound {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestDropSession(t *testing.T) {
	h := newHouse(t)
	stored := h.put(t, alices("a", 3), []byte("abc"))
	open := h.create(t, alices("b", 3))
	h.append(t, open, 0, []byte("a"))
	n := alices("c", 3)
	n.Session, n.Device = "s2", "carol"
	other := h.put(t, n, []byte("abc"))
	if err := h.Service.DropSession(t.Context(), wire.DefaultTenant, "s1"); err != nil {
		t.Fatal(err)
	}
	if left := h.onDisk(t); !slices.Equal(left, []string{"contents/" + string(other.ID)}) {
		t.Errorf("left: %v", left)
	}
	if _, err := h.fetch("bob", stored.ID); err != files.ErrNotFound {
		t.Errorf("%v", err)
	}
	h.gone["s2"] = true // nobody called DropSession
	if err := h.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := h.onDisk(t); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestSweepRemovesBytesWithoutRecord(t *testing.T) {
	h := newHouse(t)
	old := filepath.Join(h.dir, "files", "contents", "fOLD")
	fresh := filepath.Join(h.dir, "files", "parts", "fNEW")
	for _, f := range []string{old, fresh} {
		if err := os.WriteFile(f, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	if err := h.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := h.onDisk(t); !slices.Equal(left, []string{"parts/fNEW"}) {
		t.Errorf("left: %v", left)
	}
}

func TestRunRemovesExpiredUploads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *files.Config) { c.SweepEvery = time.Hour })
		r := h.create(t, alices("a", 10))
		h.append(t, r, 0, noise(4))
		kept := h.put(t, alices("b", 3), []byte("abc"))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- h.Run(ctx) }()
		time.Sleep(23*time.Hour + 59*time.Minute)
		if u, err := h.Upload(ctx, r.Tenant, "alice", r.ID); err != nil || u.Offset != 4 {
			t.Errorf("before its time: %v", err)
		}
		time.Sleep(time.Minute)
		if _, err := h.Upload(ctx, r.Tenant, "alice", r.ID); err != files.ErrNotFound {
			t.Errorf("at its time: %v", err)
		}
		time.Sleep(time.Hour)
		if left := h.onDisk(t); !slices.Equal(left, []string{"contents/" + string(kept.ID)}) {
			t.Errorf("left: %v", left)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		h.engine.Close()
	})
}

func TestProgressIsToldAtMostEvery250ms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		r := h.create(t, alices("film.mp4", 1000))
		n, err := h.Append(t.Context(), r.Tenant, "alice", r.ID, 0, &slow{left: 1000, pause: 10 * time.Millisecond}, nil)
		if n != 1000 || err != nil {
			t.Fatal(n, err)
		}
		// 100 reads of 10 bytes take a second.
		if len(h.told) < 4 || len(h.told) > 5 {
			t.Fatalf("told %d times", len(h.told))
		}
		p := h.told[1]
		if p.ID != r.ID || p.Session != "s1" || p.Device != "alice" || p.Name != "film.mp4" || p.Size != 1000 || p.Offset < 200 || p.Offset > 300 {
			t.Errorf("%+v", p)
		}
		h.engine.Close()
	})
}

func TestWhoTakesAnUploadBackSaysSo(t *testing.T) {
	h := newHouse(t)
	r := h.create(t, alices("film.mp4", 1000))
	h.append(t, r, 0, noise(400))
	if err := h.Delete(t.Context(), r.Tenant, "alice", r.ID); err != nil {
		t.Fatal(err)
	}
	if p := h.told[len(h.told)-1]; p.ID != r.ID || p.Session != "s1" || p.Device != "alice" || p.Offset != 400 || !p.Gone {
		t.Errorf("%+v", p)
	}
	r = h.put(t, alices("whole.txt", 5), noise(5))
	if err := h.Delete(t.Context(), r.Tenant, "alice", r.ID); err != nil {
		t.Fatal(err)
	}
	if p := h.told[len(h.told)-1]; p.ID == r.ID && p.Gone {
		t.Errorf("of one that was offered: %+v", p)
	}
}

// slow gives ten bytes at a time.
type slow struct {
	left  int
	pause time.Duration
}

func (s *slow) Read(b []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	time.Sleep(s.pause)
	s.left -= 10
	return copy(b, make([]byte, 10)), nil
}

func TestConfigIsChecked(t *testing.T) {
	h := newHouse(t)
	for name, edit := range map[string]func(*files.Config){
		"no disk":         func(c *files.Config) { c.Disk = nil },
		"negative limit":  func(c *files.Config) { c.Limits.FileBytes = -1 },
		"negative worker": func(c *files.Config) { c.PreviewWorkers = -1 },
	} {
		c := h.config
		edit(&c)
		if _, err := files.Open(t.Context(), c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// witness checks the order of things: nothing is said in the table that is not synced.
type witness struct {
	files.Disk
	store.Table[files.Record]
	t      *testing.T
	mu     sync.Mutex
	synced map[wire.FileID]int64
	stored map[wire.FileID]bool
}

type witnessedPart struct {
	files.Part
	w    *witness
	id   wire.FileID
	size int64
}

func (w *witness) Append(id wire.FileID, at int64) (files.Part, error) {
	p, err := w.Disk.Append(id, at)
	return &witnessedPart{p, w, id, at}, err
}

func (p *witnessedPart) Write(b []byte) (int, error) {
	n, err := p.Part.Write(b)
	p.size += int64(n)
	return n, err
}

func (p *witnessedPart) Sync() error {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.synced[p.id] = p.size
	return p.Part.Sync()
}

func (w *witness) Move(id wire.FileID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stored[id] = true
	return w.Disk.Move(id)
}

func (w *witness) Put(ctx context.Context, key string, r files.Record, at store.Rev) (store.Rev, error) {
	w.mu.Lock()
	if r.Offset > w.synced[r.ID] {
		w.t.Errorf("offset %d confirmed, %d synced", r.Offset, w.synced[r.ID])
	}
	if r.State == files.Stored && !w.stored[r.ID] {
		w.t.Error("stored in the table, not on the disk")
	}
	w.mu.Unlock()
	return w.Table.Put(ctx, key, r, at)
}

func (w *witness) Remove(id wire.FileID, areas ...files.Area) error {
	return w.Disk.Remove(id, areas...)
}

func TestNothingIsConfirmedBeforeItIsSynced(t *testing.T) {
	var w *witness
	h := newHouse(t, func(c *files.Config) {
		w = &witness{Disk: c.Disk, Table: c.Records.(store.Table[files.Record]), t: t, synced: map[wire.FileID]int64{}, stored: map[wire.FileID]bool{}}
		c.Disk, c.Records = w, w
	})
	content := noise(33 << 20) // confirmed in several steps
	r := h.put(t, alices("a", len(content)), content)
	if w.synced[r.ID] != r.Length || r.Offset != r.Length {
		t.Errorf("%d bytes synced, %d confirmed", w.synced[r.ID], r.Offset)
	}
}
