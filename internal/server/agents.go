package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tandem-call/tandem/internal/agent"
	"github.com/tandem-call/tandem/internal/audit"
	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/party"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// newAgents makes the service of a provider's agents (SPEC I1).
func (s *Server) newAgents(ctx context.Context) (*agent.Service, error) {
	return agent.New(ctx, agent.Config{Engine: s.engine, Devices: seats{s}, Sessions: hands{s}, Tell: s.tellAgent, SignIn: s.cfg.Agents.SignIn, Log: s.log})
}

// tellAgent has an agent's browser read again what it shows.
func (s *Server) tellAgent(ctx context.Context, tenant wire.TenantID, d wire.DeviceID, code string) error {
	return notifier{s}.Tell(ctx, tenant, d, wire.TypeNotice, wire.Notice{Code: code, At: time.Now()})
}

// Agents says how a provider's agents work.
type Agents struct {
	// SignIn is how long an agent is signed in.
	SignIn time.Duration `koanf:"sign_in"`
}

// seats makes browsers the agents' devices.
type seats struct{ *Server }

func (s seats) Seat(ctx context.Context, q agent.Seating) (wire.DeviceID, error) {
	d, err := s.devices.Seat(ctx, device.Request{Tenant: q.Tenant, Number: q.Number, Key: q.Key, Name: q.Name, Client: q.Client}, q.Nonce, q.Assertion, q.Until)
	return d.ID, err
}

func (s seats) Unseat(ctx context.Context, tenant wire.TenantID, d wire.DeviceID) error {
	err := s.devices.Revoke(ctx, tenant, d)
	if errors.Is(err, device.ErrNotFound) {
		return nil
	}
	return err
}

// hands hands sessions over.
type hands struct{ *Server }

func (s hands) HandOver(ctx context.Context, tenant wire.TenantID, id wire.SessionID, by, from, to wire.DeviceID) error {
	rec, err := s.sessions.Record(ctx, tenant, id)
	if errors.Is(err, store.ErrNotFound) {
		return agent.ErrNotFound
	} else if err != nil {
		return err
	}
	i := slices.IndexFunc(rec.Members, func(m session.Member) bool { return m.Device == from && m.Left.IsZero() })
	if i < 0 || rec.Phase == wire.Closed {
		return agent.ErrNotFound
	}
	own := rec.Sides[rec.Members[i].Side-1].Principal
	now := time.Now()
	if err := s.matcher.Hand(ctx, tenant, own, id, to); err != nil {
		return err
	}
	// The newcomer first, so that the party is never without a device.
	if err := s.sessions.JoinDevices(ctx, tenant, id, session.OpeningSide{Principal: own, Devices: []wire.DeviceID{to}, At: now, By: by}); err != nil {
		return err
	}
	return s.sessions.Away(ctx, tenant, id, session.OpeningSide{Principal: own, Devices: []wire.DeviceID{from}, At: now})
}

func (s hands) Follow(ctx context.Context, tenant wire.TenantID, id wire.SessionID, fn func()) (cancel func(), err error) {
	return s.sessions.Follow(ctx, tenant, id, fn)
}

// seat lets an element's report of an agent's leg speak for the agent's device too, while the leg
// is up: so that one joins, and of those who share the number no other.
func (s *Server) seat(ctx context.Context, r *call.Report) error {
	if r.State != tel.Active && r.State != tel.Held || !s.agents.Any(r.Tenant) {
		return nil
	}
	n, ok := r.Own.Number()
	if !ok {
		own, err := s.parties.Principal(ctx, r.Tenant, r.Own)
		if err != nil {
			return err
		}
		if n, ok = own.Number(); !ok {
			return nil
		}
	}
	d, err := s.agents.At(ctx, r.Tenant, n, r.Extension)
	if errors.Is(err, agent.ErrNotFound) {
		return nil
	}
	r.Reporter.Device = d
	return err
}

