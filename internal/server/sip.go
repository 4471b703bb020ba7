package server

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // the TURN REST API knows nothing else
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tandem-call/tandem/internal/agent"
	"github.com/tandem-call/tandem/internal/audit"
	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/network/sip"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/edge/transport/tlscert"
	"github.com/tandem-call/tandem/internal/place"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// SIPPath is where SIP over WebSocket is spoken (RFC 7118).
const SIPPath = "/sip"

// sipReporter names the element among the reporters.
const sipReporter = "sip"

// Modes of the SIP element.
const (
	SIPAuto   = "auto"
	SIPOff    = "off"
	SIPOpen   = "open"
	SIPDigest = "digest"
)

// SIP is the network element that phones register at.
type SIP struct {
	// Mode is auto, off, open or digest.
	Mode string `koanf:"mode"`
	// Listen is the address of UDP and TCP; TLSListen that of TLS, with the certificate of tls.
	// Empty: WebSocket only.
	Listen    string `koanf:"listen"`
	TLSListen string `koanf:"tls_listen"`
	// Domain of the phones' addresses; empty: the host of the server's own address.
	Domain string `koanf:"domain"`
	// Host that other elements and phones reach us at; empty: the address of Listen.
	Host string `koanf:"host"`
	// Ranges are the number prefixes that the element reports calls of; empty: all.
	Ranges []string `koanf:"ranges"`
	// Trusted are the networks of elements whose word on identities is taken.
	Trusted []string `koanf:"trusted"`
	// TrustedNames are the SIP domains of such elements that prove who they are by a certificate
	// (RFC 5922); TLSRoots is a PEM file with the authorities of elements' certificates; empty: the
	// system's.
	TrustedNames []string `koanf:"trusted_names"`
	TLSRoots     string   `koanf:"tls_roots"`
	// TrustedFrom: the service number believes the From of a trusted element that asserts nobody.
	TrustedFrom bool `koanf:"trusted_from"`
	// NextHop is where calls go that nobody here answers to.
	NextHop string `koanf:"next_hop"`
	// Watch are the SIP URIs of users at other elements whose calls are watched; WatchUser and
	// WatchPassword are for those who ask for them.
	Watch         []string `koanf:"watch"`
	WatchUser     string   `koanf:"watch_user"`
	WatchPassword string   `koanf:"watch_password"`
	// ConnectionsPerAddress are the most connections from one address, or one /64 of IPv6.
	ConnectionsPerAddress int `koanf:"connections_per_address"`
	// PasswordFor is how long a softphone's password holds.
	PasswordFor time.Duration `koanf:"password_for"`
	// ICE are the addresses of STUN and TURN servers for softphones; TURNSecret makes the
	// passwords of TURN.
	ICE        []string `koanf:"ice"`
	TURNSecret string   `koanf:"turn_secret"`
}

// mode that auto stands for: open where only this machine can reach us, or else off.
func (c Config) sipMode() string {
	switch {
	case c.SIP.Mode != SIPAuto:
		return c.SIP.Mode
	case c.loopback() && c.TLS.Mode == tlscert.Off && loopback(c.SIP.Listen):
		return SIPOpen
	}
	return SIPOff
}

func (c Config) sipDomain() string {
	if c.SIP.Domain != "" {
		return c.SIP.Domain
	}
	u, err := url.Parse(c.URL())
	if err != nil {
		return ""
	}
	return u.Hostname()
}

