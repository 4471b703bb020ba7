package server

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/tandem-call/tandem/internal/coupling"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/network/ivr"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// What the service number says, as scripts/announcements speaks it.
//
//go:embed announcements
var spoken embed.FS

// announcements are what the service number says.
type announcements struct{ couple, coupled, wrong, refused, waiting *ivr.Announcement }

// newAnnouncements prepares them.
func newAnnouncements() (a announcements, err error) {
	for name, to := range map[string]**ivr.Announcement{"couple": &a.couple, "coupled": &a.coupled, "wrong": &a.wrong, "refused": &a.refused, "waiting": &a.waiting} {
		wav, err := spoken.ReadFile("announcements/" + name + ".wav")
		if err != nil {
			return a, err
		}
		opus, err := spoken.ReadFile("announcements/" + name + ".opus")
		if err != nil {
			return a, err
		}
		if *to, err = ivr.NewAnnouncement(wav, opus); err != nil {
			return a, fmt.Errorf("announcement %s: %w", name, err)
		}
	}
	return a, nil
}

const (
	keyedDigits = 9 // of a code that a device shows
	keyedTries  = 3
	keyedWait   = 10 * time.Second // for the next key
)

func (c Config) validateServiceNumber(fault func(ok bool, format string, args ...any)) {
	number := c.Couplings.ServiceNumber
	if number == "" {
		return
	}
	n, err := tel.ParseNumber(number, "")
	fault(err == nil && n.String() == number, "couplings.service_number: %q is not a number such as +442079460999", number)
	fault(c.sipMode() != SIPOff, "couplings.service_number: it is answered by the SIP element; set sip.mode")
	fault(c.mediaAddr().IsValid(), "couplings.service_number: sip.host or sip.listen must say at which IP address telephones reach us")
}

// mediaAddr is where telephones send their sound: the IP address that the element is reached at.
func (c Config) mediaAddr() netip.Addr {
	if a, err := netip.ParseAddr(c.SIP.Host); err == nil {
		return a
	}
	if a, err := netip.ParseAddrPort(c.SIP.Listen); err == nil && !a.Addr().IsUnspecified() && c.SIP.Host == "" {
		return a.Addr()
	}
	return netip.Addr{}
}

// newService answers the service number; nil where there is none.
func (s *Server) newService() (*ivr.Server, error) {
	if s.cfg.Couplings.ServiceNumber == "" {
		return nil, nil
	}
	says, err := newAnnouncements()
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	v, err := ivr.Listen(ivr.Config{
		Media: s.cfg.mediaAddr(), Music: says.waiting, Logger: s.log,
		Serve: func(ctx context.Context, c *ivr.Call) { s.takeKeys(ctx, c, says) },
	})
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	return v, nil
}

// serveService answers calls until ctx ends.
func (s *Server) serveService(ctx context.Context) error {
	<-ctx.Done()
	return s.service.Close()
}

func (s *Server) closeService() error {
	if s.service == nil {
		return nil
	}
	return s.service.Close()
}

// takeKeys couples the caller's telephone with the device whose code is keyed (B8).
func (s *Server) takeKeys(ctx context.Context, c *ivr.Call, says announcements) {
	say := func(a *ivr.Announcement) {
		if err := c.Play(ctx, a); err != nil && ctx.Err() == nil {
			s.log.Warn("an announcement was not played", "err", err)
		}
	}
	v, err := s.callersVoucher(ctx, c.Caller)
	if err != nil {
		s.log.Info("a telephone may not be coupled by a call", "number", c.Caller, "err", err)
		say(says.refused)
		return
	}
	who := httpapi.Caller{Tenant: v.Tenant, Role: httpapi.RoleElement, Credential: sipReporter}
	prompt := says.couple
	for range keyedTries {
		say(prompt)
		code, err := c.Digits(ctx, keyedDigits, keyedWait)
		if errors.Is(err, ivr.ErrSilence) {
			continue
		}
		if err != nil {
			return // hung up
		}
		_, err = s.couples.Accept(ctx, v, "", code)
		if err == nil {
			say(says.coupled)
			return
		}
		prompt, err = says.wrong, couplings{s}.refusedCode(who, err)
		s.log.Info("a code that was keyed does not hold", "err", err)
		if p := new(wire.Problem); !errors.As(err, &p) || p.Code != wire.CodeWrongCode {
			break // too many, or our fault: no use in asking again
		}
	}
	say(says.refused)
}

// callersVoucher vouches for the number that the network has seen.
func (s *Server) callersVoucher(ctx context.Context, caller string) (coupling.Voucher, error) {
	n, err := tel.ParseNumber(caller, "")
	if err != nil {
		return coupling.Voucher{}, err
	}
	if !s.speaks(n.Identity()) {
		return coupling.Voucher{}, errors.New("the number is outside of sip.ranges")
	}
	if barred, err := s.numberBarred(ctx, wire.DefaultTenant, n); err != nil || barred {
		return coupling.Voucher{}, errors.Join(err, errors.New("the number is barred"))
	}
	v := coupling.Voucher{
		Tenant: wire.DefaultTenant, Number: n, Key: sipReporter, Role: string(httpapi.RoleElement), Made: wire.MadeByServiceNo,
		Proof: device.ProofNetwork, Until: time.Now().AddDate(0, 0, s.cfg.Codes.BindingDays),
	}
	return v, s.mayVouch(v)
}
