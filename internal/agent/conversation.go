package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Conversation is what stays of a session in which an agent was: table "conversations", key
// store.Key(tenant, session).
type Conversation struct {
	Tenant  wire.TenantID  `json:"tenant"`
	Session wire.SessionID `json:"session"`
	Number  tel.Number     `json:"number"`
	// Customer as the call showed it; zero where it was withheld. Principal finds it when the
	// party is erased, and is shown to nobody.
	Customer  tel.Identity     `json:"customer,omitzero"`
	Principal tel.Identity     `json:"principal,omitzero"`
	Opened    time.Time        `json:"opened"`
	CallOver  time.Time        `json:"call_over,omitzero"`
	Closed    time.Time        `json:"closed,omitzero"`
	Stints    []wire.Stint     `json:"stints"`
	Notes     []wire.AgentNote `json:"notes,omitempty"`
	WrapUp    *wire.WrapUp     `json:"wrap_up,omitempty"`
	// Looks are the supervisors' who looked into it.
	Looks []wire.Look `json:"looks,omitempty"`
}

// Info is the conversation as agents see it.
func (c *Conversation) Info(retention int) wire.Conversation {
	return wire.Conversation{
		Session: c.Session, Number: c.Number, Customer: c.Customer, Opened: c.Opened, CallOver: c.CallOver, Closed: c.Closed,
		Stints: append([]wire.Stint{}, c.Stints...), Notes: append([]wire.AgentNote{}, c.Notes...), WrapUp: c.WrapUp,
		Looks: append([]wire.Look{}, c.Looks...), Until: c.until(retention),
	}
}

func (c *Conversation) until(retention int) time.Time { return c.Opened.AddDate(0, 0, retention) }

// shownTo reports whether an agent sees it: its own, and a supervisor those of its number. Other numbers
// of the tenant may be another provider's, whose keys cannot look after this agent either.
func (c *Conversation) shownTo(r Record) bool {
	return c.had(r.ID) || r.Supervisor && c.Number == r.Number
}

// had reports whether the agent had a part in it.
func (c *Conversation) had(agent string) bool {
	return slices.ContainsFunc(c.Stints, func(x wire.Stint) bool { return x.Agent == agent })
}

// holds reports whether the text is in what is kept: in the customer's identity, notes, the
// wrap-up code or an agent's name. text is in lower case.
func (c *Conversation) holds(text string) bool {
	if text == "" {
		return true
	}
	in := func(s string) bool { return strings.Contains(strings.ToLower(s), text) }
	digits := strings.NewReplacer(" ", "", "-", "", "(", "", ")", "").Replace(text)
	return !c.Customer.IsZero() && (in(c.Customer.String()) || digits != "" && strings.Contains(c.Customer.String(), digits)) ||
		c.WrapUp != nil && in(c.WrapUp.Code) ||
		slices.ContainsFunc(c.Stints, func(x wire.Stint) bool { return in(x.Name) }) ||
		slices.ContainsFunc(c.Notes, func(n wire.AgentNote) bool { return in(n.Text) })
}

// Seen is a session as the server sees it.
type Seen struct {
	Tenant   wire.TenantID
	Session  wire.SessionID
	Phase    wire.Phase
	Opened   time.Time
	CallOver time.Time
	Closed   time.Time
	Members  []Member
}

// Member of a session, in the order in which they came.
type Member struct {
	Device           wire.DeviceID
	Side             int
	Principal, Shown tel.Identity
	// By is the device that let it take another one's place.
	By           wire.DeviceID
	Joined, Left time.Time
}

// Observe learns what has become of a session: the conversation is noted, and the states of its
// agents follow. It may repeat.
func (s *Service) Observe(ctx context.Context, x Seen) error {
	agents := make([]Record, len(x.Members)) // beside the members; those of customers are zero
	by := make([]string, len(x.Members))     // who let them come
	sides := map[int]bool{}                  // of agents
	var own Record
	for i, m := range x.Members {
		id, err := s.agentOf(ctx, x.Tenant, m.Device)
		if err == nil {
			agents[i], err = s.Get(ctx, x.Tenant, id)
		}
		switch {
		case errors.Is(err, ErrNone), errors.Is(err, ErrNotFound):
			continue
		case err != nil:
			return err
		}
		own, sides[m.Side] = agents[i], true
		if m.By == "" {
			continue
		}
		if by[i], err = s.agentOf(ctx, x.Tenant, m.By); err != nil && !errors.Is(err, ErrNone) {
			return err
		}
	}
	if own.ID == "" {
		return nil
	}
	if err := s.noted(ctx, x, agents, by, sides, own.Number); err != nil {
		return err
	}
	for i, m := range x.Members {
		a := agents[i]
		if a.ID == "" || a.Device != m.Device {
			continue // of an earlier browser of the agent
		}
		open := m.Left.IsZero() && x.Phase != wire.Closed
		inCall := open && x.Phase == wire.InCall
		a, err := store.Change(ctx, s.agents, key(x.Tenant, a.ID), func(r Record, exists bool) (Record, bool, error) {
			if !exists || r.Device != m.Device || slices.Contains(r.Open, x.Session) == open && slices.Contains(r.Calls, x.Session) == inCall {
				return r, false, nil
			}
			r.attend(x.Session, open, inCall, s.now())
			return r, true, nil
		})
		if err != nil {
			return fmt.Errorf("agent: follow a call: %w", err)
		}
		s.tellAgent(ctx, a) // also where its state is as it was: the conversation has been noted
	}
	return nil
}

