package client

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// ErrFile: a file cannot be sent or received as asked.
var ErrFile = errors.New("client: file")

// Upload says what to send into a session.
type Upload struct {
	Session wire.SessionID
	// To lists the members addressed; empty: all others.
	To []wire.MemberID
	// Content is read from its start, and again from an offset after a cut.
	Content io.ReadSeeker
	// Size of the content, in bytes.
	Size int64
	// Name to offer to the others; a path's last part is enough.
	Name string
	// Type is what the sender takes it for; the server looks for itself.
	Type string
	// KeepMetadata leaves place and camera in a picture; otherwise the server strips them.
	KeepMetadata bool
	// ID makes repeating the upload harmless, also by a restarted program; empty: a fresh one.
	ID wire.RequestID
	// Progress is called with what the server has confirmed, from 0 to Size; may be nil.
	Progress func(sent, size int64)
}

// chunk is what one request carries: progress is known, and a cut costs, once per chunk.
const chunk = 4 << 20

// patience is how long uploads and downloads try to go on without any progress.
const patience = 2 * time.Minute

// tries counts the failures of a transfer since its last progress.
type tries struct {
	failures int
	last     time.Time
}

func newTries() *tries { return &tries{last: time.Now()} }

func (t *tries) progress() { t.failures, t.last = 0, time.Now() }

// again waits, and reports whether to try again after err.
func (a *API) again(ctx context.Context, t *tries, err error) bool {
	if !retryable(err) || final(err) || errors.Is(err, ErrFile) || ctx.Err() != nil || time.Since(t.last) > patience {
		return false
	}
	a.http.CloseIdleConnections() // they may be dead too
	wait := min(backoff(t.failures, err), 5*time.Second)
	t.failures++
	return pause(ctx, wait)
}

// Upload sends a file. It returns when the server has stored all of it and told the
// members. Uploads are resumable (tus 1.0, https://tus.io/protocols/resumable-upload):
// after a lost connection, or a restart of the server, they go on where it stands, as
// long as there is progress every two minutes. ErrFile where the content is at fault.
func (a *API) Upload(ctx context.Context, u Upload) error {
	if u.Content == nil || u.Size < 0 {
		return fmt.Errorf("%w: an upload needs a content and its size", ErrFile)
	}
	if u.ID == "" {
		u.ID = wire.RequestID(wire.NewID("u"))
	}
	t := newTries()
	var location string
	var offset int64
	for {
		var err error
		// Creating it again, by its id, finds the upload that a lost answer spoke of.
		if location, offset, err = a.createUpload(ctx, u); err == nil {
			break
		}
		if !a.again(ctx, t, err) {
			return err
		}
	}
	confirmed := func() {
		t.progress()
		if u.Progress != nil {
			u.Progress(offset, u.Size)
		}
	}
	confirmed()
	for {
		var next int64
		var err error
		if offset < u.Size {
			next, err = a.patch(ctx, location, u, offset)
		} else {
			next, err = a.uploadOffset(ctx, location) // asking has done what a cut has left
		}
		if err != nil {
			if !a.again(ctx, t, err) {
				return err
			}
			if next, err = a.uploadOffset(ctx, location); isStatus(err, http.StatusNotFound, http.StatusGone) {
				return fmt.Errorf("client: the unfinished upload is no longer there: %w", err)
			} else if err != nil {
				continue
			}
		}
		if next < 0 || next > u.Size {
			return fmt.Errorf("%w: offset %d of %d", ErrProtocol, next, u.Size)
		}
		if next != offset {
			offset = next
			confirmed()
		}
		if offset == u.Size {
			return nil
		}
	}
}

// tusHeader is what every request of the protocol carries.
func tusHeader() http.Header { return http.Header{"Tus-Resumable": {"1.0.0"}} }

// createUpload returns the address of the upload, and how much of it is there.
func (a *API) createUpload(ctx context.Context, u Upload) (location string, offset int64, err error) {
	to := make([]string, len(u.To))
	for i, m := range u.To {
		to[i] = string(m)
	}
	meta := []struct{ key, value string }{
		{"session", string(u.Session)}, {"id", string(u.ID)}, {"filename", u.Name}, {"filetype", u.Type}, {"to", strings.Join(to, ",")},
	}
	if u.KeepMetadata {
		meta = append(meta, struct{ key, value string }{"keep_metadata", "true"})
	}
	var pairs []string
	for _, m := range meta {
		if m.value != "" {
			pairs = append(pairs, m.key+" "+base64.StdEncoding.EncodeToString([]byte(m.value)))
		}
	}
	header := tusHeader()
	header.Set("Upload-Length", strconv.FormatInt(u.Size, 10))
	header.Set("Upload-Metadata", strings.Join(pairs, ","))
	res, err := a.send(ctx, http.MethodPost, "/v1/files/", header, nil)
	if err != nil {
		return "", 0, err
	}
	defer res.Body.Close()
	at, err := url.Parse(res.Header.Get("Location"))
	if err != nil || res.StatusCode != http.StatusCreated || at.Path == "" {
		return "", 0, fmt.Errorf("%w: the server named no address for the upload", ErrProtocol)
	}
	if s := res.Header.Get("Upload-Offset"); s != "" {
		if offset, err = strconv.ParseInt(s, 10, 64); err != nil {
			return "", 0, fmt.Errorf("%w: Upload-Offset %q", ErrProtocol, s)
		}
	}
	// Behind a proxy the server may know itself by another name: only the path counts.
	return at.Path, offset, nil
}

// patch sends one chunk and returns the offset that the server confirmed.
func (a *API) patch(ctx context.Context, location string, u Upload, offset int64) (int64, error) {
	if _, err := u.Content.Seek(offset, io.SeekStart); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrFile, err)
	}
	body := make([]byte, min(chunk, u.Size-offset))
	if _, err := io.ReadFull(u.Content, body); err != nil {
		return 0, fmt.Errorf("%w: the content became shorter while it was sent: %w", ErrFile, err)
	}
	header := tusHeader()
	header.Set("Upload-Offset", strconv.FormatInt(offset, 10))
	header.Set("Content-Type", "application/offset+octet-stream")
	return a.offsetAfter(ctx, http.MethodPatch, location, header, body)
}

// uploadOffset asks how much is confirmed.
func (a *API) uploadOffset(ctx context.Context, location string) (int64, error) {
	return a.offsetAfter(ctx, http.MethodHead, location, tusHeader(), nil)
}

func (a *API) offsetAfter(ctx context.Context, method, location string, header http.Header, body []byte) (int64, error) {
	res, err := a.send(ctx, method, location, header, body)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	n, err := strconv.ParseInt(res.Header.Get("Upload-Offset"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: Upload-Offset: %w", ErrProtocol, err)
	}
	return n, nil
}

// SendFile sends the file at path into a session (see Upload).
func (a *API) SendFile(ctx context.Context, session wire.SessionID, path string, progress func(sent, size int64), to ...wire.MemberID) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFile, err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFile, err)
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a regular file", ErrFile, path)
	}
	return a.Upload(ctx, Upload{Session: session, To: to, Content: f, Size: st.Size(), Name: filepath.Base(path), Progress: progress})
}
