package sms

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/tandem-call/tandem/tel"
)

// Dev shows codes to whoever runs the server, instead of sending them.
type Dev struct{ show func(line string) }

// NewDev returns a Dev that calls show with a line to print. listen holds the addresses
// ("host:port") on which the server can be reached. As a printed code proves nothing to
// others, NewDev refuses when one of them is not a loopback address. ErrConfig.
func NewDev(show func(line string), listen ...string) (*Dev, error) {
	if show == nil || len(listen) == 0 {
		return nil, fmt.Errorf("%w: the development sender needs a place to print and the listening addresses", ErrConfig)
	}
	for _, address := range listen {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		if ip, err := netip.ParseAddr(host); !strings.EqualFold(host, "localhost") && (err != nil || !ip.Unmap().IsLoopback()) {
			return nil, fmt.Errorf("%w: printed codes are for development on this machine only, but the server listens on %s; configure a real sender, or listen on 127.0.0.1", ErrConfig, address)
		}
	}
	return &Dev{show}, nil
}

// SendCode shows the code.
func (d *Dev) SendCode(_ context.Context, to tel.Number, code, _ string) error {
	d.show(fmt.Sprintf("*** code for %s: %s  (development: nothing was sent)", to, code))
	return nil
}

// Send shows a message.
func (d *Dev) Send(ctx context.Context, m Message) error { return d.SendText(ctx, m.To, m.Text) }

// SendText shows a message.
func (d *Dev) SendText(_ context.Context, to tel.Number, text string) error {
	d.show(fmt.Sprintf("*** text message to %s: %s  (development: nothing was sent)", to, text))
	return nil
}
