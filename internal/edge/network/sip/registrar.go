package sip

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// The times that a registration may last, in seconds (RFC 3261 10.2.1.1, 10.3).
const (
	minExpires, usualExpires, maxExpires = 30, 3600, 3600
)

// register handles REGISTER (RFC 3261 10.3).
func (s *shard) register(tx *serverTx) {
	m := tx.req
	to, _ := parseAddress(m.Get(To)) // was validated
	u, _ := parseURI(m.URI)
	if f := s.e.unsupported(m, Require); f != nil {
		tx.refuse(f)
		return
	}
	if !u.isSIP() || !s.e.local(u) {
		tx.reply(404) // a registrar for another domain (RFC 3261 10.3 step 1)
		return
	}
	user := userOf(to.uri)
	if !to.uri.isSIP() || user == "" || !s.e.local(to.uri) {
		tx.reply(404) // step 5
		return
	}
	var who holder
	if !s.e.cfg.Open {
		var ok bool
		if who, ok = s.authenticated(tx, Authorization); !ok {
			return
		}
		if who.user != user {
			s.e.log.Warn("a registration for somebody else's address was refused", "remote", tx.from.remote)
			tx.reply(403)
			return
		}
		if m.Has(Path) && !s.e.trusts(tx.from) {
			s.e.log.Warn("a phone that wants its calls sent elsewhere was refused (Path, RFC 3327)", "remote", tx.from.remote)
			tx.reply(403)
			return
		}
	}
	tx.keeps = true
	now := time.Now()
	bindings, fault := s.bindings(tx, user, who, now)
	if fault != nil {
		tx.refuse(fault)
		return
	}
	all := m.Raw(Contact)
	star := len(all) > 0 && all[0] == "*"
	if star && (len(all) > 1 || m.Get(Expires) != "0") {
		tx.refuse(bad("Contact: * goes with Expires: 0"))
		return
	}
	var now2 []*binding
	callID := m.Get(CallID)
	cseq, _ := m.cseq()
	ok := s.e.location.update(user, func(old []*binding) ([]*binding, bool) {
		kept := slices.DeleteFunc(old, func(b *binding) bool { return !now.Before(b.expires) })
		if star {
			kept = nil
		}
		for _, b := range bindings {
			same := func(o *binding) bool { return sameContact(o.contact, b.contact) }
			if i := slices.IndexFunc(kept, same); i >= 0 && kept[i].callID == callID && kept[i].cseq >= cseq {
				continue // older than what is known (step 7)
			}
			kept = slices.DeleteFunc(kept, same)
			if b.expires.After(now) {
				kept = append(kept, b)
			}
		}
		now2 = makeRoom(kept, callID, now)
		return now2, true
	})
	if !ok {
		s.e.log.Info("a telephone was not registered: its user has too many already, or the element", "remote", tx.from.remote, "most of a user", maxContacts)
		tx.reply(503)
		return
	}
	r := tx.answer(200)
	for _, b := range now2 {
		c := b.contact
		left := int(b.expires.Sub(now).Round(time.Second) / time.Second)
		c.params = slices.DeleteFunc(slices.Clone(c.params), func(p param) bool { return strings.EqualFold(p.name, "expires") })
		c.params = c.params.set("expires", strconv.Itoa(left))
		r.Add(Contact, c.String())
	}
	r.Add(Date, now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"))
	for _, p := range m.Raw(Path) {
		r.Add(Path, p)
	}
	tx.respond(r)
}

// makeRoom drops what telephones have left behind where a user has too many contacts: of those whose connection is over, and of those that
// the same telephone has registered before (its registrations have one Call-ID, RFC 3261 10.2), the ones that were registered longest ago. A
// telephone behind a NAT has another contact whenever it connects anew, and may not take back the one before.
func makeRoom(kept []*binding, callID string, now time.Time) []*binding {
	for len(kept) > maxContacts {
		oldest := -1
		for i, b := range kept {
			left := b.gone() || b.callID == callID && b.at.Before(now)
			if left && (oldest < 0 || b.at.Before(kept[oldest].at)) {
				oldest = i
			}
		}
		if oldest < 0 {
			break
		}
		kept = slices.Delete(kept, oldest, oldest+1)
	}
	return kept
}

// bindings are those that a REGISTER asks for.
func (s *shard) bindings(tx *serverTx, user string, who holder, now time.Time) ([]*binding, *Fault) {
	m := tx.req
	usual := uint64(usualExpires)
	if v, ok := number(m.Get(Expires), maxExpires); ok {
		usual = v
	}
	callID := m.Get(CallID)
	cseq, _ := m.cseq()
	var all []*binding
	for _, value := range m.All(Contact) {
		if value == "*" {
			continue
		}
		c, ok := parseAddress(value)
		if !ok {
			return nil, bad("Contact is not well formed")
		}
		if !c.uri.isSIP() {
			continue // it can be a person's page or mail address; calls do not go there
		}
		seconds := usual
		if v, ok := c.params.get("expires"); ok {
			if n, ok := number(v, maxExpires); ok {
				seconds = n
			} // or else it is as if it said 3600 (RFC 3261 20.10)
		}
		if seconds > 0 && seconds < minExpires {
			seconds = minExpires
		}
		all = append(all, &binding{
			user: user, contact: c, expires: now.Add(time.Duration(seconds) * time.Second), callID: callID, cseq: cseq, at: now, via: tx.from, path: m.All(Path), holder: who,
		})
	}
	return all, nil
}

// sameContact compares addresses as far as bindings need (RFC 3261 19.1.4).
func sameContact(a, b address) bool {
	ia, _ := a.params.get("+sip.instance")
	ib, _ := b.params.get("+sip.instance")
	if ia != "" && ia == ib {
		ra, _ := a.params.get("reg-id")
		rb, _ := b.params.get("reg-id")
		return ra == rb // RFC 5626 6
	}
	return a.uri.scheme == b.uri.scheme && unescape(a.uri.user) == unescape(b.uri.user) && strings.EqualFold(a.uri.host, b.uri.host) &&
		a.uri.port == b.uri.port && a.uri.param("transport") == b.uri.param("transport")
}

// refuse answers a request that cannot be handled.
func (tx *serverTx) refuse(f *Fault) {
	r := tx.answer(f.Status)
	r.Reason = f.Reason
	if f.Unsupported != "" {
		r.Add(Unsupported, f.Unsupported)
	}
	tx.respond(r)
}

// unsupported returns a fault that lists the extensions of a field which the element does
// not know (RFC 3261 8.2.2.3, 16.3 step 5).
func (e *Element) unsupported(m *Message, id HeaderID) *Fault {
	var unknown []string
	for _, tag := range m.All(id) {
		if !slices.Contains(extensions, strings.ToLower(tag)) {
			unknown = append(unknown, tag)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return &Fault{Status: 420, Reason: reasons[420], Why: "an extension is not known", Unsupported: strings.Join(unknown, ", ")}
}

// extensions that the element knows, as a registrar and as a proxy.
var extensions = []string{"path"}
