package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// screen shows what happens to a device, a line each.
type screen struct {
	json   bool
	me     *client.Identity
	inbox  string
	accept bool
	memory *memory
	book   *client.Book
	can    wire.PlaceAbility
	at     *wire.PlaceShare // where it is, if that is known for good
	device *client.Device
	group  *errgroup.Group
	ctx    context.Context

	mu    sync.Mutex
	done  map[wire.FileID]bool // files fetched or being fetched
	names map[wire.SessionID]wire.SessionState
}

func (s *screen) say(event string, fields map[string]any, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.json {
		fields["event"], fields["time"] = event, time.Now().UTC()
		_ = json.NewEncoder(os.Stdout).Encode(fields) // nobody reads any more
		return
	}
	fmt.Printf("%s  %s\n", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, args...))
}

func (s *screen) events() client.Events {
	return client.Events{
		Connected: func(w wire.Welcome) {
			s.say("connected", map[string]any{"device": w.Device}, "connected as %s (%s)", s.me.Name, s.me.Number)
		},
		Disconnected: func(err error) {
			s.say("disconnected", map[string]any{"error": fmt.Sprint(err)}, "connection lost (%v); coming back", err)
		},
		Session:   s.session,
		Available: s.available,
		Message: func(e wire.Envelope) {
			s.message(e)
			s.memory.shown(e)
		},
		Signal: s.signal,
		Lost: func(id wire.SessionID) {
			s.say("lost", map[string]any{"session": id}, "some messages of the session are no longer to be had")
		},
		Notice: func(n wire.Notice) {
			text := fmt.Sprintf("notice: %s %s", n.Code, printable(n.Name))
			switch n.Code {
			case wire.NoticeCoupled:
				text = fmt.Sprintf("%q carries data for your telephone from now on; if that was not you: tandem device couplings remove", n.Name)
			case wire.NoticeUncoupled:
				text = fmt.Sprintf("%q carries data for your telephone no more", n.Name)
			case wire.NoticeApart:
				text = fmt.Sprintf("%q is no longer near", n.Name)
			case wire.NoticeNewDevice:
				text = fmt.Sprintf("a further device, %q, has proved your number; if that was not you, tell your operator", n.Name)
			}
			s.say("notice", map[string]any{"code": n.Code, "name": n.Name, "at": n.At}, "%s", text)
		},
		Rewind: func(id wire.SessionID, seq uint64) {
			s.memory.rewound(id, seq)
			s.say("rewind", map[string]any{"session": id, "seq": seq}, "the server was restarted: messages after number %d were never stored", seq)
		},
		Invite: s.invite,
		Withdrawn: func(w wire.Withdrawn) {
			s.say("withdrawn", map[string]any{"invitation": w.Invitation, "reason": w.Reason}, "the invitation is no longer open (%s)", w.Reason)
		},
		Words: func(w wire.Words) {
			if w.Read != "" {
				s.say("words", map[string]any{"invitation": w.Invitation, "read": w.Read},
					"the other side of your call would share data with you. If you want that:\n  tandem session accept --as %s %s\nand say to them: %q", s.me.Name, w.Invitation, w.Read)
				return
			}
			s.say("words", map[string]any{"invitation": w.Invitation, "tries": w.TriesLeft},
				"the other side reads two words to you; type them:  tandem session words --as %s %s WORD WORD", s.me.Name, w.Invitation)
		},
	}
}

func (s *screen) reported(r client.Reported) {
	if r.Err != nil {
		s.say("report-failed", map[string]any{"state": r.Details.State, "error": r.Err.Error()}, "the report of the call was refused: %s", explain(r.Err))
		return
	}
	s.say("reported", map[string]any{"state": r.Details.State, "other": r.Details.Other, "session": r.Ack.Session, "took_ms": r.Took.Milliseconds()},
		"call %s: %s %s (reported in %s)", r.Details.State, r.Details.Direction, orWithheld(r.Details.Other), r.Took.Round(100*time.Microsecond))
}

