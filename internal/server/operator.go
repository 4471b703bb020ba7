package server

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tandem-call/tandem/internal/audit"
	"github.com/tandem-call/tandem/internal/credential"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/party"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// operator serves httpapi.Operator.
type operator struct{ *Server }

func (s operator) Credentials(ctx context.Context, who httpapi.Caller) ([]wire.Credential, error) {
	list, err := s.keys.List(ctx, who.Tenant)
	if err != nil {
		return nil, problem(s.log, "list credentials", err)
	}
	out := make([]wire.Credential, len(list))
	for i, c := range list {
		out[i] = credentialInfo(c)
	}
	return out, nil
}

func credentialInfo(c credential.Credential) wire.Credential {
	return wire.Credential{
		ID: c.ID, Role: string(c.Role), Name: c.Name, Ranges: c.Speaks, Scopes: c.Scopes, Certificate: thumbprint(c.Certificate),
		Created: c.Created, Expires: c.Expires, Revoked: c.RevokedAt,
	}
}

func (s operator) CreateCredential(ctx context.Context, who httpapi.Caller, r wire.CredentialRequest) (wire.Credential, error) {
	n, err := newKey(who, r)
	if err == nil && who.Credential != adminCredential {
		var by credential.Credential
		if by, err = s.keys.Get(ctx, who.Tenant, who.Credential); err == nil {
			n, err = within(by, n, r)
		}
	}
	if err != nil {
		return wire.Credential{}, problem(s.log, "make a key", err)
	}
	id := credential.NewID()
	var key string
	var c credential.Credential
	made := audit.Record{What: audit.CredentialCreated, On: on("credential", id), Details: map[string]string{"role": r.Role, "until": n.Expires.UTC().Format("2006-01-02T15:04:05Z")}}
	err = s.audited(ctx, who, made, func() (err error) {
		n.ID = id
		key, c, err = s.keys.Create(ctx, n)
		return err
	})
	if err != nil {
		return wire.Credential{}, err
	}
	s.log.Info("API key made", "id", c.ID, "role", c.Role, "by", who.Credential)
	info := credentialInfo(c)
	info.Key = key
	return info, nil
}

func (s operator) RevokeCredential(ctx context.Context, who httpapi.Caller, id string) error {
	c, err := s.keys.Get(ctx, who.Tenant, id)
	switch {
	case err == nil && !mayEnd(who, c):
		return wire.NewProblem(wire.CodeForbidden, "this key is limited to the scopes %v, and ends none that can do more", who.Scopes)
	case err != nil && !errors.Is(err, credential.ErrNotFound): // whether it may is not known
		return problem(s.log, "revoke a key", err)
	}
	return s.audited(ctx, who, audit.Record{What: audit.CredentialRevoked, On: on("credential", id)}, func() error {
		return s.keys.Revoke(ctx, who.Tenant, id)
	})
}

func (s operator) Link(ctx context.Context, who httpapi.Caller, identity, of tel.Identity) error {
	return s.audited(ctx, who, audit.Record{What: audit.IdentityLinked, Parties: []tel.Identity{identity, of}}, func() error {
		if err := s.parties.Link(ctx, who.Tenant, identity, of); err != nil {
			return err
		}
		principal, err := s.parties.Principal(ctx, who.Tenant, identity)
		if err != nil {
			return err
		}
		return s.reproved(ctx, who.Tenant, principal, identity)
	})
}

func (s operator) Unlink(ctx context.Context, who httpapi.Caller, identity tel.Identity) error {
	return s.audited(ctx, who, audit.Record{What: audit.IdentityUnlinked, Parties: []tel.Identity{identity}}, func() error {
		principal, err := s.parties.Principal(ctx, who.Tenant, identity)
		if err == nil {
			err = s.devices.DropMailbox(ctx, who.Tenant, principal, identity) // it would prove it once more
		}
		if err == nil {
			err = s.parties.Unlink(ctx, who.Tenant, identity)
		}
		if err != nil {
			return err
		}
		return s.reproved(ctx, who.Tenant, principal, identity)
	})
}

func (s operator) Shared(ctx context.Context, who httpapi.Caller) ([]tel.Identity, error) {
	list, err := s.parties.ListShared(ctx, who.Tenant)
	ids := make([]tel.Identity, len(list))
	for i, m := range list {
		ids[i] = m.Identity
	}
	return ids, problem(s.log, "list shared identities", err)
}

