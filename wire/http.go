package wire

import (
	"encoding/json"
	"time"

	"github.com/tandem-call/tandem/tel"
)

// The bodies of the HTTP API under /v1; /openapi.json describes the operations.

// JWK is a device's public key (RFC 7517): P-256 for ES256.
type JWK struct {
	KTY string `json:"kty" enum:"EC" doc:"Key type"`
	CRV string `json:"crv" enum:"P-256" doc:"Curve"`
	X   string `json:"x" minLength:"43" maxLength:"43" doc:"Coordinate, base64url without padding"`
	Y   string `json:"y" minLength:"43" maxLength:"43" doc:"Coordinate, base64url without padding"`
}

// App names the application on a device, for push notifications (B7, B16).
type App struct {
	// Platform: apns, fcm or webpush.
	Platform string `json:"platform" enum:"apns,fcm,webpush" doc:"Push service"`
	// ID is the application id or push token that the platform gave.
	ID string `json:"id" minLength:"1" maxLength:"2048" doc:"Application id or token of the push service"`
}

// EnrolRequest asks to prove that a device has a number (B16).
type EnrolRequest struct {
	Number string `json:"number" maxLength:"64" doc:"Telephone number, +442079460002, or national with region"`
	Region string `json:"region,omitempty" maxLength:"2" doc:"ISO 3166-1 region of a national number"`
	Key    JWK    `json:"key" doc:"Public key that the device has made for itself"`
	Name   string `json:"name,omitempty" maxLength:"64" doc:"Name shown to the other party, e.g. Alice"`
	App    *App   `json:"app,omitempty" doc:"Application to wake by push"`
	Client string `json:"client,omitempty" maxLength:"64" doc:"Software and version"`
}

// Enrolment is under way: a code was sent to the number.
type Enrolment struct {
	ID string `json:"id" doc:"To be given with the code"`
	// Expires is when the code stops being valid.
	Expires time.Time `json:"expires"`
	// Via says how the code was sent: "sms", or "server" where a development server prints it.
	Via string `json:"via"`
}

// BindingRequest says that a device has a number (elements with the scope bind, operators).
type BindingRequest struct {
	Number string `json:"number" maxLength:"64" doc:"E.164, e.g. +442079460001"`
	Key    JWK    `json:"key" doc:"The device's public key"`
	// Proof: network, where the access network showed the number; sim, where the SIM card
	// answered a challenge; operator, who alone may say so without either.
	Proof  string `json:"proof" enum:"network,sim,operator" doc:"How it was proved"`
	Name   string `json:"name,omitempty" maxLength:"64" doc:"Shown to the other members"`
	Client string `json:"client,omitempty" maxLength:"64" doc:"The device's software"`
	App    *App   `json:"app,omitempty"`
}

// EnrolConfirm completes an enrolment.
type EnrolConfirm struct {
	Code string `json:"code" minLength:"6" maxLength:"6" doc:"The six digits received"`
	// Assertion proves possession of the key: a JWS, ES256, with the claims nonce (the
	// enrolment's id), aud "tandem", iat and exp at most 5 minutes later.
	Assertion string `json:"assertion" maxLength:"2048" doc:"JWS by the device's key over the enrolment's id"`
}

// DeviceInfo is what a device may know of itself.
type DeviceInfo struct {
	ID    DeviceID `json:"id"`
	Name  string   `json:"name,omitempty"`
	Party []Proved `json:"party" doc:"Identities of the device's party"`
	// Language of its user, BCP 47 in lower case.
	Language string    `json:"language,omitempty" doc:"Of its user, BCP 47 in lower case"`
	Bindings []Binding `json:"bindings" doc:"Proofs that this device has a number"`
	App      *App      `json:"app,omitempty"`
	// Unasked: its user lets it join a session without being asked, when it is woken by push
	// and its own telephone is in a call (B14).
	Unasked bool      `json:"unasked,omitempty" doc:"After a push it may join without asking its user, in a call"`
	Created time.Time `json:"created"`
}

// Proved is an identity of a party.
type Proved struct {
	Identity tel.Identity `json:"identity"`
	// Proof: one_time_code, network, sim or operator.
	Proof string `json:"proof"`
}

// Binding is the proof that a device has a number.
type Binding struct {
	Number tel.Number `json:"number"`
	Kind   string     `json:"kind" doc:"one_time_code, network, sim, operator or coupled"`
	Proved time.Time  `json:"proved"`
	// Vouched is how whoever vouches for a coupled device has proved the number.
	Vouched string    `json:"vouched,omitempty" doc:"Of a coupled device: the proof of who vouches for it"`
	Expires time.Time `json:"expires"`
	// ForCall: it carries data beside the one call whose report named it.
	ForCall bool `json:"for_call,omitempty"`
}

// DeviceChange changes what a device says of itself; absent fields stay.
type DeviceChange struct {
	Name *string `json:"name,omitempty" maxLength:"64"`
	// Language as in DeviceInfo.
	Language *string `json:"language,omitempty" maxLength:"35" doc:"Of the device's user, BCP 47"`
	App      *App    `json:"app,omitempty"`
	// Unasked as in DeviceInfo.
	Unasked *bool `json:"unasked,omitempty" doc:"Whether, after a push, it may join without asking its user, in a call"`
}

// TokenRequest exchanges a signed challenge for a bearer token.
type TokenRequest struct {
	Nonce string `json:"nonce" maxLength:"512" doc:"Nonce from /v1/challenge"`
	// Assertion as in Hello, over the nonce.
	Assertion string `json:"assertion" maxLength:"2048"`
}

