package wsconn

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
