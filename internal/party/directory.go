package party

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Directory keeps the parties. Make it with [New]. Its methods may be called from several
// goroutines and on several nodes at once.
//
// Whose an identity is stands in one record of its own, changed by compare-and-set. A
// party's list gets a name before the name's record says so, and loses it afterwards, so
// that a crash in between leaves a name too many in the list, which reading leaves out.
type Directory struct {
	parties store.Table[partyRecord]
	names   store.Table[nameRecord]
	shared  store.Table[SharedIdentity]
	blocks  store.Table[blockRecord]
	keys    store.Table[veilRecord]
	secret  atomic.Pointer[[]byte] // once it is loaded
	bars    store.Table[Bar]
	now     func() time.Time
	also    func(ctx context.Context, tenant wire.TenantID, ids []tel.Identity) error
}

// New returns the directory over the engine. now is the clock; nil means time.Now.
func New(e store.Engine, now func() time.Time) *Directory {
	if now == nil {
		now = time.Now
	}
	return &Directory{
		parties: store.TableOf[partyRecord](e, "parties").Remembered(),
		names:   store.TableOf[nameRecord](e, "party_names").Remembered(),
		shared:  store.TableOf[SharedIdentity](e, "shared_identities").Remembered(),
		blocks:  store.TableOf[blockRecord](e, "party_blocks").Remembered(),
		keys:    store.TableOf[veilRecord](e, "keys"),
		bars:    store.TableOf[Bar](e, "party_bars").Remembered(),
		now:     now,
		also:    func(context.Context, wire.TenantID, []tel.Identity) error { return nil },
	}
}

// AlsoForget sets what else goes when the directory forgets a party: profile, address book,
// wishes. It is called with the party's identities before they go, and may be called again.
// It must be set before the directory is used.
func (d *Directory) AlsoForget(f func(ctx context.Context, tenant wire.TenantID, ids []tel.Identity) error) {
	d.also = f
}

func keyOf(tenant wire.TenantID, id tel.Identity) string {
	return store.Key(string(tenant), id.String())
}

// Principal returns the principal identity of the party that id names; id itself when
// nobody has claimed it, or the claim has lapsed. The zero identity has none.
func (d *Directory) Principal(ctx context.Context, tenant wire.TenantID, id tel.Identity) (tel.Identity, error) {
	n, _, err := d.name(ctx, tenant, id)
	if err != nil || n.Principal.IsZero() {
		return id, err
	}
	return n.Principal, nil
}

// name returns the record of a name while it holds, else the zero record.
func (d *Directory) name(ctx context.Context, tenant wire.TenantID, id tel.Identity) (nameRecord, store.Rev, error) {
	if id.IsZero() {
		return nameRecord{}, 0, nil
	}
	n, rev, err := d.names.Get(ctx, keyOf(tenant, id))
	if errors.Is(err, store.ErrNotFound) {
		return nameRecord{}, 0, nil
	}
	if err != nil {
		return nameRecord{}, 0, fmt.Errorf("party: look up %s: %w", id.Mask(), err)
	}
	if !n.current(d.now()) {
		return nameRecord{}, rev, nil
	}
	return n, rev, nil
}

// Get returns the party that id names. ErrNotFound.
func (d *Directory) Get(ctx context.Context, tenant wire.TenantID, id tel.Identity) (Party, error) {
	principal, err := d.Principal(ctx, tenant, id)
	if err != nil {
		return Party{}, err
	}
	rec, _, err := d.parties.Get(ctx, keyOf(tenant, principal))
	if errors.Is(err, store.ErrNotFound) {
		return Party{}, ErrNotFound
	}
	if err != nil {
		return Party{}, fmt.Errorf("party: read %s: %w", principal.Mask(), err)
	}
	p := Party{ID: rec.ID, Tenant: tenant, Principal: principal, Created: rec.Created}
	for _, name := range rec.Names {
		n, _, err := d.name(ctx, tenant, name)
		if err != nil {
			return Party{}, err
		}
		if n.Principal == principal {
			p.Identities = append(p.Identities, n.Identity)
		}
	}
	if len(p.Identities) == 0 {
		return Party{}, ErrNotFound
	}
	return p, nil
}

// Identities lists the identities of the party that id names, the principal first; that
// is id alone when the directory does not know it.
func (d *Directory) Identities(ctx context.Context, tenant wire.TenantID, id tel.Identity) ([]tel.Identity, error) {
	p, err := d.Get(ctx, tenant, id)
	if errors.Is(err, ErrNotFound) {
		return []tel.Identity{id}, nil
	}
	if err != nil {
		return nil, err
	}
	all := []tel.Identity{p.Principal}
	for _, i := range p.Identities {
		if i.Identity != p.Principal {
			all = append(all, i.Identity)
		}
	}
	return all, nil
}

