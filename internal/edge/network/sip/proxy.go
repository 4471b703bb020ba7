package sip

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// request handles a request that is well formed (RFC 3261 16.3 to 16.6).
func (s *shard) request(m *Message, f *flow) {
	switch m.Method {
	case "ACK":
		key := serverKey(m, "INVITE")
		if tx := s.servers[key]; tx != nil && (tx.state == txCompleted || tx.state == txConfirmed) {
			tx.acked()
			return
		}
		if tagOf(m.Get(To)) != s.e.tagFor(key) { // or else it is of a refusal of ours, of which nothing is kept
			s.forwardAck(m, f)
		}
		return
	case "CANCEL":
		s.cancel(m, f)
		return
	}
	key := serverKey(m, m.Method)
	if tx := s.servers[key]; tx != nil {
		tx.repeated()
		return
	}
	if s.e.stats.Transactions.Load() >= int64(s.e.cfg.MaxTransactions) {
		s.dismiss(key, m, f, 503, Header{ID: RetryAfter, Name: "Retry-After", Value: "10"})
		return
	}
	s.begin(s.newServerTx(key, m, f))
}

// dismiss answers a request without keeping anything of it.
func (s *shard) dismiss(key string, m *Message, f *flow, status int, more ...Header) {
	r := m.Response(status, reasons[status])
	r.tagTo(s.e.tagFor(key))
	r.Headers = append(r.Headers, more...)
	s.e.count(status)
	f.backTo(m.topVia()).send(r.Encode())
}

// begin decides about a new request.
func (s *shard) begin(tx *serverTx) {
	m := tx.req
	r := s.ownRoutes(m)
	u, _ := parseURI(m.URI) // was validated
	// A refusal within a call bears the other side's tag, so that its ACK would be forwarded if nothing was known of it.
	tx.keeps = tx.invite() && tagOf(m.Get(To)) != "" && s.e.mayAcknowledge(m, tx.from, r, u)
	if fault := s.e.unsupported(m, ProxyRequire); fault != nil {
		tx.refuse(fault)
		return
	}
	if !u.isSIP() && u.scheme != "tel" {
		tx.reply(416)
		return
	}
	if w := s.watches[m.Get(CallID)]; w != nil && m.Method == "NOTIFY" {
		tx.keeps = true // nobody guesses the Call-ID
		w.notified(tx)
		return
	}
	next := m.Has(Route)
	if m.Method == "REGISTER" && !next && (s.e.local(u) || !s.e.trusts(tx.from)) {
		s.register(tx)
		return
	}
	if !next && s.e.local(u) && u.user == "" {
		s.forUs(tx)
		return
	}
	if hops, ok := number(m.Get(MaxForwards), 255); ok && hops == 0 {
		if m.Method == "OPTIONS" && s.e.local(u) {
			s.forUs(tx) // RFC 3261 16.3 step 3: it may answer as if it was meant
			return
		}
		tx.reply(483)
		return
	}
	if s.e.looped(m) {
		tx.reply(482)
		return
	}
	who, ok := s.caller(tx, r, u)
	if !ok {
		return
	}
	tx.keeps = true
	targets, status := s.targets(m, r, u, tx.from, who)
	if status != 0 {
		res := tx.answer(status)
		if r.ours {
			s.within(m, res) // who hangs up has no call any more, though the other side cannot be told
		}
		tx.respond(res)
		return
	}
	s.fork(tx, targets, who, r)
}

// forUs answers what is meant for the element itself.
func (s *shard) forUs(tx *serverTx) {
	if tx.req.Method != "OPTIONS" {
		tx.reply(404)
		return
	}
	if f := s.e.unsupported(tx.req, Require); f != nil {
		tx.refuse(f)
		return
	}
	r := tx.answer(200)
	r.Headers = append(r.Headers, Header{Name: "Allow", Value: "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, UPDATE, PRACK, REFER, NOTIFY, SUBSCRIBE, INFO, MESSAGE"},
		Header{Name: "Accept", Value: "application/sdp"}, Header{ID: Supported, Name: "Supported", Value: strings.Join(extensions, ", ")})
	tx.respond(r)
}

