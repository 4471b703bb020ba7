package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// serveNATS runs nats-server with its own WebSocket: subjects without JetStream, so that
// nothing is kept. Clients are verbose: what they publish is acknowledged by +OK when it
// has been taken.
func serveNATS(ctx context.Context, _ string, ready func(string)) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close() // the server opens it itself
	s, err := server.NewServer(&server.Options{
		DontListen: true, NoLog: true, NoSigs: true,
		Websocket: server.WebsocketOpts{Host: "127.0.0.1", Port: port, NoTLS: true},
	})
	if err != nil {
		return err
	}
	s.Start()
	addr := l.Addr().String()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if nc, err := net.Dial("tcp", addr); err == nil {
			nc.Close()
			break
		}
		if time.Since(began) > patience {
			return errors.New("nats-server does not listen")
		}
	}
	ready(addr)
	<-ctx.Done()
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

type natsPeer struct{ *child }

func newNATS(string, int) (peer, error) {
	c, err := startChild("nats", "-")
	return natsPeer{c}, err
}

func (p natsPeer) server() *child { return p.child }

func (p natsPeer) connect(pair int) (tx, rx *socket, err error) {
	for _, s := range []**socket{&tx, &rx} {
		if *s, err = dial(p.addr, "/", "", readBuffer); err != nil {
			return nil, nil, err
		}
		if err := p.ask(*s, "CONNECT {\"verbose\":true,\"pedantic\":false}\r\nPING\r\n"); err != nil {
			return nil, nil, err
		}
	}
	return tx, rx, p.ask(rx, fmt.Sprintf("SUB pair%d 1\r\nPING\r\n", pair))
}

// ask sends a command that ends with a PING and waits for the PONG.
func (natsPeer) ask(s *socket, command string) error {
	if err := s.send(binmsg, []byte(command)); err != nil {
		return err
	}
	for {
		answer, err := s.read()
		switch {
		case err != nil:
			return err
		case bytes.Contains(answer, []byte("-ERR")):
			return fmt.Errorf("%.40s: %s", command, answer)
		case bytes.HasSuffix(answer, []byte("PONG\r\n")):
			return nil
		}
	}
}

func (p natsPeer) appendMessage(dst []byte, pair int, n uint64) []byte {
	var space [400]byte
	b := append(space[:0], "PUB pair"...)
	b = strconv.AppendInt(b, int64(pair), 10)
	b = append(b, " 128\r\n"...)
	start := len(b)
	b = appendID(b, n)
	for len(b)-start < messageBytes {
		b = append(b, '0')
	}
	return appendFrame(dst, binmsg, append(b, "\r\n"...))
}

var natsMessage, natsOK = []byte("MSG "), []byte("+OK\r\n")

// parse reads one of a frame's commands; nats-server begins and ends them with the frame.
func (p natsPeer) parse(frame []byte) (kind rune, n uint64, rest []byte, err error) {
	line, rest, ok := bytes.Cut(frame, []byte("\r\n"))
	switch {
	case !ok:
		return 0, 0, nil, io.ErrUnexpectedEOF
	case bytes.HasPrefix(frame, natsOK):
		return 'a', next, rest, nil
	case bytes.HasPrefix(line, natsMessage) && len(rest) >= messageBytes+2:
		n, err = strconv.ParseUint(string(rest[:idDigits]), 10, 64)
		return 'm', n, rest[messageBytes+2:], err
	case bytes.HasPrefix(line, []byte("PING")):
		return 0, 0, rest, nil // it comes again after two minutes; the run is over by then
	}
	return 0, 0, nil, errors.New("neither OK nor message")
}
