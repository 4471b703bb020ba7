package fileapi_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/edge/filestore"
	"github.com/tandem-call/tandem/internal/edge/store/pebblestore"
	"github.com/tandem-call/tandem/internal/edge/transport/fileapi"
	"github.com/tandem-call/tandem/internal/files"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// sessions knows one session, s1, of Alice (m1) and Bob (m2).
type sessions struct {
	mu     sync.Mutex
	closed bool
	offers []wire.File
}

func (s *sessions) MayUpload(ctx context.Context, t wire.TenantID, d wire.DeviceID, id wire.SessionID, _ []wire.MemberID) error {
	if _, err := s.Member(ctx, t, d, id); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return files.ErrClosed
	}
	return nil
}

func (s *sessions) Member(_ context.Context, t wire.TenantID, d wire.DeviceID, id wire.SessionID) (wire.MemberID, error) {
	if m := map[wire.DeviceID]wire.MemberID{"alice": "m1", "bob": "m2"}[d]; m != "" && id == "s1" && t == wire.DefaultTenant {
		return m, nil
	}
	return "", files.ErrNotMember
}

func (s *sessions) Kept(context.Context, wire.TenantID, wire.SessionID) (bool, error) {
	return true, nil
}

func (s *sessions) offer(_ context.Context, _ wire.TenantID, _ wire.SessionID, _ wire.DeviceID, _ []wire.MemberID, _ wire.RequestID, f wire.File) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offers = append(s.offers, f)
	return nil
}

// server is the real thing over a real listener.
type server struct {
	*httptest.Server
	*sessions
	t    *testing.T
	free atomic.Int64
}

