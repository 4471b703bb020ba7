package httpapi

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Role of a caller.
type Role string

// Roles.
const (
	RoleDevice   Role = "device"   // a device, with its token
	RoleOperator Role = "operator" // whoever runs the server
	RoleElement  Role = "element"  // a network element that reports calls
	RoleProvider Role = "provider" // a contact centre, for its own numbers
)

// Scope narrows down what an API key can do, within its role.
type Scope string

// Scopes.
const (
	ScopeReport    Scope = "report"    // report calls
	ScopeCouplings Scope = "couplings" // tie devices to telephones
	ScopeBind      Scope = "bind"      // say that a device has a number
	ScopeKeys      Scope = "keys"      // make and revoke API keys, with no more scopes than its own
	ScopeParties   Scope = "parties"   // identities, shared and barred numbers, export, erasure
	ScopeCalls     Scope = "calls"     // explain calls, close sessions
	ScopeAudit     Scope = "audit"     // read the audit log
	ScopeWebhooks  Scope = "webhooks"  // webhooks and their deliveries
	ScopeOverlays  Scope = "overlays"  // stored overlays, and sending them into sessions
	ScopePayments  Scope = "payments"  // accounts to which customers pay, and what was paid
	ScopeServer    Scope = "server"    // metrics, trying pushes; what else it has is for the socket only
	ScopeAgents    Scope = "agents"    // agents, and how they sign in
)

// Scopes are all of them.
var Scopes = []Scope{ScopeReport, ScopeCouplings, ScopeBind, ScopeKeys, ScopeParties, ScopeCalls, ScopeAudit, ScopeWebhooks, ScopeOverlays, ScopePayments, ScopeServer, ScopeAgents}

// Caller is who makes a request. The zero Caller is anybody.
type Caller struct {
	Tenant wire.TenantID
	Role   Role
	// Device, for RoleDevice.
	Device wire.DeviceID
	// Credential is the id of the API key, for the other roles; "admin-socket" for the
	// operator on the machine itself.
	Credential string
	// Scopes of the API key; none: all that its role can do.
	Scopes []Scope
}

// May reports whether the caller has the scope.
func (c Caller) May(s Scope) bool { return len(c.Scopes) == 0 || slices.Contains(c.Scopes, s) }

// Every port returns errors that are, or wrap, a *wire.Problem; anything else is told
// to the caller as "internal".

// Auth finds out who is calling.
type Auth interface {
	// Bearer returns the caller that the token of an Authorization header stands for.
	Bearer(ctx context.Context, token string) (Caller, error)
}

// Enrolment proves that devices have numbers (B16).
type Enrolment interface {
	Begin(ctx context.Context, r wire.EnrolRequest, remote netip.Addr) (wire.Enrolment, error)
	Confirm(ctx context.Context, id string, c wire.EnrolConfirm) (wire.DeviceInfo, error)
	// Bind enrols a device on the word of the network, the SIM card's check, or an operator.
	Bind(ctx context.Context, who Caller, r wire.BindingRequest) (wire.DeviceInfo, error)
}

// Devices are enrolled devices, each about itself.
type Devices interface {
	Challenge() (nonce string, valid time.Duration)
	Token(ctx context.Context, r wire.TokenRequest) (wire.Token, error)
	Device(ctx context.Context, who Caller) (wire.DeviceInfo, error)
	Change(ctx context.Context, who Caller, c wire.DeviceChange) (wire.DeviceInfo, error)
	Remove(ctx context.Context, who Caller) error
	// Softphone says how the device registers as its own number.
	Softphone(ctx context.Context, who Caller) (wire.Softphone, error)
}

// Calls takes call reports.
type Calls interface {
	Report(ctx context.Context, who Caller, r wire.Report) (wire.Ack, error)
	Ask(ctx context.Context, who Caller, a wire.Ask) (wire.Ack, error)
	Calls(ctx context.Context, who Caller) ([]wire.CallInfo, error)
	Answer(ctx context.Context, who Caller, a wire.Answer) error
	Confirm(ctx context.Context, who Caller, c wire.Confirm) error
}

// Tenants are those who share the server; only for whoever runs it.
type Tenants interface {
	Tenants(ctx context.Context, who Caller) ([]wire.Tenant, error)
	SetTenant(ctx context.Context, who Caller, id string, r wire.TenantRequest) (wire.Tenant, error)
}

