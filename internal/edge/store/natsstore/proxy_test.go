package natsstore_test

import (
	"bytes"
	"fmt"
	"net"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"
)

// proxy stands between a node and its server and loses what a test tells it to.
type proxy struct {
	listener net.Listener
	server   string
	away     time.Duration // each way
	wg       sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	cutOn  []byte        // after the next request that contains it, answers are lost and the connection is cut
	lose   []byte        // the next data from the server that contains it is lost
	refuse string        // the next acknowledgement of a stream whose name begins so becomes a refusal
	struck chan struct{} // closed when that has happened
}

func newProxy(t *testing.T, server string) *proxy { return newFarProxy(t, server, 0) }

// newFarProxy is a proxy behind which the server is far away.
func newFarProxy(t *testing.T, server string, away time.Duration) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, server: server, away: away, conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

// losesAnswerTo lets the next request that contains mark through, but not its answer.
func (p *proxy) losesAnswerTo(mark string) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutOn, p.struck = []byte(mark), make(chan struct{})
	return p.struck
}

// loses drops the next data from the server that contains mark.
func (p *proxy) loses(mark string) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose, p.struck = []byte(mark), make(chan struct{})
	return p.struck
}

// refuses makes a refusal of the next acknowledgement of a stream whose name begins so, as a leader that is none any more gives it, faster than
// the one that stores the message.
func (p *proxy) refuses(stream string) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse, p.struck = stream, make(chan struct{})
	return p.struck
}

var acknowledgement = regexp.MustCompile(`(\d+)\r\n\{"stream":"([^"]+)",[^}]*\}\r\n`)

const refusal = `{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 0"}}`

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		lost := false // guarded by mu: from now on answers are lost
		p.wg.Go(func() {
			defer server.Close()
			p.copy(server, client, func(data []byte) []byte {
				p.mu.Lock()
				if p.cutOn != nil && bytes.Contains(data, p.cutOn) {
					lost, p.cutOn = true, nil
				}
				p.mu.Unlock()
				return data
			})
		})
		p.wg.Go(func() {
			defer client.Close()
			p.copy(client, server, func(data []byte) []byte {
				p.mu.Lock()
				defer p.mu.Unlock()
				if m := acknowledgement.FindSubmatchIndex(data); m != nil && p.refuse != "" && bytes.HasPrefix(data[m[4]:m[5]], []byte(p.refuse)) {
					p.refuse = ""
					close(p.struck)
					answer := fmt.Appendf(nil, "%d\r\n%s\r\n", len(refusal), refusal)
					return slices.Concat(data[:m[0]], answer, data[m[1]:])
				}
				if p.lose != nil && bytes.Contains(data, p.lose) {
					p.lose = nil
					close(p.struck)
					return nil
				}
				if lost && bytes.Contains(data, []byte(`"seq":`)) {
					close(p.struck)
					client.Close()
					server.Close()
				}
				if lost {
					return nil
				}
				return data
			})
		})
	}
}

// copy passes on what pass makes of it.
func (p *proxy) copy(to, from net.Conn, pass func([]byte) []byte) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		time.Sleep(p.away)
		if _, err := to.Write(pass(buf[:n])); err != nil {
			return
		}
		if err != nil {
			return
		}
	}
}
