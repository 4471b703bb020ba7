package coupling_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem-call/tandem/internal/coupling"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func number(t interface{ Fatal(...any) }, s string) tel.Number {
	n, err := tel.ParseNumber(s, "")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestSeen: by what a temporary coupling is renewed.
func TestSeen(t *testing.T) {
	const lease = 2 * time.Minute
	addr := netip.MustParseAddr
	type sighting struct {
		after   time.Duration
		ofPhone bool
		link    bool
		from    string
	}
	for _, c := range []struct {
		name string
		kind wire.CouplingKind
		seen []sighting
		near bool // after the last
	}{
		{"the phone has it on a link", wire.Temporary, []sighting{{0, true, true, "192.0.2.1"}}, true},
		{"it says so itself", wire.Temporary, []sighting{{0, false, true, "192.0.2.1"}}, false},
		{"both from one address", wire.Temporary, []sighting{{0, true, false, "192.0.2.1"}, {time.Minute, false, false, "192.0.2.1"}}, true},
		{"in the other order", wire.Temporary, []sighting{{0, false, false, "192.0.2.1"}, {time.Minute, true, false, "192.0.2.1"}}, true},
		{"too long after one another", wire.Temporary, []sighting{{0, true, false, "192.0.2.1"}, {lease, false, false, "192.0.2.1"}}, false},
		{"from two addresses", wire.Temporary, []sighting{{0, true, false, "192.0.2.1"}, {0, false, false, "192.0.2.2"}}, false},
		{"from one network of IPv6", wire.Temporary, []sighting{{0, true, false, "2001:db8::1"}, {0, false, false, "2001:db8::ff00:2"}}, true},
		{"from two networks of IPv6", wire.Temporary, []sighting{{0, true, false, "2001:db8::1"}, {0, false, false, "2001:db8:0:1::1"}}, false},
		{"the same, written as IPv6", wire.Temporary, []sighting{{0, true, false, "::ffff:192.0.2.1"}, {0, false, false, "192.0.2.1"}}, true},
		{"from no address", wire.Temporary, []sighting{{0, true, false, ""}, {0, false, false, ""}}, false},
		{"one side twice", wire.Temporary, []sighting{{0, true, false, "192.0.2.1"}, {0, true, false, "192.0.2.1"}}, false},
		{"a permanent one", wire.Permanent, []sighting{{0, true, true, "192.0.2.1"}}, false},
		{"after the voucher's proof has expired", wire.Temporary, []sighting{{2 * time.Hour, true, true, "192.0.2.1"}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := coupling.Coupling{Kind: c.kind, Voucher: coupling.Voucher{Until: noon.Add(time.Hour)}, Expires: noon, Apart: true}
			now, near := noon, false
			for _, s := range c.seen {
				now = now.Add(s.after)
				var from netip.Addr
				if s.from != "" {
					from = addr(s.from)
				}
				k, near = k.Seen(coupling.Sighting{OfPhone: s.ofPhone, Link: s.link, From: from}, now, lease)
			}
			if near != c.near || near && (!k.Expires.Equal(now.Add(lease)) || k.Apart) || !near && (!k.Expires.Equal(noon) || !k.Apart) {
				t.Errorf("near: %v, %+v", near, k)
			}
		})
	}
}

// TestNeverLongerThanTheProof: whatever is seen, a lease ends with the voucher's proof, and
// only what the phone's side says, or both sides do, renews it.
func TestNeverLongerThanTheProof(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		until := noon.Add(time.Duration(rapid.IntRange(1, 600).Draw(rt, "proof")) * time.Second)
		k := coupling.Coupling{Kind: wire.Temporary, Voucher: coupling.Voucher{Until: until}, Expires: noon.Add(time.Second)}
		now, phone := noon, false
		for range rapid.IntRange(1, 30).Draw(rt, "n") {
			now = now.Add(time.Duration(rapid.IntRange(0, 60).Draw(rt, "after")) * time.Second)
			s := coupling.Sighting{OfPhone: rapid.Bool().Draw(rt, "phone"), Link: rapid.Bool().Draw(rt, "link"), From: netip.MustParseAddr(rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2"}).Draw(rt, "from"))}
			phone = phone || s.OfPhone
			before := k
			var near bool
			k, near = k.Seen(s, now, 30*time.Second)
			if k.Expires.After(until) || near && (!phone || !now.Before(until)) || !near && !k.Expires.Equal(before.Expires) {
				rt.Fatalf("%+v makes %+v of %+v", s, k, before)
			}
		}
	})
}

// TestVoucherOf: a device vouches by the proofs that it has itself, and by no others.
func TestVoucherOf(t *testing.T) {
	a, b := number(t, "+442079460001"), number(t, "+442079460002")
	bind := func(n tel.Number, kind string, proved, expires int) wire.Binding {
		return wire.Binding{Number: n, Kind: kind, Vouched: map[string]string{"coupled": "operator"}[kind], Proved: noon.Add(time.Duration(proved) * time.Hour), Expires: noon.Add(time.Duration(expires) * time.Hour)}
	}
	for _, c := range []struct {
		name     string
		bindings []wire.Binding
		of       tel.Number
		want     string
	}{
		{"its only number", []wire.Binding{bind(a, "one_time_code", -1, 5)}, tel.Number{}, "+442079460001 one_time_code 5"},
		{"that number", []wire.Binding{bind(a, "one_time_code", -1, 5)}, a, "+442079460001 one_time_code 5"},
		{"another number", []wire.Binding{bind(a, "one_time_code", -1, 5)}, b, ""},
		{"an expired proof", []wire.Binding{bind(a, "one_time_code", -9, 0)}, a, ""},
		{"coupled itself", []wire.Binding{bind(a, "coupled", -1, 5)}, a, ""},
		{"coupled, and proved as well", []wire.Binding{bind(a, "coupled", -1, 9), bind(a, "sim", -2, 5)}, a, "+442079460001 sim 5"},
		{"coupled with one, proved another", []wire.Binding{bind(a, "coupled", -1, 9), bind(b, "sim", -2, 5)}, tel.Number{}, "+442079460002 sim 5"},
		{"the proof that lasts longer", []wire.Binding{bind(a, "network", -1, 1), bind(a, "one_time_code", -2, 5)}, a, "+442079460001 one_time_code 5"},
		{"none", nil, tel.Number{}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := coupling.VoucherOf(device.Device{ID: "d", Tenant: "t", Bindings: c.bindings}, c.of, noon)
			got := ""
			if err == nil {
				got = fmt.Sprint(v.Number, " ", v.Proof, " ", v.Until.Sub(noon).Hours())
			}
			if got != c.want {
				t.Errorf("%q (%v), want %q", got, err, c.want)
			}
			gone := device.Device{ID: "d", Tenant: "t", Bindings: c.bindings, RevokedAt: noon}
			if _, err := coupling.VoucherOf(gone, c.of, noon); err == nil {
				t.Error("a revoked device vouches")
			}
		})
	}
}
