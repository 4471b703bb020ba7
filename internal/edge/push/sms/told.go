package sms

import (
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/url"
	"slices"
	"strings"
)

// Outcome is what became of a message.
type Outcome string

// Outcomes. A message that is still on its way has none.
const (
	Delivered Outcome = "delivered"
	Failed    Outcome = "failed"
)

// outcomes by the words that gateways use: Kannel's numbers, SMPP's states (SMPP 3.4 5.2.28),
// and those of providers.
var outcomes = map[string]Outcome{
	"1": Delivered, "delivered": Delivered, "delivrd": Delivered,
	"2": Failed, "16": Failed, "failed": Failed, "undelivered": Failed, "undeliv": Failed, "undeliverable": Failed,
	"rejected": Failed, "rejectd": Failed, "expired": Failed, "deleted": Failed,
}

// The names that gateways give to things, in lower case.
var (
	statusNames = []string{"messagestatus", "message_status", "status", "groupname", "delivery_status"}
	fromNames   = []string{"from", "msisdn", "originator", "sender"}
	textNames   = []string{"body", "text", "message", "content", "payload"}
)

// OutcomeOf reads a status as Kannel or a provider writes it; "" if it is not the last.
func OutcomeOf(status string) Outcome { return outcomes[strings.ToLower(status)] }

// ReadReport reads a delivery report, a form or JSON, whatever the gateway calls the field; "" if
// the message is still on its way. ErrTold, ErrMediaType.
func ReadReport(contentType string, body []byte) (Outcome, error) {
	v, err := values(contentType, body)
	if err != nil {
		return "", err
	}
	return OutcomeOf(find(v, statusNames)), nil
}

// ReadAnswer reads a message that somebody sent to the gateway, a form or JSON: who sent it, with a
// plus if it is nothing but digits, and what. ErrTold,
// ErrMediaType.
func ReadAnswer(contentType string, body []byte) (from, text string, err error) {
	v, err := values(contentType, body)
	if err != nil {
		return "", "", err
	}
	from, text = find(v, fromNames), find(v, textNames)
	if from == "" {
		return "", "", fmt.Errorf("%w: it does not say who sent it", ErrTold)
	}
	if strings.Trim(from, "0123456789") == "" && !strings.HasPrefix(from, "0") {
		from = "+" + from
	}
	return from, text, nil
}

// values reads what a gateway posts into what encoding/json makes of JSON.
func values(contentType string, body []byte) (any, error) {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, ErrMediaType
	}
	switch kind {
	case "application/json":
		var v any
		if err := json.Unmarshal(body, &v); err != nil {
			return nil, fmt.Errorf("%w: it is not JSON", ErrTold)
		}
		return v, nil
	case "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, fmt.Errorf("%w: it is not a form", ErrTold)
		}
		v := map[string]any{}
		for name := range form {
			v[name] = form.Get(name)
		}
		return v, nil
	}
	return nil, ErrMediaType
}

// find returns the first value under one of the names, the names in their order, the outermost
// first.
func find(v any, names []string) string {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if s := find(e, names); s != "" {
				return s
			}
		}
	case map[string]any:
		keys := slices.Sorted(maps.Keys(v))
		for _, name := range names {
			for _, k := range keys {
				if strings.ToLower(k) != name {
					continue
				}
				switch s := v[k].(type) {
				case string:
					return s
				case float64:
					return fmt.Sprint(s)
				}
			}
		}
		for _, k := range keys {
			if s := find(v[k], names); s != "" {
				return s
			}
		}
	}
	return ""
}
