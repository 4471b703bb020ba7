package audit

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// ErrRecord: what is to be written down has a form that the log does not take.
var ErrRecord = errors.New("audit: unusable record")

// Action is something that is audited.
type Action string

// Actions. Beside each, its details.
const (
	DeviceEnrolled    Action = "device.enrolled" // proof
	DeviceRevoked     Action = "device.revoked"
	CouplingMade      Action = "coupling.made" // made, kind, proof
	CouplingEnded     Action = "coupling.ended"
	CouplingRefused   Action = "coupling.refused" // reason: a problem code
	CouplingOffered   Action = "coupling.offered"
	EnrolmentRefused  Action = "enrolment.refused"  // reason: a problem code
	LoginRefused      Action = "login.refused"      // reason: a problem code; by: key, device
	CredentialCreated Action = "credential.created" // role, until
	CredentialRevoked Action = "credential.revoked"
	ReportRefused     Action = "report.refused" // reason: a problem code
	IdentityLinked    Action = "identity.linked"
	IdentityUnlinked  Action = "identity.unlinked"
	IdentityShared    Action = "identity.shared"
	IdentityUnshared  Action = "identity.unshared"
	NumberRecycled    Action = "number.recycled"
	CallExplained     Action = "call.explained"
	SessionClosed     Action = "session.closed"
	PartyExported     Action = "party.exported"
	PartyErased       Action = "party.erased"
	PartyBarred       Action = "party.barred"
	PartyUnbarred     Action = "party.unbarred"
	WebhookAdded      Action = "webhook.added" // identities
	WebhookRemoved    Action = "webhook.removed"
	WebhookRotated    Action = "webhook.rotated"
	WebhookEnabled    Action = "webhook.enabled"
	WebhookReplayed   Action = "webhook.replayed"
	OverlayPublished  Action = "overlay.published"
	OverlayRolledBack Action = "overlay.rolled_back"
	OverlayRemoved    Action = "overlay.removed"

	PaymentAccountSet     Action = "payment_account.set"
	PaymentAccountRemoved Action = "payment_account.removed"
	SecretsRotated        Action = "secrets.rotated"
	TenantSet             Action = "tenant.set"
	PushTested            Action = "push.tested"
	AgentSet              Action = "agent.set"
	AgentRemoved          Action = "agent.removed"
	AgentInvited          Action = "agent.invited" // serves: once, often; until
	AgentRevoked          Action = "agent.revoked"
	AgentSignedIn         Action = "agent.signed_in"
	AgentSignedOut        Action = "agent.signed_out"
	AgentTransferred      Action = "agent.transferred"
	AgentLooked           Action = "agent.looked" // a supervisor, into a running session
	AgentSettingsSet      Action = "agent.settings_set"
	StoreBackup           Action = "store.backup"
	AuditExported         Action = "audit.exported" // after
	AuditPruned           Action = "audit.pruned"   // through, hash: of the last entry removed
)

// actions are all of them; what is not here is refused.
var actions = []Action{
	DeviceEnrolled, DeviceRevoked, CouplingMade, CouplingEnded, CouplingRefused, CouplingOffered, EnrolmentRefused, LoginRefused, CredentialCreated, CredentialRevoked, ReportRefused,
	IdentityLinked, IdentityUnlinked, IdentityShared, IdentityUnshared, NumberRecycled, CallExplained, SessionClosed,
	PartyExported, PartyErased, PartyBarred, PartyUnbarred, WebhookAdded, WebhookRemoved, WebhookRotated, WebhookEnabled, WebhookReplayed,
	AgentSet, AgentRemoved, AgentInvited, AgentRevoked, AgentSignedIn, AgentSignedOut, AgentTransferred, AgentLooked, AgentSettingsSet,
	OverlayPublished, OverlayRolledBack, OverlayRemoved, PaymentAccountSet, PaymentAccountRemoved,
	SecretsRotated, TenantSet, PushTested, StoreBackup, AuditExported, AuditPruned,
}

// Roles of an actor, beside those of API keys.
const (
	RoleServer  = "server"  // this server, by itself
	RoleAnybody = "anybody" // somebody who could not show who they are
)

// Record is what is to be written down.
type Record struct {
	Tenant wire.TenantID
	Who    wire.AuditActor
	What   Action
	// Parties that it was done to; written as pseudonyms.
	Parties []tel.Identity
	// On are further objects, as in wire.AuditEntry.
	On      []string
	Details map[string]string
	Failed  bool
}

// check refuses what could not be written in canonical form. Whether a text is personal
// data it cannot know: texts are ids and codes, never what a person has typed.
func (r Record) check() error {
	if !wire.ValidID(string(r.Tenant)) {
		return fmt.Errorf("%w: no tenant", ErrRecord)
	}
	if !slices.Contains(actions, r.What) {
		return fmt.Errorf("%w: unknown action %q", ErrRecord, r.What)
	}
	texts := append([]string{r.Who.Role}, r.On...)
	if r.Who.ID != "" {
		texts = append(texts, r.Who.ID)
	}
	for k, v := range r.Details {
		texts = append(texts, k, v)
	}
	for _, s := range texts {
		if !plain(s) {
			return fmt.Errorf("%w: %s has a text that is neither an id nor a code", ErrRecord, r.What)
		}
	}
	return nil
}

// plain: what is the same in every encoder of JSON.
func plain(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.' || c == ':') {
			return false
		}
	}
	return true
}
