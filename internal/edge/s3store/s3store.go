// Package s3store keeps the bytes of files in a bucket of an S3-compatible object store: it
// is the Disk of internal/files for several nodes.
//
// S3 cannot append to an object, and the parts of its multipart uploads have 5 MiB at
// least. So an upload is many objects: each [files.Part.Sync] makes one of what came since
// the last, whatever its size,
//
//	PREFIX/parts/ID/START-END-RANDOM   bytes START to END of the upload, 16 digits each
//	PREFIX/contents/ID                 the finished file
//	PREFIX/previews/ID                 its small picture
//
// and Move copies them together, through this node. What is stored and what counts are
// told apart by the offset that internal/files keeps in the upload's record: Append finds
// the objects that lead to it and removes all others, which are of requests that did not
// confirm them. Until it is synced a stretch is in a file in the directory for temporary
// files.
package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/tandem-call/tandem/internal/files"
	"github.com/tandem-call/tandem/wire"
)

// Config of a Store.
type Config struct {
	// Endpoint is the service's address, https://s3.example:9000. Required.
	Endpoint string
	// Bucket must exist. Required.
	Bucket string
	// Region of the bucket; empty: the service is asked.
	Region string
	// Prefix begins the name of each object; empty: none.
	Prefix string
	// AccessKey and SecretKey; required.
	AccessKey, SecretKey string
	// Temp is the directory of what is not synced yet; empty: the system's for temporary files.
	Temp string
}

// transfer is how long one object may take to be written, and request how long another
// request may take.
const (
	transfer = 10 * time.Minute
	request  = time.Minute
)

// Store is a files.Disk.
type Store struct {
	s3     *minio.Client
	bucket string
	prefix string
	temp   string
}

var _ files.Disk = (*Store)(nil)

// Open returns the Store of a bucket, which must be there.
func Open(ctx context.Context, c Config) (*Store, error) {
	u, err := url.Parse(c.Endpoint)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("s3store: endpoint %q is not an address such as https://s3.example", c.Endpoint)
	}
	if c.Bucket == "" || c.AccessKey == "" || c.SecretKey == "" {
		return nil, errors.New("s3store: Config needs Bucket, AccessKey and SecretKey")
	}
	client, err := minio.New(u.Host, &minio.Options{
		Creds: credentials.NewStaticV4(c.AccessKey, c.SecretKey, ""), Secure: u.Scheme == "https", Region: c.Region,
	})
	if err != nil {
		return nil, fmt.Errorf("s3store: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, request)
	defer cancel()
	there, err := client.BucketExists(ctx, c.Bucket)
	if err != nil {
		return nil, fmt.Errorf("s3store: bucket %s at %s: %w", c.Bucket, u.Host, err)
	}
	if !there {
		return nil, fmt.Errorf("s3store: there is no bucket %s at %s", c.Bucket, u.Host)
	}
	return &Store{s3: client, bucket: c.Bucket, prefix: c.Prefix, temp: c.Temp}, nil
}

// name of an object. The id comes checked, but a name is worth checking twice.
func (s *Store) name(a files.Area, id wire.FileID) (string, error) {
	if !wire.ValidID(string(id)) {
		return "", fmt.Errorf("s3store: %q cannot name a file", id)
	}
	return path.Join(s.prefix, string(a), string(id)), nil
}

// Open implements files.Disk.
func (s *Store) Open(a files.Area, id wire.FileID) (files.Content, error) {
	name, err := s.name(a, id)
	if err != nil {
		return nil, err
	}
	if a == files.Parts {
		stretches, err := s.stretches(name)
		if err != nil {
			return nil, err
		}
		if len(stretches) == 0 {
			return nil, fmt.Errorf("s3store: part of %s: %w", id, fs.ErrNotExist)
		}
		chain, ok := chainTo(stretches, furthest(stretches))
		if !ok {
			return nil, fmt.Errorf("s3store: part of %s has a hole: %w", id, files.ErrDamaged)
		}
		return &content{store: s, chain: chain}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), request)
	defer cancel()
	info, err := s.s3.StatObject(ctx, s.bucket, name, minio.StatObjectOptions{})
	if err != nil {
		return nil, fault(err)
	}
	return &content{store: s, chain: []stretch{{name: name, end: info.Size}}}, nil
}

