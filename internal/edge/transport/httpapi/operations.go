package httpapi

import (
	"context"
	"net/http"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

var (
	devices   = []Role{RoleDevice}
	reporters = []Role{RoleDevice, RoleElement, RoleProvider, RoleOperator}
	operators = []Role{RoleOperator}
	binders   = []Role{RoleElement, RoleOperator}
)

func (a *API) enrolment() {
	type begin struct {
		Body wire.EnrolRequest
	}
	register(a, Operation{
		ID: "begin-enrolment", Method: http.MethodPost, Path: "/v1/enrolments", Status: http.StatusAccepted, Tag: "enrolment",
		Summary:     "Send a code to a number",
		Description: "The answer is the same whether or not the number is known here.",
		Codes:       []wire.Code{wire.CodeBadNumber, wire.CodeSenderFailed},
	}, func(ctx context.Context, _ Caller, in *begin) (*body[wire.Enrolment], error) {
		return answer(a.Enrolment.Begin(ctx, in.Body, remoteFrom(ctx)))
	})
	type confirm struct {
		ID   string `path:"id" maxLength:"64"`
		Body wire.EnrolConfirm
	}
	register(a, Operation{
		ID: "confirm-enrolment", Method: http.MethodPost, Path: "/v1/enrolments/{id}/confirm", Status: http.StatusCreated, Tag: "enrolment",
		Summary: "Give the code, and get a device id bound to the key",
		Codes:   []wire.Code{wire.CodeWrongCode, wire.CodeCodeExpired, wire.CodeNotFound},
	}, func(ctx context.Context, _ Caller, in *confirm) (*body[wire.DeviceInfo], error) {
		return answer(a.Enrolment.Confirm(ctx, in.ID, in.Body))
	})
	type bind struct {
		Body wire.BindingRequest
	}
	register(a, Operation{
		ID: "bind-device", Method: http.MethodPost, Path: "/v1/bindings", Roles: binders, Scope: ScopeBind, Status: http.StatusCreated, Tag: "enrolment",
		Summary: "Say that a device has a number, proved by the network, the SIM card, or an operator",
		Description: "For the telephone network's own entitlement server, which has seen the number in the access network or asked the SIM card " +
			"(EAP-AKA, GSMA TS.43), with the scope bind and the number in its ranges. The device then shows its key on each connection.",
		Codes: []wire.Code{wire.CodeBadNumber, wire.CodeRevoked, wire.CodeConflict},
	}, func(ctx context.Context, who Caller, in *bind) (*body[wire.DeviceInfo], error) {
		return answer(a.Enrolment.Bind(ctx, who, in.Body))
	})
	register(a, Operation{
		ID: "challenge", Method: http.MethodGet, Path: "/v1/challenge", Tag: "enrolment",
		Summary: "A nonce for the device to sign",
	}, func(ctx context.Context, _ Caller, _ *struct{}) (*body[wire.Challenge], error) {
		nonce, valid := a.Devices.Challenge()
		return answer(wire.Challenge{Nonce: nonce, TimeoutSeconds: int(valid.Seconds())}, nil)
	})
	type token struct {
		Body wire.TokenRequest
	}
	register(a, Operation{
		ID: "token", Method: http.MethodPost, Path: "/v1/tokens", Tag: "enrolment",
		Summary: "Exchange a signed nonce for a short-lived bearer token",
		Codes:   []wire.Code{wire.CodeUnauthenticated, wire.CodeBindingExpired},
	}, func(ctx context.Context, _ Caller, in *token) (*body[wire.Token], error) {
		return answer(a.Devices.Token(ctx, in.Body))
	})
}

func (a *API) devices() {
	register(a, Operation{
		ID: "get-device", Method: http.MethodGet, Path: "/v1/device", Roles: devices, Tag: "device",
		Summary: "What the server knows of this device",
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.DeviceInfo], error) {
		return answer(a.Devices.Device(ctx, who))
	})
	type change struct {
		Body wire.DeviceChange
	}
	register(a, Operation{
		ID: "change-device", Method: http.MethodPatch, Path: "/v1/device", Roles: devices, Tag: "device",
		Summary: "Change this device's name or application id",
	}, func(ctx context.Context, who Caller, in *change) (*body[wire.DeviceInfo], error) {
		return answer(a.Devices.Change(ctx, who, in.Body))
	})
	register(a, Operation{
		ID: "remove-device", Method: http.MethodDelete, Path: "/v1/device", Roles: devices, Status: http.StatusNoContent, Tag: "device",
		Summary: "Forget this device; its connections close",
	}, func(ctx context.Context, who Caller, _ *struct{}) (*struct{}, error) {
		return done(a.Devices.Remove(ctx, who))
	})
	register(a, Operation{
		ID: "softphone", Method: http.MethodGet, Path: "/v1/softphone", Roles: devices, Tag: "device",
		Summary: "How this device makes and takes calls as its own number, by SIP over WebSocket",
		Codes:   []wire.Code{wire.CodeNotFound, wire.CodeBindingExpired},
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.Softphone], error) {
		return answer(a.Devices.Softphone(ctx, who))
	})
}

