// Package server puts Tandem together: it is the one place that knows every part.
//
// [New] opens the engine, makes the parts from the ground up and joins them through
// their ports; [Server.Run] serves until its context ends, then drains. What joins two
// parts stands in the file named for the nearer one: devices.go, calls.go, sessions.go,
// operator.go, socket.go.
package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/internal/agent"
	"github.com/tandem-call/tandem/internal/audit"
	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/coupling"
	"github.com/tandem-call/tandem/internal/credential"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/atlas"
	"github.com/tandem-call/tandem/internal/edge/fetch"
	"github.com/tandem-call/tandem/internal/edge/network/ivr"
	"github.com/tandem-call/tandem/internal/edge/network/sip"
	"github.com/tandem-call/tandem/internal/edge/push/sms"
	"github.com/tandem-call/tandem/internal/edge/push/webpush"
	"github.com/tandem-call/tandem/internal/edge/transport/fileapi"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/edge/transport/tlscert"
	"github.com/tandem-call/tandem/internal/edge/transport/webpages"
	"github.com/tandem-call/tandem/internal/edge/transport/wsconn"
	"github.com/tandem-call/tandem/internal/files"
	"github.com/tandem-call/tandem/internal/guest"
	"github.com/tandem-call/tandem/internal/notify"
	"github.com/tandem-call/tandem/internal/overlay"
	"github.com/tandem-call/tandem/internal/party"
	"github.com/tandem-call/tandem/internal/passport"
	"github.com/tandem-call/tandem/internal/payment"
	"github.com/tandem-call/tandem/internal/place"
	"github.com/tandem-call/tandem/internal/profile"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/internal/store/archive"
	"github.com/tandem-call/tandem/internal/tenant"
	"github.com/tandem-call/tandem/internal/webhook"
	document "github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/wire"
)

// AdminSocket is the name of the operator's socket in the data directory. Whoever can
// open it, by the permissions of the file, is the operator.
const AdminSocket = "admin.sock"

// FilesDir is where files are kept, in the data directory.
const FilesDir = "files"

// adminCredential is what the operator's socket stands for.
const adminCredential = "admin-socket"

// drainTime is how long a stop may take.
const drainTime = 20 * time.Second

// Options are what is not configuration.
type Options struct {
	Version string
	Logger  *slog.Logger
	// Show prints a one-time code of the development sender.
	Show func(line string)
	// Listener to serve on instead of Config.Listen; may be nil.
	Listener net.Listener
}

// Server is a Tandem node.
type Server struct {
	cfg Config
	log *slog.Logger

	engine   store.Engine
	parties  *party.Directory
	codes    *pacedSender
	devices  *device.Registry
	auth     *device.Authenticator
	keys     *credential.Store
	tenants  *tenant.Registry
	audit    *audit.Log
	sessions *session.Service
	matcher  *call.Matcher
	couples  *coupling.Service
	people   *profile.Service
	places   *place.Service
	atlas    *atlas.Atlas
	agents   *agent.Service
	overlays *overlay.Service
	payments *payment.Service
	// toProviders asks the servers of providers.
	toProviders *fetch.Fetcher
	files       *files.Service
	hooks       *webhook.Service
	wakes       *notify.Service
	web         *webpush.Pusher
	guests      *guest.Service
	// texts is nil where nobody is invited by text message.
	texts *sms.Inviter
	// What becomes of those messages.
	textsRefused, textsDelivered, textsFailed, textsStopped, textsResumed atomic.Uint64
	// demands are the features that ask for more evidence than a session does.
	demands map[string]Least
	// passports is nil where no roots are configured.
	passports *passport.Verifier
	lately    lately
	limits    limiters
	sockets   *wsconn.Handler
	streams   *streams
	// sip is nil where no phones register.
	sip     *sip.Element
	beyond  beyond
	service *ivr.Server // of couplings.service_number; nil: none
	tryIt   *tryIt

	listener net.Listener
	tls      *tls.Config
	handler  http.Handler
	draining atomic.Bool
	// reminding are the devices that have come and are being told what waits for them.
	reminding sync.WaitGroup
	onScreen  onScreen
}

