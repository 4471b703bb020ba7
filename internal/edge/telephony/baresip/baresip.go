// Package baresip learns of calls from the softphone baresip, by the events of its
// ctrl_tcp module (SPEC A1): a device's own telephone tells it, nothing is polled.
//
// The phone listens on a TCP port (4444 unless configured), serves one client at a
// time, and speaks JSON objects in netstrings. [Detector.Run] connects, turns the events
// into call party details, and comes back when the phone was restarted; what ended
// meanwhile is then reported as ended.
package baresip

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-call/tandem/tel"
)

// DefaultAddr is where ctrl_tcp listens unless configured otherwise.
const DefaultAddr = "127.0.0.1:4444"

// maxMessage is the largest netstring taken, in bytes: far above any event.
const maxMessage = 1 << 20

// ErrProtocol: what answers at the address does not speak as baresip's ctrl_tcp does.
var ErrProtocol = errors.New("baresip: not the ctrl_tcp protocol")

// Config of a Detector.
type Config struct {
	// Addr of the phone's ctrl_tcp; empty: DefaultAddr.
	Addr string
	// SIPUsers keeps SIP addresses as they are. Otherwise a user part such as
	// +442079460002 is the telephone number that it looks like: this phone's account is
	// configured to mean it so (DESIGN section 3).
	SIPUsers bool
	// Retry is the pause before connecting again; zero: 1 s.
	Retry  time.Duration
	Logger *slog.Logger
}

// Detector learns of one phone's calls.
type Detector struct {
	cfg Config
	// calls that are up, by Call-ID; owned by Run.
	calls map[string]tel.PartyDetails
}

// New returns a detector.
func New(c Config) *Detector {
	if c.Addr == "" {
		c.Addr = DefaultAddr
	}
	if c.Retry == 0 {
		c.Retry = time.Second
	}
	return &Detector{cfg: c, calls: map[string]tel.PartyDetails{}}
}

// Run tells report of every change of a call, in order, until ctx ends; Own is left
// for the caller to fill in where the account is not a number. It returns nil, or
// ErrProtocol when coming back is useless.
func (d *Detector) Run(ctx context.Context, report func(tel.PartyDetails)) error {
	quiet := false // say once that the phone is away
	for {
		connected, err := d.connection(ctx, report)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, ErrProtocol) {
			return err
		}
		if connected || !quiet {
			d.cfg.Logger.Warn("the phone is not there; waiting for it", "addr", d.cfg.Addr, "err", err)
		}
		quiet = true
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(d.cfg.Retry):
		}
	}
}