// routed is what our own Route values say of a request.
type routed struct {
	// ours: it came along a route that we recorded for this call, so it belongs to a call
	// that was let through.
	ours bool
	// flow to the side that it goes to, nil where the addresses say; gone: that was a
	// connection that is over.
	flow *flow
	gone bool
}

// ownRoutes takes our own values off the Route (RFC 3261 16.4). The last of them tells the
// way on.
func (s *shard) ownRoutes(m *Message) (r routed) {
	callID := m.Get(CallID)
	read := func(u uri) {
		b, ok := s.e.readToken(u.user, callID)
		if r.ours = r.ours || ok; ok {
			r.flow, r.gone = s.e.decodeFlow(b)
		}
	}
	// A strict router has put our address into the Request-URI and its target last.
	if u, ok := parseURI(m.URI); ok && u.isSIP() && s.e.ourRoute(u, callID) && m.Has(Route) {
		if _, lr := u.params.get("lr"); lr {
			routes := m.All(Route)
			if last, ok := parseAddress(routes[len(routes)-1]); ok {
				m.Remove(Route)
				for _, v := range routes[:len(routes)-1] {
					m.Add(Route, v)
				}
				m.URI = last.uri.String()
				read(u)
			}
		}
	}
	for m.Has(Route) {
		a, ok := parseAddress(m.Top(Route))
		if !ok || !s.e.ourRoute(a.uri, callID) {
			return r
		}
		m.Pop(Route)
		read(a.uri)
	}
	return r
}

// ourRoute: the value is one that we recorded, or names us.
func (e *Element) ourRoute(u uri, callID string) bool {
	if _, ok := e.readToken(u.user, callID); ok {
		return true
	}
	return e.local(u)
}

// local reports whether the host of a URI is ours.
func (e *Element) local(u uri) bool {
	port := u.port
	if strings.EqualFold(u.host, e.cfg.Domain) {
		return port == 0 || slices.Contains(e.ports, port) || port == e.cfg.WebPort
	}
	if port == 0 {
		port = 5060
		if u.scheme == "sips" || u.param("transport") == "tls" {
			port = 5061
		}
	}
	return slices.Contains(e.ports, port) && (strings.EqualFold(u.host, e.cfg.Host) || e.ownHost(u.host))
}

// ownHost: one of the addresses that we listen on.
func (e *Element) ownHost(host string) bool {
	for _, l := range e.streams {
		if h, _, ok := parseHostPort(l.Addr().String()); ok && (h == host || host == "localhost" && strings.HasPrefix(h, "127.")) {
			return true
		}
	}
	return false
}

// identity is who makes a request, as far as that is known.
type identity struct {
	// user as in location; "" if not known.
	user string
	// uri that names it, for P-Asserted-Identity.
	uri string
	// proved by its password, or told by a trusted element.
	proved bool
	// asserted: proved in a way that we may assert to others, as the From of a trusted element is not (RFC 3325 5).
	asserted bool
	// private: it wants to be shown to nobody (RFC 3323, RFC 3325).
	private bool
	// served is the user on whose behalf a network asks us (RFC 5502), and whether as the one
	// who calls.
	served      string
	originating bool
}

// caller finds out who makes a request, or has answered it (false).
func (s *shard) caller(tx *serverTx, r routed, u uri) (who identity, ok bool) {
	m := tx.req
	from, _ := parseAddress(m.Get(From)) // was validated
	privacy := strings.ToLower(m.Get(Privacy))
	who.private = strings.Contains(privacy, "id") || strings.Contains(privacy, "user") || strings.Contains(privacy, "header")
	anonymous := strings.EqualFold(from.uri.host, "anonymous.invalid") || strings.EqualFold(from.uri.user, "anonymous")
	who.private = who.private || anonymous
	if !anonymous {
		who.user, who.uri = userOf(from.uri), from.uri.String()
	}
	if s.e.trusts(tx.from) {
		for _, value := range m.All(PAssertedIdentity) {
			if a, ok := parseAddress(value); ok && userOf(a.uri) != "" {
				who.user, who.uri, who.asserted = userOf(a.uri), a.uri.String(), true
				break
			}
		}
		who.proved = who.user != ""
		if a, ok := parseAddress(m.Get(PServedUser)); ok {
			who.served = userOf(a.uri)
			if sescase, _ := a.params.get("sescase"); strings.EqualFold(sescase, "orig") {
				who.originating = true
			}
		}
		return who, true
	}
	// Whoever is not trusted asserts nothing (RFC 3325 5).
	m.Remove(PAssertedIdentity)
	m.Remove(PServedUser)
	m.Remove(HistoryInfo)
	m.Remove(Diversion)
	if s.e.cfg.Open || s.e.inCall(m, r, u) {
		return who, true
	}
	by, ok := s.authenticated(tx, ProxyAuthorization)
	if !ok {
		return who, false
	}
	user := by.user
	if who.user != "" && who.user != user {
		s.e.log.Warn("a call in somebody else's name was refused", "remote", tx.from.remote)
		tx.reply(403)
		return who, false
	}
	who.user, who.proved, who.asserted = user, true, true
	who.uri = "sip:" + user + "@" + s.e.cfg.Domain
	if strings.HasPrefix(user, "+") {
		who.uri += ";user=phone"
	}
	m.Remove(ProxyAuthorization) // it was for us
	return who, true
}