// Prove notes that somebody has proved to have the identity, until a time (zero: for
// good), and returns its principal. An identity that belongs to a party stays there, and
// its proof is renewed; a new one becomes the principal of a party of its own. So does one
// whose proof had lapsed, without what was linked to it: it may be somebody else's now.
// It may repeat. ErrRequest.
func (d *Directory) Prove(ctx context.Context, tenant wire.TenantID, id tel.Identity, kind ProofKind, until time.Time) (tel.Identity, error) {
	return d.prove(ctx, tenant, id, kind, until, time.Time{})
}

// Renew is Prove by somebody, known by something else as a device's key, whose proof of
// before ends or ended at last: a party of this principal identity goes on if nobody has
// proved it for longer than that.
func (d *Directory) Renew(ctx context.Context, tenant wire.TenantID, id tel.Identity, kind ProofKind, until, last time.Time) (tel.Identity, error) {
	return d.prove(ctx, tenant, id, kind, until, last)
}

func (d *Directory) prove(ctx context.Context, tenant wire.TenantID, id tel.Identity, kind ProofKind, until, last time.Time) (tel.Identity, error) {
	if id.IsZero() || kind == "" {
		return id, fmt.Errorf("%w: a proof needs an identity and a kind", ErrRequest)
	}
	known, rev, err := d.name(ctx, tenant, id)
	if err != nil {
		return id, err
	}
	if known.Principal.IsZero() {
		if rev != 0 {
			if err := d.succeed(ctx, tenant, id, last); err != nil {
				return id, err
			}
		}
		if err := d.list(ctx, tenant, id, id); err != nil {
			return id, err
		}
	}
	now := d.now()
	n, err := store.Change(ctx, d.names, keyOf(tenant, id), func(n nameRecord, exists bool) (nameRecord, bool, error) {
		if !exists || !n.current(now) {
			return nameRecord{Principal: id, Identity: Identity{id, kind, now, until}}, true, nil
		}
		if n.Expires.IsZero() || !until.IsZero() && !until.After(n.Expires) {
			return n, false, nil // it holds for at least as long already
		}
		n.Proof, n.Proved, n.Expires = kind, now, until
		return n, true, nil
	})
	if err != nil {
		return id, fmt.Errorf("party: prove %s: %w", id.Mask(), err)
	}
	return n.Principal, nil
}

// succeed forgets who had an identity before, whose proof has lapsed, unless it is the same one.
func (d *Directory) succeed(ctx context.Context, tenant wire.TenantID, id tel.Identity, last time.Time) error {
	before, _, err := d.names.Get(ctx, keyOf(tenant, id))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("party: look up %s: %w", id.Mask(), err)
	case before.Principal == id && !before.Expires.After(last):
		return nil
	}
	return d.Forget(ctx, tenant, id)
}

// list adds a name to a principal's list, making the party if there is none.
func (d *Directory) list(ctx context.Context, tenant wire.TenantID, principal, name tel.Identity) error {
	fresh := partyRecord{ID: wire.PartyID(wire.NewID("pty_")), Created: d.now()}
	_, err := store.Change(ctx, d.parties, keyOf(tenant, principal), func(p partyRecord, exists bool) (partyRecord, bool, error) {
		if !exists {
			p = fresh
		}
		if slices.Contains(p.Names, name) {
			return p, false, nil
		}
		p.Names = append(slices.Clone(p.Names), name)
		return p, true, nil
	})
	if err != nil {
		return fmt.Errorf("party: add %s to a party: %w", name.Mask(), err)
	}
	return nil
}

// Link makes an identity one of the party's that principal names, on an operator's word.
// It may repeat. ErrTaken, ErrPrincipal (the identity has a party of its own with
// further identities), ErrRequest.
func (d *Directory) Link(ctx context.Context, tenant wire.TenantID, id, principal tel.Identity) error {
	return d.link(ctx, tenant, id, principal, ProofOperator, time.Time{})
}

