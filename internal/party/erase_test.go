package party_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/party"
)

func TestErase(t *testing.T) {
	w := newWorld(t)
	a, b, mail := id(t, "+442079460001"), id(t, "+442079460002"), id(t, "mailto:a@example.com")
	w.prove(t, a, time.Hour)
	w.prove(t, b, time.Hour)
	ok(t, w.Link(t.Context(), w.tenant, mail, a))
	ok(t, w.MarkShared(t.Context(), w.tenant, a, party.Trunk, ""))
	ok(t, w.Block(t.Context(), w.tenant, a, b))
	ok(t, w.Block(t.Context(), w.tenant, b, a))
	ids, err := w.Identities(t.Context(), w.tenant, mail)
	ok(t, err)
	for range 2 {
		ok(t, w.Erase(t.Context(), w.tenant, ids))
	}
	for _, table := range []string{"parties", "party_names", "shared_identities", "party_blocks"} {
		for r, err := range w.engine.Scan(t.Context(), table, "") {
			ok(t, err)
			if text := r.Key + string(r.Value); strings.Contains(text, "442079460001") || strings.Contains(text, "example.com") {
				t.Errorf("left in %s: %s", table, text)
			}
		}
	}
	// Who was bothered stays unbothered, should the number come back.
	w.prove(t, a, time.Hour)
	if blocked, err := w.Blocked(t.Context(), w.tenant, b, a); !blocked || err != nil {
		t.Errorf("the other's block stands: %v, %v", blocked, err)
	}
	if blocked, err := w.Blocked(t.Context(), w.tenant, a, b); blocked || err != nil {
		t.Errorf("the own block stands: %v, %v", blocked, err)
	}
	if all, err := w.Blocks(t.Context(), w.tenant, b); len(all) != 0 || err != nil {
		t.Errorf("the list tells %v, %v", all, err)
	}
}

func TestUnnamedBlockIsOnNoList(t *testing.T) {
	w := newWorld(t)
	a, b := id(t, "+442079460001"), id(t, "+442079460002")
	ok(t, w.BlockUnnamed(t.Context(), w.tenant, a, b))
	if blocked, err := w.Blocked(t.Context(), w.tenant, a, b); !blocked || err != nil {
		t.Errorf("blocked: %v, %v", blocked, err)
	}
	if all, err := w.Blocks(t.Context(), w.tenant, a); len(all) != 0 || err != nil {
		t.Errorf("the list tells %v, %v", all, err)
	}
}

func TestSweepForgetsLapsedIdentities(t *testing.T) {
	w := newWorld(t)
	a, b, mail := id(t, "+442079460001"), id(t, "+442079460002"), id(t, "mailto:a@example.com")
	w.prove(t, a, time.Hour)
	w.prove(t, b, 100*time.Hour)
	ok(t, w.Link(t.Context(), w.tenant, mail, a))
	for _, step := range []struct {
		after time.Duration
		left  int
	}{{time.Hour, 3}, {24 * time.Hour, 1}, {200 * time.Hour, 0}} {
		w.now = w.now.Add(step.after)
		_, err := w.Sweep(t.Context(), 2*time.Hour)
		ok(t, err)
		left := 0
		for _, err := range w.engine.Scan(t.Context(), "party_names", string(w.tenant)+"/") {
			ok(t, err)
			left++
		}
		if left != step.left {
			t.Errorf("after %v there are %d names, want %d", step.after, left, step.left)
		}
	}
}
