package httpapi

import (
	"context"
	"mime"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// CardFormat is a form of contact card, by its media type.
type CardFormat string

// Forms of cards.
const (
	VCard CardFormat = "text/vcard"             // RFC 6350
	JCard CardFormat = "application/vcard+json" // RFC 7095
)

// Profiles are what parties let others know, and the address books where they keep it (SPEC G).
type Profiles interface {
	Profile(ctx context.Context, who Caller) (wire.Profile, error)
	ChangeProfile(ctx context.Context, who Caller, c wire.ProfileChange) (wire.ProfileChanged, error)
	RemoveProfile(ctx context.Context, who Caller) error
	// ReadSource reads the caller's profile at its address now.
	ReadSource(ctx context.Context, who Caller) (wire.Profile, error)
	// ProveEmail sends a code to an e-mail address, by which ConfirmEmail makes it the caller's party's.
	ProveEmail(ctx context.Context, who Caller, address tel.Identity) (wire.EmailProof, error)
	ConfirmEmail(ctx context.Context, who Caller, address tel.Identity, code string) error
	// WithdrawEmail takes that back.
	WithdrawEmail(ctx context.Context, who Caller, address tel.Identity) error
	// Preview says what a party sees of the caller's profile; the zero one is somebody unknown.
	Preview(ctx context.Context, who Caller, other tel.Identity) (wire.ProfileView, error)
	SetPicture(ctx context.Context, who Caller, field string, data []byte) (wire.Profile, error)
	Picture(ctx context.Context, who Caller, id string) (mediaType string, data []byte, err error)
	TakeCard(ctx context.Context, who Caller, f CardFormat, base uint64, data []byte) (wire.ProfileChanged, error)
	// Card writes the caller's profile; with of, what that party sees of it.
	Card(ctx context.Context, who Caller, f CardFormat, of tel.Identity) ([]byte, error)
	Ledger(ctx context.Context, who Caller) (wire.ProfileLedger, error)
	Withdraw(ctx context.Context, who Caller, receiver string) error
	SendProfile(ctx context.Context, who Caller, id wire.SessionID, q wire.ProfileSend) (wire.ProfileSent, error)
	HeldProfile(ctx context.Context, who Caller, id wire.SessionID, q wire.ProfileHeld) (wire.ProfileMissing, error)

	// Contacts lists the caller's address book; with of, who has that identity.
	Contacts(ctx context.Context, who Caller, of tel.Identity) ([]wire.Contact, error)
	KeepContact(ctx context.Context, who Caller, owner string) (wire.Contact, error)
	ImportContacts(ctx context.Context, who Caller, cards []byte) ([]wire.Contact, error)
	// ContactCards writes one contact, or all, as vCards.
	ContactCards(ctx context.Context, who Caller, id string) ([]byte, error)
	RemoveContact(ctx context.Context, who Caller, id string) error
	Rules(ctx context.Context, who Caller) ([]wire.ContactRule, error)
	SetRule(ctx context.Context, who Caller, r wire.ContactRule) error
}

// raw is an answer that is no JSON.
type raw struct {
	ContentType  string `header:"Content-Type"`
	CacheControl string `header:"Cache-Control"`
	Body         []byte
}

func rawAnswer(kind string, b []byte, err error) (*raw, error) {
	if err != nil {
		return nil, err
	}
	return &raw{kind, "private, no-store", b}, nil
}

func optionalIdentity(where, s string) (tel.Identity, error) {
	if s == "" {
		return tel.Identity{}, nil
	}
	return parseIdentity(where, s)
}

// bytesOf describes a body that is no JSON.
func bytesOf(types ...string) *huma.RequestBody {
	b := &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{}}
	for _, t := range types {
		b.Content[t] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	}
	return b
}

// mediaType of a header, one of those given; the first where there is none.
func mediaType(header string, types ...string) (string, error) {
	if header == "" {
		return types[0], nil
	}
	got, _, err := mime.ParseMediaType(header)
	for _, t := range types {
		if err == nil && got == t {
			return t, nil
		}
	}
	return "", wire.NewProblem(wire.CodeUnsupportedType, "send %v", types)
}