// New opens the engine and makes the parts. The caller must call Run, which closes them.
func New(ctx context.Context, cfg Config, o Options) (_ *Server, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: o.Logger, demands: cfg.Evidence.Features.demands()}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("server: data directory: %w", err)
	}
	if s.engine, err = openEngine(ctx, cfg, o.Logger); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.engine.Close())
		}
	}()
	if err := archive.Finished(ctx, s.engine); err != nil {
		return nil, fmt.Errorf("server: %w; empty it and import again", err)
	}
	if err := s.core(ctx, o); err != nil {
		return nil, err
	}
	if err := s.edge(ctx, o); err != nil {
		return nil, err
	}
	return s, nil
}

// core makes the floors below the edge.
func (s *Server) core(ctx context.Context, o Options) (err error) {
	if s.audit, err = audit.New(audit.Config{Engine: s.engine, Retention: s.cfg.Retention.Audit, Log: s.log}); err != nil {
		return fmt.Errorf("server: audit: %w", err)
	}
	if s.tenants, err = tenant.Open(ctx, s.engine, nil); err != nil {
		return fmt.Errorf("server: tenants: %w", err)
	}
	s.parties = party.New(s.engine, nil)
	s.parties.AlsoForget(s.forgotten)
	if s.hooks, err = s.newWebhooks(ctx, o.Version); err != nil {
		return fmt.Errorf("server: webhooks: %w", err)
	}
	sender, via, err := codeSender(s.cfg, o.Show)
	if err != nil {
		return err
	}
	if err := s.newTexts(sender); err != nil {
		return fmt.Errorf("server: texts: %w", err)
	}
	if err := s.newPushes(ctx, o.Version); err != nil {
		return fmt.Errorf("server: push: %w", err)
	}
	if s.tryIt, err = newTryIt(s.cfg, o.Version); err != nil {
		return err
	}
	s.codes = &pacedSender{Sender: s.tryIt.watch(sender)}
	mail, err := mailer(s.cfg, o.Show)
	if err != nil {
		return fmt.Errorf("server: mail: %w", err)
	}
	s.devices, err = device.New(ctx, device.Config{
		Engine: s.engine, Parties: s.parties, Sender: s.codes, Mailer: mail, Via: via, Unlimited: s.tryIt.fictional,
		BindingTTL: time.Duration(s.cfg.Codes.BindingDays) * 24 * time.Hour,
		Alert:      s.alertEarlier, OnRevoke: s.closeRevoked, Changing: s.changing, CheckApp: s.checkApp, Barred: s.numberBarred, Log: s.log,
		Shared: s.cfg.Engine.NATS != "",
	})
	if err != nil {
		return fmt.Errorf("server: devices: %w", err)
	}
	s.auth = device.NewAuthenticator(s.devices, 0)
	s.couples, err = coupling.New(ctx, coupling.Config{
		Engine: s.engine, Devices: s.devices, Made: s.coupled, Ended: s.uncoupled, Barred: s.numberBarred,
		CodeTTL: s.cfg.Couplings.CodeTTL, Lease: s.cfg.Couplings.Lease, PerNumber: s.cfg.Couplings.PerNumber, Log: s.log,
	})
	if err != nil {
		return fmt.Errorf("server: couplings: %w", err)
	}
	if s.people, err = s.newProfiles(ctx); err != nil {
		return fmt.Errorf("server: profiles: %w", err)
	}
	if s.places, err = s.newPlaces(ctx); err != nil {
		return fmt.Errorf("server: places: %w", err)
	}
	if s.atlas, err = s.newAtlas(o.Version); err != nil {
		return fmt.Errorf("server: maps: %w", err)
	}
	if s.agents, err = s.newAgents(ctx); err != nil {
		return fmt.Errorf("server: agents: %w", err)
	}
	if s.overlays, err = s.newOverlays(ctx, o.Version); err != nil {
		return fmt.Errorf("server: overlays: %w", err)
	}
	if s.payments, err = s.newPayments(); err != nil {
		return fmt.Errorf("server: payments: %w", err)
	}
	if s.keys, err = credential.Open(credential.Config{Engine: s.engine}); err != nil {
		return fmt.Errorf("server: credentials: %w", err)
	}
	s.sessions, err = session.New(session.Config{
		Records:  store.TableOf[session.Record](s.engine, "sessions"),
		ByDevice: store.TableOf[session.Place](s.engine, "session-devices"),
		Alarms:   store.TableOf[session.Alarm](s.engine, "session-alarms"),
		Log:      s.engine, Bus: s.engine, Watcher: watcher{s}, Observer: observer{s}, Absent: s.dataWaits, Names: names{s.devices}, Blocks: s.parties,
		Kinds:  map[string]func(json.RawMessage) error{document.Kind: checkOverlay},
		Limits: s.cfg.limits(), Keep: s.cfg.Sessions.Retention, KeepDetails: min(s.cfg.Calls.Retention, s.cfg.Sessions.Retention),
		Logger: s.log,
	})
	if err != nil {
		return fmt.Errorf("server: sessions: %w", err)
	}
	if s.passports, err = s.newPassports(o.Version); err != nil {
		return fmt.Errorf("server: evidence: %w", err)
	}
	s.matcher, err = call.New(call.Config{
		Records:   store.TableOf[call.Record](s.engine, "calls"),
		Index:     store.TableOf[call.IndexEntry](s.engine, "calls-by-party"),
		Directory: directory{s}, Sessions: opener{s}, Notifier: notifier{s}, Invitable: s.invitable, TellParty: s.tellParty, Release: s.released,
		Rules: call.Rules{
			Lease: s.cfg.Calls.Lease, Skew: s.cfg.Calls.ClockSkew, InviteDelay: s.cfg.Calls.InviteDelay,
			QuestionsPerHour: s.cfg.Calls.InvitesPerHour, Partial: s.cfg.Calls.PartialDetails, Retention: s.cfg.Calls.Retention,
			MinSession: s.cfg.Evidence.Minimum.Session, MinInvitation: s.cfg.Evidence.Minimum.Invitation,
		},
		Look: s.sessions.Look, Again: notifier{s}.again,
		Rescan: s.cfg.Calls.Rescan,
		Log:    s.log,
	})
	if err != nil {
		return fmt.Errorf("server: calls: %w", err)
	}
	if s.cfg.Engine.NATS != "" { // each look-up is a way to another machine and back
		s.matcher.Foresight = directory{s}
	}
	disk, index, err := s.openFiles(ctx)
	if err != nil {
		return fmt.Errorf("server: files: %w", err)
	}
	s.files, err = files.Open(ctx, files.Config{
		Records: store.TableOf[files.Record](s.engine, "files"), BySession: index, Disk: disk,
		Access: access{s}, Offer: s.offerFile, Progress: s.fileProgress,
		Limits: files.Limits{
			FileBytes: s.cfg.Files.MaxMiB << 20, SessionBytes: s.cfg.Files.SessionMiB << 20, Headroom: int64(s.cfg.Engine.HeadroomMiB) << 20,
		},
		UnfinishedFor: s.cfg.Files.UnfinishedFor, Log: s.log,
	})
	if err != nil {
		return fmt.Errorf("server: files: %w", err)
	}
	return nil
}

