package server

import (
	"slices"
	"testing"

	"github.com/tandem-call/tandem/internal/overlay"
	"github.com/tandem-call/tandem/internal/payment"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// TestPaidIsTold: who is paid learns what came of it, whoever of the paying party is still there, and never is it told to all.
func TestPaidIsTold(t *testing.T) {
	identity := func(s string) tel.Identity {
		id, err := tel.ParseIdentity(s, "")
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	member := func(id wire.MemberID, d wire.DeviceID) overlay.Member { return overlay.Member{ID: id, Device: d} }
	customer, shop, friend := identity("+442079460001"), identity("+442079460900"), identity("+442079460003")
	third := overlay.Side{Principal: friend, Members: []overlay.Member{member("9", "friend")}}
	for name, c := range map[string]struct {
		sides []overlay.Side
		from  wire.DeviceID
		to    []wire.MemberID
	}{
		"all are there": {[]overlay.Side{
			{Principal: customer, Members: []overlay.Member{member("2", "tablet"), member("1", "phone")}},
			{Principal: shop, Members: []overlay.Member{member("3", "till")}}, third,
		}, "phone", []wire.MemberID{"2", "3"}},
		"the device has left": {[]overlay.Side{
			{Principal: customer, Members: []overlay.Member{member("2", "tablet")}},
			{Principal: shop, Members: []overlay.Member{member("3", "till")}}, third,
		}, "tablet", []wire.MemberID{"2", "3"}},
		"its party has left": {[]overlay.Side{
			{Principal: customer}, {Principal: shop, Members: []overlay.Member{member("3", "till"), member("4", "office")}}, third,
		}, "till", []wire.MemberID{"3", "4"}},
		"both were away and came back": {[]overlay.Side{
			{Principal: customer}, {Principal: shop}, third,
			{Principal: shop, Members: []overlay.Member{member("5", "till")}}, {Principal: customer, Members: []overlay.Member{member("6", "phone")}},
		}, "phone", []wire.MemberID{"5"}},
		"who is paid has left": {[]overlay.Side{
			{Principal: customer, Members: []overlay.Member{member("1", "phone")}}, {Principal: shop}, third,
		}, "phone", nil},
		"both have left": {[]overlay.Side{{Principal: customer}, {Principal: shop}, third}, "", nil},
	} {
		from, to := toBeTold(overlay.Session{Sides: c.sides}, payment.Payment{Device: "phone", Side: 1, Payee: 2})
		slices.Sort(to)
		if from != c.from || !slices.Equal(to, c.to) {
			t.Errorf("%s: told in the name of %q to %v, want %q to %v", name, from, to, c.from, c.to)
		}
	}
}
