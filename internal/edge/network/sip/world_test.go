package sip

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/tandem-call/tandem/tel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// world is a running element.
type world struct {
	t       *testing.T
	e       *Element
	web     *httptest.Server
	addr    netip.AddrPort // UDP and TCP
	root    []byte         // certificate that TLS is proved with, in PEM
	reports chan Report
	agents  int
}

func newWorld(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	w := &world{t: t, reports: make(chan Report, 1000)}
	cfg := Config{
		Domain: "example.com", Listen: "127.0.0.1:0", Open: true, Logger: slog.New(slog.DiscardHandler), T1: 100 * time.Millisecond,
		Report: func(_ context.Context, r Report) error { w.reports <- r; return nil },
	}
	for _, f := range change {
		f(&cfg)
	}
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.e, w.web = e, httptest.NewServer(http.HandlerFunc(e.WebSocket))
	w.addr = netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", e.Port("TCP")))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the element ended: %v", err)
		}
		w.web.Close()
	})
	return w
}

// legs waits for reports until each leg given ("+44… outgoing active", whatever the order)
// was reported.
func (w *world) legs(want ...string) map[string]Report {
	w.t.Helper()
	got := map[string]Report{}
	missing := map[string]bool{}
	for _, s := range want {
		missing[s] = true
	}
	timeout := time.After(patience)
	for len(missing) > 0 {
		select {
		case r := <-w.reports:
			n, _ := r.Own.Number()
			name := n.String()
			if name == "" {
				name = r.Own.String()
			}
			s := fmt.Sprintf("%s %s %s", name, r.Direction, r.State)
			got[s] = r
			delete(missing, s)
		case <-timeout:
			w.t.Fatalf("not reported: %v; but: %v", missing, got)
		}
	}
	return got
}

// agent is a SIP user agent that does what a test says.
type agent struct {
	w         *world
	number    int
	user      string
	domain    string
	transport string
	addr      netip.AddrPort // its own
	send      func([]byte)
	drop      func() // ends its connection, as if the program was killed
	in        chan *Message
	contact   string
	seq       int
	password  func() (name, password string)
	// registration is the Call-ID of its registrations; "": each has another one.
	registration string
}

// newAgent makes one on UDP, TCP or WS.
func (w *world) newAgent(user, transport string) *agent {
	w.t.Helper()
	return w.newAgentAt(user, transport, "127.0.0.1:0")
}

// newAgentAt makes one with an address of its own over UDP.
func (w *world) newAgentAt(user, transport, at string) *agent {
	w.t.Helper()
	w.agents++
	a := &agent{w: w, number: w.agents, user: user, domain: "example.com", transport: transport, in: make(chan *Message, 1000)}
	peer := w.addr
	take := func(m *Message, fault *Fault) {
		if fault != nil {
			w.t.Errorf("%s got what is malformed: %v", user, fault)
		}
		if m != nil {
			a.in <- m
		}
	}
	var read sync.WaitGroup
	switch transport {
	case "UDP":
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)))
		w.must(err)
		a.addr = c.LocalAddr().(*net.UDPAddr).AddrPort()
		a.send = func(b []byte) { _, err := c.WriteToUDPAddrPort(b, peer); w.must(err) }
		read.Go(func() {
			buf := make([]byte, maxMessage)
			for {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				take(parseDatagram(buf[:n]))
			}
		})
		w.t.Cleanup(func() { c.Close(); read.Wait() })
	case "TCP":
		c, err := net.Dial("tcp", peer.String())
		w.must(err)
		a.addr = c.LocalAddr().(*net.TCPAddr).AddrPort()
		a.send = func(b []byte) { _, err := c.Write(b); w.must(err) }
		a.drop = func() { c.Close() }
		read.Go(func() {
			r := bufio.NewReader(c)
			for {
				m, fault := readMessage(r)
				if m == nil && fault == nil {
					return
				}
				take(m, fault)
			}
		})
		w.t.Cleanup(func() { c.Close(); read.Wait() })
	case "WS":
		c, _, err := websocket.Dial(w.t.Context(), w.web.URL, &websocket.DialOptions{Subprotocols: []string{Subprotocol}})
		w.must(err)
		a.send = func(b []byte) { w.must(c.Write(w.t.Context(), websocket.MessageText, b)) }
		a.drop = func() { c.CloseNow() }
		ctx, cancel := context.WithCancel(context.Background())
		read.Go(func() {
			for {
				_, b, err := c.Read(ctx)
				if err != nil {
					return
				}
				take(parseDatagram(b))
			}
		})
		w.t.Cleanup(func() { cancel(); c.CloseNow(); read.Wait() })
	}
	a.contact = fmt.Sprintf("<sip:%s@%s;transport=%s>", user, a.addr, strings.ToLower(transport))
	if transport == "WS" {
		a.contact = fmt.Sprintf("<sip:%s@abc.invalid;transport=ws>", user)
	}
	return a
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (a *agent) sentBy() string {
	if a.transport == "WS" {
		return "abc.invalid"
	}
	return a.addr.String()
}