// observeAgents lets agents' states and conversations follow their sessions. Another node may have observed a newer state
// meanwhile, which this one would undo: so it looks again until there is none.
func (s *Server) observeAgents(ctx context.Context, rec *session.Record) error {
	for {
		if err := s.observed(ctx, rec); err != nil {
			return err
		}
		now, err := s.sessions.Record(ctx, rec.Tenant, rec.ID)
		if errors.Is(err, store.ErrNotFound) || err == nil && now.Version <= rec.Version {
			return nil
		} else if err != nil {
			return err
		}
		rec = &now
	}
}

func (s *Server) observed(ctx context.Context, rec *session.Record) error {
	x := agent.Seen{Tenant: rec.Tenant, Session: rec.ID, Phase: rec.Phase, Opened: rec.Opened, CallOver: rec.CallEnded, Closed: rec.Closed}
	for _, m := range rec.Members {
		side := rec.Sides[m.Side-1]
		x.Members = append(x.Members, agent.Member{Device: m.Device, Side: m.Side, Principal: side.Principal, Shown: side.Shown, By: m.By, Joined: m.Joined, Left: m.Left})
	}
	return s.agents.Observe(ctx, x)
}

// conversationsOf collects what agents have kept of a party.
func (s *Server) conversationsOf(ctx context.Context, tenant wire.TenantID, ids []tel.Identity) ([]wire.Conversation, error) {
	list := []wire.Conversation{}
	all, err := s.agents.OfParty(ctx, tenant, ids)
	if err != nil || len(all) == 0 {
		return list, err
	}
	set, err := s.agents.Settings(ctx, tenant)
	for _, c := range all {
		list = append(list, c.Info(set.RetentionDays))
	}
	return list, err
}

// agents serves httpapi.Agents.
type agents struct{ *Server }

// looksAfter returns whether the caller may look after the agents of a number: an operator after
// all, a provider's key after those of its own.
func (s agents) looksAfter(ctx context.Context, who httpapi.Caller) (func(tel.Number) bool, error) {
	if who.Role == httpapi.RoleOperator {
		return func(tel.Number) bool { return true }, nil
	}
	c, err := s.keys.Get(ctx, who.Tenant, who.Credential)
	return func(n tel.Number) bool { return c.MaySpeakFor(n.Identity()) }, err
}

// its returns an agent that the caller looks after.
func (s agents) its(ctx context.Context, who httpapi.Caller, id string) (agent.Record, error) {
	may, err := s.looksAfter(ctx, who)
	if err != nil {
		return agent.Record{}, err
	}
	r, err := s.agents.Get(ctx, who.Tenant, id)
	if err == nil && !may(r.Number) {
		err = agent.ErrNotFound
	}
	return r, err
}

func (s agents) Agents(ctx context.Context, who httpapi.Caller) ([]wire.Agent, error) {
	list := []wire.Agent{}
	may, err := s.looksAfter(ctx, who)
	if err != nil {
		return list, problem(s.log, "list agents", err)
	}
	all, err := s.agents.List(ctx, who.Tenant)
	for _, r := range all {
		if may(r.Number) {
			list = append(list, r.Info(time.Now(), true))
		}
	}
	return list, problem(s.log, "list agents", err)
}

