// Package filestore keeps the bytes of files on a local disk: it is the Disk of
// internal/files. Nothing that it has confirmed is lost in a crash: a file is synced
// before it is renamed into place, and its directory after each change of a name.
//
// The directory holds parts, contents and previews, one file per id; what ends in .tmp
// was being written when a crash came, and is removed by Open.
package filestore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tandem-call/tandem/internal/files"
	"github.com/tandem-call/tandem/wire"
)

// Config of a Store.
type Config struct {
	// Dir is made if need be. Required.
	Dir string
	// Free returns the bytes free at dir. Nil: as the operating system says.
	Free func(dir string) (int64, error)
}

// Store is a files.Disk.
type Store struct {
	dir  string
	free func(string) (int64, error)
	sys  system
}

var _ files.Disk = (*Store)(nil)

const tmp = ".tmp"

var areas = []files.Area{files.Parts, files.Contents, files.Previews}

// Open returns the Store in c.Dir and removes what a crash left half written.
func Open(c Config) (*Store, error) { return open(c, osSystem{}) }

func open(c Config, sys system) (*Store, error) {
	if c.Dir == "" {
		return nil, errors.New("filestore: Config names no Dir")
	}
	if c.Free == nil {
		c.Free = freeSpace
	}
	s := &Store{dir: c.Dir, free: c.Free, sys: sys}
	for _, a := range areas {
		dir := filepath.Join(c.Dir, string(a))
		if err := sys.MkdirAll(dir); err != nil {
			return nil, fmt.Errorf("filestore: %w", err)
		}
		names, err := sys.List(dir)
		if err != nil {
			return nil, fmt.Errorf("filestore: %w", err)
		}
		for name := range names {
			if !strings.HasSuffix(name, tmp) {
				continue
			}
			if err := sys.Remove(filepath.Join(dir, name)); err != nil {
				return nil, fmt.Errorf("filestore: %w", err)
			}
		}
		if err := sys.SyncDir(dir); err != nil {
			return nil, fmt.Errorf("filestore: %w", err)
		}
	}
	for _, dir := range []string{c.Dir, filepath.Dir(filepath.Clean(c.Dir))} {
		if err := sys.SyncDir(dir); err != nil {
			return nil, fmt.Errorf("filestore: %w", err)
		}
	}
	return s, nil
}

// path of an id. The id comes checked, but a path is worth checking twice.
func (s *Store) path(a files.Area, id wire.FileID) (string, error) {
	if !wire.ValidID(string(id)) {
		return "", fmt.Errorf("filestore: %q cannot name a file", id)
	}
	return filepath.Join(s.dir, string(a), string(id)), nil
}

func (s *Store) syncDir(a files.Area) error { return s.sys.SyncDir(filepath.Join(s.dir, string(a))) }

// Append implements files.Disk.
func (s *Store) Append(id wire.FileID, at int64) (files.Part, error) {
	path, err := s.path(files.Parts, id)
	if err != nil {
		return nil, err
	}
	f, err := s.sys.OpenFile(path, os.O_RDWR, 0)
	made := errors.Is(err, fs.ErrNotExist) && at == 0
	if made {
		f, err = s.sys.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("filestore: %w: %w", files.ErrDamaged, err)
	}
	if err != nil {
		return nil, fault(err)
	}
	p := &part{f}
	size, err := f.Seek(0, io.SeekEnd)
	switch {
	case err != nil:
	case size < at:
		err = fmt.Errorf("%w: %d of %d confirmed bytes", files.ErrDamaged, size, at)
	case size > at:
		err = p.Cut(at)
	}
	if err == nil && made {
		err = s.syncDir(files.Parts)
	}
	if err != nil {
		return nil, errors.Join(fault(err), f.Close())
	}
	return p, nil
}

// part is an open upload; it writes at its end.
type part struct{ file }

func (p *part) Write(b []byte) (int, error) {
	n, err := p.file.Write(b)
	return n, fault(err)
}

func (p *part) Sync() error { return fault(p.file.Sync()) }

func (p *part) Cut(size int64) error {
	if err := p.Truncate(size); err != nil {
		return fault(err)
	}
	_, err := p.Seek(size, io.SeekStart)
	return fault(err)
}

// Open implements files.Disk.
func (s *Store) Open(a files.Area, id wire.FileID) (files.Content, error) {
	path, err := s.path(a, id)
	if err != nil {
		return nil, err
	}
	f, err := s.sys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, fault(err)
	}
	return f, nil
}

// Write implements files.Disk.
func (s *Store) Write(a files.Area, id wire.FileID, fill func(io.Writer) error) (err error) {
	path, err := s.path(a, id)
	if err != nil {
		return err
	}
	f, err := s.sys.OpenFile(path+tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fault(err)
	}
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = s.sys.Rename(path+tmp, path)
	}
	if err != nil {
		return errors.Join(fault(err), s.sys.Remove(path+tmp))
	}
	return fault(s.syncDir(a))
}

// Move implements files.Disk.
func (s *Store) Move(id wire.FileID) error {
	from, err := s.path(files.Parts, id)
	if err != nil {
		return err
	}
	to, err := s.path(files.Contents, id)
	if err != nil {
		return err
	}
	// The new name first: until then a crash may bring back the old one.
	return fault(errors.Join(s.sys.Rename(from, to), s.syncDir(files.Contents), s.syncDir(files.Parts)))
}

// Remove implements files.Disk.
func (s *Store) Remove(id wire.FileID, in ...files.Area) error {
	for _, a := range in {
		path, err := s.path(a, id)
		if err != nil {
			return err
		}
		err = s.sys.Remove(path)
		if err == nil {
			err = s.syncDir(a)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fault(err)
		}
	}
	return nil
}

// Free implements files.Disk.
func (s *Store) Free() (int64, error) {
	n, err := s.free(s.dir)
	return n, fault(err)
}

// List implements files.Disk.
func (s *Store) List() iter.Seq2[wire.FileID, time.Time] {
	return func(yield func(wire.FileID, time.Time) bool) {
		for _, a := range areas {
			names, err := s.sys.List(filepath.Join(s.dir, string(a)))
			if err != nil {
				continue // what cannot be listed is not removed
			}
			for name, changed := range names {
				if wire.ValidID(name) && !yield(wire.FileID(name), changed) {
					return
				}
			}
		}
	}
}

// fault names the package, and a full disk as what it is.
func fault(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("filestore: %w: %w", files.ErrFull, err)
	}
	return fmt.Errorf("filestore: %w", err)
}
