package httpapi

import (
	"context"
	"net/http"

	"github.com/tandem-call/tandem/wire"
)

// Agents are a provider's, and what they do at their consoles (SPEC I1).
type Agents interface {
	Agents(ctx context.Context, who Caller) ([]wire.Agent, error)
	SetAgent(ctx context.Context, who Caller, id string, q wire.AgentRequest) (wire.Agent, error)
	RemoveAgent(ctx context.Context, who Caller, id string) error
	InviteAgent(ctx context.Context, who Caller, id string, q wire.AgentCodeRequest) (wire.AgentCode, error)
	// RevokeSignIns ends all codes of an agent, and signs it out.
	RevokeSignIns(ctx context.Context, who Caller, id string) error
	AgentSettings(ctx context.Context, who Caller) (wire.AgentSettings, error)
	SetAgentSettings(ctx context.Context, who Caller, q wire.AgentSettings) (wire.AgentSettings, error)

	SignIn(ctx context.Context, q wire.AgentSignIn) (wire.AgentSignedIn, error)

	// What follows is for the agent that is signed in with the calling device.

	Agent(ctx context.Context, who Caller) (wire.Agent, error)
	SignOut(ctx context.Context, who Caller) error
	SetState(ctx context.Context, who Caller, q wire.AgentStateRequest) (wire.Agent, error)
	OwnSettings(ctx context.Context, who Caller) (wire.AgentSettings, error)
	// Colleagues are all agents of the provider; a supervisor sees their sessions too.
	Colleagues(ctx context.Context, who Caller) ([]wire.Agent, error)
	Conversations(ctx context.Context, who Caller, text, after string, limit int) (wire.ConversationList, error)
	Conversation(ctx context.Context, who Caller, id wire.SessionID) (wire.AgentConversation, error)
	Note(ctx context.Context, who Caller, id wire.SessionID, q wire.NoteRequest) (wire.Conversation, error)
	WrapUp(ctx context.Context, who Caller, id wire.SessionID, q wire.WrapUpRequest) (wire.Conversation, error)
	Transfer(ctx context.Context, who Caller, id wire.SessionID, q wire.TransferRequest) error
	// Look begins or prolongs a supervisor's look into another agent's running session; LookedInto is
	// what it sees.
	Look(ctx context.Context, who Caller, id wire.SessionID) (wire.Conversation, error)
	LookedInto(ctx context.Context, who Caller, id wire.SessionID, after uint64) (wire.LookedInto, error)
	EndLook(ctx context.Context, who Caller, id wire.SessionID) error
}

// AgentPath names an agent.
type AgentPath struct {
	ID string `path:"agent" maxLength:"32"`
}

// managers look after agents: a provider's key, after those of its own numbers.
var managers = []Role{RoleOperator, RoleProvider}

