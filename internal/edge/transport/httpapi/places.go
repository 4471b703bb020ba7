package httpapi

import (
	"context"
	"net/http"

	"github.com/tandem-call/tandem/wire"
)

// Places asks for places and shares them, in a session (SPEC F).
type Places interface {
	SetPlaceAbility(ctx context.Context, who Caller, id wire.SessionID, can wire.PlaceAbility) error
	CheckPlace(ctx context.Context, who Caller, id wire.SessionID, q wire.PlaceCheckRequest) (wire.PlaceAbility, error)
	AskPlace(ctx context.Context, who Caller, id wire.SessionID, q wire.PlaceAskRequest) (wire.PlaceAskedFor, error)
	AnswerPlace(ctx context.Context, who Caller, id wire.SessionID, q wire.PlaceAnswer) error
	SharePlace(ctx context.Context, who Caller, id wire.SessionID, q wire.PlaceShare) (wire.PlaceShared, error)
	StopPlace(ctx context.Context, who Caller, id wire.SessionID) error
	PlaceRules(ctx context.Context, who Caller) (wire.PlaceRules, error)
	SetPlaceRules(ctx context.Context, who Caller, q wire.PlaceRules) (wire.PlaceRules, error)
	PlaceRulesHere(ctx context.Context, who Caller, id wire.SessionID) (wire.PlaceRulesHere, error)
	NetworkPlace(ctx context.Context, who Caller, id wire.SessionID) (wire.NetworkPlace, error)
	// PlacePicture is a PNG; whoever has its address may see it.
	PlacePicture(ctx context.Context, picture string) ([]byte, error)
}

