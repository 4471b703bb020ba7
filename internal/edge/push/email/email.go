// Package email sends messages by e-mail: the codes that prove an address (SPEC G1).
//
// [SMTP] submits them to a mail server (RFC 6409), encrypted by implicit TLS (RFC 8314) or STARTTLS
// (RFC 3207) wherever it is not on this machine itself; [Dev] prints them instead.
package email

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/mail"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// Errors of a sender.
var (
	// ErrConfig: the sender cannot work with this configuration.
	ErrConfig = errors.New("email: unusable configuration")
	// ErrCredentials: the server does not take the username or the password.
	ErrCredentials = errors.New("email: the server refuses the username or the password (mail.username, mail.password)")
	// ErrRejected: the server does not take this message; sending it again will not help.
	ErrRejected = errors.New("email: the server refused the message")
	// ErrUnavailable: the server cannot be reached, is not to be trusted, or cannot take messages now.
	ErrUnavailable = errors.New("email: the server is unavailable")
)

const defaultTimeout = 20 * time.Second

// Config of an SMTP. URL and From are needed.
type Config struct {
	// URL of the submission server: smtps://mail.example (implicit TLS, port 465 by itself), or
	// smtp://mail.example (STARTTLS, which is insisted on; port 587 by itself).
	URL string
	// Username and Password; both may be empty. They go out only over TLS, and on loopback.
	Username, Password string
	// From is the address that messages come from, with a name or without.
	From string
	// Roots that the server's certificate must lead to; nil: those of this machine.
	Roots *x509.CertPool
	// Timeout of one message; zero means 20 seconds.
	Timeout time.Duration
}

// SMTP submits messages. Its methods may be called from several goroutines.
type SMTP struct {
	host    string
	from    string
	timeout time.Duration
	options []gomail.Option
}

// New returns an SMTP. ErrConfig.
func New(c Config) (*SMTP, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Hostname() == "" || u.Scheme != "smtp" && u.Scheme != "smtps" || u.User != nil || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("%w: the server's address begins with smtps:// or smtp://, and has no user in it", ErrConfig)
	}
	if _, err := mail.ParseAddress(c.From); err != nil {
		return nil, fmt.Errorf("%w: from is an e-mail address, with a name or without: Tandem <tandem@example.com>", ErrConfig)
	}
	if (c.Username == "") != (c.Password == "") || c.Timeout < 0 {
		return nil, fmt.Errorf("%w: username and password go together, and the timeout is not negative", ErrConfig)
	}
	s := &SMTP{host: u.Hostname(), from: c.From, timeout: c.Timeout}
	if s.timeout == 0 {
		s.timeout = defaultTimeout
	}
	port := 587
	s.options = []gomail.Option{
		gomail.WithTimeout(s.timeout), gomail.WithoutNoop(),
		gomail.WithTLSConfig(&tls.Config{ServerName: s.host, RootCAs: c.Roots, MinVersion: tls.VersionTLS12}),
	}
	switch {
	case u.Scheme == "smtps":
		port = 465
		s.options = append(s.options, gomail.WithSSL())
	case loopback(s.host):
		s.options = append(s.options, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	default:
		s.options = append(s.options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if p := u.Port(); p != "" {
		if port, err = strconv.Atoi(p); err != nil {
			return nil, fmt.Errorf("%w: port %q", ErrConfig, p)
		}
	}
	s.options = append(s.options, gomail.WithPort(port))
	if c.Username != "" {
		s.options = append(s.options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(c.Username), gomail.WithPassword(c.Password))
	}
	if _, err := gomail.NewClient(s.host, s.options...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return s, nil
}

// SendMail submits a message of plain text, and returns nil when the server has taken it. It does not try
// again. ErrCredentials, ErrRejected, ErrUnavailable.
func (s *SMTP) SendMail(ctx context.Context, to, subject, text string) error {
	m := gomail.NewMsg()
	if err := errors.Join(m.From(s.from), m.To(to)); err != nil {
		return fmt.Errorf("%w: %w", ErrRejected, err)
	}
	m.Subject(subject)
	m.SetDate()
	m.SetMessageID()
	m.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no answers by machines
	m.SetBodyString(gomail.TypeTextPlain, text)
	client, err := gomail.NewClient(s.host, s.options...)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err = client.DialAndSendWithContext(ctx, m)
	var e *gomail.SendError
	var reply *textproto.Error // while signing in (RFC 4954)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &reply) && slices.Contains(refusals, reply.Code):
		return fmt.Errorf("%w: %d", ErrCredentials, reply.Code) // its text may repeat what was sent
	case errors.As(err, &e) && !e.IsTemp() && e.ErrorCode() >= 500:
		return fmt.Errorf("%w: %w", ErrRejected, err)
	default:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}

// refusals of credentials (RFC 4954 section 6): needed, too weak, invalid, only over TLS.
var refusals = []int{530, 534, 535, 538}

// Dev shows messages to whoever runs the server, instead of sending them.
type Dev struct{ show func(line string) }

// NewDev returns a Dev that calls show with a line to print. It is for servers that only their own
// machine can reach, since a printed code proves nothing to others.
func NewDev(show func(line string)) *Dev { return &Dev{show} }

// SendMail shows the beginning of a message: its code.
func (d *Dev) SendMail(_ context.Context, to, _, text string) error {
	code, _, _ := strings.Cut(text, " ")
	d.show(fmt.Sprintf("*** code for %s: %s  (development: nothing was sent)", to, code))
	return nil
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}
