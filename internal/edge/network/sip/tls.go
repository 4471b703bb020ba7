package sip

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

// Elements prove by certificates who they are (RFC 5922), phones do not. Where Config.TrustedNames
// are set, whoever connects is asked for one, and need not have it; but one that does not hold is
// refused.

// handshakeTime bounds a handshake that comes in.
const handshakeTime = 10 * time.Second

// errCertificate: the other side's certificate does not hold.
var errCertificate = errors.New("sip: the certificate does not hold")

// sipDomains are the SIP domains that a certificate is for: of its sip URIs, or else, if there is
// none, its DNS names (RFC 5922 7.1).
func sipDomains(c *x509.Certificate) (domains []string) {
	for _, u := range c.URIs {
		// A URI with a user names that user only.
		if strings.EqualFold(u.Scheme, "sip") && u.Opaque != "" && !strings.Contains(u.Opaque, "@") {
			domains = append(domains, u.Opaque)
		}
	}
	if len(domains) == 0 {
		return c.DNSNames
	}
	return domains
}

// isFor compares a certificate with the host of the URI that led to its owner, before any name was
// resolved (RFC 5922 7.3). A wildcard stands for nothing (7.2).
func isFor(c *x509.Certificate, host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return slices.ContainsFunc(c.IPAddresses, net.IP(a.AsSlice()).Equal)
	}
	return slices.ContainsFunc(sipDomains(c), func(d string) bool { return strings.EqualFold(d, host) })
}

// sipUsage is id-kp-sipDomain (RFC 5924).
var sipUsage = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 20}

// holds reports why a peer's certificate is not to be believed: by whom it was made, when, what for.
func (e *Element) holds(s tls.ConnectionState) error {
	c := s.PeerCertificates[0]
	opts := x509.VerifyOptions{Roots: e.cfg.TLSRoots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, i := range s.PeerCertificates[1:] {
		opts.Intermediates.AddCert(i)
	}
	if _, err := c.Verify(opts); err != nil {
		return fmt.Errorf("%w: %w", errCertificate, err)
	}
	// An element is both client and server, and often has a certificate of a web server.
	known := []x509.ExtKeyUsage{x509.ExtKeyUsageAny, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	fits := slices.ContainsFunc(c.ExtKeyUsage, func(u x509.ExtKeyUsage) bool { return slices.Contains(known, u) }) ||
		slices.ContainsFunc(c.UnknownExtKeyUsage, sipUsage.Equal)
	if !fits && len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0 {
		return fmt.Errorf("%w: it is for another use than TLS", errCertificate)
	}
	return nil
}

// serverTLS is how connections of TLS are taken.
func (e *Element) serverTLS() *tls.Config {
	c := e.cfg.TLS.Clone()
	c.NextProtos = nil // those of the web
	if len(e.cfg.TrustedNames) > 0 {
		c.ClientAuth, c.ClientCAs = tls.RequestClientCert, e.cfg.TLSRoots // who asks for others' certificates is shown none
		c.VerifyConnection = func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return nil // a phone
			}
			return e.holds(s)
		}
	}
	return c
}

// clientTLS is how TLS is begun with a host; our certificate is shown to whoever asks.
func (e *Element) clientTLS(host string, nc net.Conn) *tls.Config {
	c := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: host,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection does it, as RFC 5922 wants it
		VerifyConnection: func(s tls.ConnectionState) error {
			if err := e.holds(s); err != nil {
				return err
			}
			if c := s.PeerCertificates[0]; !isFor(c, host) {
				return fmt.Errorf("%w: it is not for %s, but for %s", errCertificate, host, cmp.Or(strings.Join(sipDomains(c), ", "), "no domain"))
			}
			return nil
		},
	}
	if own := e.cfg.TLS; own != nil {
		c.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			switch {
			case own.GetCertificate != nil:
				return own.GetCertificate(&tls.ClientHelloInfo{ServerName: e.cfg.Domain, SupportedVersions: []uint16{r.Version}, SignatureSchemes: r.SignatureSchemes, Conn: nc})
			case len(own.Certificates) > 0:
				return &own.Certificates[0], nil
			}
			return &tls.Certificate{}, nil
		}
	}
	return c
}

// shake finishes the handshake of a connection that came in, and learns who that is. False: it
// was refused, or refuses us.
func (e *Element) shake(nc net.Conn, c *conn) bool {
	t, ok := nc.(*tls.Conn)
	if !ok || t.ConnectionState().HandshakeComplete {
		return true
	}
	ctx, cancel := context.WithTimeout(c.ended, handshakeTime)
	defer cancel()
	err := t.HandshakeContext(ctx)
	var noTLS tls.RecordHeaderError
	switch {
	case err == nil:
		e.conns.prove(c, t.ConnectionState())
		return true
	case errors.Is(err, errCertificate):
		e.log.Warn("a TLS peer was refused", "remote", c.remote, "err", err)
	case errors.Is(err, io.EOF), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.As(err, &noTLS), c.over():
		e.log.Debug("a TLS connection came to nothing", "remote", c.remote, "err", err)
	default: // OpenSSL's alert within TLS 1.3 cannot be read
		e.log.Info("a TLS peer has broken off: perhaps it does not take our certificate", "remote", c.remote, "err", err)
	}
	return false
}

// prove keeps who is at the other end of a connection, once its certificate was checked.
func (k *conns) prove(c *conn, s tls.ConnectionState) {
	if len(s.PeerCertificates) == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	c.proof = s.PeerCertificates[0]
}

// proved reports whether a connection leads to a host as its URI says it: over TLS only one whose
// certificate is for it (RFC 5922 7.3, RFC 5923).
func (c *conn) proved(host string) bool {
	return c.transport != "TLS" || c.proof != nil && isFor(c.proof, host)
}

// trustedName: who proves by a certificate to be this host is trusted.
func (e *Element) trustedName(host string) bool {
	return slices.ContainsFunc(e.cfg.TrustedNames, func(n string) bool { return strings.EqualFold(n, host) })
}

// trustedConn: who is at the other end has proved to be somebody who is trusted.
func (e *Element) trustedConn(c *conn) bool {
	return c != nil && c.transport == "TLS" && c.proof != nil && slices.ContainsFunc(sipDomains(c.proof), e.trustedName)
}
