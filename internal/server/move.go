package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/tandem-call/tandem/internal/files"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/internal/store/archive"
	"github.com/tandem-call/tandem/wire"
)

// filesBySession is the table of files.Config.BySession, derived from the records of files.
const filesBySession = "files-by-session"

// ExportData writes all that the servers of a configuration have kept, records, messages,
// counters and files, as an archive. No server may run on it.
func ExportData(ctx context.Context, cfg Config, to io.Writer) (archive.Summary, error) {
	if cfg.Engine.NATS == "" {
		if _, err := os.Stat(filepath.Join(cfg.Data, StoreDir)); err != nil {
			return archive.Summary{}, fmt.Errorf("server: export: there is no data: %w", err)
		}
	}
	return moving(ctx, cfg, func(c archive.Content) (archive.Summary, error) {
		return archive.Write(ctx, c, to)
	})
}

// ImportData fills the engine of a configuration, and its file store, from an archive. The
// engine must be empty. Devices are told to forget what they know of sessions, and read it anew.
func ImportData(ctx context.Context, cfg Config, from io.Reader) (archive.Summary, error) {
	return moving(ctx, cfg, func(c archive.Content) (archive.Summary, error) {
		if cfg.Engine.NATS != "" {
			c.Derive = func(ctx context.Context) error {
				return files.Reindex(ctx, store.TableOf[files.Record](c.Engine, "files"), store.TableOf[files.Place](c.Engine, filesBySession))
			}
		}
		return archive.Read(ctx, from, c)
	})
}

// moving opens what a configuration names for f.
func moving(ctx context.Context, cfg Config, f func(archive.Content) (archive.Summary, error)) (sum archive.Summary, err error) {
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return sum, fmt.Errorf("server: %w", err)
	}
	e, err := openEngine(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	s := &Server{cfg: cfg, log: slog.New(slog.DiscardHandler), engine: e}
	disk, _, err := s.openFiles(ctx)
	if err != nil {
		return sum, err
	}
	return f(archive.Content{Engine: e, Files: allFiles{disk}, Derived: []string{filesBySession}})
}

// allFiles are the files of a Disk, by "area/id".
type allFiles struct{ files.Disk }

var areas = []files.Area{files.Parts, files.Contents, files.Previews}

func (d allFiles) Names() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for id := range d.List() {
			for _, a := range areas {
				c, err := d.Disk.Open(a, id)
				if errors.Is(err, fs.ErrNotExist) {
					continue
				}
				if err == nil {
					err = c.Close()
				}
				if !yield(string(a)+"/"+string(id), err) {
					return
				}
			}
		}
	}
}

func (d allFiles) Open(name string) (io.ReadCloser, error) {
	a, id, _ := strings.Cut(name, "/")
	return d.Disk.Open(files.Area(a), wire.FileID(id))
}

func (d allFiles) Write(name string, from io.Reader) error {
	a, id, _ := strings.Cut(name, "/")
	if files.Area(a) != files.Parts {
		return d.Disk.Write(files.Area(a), wire.FileID(id), func(to io.Writer) error {
			_, err := io.Copy(to, from)
			return err
		})
	}
	p, err := d.Append(wire.FileID(id), 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(p, from)
	if err == nil {
		err = p.Sync()
	}
	return errors.Join(err, p.Close())
}
