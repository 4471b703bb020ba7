package pebblestore

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
)

// maxUnread is how many messages may wait for one subscriber before more are dropped.
const maxUnread = 1 << 16

// bus passes messages between the subscribers of this process.
type bus struct {
	mu      sync.RWMutex
	exact   map[string]subscribers // by subject
	below   map[string]subscribers // by what a subject begins with, ending in "/"
	dropped atomic.Uint64
}

type subscribers map[*mailbox[message]]struct{}

type message struct {
	subject string
	data    []byte
}

// Publish hands data to the present subscribers of a subject.
func (s *Store) Publish(ctx context.Context, subject string, data []byte) error {
	if err := checkName("subject", subject); err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	b := &s.bus
	b.mu.RLock()
	defer b.mu.RUnlock()
	m := message{subject, data}
	b.put(b.exact[subject], m)
	for i := range len(subject) - 1 { // "a/>" is for what has something after the "/"
		if subject[i] == '/' {
			b.put(b.below[subject[:i+1]], m)
		}
	}
	return nil
}

func (b *bus) put(to subscribers, m message) {
	for box := range to {
		if !box.put(m) {
			b.dropped.Add(1)
		}
	}
}

// Subscribe calls fn with the messages to a subject, or below it if it ends in "/>".
func (s *Store) Subscribe(ctx context.Context, subject string, fn func(subject string, data []byte)) (cancel func(), err error) {
	b := &s.bus
	index := b.exact
	if prefix, ok := strings.CutSuffix(subject, "/>"); ok {
		subject, index = prefix+"/", b.below
	}
	if err := checkName("subject", subject); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	box := newMailbox(s.delivery, maxUnread, func(m message) { fn(m.subject, m.data) })
	b.mu.Lock()
	defer b.mu.Unlock()
	if index[subject] == nil {
		index[subject] = subscribers{}
	}
	index[subject][box] = struct{}{}
	return func() {
		b.mu.Lock()
		delete(index[subject], box)
		if len(index[subject]) == 0 {
			delete(index, subject)
		}
		b.mu.Unlock()
		box.close()
	}, nil
}
