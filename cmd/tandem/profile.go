package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/profile"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Beside a device's key: what it was sent of others, and what a synchronised file and the
// server had in common.
const (
	profilesDir = "profiles"
	syncFile    = "profile-sync.json"
)

// profileCommand is about what others may see of this device's party during calls.
type profileCommand struct {
	Show     profileShow     `cmd:"" default:"withargs" help:"Show the profile."`
	Set      profileSet      `cmd:"" help:"Set fields of it, and when it is sent and shown."`
	Remove   profileRemove   `cmd:"" help:"Remove fields, or all of it."`
	Group    profileGroup    `cmd:"" help:"Let a person or group see something else than the others."`
	Preview  profilePreview  `cmd:"" help:"What will they see?"`
	Picture  profilePicture  `cmd:"" help:"Set the picture."`
	Import   profileImport   `cmd:"" help:"Take the fields of a vCard or jCard."`
	Export   profileExport   `cmd:"" help:"Write the profile as a vCard or jCard."`
	Sync     profileSync     `cmd:"" help:"Synchronise the profile with a vCard file, both ways."`
	Source   profileSource   `cmd:"" help:"Have the server read the profile at an address: a vCard, jCard, page with an hCard, or JSON."`
	Prove    profileProve    `cmd:"" help:"Prove that an e-mail address is one's own, by a code that is sent there."`
	Read     profileRead     `cmd:"" help:"Read a profile at an address from here, as another device does that was sent the address."`
	Ledger   profileLedger   `cmd:"" help:"Show who has received what of it."`
	Withdraw profileWithdraw `cmd:"" help:"Take back what somebody has received."`
	Send     profileSend     `cmd:"" help:"Send the profile, or some fields of it, by hand."`
}

type profileShow struct{ account }

func (c *profileShow) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	p, err := api.Profile(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("version:  %d, sent %s, received profiles are kept: %s\n", p.Version, p.Send, p.Keep)
	if len(p.Show) > 0 {
		fmt.Printf("shown:    %s\n", strings.Join(p.Show, " "))
	}
	if s := p.Source; s != nil {
		fmt.Printf("source:   %s, %s\n", printable(s.URL), cmp.Or(printable(s.Error), "read "+s.Read.UTC().Format(time.RFC3339)))
	}
	for _, f := range p.Fields {
		fmt.Println("field:    " + fieldLine(f))
	}
	for _, g := range p.Groups {
		way := "instead of the general fields"
		if g.Adds {
			way = "besides the general fields"
		}
		fmt.Printf("group:    %s sees %s, %s; members:%s\n", printable(g.Name), strings.Join(g.Fields, " "), way, identitiesText(g.Members))
	}
	return nil
}

type profileProve struct {
	account
	Address string `arg:"" help:"E-mail address."`
	Code    string `placeholder:"DIGITS" help:"The code that came; without it, one is sent."`
	Undo    bool   `help:"Take back that the address is yours."`
}

func (c *profileProve) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	if c.Undo {
		if err := api.WithdrawEmail(ctx, c.Address); err != nil {
			return err
		}
		fmt.Println("taken back")
		return nil
	}
	if c.Code == "" {
		p, err := api.ProveEmail(ctx, c.Address)
		if err != nil {
			return err
		}
		fmt.Printf("a code was sent there, for use until %s; give it with --code\n", p.Expires.UTC().Format(time.RFC3339))
		return nil
	}
	if err := api.ConfirmEmail(ctx, c.Address, c.Code); err != nil {
		return err
	}
	fmt.Println("proved")
	return nil
}

