package httpapi

import (
	"context"
	"net/http"

	"github.com/tandem-call/tandem/wire"
)

// Overlays keeps the overlays of providers and brings them into sessions (SPEC I2 to I4, I6).
type Overlays interface {
	Overlays(ctx context.Context, who Caller) ([]wire.StoredOverlay, error)
	Overlay(ctx context.Context, who Caller, name string) (wire.StoredOverlay, error)
	SetOverlayDraft(ctx context.Context, who Caller, name string, d wire.OverlayDraft) (wire.StoredOverlay, error)
	PublishOverlay(ctx context.Context, who Caller, name string) (wire.StoredOverlay, error)
	RollBackOverlay(ctx context.Context, who Caller, name string, version int) (wire.StoredOverlay, error)
	OverlayVersion(ctx context.Context, who Caller, name string, version int) (wire.OverlayDraft, error)
	RemoveOverlay(ctx context.Context, who Caller, name string) error
	OverlayDraftPicture(ctx context.Context, who Caller, name, region string) (mediaType string, data []byte, err error)

	OverlayTemplates(ctx context.Context, who Caller, id wire.SessionID) ([]wire.OverlayTemplate, error)
	PreviewOverlay(ctx context.Context, who Caller, id wire.SessionID, f wire.OverlayFill) (wire.OverlayFilled, error)
	SendOverlay(ctx context.Context, who Caller, id wire.SessionID, q wire.OverlaySend) (wire.OverlaySent, error)
	OverlayShown(ctx context.Context, who Caller, id wire.SessionID, seq uint64, w wire.OverlayShow) error
	OverlayAnswered(ctx context.Context, who Caller, id wire.SessionID, seq uint64, a wire.OverlayAnswer) error
	OverlayPicture(ctx context.Context, who Caller, id wire.SessionID, seq uint64, region string) (mediaType string, data []byte, err error)
}

var (
	providers = []Role{RoleProvider, RoleOperator}
	senders   = []Role{RoleDevice, RoleProvider, RoleOperator}
)

// OverlayPath is the path of a stored overlay.
type OverlayPath struct {
	Name string `path:"name" maxLength:"64"`
}

// OverlayMessagePath is the path of an overlay that was sent into a session.
type OverlayMessagePath struct {
	SessionPath
	Seq uint64 `path:"seq" minimum:"1" doc:"Sequence of the message with the overlay"`
}

func (a *API) storedOverlays() {
	const tag = "overlay"
	register(a, Operation{
		ID: "list-overlays", Method: http.MethodGet, Path: "/v1/overlays", Roles: providers, Scope: ScopeOverlays, Tag: tag,
		Summary: "Stored overlays; of a provider's key, those whose numbers are in its ranges",
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.StoredOverlayList], error) {
		l, err := a.Config.Overlays.Overlays(ctx, who)
		return answer(wire.StoredOverlayList{Overlays: l}, err)
	})
	register(a, Operation{
		ID: "get-overlay", Method: http.MethodGet, Path: "/v1/overlays/{name}", Roles: providers, Scope: ScopeOverlays, Tag: tag,
		Summary: "An overlay: its draft, and its versions", Codes: []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *OverlayPath) (*body[wire.StoredOverlay], error) {
		return answer(a.Config.Overlays.Overlay(ctx, who, in.Name))
	})
	type draft struct {
		OverlayPath
		Body wire.OverlayDraft
	}
	register(a, Operation{
		ID: "set-overlay-draft", Method: http.MethodPut, Path: "/v1/overlays/{name}/draft", Roles: providers, Scope: ScopeOverlays, Tag: tag,
		Summary:     "Make an overlay, or change its draft; what is live stays",
		Description: "The draft is tried with the examples of its parameters. The answer that makes it has the secret which signs requests to its url.",
		Codes:       []wire.Code{wire.CodeConflict},
	}, func(ctx context.Context, who Caller, in *draft) (*body[wire.StoredOverlay], error) {
		return answer(a.Config.Overlays.SetOverlayDraft(ctx, who, in.Name, in.Body))
	})
	register(a, Operation{
		ID: "publish-overlay", Method: http.MethodPost, Path: "/v1/overlays/{name}/publish", Roles: providers, Scope: ScopeOverlays, Tag: tag,
		Summary: "Make the draft a version, and the live one", Codes: []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *OverlayPath) (*body[wire.StoredOverlay], error) {
		return answer(a.Config.Overlays.PublishOverlay(ctx, who, in.Name))
	})
	type version struct {
		OverlayPath
		Version int `path:"version" minimum:"1"`
	}
	register(a, Operation{
		ID: "get-overlay-version", Method: http.MethodGet, Path: "/v1/overlays/{name}/versions/{version}", Roles: providers, Scope: ScopeOverlays, Tag: tag,
		Summary: "What a version was published from", Codes: []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *version) (*body[wire.OverlayDraft], error) {
		return answer(a.Config.Overlays.OverlayVersion(ctx, who, in.Name, in.Version))
	})
	type rollback struct {
		OverlayPath
		Body wire.OverlayRollback
	}
	register(a, Operation{
		ID: "roll-back-overlay", Method: http.MethodPost, Path: "/v1/overlays/{name}/rollback", Roles: providers, Scope: ScopeOverlays, Tag: tag,
		Summary: "Make another version the live one; 0: none", Codes: []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *rollback) (*body[wire.StoredOverlay], error) {
		return answer(a.Config.Overlays.RollBackOverlay(ctx, who, in.Name, in.Body.Version))
	})
	register(a, Operation{
		ID: "remove-overlay", Method: http.MethodDelete, Path: "/v1/overlays/{name}", Roles: providers, Scope: ScopeOverlays, Status: http.StatusNoContent, Tag: tag,
		Summary: "Remove an overlay with its versions", Codes: []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *OverlayPath) (*struct{}, error) {
		return done(a.Config.Overlays.RemoveOverlay(ctx, who, in.Name))
	})
	type picture struct {
		OverlayPath
		Region string `path:"region" maxLength:"64"`
	}
	register(a, Operation{
		ID: "get-overlay-draft-picture", Method: http.MethodGet, Path: "/v1/overlays/{name}/pictures/{region}", Roles: providers, Scope: ScopeOverlays, Tag: tag,
		Summary: "The picture of a region of the draft, fetched as for devices", Codes: []wire.Code{wire.CodeNotFound, wire.CodeConflict, wire.CodeUnsupportedType},
	}, func(ctx context.Context, who Caller, in *picture) (*raw, error) {
		kind, data, err := a.Config.Overlays.OverlayDraftPicture(ctx, who, in.Name, in.Region)
		return rawAnswer(kind, data, err)
	})
}

