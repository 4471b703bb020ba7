package fileapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	tus "github.com/tus/tusd/v2/pkg/handler"

	"github.com/tandem-call/tandem/internal/files"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

const problemType = "application/problem+json"

// statusChecksum is tus's own status code (Checksum extension).
const statusChecksum = 460

// problems is the one table from errors to published codes. With status, the problem
// keeps the code but bears the status that tus prescribes.
var problems = []struct {
	err    error
	code   wire.Code
	status int
	detail string // empty: the error's own text
}{
	{files.ErrNotFound, wire.CodeNotFound, 0, "no such file for this device"},
	{files.ErrNotMember, wire.CodeNotMember, 0, "files go into sessions of this device"},
	{files.ErrClosed, wire.CodeSessionClosed, 0, "the session takes no more files"},
	{files.ErrInvalid, wire.CodeBadRequest, 0, ""},
	{files.ErrTooLarge, wire.CodeTooLarge, 0, ""},
	{files.ErrTooMany, wire.CodeTooMany, 0, "too many unfinished uploads: complete or delete one"},
	{files.ErrFull, wire.CodeStorageFull, 0, "there is no room for this file now"},
	{files.ErrChecksum, wire.CodeBadRequest, statusChecksum, "the bytes do not match Upload-Checksum; none was kept"},
	{files.ErrUncleanable, wire.CodeUnsupportedType, 0, "the metadata of pictures of this kind cannot be removed; send a JPEG, PNG, GIF, WebP, HEIC or AVIF, or upload it with keep_metadata to send it as it is"},
	{files.ErrDamagedPicture, wire.CodeUnsupportedType, 0, "the picture is damaged, so that its metadata cannot be removed; upload it with keep_metadata to send it as it is"},
	{files.ErrConflict, wire.CodeConflict, 0, ""},
	{store.ErrUncertain, wire.CodeUncertain, 0, "repeat the request"},
	{store.ErrClosed, wire.CodeDraining, 0, "connect again"},
	{context.Canceled, wire.CodeUncertain, 0, "the request was broken off"},
	{tus.ErrUnsupportedVersion, wire.CodeBadRequest, http.StatusPreconditionFailed, "send Tus-Resumable: 1.0.0"},
}

// problem returns what a client is told of err; what it is not told is logged.
func problem(log *slog.Logger, err error) *wire.Problem {
	var known *wire.Problem
	if errors.As(err, &known) {
		return known
	}
	for _, row := range problems {
		if !errors.Is(err, row.err) {
			continue
		}
		detail := row.detail
		if detail == "" {
			detail = strings.TrimPrefix(err.Error(), "files: ")
		}
		p := wire.NewProblem(row.code, "%s", detail)
		if row.status != 0 {
			p.Status = row.status
		}
		if row.code == wire.CodeTooMany {
			p.RetryAfterSeconds = 60
		}
		return p
	}
	log.Error("request about a file failed", "error", err)
	return wire.NewProblem(wire.CodeInternal, "the server could not do it; repeat the request")
}

func encode(p *wire.Problem) []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return b
}

func writeProblem(w http.ResponseWriter, r *http.Request, p *wire.Problem) {
	if p.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.RetryAfterSeconds))
	}
	if r.Header.Get("Tus-Resumable") != "" {
		w.Header().Set("Tus-Resumable", "1.0.0")
	}
	if p.Status == http.StatusPreconditionFailed {
		w.Header().Set("Tus-Version", "1.0.0")
	}
	w.Header().Set("Content-Type", problemType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		w.Write(encode(p))
	}
}

// tusWriter turns tusd's answers into ours: errors become problems, the Location a path
// (which is right behind any proxy), and the extensions those that there are.
type tusWriter struct {
	http.ResponseWriter
	method string
	q      *request // nil for OPTIONS
	status int      // of an error that is held back
	body   bytes.Buffer
}

// Unwrap is for http.ResponseController.
func (t *tusWriter) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *tusWriter) WriteHeader(status int) {
	h := t.Header()
	if l := h.Get("Location"); l != "" {
		if u, err := url.Parse(l); err == nil {
			h.Set("Location", u.Path)
		}
	}
	if t.q != nil && t.q.stopped && t.q.http1 {
		// tusd stops a request by a deadline on its connection, and may do so late: no
		// other request must travel on it.
		h.Set("Connection", "close")
	}
	if h.Get("Tus-Extension") != "" {
		h.Set("Tus-Extension", extensions)
	}
	if status >= 400 {
		t.status = status
		return
	}
	t.ResponseWriter.WriteHeader(status)
}

func (t *tusWriter) Write(b []byte) (int, error) {
	if t.status != 0 {
		return t.body.Write(b)
	}
	return t.ResponseWriter.Write(b)
}

// finish sends an error that was held back.
func (t *tusWriter) finish() {
	if t.status == 0 {
		return
	}
	h := t.Header()
	if strings.HasPrefix(t.body.String(), tus.ErrUploadInterrupted.ErrorCode) {
		// tusd says 400, after which clients give up; but they can resume.
		t.status = http.StatusConflict
	}
	if h.Get("Content-Type") != problemType {
		t.body = *bytes.NewBuffer(encode(tusProblem(t.status, t.body.String())))
		h.Set("Content-Type", problemType)
	}
	h.Del("Content-Length")
	h.Set("Cache-Control", "no-store")
	t.ResponseWriter.WriteHeader(t.status)
	if t.method != http.MethodHead {
		t.ResponseWriter.Write(t.body.Bytes())
	}
}

// tusProblem is the problem for an error of tusd's own, "ERR_CODE: text".
func tusProblem(status int, text string) *wire.Problem {
	code := wire.CodeBadRequest
	switch {
	case status == http.StatusNotFound:
		code = wire.CodeNotFound
	case status == http.StatusConflict, status == http.StatusLocked:
		code = wire.CodeConflict
	case status == http.StatusRequestEntityTooLarge:
		code = wire.CodeTooLarge
	case status == http.StatusServiceUnavailable:
		code = wire.CodeDraining
	case status >= 500:
		code = wire.CodeUncertain // a time-out or a lost connection: resume
	}
	_, detail, found := strings.Cut(strings.TrimSpace(text), ": ")
	if !found {
		detail = text
	}
	p := wire.NewProblem(code, "%s", detail)
	p.Status = status
	return p
}
