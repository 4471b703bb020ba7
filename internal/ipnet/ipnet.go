// Package ipnet says which addresses count as one: a limit that counted each would not hold those who have many, and two
// devices at one place seldom have the same.
package ipnet

import "net/netip"

// Of returns what an address counts as: an IPv4 address for itself, as "192.0.2.1", also where it is written as an IPv6 one
// (RFC 4291 2.5.5.2); an IPv6 address for its /64, as "2001:db8::/64", of which one subscriber has all (RFC 6177 2). "" for
// the zero address.
func Of(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}
	p, _ := a.Prefix(64) // 64 bits are in range
	return p.String()
}