// inCall: the request goes to the other side of a call that was let through, for which no password is needed again.
func (e *Element) inCall(m *Message, r routed, u uri) bool {
	return r.ours && tagOf(m.Get(To)) != "" && (r.flow != nil || m.Has(Route) || !e.local(u))
}

// target is one place that a request is forwarded to.
type target struct {
	uri string // of the request
	// flow, or else hop, a URI to be resolved.
	flow *flow
	hop  uri
	// route values to be put before those that are there.
	route []string
	// user that is reached, as in location; "" if not known. phone is which of its telephones.
	user  string
	phone telephone
	// inside: the hop comes from the other side, and leads to trusted elements only.
	inside bool
	// service: a program of ours answers (Config.Services).
	service bool
}

// targets of a request (RFC 3261 16.5); a status if there are none.
func (s *shard) targets(m *Message, r routed, u uri, from *flow, who identity) ([]target, int) {
	trusted := s.e.trusts(from)
	inside := !trusted && !s.e.cfg.Open
	if m.Has(Route) {
		if !r.ours && !trusted {
			return nil, 403 // nobody is relayed anywhere
		}
		hop, _ := parseAddress(m.Top(Route)) // was validated
		t := target{uri: m.URI, hop: hop.uri, user: userOf(u), inside: inside}
		if r.flow != nil && (r.flow.conn != nil || inside) {
			t.flow = r.flow
		}
		if _, lr := hop.uri.params.get("lr"); !lr { // a strict router (RFC 3261 16.6 step 6)
			m.Pop(Route)
			m.Add(Route, "<"+m.URI+">")
			t.uri = hop.uri.String()
		}
		return []target{t}, 0
	}
	if r.ours && u.isSIP() && (r.flow != nil || !s.e.local(u)) {
		switch {
		case r.flow != nil:
			return []target{{uri: m.URI, flow: s.present(m, r.flow), hop: u}}, 0
		case r.gone:
			if t, ok := s.back(m, u); ok {
				return []target{t}, 0
			}
			if nowhere(u) {
				return nil, 430
			}
		}
		return []target{{uri: m.URI, hop: u, inside: inside}}, 0
	}
	if !u.isSIP() || s.e.local(u) {
		user := userOf(u)
		if to, ok := s.e.cfg.Services[user]; ok {
			hop, _ := parseURI(to) // was checked by complete
			return []target{{uri: to, hop: hop, user: user, service: true}}, 0
		}
		var all []target
		for _, b := range s.e.location.find(user, time.Now()) {
			all = append(all, b.target())
		}
		switch {
		case len(all) > 0:
			return all, 0
		case s.e.cfg.NextHop != "":
			hop, _ := parseURI(s.e.cfg.NextHop) // was checked by complete
			return []target{{uri: m.URI, hop: hop, user: user}}, 0
		case strings.HasPrefix(user, "+"):
			return nil, 480 // whether the number is known is nobody's business
		}
		return nil, 404
	}
	switch {
	case trusted:
		return []target{{uri: m.URI, hop: u, user: userOf(u)}}, 0
	case s.e.cfg.NextHop != "":
		hop, _ := parseURI(s.e.cfg.NextHop)
		return []target{{uri: m.URI, hop: hop}}, 0 // a user of another domain is not the one of ours who has its name
	}
	return nil, 403
}