func (a *API) profiles() {
	const tag = "profile"
	register(a, Operation{
		ID: "get-profile", Method: http.MethodGet, Path: "/v1/profile", Roles: devices, Tag: tag,
		Summary: "The party's own profile: what others may see during calls",
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.Profile], error) {
		return answer(a.Profiles.Profile(ctx, who))
	})
	type change struct {
		Body wire.ProfileChange
	}
	register(a, Operation{
		ID: "change-profile", Method: http.MethodPatch, Path: "/v1/profile", Roles: devices, Tag: tag,
		Summary:     "Change the profile, or synchronise it with the device's copy",
		Description: "With base, what others have changed since that version is not overwritten, but comes back as a conflict.",
	}, func(ctx context.Context, who Caller, in *change) (*body[wire.ProfileChanged], error) {
		return answer(a.Profiles.ChangeProfile(ctx, who, in.Body))
	})
	register(a, Operation{
		ID: "remove-profile", Method: http.MethodDelete, Path: "/v1/profile", Roles: devices, Status: http.StatusNoContent, Tag: tag,
		Summary: "Remove the profile and its pictures",
	}, func(ctx context.Context, who Caller, _ *struct{}) (*struct{}, error) {
		return done(a.Profiles.RemoveProfile(ctx, who))
	})
	register(a, Operation{
		ID: "read-profile-source", Method: http.MethodPost, Path: "/v1/profile/source", Roles: devices, Tag: tag,
		Summary:     "Read the profile at its address now",
		Description: "The server reads it by itself when a session opens and the last time is more than an hour ago.",
		Codes:       []wire.Code{wire.CodeBadRequest, wire.CodeTooLarge, wire.CodeUnsupportedType},
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.Profile], error) {
		return answer(a.Profiles.ReadSource(ctx, who))
	})
	type address struct {
		Body wire.EmailProofRequest
	}
	register(a, Operation{
		ID: "prove-email", Method: http.MethodPost, Path: "/v1/profile/email", Roles: devices, Tag: tag,
		Summary:     "Have a code sent to an e-mail address, to prove that it is one's own",
		Description: "The code is sent to the address; one that was sent before is worth nothing any more. An address gets 5 an hour and 10 a day, a party 10 a day.",
		Codes:       []wire.Code{wire.CodeBadIdentity, wire.CodeTooMany, wire.CodeSenderFailed, wire.CodeForbidden, wire.CodeSecondHand},
	}, func(ctx context.Context, who Caller, in *address) (*body[wire.EmailProof], error) {
		id, err := parseIdentity("body.address", in.Body.Address)
		if err != nil {
			return nil, err
		}
		return answer(a.Profiles.ProveEmail(ctx, who, id))
	})
	type confirm struct {
		Body wire.EmailConfirm
	}
	register(a, Operation{
		ID: "confirm-email", Method: http.MethodPut, Path: "/v1/profile/email", Roles: devices, Status: http.StatusNoContent, Tag: tag,
		Summary:     "Prove an e-mail address with the code that was sent there",
		Description: "It is one of the party's identities from then on, as long as proofs of numbers hold, and no longer of whoever proved it before. A code has 3 tries.",
		Codes:       []wire.Code{wire.CodeBadIdentity, wire.CodeWrongCode, wire.CodeCodeExpired, wire.CodeConflict, wire.CodeForbidden, wire.CodeSecondHand},
	}, func(ctx context.Context, who Caller, in *confirm) (*struct{}, error) {
		id, err := parseIdentity("body.address", in.Body.Address)
		if err != nil {
			return nil, err
		}
		return done(a.Profiles.ConfirmEmail(ctx, who, id, in.Body.Code))
	})
	type withdrawn struct {
		Address string `query:"address" required:"true" maxLength:"320" doc:"E-mail address, alice@example.com"`
	}
	register(a, Operation{
		ID: "withdraw-email", Method: http.MethodDelete, Path: "/v1/profile/email", Roles: devices, Status: http.StatusNoContent, Tag: tag,
		Summary: "Take back that an e-mail address is the party's",
		Description: "It is one of the party's identities no more, and those who hold it in the profile see that it is only claimed: at once in a session that is open, " +
			"else in the next. What an operator has linked, the operator unlinks.",
		Codes: []wire.Code{wire.CodeBadIdentity, wire.CodeNotFound, wire.CodeConflict, wire.CodeSecondHand},
	}, func(ctx context.Context, who Caller, in *withdrawn) (*struct{}, error) {
		id, err := parseIdentity("query.address", in.Address)
		if err != nil {
			return nil, err
		}
		return done(a.Profiles.WithdrawEmail(ctx, who, id))
	})
	type other struct {
		For string `query:"for" maxLength:"512" doc:"The other party; left out: somebody unknown"`
	}
	register(a, Operation{
		ID: "preview-profile", Method: http.MethodGet, Path: "/v1/profile/preview", Roles: devices, Tag: tag,
		Summary: "What will they see?", Codes: []wire.Code{wire.CodeBadIdentity},
	}, func(ctx context.Context, who Caller, in *other) (*body[wire.ProfileView], error) {
		id, err := optionalIdentity("for", in.For)
		if err != nil {
			return nil, err
		}
		return answer(a.Profiles.Preview(ctx, who, id))
	})
	type picture struct {
		Field   string `query:"field" maxLength:"64" default:"photo" doc:"Id of the field"`
		RawBody []byte
	}
	register(a, Operation{
		ID: "set-profile-picture", Method: http.MethodPut, Path: "/v1/profile/picture", Roles: devices, Tag: tag, MaxBody: wire.MaxProfilePicture,
		Summary:     "Set a picture of the profile",
		Description: "JPEG, PNG, GIF or WebP; where and with what it was taken is removed from JPEG and PNG.",
		Request:     bytesOf("image/jpeg", "image/png", "image/gif", "image/webp"),
		Codes:       []wire.Code{wire.CodeUnsupportedType, wire.CodeTooLarge, wire.CodeStorageFull},
	}, func(ctx context.Context, who Caller, in *picture) (*body[wire.Profile], error) {
		return answer(a.Profiles.SetPicture(ctx, who, in.Field, in.RawBody))
	})
	type pictureID struct {
		ID string `path:"id" maxLength:"64"`
	}
	register(a, Operation{
		ID: "get-picture", Method: http.MethodGet, Path: "/v1/pictures/{id}", Roles: devices, Tag: tag,
		Summary: "A picture of a profile, for its owner and for devices that were sent it", Codes: []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *pictureID) (*raw, error) {
		kind, b, err := a.Profiles.Picture(ctx, who, in.ID)
		return rawAnswer(kind, b, err)
	})
	type takeCard struct {
		ContentType string `header:"Content-Type"`
		Base        uint64 `query:"base" doc:"As in change-profile"`
		RawBody     []byte
	}
	register(a, Operation{
		ID: "take-card", Method: http.MethodPut, Path: "/v1/profile/card", Roles: devices, Tag: tag,
		Summary:     "Take a contact card's fields into the profile",
		Description: "A vCard 4.0, 3.0 or 2.1, or a jCard, with the picture in it. Fields that the card has are replaced, others stay.",
		Request:     bytesOf(string(VCard), string(JCard)),
		Codes:       []wire.Code{wire.CodeUnsupportedType, wire.CodeTooLarge},
	}, func(ctx context.Context, who Caller, in *takeCard) (*body[wire.ProfileChanged], error) {
		f, err := mediaType(in.ContentType, string(VCard), string(JCard))
		if err != nil {
			return nil, err
		}
		return answer(a.Profiles.TakeCard(ctx, who, CardFormat(f), in.Base, in.RawBody))
	})
	type card struct {
		Format string `query:"format" enum:"vcard,jcard" default:"vcard"`
		For    string `query:"for" maxLength:"512" doc:"Only what this party sees"`
	}
	register(a, Operation{
		ID: "get-card", Method: http.MethodGet, Path: "/v1/profile/card", Roles: devices, Tag: tag,
		Summary: "The profile as a vCard 4.0 or jCard", Codes: []wire.Code{wire.CodeBadIdentity},
	}, func(ctx context.Context, who Caller, in *card) (*raw, error) {
		id, err := optionalIdentity("for", in.For)
		if err != nil {
			return nil, err
		}
		f := VCard
		if in.Format == "jcard" {
			f = JCard
		}
		b, err := a.Profiles.Card(ctx, who, f, id)
		return rawAnswer(string(f), b, err)
	})
	register(a, Operation{
		ID: "get-ledger", Method: http.MethodGet, Path: "/v1/profile/ledger", Roles: devices, Tag: tag,
		Summary: "Who has received which field of the profile, in which version",
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.ProfileLedger], error) {
		return answer(a.Profiles.Ledger(ctx, who))
	})
	type receiver struct {
		Receiver string `path:"receiver" maxLength:"64"`
	}
	register(a, Operation{
		ID: "withdraw-profile", Method: http.MethodDelete, Path: "/v1/profile/ledger/{receiver}", Roles: devices, Status: http.StatusNoContent, Tag: tag,
		Summary:     "Take back what a receiver of the ledger was sent",
		Description: "Its devices are asked to forget it, now or in the next session, and nothing goes there by itself any more. What its user has kept as a contact stays theirs.",
		Codes:       []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *receiver) (*struct{}, error) {
		return done(a.Profiles.Withdraw(ctx, who, in.Receiver))
	})
	type send struct {
		SessionPath
		Body wire.ProfileSend
	}
	register(a, Operation{
		ID: "send-profile", Method: http.MethodPost, Path: "/v1/sessions/{session}/profile", Roles: devices, Tag: tag,
		Summary: "Send the profile, or some fields of it, by hand", Codes: []wire.Code{wire.CodeNotMember, wire.CodeSessionClosed},
	}, func(ctx context.Context, who Caller, in *send) (*body[wire.ProfileSent], error) {
		return answer(a.Profiles.SendProfile(ctx, who, in.ID, in.Body))
	})
	type held struct {
		SessionPath
		Body wire.ProfileHeld
	}
	register(a, Operation{
		ID: "hold-profile", Method: http.MethodPost, Path: "/v1/sessions/{session}/profile/held", Roles: devices, Tag: tag,
		Summary:     "Say what this device holds of a profile that it was sent",
		Description: "It goes into the owner's ledger: what is held is not sent again. The answer has what turned out to be missing.",
		Codes:       []wire.Code{wire.CodeNotMember, wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *held) (*body[wire.ProfileMissing], error) {
		return answer(a.Profiles.HeldProfile(ctx, who, in.ID, in.Body))
	})
	a.contacts()
	a.blocks()
}

