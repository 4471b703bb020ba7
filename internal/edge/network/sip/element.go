package sip

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lxzan/gws"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
)

// ErrConfig: the configuration cannot be used as it is.
var ErrConfig = errors.New("sip: unusable configuration")

// ErrListen: an address cannot be listened on, most often since another program does.
var ErrListen = errors.New("sip: cannot listen")

// MaxConnections is how many connections an element has at once, if its [Config] does not say otherwise.
const MaxConnections = 20_000

// Config of an Element.
type Config struct {
	// Domain is the host part of the addresses that are registered here; required.
	Domain string
	// Listen is the address, host:port, for UDP and TCP; "": neither.
	Listen string
	// TLSListen is the address for TLS, whose certificates are in TLS; "": none.
	TLSListen string
	TLS       *tls.Config
	// TLSRoots are the authorities of other elements' certificates; nil: the system's.
	TLSRoots *x509.CertPool
	// Host is put into Via and Record-Route, for those who are not on a connection. Zero: that of
	// Listen, or else Domain.
	Host string
	// WebPort is the port at which WebSockets come in; told to those who use them.
	WebPort uint16
	// Open: anybody may register and call as any number. Otherwise by digest (see
	// [Element.Credential]).
	Open bool
	// Trusted are the networks of elements whose word on identities is taken (RFC 3325), and
	// who may have requests forwarded anywhere (as an IMS does with an application server).
	Trusted []netip.Prefix
	// TrustedNames are the SIP domains of such elements that prove who they are by a certificate,
	// over TLS (RFC 5922), from wherever they connect.
	TrustedNames []string
	// NextHop is the SIP URI of the element that calls go to when nobody here has the number; "":
	// they are refused.
	NextHop string
	// Services are numbers that are answered by a program of ours: to each the SIP URI, with
	// an IP address, of the program. It is told who calls, where that was proved by a password or is
	// asserted by a trusted element (RFC 3325), or Open, and the call is not reported: it is with no other party.
	Services map[string]string
	// TrustedFrom: a trusted element that asserts nobody vouches for the From; else a service is not told it.
	TrustedFrom bool
	// Watch are the SIP URIs of users at other elements whose calls are watched by
	// subscription (RFC 4235); WatchUser and WatchPassword are for those who ask for them.
	Watch                    []string
	WatchUser, WatchPassword string
	// Secret is at least 32 bytes, the same on every start: of the passwords given out, and
	// of the tokens in Record-Route. Nil: a new one, so that none survives a restart.
	Secret []byte
	// PasswordFor is how long a password holds. Zero: an hour.
	PasswordFor time.Duration
	// Holds says whether the one that a password was given to may still use it (see
	// [Element.Credential]). It may take a moment. With an error, what it said last stands. Nil:
	// everybody may.
	Holds func(ctx context.Context, user, by string) (bool, error)
	// Report is given what is seen of the calls. It is called from one goroutine, may take its
	// time, and is called again with what it returned an error for. Nil: nobody is told.
	Report func(context.Context, Report) error
	// Place reads a PIDF-LO document (RFC 4119) in which a trusted element says where somebody is (RFC
	// 6442). It is called while a call waits, so it asks nobody. Its error is logged, and the call goes on without
	// the place. Nil: nothing is read.
	Place func(doc []byte) (Place, error)
	// Memory keeps the calls that are up, for when the element is started again. Nil: it has none.
	Memory Memory
	// Lease is how long a report stands; calls that go on are reported again at half of it.
	// Zero: two minutes.
	Lease time.Duration
	// MaxQueue bounds the legs whose reports wait; MaxCalls, the transactions under way;
	// MaxBindings, the addresses registered. Zero: 10,000; 100,000; 100,000.
	MaxQueue, MaxTransactions, MaxBindings int
	// MaxConnections, and those that come from one address, or one /64 of IPv6 (loopback excepted). Zero: [MaxConnections]; 64.
	MaxConnections, MaxPerAddress int
	// T1 is the estimate of a round trip (RFC 3261 17.1.1.1). Zero: 500 ms.
	T1 time.Duration
	// Remote finds the address of a WebSocket's client. Nil: the connection's.
	Remote func(*http.Request) netip.Addr
	// Resolver of names; nil: the system's.
	Resolver *net.Resolver
	Logger   *slog.Logger
}