// Couplings tie telephones to the devices that carry data for them (B8).
type Couplings interface {
	Offer(ctx context.Context, who Caller, r wire.CouplingOfferRequest) (wire.CouplingOffer, error)
	Begin(ctx context.Context, r wire.CouplingRequest, remote netip.Addr) (wire.CouplingPending, error)
	Claim(ctx context.Context, id string, c wire.CouplingClaim) (wire.DeviceInfo, error)
	Look(ctx context.Context, who Caller, l wire.CouplingLook) (wire.CouplingSeen, error)
	Accept(ctx context.Context, who Caller, a wire.CouplingAccept) (wire.CouplingSeen, error)
	// Couplings lists those of a number; of all the caller's, where none is named.
	Couplings(ctx context.Context, who Caller, number string) ([]wire.Coupling, error)
	EndCoupling(ctx context.Context, who Caller, number, id string) error
	// Near and Here tell that a side of a temporary coupling is here.
	Near(ctx context.Context, who Caller, id string, n wire.CouplingNear, remote netip.Addr) (wire.Coupling, error)
	Here(ctx context.Context, r wire.TokenRequest, remote netip.Addr) ([]wire.Coupling, error)
	// PartyDevices lists the devices of the caller's party; Choose says what one of them does.
	PartyDevices(ctx context.Context, who Caller) ([]wire.PartyMember, error)
	// Join makes the caller a member of a session of its party.
	Join(ctx context.Context, who Caller, id wire.SessionID) (wire.SessionState, error)
	Choose(ctx context.Context, who Caller, device wire.DeviceID, c wire.PartyMemberChange) (wire.PartyMember, error)
}

// Sessions are the data sessions of the calling device.
type Sessions interface {
	Sessions(ctx context.Context, who Caller) ([]wire.SessionState, error)
	Session(ctx context.Context, who Caller, id wire.SessionID) (wire.SessionState, error)
	Messages(ctx context.Context, who Caller, id wire.SessionID, after uint64, limit int) (wire.MessageList, error)
	Send(ctx context.Context, who Caller, id wire.SessionID, r wire.SendRequest) (wire.Sent, error)
	Extend(ctx context.Context, who Caller, id wire.SessionID, e wire.Extend) (wire.SessionState, error)
	Leave(ctx context.Context, who Caller, id wire.SessionID, l wire.Leave) error
}

// Pushes are what devices were woken for. Whoever has a push's identifier has received it.
type Pushes interface {
	Key() string
	Push(ctx context.Context, id wire.PushID) (wire.Push, error)
	AnswerPush(ctx context.Context, id wire.PushID, a wire.PushAnswer) error
	// JoinPush lets the device that a push woke join without asking its user.
	JoinPush(ctx context.Context, who Caller, id wire.PushID, j wire.PushJoin) (wire.Ack, error)
	// TestPush wakes a party's devices, to see whether that works.
	TestPush(ctx context.Context, who Caller, of tel.Identity) ([]wire.PushTested, error)
}

// Operator is what only the operator may do.
type Operator interface {
	Credentials(ctx context.Context, who Caller) ([]wire.Credential, error)
	CreateCredential(ctx context.Context, who Caller, r wire.CredentialRequest) (wire.Credential, error)
	RevokeCredential(ctx context.Context, who Caller, id string) error
	Link(ctx context.Context, who Caller, identity, party tel.Identity) error
	Unlink(ctx context.Context, who Caller, identity tel.Identity) error
	Shared(ctx context.Context, who Caller) ([]tel.Identity, error)
	Share(ctx context.Context, who Caller, identity tel.Identity) error
	Unshare(ctx context.Context, who Caller, identity tel.Identity) error
	// Recycle forgets every device's proof of a number that has a new owner.
	Recycle(ctx context.Context, who Caller, n tel.Number) error
	Explain(ctx context.Context, who Caller, a, b tel.Identity) (wire.Explanation, error)
	CloseSession(ctx context.Context, who Caller, id wire.SessionID) error
	// RotateSecrets changes the server's secret, of which tokens, nonces and codes are made.
	RotateSecrets(ctx context.Context, who Caller, r wire.SecretsRotation) error
	Backup(ctx context.Context, who Caller, dir string) (wire.BackupDone, error)
	// ExportParty collects all that is kept of a party, EraseParty removes it.
	ExportParty(ctx context.Context, who Caller, id tel.Identity) (wire.PartyExport, error)
	EraseParty(ctx context.Context, who Caller, id tel.Identity) (wire.PartyErased, error)
	// Audit returns at most limit entries of the audit log after a sequence; with of, those
	// about one party only.
	Audit(ctx context.Context, who Caller, after uint64, limit int, of tel.Identity) ([]wire.AuditEntry, error)
}
