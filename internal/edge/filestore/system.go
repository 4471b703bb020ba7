package filestore

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// system is the part of the operating system that matters to what is durable; tests
// stand in for it.
type system interface {
	OpenFile(name string, flag int, perm fs.FileMode) (file, error)
	Rename(from, to string) error
	Remove(name string) error
	MkdirAll(name string) error
	// List returns the names in a directory, with the times of their last change.
	List(dir string) (map[string]time.Time, error)
	// SyncDir makes the names in a directory durable.
	SyncDir(name string) error
}

type file interface {
	io.ReadWriteSeeker
	io.ReaderAt
	io.Closer
	Sync() error
	Truncate(size int64) error
}

type osSystem struct{}

func (osSystem) OpenFile(name string, flag int, perm fs.FileMode) (file, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osSystem) Rename(from, to string) error { return os.Rename(from, to) }
func (osSystem) Remove(name string) error     { return os.Remove(name) }

func (osSystem) MkdirAll(name string) error { return os.MkdirAll(name, 0o700) }

func (osSystem) List(dir string) (map[string]time.Time, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make(map[string]time.Time, len(entries))
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		names[e.Name()] = info.ModTime()
	}
	return names, nil
}

func (osSystem) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// freeSpace asks the file system, for a user without privileges.
func freeSpace(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