// Claim makes an identity one of the party's that principal names, since the party has proved to have
// it, until a time; whoever had proved it in the same way before has it no more. Taken: it is somebody's
// on another proof, such as an operator's word, and stays theirs. It may repeat. ErrRequest.
func (d *Directory) Claim(ctx context.Context, tenant wire.TenantID, id, principal tel.Identity, kind ProofKind, until time.Time) (taken bool, err error) {
	known, _, err := d.name(ctx, tenant, id)
	switch {
	case err != nil:
		return false, err
	case known.Principal == principal && id != principal:
		if !known.Expires.IsZero() {
			_, err = d.Prove(ctx, tenant, id, kind, until)
		}
		return false, err
	case !known.Principal.IsZero() && known.Principal != id && known.Proof != kind:
		return true, nil
	case !known.Principal.IsZero() && known.Principal != id:
		if err := d.drop(ctx, tenant, id); err != nil {
			return false, err
		}
	}
	err = d.link(ctx, tenant, id, principal, kind, until)
	if errors.Is(err, ErrTaken) || errors.Is(err, ErrPrincipal) {
		return true, nil
	}
	return false, err
}

// Disclaim takes back a claim: the identity, which the party has by a proof of this kind, is a stranger
// afterwards. linked: it is the party's on another proof, such as an operator's word, and stays so.
// ErrNotFound: it is not the party's, or no further one of it.
func (d *Directory) Disclaim(ctx context.Context, tenant wire.TenantID, id, principal tel.Identity, kind ProofKind) (linked bool, err error) {
	known, _, err := d.name(ctx, tenant, id)
	switch {
	case err != nil:
		return false, err
	case known.Principal != principal || id == principal:
		return false, ErrNotFound
	case known.Proof != kind:
		return true, nil
	}
	return false, d.Forget(ctx, tenant, id)
}

func (d *Directory) link(ctx context.Context, tenant wire.TenantID, id, to tel.Identity, kind ProofKind, until time.Time) error {
	if id.IsZero() || to.IsZero() {
		return fmt.Errorf("%w: a link needs two identities", ErrRequest)
	}
	principal, err := d.Principal(ctx, tenant, to)
	if err != nil {
		return err
	}
	known, _, err := d.name(ctx, tenant, id)
	switch {
	case err != nil:
		return err
	case known.Principal == principal && id != principal:
		return nil
	case id == principal:
		return fmt.Errorf("%w: an identity cannot be linked to itself", ErrRequest)
	}
	if err := d.alone(ctx, tenant, id); err != nil {
		return err
	}
	// A principal that nobody has claimed yet becomes a party; what a known one rests on stays.
	if known, _, err := d.name(ctx, tenant, principal); err != nil {
		return err
	} else if known.Principal.IsZero() {
		if _, err := d.Prove(ctx, tenant, principal, kind, time.Time{}); err != nil {
			return err
		}
	}
	if err := d.list(ctx, tenant, principal, id); err != nil {
		return err
	}
	now := d.now()
	var before nameRecord // what stood here, to put back
	_, err = store.Change(ctx, d.names, keyOf(tenant, id), func(n nameRecord, exists bool) (nameRecord, bool, error) {
		if exists && n.current(now) {
			if n.Principal == principal {
				return n, false, nil
			}
			if n.Principal != id {
				return n, false, ErrTaken
			}
			before = n
		}
		return nameRecord{Principal: principal, Identity: Identity{id, kind, now, until}}, true, nil
	})
	if errors.Is(err, ErrTaken) {
		return err
	}
	if err != nil {
		return fmt.Errorf("party: link %s: %w", id.Mask(), err)
	}
	// Another operator may have linked the principal away, or somebody to id, meanwhile.
	// Whoever comes second sees the other's record and steps back.
	if err := d.settled(ctx, tenant, id, principal); err != nil {
		return errors.Join(err, d.stepBack(ctx, tenant, id, before))
	}
	return nil
}

// stepBack puts back what stood under a name before it was linked.
func (d *Directory) stepBack(ctx context.Context, tenant wire.TenantID, id tel.Identity, before nameRecord) error {
	if before.Principal.IsZero() {
		return d.drop(ctx, tenant, id)
	}
	_, err := store.Change(ctx, d.names, keyOf(tenant, id), func(_ nameRecord, exists bool) (nameRecord, bool, error) {
		return before, exists, nil
	})
	return err
}

// alone returns ErrTaken when id belongs to another's party, ErrPrincipal when others are
// linked to it.
func (d *Directory) alone(ctx context.Context, tenant wire.TenantID, id tel.Identity) error {
	p, err := d.Get(ctx, tenant, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return err
	case p.Principal != id:
		return ErrTaken
	case slices.ContainsFunc(p.Identities, func(i Identity) bool { return i.Identity != id }):
		return ErrPrincipal
	}
	return nil
}