// complete checks the configuration and fills in what zero values stand for.
func (c Config) complete() (Config, error) {
	if c.Domain == "" || !hostChars.in(c.Domain) && !strings.Contains(c.Domain, ":") {
		return c, fmt.Errorf("%w: the domain %q is no host", ErrConfig, c.Domain)
	}
	if c.Secret == nil {
		c.Secret = make([]byte, 32)
		rand.Read(c.Secret)
	}
	if len(c.Secret) < 32 {
		return c, fmt.Errorf("%w: the secret has fewer than 32 bytes", ErrConfig)
	}
	if c.NextHop != "" {
		if u, ok := parseURI(c.NextHop); !ok || !u.isSIP() {
			return c, fmt.Errorf("%w: the next hop %q is no SIP URI such as sip:pbx.example;transport=tcp", ErrConfig, c.NextHop)
		}
	}
	for number, value := range c.Services {
		if u, ok := parseURI(value); !ok || !u.isSIP() {
			return c, fmt.Errorf("%w: the service %s leads to %q, which is no SIP URI", ErrConfig, number, value)
		}
	}
	for _, value := range c.Watch {
		if u, ok := parseURI(value); !ok || !u.isSIP() || u.user == "" {
			return c, fmt.Errorf("%w: %q cannot be watched; name a user such as sip:+442079460001@pbx.example.com", ErrConfig, value)
		}
	}
	if c.Host == "" {
		c.Host = c.Domain
		if host, _, err := net.SplitHostPort(c.Listen); err == nil {
			if a, err := netip.ParseAddr(host); err == nil && !a.IsUnspecified() {
				c.Host = host
			}
		}
	}
	for _, z := range []struct {
		value *int
		what  int
	}{{&c.MaxQueue, 10_000}, {&c.MaxTransactions, 100_000}, {&c.MaxBindings, 100_000}, {&c.MaxConnections, MaxConnections}, {&c.MaxPerAddress, 64}} {
		if *z.value == 0 {
			*z.value = z.what
		}
	}
	for _, z := range []struct {
		value *time.Duration
		what  time.Duration
	}{{&c.PasswordFor, time.Hour}, {&c.Lease, 2 * time.Minute}, {&c.T1, 500 * time.Millisecond}} {
		if *z.value == 0 {
			*z.value = z.what
		}
	}
	if c.Remote == nil {
		c.Remote = func(*http.Request) netip.Addr { return netip.Addr{} }
	}
	if c.Resolver == nil {
		c.Resolver = net.DefaultResolver
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

// Stats are the counts of this moment.
type Stats struct {
	// Requests and Responses taken; Faults: what was not well formed; Repeated requests;
	// Dropped datagrams for which there was no room; Unsent messages; RefusedConns.
	Requests, Responses, Faults, Repeated, Dropped, Unsent, RefusedConns int64
	// Answers given, by the hundreds of their status.
	Answers [7]int64
	// What there is now; Watched: the users whose calls another element tells us of; CallsKept: in
	// Memory.
	Transactions, Connections, Bindings, Watched, CallsKept, ReportsWaiting int64
	// Reports handed over, dropped since too many waited, and attempts that failed.
	Reports, ReportsDropped, ReportsFailed int64
	// Places that requests named, by what came of them, in words.
	Places map[string]int64
}

// counters of an Element.
type counters struct {
	Requests, Responses, Faults, Dropped, Unsent, Repeated, RefusedConns, Transactions, Watched atomic.Int64
	answers                                                                                     [7]atomic.Int64
	places                                                                                      [numPlaceOutcomes]atomic.Int64
}

// Stats returns the counts of this moment.
func (e *Element) Stats() Stats {
	c := &e.stats
	s := Stats{
		Requests: c.Requests.Load(), Responses: c.Responses.Load(), Faults: c.Faults.Load(), Repeated: c.Repeated.Load(), Dropped: c.Dropped.Load(),
		Unsent: c.Unsent.Load(), RefusedConns: c.RefusedConns.Load(), Transactions: c.Transactions.Load(),
		Connections: int64(e.conns.len()), Bindings: int64(e.location.len()), Watched: c.Watched.Load(),
	}
	for i := range s.Answers {
		s.Answers[i] = c.answers[i].Load()
	}
	s.Places = map[string]int64{}
	for i, words := range placeOutcomes {
		s.Places[words] = c.places[i].Load()
	}
	s.CallsKept = e.journal.count.Load()
	s.ReportsWaiting, s.Reports, s.ReportsDropped, s.ReportsFailed = e.queue.stats()
	return s
}

// Element is a SIP registrar and proxy.
type Element struct {
	cfg      Config
	log      *slog.Logger
	times    times
	shards   []*shard
	location *location
	conns    conns
	dials    singleflight.Group
	nonces   nonces
	holders  holders
	upgrader *gws.Upgrader
	queue    *queue
	journal  *journal
	stats    counters

	udp     *udpSocket
	streams []listener
	work    sync.WaitGroup // connections
	stopped chan struct{}  // closed when Run ends
	ending  context.Context
	end     context.CancelFunc
	keys    keys
	ports   []uint16 // that we listen on
}

type listener struct {
	net.Listener
	transport string
}

// New opens the addresses. The caller must call Run, which closes them. ErrConfig, ErrListen.
func New(cfg Config) (_ *Element, err error) {
	cfg, err = cfg.complete()
	if err != nil {
		return nil, err
	}
	e := &Element{
		cfg: cfg, log: cfg.Logger, times: times{cfg.T1, 8 * cfg.T1, 10 * cfg.T1}, location: newLocation(cfg.MaxBindings),
		conns: conns{all: map[uint64]*conn{}, byRemote: map[remoteKey]*conn{}, perAddr: map[string]int{}, refused: rate.Sometimes{Interval: refusalsEvery}}, stopped: make(chan struct{}),
	}
	e.ending, e.end = context.WithCancel(context.Background())
	if e.keys, err = newKeys(cfg.Secret); err != nil {
		return nil, err
	}
	e.upgrader = newUpgrader(e)
	e.queue = newQueue(cfg.Report, cfg.MaxQueue, e.log)
	e.journal = newJournal(cfg.Memory, cfg.MaxQueue, e.log)
	for range runtime.GOMAXPROCS(0) * 2 {
		e.shards = append(e.shards, newShard(e))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.closeListeners())
		}
	}()
	if cfg.Listen != "" {
		// UDP and TCP have the same port; with port 0, whichever is free for both.
		for try := 0; ; try++ {
			if err = e.listenBoth(cfg.Listen); err == nil || try == 10 || !strings.HasSuffix(cfg.Listen, ":0") {
				break
			}
		}
		if err != nil {
			return nil, err
		}
	}
	if cfg.TLSListen != "" {
		l, err := tls.Listen("tcp", cfg.TLSListen, e.serverTLS())
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrListen, err)
		}
		e.addStream(l, "TLS")
	}
	return e, nil
}

