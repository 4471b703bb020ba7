package server

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/tandem-call/tandem/internal/audit"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// actor says of a caller what the audit log keeps.
func actor(who httpapi.Caller) wire.AuditActor {
	switch {
	case who.Role == "":
		return wire.AuditActor{Role: audit.RoleAnybody}
	case who.Role == httpapi.RoleDevice:
		return wire.AuditActor{Role: string(who.Role), ID: string(who.Device)}
	}
	return wire.AuditActor{Role: string(who.Role), ID: who.Credential}
}

// audited writes down what is about to be done, and does it; not without the first. If it
// fails, that is written down too. The error is a *wire.Problem.
func (s *Server) audited(ctx context.Context, who httpapi.Caller, r audit.Record, do func() error) error {
	r.Tenant, r.Who = who.Tenant, actor(who)
	if err := s.audit.Append(ctx, r); err != nil {
		return problem(s.log, "audit", err)
	}
	err := do()
	if err != nil {
		r.Failed = true
		if err := s.audit.Append(context.WithoutCancel(ctx), r); err != nil {
			s.log.Error("the audit log does not tell that something failed", "what", r.What, "err", err)
		}
	}
	return problem(s.log, string(r.What), err)
}

// refused has a refusal written down, behind the answer, which it returns. What is a fault
// of ours is no refusal.
func (s *Server) refused(who httpapi.Caller, r audit.Record, err error) error {
	err = problem(s.log, string(r.What), err)
	var p *wire.Problem
	if !errors.As(err, &p) || p.Status >= 500 {
		return err
	}
	r.Tenant, r.Who = who.Tenant, actor(who)
	if r.Tenant == "" {
		r.Tenant = wire.DefaultTenant
	}
	if r.Details == nil {
		r.Details = map[string]string{}
	}
	r.Details["reason"] = string(p.Code)
	s.audit.Note(r)
	return err
}

// on names an object of a request; nothing where what was named cannot be an id.
func on(kind, id string) []string {
	if !wire.ValidID(id) {
		return nil
	}
	return []string{kind + ":" + id}
}

// Audit serves a page of the audit log, of one party if of is given; that it was read is
// in it.
func (s operator) Audit(ctx context.Context, who httpapi.Caller, after uint64, limit int, of tel.Identity) (list []wire.AuditEntry, err error) {
	var names []string
	if !of.IsZero() {
		ids, err := s.parties.Identities(ctx, who.Tenant, of)
		if err != nil {
			return nil, problem(s.log, "read the audit log", err)
		}
		for _, id := range ids {
			name, err := s.audit.Known(ctx, who.Tenant, id)
			if err != nil {
				return nil, problem(s.log, "read the audit log", err)
			}
			names = append(names, "party:"+name)
		}
	}
	r := audit.Record{What: audit.AuditExported, Details: map[string]string{"after": strconv.FormatUint(after, 10)}}
	err = s.audited(ctx, who, r, func() error {
		for {
			page, err := s.audit.Read(ctx, who.Tenant, after, limit-len(list))
			if err != nil || len(page) == 0 {
				return err
			}
			after = page[len(page)-1].Seq
			for _, e := range page {
				if names == nil || slices.ContainsFunc(e.On, func(o string) bool { return slices.Contains(names, o) }) {
					list = append(list, e)
				}
			}
			if names == nil || len(list) >= limit {
				return nil
			}
		}
	})
	return list, err
}