// fieldLine shows a field: its id, value, version, and whether it is proved.
func fieldLine(f wire.ProfileField) string {
	value := printable(f.Value)
	if f.Picture != nil {
		value = fmt.Sprintf("%s, %s", f.Picture.Type, bytesText(f.Picture.Size))
	}
	claim := ""
	if f.Proof != "" {
		claim = ", proved by " + f.Proof
		if !f.Proved.IsZero() {
			claim += " on " + f.Proved.UTC().Format(time.DateOnly)
		}
		if f.Stale(time.Now()) {
			claim += ", long ago"
		}
	} else if f.Name == "tel" || f.Name == "email" {
		claim = ", claimed"
	}
	types := ""
	if len(f.Types) > 0 {
		types = " (" + strings.Join(f.Types, " ") + ")"
	}
	return fmt.Sprintf("%s%s = %s, version %d%s", f.ID, types, value, f.Version, claim)
}

func identitiesText(ids []tel.Identity) string {
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(" " + id.String())
	}
	return b.String()
}

type profileSet struct {
	account
	Fields []string      `arg:"" optional:"" help:"ID=VALUE, where the id is a vCard property, or one with a suffix: fn=…, email=…, email-2=…, tel=…, org=…"`
	Type   []string      `placeholder:"TYPE" help:"Types of these fields: home, work, cell."`
	Shown  *string       `placeholder:"NAME,…" help:"Properties that others' devices may lay over the call screen: fn,org,photo; empty for none."`
	Sent   wire.SendRule `enum:"always,once,never," default:"" help:"When the profile is sent by itself: always, once, never."`
	Keep   wire.KeepRule `enum:"ask,once,always,never," default:"" help:"What becomes of profiles that others send: ask, once, always, never."`
	Base   uint64        `help:"Version that the change was made of: what others have changed since is a conflict, not overwritten."`
}

func (c *profileSet) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	q := wire.ProfileChange{Base: c.Base, Send: c.Sent, Keep: c.Keep}
	for _, s := range c.Fields {
		id, value, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("%q: write ID=VALUE", s)
		}
		q.Set = append(q.Set, wire.ProfileField{ID: id, Name: fieldName(id), Value: value, Types: c.Type})
	}
	if c.Shown != nil {
		list := []string{}
		for s := range strings.SplitSeq(*c.Shown, ",") {
			if s != "" {
				list = append(list, s)
			}
		}
		q.Show = &list
	}
	return changed(api.ChangeProfile(ctx, q))
}

// fieldName is the property of a field with this id: email of email-2.
func fieldName(id string) string {
	if i := strings.LastIndexByte(id, '-'); i > 0 && !strings.HasPrefix(id, "x-") {
		return id[:i]
	}
	return id
}

func changed(p wire.ProfileChanged, err error) error {
	if err != nil {
		return err
	}
	for _, x := range p.Conflicts {
		fmt.Printf("conflict: %s: here %s, there %s\n", x.ID, conflictSide(x.Yours), conflictSide(x.Server))
	}
	fmt.Printf("version %d\n", p.Profile.Version)
	return nil
}

func conflictSide(f *wire.ProfileField) string {
	if f == nil {
		return "removed"
	}
	return fmt.Sprintf("%q", printable(f.Value))
}

type profileRemove struct {
	account
	Fields []string `arg:"" optional:"" help:"Ids of fields."`
	All    bool     `help:"Remove the whole profile and its pictures."`
}

func (c *profileRemove) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	if c.All {
		if err := api.Call(ctx, http.MethodDelete, "/v1/profile", nil, nil); err != nil {
			return err
		}
		fmt.Println("removed")
		return nil
	}
	if len(c.Fields) == 0 {
		return errors.New("name fields, or say --all")
	}
	return changed(api.ChangeProfile(ctx, wire.ProfileChange{Remove: c.Fields}))
}

type profileGroup struct {
	account
	Name   string   `arg:"" help:"Name of the group: family, work."`
	Member []string `placeholder:"IDENTITY" help:"Who is in it: numbers or other identities."`
	Field  []string `placeholder:"ID" help:"What they see: ids of fields."`
	Adds   bool     `help:"The fields come on top of what everybody sees; otherwise in its place."`
	Remove bool     `help:"Remove the group."`
	Region string   `placeholder:"GB" help:"Region of national numbers."`
}