func (a *API) contacts() {
	const tag = "contact"
	type list struct {
		Of string `query:"of" maxLength:"512" doc:"Only contacts that have this identity"`
	}
	register(a, Operation{
		ID: "list-contacts", Method: http.MethodGet, Path: "/v1/contacts", Roles: devices, Tag: tag,
		Summary: "The party's address book, with the identities that belong to each contact", Codes: []wire.Code{wire.CodeBadIdentity},
	}, func(ctx context.Context, who Caller, in *list) (*body[wire.ContactList], error) {
		id, err := optionalIdentity("of", in.Of)
		if err != nil {
			return nil, err
		}
		l, err := a.Profiles.Contacts(ctx, who, id)
		return answer(wire.ContactList{Contacts: l}, err)
	})
	type keep struct {
		Body wire.ContactKeep
	}
	register(a, Operation{
		ID: "keep-contact", Method: http.MethodPost, Path: "/v1/contacts", Roles: devices, Status: http.StatusCreated, Tag: tag,
		Summary: "Keep a profile that was received, during or after the call", Codes: []wire.Code{wire.CodeNotFound, wire.CodeTooLarge},
	}, func(ctx context.Context, who Caller, in *keep) (*body[wire.Contact], error) {
		return answer(a.Profiles.KeepContact(ctx, who, in.Body.Owner))
	})
	type cards struct {
		ContentType string `header:"Content-Type"`
		RawBody     []byte
	}
	register(a, Operation{
		ID: "import-contacts", Method: http.MethodPost, Path: "/v1/contacts/cards", Roles: devices, Status: http.StatusCreated, Tag: tag,
		Summary: "Add the contacts of vCards; one with a known UID is replaced", Request: bytesOf(string(VCard)),
		Codes: []wire.Code{wire.CodeUnsupportedType, wire.CodeTooLarge},
	}, func(ctx context.Context, who Caller, in *cards) (*body[wire.ContactList], error) {
		if _, err := mediaType(in.ContentType, string(VCard)); err != nil {
			return nil, err
		}
		l, err := a.Profiles.ImportContacts(ctx, who, in.RawBody)
		return answer(wire.ContactList{Contacts: l}, err)
	})
	type card struct {
		ID string `query:"id" maxLength:"64" doc:"Only this contact"`
	}
	register(a, Operation{
		ID: "get-contact-cards", Method: http.MethodGet, Path: "/v1/contacts/cards", Roles: devices, Tag: tag,
		Summary: "The address book as vCards 4.0", Codes: []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *card) (*raw, error) {
		b, err := a.Profiles.ContactCards(ctx, who, in.ID)
		return rawAnswer(string(VCard), b, err)
	})
	type one struct {
		ID string `path:"id" maxLength:"64"`
	}
	register(a, Operation{
		ID: "remove-contact", Method: http.MethodDelete, Path: "/v1/contacts/{id}", Roles: devices, Status: http.StatusNoContent, Tag: tag,
		Summary: "Remove a contact", Codes: []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *one) (*struct{}, error) {
		return done(a.Profiles.RemoveContact(ctx, who, in.ID))
	})
	register(a, Operation{
		ID: "list-contact-rules", Method: http.MethodGet, Path: "/v1/contact-rules", Roles: devices, Tag: tag,
		Summary: "What the party wants of, and for, single others",
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.ContactRuleList], error) {
		l, err := a.Profiles.Rules(ctx, who)
		return answer(wire.ContactRuleList{Rules: l}, err)
	})
	type rule struct {
		Body wire.ContactRule
	}
	register(a, Operation{
		ID: "set-contact-rule", Method: http.MethodPut, Path: "/v1/contact-rules", Roles: devices, Status: http.StatusNoContent, Tag: tag,
		Summary: "Say whether the profile goes to somebody, and whether theirs is received and kept", Codes: []wire.Code{wire.CodeBadIdentity},
	}, func(ctx context.Context, who Caller, in *rule) (*struct{}, error) {
		return done(a.Profiles.SetRule(ctx, who, in.Body))
	})
}
