package filestore

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/files"
	"github.com/tandem-call/tandem/wire"
)

// memory is a system that forgets in a crash whatever was not synced: bytes of a file,
// names of a directory.
type memory struct {
	mu            sync.Mutex
	live, durable map[string]*inode
	room          int // bytes that can still be written; negative: no limit
}

type inode struct{ data, synced []byte }

func newMemory() *memory {
	return &memory{live: map[string]*inode{}, durable: map[string]*inode{}, room: -1}
}

// crash is a power cut.
func (m *memory) crash() {
	m.live = maps.Clone(m.durable)
	for _, n := range m.live {
		n.data = bytes.Clone(n.synced)
	}
}

func (m *memory) OpenFile(name string, flag int, _ fs.FileMode) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.live[name]
	if n == nil {
		if flag&os.O_CREATE == 0 {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		n = &inode{}
		m.live[name] = n
	}
	if flag&os.O_TRUNC != 0 {
		n.data = nil
	}
	return &memoryFile{m: m, n: n}, nil
}

func (m *memory) Rename(from, to string) error {
	m.live[to] = m.live[from]
	delete(m.live, from)
	return nil
}

func (m *memory) Remove(name string) error {
	if m.live[name] == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	delete(m.live, name)
	return nil
}

func (m *memory) MkdirAll(string) error { return nil }

func (m *memory) List(dir string) (map[string]time.Time, error) {
	names := map[string]time.Time{}
	for name := range m.live {
		if filepath.Dir(name) == dir {
			names[filepath.Base(name)] = time.Time{}
		}
	}
	return names, nil
}

func (m *memory) SyncDir(dir string) error {
	maps.DeleteFunc(m.durable, func(name string, _ *inode) bool { return filepath.Dir(name) == dir })
	for name, n := range m.live {
		if filepath.Dir(name) == dir {
			m.durable[name] = n
		}
	}
	return nil
}

type memoryFile struct {
	m  *memory
	n  *inode
	at int64
}

func (f *memoryFile) Read(b []byte) (int, error) {
	n, err := f.ReadAt(b, f.at)
	f.at += int64(n)
	return n, err
}

func (f *memoryFile) ReadAt(b []byte, at int64) (int, error) {
	return bytes.NewReader(f.n.data).ReadAt(b, at)
}

func (f *memoryFile) Write(b []byte) (int, error) {
	if f.m.room >= 0 && len(b) > f.m.room {
		b = b[:f.m.room]
	}
	f.n.data = append(f.n.data[:f.at], b...)
	f.at += int64(len(b))
	if f.m.room >= 0 {
		f.m.room -= len(b)
		if f.m.room == 0 {
			return len(b), syscall.ENOSPC
		}
	}
	return len(b), nil
}

func (f *memoryFile) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekEnd {
		offset += int64(len(f.n.data))
	}
	f.at = offset
	return offset, nil
}

func (f *memoryFile) Truncate(size int64) error { f.n.data = f.n.data[:size]; return nil }
func (f *memoryFile) Sync() error               { f.n.synced = bytes.Clone(f.n.data); return nil }
func (f *memoryFile) Close() error              { return nil }

func newStore(t *testing.T, sys system) *Store {
	t.Helper()
	s, err := open(Config{Dir: "/d"}, sys)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func read(t *testing.T, s *Store, a files.Area, id wire.FileID) (string, bool) {
	t.Helper()
	c, err := s.Open(a, id)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), true
}

func TestWhatWasConfirmedSurvivesACrash(t *testing.T) {
	fill := func(text string) func(io.Writer) error {
		return func(w io.Writer) error { _, err := io.WriteString(w, text); return err }
	}
	appendTo := func(t *testing.T, s *Store, id wire.FileID, at int64, synced, more string) {
		t.Helper()
		p, err := s.Append(id, at)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(p, synced)
		if err := p.Sync(); err != nil {
			t.Fatal(err)
		}
		io.WriteString(p, more)
		p.Close()
	}
	for _, c := range []struct {
		name string
		do   func(t *testing.T, s *Store)
		want map[files.Area]string
	}{
		{"append", func(t *testing.T, s *Store) { appendTo(t, s, "f", 0, "kept", "lost") }, map[files.Area]string{files.Parts: "kept"}},
		{"append twice", func(t *testing.T, s *Store) {
			appendTo(t, s, "f", 0, "one", "")
			appendTo(t, s, "f", 3, "two", "")
		}, map[files.Area]string{files.Parts: "onetwo"}},
		{"append cuts what was not confirmed", func(t *testing.T, s *Store) {
			appendTo(t, s, "f", 0, "one", "torn")
			appendTo(t, s, "f", 3, "two", "")
		}, map[files.Area]string{files.Parts: "onetwo"}},
		{"write", func(t *testing.T, s *Store) {
			if err := s.Write(files.Contents, "f", fill("whole")); err != nil {
				t.Fatal(err)
			}
		}, map[files.Area]string{files.Contents: "whole"}},
		{"write fails", func(t *testing.T, s *Store) {
			stop := errors.New("stop")
			err := s.Write(files.Contents, "f", func(w io.Writer) error { fill("half")(w); return stop })
			if !errors.Is(err, stop) {
				t.Fatal(err)
			}
		}, nil},
		{"move", func(t *testing.T, s *Store) {
			appendTo(t, s, "f", 0, "kept", "")
			if err := s.Move("f"); err != nil {
				t.Fatal(err)
			}
		}, map[files.Area]string{files.Contents: "kept"}},
		{"remove", func(t *testing.T, s *Store) {
			appendTo(t, s, "f", 0, "kept", "")
			if err := s.Write(files.Previews, "f", fill("small")); err != nil {
				t.Fatal(err)
			}
			if err := s.Remove("f", files.Parts, files.Contents, files.Previews); err != nil {
				t.Fatal(err)
			}
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMemory()
			c.do(t, newStore(t, m))
			m.crash()
			s := newStore(t, m)
			for _, a := range areas {
				want, has := c.want[a]
				if got, ok := read(t, s, a, "f"); got != want || ok != has {
					t.Errorf("%s: %q, %v; want %q, %v", a, got, ok, want, has)
				}
			}
			for name := range m.live {
				if strings.HasSuffix(name, tmp) {
					t.Errorf("left over: %s", name)
				}
			}
		})
	}
}

