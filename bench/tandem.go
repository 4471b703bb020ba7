package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/store/pebblestore"
	"github.com/tandem-call/tandem/internal/edge/transport/tlscert"
	"github.com/tandem-call/tandem/internal/party"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// overTLS is the role of a Tandem server at which TLS ends.
const overTLS = "tandem-tls"

// serveTandem runs the real server, as `tandem serve` does, with every message synced
// before its acknowledgement. Only what keeps one device from flooding it is raised.
func serveTandem(ctx context.Context, dir string, ready func(string)) error {
	return serveTandemWith(ctx, dir, server.TLS{Mode: tlscert.Off}, ready)
}

func serveTandemOverTLS(ctx context.Context, dir string, ready func(string)) error {
	return serveTandemWith(ctx, dir, server.TLS{Mode: tlscert.Local}, ready)
}

func serveTandemWith(ctx context.Context, dir string, t server.TLS, ready func(string)) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	cfg := server.Defaults()
	cfg.Data = dir
	cfg.TLS = t
	cfg.Limits.MessagesPerSecond, cfg.Limits.MessageBurst = 1e6, 1e6
	cfg.Limits.LogEntries = 1 << 40
	cfg.Limits.PendingPerAddress = 1 << 20
	cfg.Limits.Heartbeat = time.Hour // the load does not answer them
	cfg.SIP.Listen = "127.0.0.1:0"   // no phone registers here
	s, err := server.New(ctx, cfg, server.Options{
		Version: "bench", Listener: l, Show: func(string) {},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	ready(l.Addr().String())
	return s.Run(ctx)
}

// noCodes is what the registry of devices needs and enrol does not use.
type noCodes struct{}

func (noCodes) SendCode(context.Context, tel.Number, string, string) error {
	return errors.New("no codes are sent here")
}

// numberOf is a telephone number for each device of a benchmark.
func numberOf(i int) tel.Number {
	n, err := tel.ParseNumber(fmt.Sprintf("+44207%07d", i), "")
	if err != nil {
		panic(err) // they are all of one form
	}
	return n
}

// enrol writes devices into a data directory that no server uses at the moment, each with
// a proved number of its own, numbered from from. relaxed: it does not wait for the disk.
func enrol(ctx context.Context, dir string, from, devices int, relaxed bool) ([]*client.Identity, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	engine, err := pebblestore.Open(pebblestore.Options{Dir: filepath.Join(dir, server.StoreDir), Relaxed: relaxed})
	if err != nil {
		return nil, err
	}
	registry, err := device.New(ctx, device.Config{Engine: engine, Parties: party.New(engine, nil), Sender: noCodes{}})
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	ids := make([]*client.Identity, devices)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(256)
	for i := range ids {
		g.Go(func() error {
			id, err := client.NewIdentity("")
			if err != nil {
				return err
			}
			id.Number = numberOf(from + i)
			d, err := registry.Bind(ctx, device.Request{Tenant: wire.DefaultTenant, Number: id.Number, Key: id.PublicKey()}, device.ProofOperator)
			id.Device, ids[i] = d.ID, id
			return err
		})
	}
	return ids, errors.Join(g.Wait(), engine.Close())
}

// tandemPeer is a Tandem server as the load sees it.
type tandemPeer struct {
	*child
	ids      []*client.Identity
	sessions []wire.SessionID // by pair
	setups   setups
	dialled  atomic.Int64
}

// setups are how long the second report took until both devices had been told.
type setups struct{ socket, http, trip []time.Duration }

func newTandem(dir string, devices int) (*tandemPeer, error) {
	return newTandemAs("tandem", dir, devices)
}

// newTandemAs starts a Tandem server in one of its roles.
func newTandemAs(role, dir string, devices int) (*tandemPeer, error) {
	dir = filepath.Join(dir, role)
	ids, err := enrol(context.Background(), dir, 0, devices, false)
	if err != nil {
		return nil, err
	}
	c, err := startChild(role, dir)
	if err != nil {
		return nil, err
	}
	scheme := "http://"
	if role == overTLS {
		scheme = "https://"
	}
	for _, id := range ids {
		id.Server = scheme + c.addr
	}
	return &tandemPeer{child: c, ids: ids, sessions: make([]wire.SessionID, devices/2)}, nil
}

func (p *tandemPeer) server() *child { return p.child }

// dial connects from one of several addresses of this machine, as many connections need more ports
// than one address has.
func (p *tandemPeer) dial() (net.Conn, error) {
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+p.dialled.Add(1)%16))}}
	nc, err := from.Dial("tcp", p.addr)
	if err != nil || p.role != overTLS {
		return nc, err
	}
	return tls.Client(nc, &tls.Config{InsecureSkipVerify: true}), nil // the child is ours
}

// join connects and authenticates one device.
func (p *tandemPeer) join(id *client.Identity, buffer int) (*socket, wire.Welcome, error) {
	var w wire.Welcome
	nc, err := p.dial()
	if err != nil {
		return nil, w, fmt.Errorf("dial: %w", err)
	}
	s, err := upgrade(nc, p.addr, "/v1/connect", "tandem.v1", buffer)
	if err != nil {
		return nil, w, err
	}
	s.within(patience)
	var c wire.Challenge
	if err := expect(s, wire.TypeChallenge, &c); err != nil {
		return nil, w, err
	}
	assertion, err := id.Assert(c.Nonce)
	if err != nil {
		return nil, w, err
	}
	if err := request(s, wire.Envelope{Type: wire.TypeHello}, wire.Hello{Assertion: assertion}); err != nil {
		return nil, w, err
	}
	err = expect(s, wire.TypeWelcome, &w)
	s.within(0)
	return s, w, err
}

