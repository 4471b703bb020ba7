package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
)

// guard is asked with the address of each connection, just before it is made.
func guard(allow []netip.Prefix) func(context.Context, string, string, syscall.RawConn) error {
	return func(_ context.Context, network, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil || !strings.HasPrefix(network, "tcp") {
			return fmt.Errorf("%w: %s %s", ErrForbidden, network, address)
		}
		if why := refuse(ap, allow); why != "" {
			return fmt.Errorf("%w: %s is %s", ErrForbidden, ap.Addr(), why)
		}
		return nil
	}
}

// refuse says why an address must not be connected to; "" if it may be.
func refuse(ap netip.AddrPort, allow []netip.Prefix) string {
	addr := ap.Addr()
	if addr.Zone() != "" {
		return "bound to an interface"
	}
	addr = addr.Unmap()
	if slices.ContainsFunc(allow, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return ""
	}
	if p := ap.Port(); p < 1024 && p != 80 && p != 443 {
		return "on the port of another service"
	}
	if addr.Is6() && !global6.Contains(addr) {
		return "not a public address"
	}
	for _, s := range special {
		if s.prefix.Contains(addr) {
			return s.what
		}
	}
	return ""
}

// global6 is the only part of IPv6 with public unicast addresses (RFC 4291 2.4). Outside it
// are loopback, private (fc00::/7), link-local and multicast ones, and NAT64's 64:ff9b::/96
// and 64:ff9b:1::/48, in which an IPv4 address hides.
var global6 = netip.MustParsePrefix("2000::/3")

// special are the networks that are not public, by IANA's special-purpose registries
// (RFC 6890), and what hides other addresses.
var special = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "this host"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private"},
	{netip.MustParsePrefix("100.64.0.0/10"), "behind a carrier's NAT"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private"},
	{netip.MustParsePrefix("192.0.0.0/24"), "reserved"},
	{netip.MustParsePrefix("192.0.2.0/24"), "for documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "a relay to IPv6"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private"},
	{netip.MustParsePrefix("198.18.0.0/15"), "for benchmarks"},
	{netip.MustParsePrefix("198.51.100.0/24"), "for documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "for documentation"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("168.63.129.16/32"), "a cloud's own service"},
	{netip.MustParsePrefix("2001::/23"), "reserved, or Teredo"},
	{netip.MustParsePrefix("2001:db8::/32"), "for documentation"},
	{netip.MustParsePrefix("2002::/16"), "6to4: an IPv4 address hides in it"},
	{netip.MustParsePrefix("3fff::/20"), "for documentation"},
}

func tlsConfig(roots *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}
