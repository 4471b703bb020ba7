package server

import (
	"net/netip"
	"slices"
	"strings"
)

// throughProxies returns the client's address behind trusted proxies: X-Forwarded-For is
// read from its end, and believed as far as trusted proxies wrote it.
func throughProxies(peer netip.Addr, forwarded []string, trusted func(netip.Addr) bool) netip.Addr {
	if !trusted(peer) {
		return peer
	}
	hops := strings.Split(strings.Join(forwarded, ","), ",")
	for _, hop := range slices.Backward(hops) {
		addr, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			return peer
		}
		if peer = addr.Unmap(); !trusted(peer) {
			return peer
		}
	}
	return peer
}

func (c Config) trusted(a netip.Addr) bool {
	return slices.ContainsFunc(c.TrustedProxies, func(n string) bool {
		p, err := netip.ParsePrefix(n) // checked by Validate
		return err == nil && p.Contains(a)
	})
}
