package sip

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tandem-call/tandem/tel"
)

// location is where users can be reached: what registrations have bound (RFC 3261 10).
type location struct {
	mu    sync.Mutex
	users map[string][]*binding
	// extensions leads from a number to those of its users who have an extension (RFC 3966 5.3).
	extensions map[string][]string
	// flows are the users who have registered by a WebSocket, so that its end does not ask for a look at all users.
	flows map[*conn]map[string]bool
	count int
	most  int
}

// binding is one contact of a user.
type binding struct {
	user    string
	contact address
	expires time.Time
	callID  string
	cseq    uint32
	at      time.Time // when it was registered last
	via     *flow     // that it registered by
	path    []string
	holder  holder // of the password
}

// instance of the telephone (RFC 5626 4.1); "" where it says none.
func (b *binding) instance() string {
	v, _ := b.contact.params.get("+sip.instance")
	return v
}

// telephone tells the telephones of a user apart, wherever they are: by the instance, or else by the Call-ID of the registrations,
// which a telephone keeps until it is started anew (RFC 3261 10.2), and with it loses its calls. Zero: it is not registered.
type telephone struct{ instance, registration string }

// telephone that a binding leads to.
func (b *binding) telephone() telephone {
	if instance := b.instance(); instance != "" {
		return telephone{instance: instance}
	}
	return telephone{registration: b.callID}
}

// is tells a telephone by what it is known by, or by its contact, unless the instance is known on both sides.
func (b *binding) is(t telephone, contact uri) bool {
	own := b.telephone()
	return own == t || (own.instance == "" || t.instance == "") && sameContact(b.contact, address{uri: contact})
}

// way is the flow to the telephone; nil where its contact has to be resolved.
func (b *binding) way() *flow {
	switch transport := b.contact.uri.param("transport"); {
	case len(b.path) > 0:
	case b.via.conn != nil || !at(b.contact.uri, b.via):
		return b.via
	case b.contact.uri.scheme == "sip" && (transport == "" || transport == "udp"):
		return &flow{transport: b.via.transport, udp: b.via.udp, remote: netip.AddrPortFrom(b.via.remote.Addr(), cmp.Or(b.contact.uri.port, 5060))}
	}
	return nil
}

// maxContacts of one user, and maxTargets of one call.
const (
	maxContacts = 16
	maxTargets  = 64
)

func newLocation(most int) *location {
	return &location{users: map[string][]*binding{}, extensions: map[string][]string{}, flows: map[*conn]map[string]bool{}, most: most}
}

// userOf is the key of an address: a number in E.164 form where it is one, with its extension if
// it has one ("+442079460900;ext=17"), or else the user part. "" where the address names no user.
func userOf(u uri) string {
	switch u.scheme {
	case "tel":
		return subscriber(u.rest)
	case "sip", "sips":
		user := unescape(u.user)
		// Parameters of a telephone-subscriber (RFC 3261 19.1.6), but for the extension, name
		// nobody else.
		if number, _, _ := strings.Cut(user, ";"); strings.HasPrefix(number, "+") {
			if s := subscriber(user); s != "" {
				return s
			}
		}
		return user
	}
	return ""
}

// subscriber reads a global number with its parameters (RFC 3966 3); "" if it is none.
func subscriber(s string) string {
	number, params, _ := strings.Cut(s, ";")
	n, err := tel.ParseNumber(number, "")
	if err != nil || !strings.HasPrefix(number, "+") {
		return ""
	}
	for p := range strings.SplitSeq(params, ";") {
		if name, ext, _ := strings.Cut(p, "="); strings.EqualFold(name, "ext") && validExtension(ext) {
			return Extended(n.String(), ext)
		}
	}
	return n.String()
}

const extensionMark = ";ext="

