package sip

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// outcome of one of RFC 4475's messages.
type outcome struct {
	// status of the answer; 0: none comes.
	status int
	// forwarded: it reaches the next element as it was, but for what a proxy changes.
	forwarded bool
	// closes: the stream makes no sense behind it, so no answer can come back.
	closes bool
	// tcp is the outcome over TCP where it differs.
	tcp *outcome
	// why, by RFC 4475's own words for the message, or RFC 3261.
	why string
	// check looks closer at the answer.
	check func(*testing.T, *Message)
}

// asProxy is what an element answers that is responsible for none of the domains.
var asProxy = map[string]outcome{
	"wsinv":   {forwarded: true, why: "3.1.1.1: legal white space, folding, escapes, quotes, repeated and unknown header fields"},
	"intmeth": {forwarded: true, why: "3.1.1.2: all characters of a token and of a user part; the method keeps its case"},
	"esc01":   {forwarded: true, why: "3.1.1.3: the escaped @ is no separator"},
	"escnull": {forwarded: true, why: "3.1.1.4: an escaped null stays as it is"},
	"esc02":   {forwarded: true, why: "3.1.1.5: % in a method and a header field's name escapes nothing"},
	"lwsdisp": {forwarded: true, why: "3.1.1.6: no space between a name and <"},
	"longreq": {forwarded: true, why: "3.1.1.7: long values"},
	"dblreq": {forwarded: true, tcp: &outcome{forwarded: true, closes: true, why: "on a stream it is the next one, whose Content-Length is 3 too small"},
		why: "3.1.1.8: what is behind the body is not part of a datagram's message"},
	"semiuri":    {forwarded: true, why: "3.1.1.9: a semicolon in the user part begins no parameter"},
	"transports": {forwarded: true, why: "3.1.1.10: transports in Via that nobody knows"},
	"mpart01":    {forwarded: true, why: "3.1.1.11: a binary body, byte for byte"},
	"unreason":   {why: "3.1.1.12: a response to nothing; its reason phrase is in UTF-8"},
	"noreason":   {why: "3.1.1.13: a response to nothing; its reason phrase is empty"},

	"badinv01":   {status: 400, why: "3.1.2.1: extraneous separators in Via and Contact"},
	"clerr":      {status: 400, tcp: &outcome{why: "on a stream the element waits for the rest"}, why: "3.1.2.2: Content-Length beyond the datagram"},
	"ncl":        {status: 400, why: "3.1.2.3: a negative Content-Length; a stream is closed"},
	"scalar02":   {status: 400, why: "3.1.2.4: CSeq and Max-Forwards are too large"},
	"scalarlg":   {why: "3.1.2.5: a response with a CSeq that is too large is discarded"},
	"quotbal":    {status: 400, why: "3.1.2.6: a quote is not closed"},
	"ltgtruri":   {status: 400, why: "3.1.2.7: <> around the Request-URI"},
	"lwsruri":    {status: 400, why: "3.1.2.8: white space in the Request-URI"},
	"lwsstart":   {status: 400, why: "3.1.2.9: more than one space in the request line"},
	"trws":       {status: 400, why: "3.1.2.10: white space at the end of the request line"},
	"escruri":    {status: 400, why: "3.1.2.11: header fields in the Request-URI"},
	"baddate":    {forwarded: true, why: "3.1.2.12: a Date that is not in GMT; a proxy does not read Date (RFC 3261 16.3)"},
	"regbadct":   {status: 400, why: "3.1.2.13: a Contact with ? that is not in <>"},
	"badaspec":   {status: 400, why: "3.1.2.14: spaces within <>"},
	"baddn":      {status: 400, why: "3.1.2.15: a comma in a name without quotes"},
	"badvers":    {status: 505, why: "3.1.2.16: version 7.0"},
	"mismatch01": {status: 400, why: "3.1.2.17: CSeq names another method"},
	"mismatch02": {status: 400, why: "3.1.2.18: CSeq names another method than the unknown one; 400 or 501"},
	"bigcode":    {why: "3.1.2.19: a status of ten digits is discarded"},

	"badbranch": {forwarded: true, why: "3.2.1: a branch of nothing but the cookie is matched as of RFC 2543"},

	"insuf":    {status: 400, why: "3.3.1: Call-ID, From and To are missing"},
	"unkscm":   {status: 416, why: "3.3.2: an unknown scheme in the Request-URI"},
	"novelsc":  {status: 416, why: "3.3.3: a known scheme that is not for SIP"},
	"unksm2":   {forwarded: true, why: "3.3.4: a proxy does not look at the schemes of To and Contact"},
	"bext01":   {status: 420, why: "3.3.5: extensions that a proxy would have to know", check: unsupportedIs("noProxiesSupportThis, norDoAnyProxiesSupportThis")},
	"invut":    {forwarded: true, why: "3.3.6: bodies of any type are forwarded"},
	"regaut01": {forwarded: true, why: "3.3.7: credentials are for the registrar"},
	"multi01":  {status: 400, why: "3.3.8: CSeq, Call-ID, To and From are there twice"},
	"mcl01":    {status: 400, why: "3.3.9: two Content-Lengths; a stream is closed"},
	"bcast":    {why: "3.3.10: a response whose Via is a broadcast address is sent nowhere"},
	"zeromf":   {status: 483, why: "3.3.11: Max-Forwards is 0"},
	"cparam01": {forwarded: true, why: "3.3.12: an unknown parameter of Contact"},
	"cparam02": {forwarded: true, why: "3.3.13: an unknown parameter of the URI in Contact"},
	"regescrt": {forwarded: true, why: "3.3.14: a Contact whose URI has a Route"},
	"sdp01":    {forwarded: true, why: "3.3.15: Accept is the called party's business"},

	"inv2543": {forwarded: true, why: "3.4.1: of RFC 2543: no branch, no Max-Forwards, no tag"},
}

