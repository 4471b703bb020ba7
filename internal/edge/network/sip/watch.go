package sip

import (
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-call/tandem/tel"
)

// watch is a subscription to the calls of one user at another element: a PBX, or a proxy
// with a presence server (RFC 6665, RFC 4235). Its legs are reported like those that go
// through us.
type watch struct {
	s       *shard
	uri     uri
	user    string
	callID  string
	tag     string
	remote  string // To of our requests, once the other side has answered
	target  string // its contact
	route   []string
	cseq    uint32
	legs    map[string]*Leg   // by the dialog's id
	refs    map[string]string // Call-ID of each
	version uint32
	told    bool // a NOTIFY has come
	heard   bool // a document has come
	tried   bool // the password was tried
	over    bool // another one has taken its place
	renew   *timer
	refresh *timer
	pause   time.Duration
}

// The times of subscriptions.
const (
	watchFor = 10 * time.Minute
	// watchAgain is the time until the next attempt, after one that failed; it doubles up to
	// watchMost.
	watchAgain, watchMost = 2 * time.Second, 2 * time.Minute
)

// watch begins to watch a user.
func (e *Element) watch(value string) {
	u, _ := parseURI(value) // was checked by complete
	e.subscribe(u, 0)
}

// subscribe begins a new subscription; pause is what has passed since the one before.
func (e *Element) subscribe(u uri, pause time.Duration) {
	w := &watch{
		uri: u, user: userOf(u), callID: rand.Text() + "@" + e.cfg.Host, tag: rand.Text(), remote: "<" + u.String() + ">", target: u.String(),
		legs: map[string]*Leg{}, refs: map[string]string{}, pause: pause,
	}
	w.s = e.shardOf(w.callID)
	w.s.do(func() {
		w.s.watches[w.callID] = w
		w.refresh = w.s.after(e.cfg.Lease/2, w.again)
		w.subscribe(nil)
	})
}

// subscribe asks for the user's calls, for the first time or once more; challenge: the
// answer that asked for a password.
func (w *watch) subscribe(challenge *Message) {
	s, e := w.s, w.s.e
	w.cseq++
	m := &Message{Method: "SUBSCRIBE", URI: w.target}
	m.Add(MaxForwards, "70")
	for _, r := range w.route {
		m.Add(Route, r)
	}
	m.Add(From, "<sip:tandem@"+e.cfg.Domain+">;tag="+w.tag)
	m.Add(To, w.remote)
	m.Add(CallID, w.callID)
	m.Add(CSeq, strconv.FormatUint(uint64(w.cseq), 10)+" SUBSCRIBE")
	m.Add(Event, "dialog")
	m.Add(Expires, strconv.Itoa(int(watchFor/time.Second)))
	m.Headers = append(m.Headers, Header{Name: "Accept", Value: "application/dialog-info+xml"})
	if challenge != nil && !w.authorise(m, challenge) {
		w.lost("it asks for a password that is not known")
		return
	}
	t := target{uri: w.target, hop: w.uri}
	if len(w.route) > 0 {
		if a, ok := parseAddress(w.route[0]); ok {
			t.hop = a.uri
		}
	} else if u, ok := parseURI(w.target); ok {
		t.hop = u
	}
	s.reach(t, func(to *flow) {
		if to == nil {
			w.lost("it cannot be reached")
			return
		}
		contact := uri{scheme: "sip", user: "tandem", host: e.cfg.Host, port: e.portFor(to.transport)}
		if to.transport != "UDP" {
			contact.params = contact.params.set("transport", strings.ToLower(to.transport))
		}
		m.Add(Contact, "<"+contact.String()+">")
		s.sendRequest(m, s.pushVia(m, to, "w"), to, w.answered)
	})
}

// authorise answers a challenge (RFC 3261 22.2).
func (w *watch) authorise(m, challenge *Message) bool {
	e := w.s.e
	in, out := WWWAuthenticate, Authorization
	if challenge.Status == 407 {
		in, out = ProxyAuthenticate, ProxyAuthorization
	}
	c, ok := parseCredentials(challenge.Get(in))
	if !ok || w.tried || e.cfg.WatchUser == "" {
		return false
	}
	w.tried = true
	qop := c["qop"]
	c["username"], c["uri"], c["nc"], c["cnonce"], c["qop"] = e.cfg.WatchUser, m.URI, "00000001", rand.Text(), "auth"
	value := fmt.Sprintf("Digest username=%s, realm=%s, nonce=%s, uri=%s, algorithm=MD5", quote(e.cfg.WatchUser), quote(c["realm"]), quote(c["nonce"]), quote(m.URI))
	if qop == "" { // RFC 2069
		value += fmt.Sprintf(", response=%q", digest2069(c, e.cfg.WatchPassword, m.Method))
	} else {
		value += fmt.Sprintf(", qop=auth, nc=00000001, cnonce=%s, response=%q", quote(c["cnonce"]), digest(c, e.cfg.WatchPassword, m.Method))
	}
	if c["opaque"] != "" {
		value += ", opaque=" + quote(c["opaque"])
	}
	m.Add(out, value)
	return true
}