func (a *API) agents() {
	const tag = "agents"
	register(a, Operation{
		ID: "list-agents", Method: http.MethodGet, Path: "/v1/agents", Roles: managers, Scope: ScopeAgents, Tag: tag,
		Summary: "The provider's agents, and what they are doing",
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.AgentList], error) {
		l, err := a.Agents.Agents(ctx, who)
		return answer(wire.AgentList{Agents: l}, err)
	})
	type set struct {
		AgentPath
		Body wire.AgentRequest
	}
	register(a, Operation{
		ID: "set-agent", Method: http.MethodPut, Path: "/v1/agents/{agent}", Roles: managers, Scope: ScopeAgents, Tag: tag,
		Summary:     "Add an agent, or change one",
		Description: "Calls to the number and extension are the agent's. With an extension the number is marked as shared; whoever moves to another place signs in anew.",
		Codes:       []wire.Code{wire.CodeBadNumber, wire.CodeConflict},
	}, func(ctx context.Context, who Caller, in *set) (*body[wire.Agent], error) {
		return answer(a.Agents.SetAgent(ctx, who, in.ID, in.Body))
	})
	register(a, Operation{
		ID: "remove-agent", Method: http.MethodDelete, Path: "/v1/agents/{agent}", Roles: managers, Scope: ScopeAgents, Status: http.StatusNoContent, Tag: tag,
		Summary: "Remove an agent, who is signed out at once", Codes: []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *AgentPath) (*struct{}, error) {
		return done(a.Agents.RemoveAgent(ctx, who, in.ID))
	})
	type invite struct {
		AgentPath
		Body wire.AgentCodeRequest
	}
	register(a, Operation{
		ID: "invite-agent", Method: http.MethodPost, Path: "/v1/agents/{agent}/sign-ins", Roles: managers, Scope: ScopeAgents, Status: http.StatusCreated, Tag: tag,
		Summary: "Make a way for the agent to sign in: a link that serves once, or a key. It is shown only now",
		Codes:   []wire.Code{wire.CodeNotFound, wire.CodeConflict},
	}, func(ctx context.Context, who Caller, in *invite) (*body[wire.AgentCode], error) {
		return answer(a.Agents.InviteAgent(ctx, who, in.ID, in.Body))
	})
	register(a, Operation{
		ID: "revoke-sign-ins", Method: http.MethodDelete, Path: "/v1/agents/{agent}/sign-ins", Roles: managers, Scope: ScopeAgents, Status: http.StatusNoContent, Tag: tag,
		Summary: "End every way of the agent to sign in, and sign it out: its connections are closed", Codes: []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *AgentPath) (*struct{}, error) {
		return done(a.Agents.RevokeSignIns(ctx, who, in.ID))
	})
	register(a, Operation{
		ID: "get-agent-settings", Method: http.MethodGet, Path: "/v1/agent-settings", Roles: managers, Scope: ScopeAgents, Tag: tag,
		Summary: "Reasons, wrap-up codes, and how long conversations are kept",
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.AgentSettings], error) {
		return answer(a.Agents.AgentSettings(ctx, who))
	})
	type settings struct {
		Body wire.AgentSettings
	}
	register(a, Operation{
		ID: "set-agent-settings", Method: http.MethodPut, Path: "/v1/agent-settings", Roles: operators, Scope: ScopeAgents, Tag: tag,
		Summary: "Change reasons, wrap-up codes, and how long conversations are kept",
	}, func(ctx context.Context, who Caller, in *settings) (*body[wire.AgentSettings], error) {
		return answer(a.Agents.SetAgentSettings(ctx, who, in.Body))
	})
	type signIn struct {
		Body wire.AgentSignIn
	}
	register(a, Operation{
		ID: "agent-sign-in", Method: http.MethodPost, Path: "/v1/agent-sign-ins", Status: http.StatusCreated, Tag: tag,
		Summary: "Make this browser an agent's device, in place of the one before",
		Codes:   []wire.Code{wire.CodeCodeExpired, wire.CodeUnauthenticated, wire.CodeConflict},
	}, func(ctx context.Context, _ Caller, in *signIn) (*body[wire.AgentSignedIn], error) {
		return answer(a.Agents.SignIn(ctx, in.Body))
	})
	a.console(tag)
}