func (c *profileGroup) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	p, err := api.Profile(ctx)
	if err != nil {
		return err
	}
	groups := slices.DeleteFunc(p.Groups, func(g wire.ProfileGroup) bool { return g.Name == c.Name })
	if !c.Remove {
		g := wire.ProfileGroup{Name: c.Name, Members: []tel.Identity{}, Fields: append([]string{}, c.Field...), Adds: c.Adds}
		for _, m := range c.Member {
			id, err := tel.ParseIdentity(m, c.Region)
			if err != nil {
				return fmt.Errorf("--member: %w", err)
			}
			g.Members = append(g.Members, id)
		}
		groups = append(groups, g)
	}
	return changed(api.ChangeProfile(ctx, wire.ProfileChange{Groups: &groups}))
}

type profilePreview struct {
	account
	For string `arg:"" optional:"" help:"The other party; left out: somebody unknown."`
}

func (c *profilePreview) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	v, err := api.Preview(ctx, c.For)
	if err != nil {
		return err
	}
	when := "by itself when a session opens"
	if !v.Sends {
		when = "only by hand"
	}
	fmt.Printf("sent:     %s\n", when)
	if len(v.Groups) > 0 {
		fmt.Printf("groups:   %s\n", printable(strings.Join(v.Groups, " ")))
	}
	for _, f := range v.Fields {
		fmt.Println("field:    " + fieldLine(f))
	}
	return nil
}

type profilePicture struct {
	account
	File  string `arg:"" type:"existingfile" help:"JPEG, PNG, GIF or WebP, at most 2 MiB."`
	Field string `default:"photo" help:"Id of the field (default: ${default})."`
}

func (c *profilePicture) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	data, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	p, err := api.SetPicture(ctx, c.Field, data)
	if err != nil {
		return err
	}
	fmt.Printf("version %d\n", p.Version)
	return nil
}

type profileImport struct {
	account
	File string `arg:"" type:"existingfile" help:"A vCard (.vcf; 4.0, 3.0 or 2.1), or a jCard (.json)."`
}

func (c *profileImport) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	data, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	kind := "text/vcard"
	if strings.HasSuffix(c.File, ".json") {
		kind = "application/vcard+json"
	}
	return changed(api.TakeCard(ctx, kind, data))
}

type profileExport struct {
	account
	JCard bool   `name:"jcard" help:"As a jCard."`
	For   string `placeholder:"IDENTITY" help:"Only what this party sees."`
}

func (c *profileExport) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	format := "vcard"
	if c.JCard {
		format = "jcard"
	}
	_, err = api.Get(ctx, "/v1/profile/card?format="+format+"&for="+url.QueryEscape(c.For), os.Stdout)
	return err
}

// profileSync keeps a vCard file on this device and the profile on the server alike. What
// they had in common the last time is kept beside the device's key.
type profileSync struct {
	account
	File  string        `arg:"" help:"The vCard file; it is made if it is not there."`
	Every time.Duration `placeholder:"1m" help:"Go on, and look for changes on both sides so often."`
}

func (c *profileSync) Run(ctx context.Context) error {
	for {
		if err := c.once(ctx); err != nil || c.Every <= 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(c.Every):
		}
	}
}

// syncMemory is what both sides had in common.
type syncMemory struct {
	Version uint64              `json:"version"`
	Fields  []wire.ProfileField `json:"fields"`
}

