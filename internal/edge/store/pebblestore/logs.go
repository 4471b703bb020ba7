package pebblestore

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"
)

// maxIdleLogs is how many logs that nobody uses are kept in memory.
const maxIdleLogs = 4096

// epochs numbers the lives of logs. A number is in microseconds since 1970 where the
// clock allows, so that a store that was made anew or restored does not give out again
// what a lost one had given out.
type epochs struct {
	now   atomic.Uint64 // durable; the epoch of a log that begins now
	last  uint64        // the last number given out; of the committer
	floor uint64        // given out at the last unclean start, or restore
}

// logs holds the states of the logs in use and, up to a limit, of those used lately.
type logs struct {
	store   *Store
	maxIdle int

	mu     sync.Mutex
	states map[string]*logState
	idle   *list.List // of *logState, those used last in front
}

type idleMark = *list.Element

func newLogs(s *Store) *logs {
	return &logs{store: s, maxIdle: maxIdleLogs, states: map[string]*logState{}, idle: list.New()}
}

// useLog begins an operation on a log; leave ends it.
func (s *Store) useLog(ctx context.Context, name string) (l *logState, leave func(), err error) {
	if err := checkName("log name", name); err != nil {
		return nil, nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, nil, err
	}
	g := s.logs
	g.mu.Lock()
	defer g.mu.Unlock()
	l = g.states[name]
	if l == nil {
		l = &logState{logs: g, name: name}
		g.states[name] = l
	}
	g.use(l)
	return l, func() {
		g.release(l)
		s.leave()
	}, nil
}

// retain adds a user to a log that is in use.
func (g *logs) retain(l *logState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.use(l)
}

func (g *logs) use(l *logState) {
	l.users++
	if l.idle != nil {
		g.idle.Remove(l.idle)
		l.idle = nil
	}
}

// release takes a user away. A log without users is forgotten when it is long unused.
func (g *logs) release(l *logState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.users--; l.users > 0 {
		return
	}
	l.idle = g.idle.PushFront(l)
	if g.idle.Len() > g.maxIdle {
		oldest := g.idle.Remove(g.idle.Back()).(*logState)
		delete(g.states, oldest.name)
	}
}

func (g *logs) size() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.states)
}
