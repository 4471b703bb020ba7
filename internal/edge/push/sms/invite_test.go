package sms_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tandem-call/tandem/internal/edge/push/sms"
	"github.com/tandem-call/tandem/internal/notify"
	"github.com/tandem-call/tandem/wire"
)

func TestSegments(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       int
	}{
		{"empty", "", 1},
		{"160 of the alphabet", strings.Repeat("a", 160), 1},
		{"161", strings.Repeat("a", 161), 2},
		{"306", strings.Repeat("a", 306), 2},
		{"307", strings.Repeat("a", 307), 3},
		{"80 of the extension", strings.Repeat("€", 80), 1},
		{"81 of the extension", strings.Repeat("€", 81), 2},
		{"70 of UTF-16", strings.Repeat("к", 70), 1},
		{"71 of UTF-16", strings.Repeat("к", 71), 2},
		{"one letter makes it UTF-16", strings.Repeat("a", 134) + "к", 3},
		{"35 pairs of surrogates", strings.Repeat("😀", 35), 1},
		{"36 pairs of surrogates", strings.Repeat("😀", 36), 2},
	} {
		if got := sms.Segments(c.text); got != c.want {
			t.Errorf("%s: %d segments, want %d", c.name, got, c.want)
		}
	}
}

// outbox keeps what is sent.
type outbox struct {
	got []sms.Message
	err error
}

func (o *outbox) Send(_ context.Context, m sms.Message) error {
	o.got = append(o.got, m)
	return o.err
}

func TestInviter(t *testing.T) {
	o := &outbox{}
	i, err := sms.NewInviter(sms.InviterConfig{
		Sender: o, Link: "https://tandem.example/g/", Report: "https://tandem.example/v1/texts/report?token=x",
		Countries: []sms.Country{{Prefix: "+4", From: "Wide"}, {Prefix: "+49", From: "Tandem", Text: "{from} möchte etwas zeigen: {link}"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	push := func(to string, invite *wire.Invite) error {
		return i.Push(t.Context(), notify.Push{App: to, ID: "psh_1", About: wire.Push{Invite: invite}})
	}
	if err := push("+4930901820", &wire.Invite{Claimant: number(t).Identity()}); err != nil {
		t.Fatal(err)
	}
	if err := push("+442079460002", &wire.Invite{}); err != nil {
		t.Fatal(err)
	}
	if err := push("+12025550123", &wire.Invite{}); err != nil {
		t.Fatal(err)
	}
	for n, want := range []struct{ from, text string }{
		{"Tandem", "+442079460001 möchte etwas zeigen: https://tandem.example/g/psh_1"},
		{"Wide", "The person you are speaking to wants to share something with you in your call: https://tandem.example/g/psh_1 Reply STOP to get no more messages."},
		{"", "The person you are speaking to wants to share something with you in your call: https://tandem.example/g/psh_1 Reply STOP to get no more messages."},
	} {
		if m := o.got[n]; m.From != want.from || m.Text != want.text || m.Report != "https://tandem.example/v1/texts/report?token=x&id=psh_1" {
			t.Errorf("%+v", m)
		}
	}
	if i.Segments() != 3 {
		t.Errorf("%d segments", i.Segments())
	}
	o.err = sms.ErrRejected
	if err := push("+442079460002", &wire.Invite{}); !errors.Is(err, notify.ErrRefused) {
		t.Errorf("refused: %v", err)
	}
	o.err = sms.ErrUnavailable
	if err := push("+442079460002", &wire.Invite{}); err == nil || errors.Is(err, notify.ErrRefused) {
		t.Errorf("unavailable: %v", err)
	}
	for name, text := range map[string]string{"no link": "hello", "too long": "{link}" + strings.Repeat("к", 200)} {
		if _, err := sms.NewInviter(sms.InviterConfig{Sender: o, Text: text}); !errors.Is(err, sms.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Each gateway carries invitations too.
var (
	_ sms.Sender    = (*sms.Dev)(nil)
	_ sms.Sender    = (*sms.Kannel)(nil)
	_ sms.Sender    = (*sms.Webhook)(nil)
	_ notify.Pusher = (*sms.Inviter)(nil)
)
