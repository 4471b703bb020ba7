package sip

import (
	"bytes"
	"crypto/sha256"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-call/tandem/tel"
)

// trackedCall follows a call that the element carries, and reports both sides of it: the
// caller's leg, and one for each user who was called.
type trackedCall struct {
	s       *shard
	callID  string
	fromTag string
	began   time.Time
	session string // Session-ID of the caller (RFC 7989)
	who     identity
	dialled tel.Identity
	caller  *trackedLeg
	called  map[string]*trackedLeg // by user
	dialogs map[string]string      // user by To tag, of those that were answered
	// holders are the tags of those who hold the call.
	holders  map[string]bool
	cseqs    map[string]uint32 // the highest of each side, so that old news changes nothing
	expires  time.Time         // by its session timer (RFC 4028); zero: it has none
	refresh  *timer
	passport []string
}

// trackedLeg is what was reported of one party's leg.
type trackedLeg struct {
	own, other tel.Identity
	direction  tel.Direction
	state      tel.State
	since      time.Time
	seq        uint64
	local      string
	vouched    bool
	hidden     bool // own is withheld from the other
	otherHid   bool // other is withheld from own
}

// longest is how long a call is followed without a session timer.
const longest = 24 * time.Hour

// party returns the identity of a user: a number where it is one, or else its address here.
func (e *Element) party(user string) tel.Identity {
	if user == "" {
		return tel.Identity{}
	}
	if strings.HasPrefix(user, "+") {
		if n, err := tel.ParseNumber(user, ""); err == nil {
			return n.Identity()
		}
	}
	id, err := tel.ParseIdentity((&uri{scheme: "sip", user: escapeUser(user), host: e.cfg.Domain}).String(), "")
	if err != nil {
		return tel.Identity{}
	}
	return id
}

// dialled returns whom a call is for. A user of another domain is somebody else than the one
// of ours who has its name, unless it is a telephone number (RFC 3261 19.1.6) or a trusted
// element says so.
func (e *Element) dialled(m *Message, from *flow) tel.Identity {
	u, _ := parseURI(m.URI) // was validated
	if !u.isSIP() || e.local(u) || u.param("user") == "phone" || e.trusts(from) {
		return e.party(userOf(u))
	}
	id, err := tel.ParseIdentity((&uri{scheme: "sip", user: u.user, host: u.host}).String(), "")
	if err != nil {
		return tel.Identity{}
	}
	return id
}

// escapeUser writes a user part as it must be (RFC 3261 25.1).
func escapeUser(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] < 128 && userChars[s[i]] {
			b.WriteByte(s[i])
		} else {
			b.WriteString("%" + strings.ToUpper(strconv.FormatUint(uint64(s[i])|0x100, 16)[1:]))
		}
	}
	return b.String()
}

// track begins to follow the call of an INVITE; nil where there is nothing to report.
func (s *shard) track(tx *serverTx, who identity, targets []target) *trackedCall {
	if s.e.queue.report == nil {
		return nil
	}
	m := tx.req
	callID := m.Get(CallID)
	if who.originating && who.served != "" {
		who.user = who.served
	}
	fromTag := tagOf(m.Get(From))
	if old := s.calls[callID]; old != nil {
		if old.fromTag != fromTag || old.who.user != who.user {
			s.e.log.Warn("a call that bears the Call-ID of another one is not reported", "remote", tx.from.remote)
			return nil
		}
		return old // it spirals, or forks before us: one call
	}
	c := &trackedCall{
		s: s, callID: callID, fromTag: fromTag, began: time.Now(), who: who, dialled: s.e.dialled(m, tx.from),
		called: map[string]*trackedLeg{}, dialogs: map[string]string{}, holders: map[string]bool{}, cseqs: map[string]uint32{},
		passport: m.Raw(Identity),
	}
	c.session, _, _ = strings.Cut(m.Get(SessionIDHeader), ";")
	s.calls[callID] = c
	own := s.e.party(c.who.user)
	c.caller = &trackedLeg{own: own, other: c.dialled, direction: tel.Outgoing, local: c.local("caller"), vouched: who.proved, hidden: who.private}
	c.say(c.caller, tel.Ringing)
	c.refresh = s.after(s.e.cfg.Lease/2, c.again)
	return c
}