// asRegistrar is what the registrar of example.com answers to those that are meant for it.
var asRegistrar = map[string]outcome{
	"escnull":  {status: 200, why: "both contacts, which are different, for a user with a null", check: contactsAre("sip:%00@host5.example.com", "sip:%00%00@host5.example.com")},
	"dblreq":   {status: 200, why: "the first request only", check: contactsAre("sip:j.user@host.example.com")},
	"regbadct": {status: 400, why: "nobody can tell whose the ? is"},
	"scalar02": {status: 400, why: "CSeq and Max-Forwards are too large"},
	"unksm2":   {status: 404, why: "no address of record of this domain (RFC 3261 10.3 step 5)"},
	"regaut01": {status: 401, why: "an unknown scheme is no credential; the registrar asks for one that it knows", check: func(t *testing.T, m *Message) {
		if !strings.HasPrefix(m.Get(WWWAuthenticate), "Digest ") {
			t.Errorf("asks with %q", m.Get(WWWAuthenticate))
		}
	}},
	"cparam01": {status: 200, why: "the parameter is the contact's", check: contactsAre("sip:+19725552222@gw1.example.net")},
	"cparam02": {status: 200, why: "the parameter is the URI's", check: contactsAre("sip:+19725552222@gw1.example.net;unknownparam")},
	"regescrt": {status: 200, why: "the URI keeps its Route", check: contactsAre("sip:user@example.com?Route=%3Csip:sip.example.com%3E")},
	"zeromf":   {status: 200, why: "it is responsible for the domain, and answers itself"},
	"bext01":   {status: 420, why: "extensions that a proxy would have to know"},
}

func unsupportedIs(want string) func(*testing.T, *Message) {
	return func(t *testing.T, m *Message) {
		if got := m.Get(Unsupported); got != want {
			t.Errorf("Unsupported: %q", got)
		}
	}
}

func contactsAre(want ...string) func(*testing.T, *Message) {
	return func(t *testing.T, m *Message) {
		var got []string
		for _, v := range m.All(Contact) {
			a, ok := parseAddress(v)
			if n, has := a.params.get("expires"); !ok || !has || n == "0" {
				t.Errorf("Contact: %q", v)
			}
			got = append(got, a.uri.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("the contacts are %q", got)
		}
	}
}

// beyond is the next element on the way, at an address of its own: every name leads there.
type beyond struct {
	udp *net.UDPConn
	in  chan *Message
}

// await waits for what an element forwards of a call; repetitions of others are passed over.
func (b *beyond) await(t *testing.T, w *world, callID string) *Message {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case m := <-b.in:
			if m.Get(CallID) == callID && m.topVia().port == w.addr.Port() {
				return m
			}
		case <-timeout:
			t.Fatal("it was not forwarded")
		}
	}
}

const beyondAddr = "127.88.0.1"

var tortureSource atomic.Uint32

