package server

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"

	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/transport/tlscert"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// tryIt is the first page's trial: two phones, each the call page on a host name of its
// own, with a number from the range that Ofcom keeps for drama. There is one on a
// development server on loopback only (Config.trial).
type tryIt struct {
	version, region string
	maps            *wire.PageMaps
	phones          map[string]tryPhone // by host name

	mu    sync.Mutex
	codes map[tel.Number]string // the last one for each of the phones
}

type tryPhone struct {
	name   string
	number tel.Number
}

// Names below localhost are this machine's own (RFC 6761, 6.3). The page that shows the
// phones and the phones are of one site, since browsers keep the storage of another
// site's frames apart, or deny it; they are of different origins, so they share nothing.
const tryHost = "tandem.localhost"

// tryHosts are in the order in which the phones are shown.
var tryHosts = []string{"alice." + tryHost, "bob." + tryHost}

// trial reports whether the server offers Try it: codes are not sent anywhere, and nobody
// but this machine can connect.
func (c Config) trial() bool {
	return c.Codes.Sender == "dev" && c.loopback() && c.TLS.Mode == tlscert.Off && c.PublicURL == ""
}

func newTryIt(cfg Config, version string) (*tryIt, error) {
	t := &tryIt{maps: cfg.Maps.page(), version: version, region: cfg.Codes.Region, phones: map[string]tryPhone{}, codes: map[tel.Number]string{}}
	if !cfg.trial() {
		return t, nil
	}
	for host, p := range map[string]struct{ name, number string }{
		tryHosts[0]: {"Alice", "+442079460018"}, tryHosts[1]: {"Bob", "+442079460019"},
	} {
		n, err := tel.ParseNumber(p.number, "")
		if err != nil {
			return nil, fmt.Errorf("server: try it: %w", err)
		}
		t.phones[host] = tryPhone{p.name, n}
	}
	return t, nil
}

// hosts on which phones are.
func (t *tryIt) hosts() []string {
	if len(t.phones) == 0 {
		return nil
	}
	return tryHosts
}

// fictional reports whether the number is one of the phones'.
func (t *tryIt) fictional(n tel.Number) bool {
	for _, p := range t.phones {
		if p.number == n {
			return true
		}
	}
	return false
}

// watch returns a sender that keeps the codes of the phones besides sending them.
func (t *tryIt) watch(s device.Sender) device.Sender {
	if len(t.phones) == 0 {
		return s
	}
	return tryingSender{s, t}
}

type tryingSender struct {
	device.Sender
	t *tryIt
}

// SendCode implements device.Sender.
func (s tryingSender) SendCode(ctx context.Context, to tel.Number, code, text string) error {
	if s.t.fictional(to) {
		s.t.mu.Lock()
		s.t.codes[to] = code
		s.t.mu.Unlock()
	}
	return s.Sender.SendCode(ctx, to, code, text)
}

// Page implements httpapi.Pages.
func (t *tryIt) Page(r *http.Request) wire.Page {
	p := wire.Page{Version: t.version, Region: t.region, Maps: t.maps}
	host, port := splitHost(r.Host)
	if phone, ok := t.phones[host]; ok {
		p.Phone = phone.wire(host, port)
	}
	for _, h := range t.hosts() {
		p.TryAt = originOf(tryHost, port)
		p.TryIt = append(p.TryIt, *t.phones[h].wire(h, port))
	}
	return p
}

func (p tryPhone) wire(host, port string) *wire.TryPhone {
	return &wire.TryPhone{Name: p.name, Number: p.number, Origin: originOf(host, port)}
}

func originOf(host, port string) string {
	if port != "" {
		host = net.JoinHostPort(host, port)
	}
	return "http://" + host
}

// TrialCode implements httpapi.Pages. Each page gets the code of its own number. A page of
// another origin, also one whose name was made to lead here, cannot be taken for it: a
// browser sends the true Host and Origin. What comes through a proxy is refused.
func (t *tryIt) TrialCode(r *http.Request) (wire.TrialCode, error) {
	host, _ := splitHost(r.Host)
	phone, ok := t.phones[host]
	if !ok || r.Header.Get("Origin") != "http://"+r.Host || !near(r) {
		return wire.TrialCode{}, wire.NewProblem(wire.CodeForbidden, "codes are told to the phones of Try it only, on a development server on this machine")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	code, ok := t.codes[phone.number]
	if !ok {
		return wire.TrialCode{}, wire.NewProblem(wire.CodeNotFound, "no code was asked for: begin the enrolment of %s first", phone.number)
	}
	delete(t.codes, phone.number)
	return wire.TrialCode{Code: code}, nil
}

// near reports whether a request comes from this machine, and not by way of a proxy or from
// another site's page.
func near(r *http.Request) bool {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"} {
		if r.Header.Get(name) != "" {
			return false
		}
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return false
	}
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

func splitHost(at string) (host, port string) {
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return at, ""
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", ""
	}
	return host, port
}
