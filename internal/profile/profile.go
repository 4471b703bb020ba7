// Package profile is what parties let others know of themselves during calls (SPEC G), and
// the address book in which they keep what others let them know.
//
// A [Profile] has fields with versions of their own, and groups that see other fields than
// everybody does. When a session opens, [Service.Opened] notes it, and [Service.Run] sends
// each side what the other's devices have not got yet, by the [Receipts] of the pair: the
// ledger. A [Contact] is what a party keeps. Deciding what somebody sees, what has changed
// on both sides, and what is missing are functions without effects; the service stores.
package profile

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Errors of this package.
var (
	// ErrNotFound: no such profile, field, picture, contact or receipt for the caller: one answer.
	ErrNotFound = errors.New("profile: not found")
	// ErrRequest: something cannot be used as it is.
	ErrRequest = errors.New("profile: unusable request")
	// ErrTooLarge: more than a limit of package wire.
	ErrTooLarge = errors.New("profile: too large")
	// ErrType: not a picture of a type that is taken.
	ErrType = errors.New("profile: pictures are JPEG, PNG, GIF or WebP")
	// ErrClosed: the session takes nothing more, or the caller is not in it.
	ErrClosed = errors.New("profile: no such open session")
)

// Profile as it is stored: table "profiles", key store.Key(tenant, principal).
type Profile struct {
	Tenant    wire.TenantID `json:"tenant"`
	Principal tel.Identity  `json:"principal"`
	wire.Profile
	// Gone are fields that were removed, so that a device's old copy does not bring them back.
	Gone []wire.FieldVersion `json:"gone,omitempty"`
	// Sourced are the ids of the fields that came from the profile's address when it was read last.
	Sourced []string `json:"sourced,omitempty"`
}

var (
	fieldID   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	fieldName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	typeName  = regexp.MustCompile(`^[A-Za-z0-9-]{1,32}$`)
)

// names are the properties of RFC 6350 (and socialprofile, RFC 9554) that a profile may
// have; others begin with x-.
var names = []string{
	"fn", "n", "nickname", "org", "title", "role", "email", "tel", "impp", "socialprofile", "bday", "anniversary", "gender", "adr",
	"url", "source", "note", "lang", "tz", "categories", "photo",
}

// valid holds a field to its form and limits. ErrRequest.
func valid(f wire.ProfileField) error {
	switch {
	case !fieldID.MatchString(f.ID):
		return fmt.Errorf("%w: a field's id has 1 to 64 letters, digits, _ or -", ErrRequest)
	case !fieldName.MatchString(f.Name) || !strings.HasPrefix(f.Name, "x-") && !slices.Contains(names, f.Name):
		return fmt.Errorf("%w: field %s: the name is a property of a vCard in lower case, or begins with x-", ErrRequest, f.ID)
	case len(f.Value) > wire.MaxProfileValue:
		return fmt.Errorf("%w: field %s has more than %d bytes", ErrRequest, f.ID, wire.MaxProfileValue)
	case !utf8.ValidString(f.Value) || strings.ContainsFunc(f.Value, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }):
		return fmt.Errorf("%w: field %s has control characters", ErrRequest, f.ID)
	case f.Name == "photo" && (f.Picture == nil || f.Value != ""):
		return fmt.Errorf("%w: field %s: send the picture itself to /v1/profile/picture", ErrRequest, f.ID)
	case f.Name != "photo" && (f.Picture != nil || f.Value == ""):
		return fmt.Errorf("%w: field %s has no value; remove it instead", ErrRequest, f.ID)
	case len(f.Types) > 8 || slices.ContainsFunc(f.Types, func(t string) bool { return !typeName.MatchString(t) }):
		return fmt.Errorf("%w: field %s: types are at most 8 words such as home, work, cell", ErrRequest, f.ID)
	}
	if f.Name == "url" || f.Name == "source" || f.Name == "socialprofile" {
		if !strings.HasPrefix(f.Value, "https://") && !strings.HasPrefix(f.Value, "http://") && (f.Name != "socialprofile" || !strings.HasPrefix(f.Value, "acct:")) {
			return fmt.Errorf("%w: field %s: an address begins with https:// or http://", ErrRequest, f.ID)
		}
	}
	return nil
}

