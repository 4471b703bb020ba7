package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/tandem-call/tandem/internal/store"
)

// step is one operation on a record: a get, or a put or delete at a revision.
type step struct {
	kind  byte // 'g', 'p' or 'd'
	key   string
	value string
	at    store.Rev
}

// outcome is what a step answered; rev zero with ok means that there was no record.
type outcome struct {
	ok    bool
	value string
	rev   store.Rev
}

// register is the state of one record. last survives a delete: revisions never repeat.
type register struct {
	value     string
	rev, last store.Rev
}

func (r register) next(s step, o outcome) (bool, register) {
	switch s.kind {
	case 'g':
		return o.rev == r.rev && (r.rev == 0 || o.value == r.value), r
	case 'p':
		if !o.ok {
			return s.at != r.rev, r
		}
		return s.at == r.rev && o.rev > r.last, register{s.value, o.rev, o.rev}
	default:
		if !o.ok {
			return r.rev == 0 || s.at != r.rev, r
		}
		return r.rev != 0 && s.at == r.rev, register{last: r.last}
	}
}

// testLinearizable has several clients get, put and delete a few records, and looks for
// one order of all steps that explains every answer.
func testLinearizable(t *testing.T, h *harness) {
	const clients, steps, keys = 6, 60, 3
	var mu sync.Mutex
	var history []porcupine.Operation
	started := time.Now()
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			known := map[string]store.Rev{}
			for i := range steps {
				s := step{key: fmt.Sprint("k", rand.IntN(keys)), value: fmt.Sprint(c, "-", i)}
				s.kind, s.at = "ggppppd"[rand.IntN(7)], known[s.key]
				called := time.Since(started)
				o, err := h.do(s)
				returned := time.Since(started)
				if err != nil {
					t.Errorf("%c %s: %v", s.kind, s.key, err)
					return
				}
				if s.kind == 'g' || s.kind == 'p' && o.ok {
					known[s.key] = o.rev
				} else if s.kind == 'd' {
					known[s.key] = 0
				} else {
					known[s.key] = h.revision(s.key) // outside the history: only a hint
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: c, Input: s, Call: int64(called), Output: o, Return: int64(returned)})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	model := porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byKey := map[string][]porcupine.Operation{}
			for _, op := range history {
				byKey[op.Input.(step).key] = append(byKey[op.Input.(step).key], op)
			}
			var parts [][]porcupine.Operation
			for _, part := range byKey {
				parts = append(parts, part)
			}
			return parts
		},
		Init: func() any { return register{} },
		Step: func(state, input, output any) (bool, any) {
			ok, next := state.(register).next(input.(step), output.(outcome))
			return ok, next
		},
	}
	if result := porcupine.CheckOperationsTimeout(model, history, patience); result != porcupine.Ok {
		t.Fatalf("history of %d steps: %s", len(history), result)
	}
}

func (h *harness) revision(key string) store.Rev {
	r, err := h.Get(h.ctx, "lin", key)
	if err != nil {
		return 0
	}
	return r.Rev
}

func (h *harness) do(s step) (outcome, error) {
	switch s.kind {
	case 'g':
		ctx := h.ctx
		if rand.IntN(2) == 0 { // no machine is parted here: both kinds of reads say the same
			ctx = store.Linearizable(ctx)
		}
		r, err := h.Get(ctx, "lin", s.key)
		if errors.Is(err, store.ErrNotFound) {
			return outcome{ok: true}, nil
		}
		return outcome{true, string(r.Value), r.Rev}, err
	case 'p':
		rev, err := h.Put(h.ctx, "lin", s.key, []byte(s.value), s.at)
		if errors.Is(err, store.ErrConflict) {
			return outcome{}, nil
		}
		return outcome{ok: true, rev: rev}, err
	default:
		err := h.Delete(h.ctx, "lin", s.key, s.at)
		if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
			return outcome{}, nil
		}
		return outcome{ok: true}, err
	}
}
