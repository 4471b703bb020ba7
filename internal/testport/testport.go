// Package testport finds ports for the programs that tests start.
package testport

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// The ports are below the range from which Linux takes ports for outgoing connections (32768 and
// up), so that none of them comes between the search and the program's start.
const (
	lowest = 10_000
	blocks = 900
	block  = 10
)

// Free returns the first of n ports (at most 9) in a row that nobody uses, over TCP or UDP, on
// 127.0.0.1. A softphone, for instance, needs two: it takes the one behind its own for TLS.
//
// A port that was returned is not returned again while this process lives, here or to another
// process, though nobody listens there yet: the last port of its block is held for that.
func Free(n int) (int, error) {
	if n >= block {
		return 0, errors.New("testport: too many")
	}
	for range 1000 {
		port := lowest + block*rand.IntN(blocks)
		hold, err := net.Listen("tcp", address(port+block-1))
		if err != nil {
			continue
		}
		if !free(port, n) {
			hold.Close()
			continue
		}
		mu.Lock()
		defer mu.Unlock()
		held = append(held, hold)
		return port, nil
	}
	return 0, errors.New("testport: there is no free port")
}

var (
	mu   sync.Mutex
	held []net.Listener // guarded by mu
)

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func free(port, n int) bool {
	for p := port; p < port+n; p++ {
		l, err := net.Listen("tcp", address(p))
		if err != nil {
			return false
		}
		defer l.Close()
		u, err := net.ListenPacket("udp", address(p))
		if err != nil {
			return false
		}
		defer u.Close()
	}
	return true
}