func newServer(t *testing.T, limits files.Limits) *server {
	t.Helper()
	s := &server{t: t, sessions: &sessions{}}
	s.free.Store(1 << 40)
	dir := t.TempDir()
	engine, err := pebblestore.Open(pebblestore.Options{Dir: filepath.Join(dir, "engine"), Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Close() })
	disk, err := filestore.Open(filestore.Config{
		Dir: filepath.Join(dir, "files"), Free: func(string) (int64, error) { return s.free.Load(), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(testLog{t}, nil))
	service, err := files.Open(t.Context(), files.Config{
		Records: store.TableOf[files.Record](engine, "files"), Disk: disk, Access: s.sessions, Offer: s.sessions.offer,
		Limits: limits, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	h, err := fileapi.New(fileapi.Config{Files: service, Log: log, Who: func(r *http.Request) (wire.TenantID, wire.DeviceID, error) {
		who, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			return "", "", errors.New("no token")
		}
		if who, ok := strings.CutPrefix(who, "other/"); ok {
			return "other", wire.DeviceID(who), nil
		}
		return wire.DefaultTenant, wire.DeviceID(who), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(fileapi.BasePath, h)
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// testLog makes what the server logs part of the test's output.
type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) { l.t.Logf("%s", b); return len(b), nil }

type answer struct {
	*http.Response
	body []byte
}

// do sends a request of who's, with pairs of headers.
func (s *server) do(who, method, path string, body io.Reader, headers ...string) answer {
	s.t.Helper()
	a, err := s.try(who, method, path, body, headers...)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

func (s *server) try(who, method, path string, body io.Reader, headers ...string) (answer, error) {
	req, err := http.NewRequest(method, s.URL+path, body)
	if err != nil {
		return answer{}, err
	}
	if who != "" {
		req.Header.Set("Authorization", "Bearer "+who)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] != "" {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp, b}, err
}

func metadata(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(pairs[i] + " " + base64.StdEncoding.EncodeToString([]byte(pairs[i+1])))
	}
	return b.String()
}

// create makes an upload of Alice's and returns its path.
func (s *server) create(length int, meta ...string) string {
	s.t.Helper()
	a := s.do("alice", "POST", fileapi.BasePath, nil, "Tus-Resumable", "1.0.0", "Upload-Length", strconv.Itoa(length),
		"Upload-Metadata", metadata(append([]string{"session", "s1"}, meta...)...))
	s.want(a, http.StatusCreated, "")
	if !strings.HasPrefix(a.Header.Get("Location"), fileapi.BasePath+"f") {
		s.t.Fatalf("Location %q", a.Header.Get("Location"))
	}
	return a.Header.Get("Location")
}

func (s *server) patch(path string, offset int, body io.Reader, more ...string) answer {
	s.t.Helper()
	return s.do("alice", "PATCH", path, body, append([]string{
		"Tus-Resumable", "1.0.0", "Content-Type", "application/offset+octet-stream", "Upload-Offset", strconv.Itoa(offset)}, more...)...)
}

// put uploads in one go and returns the path.
func (s *server) put(content []byte, meta ...string) string {
	s.t.Helper()
	path := s.create(len(content), meta...)
	if len(content) > 0 {
		s.want(s.patch(path, 0, bytes.NewReader(content)), http.StatusNoContent, "")
	}
	return path
}

// want checks the status, and the code of the problem if there should be one.
func (s *server) want(a answer, status int, code wire.Code) {
	s.t.Helper()
	if a.StatusCode != status {
		s.t.Fatalf("%s %s: status %d, want %d: %s", a.Request.Method, a.Request.URL.Path, a.StatusCode, status, a.body)
	}
	if code == "" || a.Request.Method == http.MethodHead {
		return
	}
	var p wire.Problem
	if err := json.Unmarshal(a.body, &p); err != nil || a.Header.Get("Content-Type") != "application/problem+json" {
		s.t.Fatalf("no problem but %s %q (%v)", a.Header.Get("Content-Type"), a.body, err)
	}
	if p.Code != code || p.Status != status || p.Title == "" || p.Detail == "" || p.Type != "/problems/"+string(code) {
		s.t.Errorf("problem %+v, want %s with status %d", p, code, status)
	}
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	if n > 0 {
		b[0] = 1 // no media type begins so
	}
	return b
}

func sha(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func TestUploadResumeDownload(t *testing.T) {
	s := newServer(t, files.Limits{})
	content := noise(300_000)
	path := s.create(len(content), "filename", "été 写真.bin", "filetype", "image/png", "to", "m2")
	a := s.patch(path, 0, bytes.NewReader(content[:100_000]))
	s.want(a, http.StatusNoContent, "")
	if a.Header.Get("Upload-Offset") != "100000" {
		t.Errorf("Upload-Offset %q", a.Header.Get("Upload-Offset"))
	}
	if until, err := http.ParseTime(a.Header.Get("Upload-Expires")); err != nil || time.Until(until) < 23*time.Hour {
		t.Errorf("Upload-Expires %q", a.Header.Get("Upload-Expires"))
	}
	s.want(s.do("bob", "GET", path, nil), http.StatusNotFound, wire.CodeNotFound) // not yet
	a = s.do("alice", "HEAD", path, nil, "Tus-Resumable", "1.0.0")
	s.want(a, http.StatusOK, "")
	if a.Header.Get("Upload-Offset") != "100000" || a.Header.Get("Upload-Length") != "300000" || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("HEAD: %v", a.Header)
	}
	s.want(s.patch(path, 90_000, bytes.NewReader(content[90_000:])), http.StatusConflict, wire.CodeConflict)
	s.want(s.patch(path, 100_000, bytes.NewReader(content[100_000:])), http.StatusNoContent, "")

	if len(s.offers) != 1 {
		t.Fatalf("offers %+v", s.offers)
	}
	f := s.offers[0]
	if f.Path != path || f.SHA256 != sha(content) || f.Size != 300_000 || f.Name != "été 写真.bin" || f.Type != "application/octet-stream" {
		t.Errorf("offer %+v", f)
	}
	a = s.do("bob", "GET", f.Path, nil)
	s.want(a, http.StatusOK, "")
	if !bytes.Equal(a.body, content) {
		t.Error("other bytes")
	}
	for k, v := range map[string]string{
		"ETag": `"` + f.SHA256 + `"`, "Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff",
		"Content-Security-Policy": "default-src 'none'; sandbox", "Cache-Control": "private, no-cache", "Accept-Ranges": "bytes",
		"Content-Disposition": `attachment; filename="_t_ __.bin"; filename*=UTF-8''%C3%A9t%C3%A9%20%E5%86%99%E7%9C%9F.bin`,
	} {
		if got := a.Header.Get(k); got != v {
			t.Errorf("%s: %q, want %q", k, got, v)
		}
	}
	etag := a.Header.Get("ETag")
	a = s.do("bob", "GET", f.Path, nil, "Range", "bytes=200000-")
	s.want(a, http.StatusPartialContent, "")
	if !bytes.Equal(a.body, content[200_000:]) || a.Header.Get("Content-Range") != "bytes 200000-299999/300000" {
		t.Errorf("%d bytes, %s", len(a.body), a.Header.Get("Content-Range"))
	}
	a = s.do("bob", "GET", f.Path, nil, "Range", "bytes=0-9", "If-Range", `"other"`)
	s.want(a, http.StatusOK, "")
	s.want(s.do("bob", "GET", f.Path, nil, "Range", "bytes=300000-"), http.StatusRequestedRangeNotSatisfiable, "")
	s.want(s.do("bob", "GET", f.Path, nil, "If-None-Match", etag), http.StatusNotModified, "")
	a = s.do("bob", "HEAD", f.Path, nil)
	if a.StatusCode != http.StatusOK || a.ContentLength != 300_000 {
		t.Errorf("HEAD: %d, %d bytes", a.StatusCode, a.ContentLength)
	}
	// A client that lost the last answer learns that all is there.
	if a := s.do("alice", "HEAD", path, nil, "Tus-Resumable", "1.0.0"); a.Header.Get("Upload-Offset") != "300000" {
		t.Errorf("after the end: %v", a.Header)
	}
}

func TestOptionsTellsWhatTusNeeds(t *testing.T) {
	s := newServer(t, files.Limits{FileBytes: 1000})
	a := s.do("", "OPTIONS", fileapi.BasePath, nil)
	for k, v := range map[string]string{
		"Tus-Version": "1.0.0", "Tus-Resumable": "1.0.0", "Tus-Max-Size": "1000",
		"Tus-Extension":          "creation,creation-with-upload,termination,checksum,expiration",
		"Tus-Checksum-Algorithm": "sha1,sha256,sha512",
	} {
		if got := a.Header.Get(k); got != v || a.StatusCode != http.StatusOK {
			t.Errorf("%s: %q, want %q", k, got, v)
		}
	}
}

func TestCreationWithUpload(t *testing.T) {
	s := newServer(t, files.Limits{})
	content := noise(1000)
	headers := []string{"Tus-Resumable", "1.0.0", "Upload-Length", "1000", "Upload-Metadata", metadata("session", "s1", "id", "r1"),
		"Content-Type", "application/offset+octet-stream"}
	a := s.do("alice", "POST", fileapi.BasePath, bytes.NewReader(content[:600]), headers...)
	s.want(a, http.StatusCreated, "")
	path := a.Header.Get("Location")
	if a.Header.Get("Upload-Offset") != "600" {
		t.Errorf("offset %q", a.Header.Get("Upload-Offset"))
	}
	// The same request again: the same upload, and nothing is added twice.
	a = s.do("alice", "POST", fileapi.BasePath, bytes.NewReader(content[:600]), headers...)
	s.want(a, http.StatusCreated, "")
	if a.Header.Get("Location") != path || a.Header.Get("Upload-Offset") != "600" || a.Header.Get("Tus-Resumable") != "1.0.0" {
		t.Errorf("repeated: %v", a.Header)
	}
	s.want(s.patch(path, 600, bytes.NewReader(content[600:])), http.StatusNoContent, "")
	if len(s.offers) != 1 || s.offers[0].SHA256 != sha(content) {
		t.Errorf("offers %+v", s.offers)
	}
}

func TestEmptyFile(t *testing.T) {
	s := newServer(t, files.Limits{})
	path := s.put(nil, "filename", "empty.txt")
	a := s.do("bob", "GET", path, nil)
	s.want(a, http.StatusOK, "")
	if len(a.body) != 0 || len(s.offers) != 1 {
		t.Errorf("%q, %+v", a.body, s.offers)
	}
}

func TestTakeBack(t *testing.T) {
	s := newServer(t, files.Limits{})
	for _, path := range []string{s.create(10), s.put([]byte("finished"))} {
		s.want(s.do("bob", "DELETE", path, nil, "Tus-Resumable", "1.0.0"), http.StatusNotFound, wire.CodeNotFound)
		s.want(s.do("alice", "DELETE", path, nil, "Tus-Resumable", "1.0.0"), http.StatusNoContent, "")
		s.want(s.do("alice", "HEAD", path, nil, "Tus-Resumable", "1.0.0"), http.StatusNotFound, wire.CodeNotFound)
		s.want(s.do("bob", "GET", path, nil), http.StatusNotFound, wire.CodeNotFound)
	}
}

func TestMethodOverride(t *testing.T) {
	s := newServer(t, files.Limits{})
	path := s.create(3)
	s.want(s.do("alice", "POST", path, strings.NewReader("abc"), "X-HTTP-Method-Override", "PATCH", "Tus-Resumable", "1.0.0",
		"Content-Type", "application/offset+octet-stream", "Upload-Offset", "0"), http.StatusNoContent, "")
	// It changes nothing about who may do what.
	s.want(s.do("bob", "POST", path, nil, "X-HTTP-Method-Override", "DELETE", "Tus-Resumable", "1.0.0"), http.StatusNotFound, wire.CodeNotFound)
}

func TestRefusals(t *testing.T) {
	s := newServer(t, files.Limits{FileBytes: 1000, DeviceUploads: 2})
	good := metadata("session", "s1")
	stored := s.put([]byte("hello"))
	for _, c := range []struct {
		name, who, method, path string
		headers                 []string
		status                  int
		code                    wire.Code
	}{
		{"no token", "", "GET", stored, nil, 401, wire.CodeUnauthenticated},
		{"not a member", "mallory", "GET", stored, nil, 404, wire.CodeNotFound},
		{"other tenant", "other/alice", "GET", stored, nil, 404, wire.CodeNotFound},
		{"no such file", "alice", "GET", fileapi.BasePath + "fNONE", nil, 404, wire.CodeNotFound},
		{"a path", "alice", "GET", fileapi.BasePath + "..%2f..%2fetc%2fpasswd", nil, 404, wire.CodeNotFound},
		{"below a file", "alice", "GET", stored + "/raw", nil, 404, wire.CodeNotFound},
		{"no preview of text", "alice", "GET", stored + "/preview", nil, 404, wire.CodeNotFound},
		{"list", "alice", "GET", fileapi.BasePath, nil, 405, wire.CodeMethodNotAllowed},
		{"PUT", "alice", "PUT", stored, nil, 405, wire.CodeMethodNotAllowed},
		{"delete preview", "alice", "DELETE", stored + "/preview", nil, 405, wire.CodeMethodNotAllowed},
		{"no version", "alice", "POST", fileapi.BasePath, []string{"Upload-Length", "1", "Upload-Metadata", good}, 412, wire.CodeBadRequest},
		{"no version in PATCH", "alice", "PATCH", stored, nil, 412, wire.CodeBadRequest},
		{"other version", "alice", "POST", fileapi.BasePath, []string{"Tus-Resumable", "0.2.2"}, 412, wire.CodeBadRequest},
		{"no length", "alice", "POST", fileapi.BasePath, []string{"Upload-Metadata", good}, 400, wire.CodeBadRequest},
		{"negative length", "alice", "POST", fileapi.BasePath, []string{"Upload-Length", "-1", "Upload-Metadata", good}, 400, wire.CodeBadRequest},
		{"deferred length", "alice", "POST", fileapi.BasePath, []string{"Upload-Defer-Length", "1", "Upload-Metadata", good}, 400, wire.CodeBadRequest},
		{"concatenation", "alice", "POST", fileapi.BasePath, []string{"Upload-Concat", "partial", "Upload-Length", "1", "Upload-Metadata", good}, 400, wire.CodeBadRequest},
		{"no session", "alice", "POST", fileapi.BasePath, []string{"Upload-Length", "1"}, 400, wire.CodeBadRequest},
		{"unknown session", "alice", "POST", fileapi.BasePath, []string{"Upload-Length", "1", "Upload-Metadata", metadata("session", "s7")}, 404, wire.CodeNotMember},
		{"another's session", "mallory", "POST", fileapi.BasePath, []string{"Upload-Length", "1", "Upload-Metadata", good}, 404, wire.CodeNotMember},
		{"too large", "alice", "POST", fileapi.BasePath, []string{"Upload-Length", "1001", "Upload-Metadata", good}, 413, wire.CodeTooLarge},
		{"unknown checksum", "alice", "POST", fileapi.BasePath, []string{"Upload-Length", "1", "Upload-Metadata", good, "Upload-Checksum", "crc32 AAAA"}, 400, wire.CodeBadRequest},
		{"broken checksum", "alice", "PATCH", stored, []string{"Upload-Checksum", "sha1 AAAA"}, 400, wire.CodeBadRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			headers := c.headers
			if !strings.Contains(c.name, "version") && c.method != "GET" {
				headers = append([]string{"Tus-Resumable", "1.0.0"}, headers...)
			}
			s.t = t
			a := s.do(c.who, c.method, c.path, nil, headers...)
			s.want(a, c.status, c.code)
			if c.status == 401 && a.Header.Get("WWW-Authenticate") == "" {
				t.Error("no WWW-Authenticate")
			}
		})
	}
	s.t = t
	path := s.create(10)
	s.create(10)
	headers := []string{"Tus-Resumable", "1.0.0", "Upload-Length", "1", "Upload-Metadata", good}
	a := s.do("alice", "POST", fileapi.BasePath, nil, headers...)
	s.want(a, 429, wire.CodeTooMany)
	if a.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	s.want(s.patch(path, 0, strings.NewReader("more than ten bytes")), 413, wire.CodeTooLarge)
	s.want(s.patch(path, 0, strings.NewReader("x"), "Content-Type", "text/plain"), 400, wire.CodeBadRequest)
	s.closed = true
	s.want(s.patch(path, 0, strings.NewReader("x")), 410, wire.CodeSessionClosed)
	s.want(s.do("alice", "POST", fileapi.BasePath, nil, headers...), 410, wire.CodeSessionClosed)
	s.want(s.do("bob", "GET", stored, nil), 200, "") // what was sent can still be fetched
}

func TestNearlyFullDisk(t *testing.T) {
	s := newServer(t, files.Limits{Headroom: 1000})
	s.free.Store(1500)
	a := s.do("alice", "POST", fileapi.BasePath, nil, "Tus-Resumable", "1.0.0", "Upload-Length", "501", "Upload-Metadata", metadata("session", "s1"))
	s.want(a, http.StatusInsufficientStorage, wire.CodeStorageFull)
	s.create(500)
}

func TestChecksum(t *testing.T) {
	s := newServer(t, files.Limits{})
	content := noise(100)
	sum := sha1.Sum(content)
	right := "sha1 " + base64.StdEncoding.EncodeToString(sum[:])
	path := s.create(100)
	s.want(s.patch(path, 0, bytes.NewReader(noise(100)), "Upload-Checksum", right), 460, wire.CodeBadRequest)
	s.want(s.patch(path, 0, bytes.NewReader(content), "Upload-Checksum", right), http.StatusNoContent, "")
	if len(s.offers) != 1 || s.offers[0].SHA256 != sha(content) {
		t.Errorf("offers %+v", s.offers)
	}
}

func TestHostileNames(t *testing.T) {
	s := newServer(t, files.Limits{})
	for raw, want := range map[string]string{
		"../../etc/passwd":                "passwd",
		"a\x00\r\nX-Evil: 1.txt":          "aX-Evil_ 1.txt",
		"photo\u202Egpj.exe":              "photogpj.exe",
		strings.Repeat("x", 300) + ".txt": strings.Repeat("x", 196) + ".txt",
		"<script>alert(1)</script>":       "script_",
		`"; filename="evil.exe`:           "_; filename=_evil.exe",
		"":                                "file",
	} {
		path := s.put([]byte("hi"), "filename", raw)
		if got := s.offers[len(s.offers)-1].Name; got != want {
			t.Errorf("%q became %q, want %q", raw, got, want)
		}
		a := s.do("bob", "GET", path, nil)
		d := a.Header.Get("Content-Disposition")
		if !strings.HasPrefix(d, "attachment; ") || strings.Count(d, `"`) != 2 || a.Header.Get("X-Evil") != "" {
			t.Errorf("%q: %s", raw, d)
		}
	}
}

func TestPagesAreNotShown(t *testing.T) {
	s := newServer(t, files.Limits{})
	for _, content := range []string{"<!DOCTYPE html><script>alert(1)</script>", `<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>`} {
		a := s.do("bob", "GET", s.put([]byte(content), "filename", "photo.jpg", "filetype", "image/jpeg"), nil)
		if a.Header.Get("Content-Type") == "image/jpeg" || !strings.HasPrefix(a.Header.Get("Content-Disposition"), "attachment") ||
			!strings.Contains(a.Header.Get("Content-Security-Policy"), "sandbox") || a.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%v", a.Header)
		}
	}
}

// photo is a JPEG with a place in its Exif data.
func photo(t *testing.T, w, h int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, w, h)), nil); err != nil {
		t.Fatal(err)
	}
	exif := "Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00 51.5074N 0.1278W"
	n := len(exif) + 2
	return append([]byte("\xFF\xD8\xFF\xE1"+string([]byte{byte(n >> 8), byte(n)})+exif), b.Bytes()[2:]...)
}

func TestPhoto(t *testing.T) {
	s := newServer(t, files.Limits{})
	raw := photo(t, 800, 400)
	path := s.put(raw, "filename", "beach.jpg")
	f := s.offers[0]
	if f.Type != "image/jpeg" || f.Width != 400 || f.Height != 800 || f.Preview != path+"/preview" { // it lies on its side
		t.Errorf("offer %+v", f)
	}
	a := s.do("bob", "GET", path, nil)
	if bytes.Contains(a.body, []byte("51.5074N")) || sha(a.body) != f.SHA256 || int64(len(a.body)) != f.Size {
		t.Errorf("%d bytes; offered %+v", len(a.body), f)
	}
	if a := s.do("alice", "HEAD", path, nil, "Tus-Resumable", "1.0.0"); a.Header.Get("Upload-Offset") != strconv.Itoa(len(raw)) {
		t.Errorf("the uploader sees another length: %v", a.Header)
	}
	a = s.do("bob", "GET", f.Preview, nil)
	s.want(a, http.StatusOK, "")
	m, kind, err := image.Decode(bytes.NewReader(a.body))
	if err != nil || kind != "jpeg" || m.Bounds() != image.Rect(0, 0, 160, 320) || a.Header.Get("Content-Type") != "image/jpeg" {
		t.Errorf("preview: %s %v, %v", kind, m, err)
	}
	if bytes.Contains(a.body, []byte("51.5074N")) {
		t.Error("the preview tells the place")
	}
	s.want(s.do("bob", "GET", f.Preview, nil, "If-None-Match", a.Header.Get("ETag")), http.StatusNotModified, "")
	s.want(s.do("mallory", "GET", f.Preview, nil), http.StatusNotFound, wire.CodeNotFound)

	kept := s.put(raw, "filename", "beach.jpg", "keep_metadata", "1")
	if a := s.do("bob", "GET", kept, nil); !bytes.Equal(a.body, raw) {
		t.Error("keep_metadata: other bytes")
	}
}

func TestBombHasNoPreview(t *testing.T) {
	s := newServer(t, files.Limits{Pixels: 10_000})
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 200, 100))); err != nil {
		t.Fatal(err)
	}
	path := s.put(b.Bytes())
	if f := s.offers[0]; f.Preview != "" || f.Width != 200 || f.Type != "image/png" {
		t.Errorf("offer %+v", f)
	}
	s.want(s.do("bob", "GET", path+"/preview", nil), http.StatusNotFound, wire.CodeNotFound)
	s.want(s.do("bob", "GET", path, nil), http.StatusOK, "")
}

