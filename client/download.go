package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tandem-call/tandem/wire"
)

// FileOf reads the offer in a message of kind file.
func FileOf(e wire.Envelope) (wire.File, error) {
	var f wire.File
	if e.Kind != wire.KindFile {
		return f, fmt.Errorf("%w: a message of kind %q offers none", ErrFile, e.Kind)
	}
	if err := json.Unmarshal(e.Body, &f); err != nil {
		return f, fmt.Errorf("%w: %w", ErrFile, err)
	}
	if !wire.ValidID(string(f.ID)) || f.Size < 0 || len(f.SHA256) != hex.EncodedLen(sha256.Size) {
		return f, fmt.Errorf("%w: the offer is not complete", ErrFile)
	}
	return f, nil
}

// Download fetches a file that was offered, into dir, under its own name made harmless
// ([SafeName]) and unique, and returns the path. What a lost connection, or an earlier run
// of the program, has left unfinished is taken up again. The content is checked against
// the offer's SHA-256. progress may be nil. ErrFile where the disk or the content is at
// fault, also where the same file is being fetched into dir already.
func (a *API) Download(ctx context.Context, f wire.File, dir string, progress func(got, size int64)) (string, error) {
	if !wire.ValidID(string(f.ID)) || f.Size < 0 {
		return "", fmt.Errorf("%w: the offer has no valid id or size", ErrFile)
	}
	if _, err := a.url(f.Path); err != nil {
		return "", fmt.Errorf("%w: %w", ErrFile, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("%w: %w", ErrFile, err)
	}
	part := filepath.Join(dir, "."+string(f.ID)+".part")
	if !a.claim(part, true) {
		return "", fmt.Errorf("%w: %s is being fetched already", ErrFile, f.ID)
	}
	defer a.claim(part, false)
	out, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrFile, err)
	}
	defer out.Close()
	d := &download{file: f, out: out, sum: sha256.New(), progress: progress}
	if d.got, err = io.Copy(d.sum, out); err != nil {
		return "", fmt.Errorf("%w: %w", ErrFile, err)
	}
	if err := a.fill(ctx, d); err != nil {
		return "", err
	}
	if err := errors.Join(out.Sync(), out.Close()); err != nil {
		return "", fmt.Errorf("%w: %w", ErrFile, err)
	}
	return place(part, dir, f.Name)
}

// claim takes a partial download for one caller, or gives it back.
func (a *API) claim(part string, take bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !take {
		delete(a.parts, part)
		return true
	}
	free := !a.parts[part]
	a.parts[part] = true
	return free
}

// download is a file on its way.
type download struct {
	file     wire.File
	out      *os.File
	sum      hash.Hash // of what is in out
	got      int64     // bytes in out
	progress func(got, size int64)
	ferr     error // of out
}

// restart begins anew.
func (d *download) restart() error {
	d.sum.Reset()
	d.got = 0
	_, err := d.out.Seek(0, io.SeekStart)
	if err = errors.Join(err, d.out.Truncate(0)); err != nil {
		return fmt.Errorf("%w: %w", ErrFile, err)
	}
	return nil
}

// Write takes what arrives.
func (d *download) Write(b []byte) (int, error) {
	n, err := d.out.Write(b)
	d.sum.Write(b[:n])
	d.got += int64(n)
	d.ferr = err
	if d.progress != nil {
		d.progress(d.got, d.file.Size)
	}
	return n, err
}

func (d *download) whole() bool {
	return d.got == d.file.Size && strings.EqualFold(hex.EncodeToString(d.sum.Sum(nil)), d.file.SHA256)
}

