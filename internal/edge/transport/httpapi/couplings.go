package httpapi

import (
	"context"
	"net/http"

	"github.com/tandem-call/tandem/wire"
)

var (
	ownersAndOperators = []Role{RoleDevice, RoleOperator}
	vouchers           = []Role{RoleDevice, RoleElement, RoleProvider, RoleOperator}
)

func (a *API) couplings() {
	const tag = "coupling"
	type offer struct {
		Body wire.CouplingOfferRequest
	}
	register(a, Operation{
		ID: "offer-coupling", Method: http.MethodPost, Path: "/v1/couplings/offers", Roles: ownersAndOperators, Scope: ScopeCouplings, Status: http.StatusCreated, Tag: tag,
		Summary:     "A code to type at a device that is to carry data for a telephone",
		Description: "It serves once. An operator names the number; a device vouches for the number that it has proved itself.",
		Codes:       []wire.Code{wire.CodeBadNumber, wire.CodeSecondHand},
	}, func(ctx context.Context, who Caller, in *offer) (*body[wire.CouplingOffer], error) {
		return answer(a.Couplings.Offer(ctx, who, in.Body))
	})
	type begin struct {
		Body wire.CouplingRequest
	}
	register(a, Operation{
		ID: "request-coupling", Method: http.MethodPost, Path: "/v1/couplings/requests", Status: http.StatusCreated, Tag: tag,
		Summary:     "Begin to couple a device with a telephone",
		Description: "The answer has a code to be typed at the phone, told to the operator, or keyed in a call to a service number.",
	}, func(ctx context.Context, _ Caller, in *begin) (*body[wire.CouplingPending], error) {
		return answer(a.Couplings.Begin(ctx, in.Body, remoteFrom(ctx)))
	})
	type claim struct {
		ID   string `path:"id" maxLength:"64"`
		Body wire.CouplingClaim
	}
	register(a, Operation{
		ID: "claim-coupling", Method: http.MethodPost, Path: "/v1/couplings/requests/{id}/claim", Status: http.StatusCreated, Tag: tag,
		Summary:     "Become a coupled device",
		Description: "With the code shown at the phone at once; without, as soon as somebody has vouched for the device, and coupling-pending until then.",
		Codes:       []wire.Code{wire.CodeWrongCode, wire.CodeCodeExpired, wire.CodeCouplingPending, wire.CodeConflict, wire.CodeRevoked, wire.CodeUnauthenticated},
	}, func(ctx context.Context, _ Caller, in *claim) (*body[wire.DeviceInfo], error) {
		return answer(a.Couplings.Claim(ctx, in.ID, in.Body))
	})
	type look struct {
		Body wire.CouplingLook
	}
	register(a, Operation{
		ID: "look-coupling", Method: http.MethodPost, Path: "/v1/couplings/look", Roles: ownersAndOperators, Scope: ScopeCouplings, Tag: tag,
		Summary: "Which device shows this code?", Codes: []wire.Code{wire.CodeWrongCode, wire.CodeSecondHand},
	}, func(ctx context.Context, who Caller, in *look) (*body[wire.CouplingSeen], error) {
		return answer(a.Couplings.Look(ctx, who, in.Body))
	})
	type accept struct {
		Body wire.CouplingAccept
	}
	register(a, Operation{
		ID: "accept-coupling", Method: http.MethodPost, Path: "/v1/couplings/accept", Roles: vouchers, Scope: ScopeCouplings, Tag: tag,
		Summary:     "Vouch for the device that shows this code",
		Description: "By a device that has proved the number, by an operator, or by an element on whose service number the code was keyed: it names the number that the network showed.",
		Codes:       []wire.Code{wire.CodeWrongCode, wire.CodeSecondHand, wire.CodeBadNumber},
	}, func(ctx context.Context, who Caller, in *accept) (*body[wire.CouplingSeen], error) {
		return answer(a.Couplings.Accept(ctx, who, in.Body))
	})
	type list struct {
		Number string `query:"number" maxLength:"64" doc:"Of this number only; an operator must name one"`
	}
	register(a, Operation{
		ID: "list-couplings", Method: http.MethodGet, Path: "/v1/couplings", Roles: ownersAndOperators, Scope: ScopeCouplings, Tag: tag,
		Summary: "The devices that carry data for the party's telephones", Codes: []wire.Code{wire.CodeBadNumber},
	}, func(ctx context.Context, who Caller, in *list) (*body[wire.CouplingList], error) {
		l, err := a.Couplings.Couplings(ctx, who, in.Number)
		return answer(wire.CouplingList{Couplings: l}, err)
	})
	type one struct {
		ID     string `path:"id" maxLength:"64"`
		Number string `query:"number" maxLength:"64" doc:"An operator must name the telephone's number"`
	}
	register(a, Operation{
		ID: "end-coupling", Method: http.MethodDelete, Path: "/v1/couplings/{id}", Roles: ownersAndOperators, Scope: ScopeCouplings, Status: http.StatusNoContent, Tag: tag,
		Summary: "End a coupling: the device's connections close, and it leaves the sessions",
		Codes:   []wire.Code{wire.CodeNotFound, wire.CodeSecondHand, wire.CodeBadNumber},
	}, func(ctx context.Context, who Caller, in *one) (*struct{}, error) {
		return done(a.Couplings.EndCoupling(ctx, who, in.Number, in.ID))
	})
	type near struct {
		ID   string `path:"id" maxLength:"64"`
		Body wire.CouplingNear
	}
	register(a, Operation{
		ID: "near-coupling", Method: http.MethodPost, Path: "/v1/couplings/{id}/near", Roles: devices, Tag: tag,
		Summary:     "Say that this side of a temporary coupling is here",
		Description: "It is renewed if the phone's side has the other on a local link, or both were heard of from one network within a lease.",
		Codes:       []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *near) (*body[wire.Coupling], error) {
		return answer(a.Couplings.Near(ctx, who, in.ID, in.Body, remoteFrom(ctx)))
	})
	type here struct {
		Body wire.TokenRequest
	}
	register(a, Operation{
		ID: "here", Method: http.MethodPost, Path: "/v1/couplings/here", Tag: tag,
		Summary:     "The same for a coupled device that has been away, which gets no token",
		Description: "It signs a challenge, as for a token. The answer is its couplings.",
		Codes:       []wire.Code{wire.CodeUnauthenticated, wire.CodeRevoked},
	}, func(ctx context.Context, _ Caller, in *here) (*body[wire.CouplingList], error) {
		l, err := a.Couplings.Here(ctx, in.Body, remoteFrom(ctx))
		return answer(wire.CouplingList{Couplings: l}, err)
	})
	register(a, Operation{
		ID: "list-party-devices", Method: http.MethodGet, Path: "/v1/party/devices", Roles: devices, Tag: tag,
		Summary: "The devices of this device's party, and what each does when a session opens",
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.PartyMemberList], error) {
		l, err := a.Couplings.PartyDevices(ctx, who)
		return answer(wire.PartyMemberList{Devices: l}, err)
	})
	type choose struct {
		Device wire.DeviceID `path:"device" maxLength:"64"`
		Body   wire.PartyMemberChange
	}
	register(a, Operation{
		ID: "choose-party-device", Method: http.MethodPatch, Path: "/v1/party/devices/{device}", Roles: devices, Tag: tag,
		Summary: "Say what one of the party's devices does when a session opens: it joins, is only told, or hears nothing",
		Codes:   []wire.Code{wire.CodeNotFound, wire.CodeSecondHand},
	}, func(ctx context.Context, who Caller, in *choose) (*body[wire.PartyMember], error) {
		return answer(a.Couplings.Choose(ctx, who, in.Device, in.Body))
	})
	register(a, Operation{
		ID: "join-session", Method: http.MethodPost, Path: "/v1/sessions/{session}/join", Roles: devices, Tag: "session",
		Summary: "Become a member of a session that the device's party is in", Codes: []wire.Code{wire.CodeNotMember, wire.CodeSessionClosed, wire.CodeSessionFull},
	}, func(ctx context.Context, who Caller, in *SessionPath) (*body[wire.SessionState], error) {
		return answer(a.Couplings.Join(ctx, who, in.ID))
	})
}
