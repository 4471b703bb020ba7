package overlay_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tandem-call/tandem/overlay"
)

const shop = `{"version": 1, "id": "shop", "language": "en", "regions": [
  {"id": "here", "grid": {"column": 0, "row": 0}, "text": {"en": "x"}, "actions": [{"type": "send_location"}, {"type": "message", "value": "At the door"}]},
  {"id": "seats", "grid": {"column": 0, "row": 1}, "text": {"en": "x"}, "actions": [{"type": "fill_in", "form": {"fields": [
    {"id": "seat", "label": {"en": "x"}, "type": "seats", "max": 1, "required": true, "options": [
      {"value": "a1", "label": {"en": "A1"}}, {"value": "a2", "label": {"en": "A2"}, "taken": true}]}]}}]},
  {"id": "table", "grid": {"column": 0, "row": 2}, "text": {"en": "x"}, "actions": [{"type": "choose", "value": "4"}]},
  {"id": "mail", "grid": {"column": 0, "row": 3}, "text": {"en": "x"}, "actions": [{"type": "by_email", "item": "menu"}]},
  {"id": "sms", "grid": {"column": 0, "row": 4}, "text": {"en": "x"}, "actions": [{"type": "by_text", "item": "menu"}]},
  {"id": "off", "state": "disabled", "grid": {"column": 0, "row": 5}, "text": {"en": "x"}, "actions": [{"type": "send_photo"}]},
  {"id": "buy", "grid": {"column": 0, "row": 6}, "text": {"en": "x"}, "actions": [{"type": "buy", "item": "lamp", "amount": {"minor": 1, "currency": "EUR"}}]}]}`

func TestAccept(t *testing.T) {
	o, err := overlay.Decode([]byte(shop))
	if err != nil {
		t.Fatal(err)
	}
	type A = overlay.Answer
	seat := func(s ...string) map[string][]string { return map[string][]string{"seat": s} }
	for name, c := range map[string]struct {
		answer overlay.Answer
		want   string // in the error; empty: accepted
	}{
		"place":                   {A{Region: "here", Type: overlay.SendLocation, Outcome: overlay.Done}, ""},
		"second action":           {A{Region: "here", Action: 1, Type: overlay.Message, Outcome: overlay.Done, Value: "At the door"}, ""},
		"failed":                  {A{Region: "here", Type: overlay.SendLocation, Outcome: overlay.Failed, Reason: "no_place"}, ""},
		"cancelled payment":       {A{Region: "buy", Type: overlay.Buy, Outcome: overlay.Cancelled, Reason: "by_user"}, ""},
		"seat":                    {A{Region: "seats", Type: overlay.FillIn, Outcome: overlay.Done, Answers: seat("a1")}, ""},
		"choice":                  {A{Region: "table", Type: overlay.Choose, Outcome: overlay.Done, Value: "4"}, ""},
		"e-mail":                  {A{Region: "mail", Type: overlay.ByEmail, Outcome: overlay.Done, Address: "a.b@example.com"}, ""},
		"text message":            {A{Region: "sms", Type: overlay.ByText, Outcome: overlay.Done, Address: "+442079460001"}, ""},
		"no region":               {A{Region: "other", Type: overlay.Choose, Outcome: overlay.Done}, "no region"},
		"disabled":                {A{Region: "off", Type: overlay.SendPhoto, Outcome: overlay.Done}, "disabled"},
		"no such action":          {A{Region: "here", Action: 2, Type: overlay.Message, Outcome: overlay.Done}, "no such action"},
		"before the first":        {A{Region: "here", Action: -1, Type: overlay.Message, Outcome: overlay.Done}, "no such action"},
		"another type":            {A{Region: "here", Type: overlay.Pay, Outcome: overlay.Done}, "no such action"},
		"no outcome":              {A{Region: "here", Type: overlay.SendLocation}, "no outcome"},
		"done with a reason":      {A{Region: "here", Type: overlay.SendLocation, Outcome: overlay.Done, Reason: "x"}, "reason"},
		"failed without":          {A{Region: "here", Type: overlay.SendLocation, Outcome: overlay.Failed}, "reason"},
		"reason is no code":       {A{Region: "here", Type: overlay.SendLocation, Outcome: overlay.Failed, Reason: "<b>"}, "reason"},
		"paid by its own word":    {A{Region: "buy", Type: overlay.Buy, Outcome: overlay.Done}, "confirmed by whoever takes it"},
		"another value":           {A{Region: "table", Type: overlay.Choose, Outcome: overlay.Done, Value: "5"}, "not the overlay's"},
		"no value":                {A{Region: "table", Type: overlay.Choose, Outcome: overlay.Done}, "not the overlay's"},
		"value with a failure":    {A{Region: "table", Type: overlay.Choose, Outcome: overlay.Failed, Reason: "x", Value: "4"}, "does not belong"},
		"value with a place":      {A{Region: "here", Type: overlay.SendLocation, Outcome: overlay.Done, Value: "4"}, "does not belong"},
		"address with a choice":   {A{Region: "table", Type: overlay.Choose, Outcome: overlay.Done, Value: "4", Address: "a@b.c"}, "does not belong"},
		"taken seat":              {A{Region: "seats", Type: overlay.FillIn, Outcome: overlay.Done, Answers: seat("a2")}, "taken"},
		"no seat":                 {A{Region: "seats", Type: overlay.FillIn, Outcome: overlay.Done}, "must be filled in"},
		"answers that are not it": {A{Region: "mail", Type: overlay.ByEmail, Outcome: overlay.Done, Answers: seat("a1"), Address: "a@b.c"}, "does not belong"},
		"no mailbox":              {A{Region: "mail", Type: overlay.ByEmail, Outcome: overlay.Done, Address: "nonsense"}, "e-mail address"},
		"two dots":                {A{Region: "mail", Type: overlay.ByEmail, Outcome: overlay.Done, Address: "a..b@example.com"}, "e-mail address"},
		"another header":          {A{Region: "mail", Type: overlay.ByEmail, Outcome: overlay.Done, Address: "a@example.com\r\nBcc: b@example.com"}, "e-mail address"},
		"long mailbox":            {A{Region: "mail", Type: overlay.ByEmail, Outcome: overlay.Done, Address: "a@" + strings.Repeat("b", 260) + ".com"}, "longer"},
		"no number":               {A{Region: "sms", Type: overlay.ByText, Outcome: overlay.Done, Address: "020 7946 0001"}, "international form"},
	} {
		err := o.Accept(c.answer)
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, overlay.ErrInvalid) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