func (c *profileSync) once(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	path, err := c.file()
	if err != nil {
		return err
	}
	memory := filepath.Join(filepath.Dir(path), syncFile)
	var common syncMemory
	if data, err := os.ReadFile(memory); err == nil {
		err = json.Unmarshal(data, &common)
		if err != nil {
			return fmt.Errorf("%s: %w", memory, err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	q := wire.ProfileChange{Base: max(common.Version, 1)}
	var card profile.Card
	data, err := os.ReadFile(c.File)
	switch {
	case errors.Is(err, fs.ErrNotExist): // the server's alone
	case err != nil:
		return err
	default:
		cards, err := profile.ParseCards(data)
		if err != nil {
			return err
		}
		if len(cards) > 1 {
			return fmt.Errorf("%s has %d cards; sync is for a file with your own card only, which it writes anew", c.File, len(cards))
		}
		card = cards[0]
		q.Set, q.Remove = localChanges(common.Fields, card.Fields)
	}
	p, err := api.ChangeProfile(ctx, q)
	if err != nil {
		return err
	}
	if err := changed(p, nil); err != nil {
		return err
	}
	fields := slices.DeleteFunc(slices.Clone(p.Profile.Fields), func(f wire.ProfileField) bool { return f.Picture != nil })
	if set, remove := localChanges(fields, card.Fields); data == nil || len(set)+len(remove) > 0 {
		if err := replace(c.File, writeCard(card, fields)); err != nil {
			return err
		}
	}
	data, err = json.Marshal(syncMemory{p.Profile.Version, fields})
	if err != nil {
		return err
	}
	return replace(memory, data)
}

// writeCard writes fields into a card, which keeps its pictures.
func writeCard(card profile.Card, fields []wire.ProfileField) []byte {
	for _, f := range card.Fields {
		if picture := card.Pictures[f.ID]; picture != nil {
			f.Picture = &wire.ProfilePicture{Path: f.ID, Type: http.DetectContentType(picture)}
			fields = append(slices.Clip(fields), f)
		}
	}
	return profile.VCard(card.UID, fields, func(p wire.ProfilePicture) []byte { return card.Pictures[p.Path] })
}

// localChanges are what has changed in a card since both sides were alike. Pictures stay
// on the server: tandem profile picture.
func localChanges(common, here []wire.ProfileField) (set []wire.ProfileField, remove []string) {
	for _, f := range here {
		same := slices.ContainsFunc(common, func(c wire.ProfileField) bool {
			return c.ID == f.ID && c.Value == f.Value && slices.Equal(c.Types, f.Types)
		})
		if f.Name != "photo" && !same {
			set = append(set, f)
		}
	}
	for _, c := range common {
		if !slices.ContainsFunc(here, func(f wire.ProfileField) bool { return f.ID == c.ID }) {
			remove = append(remove, c.ID)
		}
	}
	return set, remove
}

type profileLedger struct{ account }

func (c *profileLedger) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	l, err := api.Ledger(ctx)
	if err != nil {
		return err
	}
	for _, r := range l.Receipts {
		state := "sent " + r.Sent.Local().Format(time.DateTime)
		if !r.Confirmed.IsZero() {
			state += ", held"
		}
		if r.Kept {
			state += ", kept as a contact"
		}
		if !r.Withdrawn.IsZero() {
			state += ", withdrawn"
		}
		fmt.Printf("%s %s, %s: %s version %d, %s\n", r.Receiver, orWithheld(r.To), r.Device, r.Field, r.Version, state)
	}
	return nil
}

type profileWithdraw struct {
	account
	Receiver string `arg:"" help:"As the ledger names it."`
}

func (c *profileWithdraw) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	if err := api.Withdraw(ctx, c.Receiver); err != nil {
		return err
	}
	fmt.Println("withdrawn")
	return nil
}

type profileSend struct {
	choice
	To    []wire.MemberID `placeholder:"MEMBER" help:"Members addressed (default: all other parties)."`
	Field []string        `placeholder:"ID" help:"Fields (default: what the other one sees anyway)."`
}

func (c *profileSend) Run(ctx context.Context) error {
	api, s, err := c.pick(ctx)
	if err != nil {
		return err
	}
	sent, err := api.SendProfile(ctx, s.ID, wire.ProfileSend{To: c.To, Fields: c.Field})
	if err != nil {
		return err
	}
	fmt.Printf("sent: %d fields to %d devices\n", sent.Fields, sent.Devices)
	return nil
}

// profileBook is where a device keeps what it is sent.
func (a account) profileBook() (*client.Book, error) {
	path, err := a.file()
	return client.OpenBook(filepath.Join(filepath.Dir(path), profilesDir)), err
}