// target of a binding: the contact, by the way that it registered by. Over UDP that is the
// contact's own address, unless it is behind a NAT.
func (b *binding) target() target {
	t := target{uri: b.contact.uri.String(), user: b.user, phone: b.telephone(), hop: b.contact.uri, route: b.path}
	if len(b.path) > 0 {
		if a, ok := parseAddress(b.path[0]); ok {
			t.hop = a.uri
		}
		return t
	}
	if b.via.conn != nil || !at(b.contact.uri, b.via) {
		t.flow = b.via
	}
	return t
}

// gone: the connection that it is reached by is over.
func (b *binding) gone() bool { return len(b.path) == 0 && !b.via.alive() }

// back finds a telephone in a call whose connection ended, among those that its user has registered: by what it is known by, or
// else by the contact that the request names. The call says whose telephone it is, since whoever makes the request may
// name anybody. In a call that is not followed To says it, and only of a contact that leads nowhere else, which nobody guesses.
func (s *shard) back(m *Message, contact uri) (t target, ok bool) {
	to, _ := parseAddress(m.Get(To)) // was validated
	user, phone, known := userOf(to.uri), telephone{}, false
	if c := s.calls[m.Get(CallID)]; c != nil {
		tag, _ := to.params.get("tag")
		if whose, which, ok := c.telephone(tag); ok {
			user, phone, known = whose, which, true
		}
	}
	if !known && !nowhere(contact) {
		return t, false
	}
	var found *binding
	for _, b := range s.e.location.find(user, time.Now()) {
		if !b.is(phone, contact) {
			continue
		}
		if found == nil || b.gone() == found.gone() && b.at.After(found.at) || found.gone() && !b.gone() {
			found = b
		}
	}
	if found == nil {
		return t, false
	}
	t = found.target()
	t.uri = m.URI
	return t, true
}

// present is the flow of a telephone in a call: by which it has registered last, if not by the one that it had. Who changes
// networks leaves a connection that seems to be up for a quarter of an hour, or an address that nobody hears at, as when a NAT has given
// it another one. By its contact alone a telephone is not told from another one of its user, behind another NAT.
func (s *shard) present(m *Message, f *flow) *flow {
	c := s.calls[m.Get(CallID)]
	if c == nil {
		return f
	}
	user, phone, _ := c.telephone(tagOf(m.Get(To)))
	present, last := f, time.Time{}
	for _, b := range s.e.location.find(user, time.Now()) {
		way := b.way()
		if b.telephone() != phone || way == nil || !way.alive() {
			continue
		}
		own := way.same(f)
		if own && phone.instance != "" {
			return f // it may have several at once (RFC 5626)
		}
		if b.at.After(last) || own && b.at.Equal(last) {
			present, last = way, b.at
		}
	}
	return present
}

// nowhere: the contact is good for its own WebSocket only (RFC 7118 5).
func nowhere(contact uri) bool {
	return contact.param("transport") == "ws" || strings.HasSuffix(contact.host, ".invalid")
}

// prepare makes the request that goes to a target (RFC 3261 16.6), without its Via.
func (s *shard) prepare(m *Message, t target) *Message {
	c := m.Clone()
	c.URI = t.uri
	hops := uint64(70)
	if n, ok := number(c.Get(MaxForwards), 255); ok {
		hops = n - 1 // it is not 0
	}
	c.Set(MaxForwards, strconv.FormatUint(hops, 10))
	for _, v := range slices.Backward(t.route) {
		c.Push(Route, v)
	}
	return c
}

// at: the URI leads to the address at the other end of the flow, so there is no NAT
// between.
func at(u uri, f *flow) bool {
	_, elsewhere := u.params.get("maddr")
	return u.host == f.remote.Addr().String() && !elsewhere
}