// console is for the agents themselves.
func (a *API) console(tag string) {
	notAgent := []wire.Code{wire.CodeForbidden}
	register(a, Operation{
		ID: "get-agent", Method: http.MethodGet, Path: "/v1/agent", Roles: devices, Tag: tag,
		Summary: "The agent that is signed in with this device", Codes: notAgent,
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.Agent], error) {
		return answer(a.Agents.Agent(ctx, who))
	})
	register(a, Operation{
		ID: "agent-sign-out", Method: http.MethodDelete, Path: "/v1/agent", Roles: devices, Status: http.StatusNoContent, Tag: tag,
		Summary: "Sign out: this device is revoked", Codes: notAgent,
	}, func(ctx context.Context, who Caller, _ *struct{}) (*struct{}, error) {
		return done(a.Agents.SignOut(ctx, who))
	})
	type state struct {
		Body wire.AgentStateRequest
	}
	register(a, Operation{
		ID: "set-agent-state", Method: http.MethodPut, Path: "/v1/agent/state", Roles: devices, Tag: tag,
		Summary:     "Say what the agent is doing",
		Description: "In a call an agent is busy; after its last one it writes up, until it says otherwise or how the conversation came out.",
		Codes:       []wire.Code{wire.CodeForbidden, wire.CodeConflict},
	}, func(ctx context.Context, who Caller, in *state) (*body[wire.Agent], error) {
		return answer(a.Agents.SetState(ctx, who, in.Body))
	})
	register(a, Operation{
		ID: "get-own-agent-settings", Method: http.MethodGet, Path: "/v1/agent/settings", Roles: devices, Tag: tag,
		Summary: "The provider's reasons and wrap-up codes", Codes: notAgent,
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.AgentSettings], error) {
		return answer(a.Agents.OwnSettings(ctx, who))
	})
	register(a, Operation{
		ID: "list-colleagues", Method: http.MethodGet, Path: "/v1/agent/colleagues", Roles: devices, Tag: tag,
		Summary: "The provider's agents, to transfer to; a supervisor sees which sessions they are in", Codes: notAgent,
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.AgentList], error) {
		l, err := a.Agents.Colleagues(ctx, who)
		return answer(wire.AgentList{Agents: l}, err)
	})
	type search struct {
		Text  string `query:"text" maxLength:"128" doc:"To be found in numbers, notes, wrap-up codes or agents' names; all if left out"`
		After string `query:"after" maxLength:"200" doc:"Where the page begins: next of the one before"`
		Limit int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
	}
	register(a, Operation{
		ID: "list-conversations", Method: http.MethodGet, Path: "/v1/agent/conversations", Roles: devices, Tag: tag,
		Summary: "The agent's conversations within their retention, the newest first; a supervisor's are all of its number", Codes: notAgent,
	}, func(ctx context.Context, who Caller, in *search) (*body[wire.ConversationList], error) {
		return answer(a.Agents.Conversations(ctx, who, in.Text, in.After, in.Limit))
	})
	inConversation := []wire.Code{wire.CodeForbidden, wire.CodeNotFound}
	register(a, Operation{
		ID: "get-conversation", Method: http.MethodGet, Path: "/v1/agent/conversations/{session}", Roles: devices, Tag: tag,
		Summary: "A conversation, and what is known of the customer while its session lasts", Codes: inConversation,
	}, func(ctx context.Context, who Caller, in *SessionPath) (*body[wire.AgentConversation], error) {
		return answer(a.Agents.Conversation(ctx, who, in.ID))
	})
	type note struct {
		SessionPath
		Body wire.NoteRequest
	}
	register(a, Operation{
		ID: "add-note", Method: http.MethodPost, Path: "/v1/agent/conversations/{session}/notes", Roles: devices, Tag: tag,
		Summary: "Write a note, which the customer never sees", Codes: append([]wire.Code{wire.CodeConflict}, inConversation...),
	}, func(ctx context.Context, who Caller, in *note) (*body[wire.Conversation], error) {
		return answer(a.Agents.Note(ctx, who, in.ID, in.Body))
	})
	type wrapUp struct {
		SessionPath
		Body wire.WrapUpRequest
	}
	register(a, Operation{
		ID: "wrap-up", Method: http.MethodPut, Path: "/v1/agent/conversations/{session}/wrap-up", Roles: devices, Tag: tag,
		Summary: "Say how the conversation came out; after a call the agent takes calls again", Codes: inConversation,
	}, func(ctx context.Context, who Caller, in *wrapUp) (*body[wire.Conversation], error) {
		return answer(a.Agents.WrapUp(ctx, who, in.ID, in.Body))
	})
	type transfer struct {
		SessionPath
		Body wire.TransferRequest
	}
	register(a, Operation{
		ID: "transfer", Method: http.MethodPost, Path: "/v1/agent/conversations/{session}/transfer", Roles: devices, Status: http.StatusNoContent, Tag: tag,
		Summary: "Hand the session to another agent, whose device takes the place of this one",
		Description: "The call itself is transferred by the telephones; when its new leg reaches the other agent, it goes on in the same session. " +
			"Where it does not get there, the first agent takes the session back within two minutes, by transferring it to itself.",
		Codes: append([]wire.Code{wire.CodeConflict}, inConversation...),
	}, func(ctx context.Context, who Caller, in *transfer) (*struct{}, error) {
		return done(a.Agents.Transfer(ctx, who, in.ID, in.Body))
	})
	a.looks(tag, inConversation)
}

// looks are for supervisors who may look into running calls.
func (a *API) looks(tag string, codes []wire.Code) {
	const path = "/v1/agent/conversations/{session}/look"
	register(a, Operation{
		ID: "look", Method: http.MethodPut, Path: path, Roles: devices, Tag: tag,
		Summary: "Look into another agent's running session, or go on looking",
		Description: "For supervisors who may. The agent is told who looks; it is kept in the audit log and with the conversation. It lasts two minutes, " +
			"unless it is asked for again; one at a time is followed by notices with the code look.",
		Codes: codes,
	}, func(ctx context.Context, who Caller, in *SessionPath) (*body[wire.Conversation], error) {
		return answer(a.Agents.Look(ctx, who, in.ID))
	})
	type after struct {
		SessionPath
		After uint64 `query:"after" doc:"Sequence after which messages are returned"`
	}
	register(a, Operation{
		ID: "looked-into", Method: http.MethodGet, Path: path, Roles: devices, Tag: tag,
		Summary: "The session that is looked into, and at most 200 messages of it, as its agent has them", Codes: append([]wire.Code{wire.CodeConflict}, codes...),
	}, func(ctx context.Context, who Caller, in *after) (*body[wire.LookedInto], error) {
		return answer(a.Agents.LookedInto(ctx, who, in.ID, in.After))
	})
	register(a, Operation{
		ID: "end-look", Method: http.MethodDelete, Path: path, Roles: devices, Status: http.StatusNoContent, Tag: tag,
		Summary: "Look no more", Codes: codes,
	}, func(ctx context.Context, who Caller, in *SessionPath) (*struct{}, error) {
		return done(a.Agents.EndLook(ctx, who, in.ID))
	})
}
