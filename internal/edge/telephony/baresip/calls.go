package baresip

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tandem-call/tandem/tel"
)

// calls follows the calls of a phone, from what it tells of them.
type calls struct {
	// fixed after construction
	sipUsers bool
	log      *slog.Logger
	began    int64 // tells this run's references from those of earlier ones
	report   func(tel.PartyDetails)

	up    []call // in the order in which they came
	found int    // calls whose Call-ID was not known
}

// call is one that is up.
type call struct {
	details tel.PartyDetails
	id      string // Call-ID; empty for a call that only listcalls has named
}

// eventStates are the states of a call by the type of the event. CALL_HOLD and
// CALL_RESUME are of later versions than 1.0.
var eventStates = map[string]tel.State{
	"CALL_INCOMING": tel.Ringing, "CALL_RINGING": tel.Ringing, "CALL_PROGRESS": tel.Ringing,
	"CALL_ESTABLISHED": tel.Active, "CALL_HOLD": tel.Held, "CALL_RESUME": tel.Active, "CALL_CLOSED": tel.Ended,
}

var directions = map[string]tel.Direction{"incoming": tel.Incoming, "outgoing": tel.Outgoing}

// event takes an event. ask: the list of calls may say more.
func (c *calls) event(m message) (ask bool) {
	if m.CallID == "" {
		return false // e.g. the offer of a call that is being dialled
	}
	i := slices.IndexFunc(c.up, func(k call) bool { return k.id == m.CallID })
	state, ok := eventStates[m.Type]
	if !ok {
		renegotiated := m.Type == "CALL_REMOTE_SDP" || m.Type == "CALL_LOCAL_SDP"
		return renegotiated && i >= 0 && c.up[i].details.State != tel.Ringing
	}
	p := tel.PartyDetails{
		Own: c.identity(m.Account), Other: c.identity(m.Peer), State: state,
		Direction: directions[m.Direction], Ref: reference(m.CallID),
	}
	if i < 0 {
		// Perhaps a call that we have found: it keeps the reference by which it was reported. One
		// that was found ringing may have been listed before its CALL_INCOMING was read.
		i = slices.IndexFunc(c.up, func(k call) bool {
			return k.id == "" && k.details.Other == p.Other &&
				(m.Type != "CALL_INCOMING" || k.details.State == tel.Ringing && k.details.Direction == tel.Incoming)
		})
	}
	switch {
	case state == tel.Ended:
		if i >= 0 {
			old := c.up[i].details
			c.up = slices.Delete(c.up, i, i+1)
			if old.Ref != p.Ref {
				old.State = tel.Ended
				c.report(old)
			}
		}
		c.report(p) // an earlier run may have reported it by its Call-ID
	case i < 0:
		c.up = append(c.up, call{p, m.CallID})
		c.report(p)
	default:
		k := &c.up[i]
		p.Ref, k.id = k.details.Ref, m.CallID
		if p != k.details && !(p.State == tel.Ringing && k.details.State != tel.Ringing) {
			k.details = p
			c.report(p)
		}
	}
	return false
}

// reference refers to a call by its Call-ID. That is the caller's choice: if it is of no
// use in a report, by a digest.
func reference(callID string) tel.Ref {
	ref := tel.Ref{CallID: callID}
	if (tel.PartyDetails{State: tel.Ringing, Ref: ref}).ValidateFields() == nil {
		return ref
	}
	sum := sha256.Sum256([]byte(callID))
	return tel.Ref{Local: hex.EncodeToString(sum[:])}
}

// listed is a line of listcalls.
type listed struct {
	other     tel.Identity
	state     tel.State
	direction tel.Direction
}

var (
	// "--- Active calls (1) ---", for each account in later versions
	listHead = regexp.MustCompile(`--- Active calls \((\d+)\) ---`)
	// "> [line 1]  0:00:05  ESTABLISHED  (on hold)  sip:+442079460002@example.com"
	listLine = regexp.MustCompile(`\[line \d+\][ \t]+\S+[ \t]+([A-Z]+)[ \t]+(\(on hold\))?[ \t]*(sips?:\S+)`)
)

// list compares the calls that the phone has now with those that we know.
func (c *calls) list(data string) {
	lines := listLine.FindAllStringSubmatch(data, -1)
	heads := listHead.FindAllStringSubmatch(data, -1)
	announced := 0
	for _, h := range heads {
		n, _ := strconv.Atoi(h[1]) // more digits than an int has are not the number of the lines
		announced += n
	}
	if len(heads) == 0 || announced != len(lines) {
		c.log.Warn("the phone lists its calls in a form that is not known; they are followed by events alone", "announced", announced, "read", len(lines))
		return
	}
	var now []listed
	for _, l := range lines {
		k := listed{other: c.identity(l[3])}
		switch {
		case l[1] == "ESTABLISHED" && l[2] != "":
			k.state = tel.Held
		case l[1] == "ESTABLISHED":
			k.state = tel.Active
		case l[1] == "INCOMING":
			k.state, k.direction = tel.Ringing, tel.Incoming
		case l[1] == "RINGING", l[1] == "EARLY":
			k.state, k.direction = tel.Ringing, tel.Outgoing
		default:
			continue // dialled but not ringing yet, or over
		}
		now = append(now, k)
	}
	c.compare(now)
}

// compare reports what differs. Calls with the same party are told apart by their state.
func (c *calls) compare(now []listed) {
	same := make([]int, len(c.up)) // of each known call its index in now, or -1
	taken := make([]bool, len(now))
	for i := range same {
		same[i] = -1
	}
	for _, exactly := range []bool{true, false} {
		for i, k := range c.up {
			for j, l := range now {
				if same[i] < 0 && !taken[j] && l.other == k.details.Other && (!exactly || l.state == k.details.State) {
					same[i], taken[j] = j, true
				}
			}
		}
	}
	var up []call
	for i, k := range c.up {
		j := same[i]
		if j < 0 {
			k.details.State = tel.Ended
			c.report(k.details)
			continue
		}
		if k.details.State != now[j].state {
			k.details.State = now[j].state
			c.report(k.details)
		}
		up = append(up, k)
	}
	c.up = up
	for j, l := range now {
		if taken[j] {
			continue
		}
		c.found++
		p := tel.PartyDetails{Other: l.other, State: l.state, Direction: l.direction, Ref: tel.Ref{Local: fmt.Sprintf("found-%d-%d", c.began, c.found)}}
		c.up = append(c.up, call{details: p})
		c.report(p)
	}
}

// gone ends all calls: the phone is no more.
func (c *calls) gone() { c.compare(nil) }

// identity reads an address of the phone's; the zero Identity where it names nobody
// ("anonymous", RFC 3323 4.1.1.3).
func (c *calls) identity(uri string) tel.Identity {
	if uri == "" {
		return tel.Identity{}
	}
	user, host, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(uri, "sips:"), "sip:"), "@")
	host, _, _ = strings.Cut(host, ";")
	if strings.EqualFold(user, "anonymous") || strings.EqualFold(host, "anonymous.invalid") {
		return tel.Identity{}
	}
	if !c.sipUsers && strings.HasPrefix(user, "+") {
		if n, err := tel.SIPNumber(uri, ""); err == nil {
			return n.Identity()
		}
	}
	id, err := tel.ParseIdentity(uri, "")
	if err != nil {
		c.log.Warn("the phone named a party in a form that is no identity; it counts as withheld", "err", err)
		return tel.Identity{}
	}
	return id
}
