package audit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/audit"
	"github.com/tandem-call/tandem/internal/edge/store/pebblestore/pebbletest"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

var (
	noon  = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	admin = wire.AuditActor{Role: "operator", ID: "admin-socket"}
	alice = identity("tel:+442079460001")
)

func identity(s string) tel.Identity {
	id, err := tel.ParseIdentity(s, "")
	if err != nil {
		panic(err)
	}
	return id
}

func newLog(t *testing.T, c audit.Config) *audit.Log {
	t.Helper()
	l, err := audit.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func add(t *testing.T, l *audit.Log, n int) {
	t.Helper()
	for i := range n {
		err := l.Append(t.Context(), audit.Record{Tenant: "t", Who: admin, What: audit.SessionClosed, On: []string{fmt.Sprintf("session:s%d", i)}})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func all(t *testing.T, l *audit.Log) (list []wire.AuditEntry) {
	t.Helper()
	after := uint64(0)
	for {
		page, err := l.Read(t.Context(), "t", after, 7)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return list
		}
		list = append(list, page...)
		after = page[len(page)-1].Seq
	}
}

func verify(list []wire.AuditEntry) []audit.Fault {
	var v audit.Verifier
	for _, e := range list {
		v.Add(e)
	}
	return v.End()
}

// The hash was computed by other means:
//
//	printf '%s' '{"at":"2026-11-23T12:00:00Z","details":{"days":"30","role":"element"},
//	"id":"x1","on":["credential:k2"],"prev":"","seq":1,"what":"credential.created",
//	"who":{"id":"k1","role":"operator"}}' | sha256sum      (in one line)
func TestHashIsThatOfCanonicalJSON(t *testing.T) {
	e := wire.AuditEntry{
		At: noon, Details: map[string]string{"role": "element", "days": "30"}, ID: "x1", On: []string{"credential:k2"},
		Seq: 1, What: "credential.created", Who: wire.AuditActor{Role: "operator", ID: "k1"},
		Hash: "not part of it",
	}
	if got := audit.Hash(e); got != "dccac409756d21d881a2414e969a52144460656f189ff1e3e740a58705e11ace" {
		t.Errorf("hash %s", got)
	}
}

func TestLogIsOneChain(t *testing.T) {
	e := pebbletest.Open(t)
	l := newLog(t, audit.Config{Engine: e})
	add(t, l, 20)
	// Another node begins where the first one stopped, and the first goes on after it.
	other := newLog(t, audit.Config{Engine: e})
	add(t, other, 3)
	add(t, l, 150)
	list := all(t, newLog(t, audit.Config{Engine: e}))
	if len(list) != 173 || list[172].Seq != 173 {
		t.Fatalf("%d entries, the last is %d", len(list), list[len(list)-1].Seq)
	}
	if faults := verify(list); len(faults) > 0 {
		t.Errorf("faults: %v", faults)
	}
}

func TestNodesWriteAtOnce(t *testing.T) {
	e := pebbletest.Open(t)
	var wg sync.WaitGroup
	for range 4 {
		l := newLog(t, audit.Config{Engine: e})
		for range 4 {
			wg.Go(func() {
				for range 25 {
					if err := l.Append(t.Context(), audit.Record{Tenant: "t", Who: admin, What: audit.StoreBackup}); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	list := all(t, newLog(t, audit.Config{Engine: e}))
	if len(list) != 400 {
		t.Errorf("%d entries of 400", len(list))
	}
	if faults := verify(list); len(faults) > 0 {
		t.Errorf("faults: %v", faults)
	}
}

func TestVerifierFindsTampering(t *testing.T) {
	l := newLog(t, audit.Config{Engine: pebbletest.Open(t)})
	add(t, l, 10)
	head := all(t, l)[9]
	for name, tt := range map[string]struct {
		tamper func([]wire.AuditEntry) []wire.AuditEntry
		want   string
	}{
		"nothing": {func(l []wire.AuditEntry) []wire.AuditEntry { return l }, ""},
		"changed": {func(l []wire.AuditEntry) []wire.AuditEntry { l[4].Who.ID = "somebody-else"; return l }, "entry 5: it has been changed"},
		"changed, with a hash to match": {func(l []wire.AuditEntry) []wire.AuditEntry {
			l[4].Who.ID = "somebody-else"
			l[4].Hash = audit.Hash(l[4])
			return l
		}, "entry 6: it does not follow"},
		"removed":       {func(l []wire.AuditEntry) []wire.AuditEntry { return append(l[:4:4], l[5:]...) }, "entry 6: entries 5 to 5 before it are missing"},
		"first removed": {func(l []wire.AuditEntry) []wire.AuditEntry { return l[1:] }, "entry 2: the log begins here"},
		"removed, and counted anew": {func(l []wire.AuditEntry) []wire.AuditEntry {
			l = append(l[:4:4], l[5:]...)
			for i := range l {
				l[i].Seq = uint64(i + 1)
				l[i].Hash = audit.Hash(l[i])
			}
			return l
		}, "does not follow"},
		"reordered": {func(l []wire.AuditEntry) []wire.AuditEntry { l[3], l[4] = l[4], l[3]; return l }, "entry 4: it is not in its place"},
		"repeated":  {func(l []wire.AuditEntry) []wire.AuditEntry { return append(l, l[9]) }, "entry 10: it is not in its place"},
		"cut off":   {func(l []wire.AuditEntry) []wire.AuditEntry { return l[:8] }, "entry 10: the anchor was taken of it, and it is not there"},
		"made anew from some entry on": {func(l []wire.AuditEntry) []wire.AuditEntry {
			l[7].Who.ID = "somebody-else"
			for i := 7; i < len(l); i++ {
				l[i].Prev = l[i-1].Hash
				l[i].Hash = audit.Hash(l[i])
			}
			return l
		}, "entry 10: it is not the one that the anchor was taken of"},
	} {
		t.Run(name, func(t *testing.T) {
			v := audit.Verifier{AnchorSeq: 10, Anchor: head.Hash}
			for _, e := range tt.tamper(all(t, l)) {
				v.Add(e)
			}
			said := fmt.Sprint(v.End())
			if tt.want == "" && said != "[]" || !strings.Contains(said, tt.want) {
				t.Errorf("found %s, want %q", said, tt.want)
			}
		})
	}
}

// Somebody with the store in hand removes an entry: reading goes on behind it.
func TestRemovedRecordIsFound(t *testing.T) {
	e := pebbletest.Open(t)
	add(t, newLog(t, audit.Config{Engine: e}), 70)
	for _, seq := range []int{64, 5} {
		key := store.Key("t", fmt.Sprintf("%020d", seq))
		r, err := e.Get(t.Context(), "audit", key)
		if err == nil {
			err = e.Delete(t.Context(), "audit", key, r.Rev)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	l := newLog(t, audit.Config{Engine: e})
	add(t, l, 1)
	list := all(t, l)
	if got := fmt.Sprint(verify(list)); len(list) != 69 || !strings.Contains(got, "entries 5 to 5") || !strings.Contains(got, "entries 64 to 64") {
		t.Errorf("%d entries, faults %s", len(list), got)
	}
}

func TestPseudonyms(t *testing.T) {
	l := newLog(t, audit.Config{Engine: pebbletest.Open(t)})
	record := audit.Record{Tenant: "t", Who: admin, What: audit.NumberRecycled, Parties: []tel.Identity{alice, {}}}
	for range 2 {
		if err := l.Append(t.Context(), record); err != nil {
			t.Fatal(err)
		}
	}
	name, err := l.Known(t.Context(), "t", alice)
	if err != nil || name == "" {
		t.Fatalf("pseudonym %q, %v", name, err)
	}
	if other, err := l.Pseudonym(t.Context(), "other", alice); err != nil || other == name {
		t.Errorf("another tenant has the pseudonym %q too, %v", other, err)
	}
	if err := l.Erase(t.Context(), "t", alice); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	list := all(t, l)
	if a, b, c := list[0].On[0], list[1].On[0], list[2].On[0]; a != "party:"+name || b != a || c == a || len(list[0].On) != 1 {
		t.Errorf("pseudonyms %v %v %v", a, b, c)
	}
	if faults := verify(list); len(faults) > 0 {
		t.Errorf("faults after the erasure: %v", faults)
	}
}

func TestOnlyIDsAndCodesAreTaken(t *testing.T) {
	l := newLog(t, audit.Config{Engine: pebbletest.Open(t)})
	for name, r := range map[string]audit.Record{
		"no tenant":        {Who: admin, What: audit.StoreBackup},
		"unknown action":   {Tenant: "t", Who: admin, What: "session.opened"},
		"nobody":           {Tenant: "t", What: audit.StoreBackup},
		"a number":         {Tenant: "t", Who: admin, What: audit.StoreBackup, On: []string{"+442079460001"}},
		"what people type": {Tenant: "t", Who: admin, What: audit.StoreBackup, Details: map[string]string{"name": "Alice's phone"}},
	} {
		if err := l.Append(t.Context(), r); !errors.Is(err, audit.ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPrune(t *testing.T) {
	now := noon
	e := pebbletest.Open(t)
	l := newLog(t, audit.Config{Engine: e, Retention: 24 * time.Hour, Now: func() time.Time { return now }})
	add(t, l, 5)
	if _, err := l.Pseudonym(t.Context(), "t", alice); err != nil {
		t.Fatal(err)
	}
	now = now.Add(20 * time.Hour)
	add(t, l, 5)
	now = now.Add(10 * time.Hour)
	if err := l.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := all(t, l)
	if len(list) != 6 || list[0].Seq != 6 || list[5].What != string(audit.AuditPruned) {
		t.Fatalf("what is left: %+v", list)
	}
	if faults := verify(list); len(faults) > 0 {
		t.Errorf("faults after pruning: %v", faults)
	}
	if faults := verify(list[1:]); len(faults) == 0 {
		t.Error("an entry more was removed than the pruning tells of, and nobody notices")
	}
	if name, err := l.Known(t.Context(), "t", alice); err != nil || name == "" {
		t.Errorf("a pseudonym in use: %q, %v", name, err)
	}
	// Another node knows where the log begins, and the empty log goes on.
	now = now.Add(100 * time.Hour)
	other := newLog(t, audit.Config{Engine: e, Retention: 24 * time.Hour, Now: func() time.Time { return now }})
	for range 2 {
		if err := other.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	add(t, newLog(t, audit.Config{Engine: e}), 1)
	list = all(t, l)
	if faults := verify(list); len(faults) > 0 || len(list) != 2 || list[0].Seq != 12 {
		t.Errorf("faults %v in %+v", faults, list)
	}
	if name, err := l.Known(t.Context(), "t", alice); err != nil || name != "" {
		t.Errorf("a pseudonym that no entry uses: %q, %v", name, err)
	}
}

// Refusals that come too fast are counted; no more is written than the limit allows.
func TestNotedBehind(t *testing.T) {
	now := noon
	l := newLog(t, audit.Config{Engine: pebbletest.Open(t), Now: func() time.Time { return now }})
	refusal := audit.Record{Tenant: "t", Who: wire.AuditActor{Role: audit.RoleAnybody}, What: audit.LoginRefused}
	for range 1000 {
		l.Note(refusal)
	}
	l.Note(audit.Record{Tenant: "t", Who: admin, What: audit.DeviceEnrolled})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	list := all(t, l)
	total := uint64(0)
	for _, e := range list {
		total += max(e.Count, 1)
	}
	if total != 1001 || len(list) > 70 {
		t.Errorf("%d entries tell of %d events", len(list), total)
	}
	now = now.Add(time.Minute)
	l.Note(refusal)
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if more := all(t, l); len(more) != len(list)+1 || more[len(list)].Count != 0 {
		t.Errorf("after the flood: %+v", more[len(list):])
	}
	if faults := verify(all(t, l)); len(faults) > 0 {
		t.Errorf("faults: %v", faults)
	}
}
