package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// indexed leads to a conversation: table "conversations-by-time", key timeKey, the newest first.
type indexed struct {
	Tenant  wire.TenantID  `json:"tenant"`
	Session wire.SessionID `json:"session"`
}

func timeKey(tenant wire.TenantID, at time.Time, id wire.SessionID) string {
	return store.Key(string(tenant), fmt.Sprintf("%016x", uint64(1<<62)-uint64(at.UnixMilli())), string(id))
}

// Query asks for conversations.
type Query struct {
	// Text to be found, in any part; empty: all.
	Text string
	// After is where the page begins; empty: with the newest.
	After string
	// Limit of the page; zero: 50.
	Limit int
}

// looked bounds the conversations that one request looks at.
const looked = 5000

// Search returns the conversations of the device's agent, or, for a supervisor, all of its number, the
// newest first, and where the next page begins. ErrNone.
func (s *Service) Search(ctx context.Context, tenant wire.TenantID, d wire.DeviceID, q Query) (found []Conversation, next string, err error) {
	r, err := s.Of(ctx, tenant, d)
	if err != nil {
		return nil, "", err
	}
	set, err := s.Settings(ctx, tenant)
	if err != nil {
		return nil, "", err
	}
	if q.Limit <= 0 {
		q.Limit = 50
	}
	text, n, now := strings.ToLower(strings.TrimSpace(q.Text)), 0, s.now()
	prefix := store.Key(string(tenant)) + "/"
	// Only from the page's beginning on, and no further than what is still kept.
	for item, err := range s.byTime.ScanAfter(ctx, prefix, prefix+q.After) {
		if err != nil {
			return nil, "", fmt.Errorf("agent: search: %w", err)
		}
		if n++; n > looked || len(found) == q.Limit {
			return found, next, nil
		}
		next = strings.TrimPrefix(item.Key, prefix)
		c, _, err := s.conversations.Get(ctx, key(tenant, string(item.Value.Session)))
		switch {
		case errors.Is(err, store.ErrNotFound):
			continue
		case err != nil:
			return nil, "", fmt.Errorf("agent: search: %w", err)
		case !now.Before(c.until(set.RetentionDays)):
			return found, "", nil
		case c.shownTo(r) && c.holds(text):
			found = append(found, c)
		}
	}
	return found, "", nil
}

// OfParty returns the conversations with a customer, for its export.
func (s *Service) OfParty(ctx context.Context, tenant wire.TenantID, ids []tel.Identity) ([]Conversation, error) {
	if !s.Any(tenant) {
		return nil, nil
	}
	var all []Conversation
	for item, err := range s.conversations.Scan(ctx, store.Key(string(tenant))+"/") {
		if err != nil {
			return nil, fmt.Errorf("agent: conversations of a party: %w", err)
		}
		if c := item.Value; slices.Contains(ids, c.Principal) || slices.Contains(ids, c.Customer) {
			all = append(all, c)
		}
	}
	return all, nil
}

// Erase removes the conversations with a customer. It may repeat.
func (s *Service) Erase(ctx context.Context, tenant wire.TenantID, ids []tel.Identity) error {
	all, err := s.OfParty(ctx, tenant, ids)
	for _, c := range all {
		if err == nil {
			err = s.drop(ctx, c)
		}
	}
	return err
}

// drop removes a conversation; the way to it last.
func (s *Service) drop(ctx context.Context, c Conversation) error {
	err := store.Remove(ctx, s.conversations, key(c.Tenant, string(c.Session)))
	if err == nil {
		err = store.Remove(ctx, s.byTime, timeKey(c.Tenant, c.Opened, c.Session))
	}
	if err != nil {
		return fmt.Errorf("agent: drop a conversation: %w", err)
	}
	return nil
}

// sweepEvery is how often Run looks for what is kept no more, learnEvery for tenants that have got agents at another node.
const (
	sweepEvery = 10 * time.Minute
	learnEvery = time.Minute
)

// Run forgets what has been kept long enough, and hears of agents that other nodes add, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	cancel, err := s.has.Listen(ctx)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	defer cancel()
	var telling sync.WaitGroup
	telling.Go(func() { s.runTelling(ctx) })
	defer telling.Wait()
	t, learn := time.NewTicker(sweepEvery), time.NewTicker(learnEvery)
	defer t.Stop()
	defer learn.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-learn.C:
			if err := s.learn(ctx); err != nil && ctx.Err() == nil {
				s.cfg.Log.Warn("which tenants have agents is looked for again in a minute", "err", err)
			}
		case <-t.C:
			if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
				s.cfg.Log.Warn("conversations are kept until the next sweep", "err", err)
			}
		}
	}
}

// Sweep removes conversations that have been kept long enough, codes that are over, and what
// leads from devices that nobody is signed in with any more.
func (s *Service) Sweep(ctx context.Context) error {
	now := s.now()
	days := map[wire.TenantID]int{}
	retention := func(tenant wire.TenantID) (int, error) {
		if _, known := days[tenant]; !known {
			set, err := s.Settings(ctx, tenant)
			if err != nil {
				return 0, err
			}
			days[tenant] = set.RetentionDays
		}
		return days[tenant], nil
	}
	for item, err := range s.conversations.Scan(ctx, "") {
		if err != nil {
			return fmt.Errorf("agent: sweep: %w", err)
		}
		keep, err := retention(item.Value.Tenant)
		if err == nil && !now.Before(item.Value.until(keep)) {
			err = s.drop(ctx, item.Value)
		}
		if err != nil {
			return err
		}
	}
	for item, err := range s.codes.Scan(ctx, "") {
		if err == nil && !now.Before(item.Value.Expires) {
			err = store.Remove(ctx, s.codes, item.Key)
		}
		if err != nil {
			return fmt.Errorf("agent: sweep codes: %w", err)
		}
	}
	for item, err := range s.devices.Scan(ctx, "") {
		// Its sessions are long over by then.
		if err == nil && now.Sub(item.Value.At) > s.cfg.SignIn+7*24*time.Hour {
			err = store.Remove(ctx, s.devices, item.Key)
		}
		if err != nil {
			return fmt.Errorf("agent: sweep devices: %w", err)
		}
	}
	return nil
}
