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
		return s.devices.ConfirmMailbox(ctx, who.Tenant, who.Device, address, code)
	})
}
