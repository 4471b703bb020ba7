package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tandem-call/tandem/wire"
)

// ErrFile: a file cannot be sent or received as asked.
var ErrFile = errors.New("client: file")

// Upload says what to send into a session. Uploads are resumable (tus 1.0): after a cut
// connection they go on where the server stands.
type Upload struct {
	Session wire.SessionID
	// To lists the members addressed; empty: all others.
	To []wire.MemberID
	// Content is read from its start, and again from an offset after a cut.
	Content io.ReadSeeker
	// Size of the content, in bytes.
	Size int64
	Name string
	// Type is what the sender takes it for; the server looks for itself.
	Type string
	// KeepMetadata leaves place and camera in a picture; otherwise the server strips them.
	KeepMetadata bool
	// ID makes repeating the upload harmless; empty: a fresh one.
	ID wire.RequestID
	// Progress is called as the server confirms; may be nil.
	Progress func(sent, size int64)
}

// chunk is what one request carries: progress is known, and a cut costs, once per chunk.
const chunk = 4 << 20

// uploadPatience is how long an upload tries to go on without any progress.
const uploadPatience = 2 * time.Minute

// Upload sends a file. It returns when the server has stored all of it and told the
// members.
func (a *API) Upload(ctx context.Context, u Upload) error {
	if u.ID == "" {
		u.ID = wire.RequestID(wire.NewID("u"))
	}
	location, err := a.createUpload(ctx, u)
	if err != nil {
		return err
	}
	for offset, failures, last := int64(0), 0, time.Now(); ; {
		if u.Progress != nil {
			u.Progress(offset, u.Size)
		}
		if offset == u.Size {
			return nil // an empty file is complete when it is created
		}
		next, err := a.patch(ctx, location, u, offset)
		if err == nil {
			offset, failures, last = next, 0, time.Now()
			continue
		}
		var p *wire.Problem
		if errors.As(err, &p) && !wire.Catalogue[p.Code].Retry || ctx.Err() != nil || time.Since(last) > uploadPatience {
			return err
		}
		failures++
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(5*time.Second, 100*time.Millisecond<<min(failures, 6)) + time.Duration(rand.Int64N(int64(100*time.Millisecond)))):
		}
		at, err := a.uploadOffset(ctx, location)
		switch {
		case err == nil:
			offset = at
		case isCode(err, wire.CodeNotFound):
			return err
		}
	}
}

func (a *API) createUpload(ctx context.Context, u Upload) (string, error) {
	req, err := a.request(ctx, http.MethodPost, "/v1/files/", nil)
	if err != nil {
		return "", err
	}
	to := make([]string, len(u.To))
	for i, m := range u.To {
		to[i] = string(m)
	}
	meta := map[string]string{"session": string(u.Session), "filename": u.Name, "filetype": u.Type, "id": string(u.ID), "to": strings.Join(to, ",")}
	if u.KeepMetadata {
		meta["keep_metadata"] = "true"
	}
	var pairs []string
	for k, v := range meta {
		if v != "" {
			pairs = append(pairs, k+" "+base64.StdEncoding.EncodeToString([]byte(v)))
		}
	}
	req.Header.Set("Tus-Resumable", "1.0.0")
	req.Header.Set("Upload-Length", strconv.FormatInt(u.Size, 10))
	req.Header.Set("Upload-Metadata", strings.Join(pairs, ","))
	res, err := a.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrFile, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		return "", problemOf(res)
	}
	location, err := url.Parse(res.Header.Get("Location"))
	if err != nil {
		return "", fmt.Errorf("%w: the server named no address for the upload: %w", ErrFile, err)
	}
	// Behind a proxy the server may know itself by another name: only the path counts.
	return location.Path, nil
}

// patch sends one chunk and returns the offset that the server confirmed.
func (a *API) patch(ctx context.Context, location string, u Upload, offset int64) (int64, error) {
	if _, err := u.Content.Seek(offset, io.SeekStart); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrFile, err)
	}
	n := min(chunk, u.Size-offset)
	body := make([]byte, n)
	if _, err := io.ReadFull(u.Content, body); err != nil {
		return 0, fmt.Errorf("%w: %s became shorter while it was sent: %w", ErrFile, u.Name, err)
	}
	req, err := a.request(ctx, http.MethodPatch, location, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Tus-Resumable", "1.0.0")
	req.Header.Set("Upload-Offset", strconv.FormatInt(offset, 10))
	req.Header.Set("Content-Type", "application/offset+octet-stream")
	res, err := a.http.Do(req)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrFile, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		return 0, problemOf(res)
	}
	return strconv.ParseInt(res.Header.Get("Upload-Offset"), 10, 64)
}

func (a *API) uploadOffset(ctx context.Context, location string) (int64, error) {
	req, err := a.request(ctx, http.MethodHead, location, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Tus-Resumable", "1.0.0")
	res, err := a.http.Do(req)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrFile, err)
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK, http.StatusNoContent:
		return strconv.ParseInt(res.Header.Get("Upload-Offset"), 10, 64)
	case http.StatusNotFound, http.StatusGone:
		return 0, wire.NewProblem(wire.CodeNotFound, "the unfinished upload is no longer there")
	}
	return 0, fmt.Errorf("%w: the server answered %s", ErrFile, res.Status)
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

