package sip

import (
	"slices"
	"strconv"
	"strings"
)

// forking is what becomes of a request that was forwarded to one or more targets (RFC 3261
// 16.7, "response context").
type forking struct {
	s        *shard
	tx       *serverTx
	branches []*branch
	best     *Message
	answered bool     // a final answer has gone back
	given    bool     // the caller has given up
	why      []string // the telephones are cancelled (Reason, RFC 3326)
	call     *trackedCall
	who      identity
}

// branch is one target of it.
type branch struct {
	target  target
	client  *clientTx
	to      *flow
	over    bool
	rang    bool // a provisional answer has come: it may be cancelled (RFC 3261 9.1)
	giving  bool // it shall be cancelled
	gone    bool // CANCEL is on its way
	timerC  *timer
	unwatch func() bool // nothing is to be done when the connection ends; nil: nothing is
}

// fork forwards a request to its targets, all at once.
func (s *shard) fork(tx *serverTx, targets []target, who identity, r routed) {
	k := &forking{s: s, tx: tx, who: who}
	m := tx.req
	loop := s.e.loopOf(m)
	inDialog := tagOf(m.Get(To)) != ""
	if tx.invite() {
		tx.trying = true
		tx.reply(100)
		tx.cancelled = k.giveUp
		if tx.from.conn != nil && !tx.mayReach() {
			tx.unwatch = s.whenOver(tx.from, tx.cancel) // no answer would find who calls
		}
		if !inDialog {
			k.call = s.track(tx, who, targets)
			s.goesBy(m.Get(CallID), tx.from)
		}
	}
	if inDialog {
		s.moved(m, tx.from)
	}
	for _, t := range targets {
		k.branches = append(k.branches, &branch{target: t})
	}
	for _, b := range k.branches {
		c := s.prepare(m, b.target)
		s.reach(b.target, func(to *flow) {
			if b.over || k.answered {
				return
			}
			switch {
			case b.giving:
				k.failed(b, 487) // before it was sent
				return
			case to == nil && b.target.flow != nil && b.target.flow.final():
				k.failed(b, 430) // its connection has ended, and its registration is about to
				return
			case to == nil:
				k.failed(b, 503)
				return
			}
			b.to = to
			if !inDialog && (m.Method == "INVITE" || m.Method == "SUBSCRIBE" || m.Method == "REFER") {
				s.recordRoute(c, tx.from, to, b.target)
			}
			s.assert(c, tx.from, to, b.target, who)
			id := s.pushVia(c, to, loop)
			if tx.invite() {
				b.timerC = s.after(timerC, func() { k.tooLong(b) })
			}
			b.client = s.sendRequest(c, id, to, func(res *Message) { k.got(b, res) })
			b.unwatch = s.whenOver(to, func() { k.lost(b) })
		})
	}
}

// assert tells trusted elements and programs of ours who calls, and nobody else what was told
// in confidence (RFC 3325 5, 7).
func (s *shard) assert(c *Message, from, to *flow, t target, who identity) {
	if t.service {
		c.Remove(PAssertedIdentity)
		c.Remove(PServedUser)
		switch known := who.asserted || who.proved && s.e.cfg.TrustedFrom || s.e.cfg.Open; {
		case known && who.user != "":
			c.Add(PAssertedIdentity, "<sip:"+escapeUser(who.user)+"@"+s.e.cfg.Domain+">")
		case who.proved:
			s.e.log.Info("a trusted element asserts nobody in a call to a service number: the From is not believed there (sip.trusted_from)", "remote", from.remote)
		}
		return
	}
	if !s.e.trusts(to) {
		if who.private {
			c.Remove(PAssertedIdentity)
		}
		c.Remove(PServedUser)
		c.confide()
		return
	}
	if who.asserted && !c.Has(PAssertedIdentity) {
		c.Add(PAssertedIdentity, "<"+who.uri+">")
	}
}

// got takes an answer of a branch; nil: none came.
func (k *forking) got(b *branch, res *Message) {
	s := k.s
	if res == nil {
		if k.tx.invite() {
			k.failed(b, 408)
		} else {
			k.silent(b) // RFC 4320: nobody is told of it by an answer
		}
		return
	}
	res = res.Clone()
	res.Pop(Via)
	if b.to == nil || !s.e.trusts(b.to) { // whoever is not trusted asserts nothing (RFC 3325 5)
		res.Remove(PAssertedIdentity)
	}
	if !s.e.trusts(k.tx.from) {
		res.confide()
	}
	switch {
	case res.Status == 100:
		b.rang = true
		k.stillRings(b)
		return
	case res.Status < 200:
		b.rang = true
		k.stillRings(b)
		if k.call != nil {
			k.call.ringing(b.target.user, res)
		}
		if !k.answered {
			k.tx.respond(res)
		}
		return
	}
	if b.over && res.Status/100 != 2 {
		return
	}
	b.end(s)
	switch {
	case res.Status/100 == 2:
		if k.call != nil {
			k.call.answered(k.answeredBy(b, res), b.target.phone, res)
		} else {
			s.within(k.tx.req, res)
		}
		s.goesBy(res.Get(CallID), k.tx.from)
		s.goesBy(res.Get(CallID), b.to)
		k.answered = true
		k.tx.respond(res)
		k.why = []string{`SIP;cause=200;text="Call completed elsewhere"`} // else they show it as missed
		k.giveUpOthers()
	case res.Status >= 600:
		k.keep(res)
		k.why = []string{"SIP;cause=" + strconv.Itoa(res.Status)}
		k.giveUpOthers()
		k.finish()
	default:
		k.keep(res)
		k.finish()
	}
}

