package profile_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/profile"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func field(id, value string) wire.ProfileField {
	name, _, _ := strings.Cut(id, "-")
	return wire.ProfileField{ID: id, Name: name, Value: value}
}

func change(t *testing.T, p profile.Profile, c wire.ProfileChange) (profile.Profile, []wire.ProfileConflict) {
	t.Helper()
	next, conflicts, err := p.Change(c, now)
	if err != nil {
		t.Fatal(err)
	}
	return next, conflicts
}

func ids(fields []wire.ProfileField) (list []string) {
	for _, f := range fields {
		list = append(list, f.ID)
	}
	return list
}

// TestChange: fields have versions of their own, and what was changed on both sides is a
// conflict that overwrites nothing.
func TestChange(t *testing.T) {
	p, _ := change(t, profile.Profile{}, wire.ProfileChange{Set: []wire.ProfileField{field("fn", "Alice"), field("email", "a@x.example"), field("note", "n")}})
	base := p.Version
	p, _ = change(t, p, wire.ProfileChange{Set: []wire.ProfileField{field("email", "b@x.example"), field("fn", "Alice")}, Remove: []string{"note"}})
	if v := p.Fields[0].Version; v != base {
		t.Errorf("a field that was set to what it was has the version %d", v)
	}
	if v := p.Fields[1].Version; v != base+1 {
		t.Errorf("the changed field has the version %d", v)
	}
	for name, c := range map[string]struct {
		change wire.ProfileChange
		want   string // of the conflict; empty: none
	}{
		"changed here only":       {wire.ProfileChange{Set: []wire.ProfileField{field("fn", "Al")}}, ""},
		"changed on both sides":   {wire.ProfileChange{Set: []wire.ProfileField{field("email", "c@x.example")}}, "email"},
		"changed alike":           {wire.ProfileChange{Set: []wire.ProfileField{field("email", "b@x.example")}}, ""},
		"removed there":           {wire.ProfileChange{Set: []wire.ProfileField{field("note", "m")}}, "note"},
		"removed here":            {wire.ProfileChange{Remove: []string{"email"}}, "email"},
		"removed on both sides":   {wire.ProfileChange{Remove: []string{"note"}}, ""},
		"new here":                {wire.ProfileChange{Set: []wire.ProfileField{field("org", "Ajax")}}, ""},
		"removed here, unchanged": {wire.ProfileChange{Remove: []string{"fn"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.change.Base = base
			next, conflicts := change(t, p, c.change)
			if c.want == "" && len(conflicts) > 0 || c.want != "" && (len(conflicts) != 1 || conflicts[0].ID != c.want) {
				t.Errorf("conflicts: %+v", conflicts)
			}
			if c.want != "" && !slices.EqualFunc(next.Fields, p.Fields, func(a, b wire.ProfileField) bool { return a.ID == b.ID && a.Value == b.Value }) {
				t.Errorf("a conflict changed the profile: %+v", next.Fields)
			}
			c.change.Base = 0 // overwrite
			if _, conflicts := change(t, p, c.change); len(conflicts) > 0 {
				t.Errorf("without a base: %+v", conflicts)
			}
		})
	}
}

func TestChangeRefuses(t *testing.T) {
	many := make([]wire.ProfileField, wire.MaxProfileFields+1)
	for i := range many {
		many[i] = wire.ProfileField{ID: "x-" + string(rune('a'+i%26)) + string(rune('a'+i/26)), Name: "x-y", Value: "1"}
	}
	groups := []wire.ProfileGroup{{Name: "family", Fields: []string{"nothing"}}}
	for name, c := range map[string]wire.ProfileChange{
		"no value":          {Set: []wire.ProfileField{field("fn", "")}},
		"too long":          {Set: []wire.ProfileField{field("fn", strings.Repeat("x", wire.MaxProfileValue+1))}},
		"control character": {Set: []wire.ProfileField{field("fn", "a\x1b[2J")}},
		"unknown property":  {Set: []wire.ProfileField{field("shoes", "44")}},
		"script":            {Set: []wire.ProfileField{field("url", "javascript:alert(1)")}},
		"picture by hand":   {Set: []wire.ProfileField{{ID: "photo", Name: "photo", Picture: &wire.ProfilePicture{Path: "/v1/pictures/of-another"}}}},
		"too many":          {Set: many},
		"group of nothing":  {Groups: &groups},
		"send":              {Send: "sometimes"},
	} {
		if _, _, err := (profile.Profile{}).Change(c, now); !errors.Is(err, profile.ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFor: groups replace the general fields, or add to them.
func TestFor(t *testing.T) {
	carol, bob, dave := id(t, "+442079460003"), id(t, "+442079460002"), id(t, "+442079460004")
	groups := []wire.ProfileGroup{
		{Name: "work", Members: []tel.Identity{bob}, Fields: []string{"email"}, Adds: true},
		{Name: "family", Members: []tel.Identity{carol}, Fields: []string{"nickname"}},
		{Name: "club", Members: []tel.Identity{carol, bob}, Fields: []string{"org"}, Adds: true},
	}
	p, _ := change(t, profile.Profile{}, wire.ProfileChange{
		Set: []wire.ProfileField{field("fn", "Alice"), field("nickname", "Al"), field("email", "a@x.example"), field("org", "Ajax")}, Groups: &groups,
	})
	for who, want := range map[tel.Identity][]string{
		dave: {"fn"}, bob: {"fn", "email", "org"}, carol: {"nickname", "org"}, {}: {"fn"},
	} {
		if got, _ := p.For([]tel.Identity{who}); !slices.Equal(ids(got), want) {
			t.Errorf("%v sees %v, want %v", who, ids(got), want)
		}
	}
	general := []string{"org"}
	p, _ = change(t, p, wire.ProfileChange{General: &general})
	if got, _ := p.For(nil); !slices.Equal(ids(got), general) {
		t.Errorf("everybody sees %v", ids(got))
	}
}

func id(t *testing.T, s string) tel.Identity {
	t.Helper()
	i, err := tel.ParseIdentity(s, "")
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// TestMissing: a device has what it has confirmed, and what it was sent in the session.
func TestMissing(t *testing.T) {
	p, _ := change(t, profile.Profile{}, wire.ProfileChange{Set: []wire.ProfileField{field("fn", "Alice"), field("org", "Ajax")}})
	all := p.Fields
	var r profile.Receipts
	if m := r.Missing(all, "phone", "s1"); len(m) != 2 {
		t.Errorf("at first: %v", ids(m))
	}
	r = r.Sent(all, all, nil, "phone", "s1", now)
	if m := r.Missing(all, "phone", "s1"); len(m) != 0 {
		t.Errorf("in the same session: %v", ids(m))
	}
	if m := r.Missing(all, "tablet", "s1"); len(m) != 2 {
		t.Errorf("another device: %v", ids(m))
	}
	if m := r.Missing(all, "phone", "s2"); len(m) != 2 {
		t.Errorf("what was not confirmed, in the next session: %v", ids(m))
	}
	r = r.Confirm([]wire.FieldVersion{{ID: "fn", Version: 1}}, "phone", now)
	proved := slices.Clone(all)
	proved[0].Proof, proved[0].Proved = "operator", now
	if m := r.Missing(proved, "phone", "s2"); !slices.Equal(ids(m), []string{"fn", "org"}) {
		t.Errorf("one that was proved since: %v", ids(m))
	}
	if n := r.Sent(proved, nil, nil, "phone", "s2", now); len(n.Missing(proved, "phone", "s2")) != 0 || !slices.Equal(ids(n.Missing(all, "phone", "s2")), []string{"fn"}) {
		t.Error("one whose proof was taken back is held as proved")
	}
	if m := r.Missing(all, "phone", "s2"); !slices.Equal(ids(m), []string{"org"}) {
		t.Errorf("of what one was confirmed: %v", ids(m))
	}
	p, _ = change(t, p, wire.ProfileChange{Set: []wire.ProfileField{field("fn", "Alicia")}, Remove: []string{"org"}})
	if m := r.Missing(p.Fields, "phone", "s2"); !slices.Equal(ids(m), []string{"fn"}) || !r.Removed(p.Fields, "phone") {
		t.Errorf("a newer one, and one less: %v", ids(m))
	}
}

// TestStale: a proof is old after its days; what is only claimed is not, nor what an older server sent without a date.
func TestStale(t *testing.T) {
	at := now.Add(-wire.ProofStaleDays * 24 * time.Hour)
	for _, c := range []struct {
		f    wire.ProfileField
		want bool
	}{
		{wire.ProfileField{Proof: "operator", Proved: at}, false}, {wire.ProfileField{Proof: "operator", Proved: at.Add(-time.Second)}, true},
		{wire.ProfileField{Proved: at.Add(-time.Hour)}, false}, {wire.ProfileField{Proof: "operator"}, false},
	} {
		if c.f.Stale(now) != c.want {
			t.Errorf("%+v: %v", c.f, !c.want)
		}
	}
}

// TestCards: what is written is read again, by vCard and jCard.
func TestCards(t *testing.T) {
	picture := []byte("GIF89a and so on")
	long := strings.Repeat("übermäßig lange Zeile, ", 20) + "Ende"
	fields := []wire.ProfileField{
		field("fn", "Alice; Ng, \\ and\nmore"), field("n", "Ng;Alice;;;"), field("email", "a@x.example"), field("tel", "+442079460001"),
		{ID: "tel-2", Name: "tel", Value: "+442079460002", Types: []string{"cell", "work"}}, field("note", long),
		field("adr", ";;1 High Street;London;;N1;UK"), field("url", "https://x.example/a,b;c"),
		{ID: "photo", Name: "photo", Picture: &wire.ProfilePicture{Path: "/v1/pictures/p", Type: "image/gif"}}, {ID: "x-pet", Name: "x-pet", Value: "cat"},
	}
	pictures := func(wire.ProfilePicture) []byte { return picture }
	v := profile.VCard("uid-1", fields, pictures)
	for line := range bytes.Lines(v) {
		if len(line) > 77 || !bytes.HasSuffix(line, []byte("\r\n")) {
			t.Errorf("a line of %d octets: %q", len(line), line)
		}
	}
	j, err := profile.JCard("uid-1", fields, pictures)
	if err != nil {
		t.Fatal(err)
	}
	cards, err := profile.ParseCards(v)
	if err != nil || len(cards) != 1 {
		t.Fatal(cards, err)
	}
	jcard, err := profile.ParseJCard(j)
	if err != nil {
		t.Fatal(err)
	}
	for form, c := range map[string]profile.Card{"vCard": cards[0], "jCard": jcard} {
		if c.UID != "uid-1" || !bytes.Equal(c.Pictures["photo"], picture) {
			t.Errorf("%s: uid %q, picture %q", form, c.UID, c.Pictures["photo"])
		}
		for _, want := range fields {
			i := slices.IndexFunc(c.Fields, func(f wire.ProfileField) bool { return f.ID == want.ID })
			if i < 0 || c.Fields[i].Value != want.Value || !slices.Equal(c.Fields[i].Types, want.Types) {
				t.Errorf("%s: %s is not %+v in %+v", form, want.ID, want, c.Fields)
			}
		}
	}
}

func FuzzCards(f *testing.F) {
	f.Add([]byte("BEGIN:VCARD\r\nVERSION:4.0\r\nFN:A\r\nPHOTO:data:image/gif;base64," + base64.StdEncoding.EncodeToString([]byte("GIF89a")) + "\r\nEND:VCARD\r\n"))
	f.Add([]byte("BEGIN:VCARD\nVERSION:2.1\nN;QUOTED-PRINTABLE:=\n=C3=BC;;\nTEL;CELL;HOME:1\nPHOTO;BASE64:AA==\nEND:VCARD"))
	f.Add([]byte(`["vcard",[["version",{},"text","4.0"],["adr",{"type":["home"]},"text",["",["a","b"],"c"]]]]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		cards, err := profile.ParseCards(data)
		if err != nil {
			j, err := profile.ParseJCard(data)
			if err != nil {
				return
			}
			cards = []profile.Card{j}
		}
		for _, c := range cards {
			set := slices.DeleteFunc(slices.Clone(c.Fields), func(f wire.ProfileField) bool { return f.Name == "photo" })
			if _, _, err := (profile.Profile{}).Change(wire.ProfileChange{Set: set}, now); err != nil {
				t.Fatalf("what was read cannot be kept: %v", err)
			}
			again, err := profile.ParseCards(profile.VCard(c.UID, set, nil))
			if err != nil || len(again) != 1 {
				t.Fatalf("what was written cannot be read: %v", err)
			}
		}
	})
}
