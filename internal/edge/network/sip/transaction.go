package sip

import (
	"strings"
	"time"
)

// txState of a transaction (RFC 3261 17, RFC 6026).
type txState int

const (
	txProceeding txState = iota // and Trying, Calling
	txCompleted
	txConfirmed
	txAccepted
	txOver
)

// serverTx is a server transaction: it takes the repetitions of a request, and repeats the
// answer (RFC 3261 17.2, RFC 6026 7.1).
type serverTx struct {
	s    *shard
	key  string
	req  *Message
	from *flow // it came by
	back *flow // answers go by

	state    txState
	last     []byte // the answer given last
	repeat   *timer // G
	end      *timer // H, I, J, L
	interval time.Duration
	// trying: an INVITE that was let through. What is refused before is answered once to each
	// copy of it (RFC 3261 26.3.2.4): else a datagram with somebody else's address on it would
	// bring that one a dozen answers.
	trying bool
	// keeps: somebody has shown a right to be heard (a password, a trusted address, a call that was let through), so the
	// answer is kept for when the request comes again. Before, nothing is, so that those who prove nothing fill no table (RFC 3261
	// 8.2.7, 26.3.2.4): a request that comes again is answered anew, and alike.
	keeps bool
	// cancelled is called when the caller gives up; why is the Reason that the CANCEL gives, if any.
	cancelled func()
	why       []string
	unwatch   func() bool // forgets the connection of who calls; nil: it is not watched
}

// serverKey is what makes two requests the same transaction (RFC 3261 17.2.3). An ACK, and
// a CANCEL, has that of its INVITE. The Call-ID is in it, too: it picks the shard, and not
// every branch is as unique as it should be.
func serverKey(m *Message, method string) string {
	v := m.topVia()
	if b := v.branch(); strings.HasPrefix(b, cookie) && len(b) > len(cookie) {
		return strings.Join([]string{b, strings.ToLower(v.host), hostPort("", v.port), method, m.Get(CallID)}, "|")
	}
	// From an element that follows RFC 2543.
	n, _, _ := strings.Cut(m.Get(CSeq), " ")
	return strings.Join([]string{"2543", m.URI, tagOf(m.Get(From)), m.Get(CallID), n, m.Top(Via), method}, "|")
}

func (s *shard) newServerTx(key string, m *Message, f *flow) *serverTx {
	tx := &serverTx{s: s, key: key, req: m, from: f, back: f.backTo(m.topVia())}
	s.servers[key] = tx
	s.e.stats.Transactions.Add(1)
	return tx
}

// cancel: the caller gives up, or is gone.
func (tx *serverTx) cancel() {
	if tx.cancelled != nil {
		tx.cancelled()
	}
}

func (tx *serverTx) invite() bool { return tx.req.Method == "INVITE" }

// repeated: the request came again.
func (tx *serverTx) repeated() {
	tx.s.e.stats.Repeated.Add(1)
	if tx.last != nil && (tx.state == txProceeding || tx.state == txCompleted) {
		tx.back.send(tx.last)
	}
}

// answer begins an answer of our own to the request.
func (tx *serverTx) answer(status int) *Message {
	r := tx.req.Response(status, reasons[status])
	if status > 100 {
		r.tagTo(tx.s.e.tagFor(tx.key))
	}
	return r
}

// tagTo adds a To tag where there is none.
func (m *Message) tagTo(tag string) {
	if to := m.Get(To); tagOf(to) == "" {
		m.Set(To, to+";tag="+tag)
	}
}

// reply answers with a status and nothing else.
func (tx *serverTx) reply(status int) { tx.respond(tx.answer(status)) }

// respond sends an answer. Its Via fields are those of the request.
func (tx *serverTx) respond(m *Message) {
	final := m.Status >= 200
	switch {
	case tx.state == txProceeding:
	case tx.state == txAccepted && m.Status/100 == 2: // further ones, and repetitions (RFC 6026 7.1)
	default:
		return
	}
	tx.last = m.Encode()
	if final && !tx.keeps {
		tx.finish(0)
	}
	if !tx.back.send(tx.last) {
		tx.anew()
	}
	tx.s.e.count(m.Status)
	if !final || tx.state == txAccepted || tx.state == txOver {
		return
	}
	tx.cancelled = nil
	if tx.unwatch != nil {
		tx.unwatch()
	}
	patience := tx.s.e.times.patience()
	switch {
	case !tx.invite():
		tx.state = txCompleted
		if tx.from.reliable() {
			patience = 0
		}
		tx.finish(patience)
	case m.Status/100 == 2:
		tx.state = txAccepted
		tx.finish(patience)
	default:
		tx.state = txCompleted
		tx.finish(patience)
		if tx.trying && !tx.from.reliable() {
			tx.interval = tx.s.e.times.t1
			tx.repeat = tx.s.after(tx.interval, tx.again)
		}
	}
}

// mayReach: an answer may go by a new connection when the one that the request came by is over.
func (tx *serverTx) mayReach() bool {
	return tx.from.transport == "TCP" && (tx.s.e.cfg.Open || tx.s.e.trusts(tx.from))
}

// anew sends the last answer by a new connection to where the request came from, if that was an
// element's, over TCP, and is over (RFC 3261 18.2.2). Elements close what is silent, also while a
// phone rings.
func (tx *serverTx) anew() {
	if !tx.mayReach() {
		return
	}
	f := tx.from
	b := tx.last
	hop := uri{scheme: "sip", host: f.remote.Addr().String(), port: tx.req.topVia().port, params: params{{"transport", "tcp"}}}
	tx.s.reach(target{hop: hop}, func(to *flow) {
		if to != nil {
			tx.back = to
			to.send(b)
		}
	})
}