func validExtension(s string) bool {
	return s != "" && len(s) <= 32 && strings.Trim(s, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-") == ""
}

// Extended is the user of a number with an extension, which may be empty (RFC 3966 5.3).
func Extended(number, extension string) string {
	if extension == "" {
		return number
	}
	return number + extensionMark + extension
}

// SplitUser takes a user's extension off.
func SplitUser(user string) (base, extension string) {
	base, extension, _ = strings.Cut(user, extensionMark)
	return base, extension
}

// find returns the bindings of a user that hold, the newest first. Of a number without an extension
// those of its extensions are too: they all ring.
func (l *location) find(user string, now time.Time) []*binding {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []*binding
	for _, user := range append([]string{user}, l.extensions[user]...) {
		for _, b := range l.users[user] {
			if now.Before(b.expires) {
				all = append(all, b)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *binding) int { return b.expires.Compare(a.expires) })
	return all[:min(len(all), maxTargets)]
}

// telephone of a user that has registered by a flow.
func (l *location) telephone(user string, f *flow) telephone {
	for _, b := range l.find(user, time.Now()) {
		if b.via.same(f) {
			return b.telephone()
		}
	}
	return telephone{}
}

// update changes the bindings of a user by f, which returns those that are to be kept.
// False: there would be too many, and nothing has changed.
func (l *location) update(user string, f func([]*binding) ([]*binding, bool)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.users[user]
	kept, ok := f(slices.Clone(old))
	// What ended while the REGISTER waited was forgotten before it was there.
	kept = slices.DeleteFunc(slices.Clone(kept), func(b *binding) bool { return b.via.final() && b.via.conn.over() })
	if !ok || len(kept) > maxContacts || l.count+len(kept)-len(old) > l.most && len(kept) > len(old) {
		return false
	}
	l.count += len(kept) - len(old)
	l.put(user, kept)
	for _, b := range kept {
		if c := b.via.conn; b.via.final() {
			if l.flows[c] == nil {
				l.flows[c] = map[string]bool{}
			}
			l.flows[c][user] = true
		}
	}
	return true
}

// put sets the bindings of a user. l.mu is held.
func (l *location) put(user string, kept []*binding) {
	base, extension := SplitUser(user)
	_, known := l.users[user]
	if len(kept) > 0 {
		l.users[user] = kept
	} else {
		delete(l.users, user)
	}
	switch {
	case extension == "" || known == (len(kept) > 0):
	case known:
		l.extensions[base] = slices.DeleteFunc(l.extensions[base], func(u string) bool { return u == user })
		if len(l.extensions[base]) == 0 {
			delete(l.extensions, base)
		}
	default:
		l.extensions[base] = append(l.extensions[base], user)
	}
}

// dropFlow forgets what was registered over a WebSocket that is over: its contacts are
// good for nothing else (RFC 7118 5).
func (l *location) dropFlow(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for user := range l.flows[c] {
		l.forget(user, func(b *binding) bool { return b.via.conn == c })
	}
	delete(l.flows, c)
}

// sweep forgets the bindings that are gone, and returns them.
func (l *location) sweep(gone func(*binding) bool) (swept []*binding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for user := range l.users {
		swept = append(swept, l.forget(user, gone)...)
	}
	return swept
}

// forget forgets the bindings of a user that are gone, and returns them. l.mu is held.
func (l *location) forget(user string, gone func(*binding) bool) (forgotten []*binding) {
	all := l.users[user]
	kept := slices.DeleteFunc(slices.Clone(all), func(b *binding) bool {
		if !gone(b) {
			return false
		}
		forgotten = append(forgotten, b)
		return true
	})
	if len(forgotten) > 0 {
		l.count -= len(forgotten)
		l.put(user, kept)
	}
	return forgotten
}

// holders returns those whose passwords the bindings were made with, each once.
func (l *location) holders() []holder {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := map[holder]bool{}
	for _, all := range l.users {
		for _, b := range all {
			if b.holder != (holder{}) { // where no password is asked for (Config.Open), nobody's right can end
				seen[b.holder] = true
			}
		}
	}
	return slices.Collect(maps.Keys(seen))
}

// conns returns the connections that registrations which hold were made by.
func (l *location) conns(now time.Time) map[*conn]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[*conn]bool{}
	for _, bindings := range l.users {
		for _, b := range bindings {
			if b.via.conn != nil && now.Before(b.expires) {
				all[b.via.conn] = true
			}
		}
	}
	return all
}

func (l *location) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// run forgets what has expired.
func (l *location) run(ctx context.Context) error {
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			l.sweep(func(b *binding) bool { return !now.Before(b.expires) })
		}
	}
}
