package credential_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem-call/tandem/internal/credential"
	"github.com/tandem-call/tandem/internal/edge/store/pebblestore/pebbletest"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

type world struct {
	*credential.Store
	engine  store.Engine
	now     time.Time
	revoked []string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{engine: pebbletest.Open(t), now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	s, err := credential.Open(credential.Config{
		Engine: w.engine, Now: func() time.Time { return w.now },
		OnRevoke: func(_ context.Context, _ wire.TenantID, id string) { w.revoked = append(w.revoked, id) },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Store = s
	return w
}

func (w *world) create(t testing.TB, n credential.New) (string, credential.Credential) {
	t.Helper()
	key, c, err := w.Create(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return key, c
}

var pbx = credential.New{Tenant: "acme", Role: credential.Element, Name: "pbx", Speaks: []string{"+44 20 7946…", "@PBX.example"}}

func want(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got error %v, want %v", err, target)
	}
}

func TestCreateAndVerify(t *testing.T) {
	w := newWorld(t)
	key, c := w.create(t, pbx)
	if !strings.HasPrefix(key, "tdm_"+c.ID+"_") || len(key) < 4+26+1+26 {
		t.Errorf("key %q", key)
	}
	got, err := w.Verify(t.Context(), key)
	if err != nil || got.ID != c.ID || got.Tenant != "acme" || got.Role != credential.Element || fmt.Sprint(got.Speaks) != "[+44207946 @pbx.example]" {
		t.Errorf("%+v, %v", got, err)
	}
	for item, err := range w.engine.Scan(t.Context(), "credentials", "") {
		if err != nil {
			t.Fatal(err)
		}
		if secret := key[len(key)-26:]; bytes.Contains(item.Value, []byte(secret)) {
			t.Errorf("the secret is stored: %s", item.Value)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	w := newWorld(t)
	key, c := w.create(t, pbx)
	otherKey, _ := w.create(t, pbx)
	secret := key[len(key)-26:]
	for name, k := range map[string]string{
		"empty":             "",
		"no prefix":         key[4:],
		"no secret":         "tdm_" + c.ID + "_",
		"no id":             "tdm__" + secret,
		"neither":           "tdm__",
		"id only":           "tdm_" + c.ID,
		"another's secret":  "tdm_" + c.ID + "_" + otherKey[len(otherKey)-26:],
		"unknown id":        "tdm_" + strings.Repeat("A", 26) + "_" + secret,
		"longer":            key + "A",
		"shorter":           key[:len(key)-1],
		"lower case":        strings.ToLower(key),
		"line end":          key + "\n",
		"id that is a path": "tdm_../acme/" + c.ID + "_" + secret,
		"very long":         "tdm_" + strings.Repeat("A", 1<<16) + "_" + secret,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.Verify(t.Context(), k)
			want(t, err, credential.ErrInvalid)
		})
	}
}

func TestExpiry(t *testing.T) {
	w := newWorld(t)
	n := pbx
	n.Expires = w.now.Add(time.Hour)
	key, c := w.create(t, n)
	w.now = w.now.Add(time.Hour - 1)
	if _, err := w.Verify(t.Context(), key); err != nil {
		t.Error(err)
	}
	w.now = w.now.Add(1)
	_, err := w.Verify(t.Context(), key)
	want(t, err, credential.ErrExpired)
	_, err = w.Verify(t.Context(), "tdm_"+c.ID+"_wrong") // says nothing to who has no secret
	want(t, err, credential.ErrInvalid)
}

func TestRevoke(t *testing.T) {
	w := newWorld(t)
	key, c := w.create(t, pbx)
	want(t, w.Revoke(t.Context(), "other", c.ID), credential.ErrNotFound)
	for range 2 {
		if err := w.Revoke(t.Context(), "acme", c.ID); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.revoked) != 2 || w.revoked[0] != c.ID {
		t.Errorf("told to close %v", w.revoked)
	}
	_, err := w.Verify(t.Context(), key)
	want(t, err, credential.ErrRevoked)
	if got, err := w.Get(t.Context(), "acme", c.ID); err != nil || got.RevokedAt.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestSweep(t *testing.T) {
	w := newWorld(t)
	make := func(expires time.Duration) (string, credential.Credential) {
		t.Helper()
		key, c, err := w.Create(t.Context(), credential.New{Tenant: "a", Role: credential.Operator, Name: "x", Expires: w.now.Add(expires)})
		if err != nil {
			t.Fatal(err)
		}
		return key, c
	}
	stays, _ := make(1000 * time.Hour)
	make(time.Hour)
	_, lost := make(1000 * time.Hour)
	if err := w.Revoke(t.Context(), "a", lost.ID); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		pass time.Duration
		want int
	}{{10 * time.Hour, 0}, {14*time.Hour + time.Minute, 1}, {time.Hour, 1}, {time.Hour, 0}} {
		w.now = w.now.Add(step.pass)
		if n, err := w.Sweep(t.Context(), 24*time.Hour); n != step.want || err != nil {
			t.Errorf("swept %d, %v, want %d", n, err, step.want)
		}
	}
	if _, err := w.Verify(t.Context(), stays); err != nil {
		t.Errorf("a key in use: %v", err)
	}
	if all, err := w.List(t.Context(), "a"); len(all) != 1 || err != nil {
		t.Errorf("left: %v, %v", all, err)
	}
}

func TestListIsPerTenant(t *testing.T) {
	w := newWorld(t)
	w.create(t, pbx)
	w.create(t, pbx)
	n := pbx
	n.Tenant = "acme2"
	w.create(t, n)
	for tenant, count := range map[wire.TenantID]int{"acme": 2, "acme2": 1, "acm": 0} {
		if all, err := w.List(t.Context(), tenant); err != nil || len(all) != count {
			t.Errorf("%s: %d, %v", tenant, len(all), err)
		}
	}
	if _, err := w.Get(t.Context(), "acme", "nobody"); !errors.Is(err, credential.ErrNotFound) {
		t.Error(err)
	}
}

func TestCreateRefuses(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*credential.New){
		"no tenant":     func(n *credential.New) { n.Tenant = "" },
		"no role":       func(n *credential.New) { n.Role = "" },
		"unknown role":  func(n *credential.New) { n.Role = "king" },
		"no name":       func(n *credential.New) { n.Name = "" },
		"expired":       func(n *credential.New) { n.Expires = w.now },
		"letters":       func(n *credential.New) { n.Speaks = []string{"+44x"} },
		"too long":      func(n *credential.New) { n.Speaks = []string{"+1234567890123456"} },
		"national":      func(n *credential.New) { n.Speaks = []string{"020"} },
		"host of words": func(n *credential.New) { n.Speaks = []string{"@a b"} },
		"two hosts":     func(n *credential.New) { n.Speaks = []string{"@a@b"} },
		"no host":       func(n *credential.New) { n.Speaks = []string{"@"} },
		"bad scope":     func(n *credential.New) { n.Scopes = []string{"a b"} },
	} {
		t.Run(name, func(t *testing.T) {
			n := pbx
			change(&n)
			_, _, err := w.Create(t.Context(), n)
			want(t, err, credential.ErrRequest)
		})
	}
	if _, err := credential.Open(credential.Config{}); err == nil {
		t.Error("a store without an engine was opened")
	}
}

func TestMaySpeakFor(t *testing.T) {
	for _, c := range []struct {
		speaks, id string
		want       bool
	}{
		{"+44207946", "+442079460001", true},
		{"+44207946…", "tel:+44-20-7946-0001", true},
		{"+44 20 7946*", "+442079460001", true},
		{"+44207946", "+442079450001", false},
		{"+442079460001", "+442079460001", true},
		{"+442079460001", "+442079460002", false},
		{"+", "+14155550100", true},
		{"+", "sip:alice@example.com", false},
		{"+44207946", "sip:+442079460001@example.com", false}, // never guess a number
		{"+44207946", "sip:+442079460001@example.com;user=phone", true},
		{"@example.com", "sip:alice@example.com", true},
		{"@example.com", "mailto:alice@Example.com", true},
		{"@example.com", "sip:alice@sub.example.com", false},
		{"@example.com", "sip:alice@badexample.com", false},
		{"@example.com", "acct:alice@example.com", false},
		{"@example.com", "+442079460001", false},
		{"sip:ivr@example.com", "sip:ivr@example.com", true},
		{"sip:ivr@example.com", "sip:ivr2@example.com", false},
		{"user:alice", "user:Alice", true},
		{"tel:+44-20-7946-0001", "+442079460001", true},
	} {
		t.Run(c.speaks+" "+c.id, func(t *testing.T) {
			r, err := credential.ParseRange(c.speaks)
			if err != nil {
				t.Fatal(err)
			}
			id, err := tel.ParseIdentity(c.id, "")
			if err != nil {
				t.Fatal(err)
			}
			if got := (credential.Credential{Speaks: []string{r}}).MaySpeakFor(id); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
	if (credential.Credential{Speaks: []string{"+"}}).MaySpeakFor(tel.Identity{}) {
		t.Error("speaks for nobody")
	}
	if (credential.Credential{Role: credential.Operator}).MaySpeakFor(tel.Identity{}) {
		t.Error("speaks without a range")
	}
}

// A number's beginning covers the number, and nothing that begins otherwise.
func TestRangesAreBeginnings(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n, err := tel.ParseNumber("+4420"+rapid.StringMatching(`[37]\d{7}`).Draw(rt, "number"), "")
		if err != nil {
			rt.Skip()
		}
		cut := rapid.IntRange(1, len(n.String())).Draw(rt, "cut")
		r, err := credential.ParseRange(n.String()[:cut])
		if err != nil {
			rt.Fatal(err)
		}
		c := credential.Credential{Speaks: []string{r}}
		if !c.MaySpeakFor(n.Identity()) {
			rt.Fatalf("%s does not cover %s", r, n)
		}
		other, err := tel.ParseNumber("+4420"+rapid.StringMatching(`[37]\d{7}`).Draw(rt, "other"), "")
		if err == nil && c.MaySpeakFor(other.Identity()) != strings.HasPrefix(other.String(), r) {
			rt.Fatalf("%s and %s", r, other)
		}
	})
}

func FuzzVerify(f *testing.F) {
	w := newWorld(f)
	w.create(f, pbx)
	f.Add("tdm_A_B")
	f.Add("tdm__")
	f.Fuzz(func(t *testing.T, key string) {
		if c, err := w.Verify(t.Context(), key); err == nil {
			t.Errorf("let %s in", c.ID)
		}
	})
}