func (s operator) Share(ctx context.Context, who httpapi.Caller, identity tel.Identity) error {
	return s.audited(ctx, who, audit.Record{What: audit.IdentityShared, Parties: []tel.Identity{identity}}, func() error {
		return s.parties.MarkShared(ctx, who.Tenant, identity, party.Trunk, "")
	})
}

func (s operator) Unshare(ctx context.Context, who httpapi.Caller, identity tel.Identity) error {
	return s.audited(ctx, who, audit.Record{What: audit.IdentityUnshared, Parties: []tel.Identity{identity}}, func() error {
		return s.parties.UnmarkShared(ctx, who.Tenant, identity)
	})
}

func (s operator) Recycle(ctx context.Context, who httpapi.Caller, n tel.Number) error {
	return s.audited(ctx, who, audit.Record{What: audit.NumberRecycled, Parties: []tel.Identity{n.Identity()}}, func() error {
		if err := s.couples.Erase(ctx, who.Tenant, []tel.Number{n}); err != nil {
			return err
		}
		return s.Server.devices.WipeNumber(ctx, who.Tenant, n)
	})
}

func (s operator) Explain(ctx context.Context, who httpapi.Caller, a, b tel.Identity) (wire.Explanation, error) {
	var x wire.Explanation
	err := s.audited(ctx, who, audit.Record{What: audit.CallExplained, Parties: []tel.Identity{a, b}}, func() (err error) {
		x, err = s.matcher.Explain(ctx, who.Tenant, a, b)
		return err
	})
	if err != nil {
		return wire.Explanation{}, err
	}
	return wire.Explanation{Matched: x.Session != "", Session: x.Session, Lines: x.Lines}, nil
}

func (s operator) CloseSession(ctx context.Context, who httpapi.Caller, id wire.SessionID) error {
	return s.audited(ctx, who, audit.Record{What: audit.SessionClosed, On: on("session", string(id))}, func() error {
		return s.Server.sessions.OperatorClose(ctx, who.Tenant, id)
	})
}

// Backuper is an engine that can write a backup of itself while it runs.
type backuper interface {
	Backup(ctx context.Context, dir string) error
}

func (s operator) Backup(ctx context.Context, who httpapi.Caller, dir string) (wire.BackupDone, error) {
	if who.Credential != adminCredential {
		return wire.BackupDone{}, wire.NewProblem(wire.CodeForbidden, "a backup names a directory of the server's machine, so it is asked for there: tandem store backup --data DIR TO")
	}
	e, ok := s.engine.(backuper)
	if !ok {
		return wire.BackupDone{}, wire.NewProblem(wire.CodeBadRequest, "the engine is a cluster: back up its streams with the cluster's own tools (nats stream backup)")
	}
	if !filepath.IsAbs(dir) {
		return wire.BackupDone{}, wire.NewProblem(wire.CodeBadRequest, "name the directory with its whole path")
	}
	err := s.audited(ctx, who, audit.Record{What: audit.StoreBackup}, func() error {
		err := e.Backup(ctx, filepath.Join(dir, StoreDir))
		if errors.Is(err, os.ErrExist) {
			return wire.NewProblem(wire.CodeConflict, "%s exists already; name a new directory", dir)
		}
		return s.unwritable(dir, err)
	})
	if err != nil {
		return wire.BackupDone{}, err
	}
	for _, part := range []string{"contents", "previews"} {
		if err := copyTree(filepath.Join(s.cfg.Data, FilesDir, part), filepath.Join(dir, FilesDir, part)); err != nil {
			return wire.BackupDone{}, problem(s.log, "backup of files", s.unwritable(dir, err))
		}
	}
	size, err := treeSize(dir)
	s.log.Info("backup written", "dir", dir, "bytes", size)
	return wire.BackupDone{Dir: dir, Bytes: size}, problem(s.log, "backup", err)
}

// unwritable says what is wrong with the directory that a backup was to be written to, where that is what the error is about.
func (s *Server) unwritable(dir string, err error) error {
	var at *fs.PathError
	if !errors.As(err, &at) || !inside(at.Path, dir) && !inside(dir, at.Path) {
		return err
	}
	s.log.Warn("a backup could not be written", "dir", dir, "err", err)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return wire.NewProblem(wire.CodeStorageFull, "there is no room for the backup: %v; what is in %s now is none: name a new directory, on a disk with more", at, dir)
	}
	return wire.NewProblem(wire.CodeBadRequest, "the server cannot write the backup: %v; name a new directory at a place where its user may write", at)
}

// inside reports whether a path is dir, or below it.
func inside(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}
