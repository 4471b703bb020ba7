package natsstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tandem-call/tandem/internal/store"
)

// fenceToken ends the subject of a stream's fence; no name is written so, see subject.
const fenceToken = "/f"

// fence is a message that is written to a stream to prove a read: once it is stored by a quorum, whoever shows
// it has all that was acknowledged before it was sent. Only the last one is kept.
func fence(subject string) *nats.Msg {
	return &nats.Msg{Subject: subject, Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}}}
}

// tableFence is the subject of the fence of a table's stream.
func tableFence(stream string) string {
	return "$KV." + strings.TrimPrefix(stream, "KV_") + "." + fenceToken
}

// fences are the proofs under way, by the fence's subject. All reads that begin while one is being written
// share the next.
type fences struct {
	mu      sync.Mutex
	waiting map[string]*proof
	running map[string]bool
}

type proof struct {
	done  chan struct{}
	reach uint64 // the fence's sequence in the stream
	err   error
}

// reach returns a sequence of the stream that covers everything that was acknowledged before the context's moment;
// zero where the stream is full, so that no fence can be written, and its leader must be believed.
func (s *Store) reach(ctx context.Context, fenceSubject string) (uint64, error) {
	moment := store.MomentOf(ctx)
	if n, ok := moment.Reach(fenceSubject); ok {
		return n, nil
	}
	p, err := s.nextFence(fenceSubject)
	if err != nil {
		return 0, err
	}
	select {
	case <-p.done:
		if p.err == nil {
			moment.Proved(fenceSubject, p.reach)
		}
		return p.reach, p.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// nextFence is the proof by a fence that is not yet being written.
func (s *Store) nextFence(subject string) (*proof, error) {
	f := &s.fences
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.waiting[subject]
	if p == nil {
		p = &proof{done: make(chan struct{})}
		f.waiting[subject] = p
	}
	if !f.running[subject] {
		if !s.start(func() { s.fence(subject) }) {
			return nil, store.ErrClosed
		}
		f.running[subject] = true
	}
	return p, nil
}

// fence writes fences for as long as somebody waits for one.
func (s *Store) fence(subject string) {
	f := &s.fences
	for {
		f.mu.Lock()
		p := f.waiting[subject]
		delete(f.waiting, subject)
		if p == nil {
			delete(f.running, subject)
		}
		f.mu.Unlock()
		if p == nil {
			return
		}
		ctx, cancel := s.within(s.life)
		p.err = s.retry(ctx, func(try context.Context) error {
			ack, err := s.js.PublishMsg(try, fence(subject), jetstream.WithRetryAttempts(0))
			var api *jetstream.APIError
			switch {
			case err == nil:
				p.reach = ack.Sequence
			case errors.As(err, &api) && noRoom(api):
				return nil
			}
			return err
		})
		cancel()
		close(p.done)
	}
}

// newest is last. A linearizable one has at least what was acknowledged before the call, whoever thinks that it is
// the leader: it comes from any replica that shows the fence.
func (s *Store) newest(ctx context.Context, stream, subject, fence string) (message, error) {
	if store.MomentOf(ctx) == nil {
		return s.last(ctx, stream, subject)
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	reach, err := s.reach(ctx, fence)
	switch {
	case err != nil:
		return message{}, fmt.Errorf("natsstore: prove a read of %s: %w", stream, err)
	case reach == 0:
		return s.last(ctx, stream, subject)
	}
	for {
		got, upTo := s.gather(ctx, stream, getRequest{MultiLast: []string{subject, fence}})
		if upTo >= reach {
			for _, m := range got {
				if m.subject == subject {
					return m, nil
				}
			}
			return message{}, errMissing
		}
		if err := s.rest(ctx); err != nil {
			return message{}, fmt.Errorf("natsstore: no replica of %s shows what was acknowledged: %w", stream, err)
		}
	}
}
