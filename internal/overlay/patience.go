package overlay

import (
	"net/url"
	"sync"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// patience keeps a provider's server that does not answer from taking the time of others: until it
// answers again, one question at a time waits for it. Its zero value is usable.
type patience struct {
	mu      sync.Mutex
	servers map[string]waiting
}

// waiting is how many questions wait for a server, and whether it left the last one unanswered.
type waiting struct {
	questions int
	silent    bool
}

// serverOf names the server of a provider's address, and the tenant that has it asked.
func serverOf(tenant wire.TenantID, address string) string {
	host := address
	if u, err := url.Parse(address); err == nil {
		host = u.Host
	}
	return store.Key(string(tenant), host)
}

// begin reports whether the server may be asked; then end must follow.
func (p *patience) begin(server string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.servers[server]
	if w.silent && w.questions > 0 {
		return false
	}
	w.questions++
	if p.servers == nil {
		p.servers = map[string]waiting{}
	}
	p.servers[server] = w
	return true
}

// maxSilent bounds the servers that are remembered as silent.
const maxSilent = 10_000

// end notes whether the server has answered.
func (p *patience) end(server string, answered bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.servers[server]
	w.questions--
	w.silent = !answered
	if w.questions == 0 && (answered || len(p.servers) > maxSilent) {
		delete(p.servers, server)
		return
	}
	p.servers[server] = w
}