// edge makes the transports.
func (s *Server) edge(ctx context.Context, o Options) (err error) {
	if s.listener = o.Listener; s.listener == nil {
		if s.listener, err = net.Listen("tcp", s.cfg.Listen); err != nil {
			return fmt.Errorf("server: listen: %w", err)
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.listener.Close())
		}
	}()
	s.tls, err = tlscert.New(ctx, tlscert.Config{
		Mode: s.cfg.TLS.Mode, Cert: s.cfg.TLS.Cert, Key: s.cfg.TLS.Key, Names: s.cfg.TLS.Names, Email: s.cfg.TLS.Email,
		Directory: s.cfg.TLS.Directory, Roots: s.cfg.TLS.Roots, Dir: filepath.Join(s.cfg.Data, "tls"), Port: port(s.listener), Logger: s.log,
	})
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	if s.tls != nil && s.cfg.TLS.ClientCertificates {
		s.tls.ClientAuth = tls.RequestClientCert
	}
	s.streams = newStreams(s)
	sockets := wsconn.Config{
		Backend: socket{s}, Origins: s.cfg.originHosts(), Heartbeat: s.cfg.Limits.Heartbeat,
		MaxConnsPerDevice: s.cfg.Limits.DeviceConnections, MaxPendingPerAddr: s.cfg.Limits.PendingPerAddress,
		Limits: s.cfg.limits(), RemoteAddr: s.remote, Logger: s.log,
	}
	if s.cfg.Engine.NATS != "" { // otherwise there is no other node to wait for
		sockets.Elsewhere = s.streams.elsewhere
	}
	if s.sockets, err = wsconn.New(sockets); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	mux := http.NewServeMux()
	var api *httpapi.API
	s.limits = s.newLimiters(func(r *http.Request) (httpapi.Caller, error) { return api.Caller(r) })
	api = httpapi.New(mux, httpapi.Config{
		Version: o.Version, MaxBody: 1 << 20,
		Auth: auth{s}, Enrolment: enrolment{s}, Devices: devices{s}, Calls: calls{s}, Couplings: couplings{s}, Sessions: sessions{s}, Operator: operator{s}, Webhooks: hooksAPI{s}, Bars: bars{s}, Tenants: tenants{s}, Pushes: pushes{s}, Pages: s.tryIt, Guests: guests{s}, Profiles: profiles{s}, Blocks: blocks{s}, Places: places{s}, Overlays: overlays{s}, Payments: payments{s}, Agents: agents{s},
		Ready: s.ready, Metrics: s.metrics(o.Version), Remote: s.remote, Logger: s.log,
	})
	uploads, err := fileapi.New(fileapi.Config{Files: s.files, Who: func(r *http.Request) (wire.TenantID, wire.DeviceID, error) {
		who, err := api.Caller(r)
		if err == nil && who.Role != httpapi.RoleDevice {
			err = wire.NewProblem(wire.CodeUnauthenticated, "files are for devices: send a device's bearer token")
		}
		return who.Tenant, who.Device, err
	}, Log: s.log})
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	mux.Handle(fileapi.BasePath, uploads)
	s.atlas.Mount(mux)
	pages, err := webpages.New(webpages.Config{Phones: s.tryIt.hosts(), Parent: tryHost, Connect: s.cfg.Maps.origins()})
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	pages.Mount(mux)
	mux.HandleFunc("GET "+linkPath+"{id}", openPage)
	// The devices' connections answer for other methods and origins themselves.
	limited := s.limits.http.Handler
	all := http.NewServeMux()
	all.Handle("/v1/connect", limited(http.HandlerFunc(s.sockets.Connect)))
	all.Handle("/v1/events", limited(http.HandlerFunc(s.sockets.Events)))
	all.Handle("/v1/frames", limited(http.HandlerFunc(s.sockets.Frames)))
	all.Handle(SIPPath, limited(s.sockets.Guard(http.HandlerFunc(s.serveSIP))))
	all.Handle("/", httpapi.CORS{
		Handler: limited(mux), Origins: s.cfg.Origins, Methods: fileapi.AllowMethods, Headers: fileapi.AllowHeaders,
		Expose: fileapi.ExposeHeaders + ", Retry-After, RateLimit, RateLimit-Policy, WWW-Authenticate",
	})
	s.handler = s.hosts(certificates(headers(all)))
	s.sip, err = s.newSIP(ctx)
	return err
}

