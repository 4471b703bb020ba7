// Package fileapi serves files over HTTP: uploads by the tus protocol 1.0.0 (core,
// creation, creation-with-upload, termination, checksum, expiration; see tus.io), on
// tusd's handler, and downloads with ranges. What is allowed is decided by
// internal/files.
//
//	OPTIONS /v1/files/               what the server can do
//	POST    /v1/files/               a new upload: Upload-Length, Upload-Metadata
//	HEAD    /v1/files/{id}           with Tus-Resumable: how much is confirmed
//	PATCH   /v1/files/{id}           bytes at Upload-Offset
//	DELETE  /v1/files/{id}           take it back, finished or not
//	GET     /v1/files/{id}           download (also HEAD without Tus-Resumable)
//	GET     /v1/files/{id}/preview   a small picture
//
// Keys of Upload-Metadata: session (required), filename, to (member ids, with commas),
// id (the request id: the same id, the same upload), keep_metadata. filetype is taken and
// not believed. The last PATCH is answered once the file is synced, described and, as
// a rule, offered to the session.
package fileapi

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	tus "github.com/tus/tusd/v2/pkg/handler"
	xslog "golang.org/x/exp/slog"

	"github.com/tandem-call/tandem/internal/files"
	"github.com/tandem-call/tandem/wire"
)

// BasePath is where the handler is mounted.
const BasePath = "/v1/files/"

// What a CORS policy has to allow and expose so that pages of other origins can use tus;
// the handler itself answers no CORS question.
const (
	AllowMethods  = "GET, HEAD, POST, PATCH, DELETE, OPTIONS"
	AllowHeaders  = "Authorization, Content-Type, If-None-Match, If-Range, Range, Tus-Resumable, Upload-Checksum, Upload-Length, Upload-Metadata, Upload-Offset, X-HTTP-Method-Override, X-Request-ID"
	ExposeHeaders = "Accept-Ranges, Content-Disposition, Content-Range, ETag, Location, Tus-Checksum-Algorithm, Tus-Extension, Tus-Max-Size, Tus-Resumable, Tus-Version, Upload-Expires, Upload-Length, Upload-Metadata, Upload-Offset"
)

// extensions of tus that are offered beside what tusd knows of.
const extensions = "creation,creation-with-upload,termination,checksum,expiration"

// Config of a Handler.
type Config struct {
	Files *files.Service // required
	// Who authenticates a request. An error that is a *wire.Problem is told as it is; any
	// other as unauthenticated. Required.
	Who func(r *http.Request) (wire.TenantID, wire.DeviceID, error)
	// Silence is how long a body may stall before the request is given up. Default: 60 s.
	Silence time.Duration
	Log     *slog.Logger // required
}

// Handler serves BasePath and what is below.
type Handler struct {
	c   Config
	tus *tus.UnroutedHandler
	// upload is what tusd does once we have let a request pass.
	upload http.Handler
}

// New returns the Handler.
func New(c Config) (*Handler, error) {
	if c.Files == nil || c.Who == nil || c.Log == nil {
		return nil, errors.New("fileapi: Config needs Files, Who and Log")
	}
	composer := tus.NewStoreComposer()
	data := &uploads{files: c.Files, locks: newLocker(), log: c.Log}
	composer.UseCore(data)
	composer.UseTerminater(data)
	composer.UseLocker(data.locks)
	h := &Handler{c: c}
	var err error
	h.tus, err = tus.NewUnroutedHandler(tus.Config{
		StoreComposer:        composer,
		BasePath:             BasePath,
		MaxSize:              c.Files.MaxBytes(),
		DisableConcatenation: true,
		DisableDownload:      true,
		Cors:                 &tus.CorsConfig{Disable: true},
		NetworkTimeout:       c.Silence,
		// tusd logs paths and every request; the store logs what went wrong.
		Logger: xslog.New(xslog.NewTextHandler(io.Discard, &xslog.HandlerOptions{Level: xslog.LevelError + 1})),
	})
	if err != nil {
		return nil, fmt.Errorf("fileapi: %w", err)
	}
	h.upload = http.StripPrefix(BasePath, h.tus.Middleware(http.HandlerFunc(h.route)))
	return h, nil
}

