package s3store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/minio/minio-go/v7"
	"github.com/nats-io/nuid"

	"github.com/tandem-call/tandem/internal/files"
	"github.com/tandem-call/tandem/wire"
)

// stretch is an object that holds bytes start to end of an upload.
type stretch struct {
	name       string
	start, end int64
}

// stretches lists the objects of an upload.
func (s *Store) stretches(name string) ([]stretch, error) {
	ctx, cancel := context.WithTimeout(context.Background(), request)
	defer cancel()
	var all []stretch
	for o := range s.s3.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: name + "/", Recursive: true}) {
		if o.Err != nil {
			return nil, fault(o.Err)
		}
		x := stretch{name: o.Key}
		fields := strings.SplitN(strings.TrimPrefix(o.Key, name+"/"), "-", 3)
		var errs [2]error
		if len(fields) == 3 {
			x.start, errs[0] = strconv.ParseInt(fields[0], 10, 64)
			x.end, errs[1] = strconv.ParseInt(fields[1], 10, 64)
		}
		if len(fields) != 3 || errors.Join(errs[:]...) != nil || x.end-x.start != o.Size {
			return nil, fmt.Errorf("s3store: object %s is no stretch of an upload: %w", o.Key, files.ErrDamaged)
		}
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b stretch) int { return cmp.Or(cmp.Compare(a.start, b.start), strings.Compare(a.name, b.name)) })
	return all, nil
}

func furthest(all []stretch) (end int64) {
	for _, x := range all {
		end = max(end, x.end)
	}
	return end
}

// chainTo picks stretches that follow one another from the start to an offset. It looks
// from the end: each stretch began at an offset that was confirmed, to which others
// lead. Where there are several of the same bytes, by requests that competed, they are
// of one device's file, and any will do.
func chainTo(all []stretch, to int64) (chain []stretch, ok bool) {
	for at := to; at > 0; at = chain[0].start {
		i := slices.IndexFunc(all, func(x stretch) bool { return x.end == at && x.start < at })
		if i < 0 {
			return nil, false
		}
		chain = slices.Insert(chain, 0, all[i])
	}
	return chain, true
}

// Append implements files.Disk.
func (s *Store) Append(id wire.FileID, at int64) (files.Part, error) {
	name, err := s.name(files.Parts, id)
	if err != nil {
		return nil, err
	}
	all, err := s.stretches(name)
	if err != nil {
		return nil, err
	}
	chain, ok := chainTo(all, at)
	if !ok {
		return nil, fmt.Errorf("s3store: %w: the objects do not lead to %d confirmed bytes", files.ErrDamaged, at)
	}
	var beyond []string
	for _, x := range all {
		if !slices.Contains(chain, x) {
			beyond = append(beyond, x.name)
		}
	}
	if err := s.remove(beyond); err != nil {
		return nil, err
	}
	t, err := newSpool(s.temp)
	if err != nil {
		return nil, err
	}
	return &part{store: s, name: name, synced: at, spool: t}, nil
}

// part is an open upload.
type part struct {
	store *Store
	name  string
	// synced is how far the objects go; the spool holds what follows.
	synced int64
	spool  *spool
	// mine are the objects made since Append, in their order.
	mine []stretch
}

func (p *part) Write(b []byte) (int, error) {
	n, err := p.spool.Write(b)
	if err != nil {
		err = fault(err)
	}
	return n, err
}

func (p *part) Sync() error {
	if p.spool.size == 0 && p.synced > 0 {
		return nil
	}
	x := stretch{start: p.synced, end: p.synced + p.spool.size}
	x.name = fmt.Sprintf("%s/%016d-%016d-%s", p.name, x.start, x.end, nuid.Next())
	if err := p.store.put(x.name, p.spool); err != nil {
		return err
	}
	p.mine = append(p.mine, x)
	p.synced = x.end
	return fault(p.spool.cut(0))
}

// Cut drops only what this part has written: what another request has made its own
// meanwhile is not touched.
func (p *part) Cut(size int64) error {
	if size >= p.synced {
		return fault(p.spool.cut(size - p.synced))
	}
	for len(p.mine) > 0 && p.mine[len(p.mine)-1].end > size {
		last := p.mine[len(p.mine)-1]
		if last.start < size {
			return fmt.Errorf("s3store: %s cannot be cut at %d", last.name, size)
		}
		if err := p.store.remove([]string{last.name}); err != nil {
			return err
		}
		p.mine = p.mine[:len(p.mine)-1]
		p.synced = last.start
	}
	return fault(p.spool.cut(0))
}

func (p *part) Close() error { return fault(p.spool.Close()) }

// content reads objects that follow one another as one.
type content struct {
	store *Store
	chain []stretch

	mu   sync.Mutex
	at   int64
	open *minio.Object // of chain[of]
	of   int
}

func (c *content) size() int64 {
	if len(c.chain) == 0 {
		return 0
	}
	return c.chain[len(c.chain)-1].end
}

// object opens the object that holds the byte at an offset, if it is not open. c.mu is held.
func (c *content) object(at int64) (*minio.Object, stretch, error) {
	i := slices.IndexFunc(c.chain, func(x stretch) bool { return x.end > at })
	if c.open == nil || c.of != i {
		if err := c.shut(); err != nil {
			return nil, stretch{}, err
		}
		o, err := c.store.s3.GetObject(context.Background(), c.store.bucket, c.chain[i].name, minio.GetObjectOptions{})
		if err != nil {
			return nil, stretch{}, fault(err)
		}
		c.open, c.of = o, i
	}
	return c.open, c.chain[i], nil
}

func (c *content) ReadAt(b []byte, at int64) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n < len(b) {
		if at+int64(n) >= c.size() {
			return n, io.EOF
		}
		o, x, err := c.object(at + int64(n))
		if err != nil {
			return n, err
		}
		want := min(int64(len(b)-n), x.end-at-int64(n))
		got, err := o.ReadAt(b[n:n+int(want)], at+int64(n)-x.start)
		n += got
		if int64(got) < want {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, fault(err)
		}
	}
	return n, nil
}

func (c *content) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(b) == 0 {
		return 0, nil
	}
	if c.at >= c.size() {
		return 0, io.EOF
	}
	o, x, err := c.object(c.at)
	if err != nil {
		return 0, err
	}
	if _, err := o.Seek(c.at-x.start, io.SeekStart); err != nil {
		return 0, fault(err)
	}
	n, err := o.Read(b)
	c.at += int64(n)
	switch {
	case n > 0 || err == nil:
		return n, nil
	case err == io.EOF:
		return 0, fault(io.ErrUnexpectedEOF)
	}
	return 0, fault(err)
}

func (c *content) Seek(offset int64, whence int) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += c.at
	case io.SeekEnd:
		offset += c.size()
	}
	if offset < 0 {
		return 0, errors.New("s3store: seek before the start")
	}
	c.at = offset
	return offset, nil
}

func (c *content) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shut()
}

// shut closes the object that is open. c.mu is held.
func (c *content) shut() error {
	if c.open == nil {
		return nil
	}
	o := c.open
	c.open = nil
	return fault(o.Close())
}
