package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// MaxPage is the most entries that [Log.Read] returns at once.
const MaxPage = 1000

// hintEvery is how many appends there may be between two notes of where the end is.
const hintEvery = 64

// Config of a Log. Engine is needed.
type Config struct {
	Engine store.Engine
	// Retention is how long entries and unused pseudonyms are kept; zero: for ever.
	Retention time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log; nil means no log.
	Log *slog.Logger
}

// Log keeps the audit logs of all tenants. Make it with [New]; its methods may be called
// from several goroutines and on several nodes at once. [Log.Run] must run for what is
// noted to be written.
type Log struct {
	cfg     Config
	entries store.Table[wire.AuditEntry]
	bounds  store.Table[bounds]
	names   store.Table[nameRecord]
	behind  behind

	mu     sync.Mutex
	chains map[wire.TenantID]*chain
}

// bounds is what is known of a log without looking through it, in the table
// "audit-bounds", key store.Key(tenant).
type bounds struct {
	// Base is the last entry that was pruned, and BaseHash its hash; zero: none.
	Base     uint64 `json:"base,omitempty"`
	BaseHash string `json:"base_hash,omitempty"`
	// Removed: the entries up to here are no longer in the table.
	Removed uint64 `json:"removed,omitempty"`
	// End: the log reached at least so far.
	End uint64 `json:"end,omitempty"`
}

// chain is the end of a tenant's log, as this node knows it.
type chain struct {
	mu    sync.Mutex // held while an entry is being written
	known bool
	seq   uint64
	hash  string
	hint  uint64 // what bounds.End says
}

// New returns the log over the engine.
func New(cfg Config) (*Log, error) {
	if cfg.Engine == nil {
		return nil, errors.New("audit: config needs Engine")
	}
	if cfg.Retention < 0 {
		return nil, errors.New("audit: the retention is negative")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Log{
		cfg:     cfg,
		entries: store.TableOf[wire.AuditEntry](cfg.Engine, "audit"),
		bounds:  store.TableOf[bounds](cfg.Engine, "audit-bounds"),
		names:   store.TableOf[nameRecord](cfg.Engine, "audit-names"),
		behind:  newBehind(),
		chains:  map[wire.TenantID]*chain{},
	}, nil
}

func entryKey(tenant wire.TenantID, seq uint64) string {
	return store.Key(string(tenant), fmt.Sprintf("%020d", seq))
}

func (l *Log) chain(tenant wire.TenantID) *chain {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.chains[tenant]
	if c == nil {
		c = &chain{}
		l.chains[tenant] = c
	}
	return c
}

// Append writes an entry; when it returns nil the entry is durable and has its place.
// ErrRecord, and the store's errors: the entry may then be there or not.
func (l *Log) Append(ctx context.Context, r Record) error {
	return l.append(ctx, r, 0)
}

func (l *Log) append(ctx context.Context, r Record, count uint64) error {
	if err := r.check(); err != nil {
		return err
	}
	e := wire.AuditEntry{
		At: l.cfg.Now().UTC().Truncate(time.Millisecond), Count: count, Details: r.Details, Failed: r.Failed,
		ID: wire.NewID(""), What: string(r.What), Who: r.Who,
	}
	for _, id := range r.Parties {
		if id.IsZero() {
			continue
		}
		name, err := l.Pseudonym(ctx, r.Tenant, id)
		if err != nil {
			return err
		}
		e.On = append(e.On, "party:"+name)
	}
	e.On = append(e.On, r.On...)
	if err := l.write(ctx, r.Tenant, e); err != nil {
		return fmt.Errorf("audit: write down %s: %w", r.What, err)
	}
	return nil
}

// write gives the entry its place at the end of the chain.
func (l *Log) write(ctx context.Context, tenant wire.TenantID, e wire.AuditEntry) error {
	c := l.chain(tenant)
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := l.find(ctx, tenant, c); err != nil {
			return err
		}
		e.Seq, e.Prev = c.seq+1, c.hash
		e.Hash = Hash(e)
		_, err := l.entries.Put(ctx, entryKey(tenant, e.Seq), e, 0)
		switch {
		case err == nil:
			c.seq, c.hash = e.Seq, e.Hash
			l.note(ctx, tenant, c)
			return nil
		case ctx.Err() != nil, !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrUncertain):
			return err
		}
		// Another node was faster, or our own answer was lost.
		there, _, err := l.entries.Get(ctx, entryKey(tenant, e.Seq))
		switch {
		case err == nil && there.ID == e.ID:
			c.seq, c.hash = e.Seq, e.Hash
			return nil
		case err == nil:
			c.seq, c.hash = c.seq+1, there.Hash
		case errors.Is(err, store.ErrNotFound):
			c.known = false // pruned by another node, long since
		default:
			return err
		}
	}
}

