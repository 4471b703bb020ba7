package overlay

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/tandem-call/tandem/internal/credential"
	"github.com/tandem-call/tandem/internal/signed"
	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/wire"
)

func TestPublishAndRollBack(t *testing.T) {
	w, s := newWorld(t)
	ctx := t.Context()
	x := w.publish(s, "menu", plain("one"))
	if x.Live != 1 || len(x.Versions) != 1 || !strings.HasPrefix(x.Secret, "whsec_") {
		t.Errorf("%+v", x)
	}
	draft, err := s.SetDraft(ctx, all, "menu", plain("two"))
	if err != nil || draft.Live != 1 || draft.Secret != "" {
		t.Fatalf("a draft changes what is live, or tells the secret again: %+v, %v", draft, err)
	}
	live := func() string {
		_, e, err := s.edition(ctx, "t", "menu")
		if err != nil {
			return err.Error()
		}
		o, err := Fill(e.OverlayDraft, nil)
		if err != nil {
			t.Fatal(err)
		}
		return o.ID
	}
	if got := live(); got != "one" {
		t.Errorf("live before publishing: %s", got)
	}
	if x, err = s.Publish(ctx, all, "menu"); err != nil || x.Live != 2 || live() != "two" {
		t.Errorf("%+v, %v", x, err)
	}
	if x, err = s.Rollback(ctx, all, "menu", 1); err != nil || x.Live != 1 || live() != "one" {
		t.Errorf("%+v, %v", x, err)
	}
	if d, err := s.Version(ctx, all, "menu", 1); err != nil || !strings.Contains(string(d.Document), `"one"`) {
		t.Errorf("version 1: %s, %v", d.Document, err)
	}
	if _, err := s.Version(ctx, all, "menu", 7); !errors.Is(err, ErrNotFound) {
		t.Errorf("a version that never was is read: %v", err)
	}
	if _, err := s.Version(ctx, credential.Owner{Tenant: "t", Ranges: []string{"tel:+1"}}, "menu", 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("somebody else's is read: %v", err)
	}
	if _, err = s.Rollback(ctx, all, "menu", 7); !errors.Is(err, ErrNotFound) {
		t.Errorf("a version that never was: %v", err)
	}
	if x, err = s.Rollback(ctx, all, "menu", 0); err != nil || x.Live != 0 || !strings.Contains(live(), "no template") {
		t.Errorf("%+v, %v, %s", x, err, live())
	}
	if err := s.Remove(ctx, all, "menu"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, all, "menu"); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed: %v", err)
	}
	if x := w.publish(s, "menu", plain("three")); x.Live != 1 {
		t.Errorf("made again, it has the versions of the one that was removed: %+v", x)
	}
}

