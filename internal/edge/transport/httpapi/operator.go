package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

func (a *API) operator() {
	const tag = "operator"
	register(a, Operation{
		ID: "list-credentials", Method: http.MethodGet, Path: "/v1/operator/credentials", Roles: operators, Scope: ScopeKeys, Tag: tag,
		Summary: "API keys, without their secrets",
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.CredentialList], error) {
		l, err := a.Operator.Credentials(ctx, who)
		return answer(wire.CredentialList{Credentials: l}, err)
	})
	type create struct {
		Body wire.CredentialRequest
	}
	register(a, Operation{
		ID: "create-credential", Method: http.MethodPost, Path: "/v1/operator/credentials", Roles: operators, Scope: ScopeKeys, Status: http.StatusCreated, Tag: tag,
		Summary: "Make an API key; it is shown this once",
	}, func(ctx context.Context, who Caller, in *create) (*body[wire.Credential], error) {
		return answer(a.Operator.CreateCredential(ctx, who, in.Body))
	})
	type byID struct {
		ID string `path:"id" maxLength:"64"`
	}
	register(a, Operation{
		ID: "revoke-credential", Method: http.MethodDelete, Path: "/v1/operator/credentials/{id}", Roles: operators, Scope: ScopeKeys, Status: http.StatusNoContent, Tag: tag,
		Summary: "Revoke an API key", Codes: []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *byID) (*struct{}, error) {
		return done(a.Operator.RevokeCredential(ctx, who, in.ID))
	})

	type link struct {
		Body wire.LinkRequest
	}
	register(a, Operation{
		ID: "link-identity", Method: http.MethodPost, Path: "/v1/operator/identities", Roles: operators, Scope: ScopeParties, Status: http.StatusNoContent, Tag: tag,
		Summary: "Give a party a further identity", Description: "An e-mail address, SIP URI, user name or social account by which reports may name it.",
		Codes: []wire.Code{wire.CodeBadIdentity, wire.CodeNotFound, wire.CodeConflict},
	}, func(ctx context.Context, who Caller, in *link) (*struct{}, error) {
		identity, err := parseIdentity("body.identity", in.Body.Identity)
		if err != nil {
			return nil, err
		}
		party, err := parseIdentity("body.party", in.Body.Party)
		if err != nil {
			return nil, err
		}
		return done(a.Operator.Link(ctx, who, identity, party))
	})
	type identity struct {
		Identity string `query:"identity" required:"true" maxLength:"512"`
	}
	register(a, Operation{
		ID: "unlink-identity", Method: http.MethodDelete, Path: "/v1/operator/identities", Roles: operators, Scope: ScopeParties, Status: http.StatusNoContent, Tag: tag,
		Summary: "Take an identity from its party", Codes: []wire.Code{wire.CodeBadIdentity, wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *identity) (*struct{}, error) {
		return onIdentity(in.Identity, func(id tel.Identity) error { return a.Operator.Unlink(ctx, who, id) })
	})

	register(a, Operation{
		ID: "list-shared", Method: http.MethodGet, Path: "/v1/operator/shared-identities", Roles: operators, Scope: ScopeParties, Tag: tag,
		Summary: "Identities that many callers share: trunks, contact centres, conferences",
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.SharedList], error) {
		l, err := a.Operator.Shared(ctx, who)
		return answer(wire.SharedList{Identities: l}, err)
	})
	type share struct {
		Body wire.SharedRequest
	}
	register(a, Operation{
		ID: "share-identity", Method: http.MethodPost, Path: "/v1/operator/shared-identities", Roles: operators, Scope: ScopeParties, Status: http.StatusNoContent, Tag: tag,
		Summary: "Mark an identity as shared: its calls match only by reference, extension or conference id", Codes: []wire.Code{wire.CodeBadIdentity},
	}, func(ctx context.Context, who Caller, in *share) (*struct{}, error) {
		return onIdentity(in.Body.Identity, func(id tel.Identity) error { return a.Operator.Share(ctx, who, id) })
	})
	register(a, Operation{
		ID: "unshare-identity", Method: http.MethodDelete, Path: "/v1/operator/shared-identities", Roles: operators, Scope: ScopeParties, Status: http.StatusNoContent, Tag: tag,
		Summary: "Unmark a shared identity", Codes: []wire.Code{wire.CodeBadIdentity, wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *identity) (*struct{}, error) {
		return onIdentity(in.Identity, func(id tel.Identity) error { return a.Operator.Unshare(ctx, who, id) })
	})

	type number struct {
		Number string `path:"number" maxLength:"64"`
	}
	register(a, Operation{
		ID: "recycle-number", Method: http.MethodDelete, Path: "/v1/operator/numbers/{number}/devices", Roles: operators, Scope: ScopeParties, Status: http.StatusNoContent, Tag: tag,
		Summary: "Forget every device's proof of a number that has a new owner", Codes: []wire.Code{wire.CodeBadNumber},
	}, func(ctx context.Context, who Caller, in *number) (*struct{}, error) {
		n, err := tel.ParseNumber(in.Number, "")
		if err != nil {
			return nil, err
		}
		return done(a.Operator.Recycle(ctx, who, n))
	})
	type explain struct {
		Body wire.ExplainRequest
	}
	register(a, Operation{
		ID: "explain-call", Method: http.MethodPost, Path: "/v1/operator/explain", Roles: operators, Scope: ScopeCalls, Tag: tag,
		Summary: "Why did the reports of two parties match, or not?", Codes: []wire.Code{wire.CodeBadIdentity},
	}, func(ctx context.Context, who Caller, in *explain) (*body[wire.Explanation], error) {
		x, err := parseIdentity("body.a", in.Body.A)
		if err != nil {
			return nil, err
		}
		y, err := parseIdentity("body.b", in.Body.B)
		if err != nil {
			return nil, err
		}
		return answer(a.Operator.Explain(ctx, who, x, y))
	})
	register(a, Operation{
		ID: "close-session", Method: http.MethodDelete, Path: "/v1/operator/sessions/{session}", Roles: operators, Scope: ScopeCalls, Status: http.StatusNoContent, Tag: tag,
		Summary: "Close a session", Codes: []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *SessionPath) (*struct{}, error) {
		return done(a.Operator.CloseSession(ctx, who, in.ID))
	})
	type rotate struct {
		Body wire.SecretsRotation
	}
	register(a, Operation{
		ID: "rotate-secrets", Method: http.MethodPost, Path: "/v1/operator/secrets/rotate", Roles: operators, Scope: ScopeServer, Status: http.StatusNoContent, Tag: tag,
		Summary: "Change the server's secret, of which tokens, nonces and codes are made; over the operator's socket only",
	}, func(ctx context.Context, who Caller, in *rotate) (*struct{}, error) {
		return done(a.Operator.RotateSecrets(ctx, who, in.Body))
	})
	type backup struct {
		Body wire.BackupRequest
	}
	register(a, Operation{
		ID: "backup", Method: http.MethodPost, Path: "/v1/operator/backups", Roles: operators, Scope: ScopeServer, Tag: tag,
		Summary: "Write a backup of the store into a directory on the server, while it runs", Codes: []wire.Code{wire.CodeConflict, wire.CodeStorageFull},
	}, func(ctx context.Context, who Caller, in *backup) (*body[wire.BackupDone], error) {
		return answer(a.Operator.Backup(ctx, who, in.Body.Dir))
	})
	type ofParty struct {
		Body wire.PartyRequest
	}
	register(a, Operation{
		ID: "export-party", Method: http.MethodPost, Path: "/v1/operator/parties/export", Roles: operators, Scope: ScopeParties, Tag: tag,
		Summary: "All that is kept of a party, for the party", Codes: []wire.Code{wire.CodeBadIdentity},
	}, func(ctx context.Context, who Caller, in *ofParty) (*body[wire.PartyExport], error) {
		id, err := parseIdentity("body.party", in.Body.Party)
		if err != nil {
			return nil, err
		}
		return answer(a.Operator.ExportParty(ctx, who, id))
	})
	register(a, Operation{
		ID: "erase-party", Method: http.MethodPost, Path: "/v1/operator/parties/erase", Roles: operators, Scope: ScopeParties, Tag: tag,
		Summary:     "Erase all that is kept of a party",
		Description: "Its devices are cut off; its sessions close and go, with the messages and files of all members. Repeating it is harmless. It answers when the store's files are rewritten without what was erased.",
		Codes:       []wire.Code{wire.CodeBadIdentity, wire.CodeStorageFull},
	}, func(ctx context.Context, who Caller, in *ofParty) (*body[wire.PartyErased], error) {
		id, err := parseIdentity("body.party", in.Body.Party)
		if err != nil {
			return nil, err
		}
		return answer(a.Operator.EraseParty(ctx, who, id))
	})
	type auditPage struct {
		After uint64 `query:"after" doc:"Sequence of the last entry that you have"`
		Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"1000"`
		Of    string `query:"of" maxLength:"512" doc:"An identity: only entries about its party"`
	}
	type lines struct {
		ContentType string `header:"Content-Type"`
		Body        []byte
	}
	register(a, Operation{
		ID: "audit", Method: http.MethodGet, Path: "/v1/operator/audit", Roles: operators, Scope: ScopeAudit, Tag: tag,
		Summary:     "The audit log, one entry of JSON per line",
		Description: "A page with fewer than limit entries reaches to the end. Each entry has the hash of the one before it: `tandem audit verify` checks the chain.",
		Codes:       []wire.Code{wire.CodeBadIdentity},
	}, func(ctx context.Context, who Caller, in *auditPage) (*lines, error) {
		var of tel.Identity
		if in.Of != "" {
			var err error
			if of, err = parseIdentity("of", in.Of); err != nil {
				return nil, err
			}
		}
		l, err := a.Operator.Audit(ctx, who, in.After, in.Limit, of)
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		for _, e := range l {
			if err := enc.Encode(e); err != nil {
				return nil, err
			}
		}
		return &lines{"application/x-ndjson", b.Bytes()}, nil
	})
}

func onIdentity(s string, f func(tel.Identity) error) (*struct{}, error) {
	id, err := parseIdentity("identity", s)
	if err != nil {
		return nil, err
	}
	return done(f(id))
}
