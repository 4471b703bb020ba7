package overlay

import (
	"regexp"
	"slices"
	"strings"
)

// Outcome is what came of an action.
type Outcome string

const (
	Done      Outcome = "done"
	Failed    Outcome = "failed"
	Cancelled Outcome = "cancelled" // by the user, or since an earlier action of the region was not done
)

// Answer is what a device says came of one action of a region (SPEC I6). Which fields there
// are depends on the action's type.
type Answer struct {
	// Region is the region's id.
	Region string `json:"region"`
	// Action is its place among the region's actions, from 0.
	Action int `json:"action"`
	// Type of that action.
	Type ActionType `json:"type"`
	// Outcome is done, failed or cancelled.
	Outcome Outcome `json:"outcome"`
	// Reason of failed and cancelled: a code such as not_available.
	Reason string `json:"reason,omitempty"`
	// Value of choose and message, as the overlay has it.
	Value string `json:"value,omitempty"`
	// Answers of fill_in, by the fields' ids.
	Answers map[string][]string `json:"answers,omitempty"`
	// Address to which by_email (addr-spec of RFC 5322) or by_text (E.164) is to go.
	Address string `json:"address,omitempty"`
}

var (
	reason  = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)
	mailbox = regexp.MustCompile(`^[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$`)
)

// maxAddress in characters (RFC 5321 4.5.3.1.3).
const maxAddress = 254

// Accept says whether an answer is one to this overlay. A payment is never done by the word of
// the device that should pay.
func (o Overlay) Accept(a Answer) error {
	i := slices.IndexFunc(o.Regions, func(r Region) bool { return r.ID == a.Region })
	if i < 0 {
		return fault("answer: there is no region %q", clip(a.Region))
	}
	r := o.Regions[i]
	switch {
	case r.State == Disabled:
		return fault("answer: the region %s is disabled", r.ID)
	case a.Action < 0 || a.Action >= len(r.Actions) || r.Actions[a.Action].Type != a.Type:
		return fault("answer: the region %s has no such action", r.ID)
	case a.Outcome != Done && a.Outcome != Failed && a.Outcome != Cancelled:
		return fault("answer: there is no outcome %q", clip(string(a.Outcome)))
	case a.Outcome == Done && a.Reason != "", a.Outcome != Done && !reason.MatchString(a.Reason):
		return fault("answer: failed and cancelled have a reason of a-z 0-9 _, done has none")
	}
	return r.Actions[a.Action].accept(a)
}

func (a Action) accept(x Answer) error {
	done := x.Outcome == Done
	value := done && (a.Type == Choose || a.Type == Message)
	form := done && a.Type == FillIn
	address := done && (a.Type == ByEmail || a.Type == ByText)
	switch {
	case !value && x.Value != "", !form && len(x.Answers) > 0, !address && x.Address != "":
		return fault("answer: %s has something that does not belong to it", a.Type)
	case done && (a.Type == Pay || a.Type == Buy):
		return fault("answer: a payment is confirmed by whoever takes it")
	case value && x.Value != a.Value:
		return fault("answer: the value is not the overlay's")
	case form:
		return a.Form.Check(x.Answers)
	case address && a.Type == ByText:
		return match("answer.address", x.Address, number, "a number in international form")
	case address && len(x.Address) > maxAddress:
		return fault("answer.address: is longer than %d characters", maxAddress)
	case address:
		local, _, _ := strings.Cut(x.Address, "@")
		if strings.HasPrefix(local, ".") || strings.HasSuffix(local, ".") || strings.Contains(local, "..") {
			return fault("answer.address: must be an e-mail address")
		}
		return match("answer.address", x.Address, mailbox, "an e-mail address")
	}
	return nil
}