// Token is a bearer token of a device, for HTTP.
type Token struct {
	Token            string `json:"access_token"`
	Type             string `json:"token_type" enum:"Bearer"`
	ExpiresInSeconds int    `json:"expires_in"`
}

// CallInfo is one call of the asking party, as the server's record shows it (B3).
type CallInfo struct {
	Other     tel.Identity  `json:"other,omitzero"`
	Direction tel.Direction `json:"direction,omitempty"`
	State     tel.State     `json:"state"`
	Since     time.Time     `json:"since"`
	Session   SessionID     `json:"session,omitempty"`
}

// CallList lists calls.
type CallList struct {
	Calls []CallInfo `json:"calls"`
}

// SessionList lists sessions.
type SessionList struct {
	Sessions []SessionState `json:"sessions"`
}

// MessageList is a page of a session's messages.
type MessageList struct {
	Messages []Envelope `json:"messages"`
	Epoch    uint64     `json:"epoch"`
	// Head is the sequence of the newest message; there is more when it is above the last one here.
	Head uint64 `json:"head"`
}

// SendRequest sends a message into a session over HTTP.
type SendRequest struct {
	ID   RequestID       `json:"id" minLength:"1" maxLength:"64" doc:"Chosen by the client; repeating it is harmless"`
	Kind string          `json:"kind" maxLength:"64" pattern:"^[a-z0-9._-]+$"`
	To   []MemberID      `json:"to,omitempty" doc:"Members addressed; empty: all others"`
	Body json.RawMessage `json:"body"`
}

// Sent says that a message is stored.
type Sent struct {
	ID    RequestID `json:"id"`
	Seq   uint64    `json:"seq"`
	Epoch uint64    `json:"epoch"`
}

// CredentialRequest asks for an API key (operators only).
type CredentialRequest struct {
	Role string `json:"role" enum:"operator,element,provider" doc:"operator: everything; element: reports calls; provider: its own numbers"`
	Name string `json:"name" minLength:"1" maxLength:"128" doc:"Who holds it, for the list"`
	// Ranges are the number prefixes that an element or provider may speak for.
	Ranges []string `json:"ranges,omitempty" doc:"Number prefixes it may speak for, e.g. +44207946"`
	// Scopes that it is limited to; none: all that its role can do, but "bind".
	Scopes []string `json:"scopes,omitempty" maxItems:"16" doc:"What it may do, within its role; none: all of it but bind"`
	// Days until it expires; zero: a year.
	Days int `json:"days,omitempty" minimum:"0" maximum:"3650"`
	// Seconds until it expires, instead of Days.
	Seconds int `json:"seconds,omitempty" minimum:"0" maximum:"315360000" doc:"Instead of days: seconds until it expires, at least 60"`
	// Certificate is the SHA-256 of a client certificate (DER), in base64url without padding, as in x5t#S256 of RFC 8705.
	Certificate string `json:"certificate,omitempty" maxLength:"43" doc:"x5t#S256 (RFC 8705) of the TLS client certificate with which alone the key is valid"`
}

// Credential describes an API key; Secret is shown once, when it is made.
type Credential struct {
	ID     string   `json:"id"`
	Role   string   `json:"role"`
	Name   string   `json:"name"`
	Ranges []string `json:"ranges,omitempty"`
	Scopes []string `json:"scopes,omitempty"`
	// Certificate is the x5t#S256 of the one with which alone it is valid; empty: none is needed.
	Certificate string    `json:"certificate,omitempty"`
	Created     time.Time `json:"created"`
	Expires     time.Time `json:"expires"`
	Revoked     time.Time `json:"revoked,omitzero"`
	Key         string    `json:"key,omitempty" doc:"The key itself, shown only once"`
}

// CredentialList lists API keys.
type CredentialList struct {
	Credentials []Credential `json:"credentials"`
}

// LinkRequest gives a party a further identity (A9; operators only).
type LinkRequest struct {
	Identity string `json:"identity" maxLength:"512" doc:"Identity to add, e.g. sip:alice@example.com"`
	Party    string `json:"party" maxLength:"512" doc:"An identity of the party, normally its number"`
}

// SharedRequest marks an identity as used by many callers: a trunk, a contact centre.
type SharedRequest struct {
	Identity string `json:"identity" maxLength:"512"`
}

// SharedList lists shared identities.
type SharedList struct {
	Identities []tel.Identity `json:"identities"`
}

// ExplainRequest asks why two parties' reports did or did not match (operators only).
type ExplainRequest struct {
	A string `json:"a" maxLength:"512" doc:"Identity of one side"`
	B string `json:"b" maxLength:"512" doc:"Identity of the other side"`
}

// Explanation answers it, line by line.
type Explanation struct {
	// Matched: a session is open for the pair.
	Matched bool      `json:"matched"`
	Session SessionID `json:"session,omitempty"`
	// Lines for a person to read: the legs known on each side, and each reason.
	Lines []string `json:"lines"`
}

// BackupRequest asks the server to write a backup (operators only, over the admin socket).
type BackupRequest struct {
	Dir string `json:"dir" minLength:"1" doc:"Directory on the server; it must not exist"`
}

// BackupDone tells what was written.
type BackupDone struct {
	Dir   string `json:"dir"`
	Bytes int64  `json:"bytes"`
}
