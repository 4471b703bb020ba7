package agent_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/agent"
	"github.com/tandem-call/tandem/wire"
)

// TestTakenBack: who has transferred a session takes it back for two minutes, and nobody else does.
func TestTakenBack(t *testing.T) {
	c := newCentre(t)
	ann, ben, zoe := c.work("ann", "1", false), c.work("ben", "2", false), c.work("zoe", "3", false)
	c.talk("s1", wire.InCall, ann)
	c.now = c.now.Add(time.Minute)
	c.talk("s1", wire.InCall, "-"+ann, ben) // it was transferred
	back := func(d wire.DeviceID, id wire.SessionID, to string) error {
		return c.Transfer(t.Context(), tenant, d, id, to)
	}
	if err := back(zoe, "s1", "zoe"); !errors.Is(err, agent.ErrNotFound) {
		t.Errorf("taken by somebody who never had it: %v", err)
	}
	if err := back(ben, "s1", "ben"); !errors.Is(err, agent.ErrRequest) {
		t.Errorf("taken by who has it: %v", err)
	}
	if err := back(ann, "s2", "ann"); !errors.Is(err, agent.ErrNotFound) {
		t.Errorf("taken although there is none: %v", err)
	}
	if len(c.handed) > 0 {
		t.Fatalf("handed over: %v", c.handed)
	}
	if err := back(ann, "s1", "ann"); err != nil || !slices.Equal(c.handed, []string{fmt.Sprint("s1", ben, ann)}) {
		t.Errorf("not taken back: %v, %v", c.handed, err)
	}
	c.now = c.now.Add(2 * time.Minute)
	if err := back(ann, "s1", "ann"); !errors.Is(err, agent.ErrNotFound) {
		t.Errorf("taken back after two minutes: %v", err)
	}
}

// TestTold: an agent's browser is told of its own state and sessions, a supervisor's of everybody's, and
// not for each single one.
func TestTold(t *testing.T) {
	c := newCentre(t)
	ann, sue := c.work("ann", "1", false), c.work("sue", "2", true)
	for len(c.told) > 0 {
		<-c.told
	}
	counts := map[string]int{}
	want := func(told string) {
		t.Helper()
		for counts[told] == 0 {
			select {
			case got := <-c.told:
				counts[got]++
			case <-time.After(30 * time.Second):
				t.Fatalf("not told %q, but %v", told, counts)
			}
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- c.Run(ctx) }()
	defer func() { stop(); <-over }()
	const changes = 200
	for i := range changes {
		if _, err := c.SetState(t.Context(), tenant, ann, wire.AgentStateRequest{State: []wire.AgentState{wire.AgentAvailable, wire.AgentAway}[i%2]}); err != nil {
			t.Fatal(err)
		}
	}
	want(string(ann) + " agent")
	want(string(sue) + " agents")
	for len(c.told) > 0 {
		counts[<-c.told]++
	}
	if n := counts[string(ann)+" agent"]; n != changes {
		t.Errorf("told %d times of %d changes", n, changes)
	}
	if counts[string(sue)+" agents"] > changes/2 || counts[string(sue)+" agent"] > 0 || counts[string(ann)+" agents"] > 0 {
		t.Errorf("told too much: %v", counts)
	}
	clear(counts)
	c.talk("s1", wire.InCall, ann)
	want(string(ann) + " agent")
	want(string(sue) + " agents")
	clear(counts)
	if err := c.Remove(t.Context(), tenant, "ann"); err != nil {
		t.Fatal(err)
	}
	want(string(sue) + " agents")
}
