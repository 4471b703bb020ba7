// Package archive carries the whole content of a storage engine to another one, of the same
// kind or not: [Write] writes an archive, [Read] fills an empty engine from it, and [Sum]
// reads an engine as Write does, for the audit that both have the same.
//
// An archive is JSON, one [line] after the other: a first one with the format, then records
// by table and key, logs with their entries, counters and files, and a last one with the
// [Summary]. Revisions and epochs are the new engine's own, so that readers notice; sequences
// and times of entries stay.
package archive

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/tandem-call/tandem/internal/store"
)

// Format is what the first line of an archive says.
const Format = "tandem-archive 1"

var (
	// ErrNotEmpty: an engine that is to be filled has something already.
	ErrNotEmpty = errors.New("archive: the engine is not empty")
	// ErrIncomplete: an archive has no end, or is not what was written.
	ErrIncomplete = errors.New("archive: it is incomplete or damaged")
	// ErrDiffers: what was read back from the engine is not what the archive has.
	ErrDiffers = errors.New("archive: the engine has not what the archive has")
	// ErrUnfinished: an engine was being filled, and is not full.
	ErrUnfinished = errors.New("archive: an import into this store was not finished")
)

// Files is where the bytes of files are, by name. All of it is read and written.
type Files interface {
	// Names walks the names, in any order.
	Names() iter.Seq2[string, error]
	Open(name string) (io.ReadCloser, error)
	// Write makes the file as a whole.
	Write(name string, from io.Reader) error
}

// Content is what an archive is of.
type Content struct {
	Engine store.Portable
	// Files; nil: none.
	Files Files
	// Derived tables are left out; Derive makes them anew from the others where they are needed.
	Derived []string
	Derive  func(context.Context) error
}

// Summary of a content. Two contents with the same Digest are the same.
type Summary struct {
	Tables   int    `json:"tables"`
	Records  int    `json:"records"`
	Logs     int    `json:"logs"`
	Entries  int    `json:"entries"`
	Counters int    `json:"counters"`
	Files    int    `json:"files"`
	Bytes    int64  `json:"bytes"`  // of values, entries and files
	Digest   string `json:"digest"` // SHA-256 over all names and contents, in hexadecimal
}

// line of an archive; what is empty is left out.
type line struct {
	Format  string    `json:"format,omitempty"`
	Made    time.Time `json:"made,omitzero"`
	Table   string    `json:"table,omitempty"`
	Key     string    `json:"key,omitempty"`
	Log     string    `json:"log,omitempty"`
	Seq     uint64    `json:"seq,omitempty"`
	Epoch   uint64    `json:"epoch,omitempty"`
	Time    time.Time `json:"time,omitzero"`
	Counter string    `json:"counter,omitempty"`
	Count   int64     `json:"count,omitempty"`
	File    string    `json:"file,omitempty"`
	At      int64     `json:"at,omitempty"` // offset of Data in the file
	Data    []byte    `json:"data,omitempty"`
	End     *Summary  `json:"end,omitempty"`
}

// piece is how much of a file one line has, and page how many entries are read at once.
const (
	piece = 512 << 10
	page  = 256
)

// walk calls yield with the content, line by line, in the order of the archive: all that was acknowledged before.
func (c Content) walk(ctx context.Context, yield func(line) error) error {
	ctx = store.Linearizable(ctx)
	tables, err := c.Engine.Tables(ctx)
	if err != nil {
		return err
	}
	for _, table := range tables {
		if slices.Contains(c.Derived, table) || table == markTable {
			continue
		}
		for r, err := range c.Engine.Scan(ctx, table, "") {
			if err != nil {
				return err
			}
			if err := yield(line{Table: table, Key: r.Key, Data: r.Value}); err != nil {
				return err
			}
		}
	}
	logs, err := c.Engine.Logs(ctx)
	if err != nil {
		return err
	}
	for _, log := range logs {
		for after := uint64(0); ; {
			entries, err := c.Engine.Read(ctx, log, after, page)
			if err != nil {
				return err
			}
			if len(entries) == 0 {
				break
			}
			for _, e := range entries {
				after = e.Seq
				if err := yield(line{Log: log, Seq: e.Seq, Epoch: e.Epoch, Time: e.Time.UTC(), Data: e.Data}); err != nil {
					return err
				}
			}
		}
	}
	counters, err := c.Engine.Counters(ctx)
	if err != nil {
		return err
	}
	for _, counter := range counters {
		n, err := c.Engine.Add(ctx, counter, 0)
		if err != nil {
			return err
		}
		if err := yield(line{Counter: counter, Count: n}); err != nil {
			return err
		}
	}
	return c.walkFiles(ctx, yield)
}

