package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/fetch"
	"github.com/tandem-call/tandem/internal/passport"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// certificateTypes are the content types under which certificates are given out: of RFC
// 8555, RFC 2585 and RFC 8226, and those of servers that know none of them.
var certificateTypes = []string{
	"application/pem-certificate-chain", "application/x-pem-file", "application/pkix-cert", "application/x-x509-ca-cert",
	"application/octet-stream", "binary/octet-stream", "text/plain", "",
}

// pemRoots reads the certificates of authorities from a PEM file that a setting names. ErrConfig.
func pemRoots(setting, path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrConfig, setting, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%w: %s: %s holds no certificate in PEM", ErrConfig, setting, path)
	}
	return roots, nil
}

// newPassports makes the verifier of PASSporTs; nil where no roots are configured.
func (s *Server) newPassports(version string) (*passport.Verifier, error) {
	c := s.cfg.Evidence
	if c.STIRRoots == "" {
		return nil, nil
	}
	roots, err := pemRoots("evidence.stir_roots", c.STIRRoots)
	if err != nil {
		return nil, err
	}
	networks := make([]netip.Prefix, len(c.Networks))
	for i, n := range c.Networks {
		if networks[i], err = netip.ParsePrefix(n); err != nil {
			return nil, fmt.Errorf("%w: evidence.networks: %w", ErrConfig, err)
		}
	}
	out, err := fetch.New(fetch.Config{Allow: networks, Timeout: 5 * time.Second, UserAgent: "tandem/" + version})
	if err != nil {
		return nil, err
	}
	return passport.New(passport.Config{
		Roots: roots, Freshness: c.Freshness, Uses: store.TableOf[passport.Use](s.engine, "passports"),
		Fetch: func(ctx context.Context, url string) ([]byte, error) {
			r, err := out.Fetch(ctx, fetch.Request{URL: url, HTTPS: true, Types: certificateTypes})
			return r.Body, err
		},
	})
}

// vouched raises the report's evidence if the networks' PASSporTs prove the call. Where
// none are verified they change nothing.
func (s calls) vouched(ctx context.Context, r *call.Report, passports []string) error {
	if len(passports) == 0 || s.passports == nil {
		return nil
	}
	own, _ := r.Own.Number()
	other, _ := r.Other.Number()
	err := s.passports.Verify(ctx, passport.Presented{
		Tenant: r.Tenant, For: callOf(r),
		Identities: passports, Own: own, Other: other, Direction: r.Direction, Date: r.At,
	})
	if errors.Is(err, passport.ErrFetch) {
		// Why it could not would tell of our network.
		s.log.Info("the certificate of a PASSporT was not fetched", "reporter", r.Reporter.ID, "err", err)
		return wire.NewProblem(wire.CodePassport, "the certificate that it names could not be fetched")
	}
	if err != nil {
		return err
	}
	r.Reporter.Evidence = call.Passport
	return nil
}

// callOf names the call for which a PASSporT is presented. Several may report one leg, a proxy
// and the telephone behind it; the call's own reference tells that it is the same.
func callOf(r *call.Report) string {
	switch {
	case r.Ref.SessionID != "":
		return "session " + r.Ref.SessionID
	case r.Ref.CallID != "":
		return "call " + r.Ref.CallID
	}
	return string(r.Reporter.Kind) + " " + r.Reporter.ID + " " + r.Ref.Local
}

// proofs orders the ways in which a number is proved, by what it takes to cheat.
var proofs = []device.ProofKind{device.ProofCode, device.ProofNetwork, device.ProofSIM, device.ProofOperator}

// proved: a binding of the device that holds is as good as the operator's minimum. A coupled
// device's is as good as that of whoever vouches for it.
func (s *Server) proved(d device.Device) bool {
	return slices.ContainsFunc(d.Current(time.Now()), s.proves)
}

func (s *Server) proves(b wire.Binding) bool {
	return slices.Index(proofs, device.FirstHand(b)) >= slices.Index(proofs, s.cfg.Evidence.Minimum.Binding)
}
