package agent

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// code is a way to sign in: table "agent-codes", key store.Key(id). Only a hash of its secret, which
// has 130 random bits, is kept.
type code struct {
	Tenant   wire.TenantID `json:"tenant"`
	Agent    string        `json:"agent"`
	SHA256   []byte        `json:"sha256"`
	Reusable bool          `json:"reusable,omitempty"`
	Expires  time.Time     `json:"expires"`
	// By is the key, by its thumbprint, of the browser that has used a code that serves once.
	By string `json:"by,omitempty"`
}

// prefix of codes, which are "tag_<id>_<secret>".
const prefix = "tag_"

// How long codes are valid, where nothing is said.
const (
	linkFor = 24 * time.Hour
	keyFor  = 90 * 24 * time.Hour
)

func split(text string) (id, secret string, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), prefix)
	if !ok || len(rest) > 2*wire.MaxID {
		return "", "", false
	}
	id, secret, ok = strings.Cut(rest, "_")
	return id, secret, ok && wire.ValidID(id) && wire.ValidID(secret)
}

// Invite makes a way for an agent to sign in, which is shown only now. ErrNotFound, ErrFull.
func (s *Service) Invite(ctx context.Context, tenant wire.TenantID, agent string, q wire.AgentCodeRequest) (wire.AgentCode, error) {
	id, secret := rand.Text(), rand.Text()
	sum := sha256.Sum256([]byte(secret))
	c := code{Tenant: tenant, Agent: agent, SHA256: sum[:], Reusable: q.Reusable}
	valid := linkFor
	switch {
	case q.Hours > 0:
		valid = time.Duration(q.Hours) * time.Hour
	case q.Reusable:
		valid = keyFor
	}
	c.Expires = s.now().Add(valid).Truncate(time.Second)
	r, err := s.Get(ctx, tenant, agent)
	if err != nil {
		return wire.AgentCode{}, err
	}
	valids, err := s.valid(ctx, r.Codes)
	if err != nil {
		return wire.AgentCode{}, err
	}
	if len(valids) >= wire.MaxAgentCodes {
		return wire.AgentCode{}, fmt.Errorf("%w: the agent has %d codes that are valid; revoke them first", ErrFull, wire.MaxAgentCodes)
	}
	_, err = s.change(ctx, tenant, agent, func(now *Record) error {
		over := func(id string) bool { return slices.Contains(r.Codes, id) && !slices.Contains(valids, id) }
		now.Codes = append(slices.DeleteFunc(slices.Clone(now.Codes), over), id)
		return nil
	})
	if err == nil {
		_, err = store.Change(ctx, s.codes, store.Key(id), func(code, bool) (code, bool, error) { return c, true, nil })
	}
	if err != nil {
		return wire.AgentCode{}, fmt.Errorf("agent: invite: %w", err)
	}
	return wire.AgentCode{Code: prefix + id + "_" + secret, Expires: c.Expires}, nil
}

// valid returns those of the codes that can still be used.
func (s *Service) valid(ctx context.Context, ids []string) (list []string, err error) {
	for _, id := range ids {
		c, _, err := s.codes.Get(ctx, store.Key(id))
		switch {
		case err == nil && s.now().Before(c.Expires) && c.By == "":
			list = append(list, id)
		case err != nil && !errors.Is(err, store.ErrNotFound):
			return nil, fmt.Errorf("agent: codes: %w", err)
		}
	}
	return list, nil
}