// noted keeps what is to stay of a session.
func (s *Service) noted(ctx context.Context, x Seen, agents []Record, by []string, sides map[int]bool, n tel.Number) error {
	_, err := store.Change(ctx, s.byTime, timeKey(x.Tenant, x.Opened, x.Session), func(indexed, bool) (indexed, bool, error) {
		return indexed{x.Tenant, x.Session}, true, nil
	})
	if err != nil {
		return fmt.Errorf("agent: note a conversation: %w", err)
	}
	_, err = store.Change(ctx, s.conversations, key(x.Tenant, string(x.Session)), func(c Conversation, exists bool) (Conversation, bool, error) {
		if !exists {
			c = Conversation{Tenant: x.Tenant, Session: x.Session, Number: n, Opened: x.Opened}
		}
		c.CallOver, c.Closed = x.CallOver, x.Closed
		c.Stints = nil
		for i, m := range x.Members {
			switch a := agents[i]; {
			case a.ID != "":
				to := m.Left
				if to.IsZero() {
					to = x.Closed
				}
				c.Stints = append(c.Stints, wire.Stint{Agent: a.ID, Name: a.Name, From: m.Joined, To: to, By: by[i]})
			case !sides[m.Side] && !m.Principal.IsZero(): // forgotten a while after the session's end
				c.Customer, c.Principal = m.Shown, m.Principal
			}
		}
		return c, true, nil
	})
	if err != nil {
		return fmt.Errorf("agent: note a conversation: %w", err)
	}
	return nil
}

// mine returns the conversation, if the agent had a part in it or is a supervisor. ErrNone,
// ErrNotFound.
func (s *Service) mine(ctx context.Context, tenant wire.TenantID, d wire.DeviceID, id wire.SessionID) (Record, Conversation, error) {
	r, err := s.Of(ctx, tenant, d)
	if err != nil {
		return r, Conversation{}, err
	}
	c, _, err := s.conversations.Get(ctx, key(tenant, string(id)))
	if errors.Is(err, store.ErrNotFound) || err == nil && !c.shownTo(r) {
		return r, Conversation{}, ErrNotFound
	}
	if err != nil {
		return r, c, fmt.Errorf("agent: conversation: %w", err)
	}
	return r, c, nil
}

// Conversation returns one. ErrNone, ErrNotFound.
func (s *Service) Conversation(ctx context.Context, tenant wire.TenantID, d wire.DeviceID, id wire.SessionID) (Conversation, error) {
	_, c, err := s.mine(ctx, tenant, d, id)
	return c, err
}

func (s *Service) amend(ctx context.Context, tenant wire.TenantID, id wire.SessionID, decide func(*Conversation) error) (Conversation, error) {
	return store.Change(ctx, s.conversations, key(tenant, string(id)), func(c Conversation, exists bool) (Conversation, bool, error) {
		if !exists {
			return c, false, ErrNotFound
		}
		c.Notes = slices.Clone(c.Notes)
		err := decide(&c)
		return c, err == nil, err
	})
}

// Note writes a note. The same id may be repeated. ErrNone, ErrNotFound, ErrRequest, ErrFull.
func (s *Service) Note(ctx context.Context, tenant wire.TenantID, d wire.DeviceID, id wire.SessionID, q wire.NoteRequest) (Conversation, error) {
	r, c, err := s.mine(ctx, tenant, d, id)
	if err != nil {
		return c, err
	}
	if !wire.ValidID(q.ID) || strings.TrimSpace(q.Text) == "" || len(q.Text) > wire.MaxNoteBytes {
		return c, fmt.Errorf("%w: a note has an id of letters, digits, _ and -, and 1 to %d bytes of text", ErrRequest, wire.MaxNoteBytes)
	}
	return s.amend(ctx, tenant, id, func(c *Conversation) error {
		again := slices.ContainsFunc(c.Notes, func(n wire.AgentNote) bool { return n.ID == q.ID && n.Agent == r.ID })
		switch {
		case again:
		case len(c.Notes) >= wire.MaxNotes:
			return fmt.Errorf("%w: a conversation has at most %d notes", ErrFull, wire.MaxNotes)
		default:
			c.Notes = append(c.Notes, wire.AgentNote{ID: q.ID, Agent: r.ID, Name: r.Name, At: s.now(), Text: q.Text})
		}
		return nil
	})
}

// Complete says how a conversation came out, after which the agent takes calls again. ErrNone,
// ErrNotFound, ErrRequest.
func (s *Service) Complete(ctx context.Context, tenant wire.TenantID, d wire.DeviceID, id wire.SessionID, code string) (Conversation, error) {
	r, c, err := s.mine(ctx, tenant, d, id)
	if err != nil {
		return c, err
	}
	set, err := s.Settings(ctx, tenant)
	if err != nil {
		return c, err
	}
	if !slices.ContainsFunc(set.WrapUpCodes, func(x wire.WrapUpCode) bool { return x.Code == code }) {
		return c, fmt.Errorf("%w: %q is none of the provider's wrap-up codes", ErrRequest, code)
	}
	c, err = s.amend(ctx, tenant, id, func(c *Conversation) error {
		c.WrapUp = &wire.WrapUp{Code: code, Agent: r.ID, At: s.now()}
		return nil
	})
	if err != nil {
		return c, err
	}
	_, err = s.change(ctx, tenant, r.ID, func(r *Record) error {
		if r.State == wire.AgentWrapUp && len(r.Calls) == 0 {
			r.become(wire.AgentAvailable, "", s.now())
		}
		return nil
	})
	return c, err
}