// newBeyond makes it, and a resolver that knows it by every name.
func newBeyond(t *testing.T) (*beyond, *net.Resolver) {
	t.Helper()
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(beyondAddr+":5060")))
	if err != nil {
		t.Fatal(err)
	}
	b := &beyond{udp: u, in: make(chan *Message, 1000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, maxMessage)
		for {
			n, err := u.Read(buf)
			if err != nil {
				return
			}
			if m, _ := parseDatagram(buf[:n]); m != nil && m.Method != "ACK" && m.Method != "CANCEL" {
				b.in <- m
			}
		}
	}()
	t.Cleanup(func() { u.Close(); <-done })
	return b, fakeDNS(t, beyondAddr)
}

// fakeDNS knows one address by every name.
func fakeDNS(t *testing.T, addr string) *net.Resolver {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	s := &dns.Server{PacketConn: pc, NotifyStartedFunc: func() { close(ready) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		r := new(dns.Msg)
		r.SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			r.Answer = append(r.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.ParseIP(addr)})
		}
		_ = w.WriteMsg(r)
	})}
	ended := make(chan error, 1)
	go func() { ended <- s.ActivateAndServe() }()
	<-ready
	t.Cleanup(func() {
		_ = s.Shutdown()
		<-ended
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
}

// peer sends raw bytes, from an address of its own, so that answers to any port in Via
// find it.
type peer struct {
	t      *testing.T
	send   func([]byte)
	next   func() (*Message, bool) // false: the connection is closed
	source netip.Addr
}

func newPeer(t *testing.T, w *world, transport string, port uint16) *peer {
	t.Helper()
	n := tortureSource.Add(1)
	p := &peer{t: t, source: netip.AddrFrom4([4]byte{127, 77, byte(n >> 8), byte(n)})}
	if transport == "UDP" {
		c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.source, port)), net.UDPAddrFromAddrPort(w.addr))
		w.must(err)
		t.Cleanup(func() { c.Close() })
		p.send = func(b []byte) { _, err := c.Write(b); w.must(err) }
		p.next = func() (*Message, bool) {
			buf := make([]byte, maxMessage)
			w.must(c.SetReadDeadline(time.Now().Add(patience)))
			n, err := c.Read(buf)
			w.must(err)
			m, _ := parseDatagram(buf[:n])
			return m, true
		}
		return p
	}
	c, err := (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.source, 0))}).Dial("tcp", w.addr.String())
	w.must(err)
	t.Cleanup(func() { c.Close() })
	r := bufio.NewReader(c)
	p.send = func(b []byte) { _, err := c.Write(b); w.must(err) }
	p.next = func() (*Message, bool) {
		w.must(c.SetReadDeadline(time.Now().Add(patience)))
		for b, err := r.Peek(1); err == nil && (b[0] == '\r' || b[0] == '\n'); b, err = r.Peek(1) {
			_, _ = r.Discard(1) // an answer to what looked like a keep-alive
		}
		m, _ := readMessage(r)
		return m, m != nil
	}
	return p
}

// probe is a request that the element itself answers.
func (p *peer) probe(w *world, transport string) []byte {
	m := &Message{Method: "OPTIONS", URI: "sip:" + w.e.cfg.Domain}
	m.Add(Via, fmt.Sprintf("SIP/2.0/%s %s;branch=%sprobe%d;rport", transport, p.source, cookie, tortureSource.Add(1)))
	m.Add(From, "<sip:probe@example.org>;tag=1")
	m.Add(To, "<sip:"+w.e.cfg.Domain+">")
	m.Add(CallID, "probe")
	m.Add(CSeq, "1 OPTIONS")
	return m.Encode()
}