func request(s *socket, e wire.Envelope, body any) (err error) {
	if body != nil {
		if e.Body, err = json.Marshal(body); err != nil {
			return err
		}
	}
	return s.send(text, e.AppendEncode(nil))
}

// expect reads up to a frame of this type and decodes its body; an error frame is an error.
func expect(s *socket, t wire.Type, body any) error {
	for {
		frame, err := s.read()
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", t, err)
		}
		e, err := wire.DecodeServer(frame)
		if err != nil {
			return err
		}
		switch {
		case e.Type == t && body == nil:
			return nil
		case e.Type == t:
			return json.Unmarshal(e.Body, body)
		case e.Type == wire.TypeError:
			return fmt.Errorf("waiting for %s: %s", t, e.Body)
		}
	}
}

func (p *tandemPeer) report(own, other int, d tel.Direction, state tel.State) wire.Report {
	return wire.Report{PartyDetails: tel.PartyDetails{
		Own: p.ids[own].Number.Identity(), Other: p.ids[other].Number.Identity(), Direction: d, State: state,
	}}
}

// connect joins the two devices of a pair, and both report their call: that opens their
// session. Every fourth pair's second report comes over HTTP.
func (p *tandemPeer) connect(pair int) (tx, rx *socket, err error) {
	a, b := 2*pair, 2*pair+1
	if tx, _, err = p.join(p.ids[a], readBuffer); err != nil {
		return nil, nil, err
	}
	if rx, _, err = p.join(p.ids[b], readBuffer); err != nil {
		return nil, nil, err
	}
	tx.within(patience)
	rx.within(patience)
	began := time.Now()
	if err := errors.Join(request(rx, wire.Envelope{Type: wire.TypePing}, nil), expect(rx, wire.TypePong, nil)); err != nil {
		return nil, nil, err
	}
	p.setups.trip = append(p.setups.trip, time.Since(began))
	if err := errors.Join(
		request(tx, wire.Envelope{Type: wire.TypeReport, ID: "out"}, p.report(a, b, tel.Outgoing, tel.Active)),
		expect(tx, wire.TypeAck, nil),
	); err != nil {
		return nil, nil, err
	}
	second := p.report(b, a, tel.Incoming, tel.Active)
	var g errgroup.Group
	var state wire.SessionState
	var took *[]time.Duration
	if pair%4 != 3 {
		took = &p.setups.socket
		began = time.Now()
		err = request(rx, wire.Envelope{Type: wire.TypeReport, ID: "in"}, second)
	} else {
		api := client.NewAPI(p.ids[b], nil)
		if _, err := api.Bearer(context.Background()); err != nil {
			return nil, nil, err
		}
		took = &p.setups.http
		began = time.Now()
		g.Go(func() error { return api.Call(context.Background(), http.MethodPost, "/v1/reports", second, nil) })
	}
	var told [2]time.Duration
	g.Go(func() error {
		defer func() { told[0] = time.Since(began) }()
		return expect(tx, wire.TypeSession, nil)
	})
	err = errors.Join(err, expect(rx, wire.TypeSession, &state))
	told[1] = time.Since(began)
	if err := errors.Join(err, g.Wait()); err != nil {
		return nil, nil, err
	}
	*took = append(*took, max(told[0], told[1]))
	p.sessions[pair] = state.ID
	tx.within(0)
	rx.within(0)
	return tx, rx, nil
}

// textBody is a body of 128 bytes.
var textBody = fmt.Sprintf(`{"text":"%0*d"}`, messageBytes-len(`{"text":""}`), 0)

const idDigits = 12

// requestID of message n.
func appendID(dst []byte, n uint64) []byte {
	for div := uint64(1e11); div > 0; div /= 10 {
		dst = append(dst, byte('0'+n/div%10))
	}
	return dst
}

func (p *tandemPeer) appendMessage(dst []byte, pair int, n uint64) []byte {
	var space [400]byte
	b := append(space[:0], `{"type":"send","fresh":true,"id":"`...)
	b = appendID(b, n)
	b = append(b, `","session":"`...)
	b = append(b, p.sessions[pair]...)
	b = append(b, `","kind":"text","body":`...)
	b = append(b, textBody...)
	b = append(b, '}')
	return appendFrame(dst, text, b)
}

var (
	ackPrefix     = []byte(`{"type":"ack","id":"`)
	messagePrefix = []byte(`{"type":"message",`)
	idPrefix      = []byte(`,"id":"`)
	sessionPrefix = []byte(`{"type":"session",`)
)

func (p *tandemPeer) parse(frame []byte) (kind rune, n uint64, rest []byte, err error) {
	var id []byte
	switch {
	case bytes.HasPrefix(frame, ackPrefix):
		kind, id = 'a', frame[len(ackPrefix):]
	case bytes.HasPrefix(frame, messagePrefix):
		kind = 'm'
		at := bytes.Index(frame, idPrefix)
		if at < 0 {
			return 0, 0, nil, nil // the session's own
		}
		id = frame[at+len(idPrefix):]
	case bytes.HasPrefix(frame, sessionPrefix):
		return 0, 0, nil, nil
	default:
		return 0, 0, nil, errors.New("neither ack nor message")
	}
	if len(id) < idDigits || id[0] < '0' || id[0] > '9' {
		return 0, 0, nil, nil // the acknowledgement of a report
	}
	n, err = strconv.ParseUint(string(id[:idDigits]), 10, 64)
	return kind, n, nil, err
}