// answered takes the answer to SUBSCRIBE; nil: none came.
func (w *watch) answered(res *Message) {
	switch {
	case w.over:
	case res == nil:
		w.lost("it does not answer")
	case res.Status < 200:
	case asks(res.Status):
		w.subscribe(res)
	case res.Status/100 == 2:
		w.tried, w.pause = false, 0
		w.remote = res.Get(To)
		if c, ok := parseAddress(res.Top(Contact)); ok {
			w.target = c.uri.String()
		}
		if routes := res.All(RecordRoute); w.route == nil && len(routes) > 0 {
			for i := len(routes) - 1; i >= 0; i-- {
				w.route = append(w.route, routes[i])
			}
		}
		seconds, ok := number(res.Get(Expires), uint64(watchFor/time.Second))
		if !ok || seconds < 10 {
			seconds = 10
		}
		w.s.stop(w.renew)
		w.renew = w.s.after(time.Duration(seconds)*time.Second/2, func() { w.subscribe(nil) })
	default:
		w.lost(fmt.Sprintf("it answers %d", res.Status))
	}
}

// lost begins anew after a pause. What was reported lapses by itself if it is not seen
// again: that a PBX is silent does not say that calls are over.
func (w *watch) lost(why string) {
	if w.over {
		return
	}
	e := w.s.e
	e.log.Warn("the calls of a user at another SIP element cannot be watched now", "host", w.uri.host, "why", why)
	w.s.stop(w.renew)
	w.s.stop(w.refresh)
	delete(w.s.watches, w.callID)
	w.over = true
	if w.told {
		e.stats.Watched.Add(-1)
	}
	pause := min(max(2*w.pause, watchAgain), watchMost)
	w.s.after(pause, func() {
		e.work.Go(func() { e.subscribe(w.uri, pause) }) // in another shard
	})
}

// notified takes a NOTIFY (RFC 6665 4.1.3).
func (w *watch) notified(tx *serverTx) {
	m := tx.req
	event, _, _ := strings.Cut(m.Get(Event), ";")
	switch {
	case tagOf(m.Get(To)) != w.tag:
		tx.reply(481)
		return
	case !strings.EqualFold(strings.TrimSpace(event), "dialog"):
		tx.reply(489)
		return
	}
	if !w.told {
		w.told = true
		w.s.e.stats.Watched.Add(1)
	}
	if len(m.Body) > 0 {
		d, err := parseDialogInfo(m.Body)
		if err != nil {
			tx.refuse(bad("the body is no dialog-info"))
			return
		}
		w.document(d)
	}
	tx.reply(200)
	state, _, _ := strings.Cut(m.Get(SubscriptionState), ";")
	if strings.EqualFold(strings.TrimSpace(state), "terminated") {
		w.lost("it has ended the subscription")
	}
}

// document takes what is known of the calls: all of them, or those that have changed (RFC
// 4235 4.3). One that is older than what is known says nothing.
func (w *watch) document(d dialogInfo) {
	if w.heard && d.Version <= w.version && d.Version != 0 {
		return
	}
	w.version, w.heard = d.Version, true
	seen := map[string]bool{}
	for _, x := range d.Dialogs {
		seen[x.ID] = true
		w.dialog(x)
	}
	if d.State == "full" {
		for id, l := range w.legs { // what is not there any more is over
			if !seen[id] {
				w.say(id, l, tel.Ended)
			}
		}
	}
}

func (w *watch) dialog(x watchedDialog) {
	state := x.leg()
	l := w.legs[x.ID]
	if x.ID == "" || state == "" || l == nil && (state == tel.Ended || len(w.legs) >= maxWatched) {
		return
	}
	if l == nil {
		own := w.s.e.party(w.user)
		l = &Leg{Own: own, Direction: x.direction(), Vouched: true}
		l.Local = lower.EncodeToString(mac(w.s.e.keys.tag, "watch", w.user, x.ID, x.CallID)[:15])
		w.legs[x.ID], w.refs[x.ID] = l, x.CallID
	}
	if u, ok := parseURI(strings.TrimSpace(x.Remote.Identity.URI)); ok && !strings.EqualFold(u.user, "anonymous") {
		l.Other = w.s.e.party(userOf(u))
	}
	w.say(x.ID, l, state)
}

// maxWatched is how many calls of one user are followed.
const maxWatched = 32

func (w *watch) say(id string, l *Leg, state tel.State) {
	if l.State != state {
		l.State, l.Since = state, time.Now()
		w.put(id, l)
	}
	if state == tel.Ended {
		delete(w.legs, id)
		delete(w.refs, id)
	}
}

func (w *watch) put(id string, l *Leg) {
	if l.Own.IsZero() {
		return
	}
	l.Seq = max(l.Seq+1, uint64(time.Now().UnixMicro()))
	r := Report{
		PartyDetails: tel.PartyDetails{Own: l.Own, Other: l.Other, Direction: l.Direction, State: l.State, Ref: tel.Ref{Local: l.Local}},
		Seq:          l.Seq, At: l.Since, Lease: w.s.e.cfg.Lease, Vouched: l.Vouched,
	}
	if ref := w.refs[id]; len(ref) <= tel.MaxDetail {
		r.Ref.CallID = ref
	}
	w.s.e.queue.put(r)
}

// again reports the calls that go on once more, before their lease runs out.
func (w *watch) again() {
	for id, l := range w.legs {
		w.put(id, l)
	}
	w.refresh = w.s.after(w.s.e.cfg.Lease/2, w.again)
}
