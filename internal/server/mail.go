package server

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/tandem-call/tandem/internal/audit"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/push/email"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

func (m Mail) sender() (*email.SMTP, error) {
	var roots *x509.CertPool
	if m.Roots != "" {
		pem, err := os.ReadFile(m.Roots)
		if err != nil {
			return nil, fmt.Errorf("%w: roots: %w", email.ErrConfig, err)
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%w: roots: no certificate in %s", email.ErrConfig, m.Roots)
		}
	}
	return email.New(email.Config{URL: m.URL, Username: m.Username, Password: m.Password, From: m.From, Roots: roots})
}

// mailer returns what sends codes to e-mail addresses; nil: nothing does.
func mailer(cfg Config, show func(string)) (device.Mailer, error) {
	switch {
	case cfg.Mail.URL != "":
		return cfg.Mail.sender()
	case cfg.Codes.Sender == "dev": // this machine alone reaches the server: Validate
		return email.NewDev(show), nil
	}
	return nil, nil
}

// ProveEmail sends a code to an address.
func (s profiles) ProveEmail(ctx context.Context, who httpapi.Caller, address tel.Identity) (wire.EmailProof, error) {
	expires, err := s.devices.BeginMailbox(ctx, who.Tenant, who.Device, address)
	return wire.EmailProof{Expires: expires}, problem(s.log, "prove an e-mail address", err)
}

// ConfirmEmail makes an address the party's by the code that was sent there.
func (s profiles) ConfirmEmail(ctx context.Context, who httpapi.Caller, address tel.Identity, code string) error {
	p, err := s.own(ctx, who)
	if err != nil {
		return problem(s.log, "prove an e-mail address", err)
	}
	linked := audit.Record{What: audit.IdentityLinked, Parties: []tel.Identity{p, address}}
	return s.audited(ctx, who, linked, func() error {
		before, err := s.parties.Principal(ctx, who.Tenant, address)
		if err == nil {
			err = s.devices.ConfirmMailbox(ctx, who.Tenant, who.Device, address, code)
		}
		if err == nil && before != p { // whoever proved it before has it no more
			err = s.reproved(ctx, who.Tenant, before, address)
		}
		if err == nil {
			err = s.reproved(ctx, who.Tenant, p, address)
		}
		return err
	})
}

// WithdrawEmail takes back that an address is the party's.
func (s profiles) WithdrawEmail(ctx context.Context, who httpapi.Caller, address tel.Identity) error {
	p, err := s.own(ctx, who)
	if err != nil {
		return problem(s.log, "withdraw an e-mail address", err)
	}
	unlinked := audit.Record{What: audit.IdentityUnlinked, Parties: []tel.Identity{p, address}}
	return s.audited(ctx, who, unlinked, func() error {
		if err := s.devices.WithdrawMailbox(ctx, who.Tenant, who.Device, address); err != nil {
			return err
		}
		return s.reproved(ctx, who.Tenant, p, address)
	})
}

// reproved lets those who hold a field of a party's profile that names the identity know that its proof has changed.
func (s *Server) reproved(ctx context.Context, tenant wire.TenantID, principal, id tel.Identity) error {
	devices, err := s.devices.OfParty(ctx, tenant, principal)
	ids := make([]wire.DeviceID, len(devices))
	for i, d := range devices {
		ids[i] = d.ID
	}
	if err != nil {
		return err
	}
	return s.people.Reproved(ctx, tenant, principal, id, ids)
}
