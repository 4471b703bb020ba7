package server_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// histories has parties report, leave and look at any node, and looks for one order of all
// that was done that explains every answer (linearizability).
type histories struct {
	t    *testing.T
	farm *farm
	made int
	ops  int // done
	wg   sync.WaitGroup
}

// begin makes n histories, each of two calls' worth of operations: four devices of two
// parties report one call from all sides; then they look at their session, and leave it.
func (h *histories) begin(n, ops int) {
	h.t.Helper()
	for range n {
		numbers := [2]string{fmt.Sprintf("+44207946%04d", 7000+2*h.made), fmt.Sprintf("+44207946%04d", 7001+2*h.made)}
		h.made++
		h.ops += ops
		var apis [4]*client.API
		var reports [4]wire.Report
		for i := range apis {
			id := enrol(h.t, h.farm.nodes[0].url(), numbers[i%2], h.farm.nodes[0].codes)
			id.Server = h.farm.balancer.url()
			apis[i] = client.NewAPI(id, clientOf(h.t, nil))
			reports[i] = wire.Report{PartyDetails: details(id, numbers[1-i%2], []tel.Direction{tel.Outgoing, tel.Incoming}[i%2], tel.Active)}
		}
		h.wg.Go(func() {
			matching := record(h.t.Context(), ops/2, apis[:], func(ctx context.Context, client int) (input, output any, err error) {
				var ack wire.Ack
				err = apis[client].Call(ctx, http.MethodPost, "/v1/reports", reports[client], &ack)
				return client % 2, ack.Session, err
			})
			h.judge("matching", matchingModel, twoSteps(matching))
			session := h.session(apis)
			if session == "" {
				return
			}
			membership := record(h.t.Context(), ops/2, apis[:], func(ctx context.Context, client int) (input, output any, err error) {
				if client >= 2 && rand.IntN(ops/8) == 0 {
					err := apis[client].Call(ctx, http.MethodPost, "/v1/sessions/"+string(session)+"/leave", wire.Leave{Device: true}, nil)
					var p *wire.Problem
					if errors.As(err, &p) && p.Code == wire.CodeNotMember {
						err = nil // it had left
					}
					return client, nil, err
				}
				var s wire.SessionState
				err = apis[client%2].Call(ctx, http.MethodGet, "/v1/sessions/"+string(session), nil, &s)
				return -1, there(s), err
			})
			h.judge("membership", membershipModel, membership)
		})
	}
}

// session waits until all four devices are in one session.
func (h *histories) session(apis [4]*client.API) wire.SessionID {
	for end := time.Now().Add(4 * patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(h.t.Context(), 5*time.Second)
		var list wire.SessionList
		err := apis[0].Call(ctx, http.MethodGet, "/v1/sessions", nil, &list)
		cancel()
		if err == nil && len(list.Sessions) == 1 && len(there(list.Sessions[0])) == 4 {
			return list.Sessions[0].ID
		}
	}
	h.t.Error("the four devices are not in one session")
	return ""
}

// there are the members who have not left, as member ids in order.
func there(s wire.SessionState) (ids string) {
	var all []string
	for _, m := range s.Members {
		if !m.Left {
			all = append(all, string(m.ID))
		}
	}
	slices.Sort(all)
	for _, id := range all {
		ids += id
	}
	return ids
}

func (h *histories) judge(what string, m porcupine.Model, history []porcupine.Operation) {
	if got := porcupine.CheckOperationsTimeout(m, history, patience); got != porcupine.Ok {
		h.t.Errorf("%s, history of %d operations: %s", what, len(history), got)
		for _, op := range history {
			h.t.Logf("%d: %v to %v: %v says %+v", op.ClientId, time.Duration(op.Call), time.Duration(op.Return), op.Input, op.Output)
		}
	}
}

func (h *histories) wait() { h.wg.Wait() }

// unanswered is the output of an operation that may have been done or not, or later.
type unanswered struct{}

// record has each client do its operations one after the other, and repeats none by itself.
func record(ctx context.Context, ops int, clients []*client.API, do func(ctx context.Context, client int) (input, output any, err error)) (history []porcupine.Operation) {
	begun := time.Now()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for n := 0; n < ops/len(clients) && ctx.Err() == nil; n++ {
				ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
				called := time.Since(begun)
				input, output, err := do(ctx, c)
				op := porcupine.Operation{ClientId: c, Input: input, Call: int64(called), Output: output, Return: int64(time.Since(begun))}
				cancel()
				if err != nil {
					op.Output, op.Return = unanswered{}, math.MaxInt64
				}
				mu.Lock()
				op.ClientId = len(history) // one operation of an API may go on after its client gave it up
				history = append(history, op)
				mu.Unlock()
				time.Sleep(rand.N(20 * time.Millisecond))
			}
		})
	}
	wg.Wait()
	return history
}

