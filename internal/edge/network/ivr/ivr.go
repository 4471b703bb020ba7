// Package ivr answers calls to service numbers (interactive voice response): it plays
// announcements, and listens to the keys.
//
//	telephone ── INVITE ──▶ SIP element ── INVITE ──▶ Server
//	          ◀── RTP (Opus, G.711): the announcement
//	          ─── RTP (RFC 4733, tones): the keys ───▶   Call.Digits
//
// SIP is heard on loopback only, from the element: it has seen who calls, and says so in
// P-Asserted-Identity (RFC 3325). The address that it is given is a secret, so that no other
// program on the machine can say who it is. Media comes from the telephone itself, at the
// server's own address. SIP, SDP, RTP and G.711 are emiago/diago's; Opus is encoded when the
// announcements are made, and sent as it is.
package ivr

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emiago/diago"
	"github.com/emiago/diago/media"
	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

// Config of a Server.
type Config struct {
	// Media is the address that telephones send their sound to; required.
	Media netip.Addr
	// Serve handles a call that has been answered; when it returns, the call is ended.
	Serve func(ctx context.Context, c *Call)
	// Calls at once; more are refused (486). Zero: 20.
	Calls int
	// Longest is how long a call may last. Zero: three minutes.
	Longest time.Duration
	Logger  *slog.Logger
}

// Server answers the calls of one service number.
type Server struct {
	cfg    Config
	secret string
	port   int
	places chan struct{}
	ua     *sipgo.UserAgent
	closed context.Context // when the calls shall end
	close  func()
	deaf   func() error // stops listening
	calls  sync.WaitGroup

	listening sync.WaitGroup
}

// Listen starts a server.
func Listen(cfg Config) (*Server, error) {
	if cfg.Calls == 0 {
		cfg.Calls = 20
	}
	if cfg.Longest == 0 {
		cfg.Longest = 3 * time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	ua, err := sipgo.NewUA(sipgo.WithUserAgent("tandem"))
	if err != nil {
		return nil, fmt.Errorf("ivr: %w", err)
	}
	// What the library says of single messages is of use when one looks for faults only.
	quiet := slog.New(belowWarn{cfg.Logger.Handler()})
	server, err := sipgo.NewServer(ua, sipgo.WithServerLogger(quiet))
	if err != nil {
		return nil, fmt.Errorf("ivr: %w", err)
	}
	// A socket of our own: of the library's the port is not known for certain when it begins to listen.
	heard, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ivr: %w", err), ua.Close())
	}
	s := &Server{cfg: cfg, secret: "ivr-" + strings.ToLower(rand.Text()), places: make(chan struct{}, cfg.Calls), ua: ua}
	s.port = heard.LocalAddr().(*net.UDPAddr).Port
	s.closed, s.close = context.WithCancel(context.Background())
	d := diago.NewDiago(ua, diago.WithLogger(quiet), diago.WithServer(server), diago.WithServerRequestMiddleware(tidied),
		diago.WithMediaConfig(diago.MediaConfig{Codecs: slices.Concat(sounds, []media.Codec{events(8000), events(48000)})}),
		diago.WithTransport(diago.Transport{Transport: "udp", BindHost: "127.0.0.1", BindPort: s.port, MediaExternalIP: net.IP(cfg.Media.AsSlice())}))
	d.HandleFunc(s.answer)
	s.listening.Go(func() {
		if err := server.ServeUDP(heard); err != nil && !errors.Is(err, net.ErrClosed) {
			cfg.Logger.Error("ivr: the service number is not answered any more", "err", err)
		}
	})
	s.deaf = heard.Close
	return s, nil
}

// URI is where the element sends calls for the service number. It is a secret.
func (s *Server) URI() string { return fmt.Sprintf("sip:%s@127.0.0.1:%d", s.secret, s.port) }

// Close ends the calls, and waits until they are over.
func (s *Server) Close() error {
	s.close()
	s.calls.Wait()
	err := errors.Join(s.deaf(), s.ua.Close())
	s.listening.Wait()
	return err
}

// answer handles one call, from INVITE to BYE.
func (s *Server) answer(d *diago.DialogServerSession) {
	refuse := func(code int, reason string) {
		if err := d.Respond(code, reason, nil); err != nil {
			s.cfg.Logger.Warn("ivr: a call could not be refused", "err", err)
		}
	}
	if d.InviteRequest.Recipient.User != s.secret {
		refuse(sip.StatusNotFound, "Not Found")
		return
	}
	s.calls.Add(1)
	defer s.calls.Done()
	select {
	case s.places <- struct{}{}:
		defer func() { <-s.places }()
	default:
		refuse(sip.StatusBusyHere, "Busy Here")
		return
	}
	m, err := d.Answer(diago.AnswerOptions{})
	if err != nil {
		// Most often sound that it does not understand, of a browser for instance.
		s.cfg.Logger.Info("ivr: a call was not answered", "err", err)
		refuse(sip.StatusNotAcceptableHere, "Not Acceptable Here")
		return
	}
	defer s.hangUp(d)
	ctx, cancel := context.WithTimeout(d.Context(), s.cfg.Longest)
	defer cancel()
	defer context.AfterFunc(s.closed, cancel)()
	c := newCall(m)
	c.Caller = asserted(d.InviteRequest)
	s.cfg.Serve(ctx, c)
}

// hangUp ends the call, unless the other side has.
func (s *Server) hangUp(d *diago.DialogServerSession) {
	ctx, cancel := context.WithTimeout(d.Context(), 5*time.Second)
	defer cancel()
	if err := d.Hangup(ctx); err != nil && ctx.Err() == nil {
		s.cfg.Logger.Info("ivr: a call was not ended as it should be", "err", err)
	}
}

// asserted is who the element says is calling: a number, or "" if it does not know.
func asserted(invite *sip.Request) string {
	h := invite.GetHeader("P-Asserted-Identity")
	if h == nil {
		return ""
	}
	var u sip.Uri
	if _, err := sip.ParseAddressValue(h.Value(), &u, nil); err != nil {
		return ""
	}
	return u.User
}

// belowWarn drops what is not a warning.
type belowWarn struct{ slog.Handler }

func (h belowWarn) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && h.Handler.Enabled(ctx, l)
}
func (h belowWarn) WithAttrs(a []slog.Attr) slog.Handler { return belowWarn{h.Handler.WithAttrs(a)} }
func (h belowWarn) WithGroup(name string) slog.Handler   { return belowWarn{h.Handler.WithGroup(name)} }