func (s agents) SetAgent(ctx context.Context, who httpapi.Caller, id string, q wire.AgentRequest) (wire.Agent, error) {
	n, err := tel.ParseNumber(q.Number, s.cfg.Codes.Region)
	if err != nil {
		return wire.Agent{}, problem(s.log, "set agent", err)
	}
	may, err := s.looksAfter(ctx, who)
	if err != nil {
		return wire.Agent{}, problem(s.log, "set agent", err)
	}
	if before, err := s.agents.Get(ctx, who.Tenant, id); !may(n) || err == nil && !may(before.Number) {
		return wire.Agent{}, wire.NewProblem(wire.CodeForbidden, "this key may not speak for the agent's number")
	}
	var r agent.Record
	err = s.audited(ctx, who, audit.Record{What: audit.AgentSet, On: on("agent", id), Parties: []tel.Identity{n.Identity()}}, func() (err error) {
		if q.Extension != "" {
			// Whoever has the number shares it: only the very leg's device may join.
			if err := s.parties.MarkShared(ctx, who.Tenant, n.Identity(), party.Trunk, ""); err != nil {
				return err
			}
		}
		r, err = s.agents.Set(ctx, who.Tenant, id, n, q)
		return err
	})
	if err != nil {
		return wire.Agent{}, err
	}
	return r.Info(time.Now(), true), nil
}

func (s agents) RemoveAgent(ctx context.Context, who httpapi.Caller, id string) error {
	if _, err := s.its(ctx, who, id); err != nil {
		return problem(s.log, "remove agent", err)
	}
	return s.audited(ctx, who, audit.Record{What: audit.AgentRemoved, On: on("agent", id)}, func() error { return s.agents.Remove(ctx, who.Tenant, id) })
}

func (s agents) InviteAgent(ctx context.Context, who httpapi.Caller, id string, q wire.AgentCodeRequest) (c wire.AgentCode, err error) {
	if _, err := s.its(ctx, who, id); err != nil {
		return c, problem(s.log, "invite agent", err)
	}
	serves := map[string]string{"serves": "once"}
	if q.Reusable {
		serves["serves"] = "often"
	}
	err = s.audited(ctx, who, audit.Record{What: audit.AgentInvited, On: on("agent", id), Details: serves}, func() (err error) {
		c, err = s.agents.Invite(ctx, who.Tenant, id, q)
		return err
	})
	c.Link = s.cfg.URL() + "/agent/#" + c.Code
	return c, err
}

func (s agents) RevokeSignIns(ctx context.Context, who httpapi.Caller, id string) error {
	if _, err := s.its(ctx, who, id); err != nil {
		return problem(s.log, "revoke sign-ins", err)
	}
	return s.audited(ctx, who, audit.Record{What: audit.AgentRevoked, On: on("agent", id)}, func() error { return s.agents.Revoke(ctx, who.Tenant, id) })
}

func (s agents) AgentSettings(ctx context.Context, who httpapi.Caller) (wire.AgentSettings, error) {
	set, err := s.agents.Settings(ctx, who.Tenant)
	return set, problem(s.log, "agent settings", err)
}

func (s agents) SetAgentSettings(ctx context.Context, who httpapi.Caller, q wire.AgentSettings) (wire.AgentSettings, error) {
	return q, s.audited(ctx, who, audit.Record{What: audit.AgentSettingsSet}, func() error { return s.agents.SetSettings(ctx, who.Tenant, q) })
}

func (s agents) SignIn(ctx context.Context, q wire.AgentSignIn) (wire.AgentSignedIn, error) {
	r, err := s.agents.SignIn(ctx, home(ctx), q, device.Thumbprint(q.Key))
	if err != nil {
		return wire.AgentSignedIn{}, s.refused(stranger(ctx), audit.Record{What: audit.LoginRefused, Details: map[string]string{"by": "agent"}}, err)
	}
	made := audit.Record{
		Tenant: r.Tenant, Who: wire.AuditActor{Role: string(httpapi.RoleDevice), ID: string(r.Device)}, What: audit.AgentSignedIn, On: on("agent", r.ID),
	}
	if err := s.audit.Append(ctx, made); err != nil {
		return wire.AgentSignedIn{}, problem(s.log, "audit", err) // repeating the sign-in is harmless
	}
	d, err := s.devices.Get(ctx, r.Tenant, r.Device)
	if err != nil {
		return wire.AgentSignedIn{}, problem(s.log, "sign in", err)
	}
	info, err := s.info(ctx, d)
	return wire.AgentSignedIn{Agent: r.Info(time.Now(), true), Device: info}, err
}

