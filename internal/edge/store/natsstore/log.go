package natsstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/tandem-call/tandem/internal/store"
)

// Headers of an entry. The first entry of a log has none but headerSeq: it cannot know
// the sequence that its stream will give it.
const (
	headerSeq   = "Tandem-Seq"   // the log's own, dense sequence
	headerFirst = "Tandem-First" // stream sequence of the log's entry 1
	headerPage  = "Tandem-Page"  // stream sequence of an earlier entry that begins a page
	headerTime  = "Tandem-Time"  // when an entry was first appended, elsewhere: see AppendAt
)

// pageSize is how many entries make a page. Each entry points back to the nearest
// earlier entry that begins one, so a reader who is at most a page behind is served
// after one look at the last entry.
const pageSize = 64

// readBatch is how many entries are fetched at once.
const readBatch = 256

// maxTails is how many ends of logs are remembered.
const maxTails = 1 << 14

// end is where a log ends: what its last entry says, or zero when there is none.
type end struct {
	n     uint64 // its sequence in the log
	last  uint64 // its sequence in the stream
	first uint64 // stream sequence of entry 1
	page  uint64 // stream sequence of the nearest earlier entry that begins a page
}

// endAt reads an end from the last entry.
func endAt(m message) end {
	e := end{n: m.number(headerSeq), last: m.seq, first: m.number(headerFirst), page: m.number(headerPage)}
	if e.n == 1 {
		e.first = m.seq
	}
	return e
}

func beginsPage(n uint64) bool { return n%pageSize == 1 }

// pageNumber is the sequence in the log of the entry that page points at.
func (e end) pageNumber() uint64 {
	if e.n <= 1 {
		return 0
	}
	return (e.n-2)/pageSize*pageSize + 1
}

// nextPage is what the entry after e carries as its page.
func (e end) nextPage() uint64 {
	if beginsPage(e.n) {
		return e.last
	}
	return e.page
}

// next is the entry after e, before it is stored, and at what it is once it is stored there in the stream.
func (e end) next() end { return end{n: e.n + 1, first: e.first, page: e.nextPage()} }

func (e end) at(seq uint64) end {
	if e.last = seq; e.n == 1 {
		e.first = seq
	}
	return e
}

// tail remembers the end of one log between appends, and makes those of this node queue
// up. What it remembers may be old: an append that counts from an old end is refused.
type tail struct {
	turn  chan struct{} // holds one token; its holder owns the fields below
	known bool
	end   end

	heard atomic.Pointer[end] // the newest of which a live copy came; nil: none yet
	way   atomic.Int64        // until when another node goes first, Unix time in ns

	users int // guarded by Store.mu: a tail in use is not forgotten
}