func (e *Element) listenBoth(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrListen, err)
	}
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(l.Addr().(*net.TCPAddr).AddrPort()))
	if err != nil {
		return errors.Join(fmt.Errorf("%w: %w", ErrListen, err), l.Close())
	}
	_ = u.SetReadBuffer(4 << 20) // as far as the system allows
	e.udp = &udpSocket{u, e}
	e.addStream(l, "TCP")
	return nil
}

func (e *Element) addStream(l net.Listener, transport string) {
	e.streams = append(e.streams, listener{l, transport})
	e.ports = append(e.ports, l.Addr().(*net.TCPAddr).AddrPort().Port())
}

// Close closes the addresses of an element that was never run.
func (e *Element) Close() error { return e.closeListeners() }

func (e *Element) closeListeners() error {
	var errs []error
	if e.udp != nil {
		errs = append(errs, e.udp.Close())
	}
	for _, l := range e.streams {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// Port that UDP, TCP or TLS listens on; 0: it does not.
func (e *Element) Port(transport string) uint16 {
	if transport == "UDP" && e.udp != nil {
		transport = "TCP" // the same
	}
	for _, l := range e.streams {
		if l.transport == transport {
			return l.Addr().(*net.TCPAddr).AddrPort().Port()
		}
	}
	return 0
}

// Run serves until ctx ends. Calls under way go on without the element, as far as the
// phones reach each other.
func (e *Element) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range e.shards {
		g.Go(func() error { return s.run(ctx) })
	}
	if e.udp != nil {
		g.Go(e.udp.read)
	}
	for _, l := range e.streams {
		g.Go(func() error { return e.accept(l, l.transport) })
	}
	g.Go(func() error { return e.queue.run(ctx) })
	g.Go(func() error { return e.remember(ctx) })
	g.Go(func() error { return e.location.run(ctx) })
	g.Go(func() error { return e.recheck(ctx) })
	g.Go(func() error { return e.silence(ctx) })
	for _, u := range e.cfg.Watch {
		e.watch(u)
	}
	<-ctx.Done()
	close(e.stopped)
	e.end()
	err := e.closeListeners()
	e.conns.stop()
	err = errors.Join(err, g.Wait())
	e.work.Wait()
	if err != nil {
		return fmt.Errorf("sip: %w", err)
	}
	return nil
}

// receive takes what a transport has read.
func (e *Element) receive(m *Message, fault *Fault, f *flow) {
	if m == nil {
		e.stats.Faults.Add(1)
		e.log.Debug("not a SIP message", "transport", f.transport, "remote", f.remote, "err", fault)
		return
	}
	if fault != nil {
		e.stats.Faults.Add(1)
		e.log.Debug("a malformed message", "transport", f.transport, "remote", f.remote, "method", m.Method, "err", fault)
		e.refuse(m, fault, f)
		return
	}
	do := func(s *shard) func() {
		if m.IsRequest() {
			e.stats.Requests.Add(1)
			f.stamp(m)
			return func() { s.request(m, f) }
		}
		e.stats.Responses.Add(1)
		return func() { s.response(m) }
	}
	s := e.shardOf(m.Get(CallID))
	if who, ok := e.unknown(m); ok && m.IsRequest() {
		e.work.Go(func() {
			if _, err := e.look(e.ending, who); err != nil && e.ending.Err() == nil {
				e.log.Warn("it cannot be found out whether a SIP password still holds", "err", err)
			}
			s.do(do(s))
		})
		return
	}
	if f.reliable() {
		s.do(do(s))
	} else if !s.tryDo(do(s)) {
		e.stats.Dropped.Add(1)
	}
}

// refuse answers a request that is not well formed, if it says where to, without keeping
// anything of it. Never an ACK, nor a response (RFC 3261 8.1.3.1, 17.1.1.3).
func (e *Element) refuse(m *Message, fault *Fault, f *flow) {
	if !m.IsRequest() || m.Method == "ACK" || !m.Has(Via) {
		return
	}
	back := f // where it came from, if Via cannot be read
	if v, ok := parseVia(m.Top(Via)); ok {
		back = f.backTo(v)
		f.stamp(m)
	}
	r := m.Response(fault.Status, fault.Reason)
	if to := r.Get(To); closed(to) && !strings.Contains(strings.ToLower(to), ";tag=") && to != "" {
		r.Set(To, to+";tag="+e.tagFor(serverKey(m, m.Method))) // by which its ACK is known
	}
	if fault.Unsupported != "" {
		r.Add(Unsupported, fault.Unsupported)
	}
	e.count(fault.Status)
	back.send(r.Encode())
}

func (e *Element) count(status int) { e.stats.answers[status/100].Add(1) }

// trusts reports whether the other end of the flow is an element whose word is taken.
func (e *Element) trusts(f *flow) bool {
	return e.inside(f.remote.Addr()) || e.trustedConn(f.conn)
}

// inside: the address is of the networks whose word is taken.
func (e *Element) inside(a netip.Addr) bool {
	return slices.ContainsFunc(e.cfg.Trusted, func(p netip.Prefix) bool { return p.Contains(a) })
}