func TestCrashWhileWriting(t *testing.T) {
	m := newMemory()
	s := newStore(t, m)
	func() {
		defer func() { _ = recover() }()
		_ = s.Write(files.Contents, "f", func(w io.Writer) error {
			io.WriteString(w, "half")
			panic("crash")
		})
	}()
	m.durable = maps.Clone(m.live) // the name got to the disk by chance
	m.crash()
	newStore(t, m)
	if len(m.live) != 0 {
		t.Errorf("left over: %v", slices.Collect(maps.Keys(m.live)))
	}
}

func TestFullDisk(t *testing.T) {
	m := newMemory()
	s := newStore(t, m)
	m.room = 3
	p, err := s.Append("f", 0)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.WriteString(p, "abcdef"); n != 3 || !errors.Is(err, files.ErrFull) {
		t.Errorf("append: %d, %v", n, err)
	}
	m.room = 3
	err = s.Write(files.Contents, "f", func(w io.Writer) error { _, err := io.WriteString(w, "abcdef"); return err })
	if !errors.Is(err, files.ErrFull) {
		t.Errorf("write: %v", err)
	}
	if _, ok := read(t, s, files.Contents, "f"); ok {
		t.Error("half a file is there")
	}
}

func TestShorterThanConfirmed(t *testing.T) {
	s := newStore(t, newMemory())
	for _, at := range []int64{1, 5} {
		if _, err := s.Append("f", at); !errors.Is(err, files.ErrDamaged) {
			t.Errorf("at %d: %v, want ErrDamaged", at, err)
		}
	}
}

func TestIDsThatAreNoNames(t *testing.T) {
	s := newStore(t, newMemory())
	for _, id := range []wire.FileID{"", ".", "..", "../x", "a/b", "a\x00", "x.tmp"} {
		_, err1 := s.Append(id, 0)
		_, err2 := s.Open(files.Contents, id)
		for _, err := range []error{err1, err2, s.Move(id), s.Remove(id, files.Parts), s.Write(files.Contents, id, nil)} {
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%q: %v", id, err)
			}
		}
	}
}

func TestRealDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "files")
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Append("f1", 0)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(p, "abcdef")
	if err := errors.Join(p.Cut(3), p.Sync()); err != nil {
		t.Fatal(err)
	}
	io.WriteString(p, "XYZ")
	if err := errors.Join(p.Sync(), p.Close(), s.Move("f1")); err != nil {
		t.Fatal(err)
	}
	if got, _ := read(t, s, files.Contents, "f1"); got != "abcXYZ" {
		t.Errorf("content %q", got)
	}
	if _, ok := read(t, s, files.Parts, "f1"); ok {
		t.Error("the part is still there")
	}
	if err := s.Write(files.Previews, "f1", func(w io.Writer) error { _, err := io.WriteString(w, "small"); return err }); err != nil {
		t.Fatal(err)
	}
	var ids []wire.FileID
	for id, changed := range s.List() {
		ids = append(ids, id)
		if time.Since(changed) > time.Hour {
			t.Errorf("%s changed %v", id, changed)
		}
	}
	if !slices.Equal(ids, []wire.FileID{"f1", "f1"}) {
		t.Errorf("list: %v", ids)
	}
	if free, err := s.Free(); err != nil || free <= 0 {
		t.Errorf("free: %d, %v", free, err)
	}
	info, err := os.Stat(filepath.Join(dir, "contents", "f1"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: others can read it", info.Mode(), err)
	}
	if err := s.Remove("f1", areas...); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove("f1", areas...); err != nil {
		t.Errorf("removing what is not there: %v", err)
	}
}

func TestConfigNeedsDir(t *testing.T) {
	if _, err := Open(Config{}); err == nil {
		t.Error("accepted")
	}
}