// find looks for the end of the chain, once; c.mu is held.
func (l *Log) find(ctx context.Context, tenant wire.TenantID, c *chain) error {
	if c.known {
		return nil
	}
	// The record also says that there is a log, for the sweep.
	b, err := store.Change(ctx, l.bounds, store.Key(string(tenant)), func(b bounds, exists bool) (bounds, bool, error) {
		return b, !exists, nil
	})
	if err != nil {
		return err
	}
	last, hash := b.Base, b.BaseHash
	there := func(seq uint64) (bool, error) {
		e, _, err := l.entries.Get(ctx, entryKey(tenant, seq))
		if errors.Is(err, store.ErrNotFound) {
			return false, nil
		}
		if err == nil && seq > last {
			last, hash = seq, e.Hash
		}
		return err == nil, err
	}
	// From what is known, in growing steps beyond the end, and back by halves. Without
	// gaps, which only somebody else than a Log makes, this finds the end.
	low := max(b.Base, b.End)
	if _, err := there(low); err != nil {
		return err
	}
	step := uint64(1)
	for {
		ok, err := there(low + step)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		low, step = low+step, 2*step
	}
	for high := low + step; high-low > 1; {
		mid := low + (high-low)/2
		ok, err := there(mid)
		if err != nil {
			return err
		}
		if ok {
			low = mid
		} else {
			high = mid
		}
	}
	// Where even the entry at low is gone, the next one still takes the place after it.
	c.seq, c.hash, c.hint, c.known = max(low, last), hash, b.End, true
	return nil
}

// note writes down how far the log has reached, now and then; c.mu is held.
func (l *Log) note(ctx context.Context, tenant wire.TenantID, c *chain) {
	if c.seq < c.hint+hintEvery {
		return
	}
	_, err := store.Change(ctx, l.bounds, store.Key(string(tenant)), func(b bounds, _ bool) (bounds, bool, error) {
		write := b.End < c.seq
		b.End = max(b.End, c.seq)
		return b, write, nil
	})
	if err != nil {
		l.cfg.Log.Warn("audit: where the log ends could not be noted", "err", err)
		return
	}
	c.hint = c.seq
}

// Read returns entries after a sequence, at most limit and [MaxPage]. Entries that should be
// there and are not are left out; the [Verifier] tells of them.
func (l *Log) Read(ctx context.Context, tenant wire.TenantID, after uint64, limit int) ([]wire.AuditEntry, error) {
	c := l.chain(tenant)
	c.mu.Lock()
	err := l.find(ctx, tenant, c)
	end := max(c.seq, c.hint)
	c.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("audit: find the end: %w", err)
	}
	b, _, err := l.bounds.Get(ctx, store.Key(string(tenant)))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("audit: read: %w", err)
	}
	limit = min(max(limit, 1), MaxPage)
	list := []wire.AuditEntry{}
	for seq := max(after, b.Base) + 1; len(list) < limit; seq++ {
		e, _, err := l.entries.Get(ctx, entryKey(tenant, seq))
		switch {
		case err == nil:
			list = append(list, e)
		case !errors.Is(err, store.ErrNotFound):
			return nil, fmt.Errorf("audit: read entry %d: %w", seq, err)
		case seq > end:
			return list, nil
		}
	}
	return list, nil
}

// Prune removes entries that are older than the retention, after an entry that tells of it.
// It may repeat, on any node.
func (l *Log) Prune(ctx context.Context, tenant wire.TenantID) error {
	if l.cfg.Retention == 0 {
		return nil
	}
	key := store.Key(string(tenant))
	b, _, err := l.bounds.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("audit: prune: %w", err)
	}
	old := l.cfg.Now().Add(-l.cfg.Retention)
	base, hash := b.Base, b.BaseHash
	for {
		e, _, err := l.entries.Get(ctx, entryKey(tenant, base+1))
		if errors.Is(err, store.ErrNotFound) || err == nil && !e.At.Before(old) {
			break
		}
		if err != nil {
			return fmt.Errorf("audit: prune: %w", err)
		}
		base, hash = e.Seq, e.Hash
	}
	if base > b.Base {
		err := l.Append(ctx, Record{
			Tenant: tenant, Who: wire.AuditActor{Role: RoleServer}, What: AuditPruned,
			Details: map[string]string{"through": strconv.FormatUint(base, 10), "hash": hash},
		})
		if err == nil {
			b, err = store.Change(ctx, l.bounds, key, func(b bounds, _ bool) (bounds, bool, error) {
				if b.Base >= base {
					return b, false, nil
				}
				b.Base, b.BaseHash = base, hash
				return b, true, nil
			})
		}
		if err != nil {
			return fmt.Errorf("audit: prune: %w", err)
		}
	}
	if b.Removed >= b.Base {
		return nil
	}
	for seq := b.Removed + 1; seq <= b.Base; seq++ {
		if err := store.Remove(ctx, l.entries, entryKey(tenant, seq)); err != nil {
			return fmt.Errorf("audit: prune: %w", err)
		}
	}
	_, err = store.Change(ctx, l.bounds, key, func(now bounds, _ bool) (bounds, bool, error) {
		write := now.Removed < b.Base
		now.Removed = max(now.Removed, b.Base)
		return now, write, nil
	})
	if err != nil {
		return fmt.Errorf("audit: prune: %w", err)
	}
	return nil
}
