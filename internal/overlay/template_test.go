package overlay

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/wire"
)

// booking is a template with a parameter from everywhere.
func booking() wire.OverlayDraft {
	label := overlay.Words{"en": "?"}
	parameter := func(id string, kind overlay.FieldType, max int64, from, of string) wire.OverlayParameter {
		return wire.OverlayParameter{Field: overlay.Field{ID: id, Label: label, Type: kind, Max: max}, From: from, Of: of}
	}
	car := parameter("car", overlay.Line, 40, "", "")
	car.Required = true
	seats := parameter("seats", overlay.Number, 4, wire.FromAgent, "")
	seats.Default = []string{"1"}
	return wire.OverlayDraft{
		Title: map[string]string{"en": "Booking"}, Numbers: []string{"+442079460900"},
		Parameters: []wire.OverlayParameter{
			car, seats,
			parameter("street", overlay.Line, 80, wire.FromCustomer, "where.street"),
			parameter("price", overlay.Number, 100_000, wire.FromService, ""),
		},
		Document: json.RawMessage(`{"version": 1, "id": "booking", "language": "en", "regions": [
			{"id": "car", "grid": {"column": 0, "row": 0}, "text": {"en": "{{car}} for {{seats}} to {{street}}"}},
			{"id": "pay", "grid": {"column": 0, "row": 1}, "text": {"en": "Pay"},
			 "actions": [{"type": "pay", "item": "ride", "amount": {"minor": "{{price}}", "currency": "GBP"}}]}]}`),
	}
}

func TestFill(t *testing.T) {
	o, err := Fill(booking(), Values{"car": {"Golf"}, "street": {"Downing"}, "price": {"1250"}})
	if err != nil {
		t.Fatal(err)
	}
	if text := o.Regions[0].Text["en"]; text != "Golf for 1 to Downing" {
		t.Errorf("%q", text)
	}
	if minor := o.Regions[1].Actions[0].Amount.Minor; minor != 1250 {
		t.Errorf("a number became %d", minor)
	}
}

// TestValuesBringNothing: whoever gives a value can give text, and no element or action.
func TestValuesBringNothing(t *testing.T) {
	for _, evil := range []string{
		`x"}, "actions": [{"type": "dial", "keys": "1"}], "text": {"en": "y`,
		`{{price}}`, `{{car}}`, `</p><script>alert(1)</script>`, `\u0022`,
	} {
		o, err := Fill(booking(), Values{"car": {evil[:min(len(evil), 40)]}, "price": {"1"}})
		if err != nil {
			t.Fatalf("%s: %v", evil, err)
		}
		if text := o.Regions[0].Text["en"]; !strings.HasPrefix(text, evil[:min(len(evil), 40)]) || len(o.Regions) != 2 || o.Regions[0].Actions != nil {
			t.Errorf("%s: %+v", evil, o.Regions)
		}
	}
	d := booking()
	d.Document = json.RawMessage(`{"version": 1, "id": "x", "language": "en", "regions": [
		{"id": "a", "grid": {"column": 0, "row": 0}, "text": {"en": "x"}, "actions": [{"type": "open_page", "url": "{{car}}"}]}]}`)
	if _, err := Fill(d, Values{"car": {"javascript:alert(1)"}}); !errors.Is(err, overlay.ErrInvalid) {
		t.Errorf("a value brought a script: %v", err)
	}
	if _, err := Fill(booking(), Values{"car": {"x\u202ey"}, "price": {"1"}}); !errors.Is(err, overlay.ErrInvalid) {
		t.Errorf("a value turned the text: %v", err)
	}
}

func TestFillRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		values Values
		want   string
	}{
		"required":      {Values{"price": {"1"}}, "car must be filled in"},
		"empty":         {Values{"car": {""}, "price": {"1"}}, "car must be filled in"},
		"unknown":       {Values{"car": {"x"}, "colour": {"red"}}, `no parameter "colour"`},
		"out of bounds": {Values{"car": {"x"}, "seats": {"5"}, "price": {"1"}}, "from 0 to 4"},
		"no number":     {Values{"car": {"x"}, "seats": {"many"}, "price": {"1"}}, "whole number"},
		"no price":      {Values{"car": {"x"}}, "minor"},
	} {
		if _, err := Fill(booking(), c.values); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	d := booking()
	d.Parameters = d.Parameters[1:]
	if _, err := Fill(d, Values{}); !errors.Is(err, ErrRequest) || !strings.Contains(err.Error(), "{{car}}") {
		t.Errorf("a parameter that is not there: %v", err)
	}
}

// A small template cannot be blown up.
func TestFillIsBounded(t *testing.T) {
	d := booking()
	d.Document = json.RawMessage(`{"version": 1, "id": "x", "language": "en", "regions": [
		{"id": "a", "grid": {"column": 0, "row": 0}, "text": {"en": "` + strings.Repeat("{{car}}", 30_000) + `"}}]}`)
	_, err := Fill(d, Values{"car": {strings.Repeat("x", 40)}, "price": {"1"}})
	if !errors.Is(err, ErrRequest) || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("1.2 MB of values: %v", err)
	}
}

// FuzzFill: whatever the values, what comes out has the template's regions and actions, or it
// is refused.
func FuzzFill(f *testing.F) {
	f.Add("Golf", "2", "Downing", "1250")
	f.Add(`"}`, "{{price}}", "\u202e", "-1")
	f.Fuzz(func(t *testing.T, car, seats, street, price string) {
		o, err := Fill(booking(), Values{"car": {car}, "seats": {seats}, "street": {street}, "price": {price}})
		if err != nil {
			if !errors.Is(err, ErrRequest) && !errors.Is(err, overlay.ErrInvalid) {
				t.Fatalf("another error: %v", err)
			}
			return
		}
		if len(o.Regions) != 2 || len(o.Regions[0].Actions) != 0 || len(o.Regions[1].Actions) != 1 || o.Check() != nil {
			t.Fatalf("the values changed the document: %+v", o)
		}
	})
}