func (s agents) Agent(ctx context.Context, who httpapi.Caller) (wire.Agent, error) {
	r, err := s.agents.Of(ctx, who.Tenant, who.Device)
	return r.Info(time.Now(), true), problem(s.log, "agent", err)
}

func (s agents) SignOut(ctx context.Context, who httpapi.Caller) error {
	r, err := s.agents.Of(ctx, who.Tenant, who.Device)
	if err != nil {
		return problem(s.log, "sign out", err)
	}
	return s.audited(ctx, who, audit.Record{What: audit.AgentSignedOut, On: on("agent", r.ID)}, func() error { return s.agents.SignOut(ctx, who.Tenant, who.Device) })
}

func (s agents) SetState(ctx context.Context, who httpapi.Caller, q wire.AgentStateRequest) (wire.Agent, error) {
	r, err := s.agents.SetState(ctx, who.Tenant, who.Device, q)
	return r.Info(time.Now(), true), problem(s.log, "agent state", err)
}

func (s agents) OwnSettings(ctx context.Context, who httpapi.Caller) (set wire.AgentSettings, err error) {
	if _, err = s.agents.Of(ctx, who.Tenant, who.Device); err == nil {
		set, err = s.agents.Settings(ctx, who.Tenant)
	}
	return set, problem(s.log, "agent settings", err)
}

func (s agents) Colleagues(ctx context.Context, who httpapi.Caller) ([]wire.Agent, error) {
	list := []wire.Agent{}
	me, err := s.agents.Of(ctx, who.Tenant, who.Device)
	if err != nil {
		return list, problem(s.log, "colleagues", err)
	}
	all, err := s.agents.List(ctx, who.Tenant)
	for _, r := range all {
		if r.Number == me.Number {
			list = append(list, r.Info(time.Now(), me.Supervisor))
		}
	}
	return list, problem(s.log, "colleagues", err)
}

func (s agents) Conversations(ctx context.Context, who httpapi.Caller, text, after string, limit int) (wire.ConversationList, error) {
	l := wire.ConversationList{Conversations: []wire.Conversation{}}
	set, err := s.agents.Settings(ctx, who.Tenant)
	if err != nil {
		return l, problem(s.log, "conversations", err)
	}
	found, next, err := s.agents.Search(ctx, who.Tenant, who.Device, agent.Query{Text: text, After: after, Limit: limit})
	for _, c := range found {
		l.Conversations = append(l.Conversations, c.Info(set.RetentionDays))
	}
	l.Next = next
	return l, problem(s.log, "conversations", err)
}

func (s agents) conversation(ctx context.Context, who httpapi.Caller, doing string, c agent.Conversation, err error) (wire.Conversation, error) {
	set := wire.AgentSettings{}
	if err == nil {
		set, err = s.agents.Settings(ctx, who.Tenant)
	}
	return c.Info(set.RetentionDays), problem(s.log, doing, err)
}

func (s agents) Conversation(ctx context.Context, who httpapi.Caller, id wire.SessionID) (x wire.AgentConversation, err error) {
	c, err := s.agents.Conversation(ctx, who.Tenant, who.Device, id)
	if x.Conversation, err = s.conversation(ctx, who, "conversation", c, err); err != nil {
		return x, err
	}
	x.Party, err = s.customer(ctx, who, id)
	return x, problem(s.log, "conversation", err)
}

