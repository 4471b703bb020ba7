package sip

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
)

// reach finds the flow to a target and calls then with it, in the shard; with nil if there is
// none. Names and connections take time; meanwhile the shard goes on.
func (s *shard) reach(t target, then func(*flow)) {
	if t.flow != nil {
		if t.flow.alive() {
			then(t.flow)
			return
		}
		if t.flow.final() {
			then(nil)
			return
		}
		// It is connected to anew where it said, but whoever is not trusted only where it was: else they could have us
		// send anywhere.
		if !s.e.cfg.Open && !s.e.trusts(t.flow) && !at(t.hop, t.flow) {
			then(nil)
			return
		}
	}
	transport := strings.ToUpper(t.hop.param("transport"))
	switch {
	case t.hop.scheme == "sips":
		transport = "TLS"
	case transport == "":
		transport = "UDP"
		if s.e.udp == nil {
			transport = "TCP"
		}
	}
	host := t.hop.host
	if m, ok := t.hop.params.get("maddr"); ok {
		host = m
	}
	port := t.hop.port
	if port == 0 {
		port = 5060
		if transport == "TLS" {
			port = 5061
		}
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if t.inside && !s.e.inside(a.Unmap()) && !(transport == "TLS" && s.e.trustedName(host)) {
			then(nil)
			return
		}
		to := netip.AddrPortFrom(a.Unmap(), port)
		if transport == "UDP" && s.e.udp != nil {
			then(&flow{transport: "UDP", udp: s.e.udp, remote: to})
			return
		}
		if c := s.e.conns.to(transport, to, host); c != nil {
			then(c.flow())
			return
		}
	}
	if transport != "UDP" && transport != "TCP" && transport != "TLS" {
		then(nil)
		return
	}
	s.e.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*dialTime)
		defer cancel()
		stop := context.AfterFunc(s.e.ending, cancel)
		defer stop()
		f := s.e.connect(ctx, transport, host, port, t)
		s.do(func() { then(f) })
	})
}

// connect resolves a name (RFC 3263, without NAPTR: the transport is known) and makes the
// connection; nil if none of its addresses answers.
func (e *Element) connect(ctx context.Context, transport, host string, port uint16, t target) *flow {
	type place struct {
		host string
		port uint16
	}
	places := []place{{host, port}}
	if _, err := netip.ParseAddr(host); err != nil && t.hop.port == 0 {
		service, proto := "sip", "tcp"
		switch transport {
		case "UDP":
			proto = "udp"
		case "TLS":
			service = "sips"
		}
		if _, all, err := e.cfg.Resolver.LookupSRV(ctx, service, proto, host); err == nil && len(all) > 0 {
			places = nil
			for _, r := range all {
				places = append(places, place{strings.TrimSuffix(r.Target, "."), r.Port})
			}
		}
	}
	for _, p := range places {
		addrs, err := e.addresses(ctx, p.host)
		if err != nil {
			e.log.Debug("a name was not found", "host", p.host, "err", err)
			continue
		}
		for _, a := range addrs {
			if t.inside && !e.inside(a.Unmap()) && !(transport == "TLS" && e.trustedName(host)) {
				continue
			}
			to := netip.AddrPortFrom(a.Unmap(), p.port)
			if transport == "UDP" {
				if e.udp == nil {
					return nil
				}
				return &flow{transport: "UDP", udp: e.udp, remote: to}
			}
			f, err := e.dial(ctx, transport, to, host)
			if err == nil {
				return f
			}
			level := slog.LevelInfo
			if errors.Is(err, errCertificate) {
				level = slog.LevelWarn
			}
			e.log.Log(ctx, level, "an element could not be reached", "transport", transport, "remote", to, "err", err)
		}
	}
	return nil
}

func (e *Element) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	return e.cfg.Resolver.LookupNetIP(ctx, "ip", host)
}
