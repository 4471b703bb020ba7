package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore"
	"github.com/tandem-call/tandem/internal/party"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/wire"
)

// fanout measures a session with very many members in this process, without sockets: what
// a message costs that goes to all of them, and to how many different encodings it leads.
func fanout(b *bench) (err error) {
	e, err := pebblestore.Open(pebblestore.Options{Dir: filepath.Join(b.dir, "fanout")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	limits := wire.DefaultLimits
	limits.Members, limits.MessagesPerSecond, limits.MessageBurst = b.members, 1e6, 1_000_000
	s, err := sessionsOn(e, party.New(e, nil), limits)
	if err != nil {
		return err
	}
	ctx, a, z := context.Background(), numberOf(0).Identity(), numberOf(1).Identity()
	sides := []session.OpeningSide{{Principal: a, Shown: a}, {Principal: z, Shown: z}}
	for i := range b.members {
		side := &sides[i%2]
		side.Devices = append(side.Devices, wire.DeviceID(fmt.Sprint("d", i)))
	}
	const id = "s_fanout"
	if err := s.Open(ctx, session.Opening{Tenant: wire.DefaultTenant, ID: id, Sides: sides, At: time.Now()}); err != nil {
		return err
	}
	var t tally
	for i := 1; i < b.members; i++ {
		if _, _, err := s.Attach(ctx, wire.DefaultTenant, wire.DeviceID(fmt.Sprint("d", i)), &member{&t}); err != nil {
			return err
		}
	}
	for round := range b.rounds {
		const messages = 20
		t.delivered.Store(0)
		cpu, began := ownProcessor(), time.Now()
		for i := range messages {
			e := wire.Envelope{Type: wire.TypeSend, ID: wire.RequestID(fmt.Sprint("m", round, "-", i)), Session: id, Kind: wire.KindText, Body: []byte(textBody)}
			done := make(chan wire.Envelope, 1)
			s.Send(ctx, wire.DefaultTenant, "d0", nil, e, func(a wire.Envelope) { done <- a })
			if a := <-done; a.Type != wire.TypeAck {
				return fmt.Errorf("a message of %d members: %s %s", b.members, a.Type, a.Body)
			}
		}
		want := int64(messages * (b.members - 1))
		for t.delivered.Load() < want {
			if time.Since(began) > patience {
				return fmt.Errorf("%d of %d deliveries", t.delivered.Load(), want)
			}
			time.Sleep(time.Millisecond)
		}
		b.add("fanout", micros(ownProcessor()-cpu)/messages)
		b.add("fanout delivery", 1e3*micros(ownProcessor()-cpu)/float64(want))
	}
	b.printf("## A large session\n\nA message to %s members, in one process without sockets: %s µs of processor time, %s ns for each delivery; encoded %s times for each message.\n\n",
		number(float64(b.members), 0), b.figure("fanout", 0), b.figure("fanout delivery", 0), number(float64(t.encodings.Load())/float64(20*b.rounds), 0))
	return nil
}

// tally counts what the members of the large session get.
type tally struct {
	delivered, encodings atomic.Int64
	last                 atomic.Pointer[byte] // where the latest frame is in memory
}

type member struct{ *tally }

func (m *member) Push(frame []byte) bool {
	if m.last.Swap(&frame[0]) != &frame[0] {
		m.encodings.Add(1)
	}
	m.delivered.Add(1)
	return true
}

func (*member) Close(wire.CloseCode, string) {}