// hang is a PATCH over a bare connection that stalls after some of its bytes.
func (s *server) hang(path string, offset, length int, some []byte) net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "PATCH %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\nTus-Resumable: 1.0.0\r\n"+
		"Content-Type: application/offset+octet-stream\r\nUpload-Offset: %d\r\nContent-Length: %d\r\n\r\n%s", path, offset, length, some)
	return c
}

// offset asks how much is confirmed.
func (s *server) offset(path string) int {
	s.t.Helper()
	a := s.do("alice", "HEAD", path, nil, "Tus-Resumable", "1.0.0")
	s.want(a, http.StatusOK, "")
	n, err := strconv.Atoi(a.Header.Get("Upload-Offset"))
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// resume sends what is missing, as a client does after its connection broke. The broken one may
// come to the server only now, and push ours aside: then it looks again.
func (s *server) resume(path string, content []byte) {
	s.t.Helper()
	for {
		at := s.offset(path)
		a := s.patch(path, at, bytes.NewReader(content[at:]))
		if a.StatusCode == http.StatusNoContent {
			return
		}
		s.want(a, http.StatusConflict, wire.CodeConflict)
	}
}

func TestBrokenConnectionThenResume(t *testing.T) {
	s := newServer(t, files.Limits{})
	content := noise(500_000)
	path := s.create(len(content))
	s.hang(path, 0, len(content), content[:200_000]).Close()
	if at := s.offset(path); at > 200_000 {
		t.Fatalf("offset %d", at)
	}
	s.resume(path, content)
	if a := s.do("bob", "GET", path, nil); !bytes.Equal(a.body, content) {
		t.Error("other bytes")
	}
}

// TestStalePatchGivesWay: the server still waits on a connection that the client has
// long given up; the client's new one takes over.
func TestStalePatchGivesWay(t *testing.T) {
	s := newServer(t, files.Limits{})
	content := noise(500_000)
	for range 20 {
		path := s.create(len(content))
		stale := s.hang(path, 0, len(content), content[:100_000])
		s.resume(path, content)
		stale.Close()
		if a := s.do("bob", "GET", path, nil); !bytes.Equal(a.body, content) {
			t.Fatal("other bytes")
		}
	}
}

func TestConcurrentPatches(t *testing.T) {
	s := newServer(t, files.Limits{})
	content := noise(300_000)
	path := s.create(len(content))
	// All send the whole file; whoever is pushed aside looks where it is, and goes on.
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for {
				a, err := s.try("alice", "HEAD", path, nil, "Tus-Resumable", "1.0.0")
				if err != nil {
					t.Error(err)
					return
				}
				at, err := strconv.Atoi(a.Header.Get("Upload-Offset"))
				if err != nil {
					t.Errorf("%d: %v, %s", a.StatusCode, err, a.Header)
					return
				}
				if at == len(content) {
					return
				}
				// A broken answer is what this is about.
				_, _ = s.try("alice", "PATCH", path, bytes.NewReader(content[at:]), "Tus-Resumable", "1.0.0",
					"Content-Type", "application/offset+octet-stream", "Upload-Offset", strconv.Itoa(at))
			}
		})
	}
	group.Wait()
	a := s.do("bob", "GET", path, nil)
	if !bytes.Equal(a.body, content) || len(s.offers) != 1 {
		t.Errorf("%d bytes, %d offers", len(a.body), len(s.offers))
	}
}

func TestWhoMayAnswerWithAProblem(t *testing.T) {
	h, err := fileapi.New(fileapi.Config{Files: new(files.Service), Log: slog.New(slog.DiscardHandler), Who: func(*http.Request) (wire.TenantID, wire.DeviceID, error) {
		return "", "", fmt.Errorf("device: %w", wire.NewProblem(wire.CodeBindingExpired, "in May"))
	}})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", fileapi.BasePath+"f1", nil))
	if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "binding-expired") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if _, err := fileapi.New(fileapi.Config{}); err == nil {
		t.Error("an empty Config is accepted")
	}
}