func (d *Detector) connection(ctx context.Context, report func(tel.PartyDetails)) (connected bool, err error) {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp", d.cfg.Addr)
	if err != nil {
		return false, fmt.Errorf("baresip: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer func() { stop(); c.Close() }()
	// What is up now? The answer names peers only, but tells what ended while we were away.
	if err := write(c, `{"command":"listcalls","token":"tandem-calls"}`); err != nil {
		return false, fmt.Errorf("baresip: %w", err)
	}
	d.cfg.Logger.Info("listening to the phone", "addr", d.cfg.Addr)
	r := bufio.NewReader(c)
	for {
		b, err := readNetstring(r)
		if err != nil {
			return true, err
		}
		var m message
		if err := json.Unmarshal(b, &m); err != nil {
			return true, fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		switch {
		case m.Event:
			d.event(m, report)
		case m.Response && m.Token == "tandem-calls":
			d.catchUp(m.Data, report)
		}
	}
}

// message is an event or a response of ctrl_tcp.
type message struct {
	Event     bool   `json:"event"`
	Response  bool   `json:"response"`
	Token     string `json:"token"`
	Data      string `json:"data"`
	Type      string `json:"type"`
	Account   string `json:"accountaor"`
	Direction string `json:"direction"`
	Peer      string `json:"peeruri"`
	CallID    string `json:"id"`
}

// states of a call by the type of the event.
var states = map[string]tel.State{
	"CALL_INCOMING": tel.Ringing, "CALL_RINGING": tel.Ringing, "CALL_PROGRESS": tel.Ringing,
	"CALL_ESTABLISHED": tel.Active, "CALL_CLOSED": tel.Ended,
}

func (d *Detector) event(m message, report func(tel.PartyDetails)) {
	state, ok := states[m.Type]
	if !ok || m.CallID == "" {
		return
	}
	p := tel.PartyDetails{
		Own: d.identity(m.Account), Other: d.identity(m.Peer), State: state,
		Ref: tel.Ref{CallID: m.CallID},
	}
	switch m.Direction {
	case "incoming":
		p.Direction = tel.Incoming
	case "outgoing":
		p.Direction = tel.Outgoing
	}
	if old, known := d.calls[m.CallID]; known && old.State == state {
		return
	}
	if state == tel.Ended {
		delete(d.calls, m.CallID)
		for id, found := range d.calls { // found by catchUp, before its Call-ID was known
			if found.Ref.CallID == "" && found.Other == p.Other {
				delete(d.calls, id)
				found.State = tel.Ended
				report(found)
			}
		}
	} else {
		d.calls[m.CallID] = p
	}
	report(p)
}

// A line of listcalls: "> [line 1]  0:00:05  ESTABLISHED   sip:+442079460002@example.com".
var callLine = regexp.MustCompile(`\[line \d+\]\s+\S+\s+(\w+)\s+(sips?:\S+)`)

// catchUp compares the calls that the phone has now with those that we know.
func (d *Detector) catchUp(data string, report func(tel.PartyDetails)) {
	now := map[tel.Identity]tel.State{}
	for _, m := range callLine.FindAllStringSubmatch(data, -1) {
		state := tel.Ringing
		if m[1] == "ESTABLISHED" {
			state = tel.Active
		}
		now[d.identity(m[2])] = state
	}
	for id, p := range d.calls {
		if _, up := now[p.Other]; up {
			delete(now, p.Other)
			continue
		}
		delete(d.calls, id)
		p.State = tel.Ended
		report(p)
	}
	for other, state := range now {
		if other.IsZero() {
			continue
		}
		p := tel.PartyDetails{Other: other, State: state, Ref: tel.Ref{Local: "found:" + other.String()}}
		d.calls[p.Ref.Local] = p
		report(p)
	}
}

// identity reads an address of the phone's; the zero Identity where it names nobody
// ("anonymous", RFC 3323).
func (d *Detector) identity(uri string) tel.Identity {
	user, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(uri, "sips:"), "sip:"), "@")
	if strings.EqualFold(user, "anonymous") {
		return tel.Identity{}
	}
	if !d.cfg.SIPUsers && strings.HasPrefix(user, "+") {
		if n, err := tel.SIPNumber(uri, ""); err == nil {
			return n.Identity()
		}
	}
	id, err := tel.ParseIdentity(uri, "")
	if err != nil {
		d.cfg.Logger.Warn("the phone named a party in a form that is no identity; it counts as withheld", "err", err)
	}
	return id
}

func write(w io.Writer, s string) error {
	_, err := fmt.Fprintf(w, "%d:%s,", len(s), s)
	return err
}

// readNetstring reads one netstring: LENGTH ":" BYTES ",".
func readNetstring(r *bufio.Reader) ([]byte, error) {
	head, err := r.ReadSlice(':')
	if errors.Is(err, bufio.ErrBufferFull) || err == nil && len(head) > 8 {
		return nil, fmt.Errorf("%w: it does not begin with a length", ErrProtocol)
	}
	if err != nil {
		return nil, fmt.Errorf("baresip: %w", err)
	}
	n, err := strconv.Atoi(string(head[:len(head)-1]))
	if err != nil || n < 0 || n > maxMessage {
		return nil, fmt.Errorf("%w: %q is not a length", ErrProtocol, head)
	}
	b := make([]byte, n+1)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("baresip: %w", err)
	}
	if b[n] != ',' {
		return nil, fmt.Errorf("%w: a message does not end where it should", ErrProtocol)
	}
	return b[:n], nil
}
