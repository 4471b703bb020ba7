package party_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore/pebbletest"
	"github.com/tandem-call/tandem/internal/party"
	"github.com/tandem-call/tandem/tel"
)

func TestBarHoldsForTheWholeParty(t *testing.T) {
	e := pebbletest.Open(t)
	d := party.New(e, nil)
	number, mail, other := id(t, "+442079460001"), id(t, "mailto:alice@example.com"), id(t, "+442079460002")
	if _, err := d.Prove(t.Context(), "t", number, "one_time_code", time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := d.Link(t.Context(), "t", mail, number); err != nil {
		t.Fatal(err)
	}
	barred := func(i tel.Identity) bool {
		t.Helper()
		yes, err := d.Barred(t.Context(), "t", i)
		if err != nil {
			t.Fatal(err)
		}
		return yes
	}
	for range 2 { // it may repeat
		if err := d.Bar(t.Context(), "t", mail, "why"); err != nil {
			t.Fatal(err)
		}
	}
	if !barred(mail) || !barred(number) || barred(other) || barred(tel.Identity{}) {
		t.Error("a bar does not hold for exactly its party")
	}
	if yes, err := d.Barred(t.Context(), "u", number); yes || err != nil {
		t.Error("a bar reaches another tenant")
	}
	if err := d.Bar(t.Context(), "t", other, "unknown so far"); err != nil || !barred(other) {
		t.Error("a number that nobody has proved cannot be barred")
	}
	list, err := d.Bars(t.Context(), "t")
	if err != nil || len(list) != 2 || list[0].Identity != mail || list[0].Note != "why" {
		t.Errorf("%+v %v", list, err)
	}
	if err := d.Unbar(t.Context(), "t", mail); err != nil || barred(number) {
		t.Error("a bar stays")
	}
	if err := d.Unbar(t.Context(), "t", mail); !errors.Is(err, party.ErrNotFound) {
		t.Error(err)
	}
	for _, err := range []error{d.Bar(t.Context(), "t", tel.Identity{}, ""), d.Bar(t.Context(), "t", mail, strings.Repeat("x", 257))} {
		if !errors.Is(err, party.ErrRequest) {
			t.Error(err)
		}
	}
}