// SignIn makes a browser the agent's device, in place of the one before, whose connections are
// closed. thumbprint is of q.Key. The same browser may repeat it. ErrCode, and the errors of
// Devices.Seat.
func (s *Service) SignIn(ctx context.Context, home wire.TenantID, q wire.AgentSignIn, thumbprint string) (Record, error) {
	id, secret, ok := split(q.Code)
	if !ok {
		return Record{}, ErrCode
	}
	now := s.now()
	c, _, err := s.codes.Get(ctx, store.Key(id))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Record{}, fmt.Errorf("agent: code: %w", err)
	}
	sum := sha256.Sum256([]byte(secret))
	if subtle.ConstantTimeCompare(sum[:], c.SHA256) != 1 || home != "" && home != c.Tenant || !now.Before(c.Expires) || c.By != "" && c.By != thumbprint {
		return Record{}, ErrCode
	}
	r, err := s.Get(ctx, c.Tenant, c.Agent)
	if errors.Is(err, ErrNotFound) || err == nil && !slices.Contains(r.Codes, id) {
		return r, ErrCode
	} else if err != nil {
		return r, err
	}
	until := now.Add(s.cfg.SignIn).Truncate(time.Second)
	d, err := s.cfg.Devices.Seat(ctx, Seating{
		Tenant: c.Tenant, Number: r.Number, Key: q.Key, Name: r.Name, Client: q.Client, Nonce: id, Assertion: q.Assertion, Until: until,
	})
	if err != nil {
		return r, err
	}
	if !c.Reusable {
		_, err = store.Change(ctx, s.codes, store.Key(id), func(c code, exists bool) (code, bool, error) {
			if !exists || c.By != "" && c.By != thumbprint {
				return c, false, ErrCode
			}
			was := c.By
			c.By = thumbprint
			return c, was == "", nil
		})
		if errors.Is(err, ErrCode) {
			return r, errors.Join(err, s.cfg.Devices.Unseat(ctx, c.Tenant, d))
		} else if err != nil {
			return r, fmt.Errorf("agent: sign in: %w", err) // it may have been taken: the same key may try again
		}
	}
	r, err = s.seated(ctx, r, id, d, until)
	if errors.Is(err, ErrCode) {
		err = errors.Join(err, s.cfg.Devices.Unseat(ctx, c.Tenant, d))
	}
	return r, err
}

// seated notes the agent's device, and ends the one before. ErrCode: the code was revoked meanwhile.
func (s *Service) seated(ctx context.Context, r Record, code string, d wire.DeviceID, until time.Time) (Record, error) {
	now := s.now()
	_, err := store.Change(ctx, s.devices, key(r.Tenant, string(d)), func(x tied, _ bool) (tied, bool, error) { return tied{r.ID, now}, true, nil })
	if err != nil {
		return r, fmt.Errorf("agent: sign in: %w", err)
	}
	var before wire.DeviceID
	r, err = s.change(ctx, r.Tenant, r.ID, func(r *Record) error {
		if !slices.Contains(r.Codes, code) {
			return ErrCode
		}
		before = r.Device
		if state, _, _ := r.StateAt(now); state == wire.AgentSignedOut {
			r.Calls, r.Open = nil, nil
			r.become(wire.AgentAway, "", now)
		} else if before != "" && before != d {
			// What the browser before was in, this one is not: nobody would say when it is over.
			was := len(r.Calls) > 0
			if r.Calls, r.Open = nil, nil; was {
				r.become(wire.AgentWrapUp, "", now)
			}
		}
		r.Device, r.Until = d, until
		return nil
	})
	if err == nil && before != "" && before != d {
		err = s.cfg.Devices.Unseat(ctx, r.Tenant, before)
	}
	return r, err
}

// SignOut ends the session of the agent's browser. ErrNone.
func (s *Service) SignOut(ctx context.Context, tenant wire.TenantID, d wire.DeviceID) error {
	r, err := s.Of(ctx, tenant, d)
	if err != nil {
		return err
	}
	return s.out(ctx, tenant, r.ID)
}

// Lost signs an agent out whose device was revoked. It may repeat.
func (s *Service) Lost(ctx context.Context, tenant wire.TenantID, d wire.DeviceID) error {
	r, err := s.Of(ctx, tenant, d)
	if errors.Is(err, ErrNone) {
		return nil
	} else if err != nil {
		return err
	}
	_, err = s.change(ctx, tenant, r.ID, func(r *Record) error {
		if r.Device == d {
			r.signOut(s.now())
		}
		return nil
	})
	return err
}

func (s *Service) out(ctx context.Context, tenant wire.TenantID, id string) error {
	var was wire.DeviceID
	_, err := s.change(ctx, tenant, id, func(r *Record) error {
		was = r.Device
		r.signOut(s.now())
		return nil
	})
	if err == nil && was != "" {
		err = s.cfg.Devices.Unseat(ctx, tenant, was)
	}
	return err
}

// Revoke ends every way of an agent to sign in, and signs it out. It may repeat. ErrNotFound.
func (s *Service) Revoke(ctx context.Context, tenant wire.TenantID, id string) error {
	r, err := s.Get(ctx, tenant, id)
	if err != nil {
		return err
	}
	for _, c := range r.Codes {
		if err := store.Remove(ctx, s.codes, store.Key(c)); err != nil {
			return fmt.Errorf("agent: revoke: %w", err)
		}
	}
	if _, err := s.change(ctx, tenant, id, func(now *Record) error {
		now.Codes = slices.DeleteFunc(slices.Clone(now.Codes), func(c string) bool { return slices.Contains(r.Codes, c) })
		return nil
	}); err != nil {
		return err
	}
	return s.out(ctx, tenant, id)
}
