// Package nearby lets a telephone's device find the devices that are coupled with it on the same
// link: one network without a router between (SPEC B8, temporary couplings). The phone's device
// asks by multicast, and whoever holds the key answers:
//
//	phone                                   car
//	  | -- nonce, SHA-256(nonce, key) -----> |  to 239.255.77.84:47184, TTL 255
//	  | <- JWS by the key over the nonce --- |  TTL 255
//
// A packet whose TTL is not 255 has passed a router, or was sent by something else, and is not
// looked at (RFC 5082). What the question holds tells nobody who it is for who does not know the
// key. Somebody on the link who forwards both packets elsewhere is not detected.
package nearby

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/tandem-call/tandem/wire"
)

var group = &net.UDPAddr{IP: net.IPv4(239, 255, 77, 84), Port: 47184}

const (
	hops    = 255
	size    = 32 // of a nonce, and of a question's hash, in bytes
	maximum = 2048
)

// Answer answers for the device with this key, whose public half the server knows, on the links that the machine has now, until ctx ends: on those
// networks (names of interfaces), or on all where none is named.
func Answer(ctx context.Context, key *ecdsa.PrivateKey, public wire.JWK, networks ...string) error {
	on := links(networks)
	if len(on) == 0 {
		return errors.New("nearby: this machine has no link to others")
	}
	c, err := net.ListenMulticastUDP("udp4", &on[0], group)
	if err != nil {
		return fmt.Errorf("nearby: listen: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	defer c.Close()
	p := ipv4.NewPacketConn(c)
	for _, i := range on[1:] {
		if err := p.JoinGroup(&i, group); err != nil {
			return fmt.Errorf("nearby: join the group on %s: %w", i.Name, err)
		}
	}
	if err := prepare(p); err != nil {
		return err
	}
	b := make([]byte, maximum)
	for {
		n, from, near, err := read(p, b)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("nearby: read: %w", err)
		case !near || n != 2*size:
			continue
		}
		nonce := b[:size]
		if subtle.ConstantTimeCompare(b[size:n], question(nonce, public)) != 1 {
			continue
		}
		proof, err := sign(key, nonce)
		if err != nil {
			return err
		}
		_, _ = p.WriteTo([]byte(proof), nil, from) // who has gone asks again
	}
}

// Find reports whether the device with this key answers on a link, within the time. Networks are as in
// Answer.
func Find(ctx context.Context, key wire.JWK, within time.Duration, networks ...string) (bool, error) {
	on := links(networks)
	if len(on) == 0 {
		return false, nil
	}
	c, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return false, fmt.Errorf("nearby: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	defer c.Close()
	p := ipv4.NewPacketConn(c)
	if err := prepare(p); err != nil {
		return false, err
	}
	nonce := make([]byte, size)
	rand.Read(nonce)
	ask := append(nonce, question(nonce, key)...)
	nonce = ask[:size]
	for _, i := range on {
		if err := p.SetMulticastInterface(&i); err == nil {
			_, _ = p.WriteTo(ask, nil, group) // a link that is down has nobody on it
		}
	}
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		return false, fmt.Errorf("nearby: %w", err)
	}
	b := make([]byte, maximum)
	for {
		n, _, near, err := read(p, b)
		if err != nil {
			return false, nil // nobody has answered in time
		}
		if near && verify(string(b[:n]), nonce, key) == nil {
			return true, nil
		}
	}
}

// question is what is asked of the holder of a key.
func question(nonce []byte, key wire.JWK) []byte {
	sum := sha256.Sum256([]byte("tandem near\x00" + string(nonce) + key.X + "." + key.Y))
	return sum[:]
}

// prepare has packets go out as from this link, and tell how they came in.
func prepare(p *ipv4.PacketConn) error {
	for _, err := range []error{p.SetTTL(hops), p.SetMulticastTTL(hops), p.SetMulticastLoopback(true), p.SetControlMessage(ipv4.FlagTTL, true)} {
		if err != nil {
			return fmt.Errorf("nearby: %w", err)
		}
	}
	return nil
}

// read returns a packet, and whether it comes from the same link.
func read(p *ipv4.PacketConn, b []byte) (n int, from net.Addr, near bool, err error) {
	n, how, from, err := p.ReadFrom(b)
	return n, from, how != nil && how.TTL == hops, err
}

// links are the interfaces that reach other machines directly, of the names given; of all, where none is.
func links(names []string) (up []net.Interface) {
	all, _ := net.Interfaces() // none, then
	for _, i := range all {
		if (len(names) == 0 || slices.Contains(names, i.Name)) && i.Flags&net.FlagUp != 0 && i.Flags&net.FlagMulticast != 0 && i.Flags&net.FlagPointToPoint == 0 {
			up = append(up, i)
		}
	}
	return up
}
