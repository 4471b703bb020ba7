package nearby

import (
	"net"
	"testing"

	"golang.org/x/net/ipv4"

	"github.com/tandem-call/tandem/client"
)

// TestRead: what does not come with the TTL of the own link is not near.
func TestRead(t *testing.T) {
	to, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	p := ipv4.NewPacketConn(to)
	if err := prepare(p); err != nil {
		t.Fatal(err)
	}
	from, err := net.DialUDP("udp4", nil, to.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	for ttl, want := range map[int]bool{255: true, 254: false, 64: false} {
		if err := ipv4.NewConn(from).SetTTL(ttl); err != nil {
			t.Fatal(err)
		}
		if _, err := from.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, _, near, err := read(p, make([]byte, 8)); err != nil || near != want {
			t.Errorf("TTL %d: near %v, %v", ttl, near, err)
		}
	}
}

// TestProof: a proof of nearness holds for its key and its nonce only, and is no assertion to the
// server, nor is an assertion one.
func TestProof(t *testing.T) {
	id, other := identity(t), identity(t)
	nonce := []byte("a nonce of thirty-two bytes, see")
	proof, err := sign(id.Key, nonce)
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(proof, nonce, id.PublicKey()); err != nil {
		t.Error(err)
	}
	toServer, err := id.Assert("YSBub25jZSBvZiB0aGlydHktdHdvIGJ5dGVzLCBzZWU")
	if err != nil {
		t.Fatal(err)
	}
	bad := id.PublicKey()
	bad.X = "AAAA"
	for name, err := range map[string]error{
		"another key":   verify(proof, nonce, other.PublicKey()),
		"another nonce": verify(proof, []byte("another"), id.PublicKey()),
		"an assertion":  verify(toServer, nonce, id.PublicKey()),
		"no proof":      verify("x", nonce, id.PublicKey()),
		"no key":        verify(proof, nonce, bad),
	} {
		if err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func identity(t *testing.T) *client.Identity {
	t.Helper()
	id, err := client.NewIdentity("http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	return id
}
