package spec

import (
	"io"
	"net"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// road is a way to a server, through a network that can be changed for another one: to the
// server its user then comes from another address.
type road struct {
	listener net.Listener

	mu    sync.Mutex
	from  string // the user's address
	to    string // the server's
	conns map[net.Conn]struct{}
}

// takeRoad lays a road, whose user's end is $NAME, or leads one elsewhere: what is on it then
// is cut.
func takeRoad(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: road NAME FROM SERVER")
	}
	w := worldOf(ts)
	w.mu.Lock()
	r := w.roads[args[0]]
	w.mu.Unlock()
	if r == nil {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		ts.Defer(func() { r.lead("", "") })
		ts.Defer(func() { l.Close() })
		r = &road{listener: l, conns: map[net.Conn]struct{}{}}
		go r.run()
		w.mu.Lock()
		w.roads[args[0]] = r
		w.mu.Unlock()
		ts.Setenv(args[0], "http://"+l.Addr().String())
	}
	r.lead(args[1], strings.TrimPrefix(args[2], "http://"))
}

func (r *road) lead(from, to string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.from, r.to = from, to
	for c := range r.conns {
		c.Close()
	}
}

func (r *road) run() {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return // the script is over
		}
		go r.pass(c)
	}
}

func (r *road) pass(user net.Conn) {
	defer user.Close()
	r.mu.Lock()
	from, to := r.from, r.to
	r.conns[user] = struct{}{}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.conns, user)
		r.mu.Unlock()
	}()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	server, err := d.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(server, user) // one end is gone: so is the other
		server.Close()
	}()
	_, _ = io.Copy(user, server)
}