// FileOf reads the offer in a message of kind file.
func FileOf(e wire.Envelope) (wire.File, error) {
	var f wire.File
	if e.Kind != wire.KindFile {
		return f, fmt.Errorf("%w: a message of kind %q offers none", ErrFile, e.Kind)
	}
	if err := json.Unmarshal(e.Body, &f); err != nil {
		return f, fmt.Errorf("%w: %w", ErrFile, err)
	}
	return f, nil
}

// Get writes what is at a path of the server's (a preview, a schema) to w, and returns
// how many bytes that was.
func (a *API) Get(ctx context.Context, path string, w io.Writer) (int64, error) {
	req, err := a.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return 0, err
	}
	res, err := a.http.Do(req)
	if err != nil {
		return 0, fmt.Errorf("client: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return 0, problemOf(res)
	}
	n, err := io.Copy(w, res.Body)
	if err != nil {
		return n, fmt.Errorf("client: %s: %w", path, err)
	}
	return n, nil
}

// Download fetches a file that was offered, into dir, under its own name made harmless
// and unique, and returns the path. A partial download is taken up again. The content
// is checked against the offer's SHA-256.
func (a *API) Download(ctx context.Context, f wire.File, dir string, progress func(got, size int64)) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("%w: %w", ErrFile, err)
	}
	if !wire.ValidID(string(f.ID)) {
		return "", fmt.Errorf("%w: the offer has no valid id", ErrFile)
	}
	part := filepath.Join(dir, "."+string(f.ID)+".part")
	out, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrFile, err)
	}
	defer out.Close()
	sum := sha256.New()
	got, err := io.Copy(sum, out)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrFile, err)
	}
	for failures := 0; got < f.Size; {
		n, err := a.fetch(ctx, f, out, sum, got, progress)
		if got += n; n > 0 {
			failures = 0
		}
		if err == nil {
			break
		}
		var p *wire.Problem
		if failures++; errors.As(err, &p) && !wire.Catalogue[p.Code].Retry || ctx.Err() != nil || failures > 8 {
			return "", err
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(100 * time.Millisecond << failures):
		}
	}
	if h := hex.EncodeToString(sum.Sum(nil)); got != f.Size || h != f.SHA256 {
		os.Remove(part)
		return "", fmt.Errorf("%w: %s arrived damaged; fetch it again", ErrFile, f.Name)
	}
	if err := out.Sync(); err != nil {
		return "", fmt.Errorf("%w: %w", ErrFile, err)
	}
	return place(part, dir, f.Name)
}

// fetch reads from an offset to the end.
func (a *API) fetch(ctx context.Context, f wire.File, out io.Writer, sum hash.Hash, from int64, progress func(got, size int64)) (int64, error) {
	req, err := a.request(ctx, http.MethodGet, f.Path, nil)
	if err != nil {
		return 0, err
	}
	if from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	res, err := a.http.Do(req)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrFile, err)
	}
	defer res.Body.Close()
	if want := map[bool]int{true: http.StatusPartialContent, false: http.StatusOK}[from > 0]; res.StatusCode != want {
		return 0, problemOf(res)
	}
	w := io.MultiWriter(out, sum, meter(func(n int64) {
		if progress != nil {
			progress(from+n, f.Size)
		}
	}))
	n, err := io.Copy(w, io.LimitReader(res.Body, f.Size-from))
	if err != nil {
		return n, fmt.Errorf("%w: %w", ErrFile, err)
	}
	return n, nil
}

// meter tells how much has been written to it.
func meter(tell func(n int64)) io.Writer { return &counter{tell: tell} }

type counter struct {
	n    int64
	tell func(int64)
}

func (c *counter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	c.tell(c.n)
	return len(b), nil
}

// place gives the finished file its name, never over another's.
func place(part, dir, name string) (string, error) {
	name = SafeName(name)
	ext := filepath.Ext(name)
	stem := strings.TrimSuffix(name, ext)
	for i := 1; ; i++ {
		path := filepath.Join(dir, name)
		if i > 1 {
			path = filepath.Join(dir, fmt.Sprintf("%s (%d)%s", stem, i, ext))
		}
		switch err := os.Link(part, path); {
		case err == nil:
			return path, os.Remove(part)
		case !errors.Is(err, os.ErrExist):
			return "", fmt.Errorf("%w: %w", ErrFile, err)
		}
	}
}

// SafeName reduces a name from the other side to one that is harmless in a folder.
func SafeName(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r < 0x20 || r == 0x7f, strings.ContainsRune(`/\:*?"<>|`, r):
			return '_'
		case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f: // direction overrides
			return -1
		}
		return r
	}, name)
	name = strings.TrimLeft(strings.TrimSpace(name), ".")
	for len(name) > 200 {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	if name == "" {
		return "file"
	}
	return name
}
