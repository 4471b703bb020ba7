package httpapi

import (
	"context"
	"net/http"

	"github.com/tandem-call/tandem/wire"
)

// Guests are parties without a client, who are let in by a link; and how parties are reached.
type Guests interface {
	Enter(ctx context.Context, r wire.GuestRequest) (wire.DeviceInfo, error)
	Installed(ctx context.Context, who Caller, id wire.PushID) (wire.Ack, error)
	Reach(ctx context.Context, who Caller) (wire.Reach, error)
	SetReach(ctx context.Context, who Caller, r wire.Reach) (wire.Reach, error)
	// TextCame and TextReported are what the operator's gateway tells.
	TextCame(ctx context.Context, token, from, text string) error
	TextReported(ctx context.Context, token string, id wire.PushID, status string) error
	// TextPosted and ReportPosted are the same as providers post it.
	TextPosted(ctx context.Context, token, contentType string, body []byte) error
	ReportPosted(ctx context.Context, token string, id wire.PushID, contentType string, body []byte) error
}

func (a *API) guests() {
	const tag = "guest"
	type enter struct {
		Body wire.GuestRequest
	}
	register(a, Operation{
		ID: "enter-as-guest", Method: http.MethodPost, Path: "/v1/guests", Status: http.StatusCreated, Tag: tag,
		Summary: "Open a link that came by text message, and be in the session as a guest",
		Description: "The link serves once, for one key; the same key may repeat it. The guest is a device with a binding of the kind link: it is in " +
			"this session, until that is closed, and nowhere else.",
		Codes: []wire.Code{wire.CodeCodeExpired, wire.CodeConflict, wire.CodeUnauthenticated, wire.CodeRevoked, wire.CodeNotFound},
	}, func(ctx context.Context, _ Caller, in *enter) (*body[wire.DeviceInfo], error) {
		return answer(a.Guests.Enter(ctx, in.Body))
	})
	type installed struct {
		Body wire.LinkInstalled
	}
	register(a, Operation{
		ID: "link-installed", Method: http.MethodPost, Path: "/v1/guests/installed", Roles: devices, Tag: tag,
		Summary: "Say that this device was installed by way of a link: it joins the session, still during the call",
		Codes:   []wire.Code{wire.CodeCodeExpired, wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *installed) (*body[wire.Ack], error) {
		return answer(a.Guests.Installed(ctx, who, in.Body.Link))
	})
	register(a, Operation{
		ID: "get-reach", Method: http.MethodGet, Path: "/v1/reach", Roles: devices, Tag: tag,
		Summary: "How this device's party is invited when it is not connected",
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.Reach], error) {
		return answer(a.Guests.Reach(ctx, who))
	})
	type reach struct {
		Body wire.Reach
	}
	register(a, Operation{
		ID: "set-reach", Method: http.MethodPut, Path: "/v1/reach", Roles: devices, Tag: tag,
		Summary: "Change how this device's party is invited, and in which order",
	}, func(ctx context.Context, who Caller, in *reach) (*body[wire.Reach], error) {
		return answer(a.Guests.SetReach(ctx, who, in.Body))
	})
	type came struct {
		Token string `query:"token" required:"true" maxLength:"256" doc:"texts.token"`
		From  string `query:"from" required:"true" maxLength:"64" doc:"Number of whoever sent it"`
		Text  string `query:"text" maxLength:"2048"`
	}
	register(a, Operation{
		ID: "text-came", Method: http.MethodGet, Path: "/v1/texts/inbound", Status: http.StatusNoContent, Tag: tag,
		Summary:     "For the operator's gateway: a text message came",
		Description: "STOP, UNSUBSCRIBE and their like end invitations to the number, START takes that back. Anything else is passed over.",
		Codes:       []wire.Code{wire.CodeUnauthenticated, wire.CodeBadNumber},
	}, func(ctx context.Context, _ Caller, in *came) (*struct{}, error) {
		return done(a.Guests.TextCame(ctx, in.Token, in.From, in.Text))
	})
	type report struct {
		Token  string      `query:"token" required:"true" maxLength:"256" doc:"texts.token"`
		ID     wire.PushID `query:"id" required:"true" maxLength:"64"`
		Status string      `query:"status" required:"true" maxLength:"64" doc:"As Kannel writes it: 1 delivered, 2 failed, 4 queued, 8 at the network, 16 rejected; or in a word"`
	}
	register(a, Operation{
		ID: "text-reported", Method: http.MethodGet, Path: "/v1/texts/report", Status: http.StatusNoContent, Tag: tag,
		Summary: "For the operator's gateway: whether a text message was delivered",
		Codes:   []wire.Code{wire.CodeUnauthenticated},
	}, func(ctx context.Context, _ Caller, in *report) (*struct{}, error) {
		return done(a.Guests.TextReported(ctx, in.Token, in.ID, in.Status))
	})
	type posted struct {
		Token       string `query:"token" required:"true" maxLength:"256" doc:"texts.token"`
		ContentType string `header:"Content-Type" maxLength:"128"`
		RawBody     []byte `doc:"A form or JSON. Who sent it is in from, msisdn, originator or sender; the text in body, text, message, content or payload"`
	}
	register(a, Operation{
		ID: "text-posted", Method: http.MethodPost, Path: "/v1/texts/inbound", Status: http.StatusNoContent, Tag: tag,
		Summary: "For the operator's gateway: a text message came, as providers post it",
		Codes:   []wire.Code{wire.CodeUnauthenticated, wire.CodeBadNumber, wire.CodeTooLarge, wire.CodeUnsupportedType},
	}, func(ctx context.Context, _ Caller, in *posted) (*struct{}, error) {
		return done(a.Guests.TextPosted(ctx, in.Token, in.ContentType, in.RawBody))
	})
	type reported struct {
		Token       string      `query:"token" required:"true" maxLength:"256" doc:"texts.token"`
		ID          wire.PushID `query:"id" required:"true" maxLength:"64"`
		ContentType string      `header:"Content-Type" maxLength:"128"`
		RawBody     []byte      `doc:"A form or JSON. What became of it is in MessageStatus, message_status, status, groupName or delivery_status"`
	}
	register(a, Operation{
		ID: "report-posted", Method: http.MethodPost, Path: "/v1/texts/report", Status: http.StatusNoContent, Tag: tag,
		Summary: "For the operator's gateway: whether a text message was delivered, as providers post it",
		Codes:   []wire.Code{wire.CodeUnauthenticated, wire.CodeTooLarge, wire.CodeUnsupportedType},
	}, func(ctx context.Context, _ Caller, in *reported) (*struct{}, error) {
		return done(a.Guests.ReportPosted(ctx, in.Token, in.ID, in.ContentType, in.RawBody))
	})
}
