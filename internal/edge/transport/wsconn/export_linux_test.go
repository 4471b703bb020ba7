package wsconn

import (
	"math"
	"time"
)

// Resting is how many connections have no goroutine.
func (h *Handler) Resting() (n int) {
	h.lounge.mu.Lock()
	defer h.lounge.mu.Unlock()
	for _, c := range h.lounge.resting {
		if c != nil {
			n++
		}
	}
	return n
}

// Look is one look at so many connections for which nothing is due.
func Look(conns int) func() {
	h := &Handler{start: time.Now(), reg: newRegistry()}
	for range conns {
		c := &socket{}
		c.next.Store(math.MaxInt64)
		h.reg.all = append(h.reg.all, &c.outbox)
	}
	return h.look
}