// answeredBy is the user who has taken the call: whom it went to, unless a trusted element, as a
// distributor of calls is, says that it was somebody else of ours (RFC 3325 in an answer).
func (k *forking) answeredBy(b *branch, res *Message) string {
	if b.to == nil || !k.s.e.trusts(b.to) || strings.Contains(strings.ToLower(res.Get(Privacy)), "id") {
		return b.target.user
	}
	for _, value := range res.All(PAssertedIdentity) {
		if a, ok := parseAddress(value); ok && strings.HasPrefix(userOf(a.uri), "+") {
			return userOf(a.uri)
		}
	}
	return b.target.user
}

// keep remembers the best answer: a 6xx, or else of the lowest class; within it, one that
// asks the caller for something (RFC 3261 16.7 step 6).
func (k *forking) keep(res *Message) {
	if k.best == nil || rank(res.Status) < rank(k.best.Status) {
		if k.best != nil && asks(res.Status) && asks(k.best.Status) {
			res = merge(res, k.best)
		}
		k.best = res
		return
	}
	if asks(res.Status) && asks(k.best.Status) {
		k.best = merge(k.best, res)
	}
}

func asks(status int) bool { return status == 401 || status == 407 }

// merge adds the challenges of b to a (RFC 3261 16.7 step 7).
func merge(a, b *Message) *Message {
	a = a.Clone()
	for _, h := range b.Headers {
		if h.ID == WWWAuthenticate || h.ID == ProxyAuthenticate {
			a.Headers = append(a.Headers, h)
		}
	}
	return a
}

func rank(status int) int {
	switch {
	case status >= 600:
		return 0
	case slices.Contains([]int{401, 407, 415, 420, 484}, status):
		return 10 * (status / 100)
	case status == 408, status == 503, status == 430: // somebody else's answer says more
		return 10*(status/100) + 2
	}
	return 10*(status/100) + 1
}

// failed: a branch ended without an answer of its own.
func (k *forking) failed(b *branch, status int) {
	if b.over {
		return
	}
	b.end(k.s)
	if b.client != nil {
		b.client.over()
	}
	k.keep(k.tx.answer(status))
	k.finish()
}

// end: nothing more is expected of the branch.
func (b *branch) end(s *shard) {
	b.over = true
	s.stop(b.timerC)
	if b.unwatch != nil {
		b.unwatch()
	}
}

// lost: the connection that the request went by is over. Unless it is final, there is some time to connect
// anew and answer.
func (k *forking) lost(b *branch) {
	if b.over {
		return
	}
	fail := func() { k.failed(b, 430) } // RFC 5626 11
	if b.to.final() {
		fail()
		return
	}
	k.s.stop(b.timerC)
	b.timerC = k.s.after(k.s.e.times.t4, fail)
}

// silent: nothing came back for a request that is not INVITE.
func (k *forking) silent(b *branch) {
	b.end(k.s)
	k.s.within(k.tx.req, k.tx.answer(408))
	if !k.done() {
		return
	}
	if k.best != nil {
		k.finish()
		return
	}
	if !k.answered {
		k.tx.finish(0)
	}
}

func (k *forking) done() bool {
	return !slices.ContainsFunc(k.branches, func(b *branch) bool { return !b.over })
}

// finish sends the best answer when all have answered.
func (k *forking) finish() {
	if k.answered || !k.done() {
		return
	}
	k.answered = true
	res := k.best
	if k.given && res.Status/100 != 6 {
		res = k.tx.answer(487)
	}
	switch res.Status {
	case 503: // it is ours that has failed, not the element itself (RFC 3261 16.7 step 6)
		res = res.Clone()
		res.Status, res.Reason = 500, reasons[500]
	case 430: // is said to the elements between only (RFC 5626 11)
		res = res.Clone()
		res.Status, res.Reason = 480, reasons[480]
	}
	if k.call != nil {
		k.call.failed(k.branches)
	} else {
		k.s.within(k.tx.req, res)
	}
	k.tx.respond(res)
}

// giveUp: the caller has sent CANCEL.
func (k *forking) giveUp() {
	k.given, k.why = true, k.tx.why
	k.giveUpOthers()
	k.finish()
}

// giveUpOthers cancels what has not answered yet.
func (k *forking) giveUpOthers() {
	if !k.tx.invite() {
		return
	}
	for _, b := range k.branches {
		if !b.over {
			k.cancelBranch(b)
		}
	}
}

// cancelBranch sends CANCEL, once a provisional answer has come (RFC 3261 9.1).
func (k *forking) cancelBranch(b *branch) {
	b.giving = true
	if b.client == nil || !b.rang || b.gone {
		return
	}
	b.gone = true
	c := b.client.derive("CANCEL", b.client.req.Get(To))
	for _, why := range k.why {
		c.Add(ReasonHeader, why)
	}
	k.s.sendRequest(c, c.topVia().branch(), b.to, func(*Message) {})
	// One that answers the CANCEL only is not waited for for ever (RFC 3261 9.1).
	k.s.stop(b.timerC)
	b.timerC = k.s.after(k.s.e.times.patience(), func() { k.failed(b, 487) })
}

// stillRings starts timer C again (RFC 3261 16.7 step 2), or cancels what should be.
func (k *forking) stillRings(b *branch) {
	if b.over {
		return
	}
	if b.giving {
		k.cancelBranch(b)
		return
	}
	if b.timerC != nil && !b.gone {
		k.s.stop(b.timerC)
		b.timerC = k.s.after(timerC, func() { k.tooLong(b) })
	}
}

// tooLong: timer C.
func (k *forking) tooLong(b *branch) {
	if b.over {
		return
	}
	if b.rang {
		k.cancelBranch(b)
		return
	}
	k.failed(b, 408)
}