func (c Content) walkFiles(ctx context.Context, yield func(line) error) error {
	if c.Files == nil {
		return nil
	}
	var names []string
	for name, err := range c.Files.Names() {
		if err != nil {
			return err
		}
		names = append(names, name)
	}
	slices.Sort(names)
	b := make([]byte, piece)
	for _, name := range slices.Compact(names) {
		f, err := c.Files.Open(name)
		if err != nil {
			return err
		}
		for at, more := int64(0), true; more && err == nil; {
			var n int
			if n, err = io.ReadFull(f, b); err == io.EOF || err == io.ErrUnexpectedEOF {
				err, more = nil, false
			}
			if err == nil && (n > 0 || at == 0) {
				err = yield(line{File: name, At: at, Data: b[:n]})
				at += int64(n)
			}
			err = errors.Join(err, ctx.Err())
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// tally counts and sums lines.
type tally struct {
	Summary
	digest           hash.Hash
	table, log, file string
}

func newTally() *tally { return &tally{digest: sha256.New()} }

func (t *tally) add(l line) {
	switch {
	case l.Table != "":
		if l.Table != t.table {
			t.table = l.Table
			t.Tables++
		}
		t.Records++
		t.sum("record", l.Table, l.Key, 0, 0, l.Data)
	case l.Log != "":
		if l.Log != t.log {
			t.log = l.Log
			t.Logs++
		}
		t.Entries++
		t.sum("entry", l.Log, "", l.Seq, uint64(l.Time.UnixNano()), l.Data)
	case l.Counter != "":
		t.Counters++
		t.sum("counter", l.Counter, "", uint64(l.Count), 0, nil)
	case l.File != "":
		if l.File != t.file {
			t.file = l.File
			t.Files++
		}
		t.sum("file", l.File, "", uint64(l.At), 0, l.Data)
	}
	t.Bytes += int64(len(l.Data))
}

func (t *tally) sum(kind, name, key string, n, m uint64, data []byte) {
	b := make([]byte, 0, 64+len(name)+len(key))
	for _, s := range []string{kind, name, key} {
		b = append(binary.BigEndian.AppendUint64(b, uint64(len(s))), s...)
	}
	b = binary.BigEndian.AppendUint64(b, n)
	b = binary.BigEndian.AppendUint64(b, m)
	b = binary.BigEndian.AppendUint64(b, uint64(len(data)))
	t.digest.Write(b)
	t.digest.Write(data)
}

func (t *tally) end() Summary {
	t.Digest = hex.EncodeToString(t.digest.Sum(nil))
	return t.Summary
}

// Write writes an archive of c. Nothing may write to c meanwhile: the content is read a
// second time, and if it is not the same Write fails.
func Write(ctx context.Context, c Content, to io.Writer) (Summary, error) {
	if err := Finished(ctx, c.Engine); err != nil {
		return Summary{}, err
	}
	w := bufio.NewWriter(to)
	out := json.NewEncoder(w)
	if err := out.Encode(line{Format: Format, Made: time.Now().UTC()}); err != nil {
		return Summary{}, fmt.Errorf("archive: %w", err)
	}
	t := newTally()
	if err := c.walk(ctx, func(l line) error {
		t.add(l)
		return out.Encode(l)
	}); err != nil {
		return Summary{}, fmt.Errorf("archive: write: %w", err)
	}
	sum := t.end()
	again, err := Sum(ctx, c)
	if err != nil {
		return sum, err
	}
	if again != sum {
		return sum, fmt.Errorf("archive: the content changed while it was read, from %+v to %+v; stop all servers that use it", sum, again)
	}
	if err := errors.Join(out.Encode(line{End: &sum}), w.Flush()); err != nil {
		return sum, fmt.Errorf("archive: %w", err)
	}
	return sum, nil
}

// Sum reads all of c.
func Sum(ctx context.Context, c Content) (Summary, error) {
	t := newTally()
	if err := c.walk(ctx, func(l line) error { t.add(l); return nil }); err != nil {
		return Summary{}, fmt.Errorf("archive: sum: %w", err)
	}
	return t.end(), nil
}

// markTable has a record while an engine is being filled.
const (
	markTable = "archive"
	markKey   = "unfinished"
)

// Finished returns ErrUnfinished for an engine in which Read was broken off.
func Finished(ctx context.Context, e store.Engine) error {
	_, err := e.Get(ctx, markTable, markKey)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return ErrUnfinished
}

// decoder reads lines; values are at most store.MaxValue long.
type decoder struct{ in *bufio.Scanner }

func newDecoder(r io.Reader) decoder {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 64<<10), base64.StdEncoding.EncodedLen(store.MaxValue)+64<<10)
	return decoder{in}
}

func (d decoder) next() (l line, err error) {
	if !d.in.Scan() {
		return l, errors.Join(ErrIncomplete, d.in.Err())
	}
	if err := json.Unmarshal(d.in.Bytes(), &l); err != nil {
		return l, errors.Join(ErrIncomplete, err)
	}
	return l, nil
}