// Write implements files.Disk.
func (s *Store) Write(a files.Area, id wire.FileID, fill func(io.Writer) error) (err error) {
	name, err := s.name(a, id)
	if err != nil {
		return err
	}
	t, err := newSpool(s.temp)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	if err := fill(t); err != nil {
		return fault(err)
	}
	return s.put(name, t)
}

// put makes an object of what was spooled. S3 shows it when it is stored as a whole.
func (s *Store) put(name string, t *spool) error {
	if _, err := t.file.Seek(0, io.SeekStart); err != nil {
		return fault(err)
	}
	return s.putFrom(name, t.file, t.size)
}

func (s *Store) putFrom(name string, r io.Reader, size int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), transfer)
	defer cancel()
	_, err := s.s3.PutObject(ctx, s.bucket, name, r, size, minio.PutObjectOptions{
		ContentType:          "application/octet-stream",
		DisableContentSha256: size == 0, // else nothing would be sent in chunks, without a length
	})
	return fault(err)
}

// Move implements files.Disk.
func (s *Store) Move(id wire.FileID) error {
	part, err := s.Open(files.Parts, id)
	if err != nil {
		return err
	}
	defer part.Close()
	name, err := s.name(files.Contents, id)
	if err != nil {
		return err
	}
	if err := s.putFrom(name, part, part.(*content).size()); err != nil {
		return err
	}
	return s.Remove(id, files.Parts)
}

// Remove implements files.Disk.
func (s *Store) Remove(id wire.FileID, in ...files.Area) error {
	for _, a := range in {
		name, err := s.name(a, id)
		if err != nil {
			return err
		}
		names := []string{name}
		if a == files.Parts {
			stretches, err := s.stretches(name)
			if err != nil {
				return err
			}
			names = names[:0]
			for _, x := range stretches {
				names = append(names, x.name)
			}
		}
		if err := s.remove(names); err != nil {
			return err
		}
	}
	return nil
}

// remove deletes objects; it is no error if one is not there.
func (s *Store) remove(names []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), request)
	defer cancel()
	for _, name := range names {
		err := fault(s.s3.RemoveObject(ctx, s.bucket, name, minio.RemoveObjectOptions{}))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Free implements files.Disk: an object store has no end that can be asked for.
func (s *Store) Free() (int64, error) { return 1 << 62, nil }

// List implements files.Disk.
func (s *Store) List() iter.Seq2[wire.FileID, time.Time] {
	return func(yield func(wire.FileID, time.Time) bool) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		for _, a := range []files.Area{files.Parts, files.Contents, files.Previews} {
			dir := path.Join(s.prefix, string(a)) + "/"
			for o := range s.s3.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: dir, Recursive: true}) {
				if o.Err != nil {
					break // what cannot be listed is not removed
				}
				id, _, _ := strings.Cut(strings.TrimPrefix(o.Key, dir), "/")
				if wire.ValidID(id) && !yield(wire.FileID(id), o.LastModified) {
					return
				}
			}
		}
	}
}

// spool is a temporary file that has no name any more.
type spool struct {
	file *os.File
	size int64
}

func newSpool(dir string) (*spool, error) {
	f, err := os.CreateTemp(dir, "tandem-s3-*")
	if err != nil {
		return nil, fault(err)
	}
	return &spool{file: f}, fault(os.Remove(f.Name()))
}

func (t *spool) Write(b []byte) (int, error) {
	n, err := t.file.Write(b)
	t.size += int64(n)
	return n, err
}

// cut drops what is beyond size.
func (t *spool) cut(size int64) error {
	t.size = size
	if err := t.file.Truncate(size); err != nil {
		return err
	}
	_, err := t.file.Seek(size, io.SeekStart)
	return err
}

func (t *spool) Close() error { return t.file.Close() }

// fault names the package, a missing object as what it is, and want of room too.
func fault(err error) error {
	if err == nil {
		return nil
	}
	switch minio.ToErrorResponse(err).Code {
	case minio.NoSuchKey:
		return fmt.Errorf("s3store: %w: %w", fs.ErrNotExist, err)
	case "QuotaExceeded", "InsufficientCapacity", "XMinioStorageFull":
		return fmt.Errorf("s3store: %w: %w", files.ErrFull, err)
	}
	return fmt.Errorf("s3store: %w", err)
}