// fill fetches what is missing. What was left by an earlier run may be anything: if the
// whole does not have the right digest, it is fetched anew, once.
func (a *API) fill(ctx context.Context, d *download) error {
	trusted := d.got == 0
	t := newTries()
	for !d.whole() {
		if d.got >= d.file.Size {
			if trusted {
				return errors.Join(fmt.Errorf("%w: %s arrived damaged", ErrFile, d.file.ID), d.restart())
			}
			trusted = true
			if err := d.restart(); err != nil {
				return err
			}
		}
		before := d.got
		err := a.fetch(ctx, d)
		if d.got > before {
			t.progress()
		}
		if err != nil && !a.again(ctx, t, err) {
			return err
		}
	}
	return nil
}

// fetch reads from where we stand to the end.
func (a *API) fetch(ctx context.Context, d *download) error {
	// A connection that says nothing for so long is lost.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(stallTimeout, func() { cancel(errSilence) })
	defer silent.Stop()
	header := http.Header{}
	if d.got > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", d.got))
		header.Set("If-Range", `"`+strings.ToLower(d.file.SHA256)+`"`) // else all of it, please (RFC 9110 13.1.5)
	}
	res, err := a.send(ctx, http.MethodGet, d.file.Path, header, nil)
	if isStatus(err, http.StatusRequestedRangeNotSatisfiable) {
		return d.restart()
	}
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusPartialContent {
		var from int64
		if _, err := fmt.Sscanf(res.Header.Get("Content-Range"), "bytes %d-", &from); err != nil || from != d.got {
			return fmt.Errorf("%w: %q is not the range that was asked for", ErrProtocol, res.Header.Get("Content-Range"))
		}
	} else if d.got > 0 {
		if err := d.restart(); err != nil {
			return err
		}
	}
	body := &alive{res.Body, func() { silent.Reset(stallTimeout) }}
	_, err = io.Copy(d, io.LimitReader(body, d.file.Size-d.got))
	switch {
	case d.ferr != nil:
		return fmt.Errorf("%w: %w", ErrFile, d.ferr)
	case err == nil && d.got < d.file.Size:
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("client: download: %w", err)
	}
	return nil
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
		// An empty file keeps the name for us; not every file system has hard links.
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err == nil {
			if err = errors.Join(f.Close(), os.Rename(part, path)); err != nil {
				err = errors.Join(err, os.Remove(path))
			}
		}
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrFile, err)
		}
		return path, nil
	}
}

// maxName is the longest name that SafeName returns, in bytes: file systems allow 255,
// and a number may be added.
const maxName = 200

// deviceNames are no names for files on Windows, with whatever extension.
var deviceNames = map[string]bool{"con": true, "prn": true, "aux": true, "nul": true, "conin$": true, "conout$": true}

// SafeName reduces a name from the other side to one that is harmless in a folder, on
// any operating system: no path, nothing invisible or turning the text around, not
// hidden, not a device's, at most 200 bytes of UTF-8. The extension is kept.
func SafeName(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError, strings.ContainsRune(`/\:*?"<>|`, r), unicode.IsControl(r):
			return '_'
		case unicode.Is(unicode.Cf, r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r): // invisible, or turns the direction
			return -1
		case unicode.IsSpace(r):
			return ' '
		}
		return r
	}, name)
	name = strings.TrimRight(strings.TrimLeft(name, ". "), ". ")
	if len(name) > maxName {
		ext := filepath.Ext(name)
		if len(ext) > 20 {
			ext = ""
		}
		stem := strings.TrimSuffix(name, ext)
		for len(stem)+len(ext) > maxName {
			_, size := utf8.DecodeLastRuneInString(stem)
			stem = stem[:len(stem)-size]
		}
		name = stem + ext
	}
	base, _, _ := strings.Cut(strings.ToLower(name), ".")
	base = strings.TrimRight(base, " ")
	if rest, ok := strings.CutPrefix(base, "com"); ok && len([]rune(rest)) == 1 {
		name = "_" + name
	} else if rest, ok := strings.CutPrefix(base, "lpt"); ok && len([]rune(rest)) == 1 || deviceNames[base] {
		name = "_" + name
	}
	if name == "" {
		return "file"
	}
	return name
}
