package sms

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/tandem-call/tandem/internal/notify"
	"github.com/tandem-call/tandem/tel"
)

// Message is a text message.
type Message struct {
	To   tel.Number
	Text string
	// From is the sender that it shows; empty: the gateway's.
	From string
	// Report is an address, with a query, to which the gateway reports whether the message was
	// delivered; empty: nobody wants to know.
	Report string
}

// Sender sends messages; Kannel, Webhook and Dev do.
type Sender interface {
	Send(ctx context.Context, m Message) error
}

// DefaultText of an invitation.
const DefaultText = "{from} wants to share something with you in your call: {link} Reply STOP to get no more messages."

// Unnamed is {from} where the number is withheld.
const Unnamed = "The person you are speaking to"

// MaxSegments is the most messages that an invitation may take.
const MaxSegments = 3

// Country is how messages look whose number begins with Prefix ("+44"); the longest fitting
// prefix counts. Empty fields are those of the whole.
type Country struct {
	Prefix string `koanf:"prefix"`
	From   string `koanf:"from"`
	Text   string `koanf:"text"`
}

// InviterConfig configures an [Inviter].
type InviterConfig struct {
	Sender Sender
	// Link is the address in front of the link's identifier: "https://tandem.example/g/".
	Link string
	// Text of the invitation, in which {from} and {link} are replaced. Empty: DefaultText.
	Text      string
	Countries []Country
	// Report is the address that gateways report to, with the query that proves them; "": none.
	Report string
}

// Inviter sends invitations to those who have no client (SPEC D4). It implements
// notify.Pusher; the push's identifier is the link's.
type Inviter struct {
	c        InviterConfig
	segments atomic.Uint64
}

// NewInviter checks the configuration: no text may take more than MaxSegments. ErrConfig.
func NewInviter(c InviterConfig) (*Inviter, error) {
	if c.Text == "" {
		c.Text = DefaultText
	}
	all := append([]Country{{Text: c.Text}}, c.Countries...)
	for _, country := range all {
		if country.Text == "" {
			continue
		}
		if !strings.Contains(country.Text, "{link}") {
			return nil, fmt.Errorf("%w: an invitation needs {link}", ErrConfig)
		}
		text := fill(country.Text, Unnamed, c.Link+"psh_"+strings.Repeat("A", 26))
		if n := Segments(text); n > MaxSegments {
			return nil, fmt.Errorf("%w: an invitation takes %d messages, at most %d are allowed: %q", ErrConfig, n, MaxSegments, country.Text)
		}
	}
	return &Inviter{c: c}, nil
}

func fill(text, from, link string) string {
	return strings.NewReplacer("{from}", from, "{link}", link).Replace(text)
}

// Segments that were sent since the start.
func (i *Inviter) Segments() uint64 { return i.segments.Load() }

// Push sends the invitation.
func (i *Inviter) Push(ctx context.Context, p notify.Push) error {
	to, err := tel.ParseNumber(p.App, "")
	if err != nil || p.About.Invite == nil {
		return fmt.Errorf("%w: not an invitation to a number", notify.ErrRefused)
	}
	m := Message{To: to}
	text, longest := i.c.Text, -1
	for _, c := range i.c.Countries {
		if strings.HasPrefix(to.String(), c.Prefix) && len(c.Prefix) > longest {
			longest = len(c.Prefix)
			m.From = c.From
			if text = i.c.Text; c.Text != "" {
				text = c.Text
			}
		}
	}
	from := Unnamed
	if n, ok := p.About.Invite.Claimant.Number(); ok {
		from = n.String()
	}
	m.Text = fill(text, from, i.c.Link+string(p.ID))
	if i.c.Report != "" {
		m.Report = i.c.Report + "&id=" + url.QueryEscape(string(p.ID))
	}
	err = i.c.Sender.Send(ctx, m)
	switch {
	case errors.Is(err, ErrRejected):
		return fmt.Errorf("%w: %w", notify.ErrRefused, err)
	case err != nil:
		return err
	}
	i.segments.Add(uint64(Segments(m.Text)))
	return nil
}