// matched is the state of one call: who has reported it, and its session once both have.
type matched struct {
	reported [2]bool
	session  wire.SessionID
}

// look is the second step of a report: what its answer says is read after it is written.
const look = -1

// twoSteps tells a report's writing from the reading of its answer.
func twoSteps(history []porcupine.Operation) (steps []porcupine.Operation) {
	for _, op := range history {
		read := op
		op.ClientId, op.Output = 2*op.ClientId, nil
		steps = append(steps, op)
		if _, none := read.Output.(unanswered); !none {
			read.ClientId, read.Input = op.ClientId+1, look
			steps = append(steps, read)
		}
	}
	return steps
}

// matchingModel: the answer to a report tells the session if both sides have reported, else
// none, and always the same.
var matchingModel = porcupine.Model{
	Init: func() any { return matched{} },
	Step: func(state, input, output any) (bool, any) {
		m := state.(matched)
		if side := input.(int); side != look {
			m.reported[side] = true
			return true, m
		}
		session := output.(wire.SessionID)
		switch {
		case !m.reported[0] || !m.reported[1]:
			return session == "", m
		case m.session == "":
			m.session = session
		}
		return session != "" && session == m.session, m
	},
}

// membershipModel: who has left is not there, everybody else is. Its state is the set of
// those who have left, of clients 2 and 3; the members' ids are of no fixed order, so that
// only their number counts, and that nobody comes back.
var membershipModel = porcupine.Model{
	Init: func() any { return [2]bool{} },
	Step: func(state, input, output any) (bool, any) {
		left := state.([2]bool)
		if client := input.(int); client >= 0 {
			left[client-2] = true
			return true, left
		}
		ids, answered := output.(string)
		if !answered {
			return true, left
		}
		n := 4
		for _, gone := range left {
			if gone {
				n--
			}
		}
		return len(ids) == n, left
	},
}

// linearizable: a few histories, with a node killed in the midst of them.
func (f *farm) linearizable(t *testing.T) {
	h := &histories{t: t, farm: f}
	h.begin(6, 80)
	n := f.nodes[1]
	if err := n.end(syscall.SIGKILL); err == nil {
		t.Error("it ended in good order")
	}
	n.start()
	n.ready()
	h.wait()
}

// TestModels: the models refuse what must not be.
func TestModels(t *testing.T) {
	after := func(n int, input, output any) porcupine.Operation {
		return porcupine.Operation{ClientId: n, Input: input, Output: output, Call: int64(2 * n), Return: int64(2*n + 1)}
	}
	for name, c := range map[string]struct {
		model   porcupine.Model
		history []porcupine.Operation
		want    porcupine.CheckResult
	}{
		"joined":                 {matchingModel, []porcupine.Operation{after(0, 0, nil), after(1, look, wire.SessionID("")), after(2, 1, nil), after(3, look, wire.SessionID("s"))}, porcupine.Ok},
		"one side is enough":     {matchingModel, []porcupine.Operation{after(0, 0, nil), after(1, look, wire.SessionID("s"))}, porcupine.Illegal},
		"joined and not told":    {matchingModel, []porcupine.Operation{after(0, 0, nil), after(1, 1, nil), after(2, look, wire.SessionID(""))}, porcupine.Illegal},
		"joined twice":           {matchingModel, []porcupine.Operation{after(0, 0, nil), after(1, 1, nil), after(2, look, wire.SessionID("s")), after(3, look, wire.SessionID("r"))}, porcupine.Illegal},
		"left":                   {membershipModel, []porcupine.Operation{after(0, -1, "1234"), after(1, 2, nil), after(2, -1, "124")}, porcupine.Ok},
		"left and still there":   {membershipModel, []porcupine.Operation{after(0, 2, nil), after(1, -1, "1234")}, porcupine.Illegal},
		"gone without leaving":   {membershipModel, []porcupine.Operation{after(0, -1, "124")}, porcupine.Illegal},
		"unanswered, and so may": {membershipModel, []porcupine.Operation{{ClientId: 0, Input: 2, Output: unanswered{}, Return: math.MaxInt64}, after(1, -1, "1234"), after(2, -1, "124")}, porcupine.Ok},
	} {
		if got := porcupine.CheckOperationsTimeout(c.model, c.history, patience); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