// same reports whether two fields say the same; versions and proofs aside.
func same(a, b wire.ProfileField) bool {
	pa, pb := a.Picture, b.Picture
	return a.Name == b.Name && a.Value == b.Value && slices.Equal(a.Types, b.Types) && (pa == nil) == (pb == nil) && (pa == nil || *pa == *pb)
}

func (p *Profile) field(id string) int {
	return slices.IndexFunc(p.Fields, func(f wire.ProfileField) bool { return f.ID == id })
}

func (p *Profile) goneAt(id string) uint64 {
	for _, g := range p.Gone {
		if g.ID == id {
			return g.Version
		}
	}
	return 0
}

// Change returns the profile after a change; what was changed on both sides since c.Base
// stays as it is here, and comes back as a conflict. Pictures are taken from what the
// profile already has. ErrRequest.
func (p Profile) Change(c wire.ProfileChange, now time.Time) (Profile, []wire.ProfileConflict, error) {
	next := p
	next.Fields, next.Gone = slices.Clone(p.Fields), slices.Clone(p.Gone)
	next.Version++
	var conflicts []wire.ProfileConflict
	for _, f := range c.Set {
		f.Version, f.Proof, f.Proved = next.Version, "", time.Time{}
		i := p.field(f.ID)
		if f.Name == "photo" && f.Picture != nil && (i < 0 || p.Fields[i].Picture == nil || *p.Fields[i].Picture != *f.Picture) {
			return p, nil, fmt.Errorf("%w: field %s: send the picture itself to /v1/profile/picture", ErrRequest, f.ID)
		}
		if err := valid(f); err != nil {
			return p, nil, err
		}
		switch {
		case i >= 0 && same(p.Fields[i], f):
		case c.Base != 0 && i >= 0 && p.Fields[i].Version > c.Base:
			conflicts = append(conflicts, wire.ProfileConflict{ID: f.ID, Server: &p.Fields[i], Yours: &f})
		case c.Base != 0 && i < 0 && p.goneAt(f.ID) > c.Base:
			conflicts = append(conflicts, wire.ProfileConflict{ID: f.ID, Yours: &f})
		default:
			next.put(f)
		}
	}
	for _, id := range c.Remove {
		switch i := p.field(id); {
		case i < 0:
		case c.Base != 0 && p.Fields[i].Version > c.Base:
			conflicts = append(conflicts, wire.ProfileConflict{ID: id, Server: &p.Fields[i]})
		default:
			next.drop(id)
		}
	}
	if c.General != nil {
		next.General = *c.General
	}
	if c.Groups != nil {
		next.Groups = *c.Groups
	}
	if c.Show != nil {
		next.Show = *c.Show
	}
	if c.Source != nil {
		if err := next.setSource(*c.Source); err != nil {
			return p, nil, err
		}
	}
	next.Send, next.Keep = cmp.Or(c.Send, next.Send, wire.SendAlways), cmp.Or(c.Keep, next.Keep, wire.KeepAsk)
	if err := next.check(); err != nil {
		return p, nil, err
	}
	next.Changed = now
	return next, conflicts, nil
}

// put adds a field, or replaces the one with its id.
func (p *Profile) put(f wire.ProfileField) {
	p.Gone = slices.DeleteFunc(p.Gone, func(g wire.FieldVersion) bool { return g.ID == f.ID })
	if i := p.field(f.ID); i >= 0 {
		p.Fields[i] = f
	} else {
		p.Fields = append(p.Fields, f)
	}
}

