// Package baresip learns of calls from the softphone baresip, by the events of its
// ctrl_tcp module (SPEC A1): a device's own telephone tells it, nothing is polled.
//
// The phone listens on a TCP port (4444 unless configured), serves one client at a
// time, the newest, and speaks JSON objects in netstrings. [Detector.Run] connects and
// asks which calls are up; then events come by themselves:
//
//	detector                       phone
//	   | -- listcalls ---------------> |
//	   | <-- text, a line per call --- |   what began or ended while we were away
//	   | <-- CALL_INCOMING ----------- |   ringing; of an outgoing call CALL_RINGING
//	   | <-- CALL_ESTABLISHED -------- |   active
//	   | <-- CALL_REMOTE_SDP --------- |   perhaps put on hold: there is no event that says so
//	   | -- listcalls ---------------> |
//	   | <-- text: … (on hold) … ----- |   held
//	   | <-- CALL_CLOSED ------------- |   ended
//
// An outgoing call counts once the other side rings: what is dialled and cannot be reached
// was no call. Hold is seen on the side that holds. When the phone is restarted, or stays
// away, its calls are reported as ended.
package baresip

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/tandem-call/tandem/tel"
)

// DefaultAddr is where ctrl_tcp listens unless configured otherwise.
const DefaultAddr = "127.0.0.1:4444"

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
	Retry time.Duration
	// Gone is how long the phone may stay away before its calls count as ended; zero: 5 s.
	Gone time.Duration
	// Logger; nil for none.
	Logger *slog.Logger
}

// Detector learns of one phone's calls.
type Detector struct {
	cfg   Config
	calls calls // owned by Run
}

// New returns a detector.
func New(c Config) *Detector {
	if c.Addr == "" {
		c.Addr = DefaultAddr
	}
	if c.Retry == 0 {
		c.Retry = time.Second
	}
	if c.Gone == 0 {
		c.Gone = 5 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Detector{cfg: c, calls: calls{sipUsers: c.SIPUsers, log: c.Logger, began: time.Now().UnixMilli()}}
}

// Run tells report of every change of a call, in order, until ctx ends; Own is left
// for the caller to fill in where the account is not a number. It returns nil, or
// ErrProtocol when coming back is useless.
func (d *Detector) Run(ctx context.Context, report func(tel.PartyDetails)) error {
	d.calls.report = report
	seen := time.Now()
	told := false // that the phone is away
	for {
		connected, err := d.connection(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, ErrProtocol) {
			return err
		}
		if connected {
			seen, told = time.Now(), false
		}
		if !told {
			d.cfg.Logger.Warn("the phone is not there; waiting for it", "addr", d.cfg.Addr, "err", err)
			told = true
		}
		if time.Since(seen) >= d.cfg.Gone {
			d.calls.gone()
		}
		t := time.NewTimer(d.cfg.Retry)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}

// connection lives one connection to its end. connected: there was one.
func (d *Detector) connection(ctx context.Context) (connected bool, err error) {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp", d.cfg.Addr)
	if err != nil {
		return false, fmt.Errorf("baresip: %w", err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if err := list(c); err != nil {
		return true, err
	}
	d.cfg.Logger.Info("listening to the phone", "addr", d.cfg.Addr)
	r := bufio.NewReader(c)
	for {
		b, err := readNetstring(r)
		if err != nil {
			return true, fmt.Errorf("baresip: read: %w", err)
		}
		var m message
		if err := json.Unmarshal(b, &m); err != nil {
			return true, fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		switch {
		case m.Event && d.calls.event(m):
			if err := list(c); err != nil {
				return true, err
			}
		case m.Response && m.Token == listToken && m.OK:
			d.calls.list(m.Data)
		}
	}
}

// listToken comes back with the answer to our own command.
const listToken = "tandem-calls"

var listCommand = appendNetstring(nil, []byte(`{"command":"listcalls","token":"`+listToken+`"}`))

// list asks which calls are up.
func list(c net.Conn) error {
	if _, err := c.Write(listCommand); err != nil {
		return fmt.Errorf("baresip: write: %w", err)
	}
	return nil
}

// message is an event or a response of ctrl_tcp; what we do not use of it is left out.
type message struct {
	Event     bool   `json:"event"`
	Response  bool   `json:"response"`
	OK        bool   `json:"ok"`
	Token     string `json:"token"`
	Data      string `json:"data"`
	Type      string `json:"type"`
	Account   string `json:"accountaor"`
	Direction string `json:"direction"`
	Peer      string `json:"peeruri"`
	CallID    string `json:"id"`
}
