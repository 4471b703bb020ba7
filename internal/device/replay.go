package device

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"time"
)

// replay remembers the nonces used within the last NonceTTL at least, in two halves of
// which the older is forgotten at each turn.
type replay struct {
	max int

	mu       sync.Mutex
	now, old map[[nonceRandom]byte]struct{}
	turned   time.Time
}

// use notes the nonce; ErrAssertion if it was used before, ErrBusy if there is no room.
// Only answers that hold get this far, so nobody without a device can fill it.
func (r *replay) use(nonce [nonceRandom]byte, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if since := now.Sub(r.turned); r.now == nil || since >= NonceTTL {
		r.old, r.now = r.now, map[[nonceRandom]byte]struct{}{}
		if since >= 2*NonceTTL {
			r.old = nil
		}
		r.turned = now
	}
	_, inNow := r.now[nonce]
	_, inOld := r.old[nonce]
	if inNow || inOld {
		return fmt.Errorf("%w: the nonce was used before", ErrAssertion)
	}
	if len(r.now) >= r.max {
		return ErrBusy
	}
	r.now[nonce] = struct{}{}
	return nil
}

// answer is a challenge that a device has answered, in the device's record.
type answer struct {
	Nonce []byte `json:"nonce"`
	// By is the attempt that wrote it: who finds its own has not been replayed.
	By []byte `json:"by"`
	// Until is when it can be forgotten.
	Until time.Time `json:"until"`
}

// maxAnswers is how many challenges a device can answer in two minutes where nodes share
// the devices.
const maxAnswers = 256

// answered notes in the device's record, by one compare-and-set, that it has answered the
// nonce: on whichever node an answer comes again, it is refused. It returns the record as
// it is now. ErrAssertion, ErrBusy.
func (r *Registry) answered(ctx context.Context, d Device, nonce [nonceRandom]byte, now time.Time) (Device, error) {
	// Twice the nonce's life, since the nodes' clocks may differ by as much as one.
	mine := answer{Nonce: nonce[:], By: make([]byte, 8), Until: now.Add(2 * NonceTTL)}
	rand.Read(mine.By)
	return r.change(ctx, d.Tenant, d.ID, func(d *Device) error {
		kept := make([]answer, 0, len(d.Answers)+1)
		for _, a := range d.Answers {
			if bytes.Equal(a.Nonce, mine.Nonce) && !bytes.Equal(a.By, mine.By) {
				return fmt.Errorf("%w: the nonce was used before", ErrAssertion)
			}
			if now.Before(a.Until) && !bytes.Equal(a.By, mine.By) {
				kept = append(kept, a)
			}
		}
		if len(kept) >= maxAnswers {
			return ErrBusy
		}
		d.Answers = slices.Clip(append(kept, mine))
		return nil
	})
}