// route leads a request that was let pass to tusd; the path has no BasePath any more.
func (h *Handler) route(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPost:
		h.tus.PostFile(w, r)
	case http.MethodHead:
		h.tus.HeadFile(w, r)
	case http.MethodPatch:
		h.tus.PatchFile(w, r)
	case http.MethodDelete:
		h.tus.DelFile(w, r)
	}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if m := r.Header.Get("X-HTTP-Method-Override"); m != "" && r.Method == http.MethodPost {
		r = r.Clone(r.Context())
		r.Method = m
		r.Header.Del("X-HTTP-Method-Override")
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method == http.MethodOptions {
		w.Header().Set("Tus-Checksum-Algorithm", checksumNames)
		h.upload.ServeHTTP(&tusWriter{ResponseWriter: w}, r)
		return
	}
	tenant, device, err := h.c.Who(r)
	if err != nil {
		var p *wire.Problem
		if !errors.As(err, &p) {
			p = wire.NewProblem(wire.CodeUnauthenticated, "send a bearer token")
		}
		if p.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		writeProblem(w, r, p)
		return
	}
	q := &request{tenant: tenant, device: device, http1: r.ProtoMajor == 1}
	id, sub, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, BasePath), "/")
	switch isTus := r.Header.Get("Tus-Resumable") != ""; {
	case id == "" && sub == "":
		if r.Method == http.MethodPost {
			h.create(w, r, q)
			return
		}
		h.notAllowed(w, r, "OPTIONS, POST")
	case sub == "preview":
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.notAllowed(w, r, "GET, HEAD")
			return
		}
		h.preview(w, r, q, wire.FileID(id))
	case sub != "":
		writeProblem(w, r, wire.NewProblem(wire.CodeNotFound, "no such address"))
	case r.Method == http.MethodGet, r.Method == http.MethodHead && !isTus:
		h.download(w, r, q, wire.FileID(id))
	case r.Method == http.MethodHead, r.Method == http.MethodPatch, r.Method == http.MethodDelete:
		h.resume(w, r, q, wire.FileID(id))
	default:
		h.notAllowed(w, r, "DELETE, GET, HEAD, OPTIONS, PATCH")
	}
}

func (h *Handler) notAllowed(w http.ResponseWriter, r *http.Request, allowed string) {
	w.Header().Set("Allow", allowed)
	writeProblem(w, r, wire.NewProblem(wire.CodeMethodNotAllowed, "use one of %s", allowed))
}

// fail answers with the problem that err is.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	writeProblem(w, r, problem(h.c.Log, err))
}