func (s *screen) forwarded(r wire.Report, ack wire.Ack, err error) {
	if err != nil {
		s.say("report-failed", map[string]any{"state": r.State, "error": err.Error()}, "the element's report was refused: %s", explain(err))
		return
	}
	s.say("forwarded", map[string]any{"state": r.State, "other": r.Other, "session": ack.Session}, "the network says: call %s, %s", r.State, orWithheld(r.Other))
}

func (s *screen) available(a wire.Available) {
	with := make([]string, len(a.With))
	for i, id := range a.With {
		with[i] = id.String()
	}
	fields := map[string]any{"session": a.Session, "phase": a.Phase, "with": a.With}
	if a.Phase == wire.Closed {
		s.say("available", fields, "the session %s is closed", a.Session)
		return
	}
	s.say("available", fields, "a session with %s is there (%s); to join:  tandem session join --as %s %s", strings.Join(with, ", "), a.Phase, s.me.Name, a.Session)
}

func orWithheld(id tel.Identity) string {
	if id.IsZero() {
		return "withheld number"
	}
	return id.String()
}

func (s *screen) session(st wire.SessionState) {
	s.mu.Lock()
	if s.names == nil {
		s.names = map[wire.SessionID]wire.SessionState{}
	}
	before := s.names[st.ID]
	s.names[st.ID] = st
	s.mu.Unlock()
	if st.Phase == wire.InCall && s.at != nil && len(before.Members) != len(st.Members) {
		s.followRules(st.ID)
	}
	fields := map[string]any{"session": st.ID, "phase": st.Phase, "members": st.Members, "you": st.You, "until": st.Until}
	switch st.Phase {
	case wire.InCall:
		s.say("session", fields, "session %s is open with %s", st.ID, others(st))
	case wire.AfterCall:
		s.say("session", fields, "the call is over; the session stays open until %s", st.Until.Local().Format(time.TimeOnly))
	case wire.Closed:
		s.memory.over(st.ID)
		s.say("session", fields, "the session is closed (%s)", st.Reason)
	}
}

// others names the members that are not of one's own side.
func others(st wire.SessionState) string {
	own := -1
	for _, m := range st.Members {
		if m.ID == st.You {
			own = m.Side
		}
	}
	var names []string
	for _, m := range st.Members {
		if m.Side != own && !m.Left {
			names = append(names, label(m))
		}
	}
	return strings.Join(names, ", ")
}

func label(m wire.Member) string {
	switch {
	case m.Name != "" && !m.Identity.IsZero():
		return fmt.Sprintf("%s (%s)", m.Name, m.Identity)
	case m.Name != "":
		return m.Name
	}
	return orWithheld(m.Identity)
}

func (s *screen) message(e wire.Envelope) {
	s.mu.Lock()
	st := s.names[e.Session]
	s.mu.Unlock()
	// What the server says in this device's name is news to it, too.
	if e.From == "" || e.From == st.You && e.Kind != wire.KindFile && e.Kind != wire.KindOverlayResult {
		return
	}
	from := string(e.From)
	for _, m := range st.Members {
		if m.ID == e.From {
			from = label(m)
		}
	}
	fields := map[string]any{"session": e.Session, "seq": e.Seq, "from": e.From, "kind": e.Kind, "body": e.Body}
	switch e.Kind {
	case wire.KindText:
		var t wire.Text
		if json.Unmarshal(e.Body, &t) == nil {
			s.say("message", fields, "%s: %s", from, printable(t.Text))
			return
		}
	case wire.KindLink:
		var l wire.Link
		if json.Unmarshal(e.Body, &l) == nil {
			s.say("message", fields, "%s: %s %s", from, printable(l.Name), printable(l.URL))
			return
		}
	case wire.KindPlace, wire.KindPlaceAsk, wire.KindPlaceStopped:
		s.place(e, from)
		return
	case wire.KindProfile:
		var m wire.ProfileMessage
		if json.Unmarshal(e.Body, &m) == nil {
			s.profile(e.Session, from, m)
			return
		}
	case wire.KindFile:
		var f wire.File
		if json.Unmarshal(e.Body, &f) == nil {
			if e.From != st.You {
				s.say("message", fields, "%s sends %s (%s, %s)", from, printable(f.Name), f.Type, bytesText(f.Size))
				s.fetch(f)
			}
			return
		}
	}
	s.say("message", fields, "%s: %s %s", from, e.Kind, printable(string(e.Body)))
}

