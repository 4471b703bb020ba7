package sip

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-call/tandem/tel"
)

// trackedCall follows a call that the element carries, and reports both sides of it: the
// caller's leg, and one for each user who was called. One that is quiet is followed only so that its telephones are reached.
type trackedCall struct {
	Kept
	s        *shard
	refresh  *timer
	passport []string
	quiet    bool            // nothing is reported of it, nor written down: it is with a program of ours, or nobody wants reports
	passes   int             // INVITEs of it that came by and have not failed; several if another element leads it back to us
	kept     bool            // in memory
	over     bool            // nothing brings it back, as a repeated answer would
	hungUp   map[string]bool // its dialogs of which the same holds, by To tag
	doubtful bool            // it was picked up so late that it may be over; see shard.recall
	conns    []*conn         // that it goes by
	late     *lateOffer      // whose answer is to come with the ACK; nil: none
}

// Kept is what is known of a call; what Memory keeps of it.
type Kept struct {
	CallID  string    `json:"call_id"`
	FromTag string    `json:"from_tag"`
	Began   time.Time `json:"began"`
	// Session is the Session-ID of the caller (RFC 7989).
	Session string `json:"session,omitempty"`
	// User who calls, as in location; Private: withheld from the others.
	User    string `json:"user,omitempty"`
	Private bool   `json:"private,omitempty"`
	// Dialled is whom the caller dialled, who may not be the one who has the call.
	Dialled tel.Identity `json:"dialled,omitzero"`
	Caller  *Leg         `json:"caller"`
	// Called are the legs of those who were called, by user.
	Called map[string]*Leg `json:"called"`
	// Dialogs are the users by To tag, of those that were answered.
	Dialogs map[string]string `json:"dialogs"`
	// Instances are the telephones by their tag, where known (RFC 5626 4.1): their addresses may change in the call.
	Instances map[string]string `json:"instances,omitempty"`
	// Registrations are the Call-IDs of the registrations of those that have no instance.
	Registrations map[string]string `json:"registrations,omitempty"`
	// Holders are the tags of those who hold the call.
	Holders map[string]bool `json:"holders,omitempty"`
	// CSeqs are the highest of each side, so that old news changes nothing.
	CSeqs map[string]uint32 `json:"cseqs,omitempty"`
	// Expires by its session timer (RFC 4028); zero: it has none.
	Expires time.Time `json:"expires,omitzero"`
}

// Leg is what was reported of one party's leg.
type Leg struct {
	Own   tel.Identity `json:"own,omitzero"`
	Other tel.Identity `json:"other,omitzero"`
	// Extension of either, where known.
	Extension      string `json:"extension,omitempty"`
	OtherExtension string `json:"other_extension,omitempty"`

	Direction tel.Direction `json:"direction"`
	State     tel.State     `json:"state"`
	Since     time.Time     `json:"since"`
	Seq       uint64        `json:"seq"`
	Local     string        `json:"local"`
	Vouched   bool          `json:"vouched,omitempty"`
	Hidden    bool          `json:"hidden,omitempty"`       // own is withheld from the other
	OtherHid  bool          `json:"other_hidden,omitempty"` // other is withheld from own
	// Place of own; repeated with the reports, and not written down: Tandem's core has it.
	Place *Place `json:"-"`
}

// lateOffer is the offer of a 2xx to a re-INVITE that had none (RFC 3261 14.1). from and to are the tags of the INVITE, user is who
// was called; held: the offer holds all media.
type lateOffer struct {
	from, to, user string
	cseq           uint32
	held           bool
}

// longest is how long a call is followed without a session timer.
const longest = 24 * time.Hour