// via makes a Via value with a new branch.
func (a *agent) via() string {
	a.seq++
	return fmt.Sprintf("SIP/2.0/%s %s;branch=%s%s%d;rport", a.transport, a.sentBy(), cookie, strings.TrimPrefix(a.user, "+"), a.seq)
}

func (a *agent) aor() string { return "<sip:" + a.user + "@" + a.domain + ">" }

// ask makes a request outside of a dialog.
func (a *agent) ask(method, uri, to string, more ...string) *Message {
	m := &Message{Method: method, URI: uri}
	m.Add(Via, a.via())
	m.Add(From, a.aor()+";tag="+strings.TrimPrefix(a.user, "+"))
	m.Add(To, to)
	m.Add(CallID, fmt.Sprintf("%s-%s-%d-%d@test", a.w.t.Name(), a.user, a.number, a.seq))
	m.Add(CSeq, fmt.Sprintf("%d %s", a.seq, method))
	m.Add(MaxForwards, "70")
	m.Add(Contact, a.contact)
	for i := 0; i+1 < len(more); i += 2 {
		m.Headers = append(m.Headers, Header{headerID(more[i]), more[i], more[i+1]})
	}
	return m
}

func (a *agent) tell(m *Message) *Message {
	a.send(m.Encode())
	return m
}

// next waits for a message.
func (a *agent) next() *Message {
	a.w.t.Helper()
	select {
	case m := <-a.in:
		return m
	case <-time.After(patience):
		a.w.t.Fatalf("nothing came to %s", a.user)
		panic("unreachable")
	}
}

// request waits for a request; repetitions and others are passed over.
func (a *agent) request(method string) *Message {
	a.w.t.Helper()
	for {
		if m := a.next(); m.Method == method {
			return m
		}
	}
}

// answer waits for an answer to a method with a status; provisional answers that are not
// asked for are passed over.
func (a *agent) answer(method string, status int) *Message {
	a.w.t.Helper()
	for {
		m := a.next()
		_, of := m.cseq()
		if m.IsRequest() || of != method || m.Status < 200 && m.Status != status {
			continue
		}
		if m.Status != status {
			a.w.t.Fatalf("%s got %d %s to %s, not %d", a.user, m.Status, m.Reason, method, status)
		}
		return m
	}
}

// reply answers a request that came.
func (a *agent) reply(req *Message, status int, more ...string) *Message {
	r := req.Response(status, reasons[status])
	if status > 100 {
		r.tagTo("to" + strings.TrimPrefix(a.user, "+"))
	}
	for _, h := range req.Headers {
		if h.ID == RecordRoute && status < 300 {
			r.Headers = append(r.Headers, h)
		}
	}
	r.Add(Contact, a.contact)
	for i := 0; i+1 < len(more); i += 2 {
		r.Headers = append(r.Headers, Header{headerID(more[i]), more[i], more[i+1]})
	}
	a.send(r.Encode())
	return r
}

func (a *agent) register() *Message {
	a.w.t.Helper()
	m := a.ask("REGISTER", "sip:example.com", a.aor(), "Expires", "300")
	if a.registration != "" {
		m.Set(CallID, a.registration)
	}
	a.tell(m)
	if a.password != nil {
		m = a.again(m, a.answer("REGISTER", 401))
		a.tell(m)
	}
	return a.answer("REGISTER", 200)
}

