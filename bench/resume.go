package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// missed is how many messages a device that comes back has missed.
const missed = 100

// resume measures how long a device that comes back waits for what it missed.
func resume(b *bench) (err error) {
	p, err := newTandem(b.dir+"/resume", 2)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	tx, rx, err := p.connect(0)
	if err != nil {
		return err
	}
	defer tx.close()
	rx.close()
	if err := p.fill(tx, missed); err != nil {
		return err
	}
	times := max(20, 20*b.rounds)
	for range times {
		began := time.Now()
		s, w, err := p.join(p.ids[1], readBuffer)
		if err != nil {
			return err
		}
		from := w.Sessions[0]
		asked := time.Now()
		n, err := p.comeBack(s, from.ID, wire.Resume{Epoch: from.Epoch, Seq: from.Head - missed})
		if err != nil {
			return err
		}
		if n != missed {
			return fmt.Errorf("%d messages came, of %d", n, missed)
		}
		b.add("resume", micros(time.Since(asked)))
		b.add("come back", micros(time.Since(began)))
		s.close()
	}
	b.printf("## Coming back\n\nA device that missed %d messages; %d times, one after the other.\n\n", missed, times)
	b.row("", "p50, µs", "p99, µs", "goal, p50")
	b.row("resume to the last message", b.quantile("resume", .5), b.quantile("resume", .99), "≤ 2,000")
	b.row("with connecting and authenticating", b.quantile("come back", .5), b.quantile("come back", .99), "")
	b.endTable()
	return nil
}

// fill sends messages of the first pair and waits until they are stored.
func (p *tandemPeer) fill(tx *socket, messages int) error {
	tx.within(patience)
	const page = 500
	for n := 0; n < messages; {
		to := min(n+page, messages)
		var out []byte
		for i := n; i < to; i++ {
			out = p.appendMessage(out, 0, uint64(i+1))
		}
		if _, err := tx.nc.Write(out); err != nil {
			return err
		}
		for n < to {
			frame, err := tx.read()
			if err != nil {
				return err
			}
			kind, _, _, err := p.parse(frame)
			if err != nil {
				return err
			}
			if kind == 'a' {
				n++
			}
		}
	}
	return nil
}

// comeBack resumes a session and counts the messages that come. It gives up when nothing has
// come for a while: with little room on the way the kernel may let the server send only
// a few kilobytes every 200 ms.
func (p *tandemPeer) comeBack(s *socket, id wire.SessionID, from wire.Resume) (messages int, err error) {
	if err := request(s, wire.Envelope{Type: wire.TypeResume, ID: "resume", Session: id}, from); err != nil {
		return 0, err
	}
	for {
		s.within(patience)
		frame, err := s.read()
		if err != nil {
			return messages, err
		}
		e, err := wire.DecodeServer(frame)
		if err != nil {
			return messages, err
		}
		switch e.Type {
		case wire.TypeMessage:
			messages++
		case wire.TypeResumed:
			return messages, nil
		case wire.TypeError:
			return messages, fmt.Errorf("resume: %s", e.Body)
		}
	}
}
