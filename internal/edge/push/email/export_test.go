package email

import (
	"context"
	"net"

	gomail "github.com/wneessen/go-mail"
)

// DialTo has the sender connect to an address, whatever its server's name is.
func (s *SMTP) DialTo(address string) {
	s.options = append(s.options, gomail.WithDialContextFunc(func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}))
}
