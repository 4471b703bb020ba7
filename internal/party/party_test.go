package party_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore/pebbletest"
	"github.com/tandem-call/tandem/internal/party"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// world is a directory whose clock tests turn.
type world struct {
	*party.Directory
	engine store.Engine
	tenant wire.TenantID
	now    time.Time
}

func newWorld(t testing.TB) *world {
	return worldOn(pebbletest.Open(t), wire.DefaultTenant)
}

// worldOn is a world in a tenant of its own: opening an engine for each would take long.
func worldOn(e store.Engine, tenant wire.TenantID) *world {
	w := &world{engine: e, tenant: tenant, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	w.Directory = party.New(w.engine, func() time.Time { return w.now })
	return w
}

func id(t testing.TB, s string) tel.Identity {
	t.Helper()
	i, err := tel.ParseIdentity(s, "")
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func want(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got error %v, want %v", err, target)
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) principal(t testing.TB, i tel.Identity) tel.Identity {
	t.Helper()
	p, err := w.Principal(t.Context(), w.tenant, i)
	ok(t, err)
	return p
}

func (w *world) prove(t testing.TB, i tel.Identity, life time.Duration) {
	t.Helper()
	_, err := w.Prove(t.Context(), w.tenant, i, "one_time_code", w.now.Add(life))
	ok(t, err)
}

func TestUnknownIsItsOwnPrincipal(t *testing.T) {
	w := newWorld(t)
	a := id(t, "+442079460001")
	if p := w.principal(t, a); p != a {
		t.Errorf("principal %v", p)
	}
	if p := w.principal(t, tel.Identity{}); !p.IsZero() {
		t.Errorf("nobody's principal is %v", p)
	}
	_, err := w.Get(t.Context(), w.tenant, a)
	want(t, err, party.ErrNotFound)
	all, err := w.Identities(t.Context(), w.tenant, a)
	if err != nil || !slices.Equal(all, []tel.Identity{a}) {
		t.Errorf("%v, %v", all, err)
	}
}

func TestProveMakesAParty(t *testing.T) {
	w := newWorld(t)
	a := id(t, "+442079460001")
	w.prove(t, a, time.Hour)
	first, err := w.Get(t.Context(), w.tenant, a)
	ok(t, err)
	if first.Principal != a || len(first.Identities) != 1 || first.Identities[0].Proof != "one_time_code" || first.ID == "" {
		t.Errorf("party is %+v", first)
	}
	w.prove(t, a, 2*time.Hour)
	second, err := w.Get(t.Context(), w.tenant, a)
	ok(t, err)
	if second.ID != first.ID || !second.Identities[0].Expires.Equal(w.now.Add(2*time.Hour)) {
		t.Errorf("renewed: %+v", second)
	}
	w.prove(t, a, time.Minute) // a shorter proof takes nothing away
	if third, err := w.Get(t.Context(), w.tenant, a); err != nil || !third.Identities[0].Expires.Equal(w.now.Add(2*time.Hour)) {
		t.Errorf("shortened: %+v, %v", third, err)
	}
	if _, err := w.Get(t.Context(), "other", a); !errors.Is(err, party.ErrNotFound) {
		t.Errorf("another tenant sees the party: %v", err)
	}
	_, err = w.Prove(t.Context(), w.tenant, tel.Identity{}, "sim", w.now)
	want(t, err, party.ErrRequest)
	_, err = w.Prove(t.Context(), w.tenant, a, "", w.now)
	want(t, err, party.ErrRequest)
}

// A9: identities of every kind name the same party.
func TestLinkEveryKind(t *testing.T) {
	w := newWorld(t)
	a := id(t, "+442079460001")
	w.prove(t, a, time.Hour)
	kinds := []string{"+442079460009", "sip:alice@example.com", "mailto:alice@example.com", "user:alice", "acct:alice@social.example"}
	for _, s := range kinds {
		ok(t, w.Link(t.Context(), w.tenant, id(t, s), a))
		ok(t, w.Link(t.Context(), w.tenant, id(t, s), a)) // may repeat
	}
	allocated, err := w.Allocate(t.Context(), w.tenant, a)
	ok(t, err)
	if allocated.Kind() != tel.KindAllocated {
		t.Errorf("allocated %v", allocated)
	}
	for _, s := range append(kinds, allocated.String()) {
		if p := w.principal(t, id(t, s)); p != a {
			t.Errorf("%s leads to %v", s, p)
		}
	}
	all, err := w.Identities(t.Context(), w.tenant, id(t, "user:alice"))
	if err != nil || len(all) != 7 || all[0] != a {
		t.Errorf("identities %v, %v", all, err)
	}
	p, err := w.Get(t.Context(), w.tenant, a)
	if err != nil || !p.Identities[0].Expires.Equal(w.now.Add(time.Hour)) {
		t.Errorf("a link changed what the principal rests on: %+v, %v", p, err)
	}
}

func TestLinkThroughAnAlias(t *testing.T) {
	w := newWorld(t)
	a, mail, user := id(t, "+442079460001"), id(t, "mailto:a@example.com"), id(t, "user:a")
	ok(t, w.Link(t.Context(), w.tenant, mail, a))
	ok(t, w.Link(t.Context(), w.tenant, user, mail)) // an alias stands for its party
	if p := w.principal(t, user); p != a {
		t.Errorf("principal %v", p)
	}
}

func TestLinkRefuses(t *testing.T) {
	w := newWorld(t)
	a, b, mail := id(t, "+442079460001"), id(t, "+442079460002"), id(t, "mailto:a@example.com")
	ok(t, w.Link(t.Context(), w.tenant, mail, a))
	want(t, w.Link(t.Context(), w.tenant, mail, b), party.ErrTaken)
	want(t, w.Link(t.Context(), w.tenant, a, b), party.ErrPrincipal)
	want(t, w.Link(t.Context(), w.tenant, a, a), party.ErrRequest)
	want(t, w.Link(t.Context(), w.tenant, a, mail), party.ErrRequest) // itself, by another name
	want(t, w.Link(t.Context(), w.tenant, a, tel.Identity{}), party.ErrRequest)
	want(t, w.Link(t.Context(), w.tenant, tel.Identity{}, a), party.ErrRequest)
	if p := w.principal(t, mail); p != a {
		t.Errorf("principal %v", p)
	}
}

// A proved number without aliases can be joined to another party, and leave it again.
func TestLinkAndUnlinkAParty(t *testing.T) {
	w := newWorld(t)
	a, b := id(t, "+442079460001"), id(t, "+442079460002")
	w.prove(t, a, time.Hour)
	w.prove(t, b, time.Hour)
	ok(t, w.Link(t.Context(), w.tenant, b, a))
	want(t, w.Unlink(t.Context(), w.tenant, a), party.ErrPrincipal)
	ok(t, w.Unlink(t.Context(), w.tenant, b))
	want(t, w.Unlink(t.Context(), w.tenant, b), party.ErrNotFound)
	if p := w.principal(t, b); p != b {
		t.Errorf("principal %v", p)
	}
	if all, err := w.Identities(t.Context(), w.tenant, a); err != nil || len(all) != 1 {
		t.Errorf("identities %v, %v", all, err)
	}
	ok(t, w.Unlink(t.Context(), w.tenant, a))
	_, err := w.Get(t.Context(), w.tenant, a)
	want(t, err, party.ErrNotFound)
}

// A number that goes to somebody else takes nothing of its former party along.
func TestRecycledNumber(t *testing.T) {
	t.Run("lapsed principal", func(t *testing.T) {
		w := newWorld(t)
		a, mail := id(t, "+442079460001"), id(t, "mailto:a@example.com")
		w.prove(t, a, time.Hour)
		ok(t, w.Link(t.Context(), w.tenant, mail, a))
		ok(t, w.Block(t.Context(), w.tenant, a, id(t, "user:eve")))
		before, err := w.Get(t.Context(), w.tenant, a)
		ok(t, err)
		w.now = w.now.Add(time.Hour)
		w.prove(t, a, time.Hour)
		after, err := w.Get(t.Context(), w.tenant, a)
		ok(t, err)
		if after.ID == before.ID || len(after.Identities) != 1 {
			t.Errorf("the new holder is %+v", after)
		}
		if p := w.principal(t, mail); p != mail {
			t.Errorf("the former holder's mail leads to %v", p)
		}
		if blocked, err := w.Blocked(t.Context(), w.tenant, a, id(t, "user:eve")); blocked || err != nil {
			t.Errorf("the former holder's block stands: %v", err)
		}
	})
	t.Run("the same holder, late", func(t *testing.T) {
		w := newWorld(t)
		a, mail := id(t, "+442079460001"), id(t, "mailto:a@example.com")
		w.prove(t, a, time.Hour)
		ok(t, w.Link(t.Context(), w.tenant, mail, a))
		ended := w.now.Add(time.Hour)
		w.now = w.now.Add(2 * time.Hour)
		_, err := w.Renew(t.Context(), w.tenant, a, "sim", w.now.Add(time.Hour), ended)
		ok(t, err)
		if p := w.principal(t, mail); p != a {
			t.Errorf("the mail leads to %v", p)
		}
		// Somebody had it since: who proved it before that is a stranger.
		w.prove(t, a, 3*time.Hour)
		w.now = w.now.Add(4 * time.Hour)
		_, err = w.Renew(t.Context(), w.tenant, a, "sim", w.now.Add(time.Hour), ended)
		ok(t, err)
		if p := w.principal(t, mail); p != mail {
			t.Errorf("the mail leads to %v", p)
		}
	})
	t.Run("what else goes", func(t *testing.T) {
		w := newWorld(t)
		a, mail := id(t, "+442079460001"), id(t, "mailto:a@example.com")
		var gone []tel.Identity
		w.AlsoForget(func(_ context.Context, tenant wire.TenantID, ids []tel.Identity) error {
			if tenant != w.tenant {
				t.Errorf("of tenant %s", tenant)
			}
			gone = append(gone, ids...)
			return nil
		})
		for name, forget := range map[string]func(){
			"forgotten":         func() { ok(t, w.Forget(t.Context(), w.tenant, a)) },
			"proved by another": func() { w.now = w.now.Add(time.Hour); w.prove(t, a, time.Hour) },
			"swept": func() {
				w.now = w.now.Add(3 * time.Hour)
				_, err := w.Sweep(t.Context(), time.Hour)
				ok(t, err)
			},
		} {
			gone = nil
			w.prove(t, a, time.Hour)
			ok(t, w.Link(t.Context(), w.tenant, mail, a))
			gone = nil
			forget()
			if !slices.Equal(gone, []tel.Identity{a, mail}) {
				t.Errorf("%s: %v", name, gone)
			}
			ok(t, w.Forget(t.Context(), w.tenant, a))
		}
	})
	t.Run("lapsed alias", func(t *testing.T) {
		w := newWorld(t)
		a, b := id(t, "+442079460001"), id(t, "+442079460002")
		w.prove(t, a, 2*time.Hour)
		w.prove(t, b, time.Hour)
		ok(t, w.Link(t.Context(), w.tenant, b, a))
		ok(t, w.Unlink(t.Context(), w.tenant, b))
		w.prove(t, b, time.Hour)
		w.now = w.now.Add(time.Hour)
		if p := w.principal(t, b); p != b {
			t.Errorf("principal %v", p)
		}
		if p := w.principal(t, a); p != a {
			t.Errorf("principal %v", p)
		}
	})
	t.Run("forgotten", func(t *testing.T) {
		w := newWorld(t)
		a, mail := id(t, "+442079460001"), id(t, "mailto:a@example.com")
		w.prove(t, a, time.Hour)
		ok(t, w.Link(t.Context(), w.tenant, mail, a))
		for range 2 {
			ok(t, w.Forget(t.Context(), w.tenant, a))
		}
		for _, i := range []tel.Identity{a, mail} {
			if p := w.principal(t, i); p != i {
				t.Errorf("%v leads to %v", i, p)
			}
			_, err := w.Get(t.Context(), w.tenant, i)
			want(t, err, party.ErrNotFound)
		}
	})
}

func TestAllocateAParty(t *testing.T) {
	w := newWorld(t)
	a, err := w.Allocate(t.Context(), w.tenant, tel.Identity{})
	ok(t, err)
	b, err := w.Allocate(t.Context(), w.tenant, tel.Identity{})
	ok(t, err)
	p, err := w.Get(t.Context(), w.tenant, a)
	if err != nil || p.Principal != a || p.Identities[0].Proof != party.ProofAllocated || a == b || len(a.String()) < 25 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestShared(t *testing.T) {
	w := newWorld(t)
	trunk, alias := id(t, "+442079460000"), id(t, "sip:main@pbx.example")
	ok(t, w.MarkShared(t.Context(), w.tenant, trunk, party.Trunk, "head office"))
	ok(t, w.MarkShared(t.Context(), w.tenant, trunk, party.ContactCentre, ""))
	ok(t, w.Link(t.Context(), w.tenant, alias, trunk))
	for _, c := range []struct {
		id   tel.Identity
		want bool
	}{{trunk, true}, {alias, true}, {id(t, "+442079460001"), false}, {tel.Identity{}, false}} {
		if got, err := w.Shared(t.Context(), w.tenant, c.id); got != c.want || err != nil {
			t.Errorf("%v: %v, %v", c.id, got, err)
		}
	}
	if got, err := w.Shared(t.Context(), "other", trunk); got || err != nil {
		t.Errorf("shared in another tenant: %v, %v", got, err)
	}
	all, err := w.ListShared(t.Context(), w.tenant)
	if err != nil || len(all) != 1 || all[0].Identity != trunk || all[0].Kind != party.ContactCentre {
		t.Errorf("%+v, %v", all, err)
	}
	for range 2 {
		ok(t, w.UnmarkShared(t.Context(), w.tenant, trunk))
	}
	if got, err := w.Shared(t.Context(), w.tenant, trunk); got || err != nil {
		t.Errorf("still shared: %v", err)
	}
	want(t, w.MarkShared(t.Context(), w.tenant, trunk, "pub", ""), party.ErrRequest)
	want(t, w.MarkShared(t.Context(), w.tenant, tel.Identity{}, party.Trunk, ""), party.ErrRequest)
}

func TestBlocks(t *testing.T) {
	w := newWorld(t)
	a, b, mail := id(t, "+442079460001"), id(t, "+442079460002"), id(t, "mailto:b@example.com")
	blocked := func(by, other tel.Identity) bool {
		t.Helper()
		got, err := w.Blocked(t.Context(), w.tenant, by, other)
		ok(t, err)
		return got
	}
	ok(t, w.Block(t.Context(), w.tenant, a, mail)) // before anybody knows whose it is
	ok(t, w.Block(t.Context(), w.tenant, a, mail))
	if !blocked(a, mail) || blocked(mail, a) || blocked(a, b) {
		t.Error("a block goes one way, against one party")
	}
	ok(t, w.Link(t.Context(), w.tenant, mail, b))
	if !blocked(a, b) || !blocked(a, mail) {
		t.Error("a block was lost when its object was linked")
	}
	all, err := w.Blocks(t.Context(), w.tenant, a)
	if err != nil || !slices.Equal(all, []tel.Identity{mail}) {
		t.Errorf("%v, %v", all, err)
	}
	ok(t, w.Unblock(t.Context(), w.tenant, a, b))
	if blocked(a, b) || blocked(a, mail) {
		t.Error("a block was not taken back")
	}
	want(t, w.Block(t.Context(), w.tenant, a, tel.Identity{}), party.ErrRequest)
	if blocked(a, tel.Identity{}) {
		t.Error("who withholds the number is blocked by nobody")
	}
}

// Whatever operators and devices do in whatever order: a principal is its own, and a
// party's list agrees with where its names lead.
func TestDirectoryAgreesWithItself(t *testing.T) {
	names := make([]tel.Identity, 4)
	for i := range names {
		names[i] = id(t, fmt.Sprintf("user:u%d", i))
	}
	engine, runs := pebbletest.Open(t), 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		w := worldOn(engine, wire.TenantID(fmt.Sprint("run", runs)))
		pick := rapid.SampledFrom(names)
		for range rapid.IntRange(1, 20).Draw(rt, "steps") {
			a, b := pick.Draw(rt, "a"), pick.Draw(rt, "b")
			var err error
			switch rapid.IntRange(0, 4).Draw(rt, "what") {
			case 0:
				_, err = w.Prove(t.Context(), w.tenant, a, "sim", w.now.Add(time.Hour))
			case 1:
				err = w.Link(t.Context(), w.tenant, a, b)
			case 2:
				err = w.Unlink(t.Context(), w.tenant, a)
			case 3:
				err = w.Forget(t.Context(), w.tenant, a)
			case 4:
				w.now = w.now.Add(40 * time.Minute)
			}
			for _, fine := range []error{nil, party.ErrTaken, party.ErrPrincipal, party.ErrNotFound, party.ErrRequest} {
				if errors.Is(err, fine) {
					err = nil
				}
			}
			if err != nil {
				rt.Fatal(err)
			}
			w.check(t, rt, names)
		}
	})
}

func (w *world) check(t *testing.T, rt interface{ Fatalf(string, ...any) }, names []tel.Identity) {
	for _, n := range names {
		p := w.principal(t, n)
		if w.principal(t, p) != p {
			rt.Fatalf("%v leads to %v, which is no principal", n, p)
		}
		all, err := w.Identities(t.Context(), w.tenant, p)
		if err != nil {
			rt.Fatalf("%v", err)
		}
		if !slices.Contains(all, n) {
			rt.Fatalf("%v leads to %v, whose list is %v", n, p, all)
		}
		for _, i := range all {
			if w.principal(t, i) != p {
				rt.Fatalf("%v is listed by %v and leads to %v", i, p, w.principal(t, i))
			}
		}
	}
}

// Operators who link the same names crosswise at once leave no chains behind.
func TestLinksAtOnce(t *testing.T) {
	names := []tel.Identity{id(t, "user:a"), id(t, "user:b"), id(t, "user:c")}
	engine := pebbletest.Open(t)
	for run := range 20 {
		w := worldOn(engine, wire.TenantID(fmt.Sprint("run", run)))
		var all sync.WaitGroup
		for i := range names {
			all.Go(func() {
				err := w.Link(t.Context(), w.tenant, names[i], names[(i+1)%3])
				if err != nil && !errors.Is(err, party.ErrTaken) && !errors.Is(err, party.ErrPrincipal) && !errors.Is(err, party.ErrRequest) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		w.check(t, t, names)
	}
}

// dying is an engine that dies after a number of changes.
type dying struct {
	store.Engine
	left int
}

var errDied = errors.New("the node died")

func (d *dying) Put(ctx context.Context, table, key string, v []byte, at store.Rev) (store.Rev, error) {
	if d.left--; d.left < 0 {
		return 0, errDied
	}
	return d.Engine.Put(ctx, table, key, v, at)
}

func (d *dying) Delete(ctx context.Context, table, key string, at store.Rev) error {
	if d.left--; d.left < 0 {
		return errDied
	}
	return d.Engine.Delete(ctx, table, key, at)
}

// A node may die between any two changes: the directory agrees with itself at once, and
// repeating what was cut off completes it.
func TestDeathAtEachStep(t *testing.T) {
	a, b, mail := id(t, "+442079460001"), id(t, "+442079460002"), id(t, "mailto:a@example.com")
	for name, what := range map[string]func(ctx context.Context, d *party.Directory, tenant wire.TenantID, now time.Time) error{
		"prove": func(ctx context.Context, d *party.Directory, tenant wire.TenantID, now time.Time) error {
			_, err := d.Prove(ctx, tenant, b, "sim", now.Add(time.Hour))
			return err
		},
		"prove a lapsed one": func(ctx context.Context, d *party.Directory, tenant wire.TenantID, now time.Time) error {
			_, err := d.Prove(ctx, tenant, a, "sim", now.Add(time.Hour))
			return err
		},
		"link": func(ctx context.Context, d *party.Directory, tenant wire.TenantID, _ time.Time) error {
			return d.Link(ctx, tenant, mail, b)
		},
		"forget": func(ctx context.Context, d *party.Directory, tenant wire.TenantID, _ time.Time) error {
			return d.Forget(ctx, tenant, a)
		},
	} {
		t.Run(name, func(t *testing.T) {
			engine := pebbletest.Open(t)
			for steps := 0; ; steps++ {
				w := worldOn(engine, wire.TenantID(fmt.Sprint("run", steps)))
				w.prove(t, a, time.Hour)
				if name != "link" {
					ok(t, w.Link(t.Context(), w.tenant, mail, a))
					ok(t, w.Block(t.Context(), w.tenant, a, b))
				}
				w.now = w.now.Add(time.Hour)
				broken := party.New(&dying{w.engine, steps}, func() time.Time { return w.now })
				err := what(t.Context(), broken, w.tenant, w.now)
				if err != nil {
					want(t, err, errDied)
				}
				w.check(t, t, []tel.Identity{a, b, mail})
				ok(t, what(t.Context(), w.Directory, w.tenant, w.now))
				w.check(t, t, []tel.Identity{a, b, mail})
				if err == nil {
					if steps < 2 {
						t.Fatalf("it needed %d changes only", steps)
					}
					return
				}
			}
		})
	}
}
