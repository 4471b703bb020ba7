package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// ringing answers calls at a UDP address at once: 180, then 200. It keeps nothing.
type ringing struct {
	net.PacketConn
	done chan struct{}
}

func newRinging() (*ringing, error) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &ringing{c, make(chan struct{})}
	go r.answer()
	return r, nil
}

func (r *ringing) answer() {
	defer close(r.done)
	buf := make([]byte, 65536)
	contact := &sip.ContactHeader{}
	if err := sip.ParseUri(fmt.Sprintf("sip:%s", r.LocalAddr()), &contact.Address); err != nil {
		return
	}
	for {
		n, from, err := r.ReadFrom(buf)
		if err != nil {
			return // it is closed
		}
		m, err := sip.ParseMessage(slices.Clone(buf[:n]))
		req, ok := m.(*sip.Request)
		if err != nil || !ok || req.Method == sip.ACK {
			continue
		}
		answers := []*sip.Response{sip.NewResponseFromRequest(req, 200, "OK", nil)}
		if req.Method == sip.INVITE {
			answers = []*sip.Response{sip.NewResponseFromRequest(req, 180, "Ringing", nil), answers[0]}
			answers[1].To().Params.Remove("tag")
			tag, _ := answers[0].To().Params.Get("tag")
			answers[1].To().Params.Add("tag", tag)
		}
		for _, a := range answers {
			if req.Method == sip.INVITE {
				a.AppendHeader(contact)
			}
			if _, err := r.WriteTo([]byte(a.String()), from); err != nil {
				return
			}
		}
	}
}

func (r *ringing) stop() error {
	err := r.Close()
	<-r.done
	return err
}

// setUps makes calls one after the other and returns, in µs, how long each took from the INVITE to
// the 180.
func setUps(addr string, calls int) (waits []float64, err error) {
	c, err := net.Dial("udp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	for i := range calls {
		wait, err := setUp(c, i, rand.Text())
		if err != nil {
			return nil, fmt.Errorf("call %d: %w", i, err)
		}
		waits = append(waits, float64(wait.Nanoseconds())/1e3)
	}
	return waits, nil
}

// setUp makes call i, with a Call-ID of its own, and ends it.
func setUp(c net.Conn, i int, id string) (time.Duration, error) {
	// A number of its own, so that no call meets a limit of the one before.
	from := fmt.Sprintf("<sip:+44207946%04d@127.0.0.1>;tag=t%d", 1000+i%9000, i)
	request := func(method, uri, to string, seq int, more string) string {
		return fmt.Sprintf("%s %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%s-%d-%s;rport\r\nMax-Forwards: 70\r\nFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\n%sContent-Length: 0\r\n\r\n",
			method, uri, c.LocalAddr(), id, seq, method, from, to, id, seq, method, more)
	}
	const called = "sip:+442079460002@127.0.0.1"
	begun := time.Now()
	if _, err := c.Write([]byte(request("INVITE", called, "<"+called+">", 1, fmt.Sprintf("Contact: <sip:%s>\r\n", c.LocalAddr())))); err != nil {
		return 0, err
	}
	if _, err := response(c, id, sip.INVITE, 180); err != nil {
		return 0, err
	}
	took := time.Since(begun)
	ok, err := response(c, id, sip.INVITE, 200)
	if err != nil {
		return 0, err
	}
	var route strings.Builder
	for _, r := range slices.Backward(ok.GetHeaders("Record-Route")) {
		fmt.Fprintf(&route, "Route: %s\r\n", r.Value())
	}
	uri, to := ok.Contact().Address.String(), ok.To().Value()
	if _, err := c.Write([]byte(request("ACK", uri, to, 1, route.String()))); err != nil {
		return 0, err
	}
	if _, err := c.Write([]byte(request("BYE", uri, to, 2, route.String()))); err != nil {
		return 0, err
	}
	_, err = response(c, id, sip.BYE, 200)
	return took, err
}

// response waits for a response to a request of a call.
func response(c net.Conn, id string, to sip.RequestMethod, want int) (*sip.Response, error) {
	buf := make([]byte, 65536)
	if err := c.SetReadDeadline(time.Now().Add(late)); err != nil {
		return nil, err
	}
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil, fmt.Errorf("waiting for %d: %w", want, err)
		}
		m, err := sip.ParseMessage(slices.Clone(buf[:n]))
		if err != nil {
			return nil, err
		}
		r, ok := m.(*sip.Response)
		switch {
		case !ok, r.CallID().Value() != id, r.CSeq().MethodName != to, r.StatusCode < want:
		case r.StatusCode == want:
			return r, nil
		default:
			return nil, errors.New(r.StartLine())
		}
	}
}