// TestManyPublish: what several publish at once gets a version each, and none is lost.
func TestManyPublish(t *testing.T) {
	w, s := newWorld(t)
	w.publish(s, "menu", plain("one"))
	other := w.service()
	var g sync.WaitGroup
	for i := range 8 {
		g.Go(func() {
			node := s
			if i%2 == 1 {
				node = other
			}
			if _, err := node.Publish(t.Context(), all, "menu"); err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	x, err := s.Get(t.Context(), all, "menu")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, v := range x.Versions {
		seen[v.Version] = true
	}
	if len(x.Versions) != 9 || len(seen) != 9 || !seen[x.Live] {
		t.Errorf("live %d of %v", x.Live, x.Versions)
	}
}

// TestOldVersionsGo, except the one that is live.
func TestOldVersionsGo(t *testing.T) {
	w, s := newWorld(t)
	w.publish(s, "menu", plain("one"))
	var x wire.StoredOverlay
	var err error
	for range MaxVersions + 5 {
		if x, err = s.Publish(t.Context(), all, "menu"); err != nil {
			t.Fatal(err)
		}
	}
	if len(x.Versions) != MaxVersions || x.Versions[0].Version != 7 {
		t.Errorf("%d versions are kept, from %d", len(x.Versions), x.Versions[0].Version)
	}
	if _, err := s.Rollback(t.Context(), all, "menu", 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("a version that has gone: %v", err)
	}
}

// TestOwners: a provider's key manages what lies wholly in its ranges, and is told of nothing else.
func TestOwners(t *testing.T) {
	w, s := newWorld(t)
	ctx := t.Context()
	ajax := credential.Owner{Tenant: "t", Ranges: []string{"+4420794609"}}
	other := credential.Owner{Tenant: "t", Ranges: []string{"+4420794608"}}
	stranger := credential.Owner{Tenant: "u", All: true}
	w.publish(s, "menu", plain("one"))
	for name, by := range map[string]credential.Owner{"another provider": other, "another tenant": stranger, "nobody": {Tenant: "t"}} {
		if l, err := s.List(ctx, by); err != nil || len(l) != 0 {
			t.Errorf("%s lists %v, %v", name, l, err)
		}
		_, get := s.Get(ctx, by, "menu")
		_, publish := s.Publish(ctx, by, "menu")
		_, back := s.Rollback(ctx, by, "menu", 1)
		for what, err := range map[string]error{"get": get, "publish": publish, "roll back": back, "remove": s.Remove(ctx, by, "menu")} {
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("%s may %s: %v", name, what, err)
			}
		}
	}
	if l, err := s.List(ctx, ajax); err != nil || len(l) != 1 {
		t.Errorf("its own: %v, %v", l, err)
	}
	d := plain("two")
	d.Numbers = []string{"+442079460800"}
	if _, err := s.SetDraft(ctx, other, "menu", d); !errors.Is(err, ErrRequest) {
		t.Errorf("a name that is taken: %v", err)
	}
	d.Numbers = []string{"+442079460900", "+442079460800"}
	if _, err := s.SetDraft(ctx, ajax, "mine", d); !errors.Is(err, ErrNumbers) {
		t.Errorf("numbers of another: %v", err)
	}
	d.Numbers = []string{"+44207946"}
	if _, err := s.SetDraft(ctx, ajax, "mine", d); !errors.Is(err, ErrNumbers) {
		t.Errorf("a range wider than its own: %v", err)
	}
	d.Numbers = []string{"+442079460900"}
	if _, err := s.SetDraft(ctx, ajax, "menu", d); err != nil {
		t.Errorf("its own: %v", err)
	}
}

func TestDraftsAreChecked(t *testing.T) {
	_, s := newWorld(t)
	for name, c := range map[string]struct {
		change func(*wire.OverlayDraft)
		want   error
	}{
		"no numbers":            {func(d *wire.OverlayDraft) { d.Numbers = nil }, ErrRequest},
		"no number":             {func(d *wire.OverlayDraft) { d.Numbers = []string{"+44x"} }, ErrRequest},
		"no title":              {func(d *wire.OverlayDraft) { d.Title = nil }, ErrRequest},
		"title in no language":  {func(d *wire.OverlayDraft) { d.Title = map[string]string{"English": "x"} }, ErrRequest},
		"script":                {func(d *wire.OverlayDraft) { d.Document = json.RawMessage(`{"version":1,"script":"x"}`) }, overlay.ErrInvalid},
		"nothing":               {func(d *wire.OverlayDraft) { d.Document = nil }, ErrRequest},
		"plain address":         {func(d *wire.OverlayDraft) { d.URL = "http://ajax.example/" }, ErrRequest},
		"huge":                  {func(d *wire.OverlayDraft) { d.Document = make([]byte, overlay.MaxSize+1) }, ErrRequest},
		"no time":               {func(d *wire.OverlayDraft) { d.When = &wire.OverlayWhen{From: "9"} }, ErrRequest},
		"unfilled when opening": {func(d *wire.OverlayDraft) { *d = opening(booking()) }, ErrRequest},
		"customer of nothing":   {func(d *wire.OverlayDraft) { *d = booking(); d.Parameters[2].Of = "" }, ErrRequest},
		"from elsewhere":        {func(d *wire.OverlayDraft) { *d = booking(); d.Parameters[0].From = "moon" }, ErrRequest},
	} {
		d := plain("one")
		c.change(&d)
		if _, err := s.SetDraft(t.Context(), all, "menu", d); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "Menu", "a/b", strings.Repeat("a", 65)} {
		if _, err := s.SetDraft(t.Context(), all, name, plain("one")); !errors.Is(err, ErrRequest) {
			t.Errorf("the name %q: %v", name, err)
		}
	}
}

func TestStoreIsLimited(t *testing.T) {
	_, s := newWorld(t)
	for i := range MaxStored {
		if _, err := s.stored.Put(t.Context(), key("t", fmt.Sprint("o", i)), Stored{Tenant: "t", Name: fmt.Sprint("o", i)}, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.SetDraft(t.Context(), all, "more", plain("one")); !errors.Is(err, ErrFull) {
		t.Errorf("one more: %v", err)
	}
	if _, err := s.SetDraft(t.Context(), credential.Owner{Tenant: "u", All: true}, "more", plain("one")); err != nil {
		t.Errorf("of another tenant: %v", err)
	}
	if _, err := s.SetDraft(t.Context(), all, "o1", plain("one")); err != nil {
		t.Errorf("one that is there: %v", err)
	}
}

// TestSecretIsTheKey that signs: what is shown once is what the provider's server checks with.
func TestSecretIsTheKey(t *testing.T) {
	w, s := newWorld(t)
	x := w.publish(s, "menu", plain("one"))
	kept, err := s.get(t.Context(), all, "menu")
	if err != nil || x.Secret != signed.Text(kept.Key) || len(kept.Key) != 32 {
		t.Errorf("%v", err)
	}
}
