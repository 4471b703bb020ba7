package sip

import (
	"context"
	"maps"
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
	count int
	most  int
}

// binding is one contact of a user.
type binding struct {
	contact address
	expires time.Time
	callID  string
	cseq    uint32
	via     *flow // that it registered by
	path    []string
	holder  holder // of the password
}

// maxContacts of one user.
const maxContacts = 16

func newLocation(most int) *location { return &location{users: map[string][]*binding{}, most: most} }

// userOf is the key of an address: a number in E.164 form where it is one, or else the user
// part. "" where the address names no user.
func userOf(u uri) string {
	switch u.scheme {
	case "tel":
		if n, err := tel.ParseURI("tel:" + u.rest); err == nil {
			return n.Number.String()
		}
		return ""
	case "sip", "sips":
		user := unescape(u.user)
		// Parameters of a telephone-subscriber (RFC 3261 19.1.6) name nobody else.
		number, _, _ := strings.Cut(user, ";")
		if strings.HasPrefix(number, "+") {
			if n, err := tel.ParseNumber(number, ""); err == nil {
				return n.String()
			}
		}
		return user
	}
	return ""
}

// find returns the bindings of a user that hold, the newest first.
func (l *location) find(user string, now time.Time) []*binding {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []*binding
	for _, b := range l.users[user] {
		if now.Before(b.expires) {
			all = append(all, b)
		}
	}
	slices.SortStableFunc(all, func(a, b *binding) int { return b.expires.Compare(a.expires) })
	return all
}

// update changes the bindings of a user by f, which returns those that are to be kept.
// False: there would be too many, and nothing has changed.
func (l *location) update(user string, f func([]*binding) ([]*binding, bool)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.users[user]
	kept, ok := f(slices.Clone(old))
	if !ok || len(kept) > maxContacts || l.count+len(kept)-len(old) > l.most && len(kept) > len(old) {
		return false
	}
	l.count += len(kept) - len(old)
	if len(kept) == 0 {
		delete(l.users, user)
	} else {
		l.users[user] = kept
	}
	return true
}

// dropFlow forgets what was registered over a WebSocket that is over: its contacts are
// good for nothing else (RFC 7118 5).
func (l *location) dropFlow(c *conn) {
	if c.transport != "WS" && c.transport != "WSS" {
		return
	}
	l.sweep(func(b *binding) bool { return b.via.conn == c })
}

// sweep forgets the bindings that are gone, and returns them.
func (l *location) sweep(gone func(*binding) bool) (swept []*binding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for user, all := range l.users {
		n := len(all)
		all = slices.DeleteFunc(all, func(b *binding) bool {
			if !gone(b) {
				return false
			}
			swept = append(swept, b)
			return true
		})
		l.count += len(all) - n
		if len(all) == 0 {
			delete(l.users, user)
		} else {
			l.users[user] = all
		}
	}
	return swept
}

// holders returns those whose passwords the bindings were made with, each once.
func (l *location) holders() []holder {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := map[holder]bool{}
	for _, all := range l.users {
		for _, b := range all {
			seen[b.holder] = true
		}
	}
	return slices.Collect(maps.Keys(seen))
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