// TestTorture: each of RFC 4475's 49 messages is answered as is written above, over UDP and
// TCP, and the element goes on.
func TestTorture(t *testing.T) {
	files, err := filepath.Glob("testdata/torture/*.dat")
	if err != nil || len(files) != 49 || len(asProxy) != 49 {
		t.Fatalf("%d messages, %d expectations, %v", len(files), len(asProxy), err)
	}
	next, resolver := newBeyond(t)
	trust := func(c *Config) {
		c.Trusted, c.Resolver, c.Domain = []netip.Prefix{netip.MustParsePrefix("127.77.0.0/16")}, resolver, "tandem.example"
	}
	// An element of its own for each, or the second message would be the first, repeated.
	worlds := map[string]*world{"UDP": newWorld(t, trust), "TCP": newWorld(t, trust)}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".dat")
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// mpart01 alone has a Route that leads to this machine, where anything may listen.
		data = bytes.Replace(data, []byte("<sip:127.0.0.1:5080>"), []byte("<sip:127.88.0.1:5060;lr>"), 1)
		for _, transport := range []string{"UDP", "TCP"} {
			t.Run(name+"/"+transport, func(t *testing.T) {
				want := asProxy[name]
				if transport == "TCP" {
					if want.tcp != nil {
						want = *want.tcp
					}
					data = framed(data)
				}
				torture(t, worlds[transport], next, transport, data, want)
			})
		}
	}
	open, closed := newWorld(t, func(c *Config) { c.MaxBindings = 1000 }), newWorld(t, func(c *Config) { c.Open = false })
	for name, want := range asRegistrar {
		data, err := os.ReadFile("testdata/torture/" + name + ".dat")
		if err != nil {
			t.Fatal(err)
		}
		w := open
		if want.status == 401 {
			w = closed
		}
		t.Run(name+"/registrar", func(t *testing.T) { torture(t, w, nil, "UDP", data, want) })
	}
}

// framed gives a message without Content-Length one, since on a stream there must be.
func framed(data []byte) []byte {
	head, body, ok := bytes.Cut(data, []byte("\r\n\r\n"))
	if !ok || bytes.Contains(bytes.ToLower(head), []byte("\r\nl:")) || bytes.Contains(bytes.ToLower(head), []byte("content-length")) {
		return data
	}
	return slices.Concat(head, fmt.Appendf(nil, "\r\nContent-Length: %d\r\n\r\n", len(body)), body)
}

func torture(t *testing.T, w *world, next *beyond, transport string, data []byte, want outcome) {
	port := uint16(5060)
	sent, _ := parseDatagram(data)
	if sent != nil {
		if v := sent.topVia(); v.port != 0 {
			port = v.port
		}
	}
	p := newPeer(t, w, transport, port)
	p.send(data)
	waits := transport == "TCP" && want.status == 0 && !want.forwarded && sent != nil && sent.IsRequest()
	if waits { // the rest would come, so nothing else can be asked on this connection
		p = newPeer(t, w, transport, port)
	}
	switch {
	case want.forwarded:
		m := next.await(t, w, sent.Get(CallID))
		unchanged(t, sent, m)
		if want.closes {
			return
		}
		r := m.Response(480, reasons[480])
		r.tagTo("x")
		_, err := next.udp.WriteToUDPAddrPort(r.Encode(), w.addr)
		w.must(err)
		for ok := true; ok; {
			var got *Message
			if got, ok = p.next(); got != nil && got.Status == 480 && got.Get(CallID) == sent.Get(CallID) {
				return
			}
		}
		t.Error("the answer did not come back")
	case want.status != 0:
		m, ok := p.next()
		for ok && m != nil && m.Status == 100 {
			m, ok = p.next()
		}
		if !ok || m == nil || m.Status != want.status {
			t.Fatalf("answered with %+v, not %d: %s", m, want.status, want.why)
		}
		if want.check != nil {
			want.check(t, m)
		}
	default:
		p.send(p.probe(w, transport))
		m, ok := p.next()
		if !ok && transport == "TCP" { // it was closed, which says nothing either
			return
		}
		if m == nil || m.Get(CallID) != "probe" || m.Status != 200 {
			t.Fatalf("answered with %+v, and should not be: %s", m, want.why)
		}
	}
}

// unchanged: what was forwarded is what came, but for what a proxy changes.
func unchanged(t *testing.T, sent, got *Message) {
	t.Helper()
	if got.Method != sent.Method || got.URI != sent.URI || !bytes.Equal(got.Body, sent.Body) {
		t.Errorf("%s %s with %d bytes has become %s %s with %d", sent.Method, sent.URI, len(sent.Body), got.Method, got.URI, len(got.Body))
	}
	keep := func(m *Message) (kept []Header) {
		for _, h := range m.Headers {
			if h.ID != Via && h.ID != MaxForwards && h.ID != RecordRoute && h.ID != ContentLength {
				kept = append(kept, h)
			}
		}
		return kept
	}
	if a, b := keep(sent), keep(got); !slices.Equal(a, b) {
		t.Errorf("the header fields\n%v\nhave become\n%v", a, b)
	}
	a, b := sent.All(Via), got.All(Via)
	if len(b) != len(a)+1 || !slices.Equal(a[1:], b[2:]) {
		t.Errorf("Via %q has become %q", a, b)
	}
	hops, ok := number(sent.Get(MaxForwards), 255)
	if now, _ := number(got.Get(MaxForwards), 255); ok && now != hops-1 || !ok && now != 70 {
		t.Errorf("Max-Forwards %q has become %q", sent.Get(MaxForwards), got.Get(MaxForwards))
	}
}