// again repeats a final answer to INVITE until its ACK comes (timer G).
func (tx *serverTx) again() {
	if tx.state != txCompleted {
		return
	}
	tx.back.send(tx.last)
	tx.interval = min(2*tx.interval, tx.s.e.times.t2)
	tx.repeat = tx.s.after(tx.interval, tx.again)
}

// acked: the ACK of a final answer that was not 2xx has come.
func (tx *serverTx) acked() {
	if tx.state != txCompleted {
		return
	}
	tx.state = txConfirmed
	tx.s.stop(tx.repeat)
	wait := tx.s.e.times.t4
	if tx.from.reliable() {
		wait = 0
	}
	tx.finish(wait)
}

// finish ends the transaction when d has passed.
func (tx *serverTx) finish(d time.Duration) {
	tx.s.stop(tx.end)
	over := func() {
		tx.state = txOver
		tx.s.stop(tx.repeat)
		delete(tx.s.servers, tx.key)
		tx.s.e.stats.Transactions.Add(-1)
	}
	if d <= 0 {
		over()
		return
	}
	tx.end = tx.s.after(d, over)
}

// clientTx is a client transaction: it repeats a request until an answer comes (RFC 3261
// 17.1, RFC 6026 7.2).
type clientTx struct {
	s    *shard
	key  string
	req  *Message
	wire []byte
	to   *flow
	// got is called with each answer that matters, and with nil when none came.
	got func(*Message)

	state    txState
	heard    bool // an answer has come
	repeat   *timer
	end      *timer
	interval time.Duration
}

func clientKey(branch, method string) string { return branch + "|" + method }

// sendRequest begins a client transaction. The request has our Via on top.
func (s *shard) sendRequest(m *Message, branch string, to *flow, got func(*Message)) *clientTx {
	tx := &clientTx{s: s, key: clientKey(branch, m.Method), req: m, wire: m.Encode(), to: to, got: got, interval: s.e.times.t1}
	s.clients[tx.key] = tx
	s.e.stats.Transactions.Add(1)
	tx.end = s.after(s.e.times.patience(), tx.timeout) // B, F
	if !to.reliable() {
		tx.repeat = s.after(tx.interval, tx.again)
	}
	if !to.send(tx.wire) {
		s.after(0, tx.timeout) // RFC 3261 17.1.4: as if it had timed out
	}
	return tx
}

func (tx *clientTx) invite() bool { return tx.req.Method == "INVITE" }

// again repeats the request (timers A, E).
func (tx *clientTx) again() {
	if tx.state != txProceeding || tx.heard && tx.invite() {
		return
	}
	tx.to.send(tx.wire)
	if tx.interval *= 2; !tx.invite() {
		tx.interval = min(tx.interval, tx.s.e.times.t2)
		if tx.heard {
			tx.interval = tx.s.e.times.t2
		}
	}
	tx.repeat = tx.s.after(tx.interval, tx.again)
}

func (tx *clientTx) timeout() {
	if tx.state != txProceeding || tx.heard && tx.invite() {
		return
	}
	tx.over()
	tx.got(nil)
}

// response takes an answer.
func (tx *clientTx) response(m *Message) {
	first := !tx.heard
	tx.heard = true
	switch {
	case m.Status < 200:
		if tx.state == txProceeding {
			if first && tx.invite() {
				tx.s.stop(tx.repeat)
				tx.s.stop(tx.end) // timer C is the proxy's
			}
			tx.got(m)
		}
		return
	case tx.invite() && m.Status/100 == 2:
		if tx.state == txProceeding {
			tx.state = txAccepted
			tx.finish(tx.s.e.times.patience()) // M
		}
		if tx.state == txAccepted {
			tx.got(m)
		}
		return
	case tx.invite():
		if tx.state == txProceeding || tx.state == txCompleted {
			tx.ack(m)
		}
	}
	if tx.state != txProceeding {
		return
	}
	tx.state = txCompleted
	wait := tx.s.e.times.t4 // K
	if tx.invite() {
		wait = tx.s.e.times.patience() // D
	}
	if tx.to.reliable() {
		wait = 0
	}
	tx.finish(wait)
	tx.got(m)
}

// ack answers a final answer to INVITE that is not 2xx (RFC 3261 17.1.1.3).
func (tx *clientTx) ack(res *Message) {
	tx.to.send(tx.derive("ACK", res.Get(To)).Encode())
}

// derive makes the ACK or CANCEL of an INVITE (RFC 3261 9.1, 17.1.1.3).
func (tx *clientTx) derive(method, to string) *Message {
	m := &Message{Method: method, URI: tx.req.URI}
	m.Add(Via, tx.req.Top(Via))
	for _, h := range tx.req.Headers {
		if h.ID == Route || h.ID == From || h.ID == CallID {
			m.Headers = append(m.Headers, h)
		}
	}
	n, _, _ := strings.Cut(tx.req.Get(CSeq), " ")
	m.Add(To, to)
	m.Add(CSeq, n+" "+method)
	m.Add(MaxForwards, "70")
	return m
}

// finish ends the transaction when d has passed.
func (tx *clientTx) finish(d time.Duration) {
	tx.s.stop(tx.repeat)
	tx.s.stop(tx.end)
	if d <= 0 {
		tx.over()
		return
	}
	tx.end = tx.s.after(d, tx.over)
}

func (tx *clientTx) over() {
	if tx.state == txOver {
		return
	}
	tx.state = txOver
	tx.s.stop(tx.repeat)
	tx.s.stop(tx.end)
	delete(tx.s.clients, tx.key)
	tx.s.e.stats.Transactions.Add(-1)
}