// party returns the identity of a user: a number where it is one, or else its address here.
func (e *Element) party(user string) tel.Identity {
	user, _ = SplitUser(user)
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

// track begins to follow the call of an INVITE; nil where another one bears its Call-ID.
func (s *shard) track(tx *serverTx, who identity, targets []target) *trackedCall {
	m := tx.req
	callID := m.Get(CallID)
	quiet := s.e.queue.report == nil || targets[0].service
	if who.originating && who.served != "" {
		who.user = who.served
	}
	fromTag := tagOf(m.Get(From))
	old := s.calls[callID]
	if old != nil && old.quiet && !quiet {
		old.end() // who calls a program of ours takes a Call-ID from nobody
		old = nil
	}
	if old != nil {
		switch {
		case quiet != old.quiet:
			return nil
		case old.FromTag != fromTag || old.User != who.user:
			s.e.log.Warn("a call that bears the Call-ID of another one is not reported", "remote", tx.from.remote)
			return nil
		}
		old.passes++
		if !quiet {
			if p := s.e.placeIn(m, tx.from); p != nil {
				old.Caller.Place = p
			}
		}
		return old // it spirals, or forks before us: one call
	}
	c := &trackedCall{s: s, quiet: quiet, passport: m.Raw(Identity), passes: 1, Kept: Kept{
		CallID: callID, FromTag: fromTag, Began: time.Now(), User: who.user, Private: who.private,
		Called: map[string]*Leg{}, Dialogs: map[string]string{}, Instances: map[string]string{}, Registrations: map[string]string{}, Holders: map[string]bool{}, CSeqs: map[string]uint32{},
	}}
	c.note(fromTag, s.e.location.telephone(c.User, tx.from))
	c.Session, _, _ = strings.Cut(m.Get(SessionIDHeader), ";")
	s.calls[callID] = c
	c.Dialled = s.e.dialled(m, tx.from)
	other := c.Dialled
	if s.e.trusts(tx.from) {
		if first := s.e.party(dialledFirst(m)); !first.IsZero() {
			c.Dialled = first
		}
	}
	own := s.e.party(c.User)
	_, extension := SplitUser(c.User)
	c.Caller = &Leg{
		Own: own, Extension: extension, Other: other, Direction: tel.Outgoing, Local: c.local("caller"), Vouched: who.proved, Hidden: who.private,
	}
	if !quiet {
		c.Caller.Place = s.e.placeIn(m, tx.from)
	}
	c.say(c.Caller, tel.Ringing)
	c.refresh = s.after(s.e.cfg.Lease/2, c.again)
	return c
}

// local is the reference of a leg: short, and the same each time.
func (c *trackedCall) local(what string) string {
	sum := sha256.Sum256([]byte(c.CallID + "\n" + c.FromTag + "\n" + what))
	return lower.EncodeToString(sum[:15])
}

// leg of somebody who was called.
func (c *trackedCall) leg(user string) *Leg {
	l := c.Called[user]
	if l == nil {
		_, extension := SplitUser(user)
		l = &Leg{
			Own: c.s.e.party(user), Extension: extension, Other: c.Caller.Own, OtherExtension: c.Caller.Extension, Direction: tel.Incoming, Local: c.local("called " + user),
			Vouched: !c.s.e.cfg.Open, OtherHid: c.Private,
		}
		c.Called[user] = l
	}
	return l
}

// say reports a leg, if there is news. A party that is not known has nothing reported.
func (c *trackedCall) say(l *Leg, state tel.State) {
	if l.State == state {
		return
	}
	l.State, l.Since = state, time.Now()
	c.put(l)
}

// dialledFor is whom the caller dialled, where the leg is of a call that somebody else has.
func (c *trackedCall) dialledFor(l *Leg) tel.Identity {
	called := l.Own
	if l == c.Caller {
		called = l.Other
	}
	if c.Dialled == called || c.Dialled == c.Caller.Own {
		return tel.Identity{}
	}
	return c.Dialled
}

func (c *trackedCall) put(l *Leg) {
	if c.quiet || l.Own.IsZero() {
		return
	}
	l.Seq = max(l.Seq+1, uint64(time.Now().UnixMicro())) // also above that of an earlier call of the same Call-ID
	r := Report{
		PartyDetails: tel.PartyDetails{
			Own: l.Own, Other: l.Other, Dialled: c.dialledFor(l), Withheld: l.Hidden, OtherWithheld: l.OtherHid && !l.Other.IsZero(),
			Direction: l.Direction, State: l.State, Ref: tel.Ref{Local: l.Local}, Extension: l.Extension, OtherExtension: l.OtherExtension,
		},
		Seq: l.Seq, At: l.Since, Lease: c.s.e.cfg.Lease, Vouched: l.Vouched, Passports: c.passport, Place: l.Place,
	}
	if len(c.CallID) <= tel.MaxDetail {
		r.Ref.CallID = c.CallID
	}
	if len(c.Session) <= tel.MaxDetail {
		r.Ref.SessionID = c.Session
	}
	c.s.e.queue.put(r)
}

// ringing: somebody is called.
func (c *trackedCall) ringing(user string, res *Message) {
	if c.over || res.Status < 180 || user == "" || len(c.Dialogs) > 0 {
		return // who rings after somebody has answered is being cancelled
	}
	if l := c.leg(user); l.State == "" {
		c.say(l, tel.Ringing)
	}
}

// telephone returns whose it is that has a tag in the call, and which, where known.
func (c *trackedCall) telephone(tag string) (user string, t telephone, ok bool) {
	user, ok = c.Dialogs[tag]
	if tag == c.FromTag {
		user, ok = c.User, true
	}
	return user, telephone{c.Instances[tag], c.Registrations[tag]}, ok
}

// note keeps which telephone has a tag in the call.
func (c *trackedCall) note(tag string, t telephone) {
	if t.instance != "" {
		c.Instances[tag] = t.instance
	}
	if t.registration != "" {
		c.Registrations[tag] = t.registration
	}
}

// answered: somebody has taken the call, by a telephone that is known or zero. A second one may, too, when it forked.
func (c *trackedCall) answered(user string, t telephone, res *Message) {
	tag := tagOf(res.Get(To))
	if _, again := c.Dialogs[tag]; again || c.over || c.hungUp[tag] {
		return
	}
	c.Dialogs[tag] = user
	c.note(tag, t)
	c.timer(res)
	l := c.leg(user)
	if !l.Own.IsZero() {
		c.Caller.Other, c.Caller.OtherExtension = l.Own, l.Extension
	}
	c.say(l, tel.Active)
	c.say(c.Caller, tel.Active)
	for other, l := range c.Called { // they stop ringing
		if other != user && l.State == tel.Ringing {
			c.say(l, tel.Ended)
		}
	}
	c.keep()
}

// failed: one INVITE of the call has reached nobody. It is over with the last: an element before
// us may try somebody else, as when the call is diverted.
func (c *trackedCall) failed(branches []*branch) {
	if c.over {
		return
	}
	c.passes--
	if c.passes <= 0 && len(c.Dialogs) == 0 {
		c.end()
		return
	}
	for _, b := range branches {
		if l := c.Called[b.target.user]; l != nil && l.State == tel.Ringing {
			c.say(l, tel.Ended)
		}
	}
}

// goesBy notes that a call goes by a flow: its connection is not ended for silence.
func (s *shard) goesBy(callID string, f *flow) {
	c := s.calls[callID]
	if c == nil || f.conn == nil || slices.Contains(c.conns, f.conn) {
		return
	}
	f.conn.calls.Add(1)
	c.conns = append(slices.DeleteFunc(c.conns, (*conn).over), f.conn)
}

// unfollow forgets the call.
func (c *trackedCall) unfollow() {
	for _, by := range c.conns {
		by.calls.Add(-1)
	}
	c.conns = nil
	delete(c.s.calls, c.CallID)
	c.forget()
}

// end ends all legs, and the following.
func (c *trackedCall) end() {
	c.over = true
	for _, l := range c.Called {
		c.say(l, tel.Ended)
	}
	c.say(c.Caller, tel.Ended)
	c.s.stop(c.refresh)
	c.unfollow()
}

// within takes a request within the call, and its final answer.
func (c *trackedCall) within(req, res *Message) {
	from, to := tagOf(req.Get(From)), tagOf(req.Get(To))
	callee, side := to, from+"|"+to
	if from != c.FromTag {
		callee, side = from, from+"|"+c.FromTag
	}
	user, ok := c.Dialogs[callee]
	if !ok || from != c.FromTag && to != c.FromTag && res.Status/100 != 2 {
		return // a tag that is not the caller's counts if the caller takes it for its own
	}
	n, _ := req.cseq()
	if n < c.CSeqs[side] {
		return
	}
	c.CSeqs[side] = n
	c.doubtful = false
	switch {
	case req.Method == "BYE" && !asks(res.Status) || endsCall(req.Method, res.Status):
		c.hangUp(callee, user)
	case res.Status/100 == 2 && (req.Method == "INVITE" || req.Method == "UPDATE"):
		c.timer(res)
		if offer := sdpOf(req); offer != nil {
			c.offered(from, user, offer)
		} else if offer := sdpOf(res); offer != nil && req.Method == "INVITE" {
			c.late = &lateOffer{from: from, to: to, user: user, cseq: n, held: held(offer)}
			if !c.late.held || !c.Holders[from] { // else it may say no more than that the other side holds
				c.offered(to, user, offer)
			}
		}
		c.keep()
	}
}

// acked takes the ACK of a 2xx, which may answer an offer. Where the offer holds the media, so must the answer, and says nothing of
// its side (RFC 3264 6.1).
func (c *trackedCall) acked(ack *Message) {
	n, _ := ack.cseq()
	l := c.late
	if l == nil || n != l.cseq || tagOf(ack.Get(From)) != l.from || tagOf(ack.Get(To)) != l.to {
		return
	}
	c.late = nil
	if answer := sdpOf(ack); answer != nil && !(l.held && held(answer)) {
		c.offered(l.from, l.user, answer)
		c.keep()
	}
}

// endsCall: the answer says that the other side does not have the call any more. To a request of
// another usage of the dialog, as a subscription, it says so of that one only (RFC 5057 5).
func endsCall(method string, status int) bool {
	switch method {
	case "INVITE", "UPDATE":
		return status == 481 || status == 408
	case "INFO":
		return status == 481
	}
	return false
}

// hangUp ends one dialog; the caller's leg ends with the last.
func (c *trackedCall) hangUp(tag, user string) {
	delete(c.Dialogs, tag)
	c.late = nil
	if c.hungUp == nil {
		c.hungUp = map[string]bool{}
	}
	c.hungUp[tag] = true
	for _, other := range c.Dialogs {
		if other == user {
			return
		}
	}
	if len(c.Dialogs) > 0 {
		c.say(c.leg(user), tel.Ended)
		c.keep()
		return
	}
	c.end()
}

// offered: the side of a tag has changed its media: held, or taken up again (RFC 3264 8.4).
func (c *trackedCall) offered(tag, user string, sdp []byte) {
	if held(sdp) {
		c.Holders[tag] = true
	} else {
		delete(c.Holders, tag)
	}
	state := tel.Active
	if len(c.Holders) > 0 {
		state = tel.Held
	}
	c.say(c.leg(user), state)
	c.say(c.Caller, state)
}

// sdpOf returns the session description of a message; nil if it has none.
func sdpOf(m *Message) []byte {
	for _, p := range m.parts() {
		if p.mediaType == "application/sdp" && len(p.content) > 0 {
			return p.content
		}
	}
	return nil
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
		c.Expires = time.Now().Add(time.Duration(n) * time.Second)
	} else {
		c.Expires = time.Time{}
	}
}

// again reports a call that goes on once more, before its lease runs out.
func (c *trackedCall) again() {
	now := time.Now()
	if !c.Expires.IsZero() && now.After(c.Expires) || now.Sub(c.Began) > longest {
		c.end() // nobody has kept it alive
		return
	}
	if c.doubtful {
		c.unfollow()
		return
	}
	for _, l := range append([]*Leg{c.Caller}, values(c.Called)...) {
		if l.State != "" && l.State != tel.Ended {
			c.put(l)
		}
	}
	c.refresh = c.s.after(c.s.e.cfg.Lease/2, c.again)
}

func values(m map[string]*Leg) []*Leg {
	var all []*Leg
	for _, l := range m {
		all = append(all, l)
	}
	return all
}