// local is the reference of a leg: short, and the same each time.
func (c *trackedCall) local(what string) string {
	sum := sha256.Sum256([]byte(c.callID + "\n" + c.fromTag + "\n" + what))
	return lower.EncodeToString(sum[:15])
}

// leg of somebody who was called.
func (c *trackedCall) leg(user string) *trackedLeg {
	l := c.called[user]
	if l == nil {
		l = &trackedLeg{
			own: c.s.e.party(user), other: c.caller.own, direction: tel.Incoming, local: c.local("called " + user),
			vouched: !c.s.e.cfg.Open, otherHid: c.who.private,
		}
		c.called[user] = l
	}
	return l
}

// say reports a leg, if there is news. A party that is not known has nothing reported.
func (c *trackedCall) say(l *trackedLeg, state tel.State) {
	if l.state == state {
		return
	}
	l.state, l.since = state, time.Now()
	c.put(l)
}

func (c *trackedCall) put(l *trackedLeg) {
	if l.own.IsZero() {
		return
	}
	l.seq = max(l.seq+1, uint64(time.Now().UnixMicro())) // also above that of an earlier call of the same Call-ID
	r := Report{
		PartyDetails: tel.PartyDetails{
			Own: l.own, Other: l.other, Withheld: l.hidden, OtherWithheld: l.otherHid && !l.other.IsZero(),
			Direction: l.direction, State: l.state, Ref: tel.Ref{Local: l.local},
		},
		Seq: l.seq, At: l.since, Lease: c.s.e.cfg.Lease, Vouched: l.vouched, Passports: c.passport,
	}
	if len(c.callID) <= tel.MaxDetail {
		r.Ref.CallID = c.callID
	}
	if len(c.session) <= tel.MaxDetail {
		r.Ref.SessionID = c.session
	}
	c.s.e.queue.put(r)
}

// ringing: somebody is called.
func (c *trackedCall) ringing(user string, res *Message) {
	if res.Status < 180 || user == "" {
		return
	}
	if l := c.leg(user); l.state == "" {
		c.say(l, tel.Ringing)
	}
}

// answered: somebody has taken the call. A second one may, too, when it forked.
func (c *trackedCall) answered(user string, res *Message) {
	tag := tagOf(res.Get(To))
	if _, again := c.dialogs[tag]; again {
		return
	}
	c.dialogs[tag] = user
	c.timer(res)
	l := c.leg(user)
	if !l.own.IsZero() {
		c.caller.other = l.own
	}
	c.say(l, tel.Active)
	c.say(c.caller, tel.Active)
	for other, l := range c.called { // they stop ringing
		if other != user && l.state == tel.Ringing {
			c.say(l, tel.Ended)
		}
	}
}

// failed: nobody has taken the call.
func (c *trackedCall) failed() {
	if len(c.dialogs) > 0 {
		return
	}
	c.end()
}

// end ends all legs, and the following.
func (c *trackedCall) end() {
	for _, l := range c.called {
		c.say(l, tel.Ended)
	}
	c.say(c.caller, tel.Ended)
	c.s.stop(c.refresh)
	delete(c.s.calls, c.callID)
}