func (c Config) validateSIP(fault func(ok bool, format string, args ...any)) {
	s := c.SIP
	fault(slices.Contains([]string{SIPAuto, SIPOff, SIPOpen, SIPDigest}, s.Mode), "sip.mode: %q; use auto, off, open or digest", s.Mode)
	fault(s.Mode != SIPOpen || c.loopback() && loopback(s.Listen) && loopback(s.TLSListen),
		"sip.mode: open lets anybody register any number and is for loopback only; use digest")
	for name, addr := range map[string]string{"listen": s.Listen, "tls_listen": s.TLSListen} {
		_, _, err := net.SplitHostPort(addr)
		fault(addr == "" || err == nil, "sip.%s: %q is not host:port", name, addr)
	}
	fault(s.TLSListen == "" || c.TLS.Mode != tlscert.Off && c.TLS.Mode != tlscert.Proxy, "sip.tls_listen: there is no certificate with tls.mode %s", c.TLS.Mode)
	for _, n := range s.Trusted {
		_, err := netip.ParsePrefix(n)
		fault(err == nil, "sip.trusted: %q is not a network such as 10.0.0.0/8", n)
	}
	for _, n := range s.TrustedNames {
		fault(n != "" && !strings.ContainsAny(n, "*/:@ "), "sip.trusted_names: %q is not a domain such as pbx.example.com, without wildcards", n)
	}
	for _, r := range s.Ranges {
		fault(strings.HasPrefix(r, "+") && len(r) > 1 && strings.Trim(r[1:], "0123456789") == "", "sip.ranges: %q is not the beginning of a number such as +44207946", r)
	}
	fault(s.ConnectionsPerAddress >= 1 && s.ConnectionsPerAddress <= sip.MaxConnections, "sip.connections_per_address: from 1 to %d", sip.MaxConnections)
	fault(s.PasswordFor >= time.Minute && s.PasswordFor <= 24*time.Hour, "sip.password_for: from 1m to 24h")
	for _, u := range s.ICE {
		scheme, _, _ := strings.Cut(u, ":")
		fault(slices.Contains([]string{"stun", "stuns", "turn", "turns"}, scheme), "sip.ice: %q is no address such as stun:stun.example.com", u)
	}
}

