package server

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/tel"
)

// An answer that tells nothing of others must not tell it by its time, either. What opens
// nothing is therefore answered at whole multiples of a step, which is longer than the work
// takes: then the time tells how busy the server is, and not what it found. TestTimingOfReports
// and TestTimingOfEnrolment measure it.

// even waits until a multiple of the step has passed since something began that has taken
// its time until now, and would have taken more if it had done all that it pretends to.
func even(ctx context.Context, began time.Time, more, step time.Duration) {
	if step <= 0 {
		return
	}
	took := time.Since(began)
	t := time.NewTimer((took + more).Truncate(step) + step - took)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// curious callers could learn from the time of an answer. Network elements carry the calls
// themselves, and operators can ask.
func curious(r httpapi.Role) bool { return r == httpapi.RoleDevice || r == httpapi.RoleProvider }

// pacedSender sends codes and knows how long the last ones took. A barred number is sent
// none, and whoever asks must not notice by the time.
type pacedSender struct {
	device.Sender
	mu   sync.Mutex
	took [64]time.Duration
	n    int
}

func (p *pacedSender) SendCode(ctx context.Context, n tel.Number, code, text string) error {
	began := time.Now()
	err := p.Sender.SendCode(ctx, n, code, text)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.took[p.n%len(p.took)] = time.Since(began)
	p.n++
	return err
}

// pace is how long one of the last codes took, chosen at random.
func (p *pacedSender) pace() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n == 0 {
		return 0
	}
	return p.took[rand.IntN(min(p.n, len(p.took)))]
}
