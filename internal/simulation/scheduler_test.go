package simulation

import (
	"context"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/tandem-call/tandem/internal/store"
)

// scheduler decides, by its seed, what happens next.
type scheduler struct {
	rng   *rand.Rand
	disk  *disk
	nodes func() int // how many the world has
	// faults is how many of a thousand answers are lost.
	faults int
	sum    hash.Hash64
	steps  int
	print  func(string) // may be nil

	// mu is held for moments only, never over a stop; when the scheduler acts all others
	// have stopped.
	mu     sync.Mutex
	parked []*op
}

func newScheduler(seed uint64) *scheduler {
	return &scheduler{rng: rand.New(rand.NewPCG(seed, 0)), disk: newDisk(), sum: fnv.New64a()}
}

// taskName is the key under which a context has the name of what runs.
type taskName struct{}

func named(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, taskName{}, name)
}

func nameOf(ctx context.Context) string {
	name, _ := ctx.Value(taskName{}).(string)
	return name
}

// step stops the goroutine until it is its operation's turn. apply is called while nothing
// else runs.
func (e engine) step(ctx context.Context, o op, apply func() error) error {
	o.name = nameOf(ctx) + ": " + o.name
	o.node, o.apply, o.release = e.node, apply, make(chan error, 1)
	e.mu.Lock()
	if e.node.dead {
		e.mu.Unlock()
		return store.ErrClosed
	}
	e.parked = append(e.parked, &o)
	e.mu.Unlock()
	return <-o.release
}

// What becomes of an operation.
type fate int

const (
	done       fate = iota
	lostBefore      // it is not done, and nobody says so
	lostAfter       // it is done, and nobody says so
)

func (s *scheduler) verdict() fate {
	if s.rng.IntN(1000) >= s.faults {
		return done
	}
	return lostBefore + fate(s.rng.IntN(2))
}

// note enters a step into the trace.
func (s *scheduler) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	s.steps++
	fmt.Fprintf(s.sum, "%d %s\n", time.Now().UnixMilli(), line)
	if s.print != nil {
		s.print(line)
	}
}

// event is something that may happen next.
type event struct {
	name string
	do   func()
}

// possible lists what may happen next, in an order that depends on nothing but what it is.
func (s *scheduler) possible() (l []event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortStableFunc(s.parked, byName)
	for _, o := range s.parked {
		if o.blocked == nil || !o.blocked() {
			l = append(l, event{o.name, func() { s.run(o) }})
		}
	}
	if n := len(s.disk.pending); n > 0 {
		l = append(l, event{"sync", func() { s.disk.sync(1 + s.rng.IntN(len(s.disk.pending))) }})
	}
	for _, name := range sortedKeys(s.disk.logs) {
		j := s.disk.logs[name]
		j.watchers = slices.DeleteFunc(j.watchers, func(w *watcher) bool { return w.gone || w.node.dead })
		for _, w := range j.watchers {
			if x := j.showable(w); x != nil {
				l = append(l, event{fmt.Sprintf("%s: shown %s %d", w.node.name, name, x.Seq), func() {
					w.next = x.Seq
					w.fn(x.Entry)
				}})
			}
		}
	}
	first := map[*subscription]bool{} // one at a time, in their order
	s.disk.mail = slices.DeleteFunc(s.disk.mail, func(m *mail) bool { return m.to.gone || m.to.node.dead })
	for _, m := range s.disk.mail {
		if first[m.to] {
			continue
		}
		first[m.to] = true
		l = append(l, event{fmt.Sprintf("%s: told %s", m.to.node.name, m.subject), func() {
			s.disk.mail = slices.DeleteFunc(s.disk.mail, func(o *mail) bool { return o == m })
			m.to.fn(m.subject, m.data)
		}})
	}
	s.disk.answers = slices.DeleteFunc(s.disk.answers, func(a answer) bool { return a.owner.dead })
	if len(s.disk.answers) > 0 {
		a := s.disk.answers[0]
		l = append(l, event{a.owner.name + ": answer", func() {
			s.disk.answers = s.disk.answers[1:]
			a.fn(a.err)
		}})
	}
	return l
}

func (s *scheduler) run(o *op) {
	s.mu.Lock()
	s.parked = slices.DeleteFunc(s.parked, func(x *op) bool { return x == o })
	s.mu.Unlock()
	how := done
	if o.fault != nil && s.nodes() > 1 {
		how = s.verdict()
	}
	var err error
	if how != lostBefore {
		err = o.apply()
	}
	if how == lostBefore || how == lostAfter && (o.write || err == nil) {
		err = o.fault
	}
	if err != nil {
		s.note("%s: %v", o.name, err)
	}
	o.release <- err
}

// one lets one thing happen; false: there is nothing that could.
func (s *scheduler) one() bool {
	synctest.Wait()
	l := s.possible()
	if len(l) == 0 {
		return false
	}
	e := l[s.rng.IntN(len(l))]
	s.note("%s", e.name)
	e.do()
	synctest.Wait()
	return true
}

// abandon ends all operations of a node that has died: done, perhaps, or not.
func (s *scheduler) abandon(n *node) {
	synctest.Wait()
	s.mu.Lock()
	slices.SortStableFunc(s.parked, byName)
	var his []*op
	for _, o := range s.parked {
		if o.node == n {
			his = append(his, o)
		}
	}
	s.parked = slices.DeleteFunc(s.parked, func(o *op) bool { return o.node == n })
	s.mu.Unlock()
	for _, o := range his {
		if o.write && s.rng.IntN(2) == 0 && (o.blocked == nil || !o.blocked()) {
			_ = o.apply() // nobody hears what came of it
		}
		o.release <- store.ErrClosed
	}
	synctest.Wait()
}
