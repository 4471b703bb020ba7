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
	// Calls at once; more wait. Zero: 20.
	Calls int
	// Music is played again and again to those who wait; nil: nobody waits.
	Music *Announcement
	// Waiting are how many may wait; more are refused (486). Zero: 20.
	Waiting int
	// Patience is how long a caller waits at most; then the call is ended. Zero: one minute.
	Patience time.Duration
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
	queue  chan struct{} // who waits for a place
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
	if cfg.Waiting == 0 {
		cfg.Waiting = 20
	}
	if cfg.Patience == 0 {
		cfg.Patience = time.Minute
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
	s := &Server{cfg: cfg, secret: "ivr-" + strings.ToLower(rand.Text()), places: make(chan struct{}, cfg.Calls), queue: make(chan struct{}, cfg.Waiting), ua: ua}
	s.port = heard.LocalAddr().(*net.UDPAddr).Port
	client, err := sipgo.NewClient(ua, sipgo.WithClientNAT(), sipgo.WithClientLogger(quiet), sipgo.WithClientConnectionAddr(heard.LocalAddr().String()))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ivr: %w", err), heard.Close(), ua.Close())
	}
	s.closed, s.close = context.WithCancel(context.Background())
	// The library binds the sound where it would bind its signalling, which is ours and on this machine only.
	d := diago.NewDiago(ua, diago.WithLogger(quiet), diago.WithServer(server), diago.WithClient(client), diago.WithServerRequestMiddleware(tidied),
		diago.WithMediaConfig(diago.MediaConfig{Codecs: slices.Concat(sounds, []media.Codec{events(8000), events(48000)})}),
		diago.WithTransport(diago.Transport{
			Transport: "udp", BindHost: soundHost(cfg.Media), BindPort: s.port, ExternalHost: "127.0.0.1", ExternalPort: s.port, MediaExternalIP: net.IP(cfg.Media.AsSlice()),
		}))
	d.HandleFunc(s.answer)
	s.listening.Go(func() {
		if err := server.ServeUDP(heard); err != nil && !errors.Is(err, net.ErrClosed) {
			cfg.Logger.Error("ivr: the service number is not answered any more", "err", err)
		}
	})
	s.deaf = heard.Close
	return s, nil
}

// soundHost is where the sound arrives: at the address that telephones are told, where it is this machine's, and else, as behind an
// address translation, at the machine's first one.
func soundHost(told netip.Addr) string {
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(told, 0)))
	if err != nil {
		return "0.0.0.0"
	}
	u.Close()
	return told.String()
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
	wait := false
	select {
	case s.places <- struct{}{}:
	default:
		if wait = s.mayWait(); !wait {
			refuse(sip.StatusBusyHere, "Busy Here")
			return
		}
	}
	leave := func() { <-s.places }
	if wait {
		leave = func() { <-s.queue }
	}
	defer func() { leave() }()
	m, err := d.Answer(diago.AnswerOptions{})
	if err != nil {
		// Most often sound that it does not understand, of a browser for instance.
		s.cfg.Logger.Info("ivr: a call was not answered", "err", err)
		refuse(sip.StatusNotAcceptableHere, "Not Acceptable Here")
		return
	}
	defer s.hangUp(d)
	ctx, cancel := context.WithCancel(d.Context())
	defer cancel()
	defer context.AfterFunc(s.closed, cancel)()
	c := newCall(m)
	c.Caller = asserted(d.InviteRequest)
	if wait {
		if !s.wait(ctx, c) {
			return
		}
		<-s.queue
		leave = func() { <-s.places }
	}
	ctx, cancel = context.WithTimeout(ctx, s.cfg.Longest)
	defer cancel()
	s.cfg.Serve(ctx, c)
}

// mayWait takes a place in the queue, if there is music and the queue is not full.
func (s *Server) mayWait() bool {
	if s.cfg.Music == nil {
		return false
	}
	select {
	case s.queue <- struct{}{}:
		return true
	default:
		return false
	}
}

// wait plays music until the call has a place; who came first has the next. False: it took too long, or the
// call is over.
func (s *Server) wait(ctx context.Context, c *Call) bool {
	ctx, stop := context.WithTimeout(ctx, s.cfg.Patience)
	defer stop()
	has := make(chan bool, 1)
	go func() {
		defer stop() // the music
		select {
		case s.places <- struct{}{}:
			has <- true
		case <-c.over:
			has <- false
		case <-ctx.Done():
			has <- false
		}
	}()
	if err := c.wait(ctx, s.cfg.Music); err != nil {
		s.cfg.Logger.Info("ivr: nothing is played to a call that waits", "err", err)
	}
	return <-has
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
