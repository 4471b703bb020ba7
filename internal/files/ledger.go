package files

import (
	"sync"

	"github.com/tandem-call/tandem/wire"
)

// ledger counts what the limits are about, and finds files by session and by request.
// It is filled from the table at the start.
type ledger struct {
	mu       sync.Mutex
	entries  map[wire.FileID]entry
	sessions map[sessionKey]*account
	tenants  map[wire.TenantID]int64 // bytes
	open     map[deviceKey]int       // unfinished uploads
	requests map[requestKey]wire.FileID
	unfilled int64 // bytes reserved by unfinished uploads and not yet written
}

type (
	sessionKey struct {
		tenant  wire.TenantID
		session wire.SessionID
	}
	deviceKey struct {
		tenant wire.TenantID
		device wire.DeviceID
	}
	requestKey struct {
		sessionKey
		device wire.DeviceID
		id     wire.RequestID
	}
	account struct {
		bytes int64
		files map[wire.FileID]struct{}
	}
	entry struct {
		session sessionKey
		request requestKey
		bytes   int64
		// left is what an unfinished upload has still to write.
		left       int64
		unfinished bool
	}
)

func newLedger() *ledger {
	return &ledger{
		entries:  map[wire.FileID]entry{},
		sessions: map[sessionKey]*account{},
		tenants:  map[wire.TenantID]int64{},
		open:     map[deviceKey]int{},
		requests: map[requestKey]wire.FileID{},
	}
}

func requestOf(r Record) requestKey {
	return requestKey{sessionKey{r.Tenant, r.Session}, r.Owner, r.Request}
}

// set makes the ledger agree with the record.
func (l *ledger) set(r Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setLocked(r)
}

func (l *ledger) setLocked(r Record) {
	l.dropLocked(r.ID)
	e := entry{session: sessionKey{r.Tenant, r.Session}, request: requestOf(r), bytes: r.Size}
	if r.State == Uploading {
		e.unfinished, e.bytes, e.left = true, r.Length, r.Length-r.Offset
		l.open[deviceKey{r.Tenant, r.Owner}]++
		l.unfilled += e.left
	}
	a := l.sessions[e.session]
	if a == nil {
		a = &account{files: map[wire.FileID]struct{}{}}
		l.sessions[e.session] = a
	}
	a.bytes += e.bytes
	a.files[r.ID] = struct{}{}
	l.tenants[r.Tenant] += e.bytes
	l.requests[e.request] = r.ID
	l.entries[r.ID] = e
}

func (l *ledger) drop(id wire.FileID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropLocked(id)
}

func (l *ledger) dropLocked(id wire.FileID) {
	e, ok := l.entries[id]
	if !ok {
		return
	}
	delete(l.entries, id)
	delete(l.requests, e.request)
	a := l.sessions[e.session]
	a.bytes -= e.bytes
	if delete(a.files, id); len(a.files) == 0 {
		delete(l.sessions, e.session)
	}
	if l.tenants[e.session.tenant] -= e.bytes; l.tenants[e.session.tenant] == 0 {
		delete(l.tenants, e.session.tenant)
	}
	if e.unfinished {
		l.unfilled -= e.left
		d := deviceKey{e.session.tenant, e.request.device}
		if l.open[d]--; l.open[d] == 0 {
			delete(l.open, d)
		}
	}
}

// byRequest finds the file that a repeated request is about.
func (l *ledger) byRequest(k requestKey) (wire.FileID, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id, ok := l.requests[k]
	return id, ok
}

// bySession lists a session's files.
func (l *ledger) bySession(k sessionKey) []wire.FileID {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.sessions[k]
	if a == nil {
		return nil
	}
	ids := make([]wire.FileID, 0, len(a.files))
	for id := range a.files {
		ids = append(ids, id)
	}
	return ids
}

// keyLock serialises what is done to one file.
type keyLock struct {
	mu   sync.Mutex
	held map[wire.FileID]chan struct{}
}

// try takes the lock if it is free.
func (k *keyLock) try(id wire.FileID) (unlock func(), ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, taken := k.held[id]; taken {
		return nil, false
	}
	if k.held == nil {
		k.held = map[wire.FileID]chan struct{}{}
	}
	free := make(chan struct{})
	k.held[id] = free
	return func() {
		k.mu.Lock()
		delete(k.held, id)
		k.mu.Unlock()
		close(free)
	}, true
}

// lock waits for the lock, or for done.
func (k *keyLock) lock(done <-chan struct{}, id wire.FileID) (unlock func(), ok bool) {
	for {
		if unlock, ok := k.try(id); ok {
			return unlock, true
		}
		k.mu.Lock()
		free := k.held[id]
		k.mu.Unlock()
		if free == nil {
			continue
		}
		select {
		case <-free:
		case <-done:
			return nil, false
		}
	}
}