// customer says who the other party of an agent's session is, and how far that is proved; nil once
// the session is over, or where the caller is not in it.
func (s agents) customer(ctx context.Context, who httpapi.Caller, id wire.SessionID) (*wire.Customer, error) {
	rec, err := s.sessions.Record(ctx, who.Tenant, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && rec.Phase == wire.Closed {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	mine := slices.IndexFunc(rec.Members, func(m session.Member) bool { return m.Device == who.Device && m.Left.IsZero() })
	if mine < 0 {
		return nil, nil
	}
	x := &wire.Customer{Proofs: []string{}}
	for _, m := range rec.Members {
		side := rec.Sides[m.Side-1]
		if m.Side == rec.Members[mine].Side || !m.Left.IsZero() || side.Principal.IsZero() {
			continue
		}
		x.Identity = side.Shown
		if x.Name == "" {
			x.Name = m.Name
		}
		if x.Call == "" {
			evidence, err := s.matcher.Own(ctx, who.Tenant, side.Principal, id)
			if err != nil {
				return nil, err
			}
			x.Call = string(evidence)
		}
		d, err := s.devices.Get(ctx, who.Tenant, m.Device)
		if err != nil && !errors.Is(err, device.ErrNotFound) {
			return nil, err
		}
		for _, b := range d.Current(time.Now()) {
			if !slices.Contains(x.Proofs, b.Kind) {
				x.Proofs = append(x.Proofs, b.Kind)
			}
		}
	}
	return x, nil
}

func (s agents) Note(ctx context.Context, who httpapi.Caller, id wire.SessionID, q wire.NoteRequest) (wire.Conversation, error) {
	c, err := s.agents.Note(ctx, who.Tenant, who.Device, id, q)
	return s.conversation(ctx, who, "note", c, err)
}

func (s agents) WrapUp(ctx context.Context, who httpapi.Caller, id wire.SessionID, q wire.WrapUpRequest) (wire.Conversation, error) {
	c, err := s.agents.Complete(ctx, who.Tenant, who.Device, id, q.Code)
	return s.conversation(ctx, who, "wrap up", c, err)
}

func (s agents) Transfer(ctx context.Context, who httpapi.Caller, id wire.SessionID, q wire.TransferRequest) error {
	if _, err := s.agents.Of(ctx, who.Tenant, who.Device); err != nil {
		return problem(s.log, "transfer", err)
	}
	r := audit.Record{What: audit.AgentTransferred, On: append(on("session", string(id)), on("agent", q.To)...)}
	return s.audited(ctx, who, r, func() error { return s.agents.Transfer(ctx, who.Tenant, who.Device, id, q.To) })
}

func (s agents) Look(ctx context.Context, who httpapi.Caller, id wire.SessionID) (wire.Conversation, error) {
	before, _, err := s.agents.Looking(ctx, who.Tenant, who.Device, id)
	if err != nil && !errors.Is(err, agent.ErrNoLook) {
		return wire.Conversation{}, problem(s.log, "look", err)
	}
	c := before
	look := func() (err error) {
		c, err = s.agents.Look(ctx, who.Tenant, who.Device, id)
		return err
	}
	if err == nil { // prolonged
		err = problem(s.log, "look", look())
	} else {
		err = s.audited(ctx, who, audit.Record{What: audit.AgentLooked, On: on("session", string(id))}, look)
	}
	return s.conversation(ctx, who, "look", c, err)
}

func (s agents) LookedInto(ctx context.Context, who httpapi.Caller, id wire.SessionID, after uint64) (wire.LookedInto, error) {
	x := wire.LookedInto{Messages: []wire.Envelope{}}
	c, holder, err := s.agents.Looking(ctx, who.Tenant, who.Device, id)
	if x.Conversation, err = s.conversation(ctx, who, "look", c, err); err != nil {
		return x, err
	}
	if x.Session, err = s.sessions.Get(ctx, who.Tenant, holder, id); err != nil {
		return x, problem(s.log, "look", err)
	}
	l, err := s.sessions.Messages(ctx, who.Tenant, holder, id, after, 200)
	x.Messages = l.Messages
	return x, problem(s.log, "look", err)
}

func (s agents) EndLook(ctx context.Context, who httpapi.Caller, id wire.SessionID) error {
	return problem(s.log, "look", s.agents.EndLook(ctx, who.Tenant, who.Device, id))
}
