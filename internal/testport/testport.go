// Package testport finds ports for the programs that tests start.
package testport

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// The ports are below the range from which Linux takes ports for outgoing connections (32768 and
// up), so that none of them comes between the search and the program's start.
const (
	lowest = 10_000
	blocks = 900
	block  = 10
)

// Free returns the first of n ports (at most 10) in a row that nobody uses, over TCP or UDP, on
// 127.0.0.1. A softphone, for instance, needs two: it takes the one behind its own for TLS.
func Free(n int) (int, error) {
	if n > block {
		return 0, errors.New("testport: too many")
	}
	for range 1000 {
		port := lowest + block*rand.IntN(blocks)
		if free(port, n) {
			return port, nil
		}
	}
	return 0, errors.New("testport: there is no free port")
}

func free(port, n int) bool {
	for p := port; p < port+n; p++ {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(p))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return false
		}
		defer l.Close()
		u, err := net.ListenPacket("udp", addr)
		if err != nil {
			return false
		}
		defer u.Close()
	}
	return true
}