// port of a TCP listener.
func port(l net.Listener) int {
	a, _ := l.Addr().(*net.TCPAddr)
	if a == nil {
		return 0
	}
	return a.Port
}

// Addr is the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Durability says what an acknowledgement means.
func (s *Server) Durability() string { return s.engine.Durability() }

// Run serves until ctx ends, then drains: no new connections, the open ones are told to
// come back elsewhere, what was taken is stored; and closes the engine.
func (s *Server) Run(ctx context.Context) error {
	admin, err := s.listenAdmin()
	if err != nil {
		return errors.Join(err, s.closeSIP(), s.listener.Close(), s.engine.Close())
	}
	// The parts outlive ctx until the connections are drained.
	parts, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	for _, watch := range []func(context.Context) (func(), error){s.watchRevoked, s.watchTold, s.watchStreams, s.watchTenants, s.watchSecret} {
		cancel, err := watch(parts)
		if err != nil {
			return errors.Join(fmt.Errorf("server: bus: %w", err), admin.Close(), s.closeSIP(), s.listener.Close(), s.engine.Close())
		}
		defer cancel()
	}
	group, gctx := errgroup.WithContext(parts)
	for _, run := range s.parts() {
		group.Go(func() error {
			if err := run(gctx); gctx.Err() == nil || !errors.Is(err, context.Canceled) {
				return err
			}
			return nil // stopped before it had begun
		})
	}

	public := &http.Server{
		Handler: s.handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	private := &http.Server{
		Handler: s.private(s.handler), ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	l := s.listener
	if s.tls != nil {
		l = tls.NewListener(l, s.tls)
	}
	group.Go(func() error { return ignoreClosed(public.Serve(l)) })
	group.Go(func() error { return ignoreClosed(private.Serve(admin)) })

	select {
	case <-ctx.Done():
	case <-gctx.Done(): // a part failed
	}
	s.draining.Store(true)
	s.log.Info("draining: devices are told to come back")
	dctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	errs := []error{s.sockets.Drain(dctx), shutdown(dctx, public), shutdown(dctx, private)}
	stop()
	s.reminding.Wait()
	errs = append(errs, group.Wait(), s.engine.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	s.log.Info("stopped in good order")
	return nil
}

// parts are what runs beside the listeners.
func (s *Server) parts() []func(context.Context) error {
	parts := []func(context.Context) error{
		s.sessions.Run, s.matcher.Run, s.couples.Run, s.people.Run, s.places.Run, s.agents.Run, s.overlays.Run, s.payments.Run, s.files.Run, s.audit.Run, s.hooks.Run, s.wakes.Run, s.recoverEvents, s.sweep, s.sweepLapsed, s.lookAtScreens,
	}
	if s.sip != nil {
		parts = append(parts, s.sip.Run)
	}
	if s.service != nil {
		parts = append(parts, s.serveService)
	}
	return parts
}

// shutdown waits for requests under way, and cuts them off when their time is over.
func shutdown(ctx context.Context, h *http.Server) error {
	if err := h.Shutdown(ctx); err != nil {
		return h.Close()
	}
	return nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// listenAdmin opens the operator's socket, for this user only.
func (s *Server) listenAdmin() (net.Listener, error) {
	path := filepath.Join(s.cfg.Data, AdminSocket)
	// The engine's lock says that no other server runs here: what is left is stale.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("server: admin socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("server: admin socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("server: admin socket: %w", err), l.Close())
	}
	return l, nil
}

// sweep removes what nobody asks for any more.
func (s *Server) sweep(ctx context.Context) error {
	t := time.NewTicker(5 * time.Minute)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			s.reloadTenants(ctx)
			s.reloadSecret(ctx)
			s.closeGone(ctx)
			if _, err := s.devices.Sweep(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("sweeping enrolments", "err", err)
			}
			if _, err := s.guests.Sweep(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("sweeping links", "err", err)
			}
			if s.passports == nil {
				continue
			}
			if _, err := s.passports.Sweep(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("sweeping PASSporTs", "err", err)
			}
		}
	}
}

// ready returns nil while requests should come here.
func (s *Server) ready(context.Context) error {
	if s.draining.Load() {
		return errors.New("draining")
	}
	return s.engine.Err()
}

// remote returns the client's address: the connection's, or, when that is a trusted
// proxy's, the last address in X-Forwarded-For that is not.
func (s *Server) remote(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{} // the admin socket
	}
	addr := ap.Addr().Unmap()
	return throughProxies(addr, r.Header.Values("X-Forwarded-For"), s.cfg.trusted)
}

// headers are sent with every answer. Nothing here is a page with scripts, and what is
// said to one caller is no other's.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Cache-Control", "no-store")
		if r.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}
