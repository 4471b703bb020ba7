package agent_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/agent"
	"github.com/tandem-call/tandem/internal/edge/store/pebblestore/pebbletest"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

const tenant = wire.TenantID("default")

// centre is a provider with a clock, browsers and sessions.
type centre struct {
	*agent.Service
	t        *testing.T
	engine   store.Engine
	now      time.Time
	unseated []wire.DeviceID
	handed   []string
	holders  map[wire.SessionID][]wire.DeviceID // who talked in a session last
	number   tel.Number
	left     map[wire.DeviceID]time.Time
	by       map[wire.DeviceID]wire.DeviceID
	told     chan string

	later    atomic.Int64 // added to now while other goroutines read it
	mu       sync.Mutex
	follow   func()
	followed wire.SessionID
}

func newCentre(t *testing.T) *centre {
	t.Helper()
	c := &centre{t: t, engine: pebbletest.Open(t), now: time.Date(2026, 11, 26, 9, 0, 0, 0, time.UTC), number: number(t, "+442079460900"), left: map[wire.DeviceID]time.Time{}, by: map[wire.DeviceID]wire.DeviceID{}, holders: map[wire.SessionID][]wire.DeviceID{}, told: make(chan string, 1000)}
	s, err := agent.New(t.Context(), agent.Config{Engine: c.engine, Devices: c, Sessions: c, Tell: c.tell, Now: func() time.Time { return c.now.Add(time.Duration(c.later.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	c.Service = s
	return c
}

func (c *centre) tell(_ context.Context, _ wire.TenantID, d wire.DeviceID, code string) error {
	c.told <- string(d) + " " + code
	return nil
}

func number(t *testing.T, s string) tel.Number {
	t.Helper()
	n, err := tel.ParseNumber(s, "")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Seat makes a device's id of its key.
func (c *centre) Seat(_ context.Context, q agent.Seating) (wire.DeviceID, error) {
	if q.Assertion != "over "+q.Nonce {
		return "", errors.New("the assertion is over another nonce")
	}
	return wire.DeviceID("dev_" + q.Key.X), nil
}

func (c *centre) Unseat(_ context.Context, _ wire.TenantID, d wire.DeviceID) error {
	c.unseated = append(c.unseated, d)
	return nil
}

func (c *centre) HandOver(_ context.Context, _ wire.TenantID, id wire.SessionID, by, from, to wire.DeviceID) error {
	if !slices.Contains(c.holders[id], from) {
		return agent.ErrNotFound
	}
	c.handed = append(c.handed, fmt.Sprint(id, from, to))
	c.by[to] = by
	return nil
}

func (c *centre) Follow(_ context.Context, _ wire.TenantID, id wire.SessionID, fn func()) (func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.follow, c.followed = fn, id
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.follow, c.followed = nil, ""
	}, nil
}

func (c *centre) add(id, extension string, supervisor bool) {
	c.t.Helper()
	if _, err := c.Set(c.t.Context(), tenant, id, c.number, wire.AgentRequest{Name: strings.ToUpper(id), Extension: extension, Supervisor: supervisor}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *centre) code(id string, q wire.AgentCodeRequest) string {
	c.t.Helper()
	code, err := c.Invite(c.t.Context(), tenant, id, q)
	if err != nil {
		c.t.Fatal(err)
	}
	return code.Code
}

func (c *centre) enter(code, browser string) (agent.Record, error) {
	return c.SignIn(c.t.Context(), "", wire.AgentSignIn{Code: code, Key: wire.JWK{X: browser}, Assertion: "over " + strings.Split(code+"__", "_")[1]}, browser)
}

// work adds an agent and signs it in.
func (c *centre) work(id, extension string, supervisor bool) wire.DeviceID {
	c.t.Helper()
	c.add(id, extension, supervisor)
	r, err := c.enter(c.code(id, wire.AgentCodeRequest{}), id)
	if err != nil {
		c.t.Fatal(err)
	}
	return r.Device
}

func (c *centre) state(id string) string {
	c.t.Helper()
	r, err := c.Get(c.t.Context(), tenant, id)
	if err != nil {
		c.t.Fatal(err)
	}
	state, reason, since := r.StateAt(c.now)
	return fmt.Sprintf("%s %s %s", state, reason, since.Format("15:04"))
}

// TestAnotherBrowserInACall: who signs in at another browser while the one before is in a call, and does not get into that call
// again, is not taken to be in it for good.
func TestAnotherBrowserInACall(t *testing.T) {
	c := newCentre(t)
	anna := c.work("anna", "17", false)
	c.talk("s_1", wire.InCall, anna)
	if got := c.state("anna"); got != "busy  09:00" {
		t.Fatal(got)
	}
	r, err := c.enter(c.code("anna", wire.AgentCodeRequest{}), "other")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.state("anna"); got != "wrap_up  09:00" {
		t.Errorf("%q", got)
	}
	c.talk("s_1", wire.InCall, "-"+anna, r.Device) // it gets in again
	if got := c.state("anna"); got != "busy  09:00" {
		t.Errorf("in the call again: %q", got)
	}
	c.talk("s_1", wire.Closed, "-"+anna, r.Device)
	if got := c.state("anna"); got != "wrap_up  09:00" {
		t.Errorf("after it: %q", got)
	}
}

var alice, _ = tel.ParseIdentity("+442079460001", "")

// talk tells of a session of Alice with agents' devices; those that left are marked.
func (c *centre) talk(id wire.SessionID, phase wire.Phase, agents ...wire.DeviceID) {
	c.t.Helper()
	x := agent.Seen{Tenant: tenant, Session: id, Phase: phase, Opened: c.now, Members: []agent.Member{{Device: "alice", Side: 1, Principal: alice, Shown: alice, Joined: c.now}}}
	if old, err := c.OfParty(c.t.Context(), tenant, []tel.Identity{alice}); err == nil {
		for _, o := range old {
			if o.Session == id {
				x.Opened = o.Opened
			}
		}
	}
	c.holders[id] = agents
	for _, d := range agents {
		m := agent.Member{Side: 2, Principal: c.number.Identity(), Shown: c.number.Identity(), Joined: x.Opened}
		if left, gone := strings.CutPrefix(string(d), "-"); gone {
			d = wire.DeviceID(left)
			if c.left[d].IsZero() {
				c.left[d] = c.now
			}
			m.Left = c.left[d]
		}
		m.Device, m.By = d, c.by[d]
		x.Members = append(x.Members, m)
	}
	if phase != wire.InCall {
		x.CallOver = c.now
	}
	if phase == wire.Closed {
		x.Closed = c.now
	}
	for range 2 { // it may repeat
		if err := c.Observe(c.t.Context(), x); err != nil {
			c.t.Fatal(err)
		}
	}
}

// TestStates: they follow the calls, and else the agent's own word.
func TestStates(t *testing.T) {
	c := newCentre(t)
	ctx := t.Context()
	c.add("anna", "17", false)
	expect := func(want string) {
		t.Helper()
		if got := c.state("anna"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	expect("signed_out  09:00")
	r, err := c.enter(c.code("anna", wire.AgentCodeRequest{}), "b1")
	if err != nil {
		t.Fatal(err)
	}
	expect("away  09:00")
	say := func(s wire.AgentState, reason string, want error) {
		t.Helper()
		if _, err := c.SetState(ctx, tenant, r.Device, wire.AgentStateRequest{State: s, Reason: reason}); !errors.Is(err, want) {
			t.Errorf("%s %s: %v", s, reason, err)
		}
	}
	c.now = c.now.Add(time.Minute)
	say(wire.AgentAvailable, "", nil)
	expect("available  09:01")
	say(wire.AgentAvailable, "lunch", agent.ErrRequest)
	say(wire.AgentAway, "swimming", agent.ErrRequest)
	say(wire.AgentSignedOut, "", agent.ErrRequest)

	c.now = c.now.Add(time.Minute)
	c.talk("s1", wire.InCall, r.Device)
	expect("busy  09:02")
	say(wire.AgentAvailable, "", agent.ErrInCall)
	c.talk("s2", wire.InCall, r.Device)
	c.now = c.now.Add(time.Minute)
	c.talk("s1", wire.AfterCall, r.Device)
	expect("busy  09:02")
	c.talk("s2", wire.AfterCall, r.Device)
	expect("wrap_up  09:03")
	if _, err := c.Complete(ctx, tenant, r.Device, "s2", "no such code"); !errors.Is(err, agent.ErrRequest) {
		t.Error(err)
	}
	c.now = c.now.Add(time.Minute)
	if x, err := c.Complete(ctx, tenant, r.Device, "s2", "solved"); err != nil || x.WrapUp.Code != "solved" {
		t.Errorf("%+v, %v", x, err)
	}
	expect("available  09:04")
	say(wire.AgentAway, "lunch", nil)
	expect("away lunch 09:04")
	c.now = c.now.Add(13 * time.Hour)
	expect("signed_out  21:00")
	if _, err := c.Of(ctx, tenant, r.Device); !errors.Is(err, agent.ErrNone) {
		t.Errorf("after the shift: %v", err)
	}
}

// TestSignIn: a code serves one browser, a key several, one after the other; revoking ends all.
func TestSignIn(t *testing.T) {
	c := newCentre(t)
	c.add("anna", "17", false)
	link, key := c.code("anna", wire.AgentCodeRequest{}), c.code("anna", wire.AgentCodeRequest{Reusable: true})
	enter := func(code, browser string, want error) {
		t.Helper()
		if _, err := c.enter(code, browser); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", browser, err, want)
		}
	}
	enter(link, "b1", nil)
	enter(link, "b1", nil)
	enter(link, "b2", agent.ErrCode)
	enter(key, "b2", nil)
	enter(key, "b3", nil)
	if !slices.Equal(c.unseated, []wire.DeviceID{"dev_b1", "dev_b2"}) {
		t.Errorf("cut off: %v", c.unseated)
	}
	if d, err := c.At(t.Context(), tenant, c.number, "17"); d != "dev_b3" || err != nil {
		t.Errorf("calls to 17 concern %q, %v", d, err)
	}
	if _, err := c.At(t.Context(), tenant, c.number, ""); !errors.Is(err, agent.ErrNotFound) {
		t.Errorf("calls to no extension: %v", err)
	}
	for _, bad := range []string{"", "tag_", key + "x", key[:len(key)-1], strings.Replace(key, "tag_", "tdm_", 1), "tag_x_y"} {
		enter(bad+"", "b3", agent.ErrCode)
	}
	if _, err := c.SignIn(t.Context(), "acme", wire.AgentSignIn{Code: key, Key: wire.JWK{X: "b3"}, Assertion: "over " + strings.Split(key, "_")[1]}, "b3"); !errors.Is(err, agent.ErrCode) {
		t.Errorf("at another tenant's host: %v", err)
	}
	if err := c.Revoke(t.Context(), tenant, "anna"); err != nil {
		t.Fatal(err)
	}
	enter(key, "b3", agent.ErrCode)
	if c.unseated[len(c.unseated)-1] != "dev_b3" || !strings.HasPrefix(c.state("anna"), "signed_out") {
		t.Errorf("%v, %s", c.unseated, c.state("anna"))
	}
	late := c.code("anna", wire.AgentCodeRequest{Hours: 1})
	c.now = c.now.Add(time.Hour)
	enter(late, "b4", agent.ErrCode)
	if err := c.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range wire.MaxAgentCodes {
		c.code("anna", wire.AgentCodeRequest{})
	}
	if _, err := c.Invite(t.Context(), tenant, "anna", wire.AgentCodeRequest{}); !errors.Is(err, agent.ErrFull) {
		t.Errorf("one too many: %v", err)
	}
}

// TestSeats: a number and extension are one agent's.
func TestSeats(t *testing.T) {
	c := newCentre(t)
	ctx := t.Context()
	anna := c.work("anna", "17", false)
	if _, err := c.Set(ctx, tenant, "ben", c.number, wire.AgentRequest{Name: "Ben", Extension: "17"}); !errors.Is(err, agent.ErrTaken) {
		t.Errorf("Anna's place: %v", err)
	}
	c.add("anna", "18", false) // moves
	if !slices.Contains(c.unseated, anna) {
		t.Error("who moves is still signed in")
	}
	c.add("ben", "17", false)
	if err := c.Remove(ctx, tenant, "ben"); err != nil {
		t.Fatal(err)
	}
	c.add("carl", "17", false)
	list, err := c.List(ctx, tenant)
	if err != nil || len(list) != 2 {
		t.Errorf("%+v, %v", list, err)
	}
	for name, q := range map[string]wire.AgentRequest{
		"no name": {}, "a line break": {Name: "a\nb"}, "an extension": {Name: "x", Extension: "1;2"}, "a skill": {Name: "x", Skills: []string{"a b"}},
		"a queue": {Name: "x", Queue: "\x00"},
	} {
		if _, err := c.Set(ctx, tenant, "dora", c.number, q); !errors.Is(err, agent.ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.Set(ctx, tenant, "Dora!", c.number, wire.AgentRequest{Name: "x"}); !errors.Is(err, agent.ErrRequest) {
		t.Errorf("an id: %v", err)
	}
}

// TestConversations: who had it when, notes, search, and the end of what is kept.
func TestConversations(t *testing.T) {
	c := newCentre(t)
	ctx := t.Context()
	anna, ben, chief := c.work("anna", "17", false), c.work("ben", "18", false), c.work("chief", "19", true)
	c.talk("s1", wire.InCall, anna)
	c.now = c.now.Add(time.Minute)
	if err := c.Transfer(ctx, tenant, anna, "s1", "ben"); err != nil || len(c.handed) != 1 {
		t.Fatalf("%v %v", c.handed, err)
	}
	if err := c.Transfer(ctx, tenant, anna, "s1", "anna"); !errors.Is(err, agent.ErrRequest) {
		t.Errorf("to oneself: %v", err)
	}
	if err := c.Transfer(ctx, tenant, "alice", "s1", "ben"); !errors.Is(err, agent.ErrNone) {
		t.Errorf("by a customer: %v", err)
	}
	c.talk("s1", wire.InCall, "-"+anna, ben)
	if a, b := c.state("anna"), c.state("ben"); a != "wrap_up  09:01" || b != "busy  09:01" {
		t.Errorf("after the transfer: %s, %s", a, b)
	}
	for range 2 {
		if _, err := c.Note(ctx, tenant, ben, "s1", wire.NoteRequest{ID: "n", Text: "wants a Refund"}); err != nil {
			t.Fatal(err)
		}
	}
	c.now = c.now.Add(time.Minute)
	c.talk("s1", wire.Closed, "-"+anna, ben)
	c.now = c.now.Add(time.Minute)
	c.talk("s2", wire.InCall, ben)

	find := func(d wire.DeviceID, text string, want ...wire.SessionID) {
		t.Helper()
		var got []wire.SessionID
		for after := ""; ; {
			found, next, err := c.Search(ctx, tenant, d, agent.Query{Text: text, Limit: 1, After: after})
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range found {
				got = append(got, x.Session)
			}
			if after = next; next == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s searches %q: %v, want %v", d, text, got, want)
		}
	}
	find(anna, "", "s1")
	find(ben, "", "s2", "s1")
	find(chief, "", "s2", "s1")
	find(chief, " refund ", "s1")
	find(chief, "20 7946 0001", "s2", "s1")
	find(chief, "anna", "s1")
	find(chief, "nothing of the kind")
	x, err := c.Conversation(ctx, tenant, anna, "s1")
	if err != nil || len(x.Stints) != 2 || len(x.Notes) != 1 || x.Customer != alice || x.Stints[0].By != "" || x.Stints[1].By != "anna" || x.Stints[0].To.Sub(x.Stints[0].From) != time.Minute || x.Closed.IsZero() {
		t.Errorf("%+v, %v", x, err)
	}
	if _, err := c.Conversation(ctx, tenant, anna, "s2"); !errors.Is(err, agent.ErrNotFound) {
		t.Errorf("another's: %v", err)
	}
	if err := c.SignOut(ctx, tenant, anna); err != nil {
		t.Fatal(err)
	}
	if err := c.Transfer(ctx, tenant, ben, "s2", "anna"); !errors.Is(err, agent.ErrAway) {
		t.Errorf("to who is not there: %v", err)
	}

	// Retention.
	set := agent.Defaults
	set.RetentionDays = 7
	if err := c.SetSettings(ctx, tenant, set); err != nil {
		t.Fatal(err)
	}
	c.now = c.now.Add(8 * 24 * time.Hour)
	ben2, err := c.enter(c.code("ben", wire.AgentCodeRequest{}), "ben2")
	if err != nil {
		t.Fatal(err)
	}
	find(ben2.Device, "")
	if err := c.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if left, err := c.OfParty(ctx, tenant, []tel.Identity{alice}); len(left) != 0 || err != nil {
		t.Errorf("kept: %v, %v", left, err)
	}
	// Erasure.
	c.talk("s3", wire.InCall, ben2.Device)
	if err := c.Erase(ctx, tenant, []tel.Identity{alice}); err != nil {
		t.Fatal(err)
	}
	find(ben2.Device, "")
}

func TestSettingsAreChecked(t *testing.T) {
	c := newCentre(t)
	for name, change := range map[string]func(*wire.AgentSettings){
		"no days":       func(s *wire.AgentSettings) { s.RetentionDays = 0 },
		"a reason":      func(s *wire.AgentSettings) { s.Reasons = []string{""} },
		"reasons twice": func(s *wire.AgentSettings) { s.Reasons = []string{"x", "x"} },
		"a code":        func(s *wire.AgentSettings) { s.WrapUpCodes = []wire.WrapUpCode{{Code: "a b", Text: "x"}} },
		"codes twice": func(s *wire.AgentSettings) {
			s.WrapUpCodes = []wire.WrapUpCode{{Code: "a", Text: "x"}, {Code: "a", Text: "y"}}
		},
		"no text": func(s *wire.AgentSettings) { s.WrapUpCodes = []wire.WrapUpCode{{Code: "a"}} },
	} {
		s := agent.Defaults
		if change(&s); !errors.Is(c.SetSettings(t.Context(), tenant, s), agent.ErrRequest) {
			t.Errorf("%s is taken", name)
		}
	}
	if s, err := c.Settings(t.Context(), tenant); err != nil || s.RetentionDays != 30 {
		t.Errorf("%+v, %v", s, err)
	}
}

// Another number of the same tenant may be another provider's: its supervisor sees nothing of it, and
// nobody hands a session there.
func TestOtherNumbersAreOthers(t *testing.T) {
	c := newCentre(t)
	anna, boss := c.work("anna", "1", false), c.work("boss", "2", true)
	ours := c.number
	other, err := tel.ParseNumber("+442079460777", "")
	if err != nil {
		t.Fatal(err)
	}
	c.number = other
	spy := c.work("spy", "1", true)
	err = c.Observe(t.Context(), agent.Seen{Tenant: tenant, Session: "s_x", Phase: wire.InCall, Opened: c.now, Members: []agent.Member{
		{Device: anna, Side: 1, Principal: ours.Identity(), Shown: ours.Identity(), Joined: c.now},
		{Device: "dev_customer", Side: 2, Joined: c.now},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for d, want := range map[wire.DeviceID]int{anna: 1, boss: 1, spy: 0} {
		found, _, err := c.Search(t.Context(), tenant, d, agent.Query{})
		if err != nil || len(found) != want {
			t.Errorf("%s finds %d, %v", d, len(found), err)
		}
	}
	if _, err := c.Conversation(t.Context(), tenant, spy, "s_x"); !errors.Is(err, agent.ErrNotFound) {
		t.Errorf("another number's supervisor reads: %v", err)
	}
	if err := c.Transfer(t.Context(), tenant, anna, "s_x", "spy"); !errors.Is(err, agent.ErrNotFound) {
		t.Errorf("handed to another number: %v", err)
	}
}

// counting counts the records that are read.
type counting struct {
	store.Engine
	read int
}

func (e *counting) Get(ctx context.Context, table, key string) (store.Record, error) {
	e.read++
	return e.Engine.Get(ctx, table, key)
}

func (e *counting) ScanAfter(ctx context.Context, table, prefix, after string) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		for r, err := range e.Engine.ScanAfter(ctx, table, prefix, after) {
			if e.read++; !yield(r, err) {
				return
			}
		}
	}
}

// A late page of a search costs what the first one does, and what is kept no more is not looked at.
func TestSearchCostsAPage(t *testing.T) {
	c := newCentre(t)
	engine := &counting{Engine: c.engine}
	s, err := agent.New(t.Context(), agent.Config{Engine: engine, Devices: c, Sessions: c, Now: func() time.Time { return c.now }})
	if err != nil {
		t.Fatal(err)
	}
	c.Service = s
	anna := c.work("anna", "1", false)
	const all, old, page = 400, 50, 20
	for i := range all {
		if i == old {
			c.now = c.now.Add(20 * 24 * time.Hour)
		}
		c.now = c.now.Add(time.Minute)
		c.talk(wire.SessionID(fmt.Sprint("s", i)), wire.Closed, anna)
	}
	c.now = c.now.Add(15 * 24 * time.Hour) // the old ones are over the 30 days; no sweep came
	signed, err := c.enter(c.code("anna", wire.AgentCodeRequest{}), "anna2")
	if err != nil {
		t.Fatal(err)
	}
	anna = signed.Device
	total, pages := 0, 0
	for after := ""; ; pages++ {
		engine.read = 0
		found, next, err := c.Search(t.Context(), tenant, anna, agent.Query{Limit: page, After: after})
		if err != nil {
			t.Fatal(err)
		}
		if total += len(found); engine.read > 2*page+10 {
			t.Errorf("page %d read %d records", pages, engine.read)
		}
		if after = next; next == "" {
			break
		}
	}
	if total != all-old {
		t.Errorf("%d conversations, want %d", total, all-old)
	}
	if found, next, err := c.Search(t.Context(), tenant, anna, agent.Query{After: "~?"}); len(found) != 0 || next != "" || err != nil {
		t.Errorf("beyond the end: %v %q %v", found, next, err)
	}
}