// drop removes a field, and remembers for a while that it was there.
func (p *Profile) drop(id string) {
	p.Fields = slices.DeleteFunc(p.Fields, func(f wire.ProfileField) bool { return f.ID == id })
	p.Gone = append(slices.DeleteFunc(p.Gone, func(g wire.FieldVersion) bool { return g.ID == id }), wire.FieldVersion{ID: id, Version: p.Version})
	if n := len(p.Gone) - wire.MaxProfileFields; n > 0 {
		p.Gone = p.Gone[n:]
	}
	without := func(ids []string) []string {
		return slices.DeleteFunc(slices.Clone(ids), func(x string) bool { return x == id })
	}
	if p.General != nil {
		p.General = without(p.General)
	}
	p.Groups = slices.Clone(p.Groups)
	for i := range p.Groups {
		p.Groups[i].Fields = without(p.Groups[i].Fields)
	}
}

// check holds the whole to its limits. ErrRequest.
func (p *Profile) check() error {
	switch {
	case len(p.Fields) > wire.MaxProfileFields:
		return fmt.Errorf("%w: a profile has at most %d fields", ErrRequest, wire.MaxProfileFields)
	case len(p.Groups) > wire.MaxProfileGroups:
		return fmt.Errorf("%w: a profile has at most %d groups", ErrRequest, wire.MaxProfileGroups)
	case !slices.Contains([]wire.SendRule{wire.SendAlways, wire.SendOnce, wire.SendNever}, p.Send):
		return fmt.Errorf("%w: send is always, once or never", ErrRequest)
	case !slices.Contains([]wire.KeepRule{wire.KeepAsk, wire.KeepOnce, wire.KeepAlways, wire.KeepNever}, p.Keep):
		return fmt.Errorf("%w: keep is ask, once, always or never", ErrRequest)
	case len(p.Show) > len(names) || slices.ContainsFunc(p.Show, func(n string) bool { return !fieldName.MatchString(n) }):
		return fmt.Errorf("%w: show lists names of properties, such as fn, org, photo", ErrRequest)
	}
	pictures, seen := 0, map[string]bool{}
	for _, f := range p.Fields {
		if f.Picture != nil {
			pictures++
		}
	}
	if pictures > wire.MaxProfilePictures {
		return fmt.Errorf("%w: a profile has at most %d pictures", ErrRequest, wire.MaxProfilePictures)
	}
	known := func(ids []string) error {
		for _, id := range ids {
			if p.field(id) < 0 {
				return fmt.Errorf("%w: there is no field %q", ErrRequest, id)
			}
		}
		return nil
	}
	if err := known(p.General); err != nil {
		return err
	}
	for _, g := range p.Groups {
		if g.Name == "" || len(g.Name) > 64 || seen[g.Name] || len(g.Members) > wire.MaxProfileMembers {
			return fmt.Errorf("%w: each group has a name of its own, of at most 64 bytes, and at most %d members", ErrRequest, wire.MaxProfileMembers)
		}
		seen[g.Name] = true
		if slices.ContainsFunc(g.Members, tel.Identity.IsZero) {
			return fmt.Errorf("%w: group %s: a member is an identity", ErrRequest, g.Name)
		}
		if err := known(g.Fields); err != nil {
			return err
		}
	}
	return nil
}

// For returns what somebody sees who is known by these identities (none: who withholds
// them), and the groups that say so. A group that does not add takes the place of the
// general fields; where there are several, they come together.
func (p *Profile) For(ids []tel.Identity) (fields []wire.ProfileField, groups []string) {
	see, replaced := map[string]bool{}, false
	grouped := map[string]bool{}
	for _, g := range p.Groups {
		for _, id := range g.Fields {
			grouped[id] = true
		}
		if !slices.ContainsFunc(g.Members, func(m tel.Identity) bool { return slices.Contains(ids, m) }) {
			continue
		}
		groups = append(groups, g.Name)
		replaced = replaced || !g.Adds
		for _, id := range g.Fields {
			see[id] = true
		}
	}
	if !replaced {
		for _, f := range p.Fields {
			if p.General == nil && !grouped[f.ID] || slices.Contains(p.General, f.ID) {
				see[f.ID] = true
			}
		}
	}
	for _, f := range p.Fields {
		if see[f.ID] {
			fields = append(fields, f)
		}
	}
	return fields, groups
}
