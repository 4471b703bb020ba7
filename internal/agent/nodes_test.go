package agent_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/agent"
	"github.com/tandem-call/tandem/internal/store"
)

// listened says when somebody listens.
type listened struct {
	store.Engine
	to chan string
}

func (e listened) Subscribe(ctx context.Context, subject string, fn func(string, []byte)) (func(), error) {
	cancel, err := e.Engine.Subscribe(ctx, subject, fn)
	e.to <- subject
	return cancel, err
}

// TestFirstAtAnotherNode: a tenant gets its first agent at one node, and another one, which has been running for
// long, knows the agent's device, and that calls may be an agent's.
func TestFirstAtAnotherNode(t *testing.T) {
	c := newCentre(t)
	engine := listened{c.engine, make(chan string, 1)}
	other, err := agent.New(t.Context(), agent.Config{Engine: engine, Devices: c, Sessions: c, Now: func() time.Time { return c.now }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() {
		if err := other.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	<-engine.to
	if other.Any(tenant) {
		t.Fatal("there are agents before there is one")
	}
	anna := c.work("anna", "1", false)
	if r, err := other.Of(t.Context(), tenant, anna); err != nil || r.ID != "anna" {
		t.Errorf("the device is %q's, %v", r.ID, err)
	}
	for end := time.Now().Add(10 * time.Second); !other.Any(tenant); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the other node has not heard that there are agents")
		}
	}
}
