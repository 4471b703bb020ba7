package server

import (
	"context"
	"net/http"
	"time"

	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/edge/transport/ratelimit"
)

// limiters hold callers to their share: of requests over HTTP, and of call reports on
// whichever way they come.
type limiters struct {
	http *ratelimit.Limiter
	// reports of one device, of one element or provider, and about one pair of parties.
	device, element, pair *ratelimit.Buckets
	// fetches are what the server asks of others' servers for a device.
	fetches *ratelimit.Buckets
}

// fetchesPerMinute is how often a device may have the server ask somebody else's server, or read a whole
// session for a template: more than people look at, and too little to attack anybody with.
const fetchesPerMinute = 120

// newLimiters makes them; caller finds out who makes a request.
func (s *Server) newLimiters(caller func(*http.Request) (httpapi.Caller, error)) limiters {
	c := s.cfg.Limits
	reports := func(name string, quota int) *ratelimit.Buckets {
		return ratelimit.NewBuckets(ratelimit.Policy{Name: name, Quota: quota, Window: time.Minute}, c.CountedCallers, nil)
	}
	return limiters{
		http: ratelimit.New(ratelimit.Config{
			Address: c.AddressPerMinute, Device: c.DevicePerMinute, Key: c.KeyPerMinute, Tenant: c.TenantPerMinute, Entries: c.CountedCallers,
			Remote: s.remote, Identify: func(r *http.Request) (*http.Request, ratelimit.Who, error) {
				r = r.WithContext(context.WithValue(r.Context(), memoKey{}, &memo{}))
				who, err := caller(r)
				return r, ratelimit.Who{Tenant: who.Tenant, Device: who.Device, Key: who.Credential, Free: who.Credential == adminCredential}, err
			},
		}),
		device:  reports("device-reports", c.DeviceReportsPerMinute),
		element: reports("element-reports", c.ElementReportsPerMinute),
		pair:    reports("pair-reports", c.PairReportsPerMinute),
		fetches: reports("device-fetches", fetchesPerMinute),
	}
}

// buckets lists all limits, by the name that the metrics show.
func (l limiters) buckets() map[string]*ratelimit.Buckets {
	all := l.http.Buckets()
	all["device-reports"], all["element-reports"], all["pair-reports"], all["device-fetches"] = l.device, l.element, l.pair, l.fetches
	return all
}

// fetch takes what a device has fetched from its share. Keys have theirs of requests.
func (l limiters) fetch(who httpapi.Caller) error {
	if who.Role != httpapi.RoleDevice {
		return nil
	}
	if d := l.fetches.Take(string(who.Tenant) + "/" + string(who.Device)); !d.OK {
		return d.Problem()
	}
	return nil
}

// report takes a report from the shares of its reporter and of the pair that it is about.
func (l limiters) report(who httpapi.Caller, r call.Report) error {
	if who.Credential == adminCredential {
		return nil
	}
	by, key := l.element, who.Credential
	if who.Role == httpapi.RoleDevice {
		by, key = l.device, string(who.Device)
	}
	if d := by.Take(string(who.Tenant) + "/" + key); !d.OK {
		return d.Problem()
	}
	if r.Other.IsZero() {
		return nil
	}
	if d := l.pair.Take(string(who.Tenant) + "/" + r.Own.String() + "/" + r.Other.String()); !d.OK {
		return d.Problem()
	}
	return nil
}

// memo keeps who a request's token stands for, so that it is looked up once.
type memo struct {
	token string
	who   httpapi.Caller
	err   error
}

type memoKey struct{}

// Bearer tells the API who is calling.
func (s auth) Bearer(ctx context.Context, token string) (httpapi.Caller, error) {
	m, _ := ctx.Value(memoKey{}).(*memo)
	if m == nil {
		return s.bearer(ctx, token)
	}
	if m.token != token { // the first time; a request has one token
		m.token = token
		m.who, m.err = s.bearer(ctx, token)
	}
	return m.who, m.err
}
