package agent_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/agent"
	"github.com/tandem-call/tandem/wire"
)

// TestLook: a supervisor who may looks into a colleague's running session; the colleague and the
// conversation tell of it, news of the session are told, and it ends by itself.
func TestLook(t *testing.T) {
	c := newCentre(t)
	ann, ben, sue, max := c.work("ann", "1", false), c.work("ben", "2", false), c.work("sue", "3", true), c.work("max", "4", true)
	may := func(id, extension string) {
		t.Helper()
		if _, err := c.Set(t.Context(), tenant, id, c.number, wire.AgentRequest{Name: strings.ToUpper(id), Extension: extension, Supervisor: true, MayLook: true}); err != nil {
			t.Fatal(err)
		}
	}
	may("sue", "3")
	if _, err := c.Set(t.Context(), tenant, "ann", c.number, wire.AgentRequest{Name: "ANN", Extension: "1", MayLook: true}); !errors.Is(err, agent.ErrRequest) {
		t.Errorf("who is no supervisor may look: %v", err)
	}
	c.talk("s1", wire.InCall, ann)
	c.talk("s2", wire.InCall, sue)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	look := func(d wire.DeviceID, id wire.SessionID) error {
		_, err := c.Look(t.Context(), tenant, d, id)
		return err
	}
	for _, x := range []struct {
		who  wire.DeviceID
		id   wire.SessionID
		want error
	}{
		{ben, "s1", agent.ErrNotFound}, {max, "s1", agent.ErrForbidden}, {ann, "s1", agent.ErrForbidden}, {"alice", "s1", agent.ErrNone},
		{sue, "s2", agent.ErrNotFound}, // her own
		{sue, "s3", agent.ErrNotFound},
	} {
		if err := look(x.who, x.id); !errors.Is(err, x.want) {
			t.Errorf("%s looks into %s: %v, want %v", x.who, x.id, err, x.want)
		}
	}
	if _, _, err := c.Looking(t.Context(), tenant, sue, "s1"); !errors.Is(err, agent.ErrNoLook) {
		t.Errorf("read before it is told: %v", err)
	}
	await := func(want string) {
		t.Helper()
		for {
			select {
			case got := <-c.told:
				if got == want {
					return
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("nobody was told %s", want)
			}
		}
	}
	for len(c.told) > 0 {
		<-c.told
	}
	if err := look(sue, "s1"); err != nil {
		t.Fatal(err)
	}
	await(fmt.Sprint(ann, " ", wire.NoticeAgent))
	await(fmt.Sprint(sue, " ", wire.NoticeLook))
	c.later.Add(int64(time.Minute))
	if err := look(sue, "s1"); err != nil { // prolonged
		t.Fatal(err)
	}
	await(fmt.Sprint(ann, " ", wire.NoticeAgent))
	x, holder, err := c.Looking(t.Context(), tenant, sue, "s1")
	if err != nil || holder != ann || len(x.Looks) != 1 || x.Looks[0].Name != "SUE" || x.Looks[0].Until.Sub(x.Looks[0].From) != 3*time.Minute {
		t.Errorf("%+v of %s, %v", x.Looks, holder, err)
	}
	c.mu.Lock()
	said, of := c.follow, c.followed
	c.mu.Unlock()
	if of != "s1" {
		t.Fatalf("%q is followed", of)
	}
	said() // a message
	await(fmt.Sprint(sue, " ", wire.NoticeLook))

	// Whoever may look takes over, or hands on.
	for _, to := range []string{"sue", "ben"} {
		if err := c.Transfer(t.Context(), tenant, sue, "s1", to); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{fmt.Sprint("s1", ann, sue), fmt.Sprint("s1", ann, ben)}; !slices.Equal(c.handed, want) {
		t.Errorf("handed over: %v, want %v", c.handed, want)
	}
	if err := c.Transfer(t.Context(), tenant, max, "s1", "ben"); !errors.Is(err, agent.ErrNotFound) {
		t.Errorf("a supervisor who may not look hands on: %v", err)
	}

	for len(c.told) > 0 {
		<-c.told
	}
	for range 2 {
		if err := c.EndLook(t.Context(), tenant, sue, "s1"); err != nil {
			t.Fatal(err)
		}
	}
	await(fmt.Sprint(ann, " ", wire.NoticeAgent))
	if _, _, err := c.Looking(t.Context(), tenant, sue, "s1"); !errors.Is(err, agent.ErrNoLook) {
		t.Errorf("it goes on: %v", err)
	}
	// One that is not prolonged ends by itself.
	if err := look(sue, "s1"); err != nil {
		t.Fatal(err)
	}
	c.later.Add(int64(3 * time.Minute))
	if x, _, err := c.Looking(t.Context(), tenant, sue, "s1"); !errors.Is(err, agent.ErrNoLook) || len(x.Looks) != 2 {
		t.Errorf("%v, %v", x.Looks, err)
	}
	c.talk("s1", wire.Closed, ann)
	if err := look(sue, "s1"); !errors.Is(err, agent.ErrNotFound) {
		t.Errorf("into one that is over: %v", err)
	}
}
