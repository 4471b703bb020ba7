package device_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/party"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// post is a mailer that keeps what it is given.
type post struct {
	mu   sync.Mutex
	to   string
	text string
	err  error
}

func (p *post) SendMail(_ context.Context, to, _, text string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.to, p.text = to, text
	}
	return p.err
}

func (p *post) code() string { return strings.Fields(p.text)[0] }

func mailWorld(t *testing.T) (*world, *post, device.Device) {
	t.Helper()
	mail := &post{}
	w := newWorld(t, func(c *device.Config) { c.Mailer = mail })
	return w, mail, w.enrol(newPhone(t), number(t, "+442079460001"))
}

func address(t *testing.T, s string) tel.Identity {
	t.Helper()
	id, err := tel.ParseIdentity(s, "")
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (w *world) principal(id tel.Identity) tel.Identity {
	w.t.Helper()
	p, err := w.parties.Principal(w.t.Context(), wire.DefaultTenant, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func TestMailbox(t *testing.T) {
	w, mail, alice := mailWorld(t)
	at := address(t, "alice+x@example.com")
	if _, err := w.registry.BeginMailbox(t.Context(), alice.Tenant, alice.ID, at); err != nil || mail.to != "alice+x@example.com" {
		t.Fatal(mail.to, err)
	}
	confirm := func(code string) error {
		return w.registry.ConfirmMailbox(t.Context(), alice.Tenant, alice.ID, at, code)
	}
	want(t, confirm("x"+mail.code()[1:]), device.ErrWrongCode)
	if w.principal(at) != at {
		t.Fatal("a wrong code proves")
	}
	for range 2 { // it may repeat
		want(t, confirm(mail.code()), nil)
	}
	if w.principal(at) != alice.Principal {
		t.Error("the address is not hers")
	}
	// It lapses as a number does, and is proved anew before.
	w.pass(100 * 24 * time.Hour)
	if _, err := w.registry.BeginMailbox(t.Context(), alice.Tenant, alice.ID, at); err != nil {
		t.Fatal(err)
	}
	want(t, confirm(mail.code()), nil)
	w.pass(100 * 24 * time.Hour)
	if w.principal(at) != alice.Principal {
		t.Error("a proof that was renewed has lapsed")
	}
	w.pass(81 * 24 * time.Hour)
	if w.principal(at) != at {
		t.Error("a proof does not lapse")
	}
}

// Whoever reads a mailbox now has it; but an operator's word stands above that.
func TestMailboxChangesHands(t *testing.T) {
	w, mail, alice := mailWorld(t)
	bob := w.enrol(newPhone(t), number(t, "+442079460002"))
	at := address(t, "desk@example.com")
	prove := func(d device.Device, at tel.Identity) error {
		t.Helper()
		if _, err := w.registry.BeginMailbox(t.Context(), d.Tenant, d.ID, at); err != nil {
			t.Fatal(err)
		}
		return w.registry.ConfirmMailbox(t.Context(), d.Tenant, d.ID, at, mail.code())
	}
	want(t, prove(alice, at), nil)
	want(t, prove(bob, at), nil)
	if w.principal(at) != bob.Principal {
		t.Error("the address is not his who reads it")
	}
	linked := address(t, "chief@example.com")
	want(t, w.parties.Link(t.Context(), alice.Tenant, linked, alice.Principal), nil)
	want(t, prove(bob, linked), device.ErrOtherParty)
	want(t, prove(alice, linked), nil)
	if w.principal(linked) != alice.Principal {
		t.Error("what an operator linked has changed hands")
	}
}

// What one has proved one takes back, but not an operator's word; a code that came before proves nothing then.
func TestMailboxWithdrawn(t *testing.T) {
	w, mail, alice := mailWorld(t)
	bob := w.enrol(newPhone(t), number(t, "+442079460002"))
	at := address(t, "alice@example.com")
	withdraw := func(d device.Device, at tel.Identity) error {
		return w.registry.WithdrawMailbox(t.Context(), d.Tenant, d.ID, at)
	}
	want(t, withdraw(alice, at), party.ErrNotFound)
	if _, err := w.registry.BeginMailbox(t.Context(), alice.Tenant, alice.ID, at); err != nil {
		t.Fatal(err)
	}
	want(t, w.registry.ConfirmMailbox(t.Context(), alice.Tenant, alice.ID, at, mail.code()), nil)
	want(t, withdraw(bob, at), party.ErrNotFound)
	if w.principal(at) != alice.Principal {
		t.Fatal("somebody else takes it back")
	}
	want(t, withdraw(alice, at), nil)
	if w.principal(at) != at {
		t.Error("the address is hers still")
	}
	want(t, w.registry.ConfirmMailbox(t.Context(), alice.Tenant, alice.ID, at, mail.code()), device.ErrCodeExpired)
	want(t, withdraw(alice, alice.Principal), device.ErrRequest)
	linked := address(t, "chief@example.com")
	want(t, w.parties.Link(t.Context(), alice.Tenant, linked, alice.Principal), nil)
	want(t, withdraw(alice, linked), device.ErrLinked)
	if w.principal(linked) != alice.Principal {
		t.Error("what an operator linked is taken back by its party")
	}
}

func TestMailboxCodes(t *testing.T) {
	w, mail, alice := mailWorld(t)
	at := address(t, "alice@example.com")
	begin := func(at tel.Identity) error {
		_, err := w.registry.BeginMailbox(t.Context(), alice.Tenant, alice.ID, at)
		return err
	}
	confirm := func(at tel.Identity, code string) error {
		return w.registry.ConfirmMailbox(t.Context(), alice.Tenant, alice.ID, at, code)
	}
	want(t, confirm(at, "123456"), device.ErrCodeExpired) // there is none
	want(t, begin(address(t, "+442079460009")), device.ErrRequest)
	want(t, begin(at), nil)
	want(t, confirm(address(t, "eve@example.com"), mail.code()), device.ErrCodeExpired) // of another address
	for range 2 {
		want(t, confirm(at, "wrong!"), device.ErrWrongCode)
	}
	want(t, confirm(at, "wrong!"), device.ErrCodeExpired)
	want(t, confirm(at, mail.code()), device.ErrCodeExpired) // its tries are used up
	want(t, begin(at), nil)
	w.pass(11 * time.Minute)
	want(t, confirm(at, mail.code()), device.ErrCodeExpired)
	// Five an hour to one address, ten a day by one party.
	for range 3 {
		want(t, begin(at), nil)
	}
	want(t, begin(at), device.ErrTooMany)
	mail.err = errors.New("no mail today")
	want(t, begin(address(t, "a@example.com")), device.ErrSender)
	mail.err = nil
	for _, s := range []string{"b@example.com", "c@example.com", "d@example.com"} {
		want(t, begin(address(t, s)), nil)
	}
	want(t, begin(address(t, "e@example.com")), device.ErrTooMany)
	w.pass(25 * time.Hour)
	if _, err := w.registry.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"mailboxes", "enrolment_limits"} {
		for item, err := range w.engine.Scan(t.Context(), table, "") {
			t.Error("left after a day:", table, item.Key, err)
		}
	}
}

// Who has the number on another's word alone proves nothing for its party.
func TestMailboxNeedsANumberOfOnesOwn(t *testing.T) {
	w, _, alice := mailWorld(t)
	tv := newPhone(t)
	d, err := w.registry.Couple(t.Context(), device.Request{Tenant: alice.Tenant, Number: alice.Bindings[0].Number, Key: tv.jwk(t)}, device.ProofCode, w.clock().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.registry.BeginMailbox(t.Context(), alice.Tenant, d.ID, address(t, "tv@example.com"))
	want(t, err, device.ErrSecondHand)
}