func (a *API) calls() {
	type report struct {
		Body wire.Report
	}
	register(a, Operation{
		ID: "report", Method: http.MethodPost, Path: "/v1/reports", Roles: reporters, Scope: ScopeReport, Tag: "call",
		Summary: "Report a call: it rings, is up, is held or is over",
		Description: "Idempotent by the reporter and the call's reference. The answer names the session once there is one; " +
			"\"no match yet\", \"ambiguous\" and \"no such call\" are one answer: none.",
		Codes: []wire.Code{wire.CodeNotYourParty, wire.CodeBadIdentity, wire.CodeBindingExpired, wire.CodeStorageFull},
	}, func(ctx context.Context, who Caller, in *report) (*body[wire.Ack], error) {
		return answer(a.Calls.Report(ctx, who, in.Body))
	})
	type ask struct {
		Body wire.Ask
	}
	register(a, Operation{
		ID: "ask-session", Method: http.MethodPost, Path: "/v1/sessions", Roles: devices, Tag: "call",
		Summary:     "Ask for a session beside a call, at the phone or at a coupled device",
		Description: "It opens at once if the other side has reported the call, and otherwise asks the other side. The answer is the same as to a report.",
		Codes:       []wire.Code{wire.CodeNotYourParty, wire.CodeBadIdentity, wire.CodeBindingExpired, wire.CodeStorageFull},
	}, func(ctx context.Context, who Caller, in *ask) (*body[wire.Ack], error) {
		return answer(a.Calls.Ask(ctx, who, in.Body))
	})
	register(a, Operation{
		ID: "list-calls", Method: http.MethodGet, Path: "/v1/calls", Roles: devices, Tag: "call",
		Summary: "The calls of this device's party, with their sessions",
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.CallList], error) {
		l, err := a.Calls.Calls(ctx, who)
		return answer(wire.CallList{Calls: l}, err)
	})
	type reply struct {
		Body wire.Answer
	}
	register(a, Operation{
		ID: "answer-invitation", Method: http.MethodPost, Path: "/v1/invitations/answer", Roles: devices, Status: http.StatusNoContent, Tag: "call",
		Summary: "Accept or decline an invitation", Codes: []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *reply) (*struct{}, error) {
		return done(a.Calls.Answer(ctx, who, in.Body))
	})
	type words struct {
		Body wire.Confirm
	}
	register(a, Operation{
		ID: "confirm-words", Method: http.MethodPost, Path: "/v1/invitations/confirm", Roles: devices, Status: http.StatusNoContent, Tag: "call",
		Summary: "Type the words heard in the call", Codes: []wire.Code{wire.CodeNotFound, wire.CodeWrongCode},
	}, func(ctx context.Context, who Caller, in *words) (*struct{}, error) {
		return done(a.Calls.Confirm(ctx, who, in.Body))
	})
}

