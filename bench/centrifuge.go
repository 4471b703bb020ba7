package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/centrifugal/centrifuge"
)

// serveCentrifuge runs the nearest peer in Go: channels with a history, kept in memory
// and never synced, and publications acknowledged to who made them.
func serveCentrifuge(ctx context.Context, _ string, ready func(string)) error {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return err
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{
			Credentials:    &centrifuge.Credentials{UserID: "bench"},
			PingPongConfig: &centrifuge.PingPongConfig{PingInterval: -1, PongTimeout: -1},
		}, nil
	})
	node.OnConnect(func(c *centrifuge.Client) {
		c.OnSubscribe(func(_ centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
			done(centrifuge.SubscribeReply{}, nil)
		})
		c.OnPublish(func(_ centrifuge.PublishEvent, done centrifuge.PublishCallback) {
			done(centrifuge.PublishReply{Options: centrifuge.PublishOptions{HistorySize: 1000, HistoryTTL: 10 * time.Minute}}, nil)
		})
	})
	if err := node.Run(); err != nil {
		return err
	}
	err = serveHTTP(ctx, centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{}), ready)
	stop, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = node.Shutdown(stop) // the process ends with it, and nothing is to be kept
	return err
}

type centrifugePeer struct{ *child }

func newCentrifuge(string, int) (peer, error) {
	c, err := startChild("centrifuge", "-")
	return centrifugePeer{c}, err
}

func (p centrifugePeer) server() *child { return p.child }

func (p centrifugePeer) connect(pair int) (tx, rx *socket, err error) {
	for _, s := range []**socket{&tx, &rx} {
		if *s, err = dial(p.addr, "/", "", readBuffer); err != nil {
			return nil, nil, err
		}
		if err := p.ask(*s, `{"id":1,"connect":{}}`); err != nil {
			return nil, nil, err
		}
	}
	return tx, rx, p.ask(rx, fmt.Sprintf(`{"id":2,"subscribe":{"channel":"pair%d"}}`, pair))
}

func (centrifugePeer) ask(s *socket, command string) error {
	if err := s.send(text, []byte(command)); err != nil {
		return err
	}
	answer, err := s.read()
	if err == nil && bytes.Contains(answer, []byte(`"error"`)) {
		err = fmt.Errorf("%s: %s", command, answer)
	}
	return err
}

// centrifugeIDs are the command ids that come before the first message.
const centrifugeIDs = 2

// bodyOf message n: 128 bytes that begin with its number.
const bodyStart = `{"n":"`

func (p centrifugePeer) appendMessage(dst []byte, pair int, n uint64) []byte {
	var space [400]byte
	b := append(space[:0], `{"id":`...)
	b = strconv.AppendUint(b, n+centrifugeIDs, 10)
	b = append(b, `,"publish":{"channel":"pair`...)
	b = strconv.AppendInt(b, int64(pair), 10)
	b = append(b, `","data":`...)
	start := len(b)
	b = appendID(append(b, bodyStart...), n)
	b = append(b, `","text":"`...)
	for len(b)-start < messageBytes-2 {
		b = append(b, '0')
	}
	b = append(b, `"}}}`...)
	return appendFrame(dst, text, b)
}

var (
	replyStart = []byte(`{"id":`)
	pushStart  = []byte(`{"push":`)
	dataStart  = []byte(`"data":` + bodyStart)
)

// parse reads one of the lines of a frame.
func (p centrifugePeer) parse(frame []byte) (kind rune, n uint64, rest []byte, err error) {
	line, rest, _ := bytes.Cut(frame, []byte("\n"))
	switch {
	case bytes.HasPrefix(line, replyStart):
		digits, _, _ := bytes.Cut(line[len(replyStart):], []byte(","))
		n, err = strconv.ParseUint(string(digits), 10, 64)
		if bytes.Contains(line, []byte(`"error"`)) {
			err = errors.New("refused")
		}
		return 'a', n - centrifugeIDs, rest, err
	case bytes.HasPrefix(line, pushStart):
		at := bytes.Index(line, dataStart)
		if at < 0 {
			return 0, 0, nil, errors.New("push without data")
		}
		n, err = strconv.ParseUint(string(line[at+len(dataStart):][:idDigits]), 10, 64)
		return 'm', n, rest, err
	}
	return 0, 0, nil, errors.New("neither reply nor push")
}