// recordRoute puts us on the way of what follows in the dialog (RFC 3261 16.6 step 4): one
// value for each side, so that each has an address that it can reach (RFC 5658).
func (s *shard) recordRoute(c *Message, from, to *flow, t target) {
	// Back to the caller: by the flow that it called by, unless it can be reached as its
	// contact says, or is behind another element.
	// What is sent to somebody who is not trusted goes to no address but its own: else the other side
	// could have us send anywhere.
	free := func(f *flow) bool { return s.e.cfg.Open || s.e.trusts(f) }
	back := from
	a, ok := parseAddress(c.Top(Contact))
	switch near := ok && from.conn == nil && at(a.uri, from); {
	case free(from) && (near || len(c.All(Via)) > 1):
		back = nil
	case near:
		back = &flow{transport: from.transport, udp: from.udp, remote: netip.AddrPortFrom(from.remote.Addr(), cmp.Or(a.uri.port, 5060))}
	}
	on := to
	if free(to) && (to.conn == nil && t.flow == nil || len(t.route) > 0) {
		on = nil
	}
	callID := c.Get(CallID)
	c.Push(RecordRoute, s.e.routeValue(from, back, callID))
	c.Push(RecordRoute, s.e.routeValue(to, on, callID))
}

// routeValue is the address of the element for the side of a flow; way is the flow that a
// token shall lead to.
func (e *Element) routeValue(f, way *flow, callID string) string {
	u := uri{scheme: "sip", user: e.tokenFor(way, callID), host: e.cfg.Host, port: e.portFor(f.transport)}
	if f.transport != "UDP" {
		u.params = u.params.set("transport", strings.ToLower(f.transport))
	}
	u.params = u.params.set("lr", "")
	return "<" + u.String() + ">"
}

// portFor is the port that we are reached at by a transport.
func (e *Element) portFor(transport string) uint16 {
	if p := e.Port(transport); p != 0 {
		return p
	}
	return e.cfg.WebPort
}

// pushVia puts our Via on top, and returns its branch.
func (s *shard) pushVia(c *Message, to *flow, loop string) string {
	branch := s.e.newBranch(loop)
	v := via{transport: to.transport, host: s.e.cfg.Host, port: s.e.portFor(to.transport), params: params{{"branch", branch}}}
	if to.transport == "UDP" {
		v.params = v.params.set("rport", "")
	}
	c.Push(Via, v.String())
	return branch
}

// forwardAck forwards the ACK of a 2xx, which is no transaction (RFC 3261 16.6, 17).
func (s *shard) forwardAck(m *Message, f *flow) {
	if hops, ok := number(m.Get(MaxForwards), 255); ok && hops == 0 || s.e.looped(m) {
		return
	}
	loop := s.e.loopOf(m)
	r := s.ownRoutes(m)
	u, ok := parseURI(m.URI)
	if !ok || !s.e.mayAcknowledge(m, f, r, u) {
		return // of no call that we let through
	}
	targets, status := s.targets(m, r, u, f, identity{})
	if status != 0 || len(targets) != 1 {
		return
	}
	if call := s.calls[m.Get(CallID)]; call != nil {
		call.acked(m)
	}
	c := s.prepare(m, targets[0])
	s.reach(targets[0], func(to *flow) {
		if to != nil {
			s.pushVia(c, to, loop)
			to.send(c.Encode())
		}
	})
}

// mayAcknowledge: an ACK with this route goes on to the other side.
func (e *Element) mayAcknowledge(m *Message, f *flow, r routed, u uri) bool {
	return e.trusts(f) || e.cfg.Open && r.ours || e.inCall(m, r, u)
}

// cancel gives up an INVITE (RFC 3261 16.10).
func (s *shard) cancel(m *Message, f *flow) {
	key := serverKey(m, "CANCEL")
	if tx := s.servers[key]; tx != nil {
		tx.repeated()
		return
	}
	invite := s.servers[serverKey(m, "INVITE")]
	if invite == nil {
		s.dismiss(key, m, f, 481) // anybody can make these up: they must take no room
		return
	}
	tx := s.newServerTx(key, m, f)
	tx.keeps = true
	tx.reply(200)
	invite.why = m.Raw(ReasonHeader)
	invite.cancel()
}

// response takes an answer to a request that we sent.
func (s *shard) response(m *Message) {
	_, method := m.cseq()
	v := m.topVia()
	tx := s.clients[clientKey(v.branch(), method)]
	if tx == nil {
		return // of nothing that we know (RFC 3261 16.7 would forward it; RFC 6026 7.3 forbids it)
	}
	tx.response(m)
}