// SessionPath is the session in an operation's path. It is exported since huma passes over
// embedded types that are not.
type SessionPath struct {
	ID wire.SessionID `path:"session" maxLength:"64"`
}

func (a *API) sessions() {
	member := []wire.Code{wire.CodeNotMember}
	register(a, Operation{
		ID: "list-sessions", Method: http.MethodGet, Path: "/v1/sessions", Roles: devices, Tag: "session",
		Summary: "The sessions of this device that are not closed",
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.SessionList], error) {
		l, err := a.Sessions.Sessions(ctx, who)
		return answer(wire.SessionList{Sessions: l}, err)
	})
	register(a, Operation{
		ID: "get-session", Method: http.MethodGet, Path: "/v1/sessions/{session}", Roles: devices, Tag: "session",
		Summary: "One session", Codes: member,
	}, func(ctx context.Context, who Caller, in *SessionPath) (*body[wire.SessionState], error) {
		return answer(a.Sessions.Session(ctx, who, in.ID))
	})
	type page struct {
		SessionPath
		After uint64 `query:"after" doc:"Only messages with a greater sequence"`
		Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	}
	register(a, Operation{
		ID: "list-messages", Method: http.MethodGet, Path: "/v1/sessions/{session}/messages", Roles: devices, Tag: "session",
		Summary: "Messages of a session, in order", Codes: member,
	}, func(ctx context.Context, who Caller, in *page) (*body[wire.MessageList], error) {
		return answer(a.Sessions.Messages(ctx, who, in.ID, in.After, in.Limit))
	})
	type send struct {
		SessionPath
		Body wire.SendRequest
	}
	register(a, Operation{
		ID: "send", Method: http.MethodPost, Path: "/v1/sessions/{session}/messages", Roles: devices, Status: http.StatusCreated, Tag: "session",
		Summary: "Send a message to the other members", Description: "Answered when it is stored. Repeating it with the same id is harmless.",
		Codes: []wire.Code{wire.CodeNotMember, wire.CodeSessionClosed, wire.CodeLogFull, wire.CodeStorageFull, wire.CodeUncertain},
	}, func(ctx context.Context, who Caller, in *send) (*body[wire.Sent], error) {
		return answer(a.Sessions.Send(ctx, who, in.ID, in.Body))
	})
	type extend struct {
		SessionPath
		Body wire.Extend
	}
	register(a, Operation{
		ID: "extend-session", Method: http.MethodPost, Path: "/v1/sessions/{session}/extend", Roles: devices, Tag: "session",
		Summary: "Keep a session open longer after the call", Codes: append(member, wire.CodeSessionClosed),
	}, func(ctx context.Context, who Caller, in *extend) (*body[wire.SessionState], error) {
		return answer(a.Sessions.Extend(ctx, who, in.ID, in.Body))
	})
	type leave struct {
		SessionPath
		Body wire.Leave
	}
	register(a, Operation{
		ID: "leave-session", Method: http.MethodPost, Path: "/v1/sessions/{session}/leave", Roles: devices, Status: http.StatusNoContent, Tag: "session",
		Summary: "Leave a session, and block its other parties if wanted", Codes: member,
	}, func(ctx context.Context, who Caller, in *leave) (*struct{}, error) {
		return done(a.Sessions.Leave(ctx, who, in.ID, in.Body))
	})
}

func parseIdentity(field, s string) (tel.Identity, error) {
	id, err := tel.ParseIdentity(s, "")
	if err != nil {
		p := wire.NewProblem(wire.CodeBadIdentity, "%v", err)
		p.Errors = []wire.FieldError{{Location: field, Message: err.Error()}}
		return id, p
	}
	return id, nil
}