// within takes a request within the call, and its final answer.
func (c *trackedCall) within(req, res *Message) {
	from, to := tagOf(req.Get(From)), tagOf(req.Get(To))
	callee := to
	if from != c.fromTag {
		callee = from
	}
	user, ok := c.dialogs[callee]
	if !ok {
		return
	}
	n, _ := req.cseq()
	side := from + "|" + to
	if n < c.cseqs[side] {
		return
	}
	c.cseqs[side] = n
	switch gone := res.Status == 481 || res.Status == 408; {
	case req.Method == "BYE" && !asks(res.Status) || gone:
		c.hangUp(callee, user)
	case res.Status/100 == 2 && (req.Method == "INVITE" || req.Method == "UPDATE"):
		c.timer(res)
		if offer := sdpOf(req); offer != nil {
			c.offered(from, user, offer)
		}
	}
}

// hangUp ends one dialog; the caller's leg ends with the last.
func (c *trackedCall) hangUp(tag, user string) {
	delete(c.dialogs, tag)
	for _, other := range c.dialogs {
		if other == user {
			return
		}
	}
	if len(c.dialogs) > 0 {
		c.say(c.leg(user), tel.Ended)
		return
	}
	c.end()
}

// offered: the side of a tag has changed its media: held, or taken up again (RFC 3264 8.4).
func (c *trackedCall) offered(tag, user string, sdp []byte) {
	if held(sdp) {
		c.holders[tag] = true
	} else {
		delete(c.holders, tag)
	}
	state := tel.Active
	if len(c.holders) > 0 {
		state = tel.Held
	}
	c.say(c.leg(user), state)
	c.say(c.caller, state)
}

// sdpOf returns the session description of a message; nil if it has none.
func sdpOf(m *Message) []byte {
	t, _, _ := strings.Cut(m.Get(ContentType), ";")
	if !strings.EqualFold(strings.TrimSpace(t), "application/sdp") || len(m.Body) == 0 {
		return nil
	}
	return m.Body
}

// held reports whether an offer holds all media: each is sendonly or inactive, or has the
// null address (RFC 3264 8.4).
func held(sdp []byte) bool {
	session, active := "sendrecv", 0
	media, zero := "", false
	count := func(direction string, null bool) {
		if direction == "" {
			direction = session
		}
		if (direction == "sendrecv" || direction == "recvonly") && !null {
			active++
		}
	}
	inMedia, off := false, false
	for line := range bytes.Lines(sdp) {
		l := strings.TrimRight(string(line), "\r\n")
		switch {
		case strings.HasPrefix(l, "m="):
			if inMedia && !off {
				count(media, zero)
			}
			f := strings.Fields(l)
			inMedia, media, off = true, "", len(f) > 1 && f[1] == "0"
		case l == "c=IN IP4 0.0.0.0":
			zero = true
		case strings.HasPrefix(l, "c="):
			zero = false
		case l == "a=sendrecv", l == "a=sendonly", l == "a=recvonly", l == "a=inactive":
			if inMedia {
				media = l[2:]
			} else {
				session = l[2:]
			}
		}
	}
	if inMedia && !off {
		count(media, zero)
	}
	return inMedia && active == 0
}

// timer reads the session timer of a final answer (RFC 4028 8).
func (c *trackedCall) timer(res *Message) {
	v, _, _ := strings.Cut(res.Get(SessionExpires), ";")
	if n, ok := number(strings.TrimSpace(v), 1<<20); ok && n > 0 {
		c.expires = time.Now().Add(time.Duration(n) * time.Second)
	} else {
		c.expires = time.Time{}
	}
}

// again reports a call that goes on once more, before its lease runs out.
func (c *trackedCall) again() {
	now := time.Now()
	if !c.expires.IsZero() && now.After(c.expires) || now.Sub(c.began) > longest {
		c.end() // nobody has kept it alive
		return
	}
	for _, l := range append([]*trackedLeg{c.caller}, values(c.called)...) {
		if l.state != "" && l.state != tel.Ended {
			c.put(l)
		}
	}
	c.refresh = c.s.after(c.s.e.cfg.Lease/2, c.again)
}

func values(m map[string]*trackedLeg) []*trackedLeg {
	var all []*trackedLeg
	for _, l := range m {
		all = append(all, l)
	}
	return all
}
