package payment

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tandem-call/tandem/internal/credential"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

var validName = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)

// Accounts lists the accounts of an owner, by name.
func (s *Service) Accounts(ctx context.Context, by credential.Owner) ([]Account, error) {
	all := []Account{}
	for item, err := range s.accounts.Scan(ctx, store.Key(string(by.Tenant))+"/") {
		if err != nil {
			return nil, fmt.Errorf("payment: accounts: %w", err)
		}
		if by.Has(item.Value.Numbers) {
			all = append(all, item.Value)
		}
	}
	return all, nil
}

// Account returns one account of an owner. ErrNotFound.
func (s *Service) Account(ctx context.Context, by credential.Owner, name string) (Account, error) {
	if !validName.MatchString(name) {
		return Account{}, fmt.Errorf("%w: there is no such account", ErrNotFound)
	}
	a, _, err := s.accounts.Get(ctx, store.Key(string(by.Tenant), name))
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && !by.Has(a.Numbers):
		return Account{}, fmt.Errorf("%w: there is no account %s", ErrNotFound, name)
	case err != nil:
		return Account{}, fmt.Errorf("payment: account: %w", err)
	}
	return a, nil
}

// SetAccount makes an account, or changes it; secrets that are not given stay. ErrRequest, ErrNumbers, ErrFull.
func (s *Service) SetAccount(ctx context.Context, by credential.Owner, name string, d wire.PaymentAccountDraft) (Account, error) {
	if !validName.MatchString(name) {
		return Account{}, fmt.Errorf("%w: a name has 1 to 64 of a-z 0-9 _ -", ErrRequest)
	}
	numbers, err := credential.ParseRanges(d.Numbers)
	switch {
	case err != nil:
		return Account{}, fmt.Errorf("%w: numbers: %w", ErrRequest, err)
	case len(numbers) == 0:
		return Account{}, fmt.Errorf("%w: say whose overlays are paid to it: numbers", ErrRequest)
	case !by.Has(numbers):
		return Account{}, ErrNumbers
	case strings.ContainsFunc(d.Key+d.HookSecret, func(c rune) bool { return c <= ' ' || c > '~' }):
		return Account{}, fmt.Errorf("%w: keys and secrets have no spaces or special characters: copy them from the payment server's pages", ErrRequest)
	}
	all, err := s.Accounts(ctx, credential.Owner{Tenant: by.Tenant, All: true})
	if err != nil {
		return Account{}, err
	}
	if len(all) >= MaxAccounts && !slices.ContainsFunc(all, func(a Account) bool { return a.Name == name }) {
		return Account{}, fmt.Errorf("%w: %d accounts; remove one", ErrFull, MaxAccounts)
	}
	at := s.cfg.Now()
	return store.Change(ctx, s.accounts, store.Key(string(by.Tenant), name), func(a Account, exists bool) (Account, bool, error) {
		switch {
		case exists && !by.Has(a.Numbers):
			// A name is the tenant's. Whose it is, is not told.
			return a, false, fmt.Errorf("%w: the name is taken", ErrRequest)
		case !exists && d.Key == "":
			return a, false, fmt.Errorf("%w: a new account needs the key of the payment server", ErrRequest)
		}
		a.Tenant, a.Name, a.Numbers, a.Changed = by.Tenant, name, numbers, at
		if d.Key != "" {
			a.Key = d.Key
		}
		if d.HookSecret != "" {
			a.HookSecret = d.HookSecret
		}
		return a, true, nil
	})
}

// RemoveAccount removes an account. What is open at the payment server can still be paid there, but nobody here
// learns of it. ErrNotFound.
func (s *Service) RemoveAccount(ctx context.Context, by credential.Owner, name string) error {
	a, err := s.Account(ctx, by, name)
	if err != nil {
		return err
	}
	if err := store.Remove(ctx, s.accounts, store.Key(string(by.Tenant), a.Name)); err != nil {
		return fmt.Errorf("payment: account: %w", err)
	}
	return nil
}

// payee returns the account of whoever sent an overlay: the one whose numbers name it most closely. ErrNoAccount.
func (s *Service) payee(ctx context.Context, tenant wire.TenantID, ids []tel.Identity) (Account, error) {
	all, err := s.Accounts(ctx, credential.Owner{Tenant: tenant, All: true})
	if err != nil {
		return Account{}, err
	}
	found, length := -1, -1
	for i, a := range all {
		for _, n := range a.Numbers {
			covers := slices.ContainsFunc(ids, func(id tel.Identity) bool { return credential.Covers([]string{n}, id) })
			if covers && len(n) > length {
				found, length = i, len(n)
			}
		}
	}
	if found < 0 {
		return Account{}, ErrNoAccount
	}
	return all[found], nil
}
