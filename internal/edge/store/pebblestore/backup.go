package pebblestore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tandem-call/tandem/internal/store"
)

// Backup writes a copy of the store into a new directory while the store runs. All that
// was acknowledged before the call is in it. On the same file system the table files
// are links to those of the store, so copy the directory to another disk afterwards.
// The manifest, with the checksum of each file, is written last: a backup without it is
// not complete.
func (s *Store) Backup(ctx context.Context, dir string) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	o := s.options
	o.Dir = dir
	if names, err := contents(o.fs, dir); err != nil {
		return fmt.Errorf("pebblestore: backup directory %s: %w", dir, err)
	} else if len(names) > 0 {
		return fmt.Errorf("pebblestore: backup directory %s: it must be empty: %w", dir, fs.ErrExist)
	}
	if err := makeDir(o.fs, dir); err != nil {
		return fmt.Errorf("pebblestore: backup: %w", err)
	}
	said := testimony{commit: s.commits.durable(), epoch: s.epochs.now.Load()}
	if err := s.syncRelaxed(); err != nil {
		return fmt.Errorf("pebblestore: backup: %w", err)
	}
	if err := s.db.Checkpoint(o.path(databaseDir)); err != nil {
		return fmt.Errorf("pebblestore: backup: %w", err)
	}
	if err := writeFile(o.fs, o.path(witnessFile), said.String()); err != nil {
		return fmt.Errorf("pebblestore: backup: %w", err)
	}
	manifest, err := listFiles(ctx, o)
	if err == nil {
		err = writeFile(o.fs, o.path(manifestFile), manifest.String())
	}
	if err != nil {
		return fmt.Errorf("pebblestore: backup: %w", err)
	}
	return nil
}

// manifest lists the files of a backup.
type manifest []listed

type listed struct {
	name string // with "/" whatever the system
	size int64
	sum  string // SHA-256 in hexadecimal
}

// String is the manifest file: a first line with the format, one line per file with
// checksum, size in bytes and name, and a last line that shows that it is whole.
func (m manifest) String() string {
	var b strings.Builder
	b.WriteString("TANDEM-BACKUP 1\n")
	for _, f := range m {
		fmt.Fprintf(&b, "%s %d %s\n", f.sum, f.size, f.name)
	}
	fmt.Fprintf(&b, "files %d\n", len(m))
	return b.String()
}

// listFiles reads and sums the files of a backup.
func listFiles(ctx context.Context, o Options) (manifest, error) {
	names, err := o.fs.List(o.path(databaseDir))
	if err != nil {
		return nil, err
	}
	for i := range names {
		names[i] = databaseDir + "/" + names[i]
	}
	names = append(names, witnessFile)
	slices.Sort(names)
	var m manifest
	for _, name := range names {
		if name == databaseDir+"/LOCK" {
			continue
		}
		f := listed{name: name}
		f.size, f.sum, err = sum(ctx, o.fs, o.path(name), io.Discard)
		if err != nil {
			return nil, err
		}
		m = append(m, f)
	}
	return m, nil
}

// sum copies a file and returns its size and checksum.
func sum(ctx context.Context, files vfs.FS, path string, to io.Writer) (int64, string, error) {
	if err := ctx.Err(); err != nil {
		return 0, "", err
	}
	f, err := files.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return 0, "", err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(h, to), f)
	return n, hex.EncodeToString(h.Sum(nil)), errors.Join(err, f.Close())
}

func readManifest(o Options) (manifest, error) {
	s, err := readFile(o.fs, o.path(manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("pebblestore: %s is not a complete backup: it has no file %s: %w", o.Dir, manifestFile, store.ErrDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("pebblestore: %w", err)
	}
	var m manifest
	for line := range strings.Lines(s) {
		var f listed
		if n, _ := fmt.Sscanf(line, "%64s %d %s\n", &f.sum, &f.size, &f.name); n == 3 {
			m = append(m, f)
		}
	}
	sane := !slices.ContainsFunc(m, func(f listed) bool {
		base, inDB := strings.CutPrefix(f.name, databaseDir+"/")
		return f.name != witnessFile && (!inDB || base == "" || strings.ContainsAny(base, `/\`) || base[0] == '.')
	})
	if m.String() != s || !sane {
		return nil, fmt.Errorf("pebblestore: %s: the file %s is damaged: %w", o.Dir, manifestFile, store.ErrDamaged)
	}
	return m, nil
}

// Restore makes a data directory, which must be empty, from a backup, whose files are
// checked against their checksums. Revisions and epochs in the new store are beyond
// those of the store that was backed up, so that readers notice.
func Restore(ctx context.Context, backup string, o Options) error {
	o, err := o.complete()
	if err != nil {
		return err
	}
	from := o
	from.Dir = backup
	m, err := readManifest(from)
	if err != nil {
		return err
	}
	lock, err := lockDir(o)
	if err != nil {
		return err
	}
	return errors.Join(restore(ctx, from, o, m), lock.Close())
}

func restore(ctx context.Context, from, o Options, m manifest) error {
	names, err := contents(o.fs, o.Dir)
	if err != nil {
		return fmt.Errorf("pebblestore: restore: %w", err)
	}
	if len(names) > 0 {
		return fmt.Errorf("pebblestore: restore: %s is not empty: %w", o.Dir, fs.ErrExist)
	}
	if err := writeFile(o.fs, o.path(formatFile), stateRestoring); err != nil {
		return fmt.Errorf("pebblestore: restore: %w", err)
	}
	if err := makeDir(o.fs, o.path(databaseDir)); err != nil {
		return fmt.Errorf("pebblestore: restore: %w", err)
	}
	for _, f := range m {
		if err := restoreFile(ctx, from, o, f); err != nil {
			return err
		}
	}
	if err := syncDir(o.fs, o.path(databaseDir)); err != nil {
		return fmt.Errorf("pebblestore: restore: %w", err)
	}
	said, err := readTestimony(o.fs, o.Dir)
	if err != nil {
		return err
	}
	data, err := peek(o)
	if err == nil {
		err = said.check(data)
	}
	if err != nil {
		return err
	}
	return renew(o, data, said)
}

func restoreFile(ctx context.Context, from, o Options, f listed) error {
	dst, err := o.fs.Create(o.path(f.name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("pebblestore: restore: %w", err)
	}
	size, got, err := sum(ctx, o.fs, from.path(f.name), dst)
	if err = errors.Join(err, dst.Sync(), dst.Close()); err != nil {
		return fmt.Errorf("pebblestore: restore: %w", err)
	}
	if size != f.size || got != f.sum {
		return fmt.Errorf("pebblestore: restore: file %s of the backup is not what was written: %w", f.name, store.ErrDamaged)
	}
	return nil
}
