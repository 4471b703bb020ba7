package archive

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"

	"golang.org/x/sync/errgroup"
)

// writers is how many lines are written to the engine at once. Those of one record, log or
// counter come after each other.
const writers = 64

// Read fills an engine, which must be empty, from an archive, and reads it back: it returns
// nil only if the engine has what the archive says, with epochs that are new. After an error
// the engine is not to be used; see Finished.
func Read(ctx context.Context, from io.Reader, c Content) (Summary, error) {
	if err := c.empty(ctx); err != nil {
		return Summary{}, err
	}
	d := newDecoder(from)
	first, err := d.next()
	if err != nil {
		return Summary{}, err
	}
	if first.Format != Format {
		return Summary{}, fmt.Errorf("archive: it begins with format %.40q, not %q: %w", first.Format, Format, ErrIncomplete)
	}
	mark, err := c.Engine.Put(ctx, markTable, markKey, []byte("{}"), 0)
	if err != nil {
		return Summary{}, fmt.Errorf("archive: read: %w", err)
	}
	if err := c.Engine.Renew(ctx); err != nil {
		return Summary{}, err
	}
	said, err := c.fill(ctx, d)
	if err != nil {
		return Summary{}, err
	}
	got, err := Sum(ctx, c)
	if err != nil {
		return got, err
	}
	if got != said {
		return got, fmt.Errorf("%w: it has %+v, the archive %+v", ErrDiffers, got, said)
	}
	if c.Derive != nil {
		if err := c.Derive(ctx); err != nil {
			return got, err
		}
	}
	if err := c.Engine.Delete(ctx, markTable, markKey, mark); err != nil {
		return got, fmt.Errorf("archive: read: %w", err)
	}
	return got, nil
}

// empty returns ErrNotEmpty if there is anything, files apart: those are named by chance.
func (c Content) empty(ctx context.Context) error {
	tables, err := c.Engine.Tables(ctx)
	if err != nil {
		return err
	}
	for _, table := range tables {
		for _, err := range c.Engine.Scan(ctx, table, "") {
			if err != nil {
				return err
			}
			if table == markTable {
				return ErrUnfinished
			}
			return fmt.Errorf("%w: table %s has records", ErrNotEmpty, table)
		}
	}
	logs, err := c.Engine.Logs(ctx)
	if err == nil && len(logs) > 0 {
		err = fmt.Errorf("%w: it has %d logs", ErrNotEmpty, len(logs))
	}
	if err != nil {
		return err
	}
	counters, err := c.Engine.Counters(ctx)
	if err == nil && len(counters) > 0 {
		err = fmt.Errorf("%w: it has %d counters", ErrNotEmpty, len(counters))
	}
	return err
}

// fill writes what the archive has and returns what it says of itself, checked.
func (c Content) fill(ctx context.Context, d decoder) (Summary, error) {
	g, ctx := errgroup.WithContext(ctx)
	var queues [writers]chan line
	for i := range queues {
		queues[i] = make(chan line, 4)
		g.Go(func() error {
			for l := range queues[i] {
				if err := c.write(ctx, l); err != nil {
					return err
				}
			}
			return nil
		})
	}
	t := newTally()
	var said *Summary
	g.Go(func() error {
		defer func() {
			for _, q := range queues {
				close(q)
			}
		}()
		for l, err := d.next(); ; l, err = d.next() {
			for err == nil && l.File != "" { // its lines go into one writer
				l, err = c.writeFile(d, t, l)
			}
			if err != nil {
				return err
			}
			if l.End != nil {
				said = l.End
				return nil
			}
			t.add(l)
			h := fnv.New32a()
			h.Write([]byte(l.Table + "\x00" + l.Key + l.Log + l.Counter))
			select {
			case queues[h.Sum32()%writers] <- l:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	if err := g.Wait(); err != nil {
		return Summary{}, fmt.Errorf("archive: read: %w", err)
	}
	if sum := t.end(); sum != *said {
		return sum, fmt.Errorf("%w: it has %+v and says %+v", ErrIncomplete, sum, *said)
	}
	return *said, nil
}

func (c Content) write(ctx context.Context, l line) error {
	switch {
	case l.Table != "":
		_, err := c.Engine.Put(ctx, l.Table, l.Key, l.Data, 0)
		return err
	case l.Log != "":
		p, err := c.Engine.AppendAt(ctx, l.Log, l.Data, l.Time)
		if err == nil {
			err = p.Wait(ctx)
		}
		if err == nil && (p.Seq() != l.Seq || p.Epoch() <= l.Epoch) {
			err = fmt.Errorf("entry %d of epoch %d of log %s became entry %d of epoch %d, which is not new", l.Seq, l.Epoch, l.Log, p.Seq(), p.Epoch())
		}
		return err
	case l.Counter != "":
		_, err := c.Engine.Add(ctx, l.Counter, l.Count)
		return err
	}
	return fmt.Errorf("%w: a line says nothing", ErrIncomplete)
}

// writeFile writes the file that begins with a line, and returns the first line after it.
func (c Content) writeFile(d decoder, t *tally, l line) (after line, err error) {
	if c.Files == nil {
		return l, errors.New("the archive has files, and there is nowhere to put them: set files.s3")
	}
	r := &fileReader{d: d, t: t, name: l.File, now: l}
	t.add(l)
	err = c.Files.Write(l.File, r)
	if err == nil && !r.over {
		err = fmt.Errorf("file %s was not read to its end", l.File)
	}
	return r.now, err
}

// fileReader reads the data of the lines of one file.
type fileReader struct {
	d    decoder
	t    *tally
	name string
	now  line // over: the line after the file
	over bool
	err  error
}

func (r *fileReader) Read(b []byte) (int, error) {
	for len(r.now.Data) == 0 || r.over {
		switch {
		case r.err != nil:
			return 0, r.err
		case r.over:
			return 0, io.EOF
		}
		next, err := r.d.next()
		r.now, r.err = next, err
		if err == nil {
			if r.over = next.File != r.name; !r.over {
				r.t.add(next)
			}
		}
	}
	n := copy(b, r.now.Data)
	r.now.Data = r.now.Data[n:]
	return n, nil
}
