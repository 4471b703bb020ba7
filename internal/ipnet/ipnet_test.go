package ipnet_test

import (
	"net/netip"
	"testing"

	"github.com/tandem-call/tandem/internal/ipnet"
)

func TestOf(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1":            "192.0.2.1",
		"::ffff:192.0.2.1":     "192.0.2.1",
		"2001:db8::1":          "2001:db8::/64",
		"2001:db8::ffff:0:0:2": "2001:db8::/64",
		"2001:db8:0:1::1":      "2001:db8:0:1::/64",
		"fe80::1%eth0":         "fe80::/64",
	} {
		if got := ipnet.Of(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s counts as %q, want %q", addr, got, want)
		}
	}
	if got := ipnet.Of(netip.Addr{}); got != "" {
		t.Errorf("no address counts as %q", got)
	}
}