// loopback: an address, or none, that only this machine can reach.
func loopback(addr string) bool {
	if addr == "" {
		return true
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// sipSecret is the element's own secret, shared by all nodes: the record "sip" of the
// table "keys".
type sipSecret struct {
	Secret  []byte    `json:"secret"`
	Created time.Time `json:"created"`
}

// newSIP makes the element; nil where there is none.
func (s *Server) newSIP(ctx context.Context) (*sip.Element, error) {
	mode := s.cfg.sipMode()
	if mode == SIPOff {
		return nil, nil
	}
	fresh := sipSecret{Secret: make([]byte, 32), Created: time.Now()}
	rand.Read(fresh.Secret)
	secret, err := store.Change(ctx, store.TableOf[sipSecret](s.engine, "keys"), store.Key("sip"), func(old sipSecret, exists bool) (sipSecret, bool, error) {
		if exists {
			return old, false, nil
		}
		return fresh, true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("server: sip: %w", err)
	}
	memory, err := s.newSIPMemory()
	if err != nil {
		return nil, err
	}
	c := sip.Config{
		Memory: memory, Domain: s.cfg.sipDomain(), Listen: s.cfg.SIP.Listen, TLSListen: s.cfg.SIP.TLSListen, TLS: s.tls, Host: s.cfg.SIP.Host,
		WebPort: uint16(port(s.listener)), Open: mode == SIPOpen, TrustedFrom: s.cfg.SIP.TrustedFrom, MaxPerAddress: s.cfg.SIP.ConnectionsPerAddress, NextHop: s.cfg.SIP.NextHop, Secret: secret.Secret, PasswordFor: s.cfg.SIP.PasswordFor,
		Watch: s.cfg.SIP.Watch, WatchUser: s.cfg.SIP.WatchUser, WatchPassword: s.cfg.SIP.WatchPassword,
		Holds: s.mayRegister, Report: s.reportSIP, Place: readPlace, Lease: s.cfg.Calls.Lease, Remote: s.remote, Logger: s.log,
	}
	if c.TrustedNames = s.cfg.SIP.TrustedNames; s.cfg.SIP.TLSRoots != "" {
		if c.TLSRoots, err = pemRoots("sip.tls_roots", s.cfg.SIP.TLSRoots); err != nil {
			return nil, err
		}
	}
	if s.service, err = s.newService(); err != nil {
		return nil, err
	}
	if s.service != nil {
		c.Services = map[string]string{s.cfg.Couplings.ServiceNumber: s.service.URI()}
	}
	for _, n := range s.cfg.SIP.Trusted {
		c.Trusted = append(c.Trusted, netip.MustParsePrefix(n)) // checked by Validate
	}
	e, err := sip.New(c)
	if errors.Is(err, sip.ErrListen) && s.cfg.SIP.Mode == SIPAuto {
		s.log.Warn("another program uses the SIP port: phones can register over WebSocket only; set sip.listen to another address", "err", err)
		c.Listen = ""
		e, err = sip.New(c)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("server: %w", err), s.closeService())
	}
	if mode == SIPOpen {
		s.log.Info("SIP: phones on this machine may register any number, without a password", "udp and tcp", e.Port("TCP"), "websocket", SIPPath)
	} else {
		s.log.Info("SIP: phones register with a password", "domain", c.Domain, "udp and tcp", e.Port("TCP"), "tls", e.Port("TLS"), "websocket", SIPPath)
	}
	return e, nil
}

// closeSIP closes an element that was never run.
func (s *Server) closeSIP() error {
	if s.sip == nil {
		return nil
	}
	return errors.Join(s.sip.Close(), s.closeService())
}

// serveSIP speaks SIP over WebSocket.
func (s *Server) serveSIP(w http.ResponseWriter, r *http.Request) {
	switch {
	case s.sip == nil:
		httpapi.WriteProblem(w, noSIP())
	case s.cfg.sipMode() == SIPOpen && !s.here(r.Host):
		httpapi.WriteProblem(w, wire.NewProblem(wire.CodeForbidden, "anybody on this machine may register here, but no page of another host; ask for localhost"))
	default:
		s.sip.WebSocket(w, r)
	}
}

// here: a request asked for this machine by name, also by one below localhost (RFC 6761 6.3), as
// the phones of Try it do. A page of a foreign host, whose name was made to lead here (DNS
// rebinding), has asked for that host.
func (s *Server) here(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	_, err := netip.ParseAddr(host)
	return err == nil || strings.EqualFold(host, s.cfg.sipDomain()) || strings.HasSuffix("."+strings.ToLower(host), ".localhost")
}

func noSIP() *wire.Problem {
	return wire.NewProblem(wire.CodeNotFound, "no telephones register at this server; its operator can set sip.mode")
}

// reportSIP takes what the element saw of a call to the matcher. The element speaks for its
// ranges, and is as good as the identities that it has checked.
func (s *Server) reportSIP(ctx context.Context, r sip.Report) error {
	if !s.speaks(r.Own) {
		s.outOfRange(time.Now())
		return fmt.Errorf("%w: the number is outside of sip.ranges", sip.ErrRefused)
	}
	if !r.Dialled.IsZero() && !s.speaks(r.Dialled) {
		r.Dialled = tel.Identity{} // who diverts is not ours
	}
	ctx, cancel := context.WithTimeout(ctx, slowRequests)
	defer cancel()
	report := call.Report{
		Tenant:   wire.DefaultTenant,
		Reporter: call.Reporter{Kind: call.ByElement, ID: sipReporter, Evidence: call.Observed},
		Report:   wire.Report{PartyDetails: r.PartyDetails, Seq: r.Seq, At: r.At, TTLSeconds: int(r.Lease.Seconds())},
	}
	if r.Vouched {
		report.Reporter.Evidence = call.Trusted
	}
	var err error
	if report.Raw, err = json.Marshal(report.Report); err != nil {
		return fmt.Errorf("%w: %w", sip.ErrRefused, err)
	}
	if err := (calls{s}).vouched(ctx, &report, r.Passports); err != nil {
		s.log.Info("a PASSporT of a call does not hold", "err", err) // whose it was may be withheld
	}
	if barred, err := s.barredCall(ctx, report); barred || err != nil {
		return err
	}
	if err := s.seat(ctx, &report); err != nil {
		return err
	}
	o, err := s.matcher.Report(ctx, report)
	if err != nil {
		if errors.Is(err, call.ErrReport) {
			err = fmt.Errorf("%w: %w", sip.ErrRefused, err)
		}
		return err
	}
	if err := s.reported(ctx, report, o); err != nil {
		return err
	}
	var where placed
	if p := r.Place; p != nil {
		where = placed{place: &p.Where, where: p.Where, until: p.Until}
	}
	return s.placed(ctx, report, where)
}

// readPlace reads a place for the element as that of any other network's report.
func readPlace(doc []byte) (sip.Place, error) {
	where, until, err := place.Reported(nil, string(doc))
	return sip.Place{Where: where, Until: until}, err
}

// beyond counts reports outside of sip.ranges.
type beyond struct {
	all   atomic.Uint64
	since atomic.Uint64 // those since the newest entry in the audit log
	noted atomic.Int64  // when that was, in seconds
}

// outOfRange notes a report outside of sip.ranges. The far side of every call to the outside is one,
// so the audit log has one entry an hour at most, with their number.
func (s *Server) outOfRange(now time.Time) {
	s.beyond.all.Add(1)
	s.beyond.since.Add(1)
	last := s.beyond.noted.Load()
	if now.Unix()-last < int64(time.Hour/time.Second) || !s.beyond.noted.CompareAndSwap(last, now.Unix()) {
		return
	}
	who := httpapi.Caller{Tenant: wire.DefaultTenant, Role: httpapi.RoleElement, Credential: sipReporter}
	n := strconv.FormatUint(s.beyond.since.Swap(0), 10)
	_ = s.refused(who, audit.Record{What: audit.ReportRefused, Details: map[string]string{"reports": n}}, wire.NewProblem(wire.CodeForbidden, ""))
}

// speaks: the element may report for the party.
func (s *Server) speaks(own tel.Identity) bool {
	if len(s.cfg.SIP.Ranges) == 0 {
		return true
	}
	n, ok := own.Number()
	return ok && slices.ContainsFunc(s.cfg.SIP.Ranges, func(r string) bool { return strings.HasPrefix(n.String(), r) })
}

// Softphone says how a device registers as its own number.
func (s devices) Softphone(ctx context.Context, who httpapi.Caller) (wire.Softphone, error) {
	if s.sip == nil || who.Tenant != wire.DefaultTenant {
		return wire.Softphone{}, noSIP()
	}
	now := time.Now()
	d, err := s.Server.devices.Get(ctx, who.Tenant, who.Device)
	if err == nil {
		err = d.Check(now)
	}
	if err != nil {
		return wire.Softphone{}, problem(s.log, "softphone", err)
	}
	number := d.Current(now)[0].Number // Check has seen one
	user := number.String()
	if d.Agent() {
		a, err := s.agents.Of(ctx, who.Tenant, who.Device)
		if err != nil {
			return wire.Softphone{}, problem(s.log, "softphone", err)
		}
		user = sip.Extended(user, a.Extension)
	} else if !s.isTelephone(d, number, now) {
		return wire.Softphone{}, wire.NewProblem(wire.CodeForbidden, "only a device that has proved the number itself, as well as calls ask for, can be its telephone")
	}
	name, password, expires := s.sip.Credential(user, string(d.ID), now)
	domain := s.cfg.sipDomain()
	if strings.Contains(domain, ":") {
		domain = "[" + domain + "]"
	}
	return wire.Softphone{
		URI: "sip:" + user + "@" + domain + ";user=phone", WebSocketURL: "ws" + strings.TrimPrefix(s.cfg.URL(), "http") + SIPPath,
		Username: name, Password: password, ExpiresSeconds: int(expires.Sub(now).Seconds()), ICEServers: s.iceServers(string(who.Device), expires),
	}, nil
}

// isTelephone: the device has proved the number itself, as well as calls ask for. A guest has not,
// nor has a device that is coupled with the telephone.
func (s *Server) isTelephone(d device.Device, number tel.Number, now time.Time) bool {
	return slices.ContainsFunc(d.Current(now), func(b wire.Binding) bool {
		return b.Number == number && b.Kind != device.ProofCoupled && s.proves(b) && s.demands["telephone"].proves(b.Kind)
	})
}

// mayRegister: the device that a password for a number was given to may still use it.
func (s *Server) mayRegister(ctx context.Context, number, id string) (bool, error) {
	d, err := s.devices.Get(ctx, wire.DefaultTenant, wire.DeviceID(id))
	if errors.Is(err, device.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	number, extension := sip.SplitUser(number)
	n, err := tel.ParseNumber(number, "")
	now := time.Now()
	if err != nil || d.Check(now) != nil {
		return false, nil
	}
	if d.Agent() {
		a, err := s.agents.Of(ctx, wire.DefaultTenant, d.ID)
		if err != nil && !errors.Is(err, agent.ErrNone) {
			return false, err
		}
		if err != nil || a.Number != n || a.Extension != extension {
			return false, nil
		}
	} else if extension != "" || !s.isTelephone(d, n, now) {
		return false, nil
	}
	barred, err := s.numberBarred(ctx, wire.DefaultTenant, n)
	return err == nil && !barred, err
}

// iceServers are those for one device; TURN with a password that is made from the secret
// (draft-uberti-behave-turn-rest-00).
func (s *Server) iceServers(device string, expires time.Time) []wire.ICEServer {
	servers := []wire.ICEServer{}
	for _, u := range s.cfg.SIP.ICE {
		i := wire.ICEServer{URLs: []string{u}}
		if strings.HasPrefix(u, "turn") && s.cfg.SIP.TURNSecret != "" {
			i.Username = strconv.FormatInt(expires.Unix(), 10) + ":" + device
			h := hmac.New(sha1.New, []byte(s.cfg.SIP.TURNSecret))
			h.Write([]byte(i.Username))
			i.Credential = base64.StdEncoding.EncodeToString(h.Sum(nil))
		}
		servers = append(servers, i)
	}
	return servers
}