// create makes an upload, and lets tusd take the bytes that came along.
func (h *Handler) create(w http.ResponseWriter, r *http.Request, q *request) {
	n, err := parseCreation(r)
	if err == nil {
		q.sum, err = parseChecksum(r.Header.Get("Upload-Checksum"))
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	n.Tenant, n.Device = q.tenant, q.device
	rec, repeated, err := h.c.Files.Create(r.Context(), n)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	setExpires(w, rec)
	if repeated {
		// What the first request brought is there; the client goes on from the offset.
		w.Header().Set("Tus-Resumable", "1.0.0")
		w.Header().Set("Location", BasePath+string(rec.ID))
		w.Header().Set("Upload-Offset", strconv.FormatInt(rec.Offset, 10))
		w.WriteHeader(http.StatusCreated)
		return
	}
	q.created = rec
	h.serve(w, r, q)
}

// resume is about an upload that the device has made before.
func (h *Handler) resume(w http.ResponseWriter, r *http.Request, q *request, id wire.FileID) {
	var err error
	if q.sum, err = parseChecksum(r.Header.Get("Upload-Checksum")); err != nil {
		h.fail(w, r, err)
		return
	}
	rec, err := h.c.Files.Upload(r.Context(), q.tenant, q.device, id)
	if err == nil && r.Method != http.MethodDelete && rec.Complete() {
		// A failure or a crash may have left the rest to do.
		err = h.c.Files.Finish(r.Context(), q.tenant, q.device, id)
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	if r.Method != http.MethodDelete {
		setExpires(w, rec)
	}
	h.serve(w, r, q)
}

// serve hands the request to tusd.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, q *request) {
	t := &tusWriter{ResponseWriter: w, method: r.Method, q: q}
	h.upload.ServeHTTP(t, r.WithContext(withRequest(r.Context(), q)))
	t.finish()
}

func setExpires(w http.ResponseWriter, r files.Record) {
	if !r.Complete() && !r.Expires.IsZero() {
		w.Header().Set("Upload-Expires", r.Expires.UTC().Format(http.TimeFormat))
	}
}

// download serves the file. Browsers must save it, and if one shows it all the same, it
// stands alone in a sandbox.
func (h *Handler) download(w http.ResponseWriter, r *http.Request, q *request, id wire.FileID) {
	rec, content, err := h.c.Files.Download(r.Context(), q.tenant, q.device, id)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	defer content.Close()
	w.Header().Set("Content-Type", rec.Type)
	w.Header().Set("Content-Disposition", disposition(rec.Name))
	w.Header().Set("ETag", `"`+rec.SHA256+`"`)
	serveContent(w, r, rec, content)
}

func (h *Handler) preview(w http.ResponseWriter, r *http.Request, q *request, id wire.FileID) {
	rec, content, err := h.c.Files.Preview(r.Context(), q.tenant, q.device, id)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	defer content.Close()
	w.Header().Set("Content-Type", rec.Preview)
	w.Header().Set("Content-Disposition", "inline")
	w.Header().Set("ETag", `"`+rec.SHA256+`-preview"`)
	serveContent(w, r, rec, content)
}

func serveContent(w http.ResponseWriter, r *http.Request, rec files.Record, content io.ReadSeeker) {
	w.Header().Set("Content-Security-Policy", "default-src 'none'; sandbox")
	// It never changes, but who may have it does.
	w.Header().Set("Cache-Control", "private, no-cache")
	http.ServeContent(w, r, "", rec.Created, content)
}

// disposition is a Content-Disposition with the name for old and for new clients
// (RFC 6266 4.3, RFC 8187).
func disposition(name string) string {
	plain := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || strings.ContainsRune(`"\%;`, c) {
			return '_'
		}
		return c
	}, name)
	var ext strings.Builder
	for i := range len(name) {
		if c := name[i]; c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$&+-.^_`|~", c) >= 0 {
			ext.WriteByte(c)
		} else {
			fmt.Fprintf(&ext, "%%%02X", c)
		}
	}
	return fmt.Sprintf(`attachment; filename="%s"; filename*=UTF-8''%s`, plain, ext.String())
}

// parseCreation reads the headers of a creation.
func parseCreation(r *http.Request) (n files.NewUpload, err error) {
	if r.Header.Get("Tus-Resumable") != "1.0.0" {
		return n, tus.ErrUnsupportedVersion
	}
	if r.Header.Get("Upload-Defer-Length") != "" || r.Header.Get("Upload-Concat") != "" {
		return n, fmt.Errorf("%w: the length must be declared (Upload-Length), and parts are not joined", files.ErrInvalid)
	}
	if n.Length, err = strconv.ParseInt(r.Header.Get("Upload-Length"), 10, 64); err != nil || n.Length < 0 {
		return n, fmt.Errorf("%w: Upload-Length is not a number of bytes", files.ErrInvalid)
	}
	meta := tus.ParseMetadataHeader(r.Header.Get("Upload-Metadata"))
	n.Session = wire.SessionID(meta["session"])
	n.Request = wire.RequestID(meta["id"])
	n.Name = meta["filename"]
	for m := range strings.SplitSeq(meta["to"], ",") {
		if m = strings.TrimSpace(m); m != "" {
			n.To = append(n.To, wire.MemberID(m))
		}
	}
	if v, ok := meta["keep_metadata"]; ok {
		n.KeepMetadata = v != "0" && v != "false" && v != "no"
	}
	return n, nil
}