// take waits for the turn at a log's tail; release gives it on.
func (s *Store) take(ctx context.Context, log string) (t *tail, release func(), err error) {
	s.mu.Lock()
	t = s.tails[log]
	if t == nil {
		if len(s.tails) >= maxTails {
			for k, old := range s.tails {
				if old.users == 0 {
					delete(s.tails, k)
					break
				}
			}
		}
		t = &tail{turn: make(chan struct{}, 1)}
		t.turn <- struct{}{}
		s.tails[log] = t
	}
	t.users++
	s.mu.Unlock()
	leave := func() {
		s.mu.Lock()
		t.users--
		s.mu.Unlock()
	}
	select {
	case <-t.turn:
		return t, func() { t.turn <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, nil, ctx.Err()
	}
}

// place names the stream and the subject of a log.
func (s *Store) place(log string) (st stream, subj string, err error) {
	k, err := subject(log)
	if err != nil {
		return stream{}, "", err
	}
	i := logStream(log)
	return s.logs[i], s.opt.Prefix + ".log." + strconv.Itoa(i) + "." + k, nil
}

// Append implements [store.Engine]. It returns when the entry is stored, see the
// package comment; the Delivery makes no difference. ErrUncertain, ErrFull, ErrTooLarge.
func (s *Store) Append(ctx context.Context, log string, data []byte, _ store.Delivery) (store.Pending, error) {
	return s.appendEntry(ctx, log, data, time.Time{})
}

// appendEntry appends an entry; a time says when it was first appended elsewhere.
func (s *Store) appendEntry(ctx context.Context, log string, data []byte, at time.Time) (store.Pending, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	if len(data) > store.MaxValue {
		return nil, store.ErrTooLarge
	}
	st, subj, err := s.place(log)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	t, release, err := s.take(ctx, log)
	if err != nil {
		return nil, fmt.Errorf("natsstore: append to %s: %w", log, err)
	}
	defer release()
	if err := t.giveWay(ctx); err != nil {
		return nil, fmt.Errorf("natsstore: append to %s: %w", log, err)
	}
	id, maybe, refused := nuid.Next(), false, 0
	stored := func(e end) pending {
		s.expect(log, e.n)
		return pending{e.n, st.epoch + e.first}
	}
	for {
		begun := time.Now()
		if !t.known {
			now, err := s.end(ctx, st, subj)
			if err != nil {
				return nil, uncertain(maybe || refused > 0, err)
			}
			if now.last != t.end.last {
				if maybe || refused > 0 { // also a refusal may be that of a leader that is none any more
					e := t.end.next()
					if own, err := s.findOwn(ctx, st, subj, t.end, id); err != nil {
						return nil, err
					} else if own != 0 {
						return stored(e.at(own)), nil
					}
				}
				id, maybe = nuid.Next(), false // no earlier try can succeed any more
			} else if refused > 0 { // another node's entry is under way
				if err := s.rest(ctx); err != nil {
					return nil, uncertain(true, err)
				}
			}
			t.end, t.known = now, true
		}
		e := t.end.next()
		seq, lost, err := s.publish(ctx, entryMessage(subj, e, data, at), t.end.last, id)
		maybe = maybe || lost
		if errors.Is(err, errRefused) { // another node was first: count from its entry
			t.known = false
			if refused++; refused >= refusals {
				s.ask(log, time.Since(begun))
			}
			continue
		}
		if err != nil {
			t.known = false
			return nil, err
		}
		t.end = e.at(seq)
		return stored(t.end), nil
	}
}

// uncertain adds ErrUncertain to an error that ends a write of which an earlier try may
// have been stored.
func uncertain(maybe bool, err error) error {
	if maybe {
		return fmt.Errorf("natsstore: %w (%w)", store.ErrUncertain, err)
	}
	return err
}

func entryMessage(subj string, e end, data []byte, at time.Time) *nats.Msg {
	h := nats.Header{headerSeq: {strconv.FormatUint(e.n, 10)}}
	if !at.IsZero() {
		h[headerTime] = []string{at.UTC().Format(time.RFC3339Nano)}
	}
	if e.n > 1 {
		h[headerFirst] = []string{strconv.FormatUint(e.first, 10)}
		h[headerPage] = []string{strconv.FormatUint(e.page, 10)}
	}
	return &nats.Msg{Subject: subj, Data: data, Header: h}
}

// findOwn looks whether the entry after before bears our id: then our append was
// stored and its answer lost. It returns its stream sequence, or zero.
func (s *Store) findOwn(ctx context.Context, st stream, subj string, before end, id string) (uint64, error) {
	m, err := s.next(ctx, st.name, subj, before.last+1)
	switch {
	case errors.Is(err, errMissing):
		return 0, nil // dropped meanwhile
	case err != nil:
		return 0, fmt.Errorf("natsstore: %w (%w)", store.ErrUncertain, err)
	case m.header.Get(jetstream.MsgIDHeader) == id:
		return m.seq, nil
	}
	return 0, nil
}

// end asks the leader where a log ends.
func (s *Store) end(ctx context.Context, st stream, subj string) (end, error) {
	m, err := s.newest(ctx, st.name, subj, st.fence)
	switch {
	case errors.Is(err, errMissing):
		return end{}, nil
	case err != nil:
		return end{}, err
	}
	e := endAt(m)
	if e.n == 0 || e.first == 0 {
		return end{}, fmt.Errorf("natsstore: message %d of %s is no log entry: %w", m.seq, st.name, store.ErrDamaged)
	}
	return e, nil
}

// Head implements [store.Engine].
func (s *Store) Head(ctx context.Context, log string) (store.Head, error) {
	if err := s.open(); err != nil {
		return store.Head{}, err
	}
	st, subj, err := s.place(log)
	if err != nil {
		return store.Head{}, err
	}
	e, err := s.end(ctx, st, subj)
	if err != nil || e.n == 0 {
		return store.Head{}, err
	}
	return store.Head{Epoch: st.epoch + e.first, Seq: e.n}, nil
}

// Rewind implements [store.Engine]. A log has one epoch here, from its first entry to
// its drop.
func (s *Store) Rewind(ctx context.Context, log string, epoch, seq uint64) (uint64, error) {
	h, err := s.Head(ctx, log)
	if err == nil && (h.Epoch != epoch || h.Seq < seq) { // who says so may be no leader any more
		h, err = s.Head(store.Linearizable(ctx), log)
	}
	if err != nil || h.Epoch != epoch {
		return 0, err
	}
	return min(seq, h.Seq), nil
}

// Read implements [store.Engine].
func (s *Store) Read(ctx context.Context, log string, after uint64, limit int) ([]store.Entry, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	st, subj, err := s.place(log)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	for {
		e, err := s.end(ctx, st, subj)
		if err != nil || after >= e.n || limit <= 0 {
			return nil, err
		}
		out, err := s.readTo(ctx, st, subj, e, after, min(limit, int(min(e.n-after, 1<<30))))
		if !errors.Is(err, errDisjoint) {
			return out, err
		}
		if ctx.Err() != nil { // dropped and written again, over and over
			return nil, fmt.Errorf("natsstore: read %s: %w", log, ctx.Err())
		}
	}
}

// readTo returns want entries after a sequence, of the log that ends at e. errDisjoint
// when the log was dropped meanwhile.
func (s *Store) readTo(ctx context.Context, st stream, subj string, e end, after uint64, want int) ([]store.Entry, error) {
	from, n, err := s.seek(ctx, st, subj, e, after+1)
	if err != nil {
		return nil, err
	}
	out := make([]store.Entry, 0, want)
	accept := func(m message) bool {
		got := endAt(m)
		if got.n != n || got.first != e.first {
			return false
		}
		if n > after {
			out = append(out, store.Entry{Seq: n, Epoch: st.epoch + e.first, Data: m.data, Time: m.appended()})
		}
		from, n = m.seq+1, n+1
		return true
	}
	for len(out) < want {
		before := n
		batch := min(want-len(out)+int(after+1-min(n, after+1)), readBatch)
		got, _ := s.gather(ctx, st.name, getRequest{NextFor: subj, Seq: from, Batch: batch})
		for _, m := range got {
			if len(out) == want || !accept(m) {
				break
			}
		}
		if n > before {
			continue
		}
		m, err := s.next(ctx, st.name, subj, from) // the replica lags: ask the leader
		if errors.Is(err, errMissing) || err == nil && !accept(m) {
			return nil, errDisjoint
		} else if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// seek finds a place to begin reading so that entry n comes soon: the stream sequence
// and the log's sequence of an entry that is less than a page before n, or n itself.
func (s *Store) seek(ctx context.Context, st stream, subj string, e end, n uint64) (at, atN uint64, err error) {
	switch p := e.pageNumber(); {
	case n == e.n:
		return e.last, n, nil
	case n < pageSize:
		return e.first, 1, nil
	case n >= p:
		return e.page, p, nil
	}
	// Halve the stretch of the stream in which the entry must lie.
	lo, loN, hi := e.first, uint64(1), e.page
	for n-loN >= pageSize && hi-lo > 1 {
		mid := lo + (hi-lo)/2
		m, err := s.next(ctx, st.name, subj, mid)
		if errors.Is(err, errMissing) {
			return 0, 0, errDisjoint
		} else if err != nil {
			return 0, 0, err
		}
		got := endAt(m)
		switch {
		case got.first != e.first:
			return 0, 0, errDisjoint
		case got.n <= n:
			lo, loN = m.seq, got.n
		default:
			hi = mid
		}
	}
	return lo, loN, nil
}

// DropLog implements [store.Engine]. ErrUncertain.
func (s *Store) DropLog(ctx context.Context, log string) error {
	if err := s.open(); err != nil {
		return err
	}
	st, subj, err := s.place(log)
	if err != nil {
		return err
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	// Up to the present end, and again for what was appended meanwhile; but not what
	// belongs to a log that was begun after the drop.
	life := uint64(0)
	for {
		e, err := s.end(ctx, st, subj)
		if err != nil || e.n == 0 || life != 0 && e.first != life {
			return err
		}
		life = e.first
		err = s.retry(ctx, func(try context.Context) error {
			stream, err := s.js.Stream(try, st.name)
			if err != nil {
				return err
			}
			return stream.Purge(try, jetstream.WithPurgeSubject(subj), jetstream.WithPurgeSequence(e.last+1))
		})
		if err != nil {
			return s.writeError(err)
		}
	}
}
