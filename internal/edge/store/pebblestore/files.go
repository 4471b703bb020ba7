package pebblestore

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tandem-call/tandem/internal/store"
)

// Names in a data directory.
const (
	formatFile   = "TANDEM-STORE" // says what the directory is, see the states
	witnessFile  = "WITNESS"
	databaseDir  = "db"
	lostDir      = "lost" // what a repair set aside
	manifestFile = "BACKUP-MANIFEST"
)

// States of a data directory, the contents of its format file. Nothing has ever been
// acknowledged in a directory that is being created, so that starts anew; one that is
// being restored must be restored again.
const (
	stateReady     = "TANDEM-STORE 1\n"
	stateCreating  = "TANDEM-STORE 1 being created\n"
	stateRestoring = "TANDEM-STORE 1 being restored\n"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// writeFile replaces a file so that after a crash there is the old one or the new one.
func writeFile(files vfs.FS, path, content string) error {
	f, err := files.Create(path+".tmp", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := files.Rename(path+".tmp", path); err != nil {
		return err
	}
	return syncDir(files, files.PathDir(path))
}

// makeDir makes a directory with its parents so that a power cut does not take it away.
func makeDir(files vfs.FS, path string) error {
	if _, err := files.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := files.PathDir(path)
	if parent != path {
		if err := makeDir(files, parent); err != nil {
			return err
		}
	}
	if err := files.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return syncDir(files, parent)
}

func syncDir(files vfs.FS, path string) error {
	d, err := files.OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func readFile(files vfs.FS, path string) (string, error) {
	f, err := files.Open(path)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	return string(b), errors.Join(err, f.Close())
}

// contents lists a directory without what any directory may hold: a lock, the folder of
// a file system's own repairs, and files that were being replaced.
func contents(files vfs.FS, dir string) ([]string, error) {
	all, err := files.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, name := range all {
		if name != "LOCK" && name != "lost+found" && name != formatFile+".tmp" {
			names = append(names, name)
		}
	}
	return names, err
}

// testimony is what the witness file says.
type testimony struct {
	commit uint64 // at least this was acknowledged
	epoch  uint64 // the last epoch that was given out is not above this
	clean  bool   // the store was closed after that, and commit is exact
}

// The witness file is text, its last line a CRC-32C of the lines before.
func (t testimony) String() string {
	s := fmt.Sprintf("TANDEM-WITNESS 1\ncommit %d\nepoch %d\nclean %t\n", t.commit, t.epoch, t.clean)
	return s + fmt.Sprintf("sum %08x\n", crc32.Checksum([]byte(s), castagnoli))
}

func readTestimony(files vfs.FS, dir string) (testimony, error) {
	var t testimony
	s, err := readFile(files, files.PathJoin(dir, witnessFile))
	if errors.Is(err, fs.ErrNotExist) {
		return t, fmt.Errorf("pebblestore: the witness file is missing: %w", store.ErrDamaged)
	}
	if err != nil {
		return t, fmt.Errorf("pebblestore: witness file: %w", err)
	}
	lines := strings.Split(s, "\n")
	if len(lines) == 6 {
		t.commit, _ = strconv.ParseUint(strings.TrimPrefix(lines[1], "commit "), 10, 64)
		t.epoch, _ = strconv.ParseUint(strings.TrimPrefix(lines[2], "epoch "), 10, 64)
		t.clean = lines[3] == "clean true"
	}
	if t.String() != s { // the sum covers whatever was misread above
		return testimony{}, fmt.Errorf("pebblestore: the witness file is damaged: %w", store.ErrDamaged)
	}
	return t, nil
}
