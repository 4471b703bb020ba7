// Package ratelimit keeps callers from asking more of the server than their share.
//
// [Buckets] are token buckets by key, in bounded memory. [Limiter] stands in front of the
// HTTP API: it finds out who is calling ([Who]), takes one token from each bucket that
// applies (the device's or API key's and its tenant's, or else the address's), says in the
// headers RateLimit-Policy and RateLimit how much is left
// (draft-ietf-httpapi-ratelimit-headers-08), and refuses with 429 and Retry-After.
package ratelimit

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-call/tandem/internal/ipnet"
	"github.com/tandem-call/tandem/wire"
)

// Who is who makes a request. The zero Who is nobody that we know.
type Who struct {
	Tenant wire.TenantID
	// Device, or Key, the id of an API key.
	Device wire.DeviceID
	Key    string
	// Free of limits: the operator on the machine itself.
	Free bool
}

// Config of a Limiter; each Quota is per minute, and zero means no limit.
type Config struct {
	// Address limits requests without valid credentials from one address; an IPv6 address
	// counts with its /64, and loopback addresses are not limited.
	Address int
	// Device, Key and Tenant limit what comes with credentials.
	Device, Key, Tenant int
	// Entries is how many keys each limit counts at most.
	Entries int
	// Identify finds out who calls; it may return a changed request that bears what it has
	// found, for later. An error means that the credentials are no good.
	Identify func(*http.Request) (*http.Request, Who, error)
	// Remote returns the client's address, seen through trusted proxies.
	Remote func(*http.Request) netip.Addr
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// Limiter limits requests over HTTP. Make it with [New].
type Limiter struct {
	c                            Config
	address, device, key, tenant *Buckets
}

// New returns a limiter.
func New(c Config) *Limiter {
	buckets := func(name string, quota int) *Buckets {
		return NewBuckets(Policy{name, quota, time.Minute}, c.Entries, c.Now)
	}
	return &Limiter{
		c: c, address: buckets("address", c.Address), device: buckets("device", c.Device), key: buckets("key", c.Key), tenant: buckets("tenant", c.Tenant),
	}
}

// Buckets returns the limits, by name, for metrics.
func (l *Limiter) Buckets() map[string]*Buckets {
	return map[string]*Buckets{"address": l.address, "device": l.device, "key": l.key, "tenant": l.tenant}
}

// Handler lets pass to next what is within the limits.
func (l *Limiter) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, who, err := l.c.Identify(r)
		if err == nil && who.Free {
			next.ServeHTTP(w, r)
			return
		}
		var taken []Decision
		switch {
		case err != nil || who == Who{}:
			if key := addressKey(l.c.Remote(r)); key != "" {
				taken = append(taken, l.address.Take(key))
			}
		case who.Device != "":
			taken = append(taken, l.device.Take(string(who.Tenant)+"/"+string(who.Device)))
		case who.Key != "":
			taken = append(taken, l.key.Take(string(who.Tenant)+"/"+who.Key))
		}
		// What its own limit refuses does not use up the tenant's.
		if who.Tenant != "" && err == nil && (len(taken) == 0 || taken[0].OK) {
			taken = append(taken, l.tenant.Take(string(who.Tenant)))
		}
		tell(w.Header(), taken)
		for _, d := range taken {
			if !d.OK {
				refuse(w, d)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// addressKey is what counts as one address; "" where it is not limited. A loopback address
// is a program on this machine, or a proxy that nobody has declared.
func addressKey(a netip.Addr) string {
	if a.Unmap().IsLoopback() {
		return ""
	}
	return ipnet.Of(a)
}

// tell writes the two headers, a structured list of one item for each limit.
func tell(h http.Header, taken []Decision) {
	var policies, limits []string
	for _, d := range taken {
		if d.Policy.Quota > 0 {
			policies = append(policies, fmt.Sprintf("%q;q=%d;w=%d", d.Policy.Name, d.Policy.Quota, int(d.Policy.Window.Seconds())))
			limits = append(limits, fmt.Sprintf("%q;r=%d;t=%d", d.Policy.Name, d.Remaining, ceil(d.Full)))
		}
	}
	if len(limits) > 0 {
		h.Set("RateLimit-Policy", strings.Join(policies, ", "))
		h.Set("RateLimit", strings.Join(limits, ", "))
	}
}

func ceil(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

// Problem is the refusal of a decision.
func (d Decision) Problem() *wire.Problem {
	p := wire.NewProblem(wire.CodeTooMany, "at most %d per %v, by the limit %q", d.Policy.Quota, d.Policy.Window, d.Policy.Name)
	p.RetryAfterSeconds = max(1, ceil(d.Retry))
	return p
}

func refuse(w http.ResponseWriter, d Decision) {
	p := d.Problem()
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Retry-After", strconv.Itoa(p.RetryAfterSeconds))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client has gone: nobody to tell
}