func (a *API) overlays() {
	const tag = "overlay"
	inSession := []wire.Code{wire.CodeNotMember, wire.CodeSessionClosed, wire.CodeNotFound}
	register(a, Operation{
		ID: "list-overlay-templates", Method: http.MethodGet, Path: "/v1/sessions/{session}/overlays/templates", Roles: senders, Scope: ScopeOverlays, Tag: tag,
		Summary: "The templates that the caller's side may send: those whose numbers it is", Codes: inSession,
	}, func(ctx context.Context, who Caller, in *SessionPath) (*body[wire.OverlayTemplateList], error) {
		l, err := a.Config.Overlays.OverlayTemplates(ctx, who, in.ID)
		return answer(wire.OverlayTemplateList{Templates: l}, err)
	})
	type fill struct {
		SessionPath
		Body wire.OverlayFill
	}
	register(a, Operation{
		ID: "preview-overlay", Method: http.MethodPost, Path: "/v1/sessions/{session}/overlays/preview", Roles: senders, Scope: ScopeOverlays, Tag: tag,
		Summary: "Fill a template as it would be sent", Codes: append([]wire.Code{wire.CodeConflict}, inSession...),
	}, func(ctx context.Context, who Caller, in *fill) (*body[wire.OverlayFilled], error) {
		return answer(a.Config.Overlays.PreviewOverlay(ctx, who, in.ID, in.Body))
	})
	type send struct {
		SessionPath
		Body wire.OverlaySend
	}
	register(a, Operation{
		ID: "send-overlay", Method: http.MethodPost, Path: "/v1/sessions/{session}/overlays", Roles: senders, Scope: ScopeOverlays, Tag: tag,
		Summary:     "Send an overlay into a session: a template that is filled, or a whole document",
		Description: "It comes as a message of kind overlay. A provider's key speaks through a device of its side; an operator's sends templates only.",
		Codes:       append([]wire.Code{wire.CodeConflict, wire.CodeTooLarge}, inSession...),
	}, func(ctx context.Context, who Caller, in *send) (*body[wire.OverlaySent], error) {
		return answer(a.Config.Overlays.SendOverlay(ctx, who, in.ID, in.Body))
	})
	type shown struct {
		OverlayMessagePath
		Body wire.OverlayShow
	}
	register(a, Operation{
		ID: "overlay-shown", Method: http.MethodPost, Path: "/v1/sessions/{session}/overlays/{seq}/shown", Roles: devices, Status: http.StatusNoContent, Tag: tag,
		Summary: "Say that an overlay is on the screen, or why not; its sender hears it", Codes: inSession,
	}, func(ctx context.Context, who Caller, in *shown) (*struct{}, error) {
		return done(a.Config.Overlays.OverlayShown(ctx, who, in.ID, in.Seq, in.Body))
	})
	type answered struct {
		OverlayMessagePath
		Body wire.OverlayAnswer
	}
	register(a, Operation{
		ID: "answer-overlay", Method: http.MethodPost, Path: "/v1/sessions/{session}/overlays/{seq}/answers", Roles: devices, Status: http.StatusNoContent, Tag: tag,
		Summary: "Say what came of an action of an overlay; checked against it, its sender hears it", Codes: inSession,
	}, func(ctx context.Context, who Caller, in *answered) (*struct{}, error) {
		return done(a.Config.Overlays.OverlayAnswered(ctx, who, in.ID, in.Seq, in.Body))
	})
	type picture struct {
		OverlayMessagePath
		Region string `path:"region" maxLength:"64"`
	}
	register(a, Operation{
		ID: "get-overlay-picture", Method: http.MethodGet, Path: "/v1/sessions/{session}/overlays/{seq}/pictures/{region}", Roles: devices, Tag: tag,
		Summary:     "The picture of a region, fetched by the server",
		Description: "JPEG, PNG, GIF or WebP of at most 2 MiB, without the data that cameras write. The page asks nobody else.",
		Codes:       append([]wire.Code{wire.CodeConflict, wire.CodeUnsupportedType}, inSession...),
	}, func(ctx context.Context, who Caller, in *picture) (*raw, error) {
		kind, data, err := a.Config.Overlays.OverlayPicture(ctx, who, in.ID, in.Seq, in.Region)
		return rawAnswer(kind, data, err)
	})
}