// TestMutations: 10,000 messages, made from the 49 by changing some bytes, end neither the
// element nor its patience: it answers what is good all the while.
func TestMutations(t *testing.T) {
	files, err := filepath.Glob("testdata/torture/*.dat")
	if err != nil {
		t.Fatal(err)
	}
	var seeds [][]byte
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, data)
	}
	w := newWorld(t, func(c *Config) { c.Logger = slog.New(slog.DiscardHandler) })
	p := newPeer(t, w, "UDP", 5060)
	r := rand.New(rand.NewPCG(4475, 3261))
	for i := range 10_000 {
		p.send(mutate(r, seeds))
		if i%100 != 99 {
			continue
		}
		p.send(p.probe(w, "UDP"))
		for {
			if m, _ := p.next(); m != nil && m.Get(CallID) == "probe" && m.Status == 200 {
				break
			}
		}
	}
	if n := w.e.Stats().Requests + w.e.Stats().Faults; n < 9000 {
		t.Errorf("only %d messages have come", n)
	}
}

// mutate changes a message in a few places.
func mutate(r *rand.Rand, seeds [][]byte) []byte {
	b := slices.Clone(seeds[r.IntN(len(seeds))])
	for range 1 + r.IntN(4) {
		i := r.IntN(len(b))
		switch r.IntN(6) {
		case 0:
			b[i] = byte(r.Uint32())
		case 1:
			b = slices.Delete(b, i, min(len(b), i+1+r.IntN(8)))
		case 2:
			b = slices.Insert(b, i, b[i:min(len(b), i+1+r.IntN(40))]...)
		case 3: // a part of another
			o := seeds[r.IntN(len(seeds))]
			j := r.IntN(len(o))
			b = slices.Insert(b, i, o[j:min(len(o), j+1+r.IntN(80))]...)
		case 4:
			b = slices.Insert(b, i, []byte(`"<>;,:@%=?[]()\/ `)[r.IntN(17)])
		case 5:
			b = b[:i+1]
		}
		if len(b) == 0 {
			b = []byte{0}
		}
	}
	return b[:min(len(b), maxMessage-1)]
}

func corpus(f *testing.F) {
	files, err := filepath.Glob("testdata/torture/*.dat")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}

// FuzzDatagram: what is taken reads the same when it is sent on.
func FuzzDatagram(f *testing.F) {
	corpus(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		m, fault := parseDatagram(data)
		if m == nil && fault == nil {
			t.Fatal("neither a message nor a fault")
		}
		if fault != nil {
			return
		}
		again, fault := parseDatagram(m.Encode())
		if fault != nil {
			t.Fatalf("%v: %q", fault, m.Encode())
		}
		again.Remove(ContentLength)
		m.Remove(ContentLength)
		if !slices.Equal(m.Headers, again.Headers) || !bytes.Equal(m.Body, again.Body) || m.Method != again.Method || m.URI != again.URI || m.Status != again.Status {
			t.Errorf("%q reads as %q", m.Encode(), again.Encode())
		}
	})
}

// FuzzStream: on a stream the same messages are taken as in datagrams.
func FuzzStream(f *testing.F) {
	corpus(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bufio.NewReader(bytes.NewReader(data))
		for range 10 {
			m, fault := readMessage(r)
			if m == nil || fault != nil {
				return
			}
			if _, fault := parseDatagram(m.Encode()); fault != nil {
				t.Fatalf("%v: %q", fault, m.Encode())
			}
		}
	})
}

// FuzzAddress: what is read is written the same way, and read again.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{`"A. \"B\" C" <sip:a%40b:pw@[::1]:5060;lr;x=%20?Route=%3Csip:x%3E>;tag=1;q="a;b"`, "sip:x@y;tag=2", "tel:+44-20", "a <sips:b>", "<sip:a;b=c?d@e>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, ok := parseAddress(s)
		if !ok {
			return
		}
		b, ok := parseAddress(a.String())
		if !ok || a.String() != b.String() {
			t.Errorf("%q is written %q and read as %q", s, a.String(), b.String())
		}
		userOf(a.uri)
	})
}
