package httpapi

import (
	"context"
	"net/http"

	"github.com/tandem-call/tandem/wire"
)

func (a *API) pushes() {
	const tag = "push"
	register(a, Operation{
		ID: "push-key", Method: http.MethodGet, Path: "/v1/push-key", Tag: tag,
		Summary: "The server's public key for Web Push: applicationServerKey",
	}, func(context.Context, Caller, *struct{}) (*body[wire.PushKey], error) {
		return answer(wire.PushKey{Key: a.Pushes.Key()}, nil)
	})
	type byID struct {
		ID wire.PushID `path:"id" maxLength:"64"`
	}
	register(a, Operation{
		ID: "get-push", Method: http.MethodGet, Path: "/v1/pushes/{id}", Tag: tag,
		Summary:     "What a push notification is about",
		Description: "The identifier that came with the push says which device is asking; no token is needed. It ends with its matter.",
		Codes:       []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, _ Caller, in *byID) (*body[wire.Push], error) {
		return answer(a.Pushes.Push(ctx, in.ID))
	})
	type reply struct {
		ID   wire.PushID `path:"id" maxLength:"64"`
		Body wire.PushAnswer
	}
	register(a, Operation{
		ID: "answer-push", Method: http.MethodPost, Path: "/v1/pushes/{id}/answer", Status: http.StatusNoContent, Tag: tag,
		Summary:     "Accept or decline the invitation that a push is about, from the notification itself",
		Description: "As get-push, without a token.",
		Codes:       []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, _ Caller, in *reply) (*struct{}, error) {
		return done(a.Pushes.AnswerPush(ctx, in.ID, in.Body))
	})
	type join struct {
		ID   wire.PushID `path:"id" maxLength:"64"`
		Body wire.PushJoin
	}
	register(a, Operation{
		ID: "join-push", Method: http.MethodPost, Path: "/v1/pushes/{id}/join", Roles: devices, Tag: tag,
		Summary: "Join the session of the invitation that woke this device, without asking its user",
		Description: "For a device whose user has set it so (unasked). Its report is its own evidence of an active call; the other party " +
			"may be left out, and then it is the one that the push is about.",
		Codes: []wire.Code{wire.CodeNotFound, wire.CodeConflict, wire.CodeBadIdentity},
	}, func(ctx context.Context, who Caller, in *join) (*body[wire.Ack], error) {
		return answer(a.Pushes.JoinPush(ctx, who, in.ID, in.Body))
	})
	type test struct {
		Body wire.PushTestRequest
	}
	register(a, Operation{
		ID: "test-push", Method: http.MethodPost, Path: "/v1/operator/push-tests", Roles: operators, Tag: tag,
		Summary: "Wake a party's devices, and say what came of it", Codes: []wire.Code{wire.CodeBadIdentity},
	}, func(ctx context.Context, who Caller, in *test) (*body[wire.PushTestedList], error) {
		of, err := parseIdentity("body.number", in.Body.Number)
		if err != nil {
			return nil, err
		}
		l, err := a.Pushes.TestPush(ctx, who, of)
		return answer(wire.PushTestedList{Devices: l}, err)
	})
}