// profile keeps what is new of the other side's profile, and shows it.
func (s *screen) profile(session wire.SessionID, from string, m wire.ProfileMessage) {
	if m.Withdrawn {
		s.say("profile", map[string]any{"session": session, "owner": m.Owner, "withdrawn": true}, "%s takes back what it had sent of itself", from)
	}
	s.group.Go(func() error {
		r, err := s.book.Receive(s.ctx, s.device.API(), session, m)
		switch {
		case s.ctx.Err() != nil || m.Withdrawn && err == nil:
			return nil
		case err != nil:
			s.say("profile-failed", map[string]any{"owner": m.Owner, "error": err.Error()}, "the profile of %s is not complete: %s", from, explain(err))
			return nil
		}
		lines := ""
		for _, f := range r.Fields {
			lines += "\n  " + fieldLine(f)
		}
		how := ""
		if m.Contact == "" && m.Keep == wire.KeepAsk {
			how = fmt.Sprintf("\n  to keep it:  tandem contact keep --as %s %s", s.me.Name, m.Owner)
		}
		s.say("profile", map[string]any{
			"session": session, "owner": m.Owner, "fields": r.Fields, "new": len(m.Fields), "show": m.Show, "keep": m.Keep, "contact": m.Contact, "pictures": r.Pictures,
		}, "%s lets you know:%s%s", from, lines, how)
		return nil
	})
}

// printable keeps control characters of the other side's off the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\n' || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '·'
		}
		return r
	}, s)
}

func bytesText(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1<<10:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d bytes", n)
}

// fetch downloads an offered file, beside everything else.
func (s *screen) fetch(f wire.File) {
	s.mu.Lock()
	known := s.done[f.ID]
	s.done[f.ID] = true
	s.mu.Unlock()
	if known {
		return
	}
	s.memory.wanted(f)
	s.group.Go(func() error {
		start := time.Now()
		path, err := s.device.API().Download(s.ctx, f, s.inbox, nil)
		if p := (*wire.Problem)(nil); err == nil || errors.As(err, &p) && !wire.Catalogue[p.Code].Retry {
			s.memory.settled(f.ID)
		}
		if err != nil && s.ctx.Err() != nil {
			return nil // the next run goes on
		}
		if err != nil {
			s.mu.Lock()
			delete(s.done, f.ID)
			s.mu.Unlock()
			s.say("file-failed", map[string]any{"file": f.ID, "error": err.Error()}, "%s could not be fetched: %s", printable(f.Name), explain(err))
			return nil
		}
		s.say("file", map[string]any{"file": f.ID, "path": path, "sha256": f.SHA256}, "%s is here: %s (%s)", printable(f.Name), path, time.Since(start).Round(time.Millisecond))
		return nil
	})
}

func (s *screen) invite(i wire.Invite) {
	who := orWithheld(i.Claimant)
	s.say("invite", map[string]any{"invitation": i.ID, "claimant": i.Claimant, "until": i.Until}, "start a data session with %s, whom you are speaking to?", who)
	if !s.accept {
		s.say("invite-how", map[string]any{"invitation": i.ID}, "  yes:  tandem session accept --as %s %s\n%14s no:   tandem session decline --as %s %s", s.me.Name, i.ID, "", s.me.Name, i.ID)
		return
	}
	s.group.Go(func() error {
		if err := s.device.Answer(s.ctx, i.ID, true); err != nil {
			s.say("invite-failed", map[string]any{"invitation": i.ID, "error": err.Error()}, "the invitation could not be accepted: %s", explain(err))
		}
		return nil
	})
}
