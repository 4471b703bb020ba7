package overlay

import (
	"slices"
	"strconv"
	"strings"

	currencies "golang.org/x/text/currency"
)

// ActionType is what a touch does. There are no others.
type ActionType string

const (
	SendLocation ActionType = "send_location" // the user's place, with the user's consent
	SendContact  ActionType = "send_contact"  // the user's contact card
	OpenPage     ActionType = "open_page"     // url
	Pay          ActionType = "pay"           // amount, item
	Buy          ActionType = "buy"           // amount, item
	ByEmail      ActionType = "by_email"      // receive item by e-mail
	ByText       ActionType = "by_text"       // receive item by text message
	Choose       ActionType = "choose"        // value
	FillIn       ActionType = "fill_in"       // form
	SendPhoto    ActionType = "send_photo"
	SendFile     ActionType = "send_file"
	CallBack     ActionType = "call_back" // number
	Dial         ActionType = "dial"      // keys, into the call
	Message      ActionType = "message"   // value, as a text of the user's
)

// Action is one thing that a touch does. Which fields there are depends on the type.
type Action struct {
	Type ActionType `json:"type" jsonschema:"enum=send_location,enum=send_contact,enum=open_page,enum=pay,enum=buy,enum=by_email,enum=by_text,enum=choose,enum=fill_in,enum=send_photo,enum=send_file,enum=call_back,enum=dial,enum=message"`
	// URL is the https page of open_page.
	URL string `json:"url,omitempty" jsonschema:"maxLength=2048,pattern=^https://"`
	// Value that choose and message send.
	Value string `json:"value,omitempty" jsonschema:"maxLength=500"`
	// Item is the provider's name of what is paid, bought or received.
	Item string `json:"item,omitempty" jsonschema:"maxLength=500"`
	// Number in international form (E.164) of call_back.
	Number string `json:"number,omitempty" jsonschema:"pattern=^\\+[1-9][0-9]{2\\,14}$"`
	// Keys of the telephone that dial presses; a comma is a pause.
	Keys string `json:"keys,omitempty" jsonschema:"pattern=^[0-9*#\\,]{1\\,32}$"`
	// Amount to pay.
	Amount *Amount `json:"amount,omitempty"`
	// Form of fill_in.
	Form *Form `json:"form,omitempty"`
}

// Amount of money.
type Amount struct {
	// Minor units: cents for EUR, yen for JPY.
	Minor int64 `json:"minor" jsonschema:"minimum=1,maximum=100000000000"`
	// Currency by ISO 4217.
	Currency string `json:"currency" jsonschema:"pattern=^[A-Z]{3}$"`
}

// needs lists, for each type there is, the fields that it has: all of them, and no others.
var needs = map[ActionType][]string{
	SendLocation: nil, SendContact: nil, SendPhoto: nil, SendFile: nil,
	OpenPage: {"url"}, Pay: {"item", "amount"}, Buy: {"item", "amount"},
	ByEmail: {"item"}, ByText: {"item"}, Choose: {"value"}, Message: {"value"},
	FillIn: {"form"}, CallBack: {"number"}, Dial: {"keys"},
}

// ActionTypes lists all of them, sorted.
func ActionTypes() []string {
	var all []string
	for t := range needs {
		all = append(all, string(t))
	}
	slices.Sort(all)
	return all
}

func (a Action) check(at string, language string) error {
	want, known := needs[a.Type]
	if !known {
		return fault("%s.type: there is no action %q", at, clip(string(a.Type)))
	}
	has := []struct {
		name  string
		there bool
		check func() error
	}{
		{"url", a.URL != "", func() error { return checkURL(at+".url", a.URL) }},
		{"value", a.Value != "", func() error { return checkText(at+".value", a.Value) }},
		{"item", a.Item != "", func() error { return checkText(at+".item", a.Item) }},
		{"number", a.Number != "", func() error { return match(at+".number", a.Number, number, "a number in international form") }},
		{"keys", a.Keys != "", func() error { return match(at+".keys", a.Keys, keys, "1 to 32 of 0-9 * # and comma") }},
		{"amount", a.Amount != nil, func() error { return a.Amount.check(at + ".amount") }},
		{"form", a.Form != nil, func() error { return a.Form.check(at+".form", language) }},
	}
	for _, f := range has {
		needed := false
		for _, name := range want {
			needed = needed || name == f.name
		}
		switch {
		case needed && !f.there:
			return fault("%s: %s needs %s", at, a.Type, f.name)
		case !needed && f.there:
			return fault("%s: %s has no %s", at, a.Type, f.name)
		case needed:
			if err := f.check(); err != nil {
				return err
			}
		}
	}
	return nil
}

// String writes an amount as "12.50 EUR", with as many decimals as the currency has.
func (a Amount) String() string {
	scale := 2
	if unit, err := currencies.ParseISO(a.Currency); err == nil {
		scale, _ = currencies.Standard.Rounding(unit)
	}
	text := strconv.FormatInt(a.Minor, 10)
	if scale > 0 {
		text = strings.Repeat("0", max(0, scale+1-len(text))) + text
		text = text[:len(text)-scale] + "." + text[len(text)-scale:]
	}
	return text + " " + a.Currency
}

func (a Amount) check(at string) error {
	if a.Minor < 1 || a.Minor > maxMinor {
		return fault("%s.minor: must be 1 to %d", at, int64(maxMinor))
	}
	return match(at+".currency", a.Currency, currency, "three capital letters of ISO 4217")
}