// again makes a request once more, with the credentials that were asked for.
func (a *agent) again(m, challenge *Message) *Message {
	a.w.t.Helper()
	id, in := Authorization, WWWAuthenticate
	if challenge.Status == 407 {
		id, in = ProxyAuthorization, ProxyAuthenticate
	}
	c, ok := parseCredentials(challenge.Get(in))
	if !ok {
		a.w.t.Fatalf("no challenge: %q", challenge.Get(in))
	}
	name, password := a.password()
	c["username"], c["uri"], c["nc"], c["cnonce"], c["qop"] = name, m.URI, "00000001", "abc", "auth"
	value := fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s", nc=00000001, cnonce="abc", qop=auth, algorithm=MD5, response="%s"`,
		name, c["realm"], c["nonce"], m.URI, digest(c, password, m.Method))
	m = m.Clone()
	m.Pop(Via)
	m.Push(Via, a.via())
	m.Set(CSeq, fmt.Sprintf("%d %s", a.seq, m.Method))
	m.Remove(id)
	m.Add(id, value)
	return m
}

// dialog is one side's view of a call.
type dialog struct {
	a      *agent
	callID string
	local  string // From of our requests
	remote string
	target string
	route  []string
}

// calling is the caller's dialog, of its INVITE and the answer.
func (a *agent) calling(invite, ok *Message) *dialog {
	d := &dialog{a: a, callID: invite.Get(CallID), local: invite.Get(From), remote: ok.Get(To), target: contactURI(ok)}
	all := ok.All(RecordRoute)
	for i := len(all) - 1; i >= 0; i-- {
		d.route = append(d.route, all[i])
	}
	return d
}

// called is the other side's.
func (a *agent) called(invite, ok *Message) *dialog {
	return &dialog{a: a, callID: invite.Get(CallID), local: ok.Get(To), remote: invite.Get(From), target: contactURI(invite), route: invite.All(RecordRoute)}
}

func contactURI(m *Message) string {
	c, _ := parseAddress(m.Top(Contact))
	return c.uri.String()
}

// ask makes a request within the dialog.
func (d *dialog) ask(method string, more ...string) *Message {
	m := d.a.ask(method, d.target, d.remote, more...)
	m.Set(From, d.local)
	m.Set(CallID, d.callID)
	for _, r := range d.route {
		m.Add(Route, r)
	}
	return m
}

// call makes a call that is answered, and returns both sides' dialogs.
func (a *agent) call(b *agent, more ...string) (caller, callee *dialog) {
	a.w.t.Helper()
	invite := a.tell(a.ask("INVITE", "sip:"+b.user+"@example.com", b.aor(), more...))
	if a.password != nil {
		res := a.answer("INVITE", 407)
		a.tell(ackOf(invite, res))
		invite = a.tell(a.again(invite, res))
	}
	got := b.request("INVITE")
	b.reply(got, 180)
	a.answer("INVITE", 180)
	answer := b.reply(got, 200)
	ok := a.answer("INVITE", 200)
	caller, callee = a.calling(invite, ok), b.called(got, answer)
	ack := caller.ask("ACK")
	n, _ := invite.cseq()
	ack.Set(CSeq, fmt.Sprintf("%d ACK", n))
	a.tell(ack)
	b.request("ACK")
	return caller, callee
}

// ackOf acknowledges a final answer that is not 2xx.
func ackOf(invite, res *Message) *Message {
	m := &Message{Method: "ACK", URI: invite.URI}
	m.Add(Via, invite.Top(Via))
	m.Add(From, invite.Get(From))
	m.Add(To, res.Get(To))
	m.Add(CallID, invite.Get(CallID))
	n, _ := invite.cseq()
	m.Add(CSeq, fmt.Sprintf("%d ACK", n))
	m.Add(MaxForwards, "70")
	return m
}

// identityOf a number.
func identityOf(t *testing.T, s string) tel.Identity {
	t.Helper()
	n, err := tel.ParseNumber(s, "")
	if err != nil {
		t.Fatal(err)
	}
	return n.Identity()
}