func (a *API) places() {
	const tag = "place"
	inSession := []wire.Code{wire.CodeNotMember, wire.CodeSessionClosed}
	type ability struct {
		SessionPath
		Body wire.PlaceAbility
	}
	register(a, Operation{
		ID: "set-place-ability", Method: http.MethodPut, Path: "/v1/sessions/{session}/place/ability", Roles: devices, Status: http.StatusNoContent, Tag: tag,
		Summary: "Say what this device can do about places: the answer to a check, or unasked", Codes: inSession,
	}, func(ctx context.Context, who Caller, in *ability) (*struct{}, error) {
		return done(a.Places.SetPlaceAbility(ctx, who, in.ID, in.Body))
	})
	type check struct {
		SessionPath
		Body wire.PlaceCheckRequest
	}
	register(a, Operation{
		ID: "check-place", Method: http.MethodPost, Path: "/v1/sessions/{session}/place/check", Roles: devices, Tag: tag,
		Summary: "Can another member's device say where it is, and show a place? Silence for 5 seconds is a no", Codes: inSession,
	}, func(ctx context.Context, who Caller, in *check) (*body[wire.PlaceAbility], error) {
		return answer(a.Places.CheckPlace(ctx, who, in.ID, in.Body))
	})
	type ask struct {
		SessionPath
		Body wire.PlaceAskRequest
	}
	register(a, Operation{
		ID: "ask-place", Method: http.MethodPost, Path: "/v1/sessions/{session}/place/ask", Roles: devices, Tag: tag,
		Summary:     "Ask for another member's place; its user is asked",
		Description: "With check, the capability check comes first, and a device that cannot is not asked: the answer then has no request. Who never wants to be asked looks like who says nothing.",
		Codes:       append([]wire.Code{wire.CodeConflict}, inSession...),
	}, func(ctx context.Context, who Caller, in *ask) (*body[wire.PlaceAskedFor], error) {
		return answer(a.Places.AskPlace(ctx, who, in.ID, in.Body))
	})
	type said struct {
		SessionPath
		Body wire.PlaceAnswer
	}
	register(a, Operation{
		ID: "answer-place", Method: http.MethodPost, Path: "/v1/sessions/{session}/place/answer", Roles: devices, Status: http.StatusNoContent, Tag: tag,
		Summary: "Answer who asks for this device's place: once, for the call, live for some minutes, no, or never", Codes: append([]wire.Code{wire.CodeNotFound}, inSession...),
	}, func(ctx context.Context, who Caller, in *said) (*struct{}, error) {
		return done(a.Places.AnswerPlace(ctx, who, in.ID, in.Body))
	})
	type share struct {
		SessionPath
		Body wire.PlaceShare
	}
	register(a, Operation{
		ID: "share-place", Method: http.MethodPost, Path: "/v1/sessions/{session}/place", Roles: devices, Tag: tag,
		Summary:     "Share this device's place",
		Description: "As the answer to a request, or at the user's touch. With minutes it is live: share again to move; at most once a second, until the time or the call ends.",
		Codes:       append([]wire.Code{wire.CodeNotFound, wire.CodeForbidden, wire.CodeConflict, wire.CodeTooMany}, inSession...),
	}, func(ctx context.Context, who Caller, in *share) (*body[wire.PlaceShared], error) {
		return answer(a.Places.SharePlace(ctx, who, in.ID, in.Body))
	})
	register(a, Operation{
		ID: "stop-place", Method: http.MethodDelete, Path: "/v1/sessions/{session}/place", Roles: devices, Status: http.StatusNoContent, Tag: tag,
		Summary: "Stop sharing this device's place, and take back every consent", Codes: inSession,
	}, func(ctx context.Context, who Caller, in *SessionPath) (*struct{}, error) {
		return done(a.Places.StopPlace(ctx, who, in.ID))
	})
	register(a, Operation{
		ID: "get-place-rules", Method: http.MethodGet, Path: "/v1/place/rules", Roles: devices, Tag: tag,
		Summary: "Who gets the party's place without a question each time, and who is never asked again",
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.PlaceRules], error) {
		return answer(a.Places.PlaceRules(ctx, who))
	})
	type rules struct{ Body wire.PlaceRules }
	register(a, Operation{
		ID: "set-place-rules", Method: http.MethodPut, Path: "/v1/place/rules", Roles: devices, Tag: tag,
		Summary:     "Settle it anew: all rules, and all who may never ask",
		Description: "The first rule that fits holds, from the next request or session on. What was agreed to in a running call ends with stop-place.",
		Codes:       []wire.Code{wire.CodeBadIdentity},
	}, func(ctx context.Context, who Caller, in *rules) (*body[wire.PlaceRules], error) {
		return answer(a.Places.SetPlaceRules(ctx, who, in.Body))
	})
	register(a, Operation{
		ID: "get-place-rules-here", Method: http.MethodGet, Path: "/v1/sessions/{session}/place/rules", Roles: devices, Tag: tag,
		Summary: "Which of the party's rules hold for the other members of a session", Codes: inSession,
	}, func(ctx context.Context, who Caller, in *SessionPath) (*body[wire.PlaceRulesHere], error) {
		return answer(a.Places.PlaceRulesHere(ctx, who, in.ID))
	})
	register(a, Operation{
		ID: "get-network-place", Method: http.MethodGet, Path: "/v1/sessions/{session}/place/network", Roles: devices, Tag: tag,
		Summary:     "Where the network says that the own party is, during the call",
		Description: "A network element has reported it. Nobody else sees it until it is shared: share-place with network.",
		Codes:       append([]wire.Code{wire.CodeNotFound}, inSession...),
	}, func(ctx context.Context, who Caller, in *SessionPath) (*body[wire.NetworkPlace], error) {
		return answer(a.Places.NetworkPlace(ctx, who, in.ID))
	})
	type picture struct {
		ID string `path:"picture" maxLength:"128"`
	}
	register(a, Operation{
		ID: "get-place-picture", Method: http.MethodGet, Path: "/v1/place-pictures/{picture}", Tag: tag,
		Summary:     "A map of a place (PNG), for devices that draw none",
		Description: "The address came with the place. It holds the place, sealed; whoever has it may see the picture, for 24 hours.",
		Codes:       []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, _ Caller, in *picture) (*raw, error) {
		b, err := a.Places.PlacePicture(ctx, in.ID)
		return rawAnswer("image/png", b, err)
	})
}