// settled checks, after id was linked, that principal is one still, and that nobody is
// linked to id.
func (d *Directory) settled(ctx context.Context, tenant wire.TenantID, id, principal tel.Identity) error {
	now, err := d.Principal(ctx, tenant, principal)
	if err != nil {
		return err
	}
	if now != principal {
		return ErrTaken
	}
	rec, _, err := d.parties.Get(ctx, keyOf(tenant, id))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("party: read %s: %w", id.Mask(), err)
	}
	for _, name := range rec.Names {
		n, _, err := d.name(ctx, tenant, name)
		if err != nil {
			return err
		}
		if n.Principal == id {
			return ErrPrincipal
		}
	}
	return nil
}

// Unlink takes an identity from its party; it is a stranger afterwards. Not the principal,
// while others are linked to it: ErrPrincipal. ErrNotFound.
func (d *Directory) Unlink(ctx context.Context, tenant wire.TenantID, id tel.Identity) error {
	n, _, err := d.name(ctx, tenant, id)
	if err != nil {
		return err
	}
	if n.Principal.IsZero() {
		return ErrNotFound
	}
	if n.Principal == id {
		if err := d.alone(ctx, tenant, id); err != nil {
			return err
		}
	}
	return d.Forget(ctx, tenant, id) // what others have granted to it goes too
}

// Forget makes an identity a stranger, and all that were linked to it: the number has gone
// to somebody else, or its holder wants to be erased. It may repeat.
func (d *Directory) Forget(ctx context.Context, tenant wire.TenantID, id tel.Identity) error {
	ids, err := d.goingWith(ctx, tenant, id)
	if err != nil {
		return err
	}
	if err := d.also(ctx, tenant, ids); err != nil {
		return fmt.Errorf("party: forget %s: %w", id.Mask(), err)
	}
	return d.forget(ctx, tenant, ids)
}

// goingWith lists an identity and those that lead to it.
func (d *Directory) goingWith(ctx context.Context, tenant wire.TenantID, id tel.Identity) ([]tel.Identity, error) {
	rec, _, err := d.parties.Get(ctx, keyOf(tenant, id))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("party: read %s: %w", id.Mask(), err)
	}
	ids := []tel.Identity{id}
	for _, name := range rec.Names {
		n, _, err := d.names.Get(ctx, keyOf(tenant, name))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("party: look up %s: %w", name.Mask(), err)
		}
		if name != id && err == nil && n.Principal == id {
			ids = append(ids, name)
		}
	}
	return ids, nil
}

// forget removes what the directory knows of an identity, the first, and of those that lead to it.
func (d *Directory) forget(ctx context.Context, tenant wire.TenantID, ids []tel.Identity) error {
	for _, name := range ids[1:] {
		if err := d.drop(ctx, tenant, name); err != nil {
			return err
		}
	}
	if err := d.unblockAll(ctx, tenant, ids[0]); err != nil {
		return err
	}
	if err := d.drop(ctx, tenant, ids[0]); err != nil {
		return err
	}
	return store.Remove(ctx, d.parties, keyOf(tenant, ids[0]))
}

// drop removes a name's record and then takes it from its party's list; it may repeat.
func (d *Directory) drop(ctx context.Context, tenant wire.TenantID, id tel.Identity) error {
	n, _, err := d.names.Get(ctx, keyOf(tenant, id))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = store.Remove(ctx, d.names, keyOf(tenant, id))
	}
	if err == nil {
		_, err = store.Change(ctx, d.parties, keyOf(tenant, n.Principal), func(p partyRecord, exists bool) (partyRecord, bool, error) {
			i := slices.Index(p.Names, id)
			if i < 0 {
				return p, false, nil
			}
			p.Names = slices.Delete(slices.Clone(p.Names), i, i+1)
			return p, exists, nil
		})
	}
	if err != nil {
		return fmt.Errorf("party: unlink %s: %w", id.Mask(), err)
	}
	return nil
}

// Allocate makes an identity of this server's, id:…, that cannot be guessed: a further
// one of the party that principal names, or, when that is zero, of a new party.
func (d *Directory) Allocate(ctx context.Context, tenant wire.TenantID, principal tel.Identity) (tel.Identity, error) {
	id, err := tel.ParseIdentity("id:"+wire.NewID(""), "")
	if err != nil {
		return id, fmt.Errorf("party: allocate: %w", err)
	}
	if principal.IsZero() {
		return d.Prove(ctx, tenant, id, ProofAllocated, time.Time{})
	}
	return id, d.link(ctx, tenant, id, principal, ProofAllocated, time.Time{})
}
