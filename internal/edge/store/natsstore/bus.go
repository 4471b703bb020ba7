package natsstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/tandem-call/tandem/internal/store"
)

// headerIncrement makes a message of a counter stream add to its subject's counter
// (NATS ADR-49).
const headerIncrement = "Nats-Incr"

// Add implements [store.Engine]. A counter holds what fits an int64; beyond it the
// cluster goes on counting and Add fails.
func (s *Store) Add(ctx context.Context, counter string, delta int64) (int64, error) {
	if err := s.open(); err != nil {
		return 0, err
	}
	k, err := subject(counter)
	if err != nil {
		return 0, err
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	// Sent once: an increment has no condition that would refuse its repetition, and an
	// answer to a repeated id does not say the value.
	ack, err := s.js.PublishMsg(ctx, &nats.Msg{
		Subject: s.opt.Prefix + ".count." + k,
		Header:  nats.Header{headerIncrement: {strconv.FormatInt(delta, 10)}},
	})
	if err != nil {
		return 0, s.writeError(err)
	}
	n, err := strconv.ParseInt(ack.Value, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("natsstore: counter %s: %w", counter, err)
	}
	return n, nil
}

// Publish implements [store.Engine]. It fails at once while there is no connection.
func (s *Store) Publish(_ context.Context, subj string, data []byte) error {
	if err := s.open(); err != nil {
		return err
	}
	if len(data) > store.MaxValue {
		return store.ErrTooLarge
	}
	k, err := subject(subj)
	if err != nil {
		return err
	}
	if err := s.nc.Publish(s.busRoot()+k, data); err != nil {
		return fmt.Errorf("natsstore: publish to %s: %w", subj, err)
	}
	return nil
}

// Subscribe implements [store.Engine]. ctx is for the beginning only. The subscription
// is known to our server when it returns; others learn it a moment later.
func (s *Store) Subscribe(ctx context.Context, subj string, fn func(subject string, data []byte)) (func(), error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	plain, below := strings.CutSuffix(subj, "/>")
	k, err := subject(plain)
	if err != nil {
		return nil, err
	}
	if below {
		k += ".>"
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	sub, err := s.nc.SubscribeSync(s.busRoot() + k)
	if err != nil {
		return nil, fmt.Errorf("natsstore: subscribe to %s: %w", subj, err)
	}
	if err := s.nc.FlushWithContext(ctx); err != nil {
		_ = sub.Unsubscribe()
		return nil, fmt.Errorf("natsstore: subscribe to %s: %w", subj, err)
	}
	life, stop := context.WithCancel(s.life)
	done := make(chan struct{})
	started := s.start(func() {
		defer close(done)
		defer func() { _ = sub.Unsubscribe() }()
		for {
			m, err := sub.NextMsgWithContext(life)
			switch {
			case life.Err() != nil:
				return
			case errors.Is(err, nats.ErrSlowConsumer):
				continue // some were dropped; the bus promises none
			case err != nil:
				s.opt.Logger.Warn("storage cluster: subscription ended", "subject", subj, "error", err)
				return
			}
			fn(name(strings.TrimPrefix(m.Subject, s.busRoot())), m.Data)
		}
	})
	if !started {
		stop()
		return nil, store.ErrClosed
	}
	return func() { stop(); <-done }, nil
}

func (s *Store) busRoot() string { return s.opt.Prefix + ".bus." }
