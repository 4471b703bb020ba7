package wsconn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// Handler serves the devices' connections.
type Handler struct {
	cfg     Config
	origins origins
	start   time.Time
	ctx     context.Context // of the backend's calls
	stop    context.CancelFunc

	reg    registry
	lounge lounge
	count  counters
	wg     sync.WaitGroup // connections, flushers and POST requests
}

// New returns a Handler; the error wraps ErrConfig. Drain ends it.
func New(cfg Config) (*Handler, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	h := &Handler{
		cfg:     cfg,
		origins: newOrigins(cfg.Origins),
		start:   time.Now(),
		reg:     newRegistry(),
	}
	h.count.closings = make(map[wire.CloseCode]uint64)
	h.count.refused = make(map[wire.Code]uint64)
	h.lounge.init(h)
	h.ctx, h.stop = context.WithCancel(context.Background())
	return h, nil
}

// lookEvery is how late a heartbeat may be. It is also how long the server is silent at most towards a device whose
// request it is carrying out, but for as long again: a device that waits for an answer and hears nothing takes its
// network for gone (docs/protocol.md).
const lookEvery = time.Second

// watch sends the heartbeats and closes the connections that are dead, for as long as there are connections. It also sends
// a heartbeat where a request takes its time: what the device asks meanwhile is read, and answered, only afterwards.
func (h *Handler) watch() {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-t.C:
		}
		h.look()
		if h.reg.unwatched() {
			return
		}
	}
}

func (h *Handler) look() {
	for before := math.MaxInt; before > 0; {
		var due []*outbox
		due, before = h.reg.due(h.mark(), before)
		for _, o := range due {
			o.look()
		}
	}
}

// mark is the time in nanoseconds since the Handler was made; never zero.
func (h *Handler) mark() int64 { return int64(time.Since(h.start)) + 1 }

// Drain refuses new connections and requests with the problem draining, flushes and closes
// the existing ones with wire.CloseDraining, spread over Config.DrainSpread, and waits for
// their end. When ctx ends first, it cuts them off and returns ctx's error.
func (h *Handler) Drain(ctx context.Context) error {
	defer h.stop()
	defer h.lounge.close()
	all := h.reg.drain()
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	began := time.Now()
	for i, o := range all {
		at := began.Add(time.Duration(float64(h.cfg.DrainSpread) * float64(i) / float64(len(all))))
		if wait := time.Until(at); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
		}
		o.Close(wire.CloseDraining, "the server is going down; connect again")
	}
	done := make(chan struct{})
	go func() {
		h.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	h.stop()
	for _, o := range all {
		o.abort()
	}
	<-done
	return fmt.Errorf("wsconn: drain: %w", ctx.Err())
}

// CloseDevice closes all connections of a device, also those that are just being
// authenticated by what the caller has revoked before calling.
func (h *Handler) CloseDevice(tenant wire.TenantID, device wire.DeviceID, code wire.CloseCode) {
	for _, o := range h.reg.revoke(Identity{tenant, device}, code) {
		o.Close(code, "")
	}
}

// Tell pushes a frame to all connections of a device; one that is just being welcomed gets
// it after the welcome.
func (h *Handler) Tell(tenant wire.TenantID, device wire.DeviceID, frame []byte) {
	for _, o := range h.reg.of(Identity{tenant, device}) {
		o.Push(frame)
	}
}

// TellOnce is Tell for what is said several times, as what was said may be lost on the way here: connections that have been told it
// lately are passed over.
func (h *Handler) TellOnce(tenant wire.TenantID, device wire.DeviceID, what string, frame []byte) {
	for _, o := range h.reg.of(Identity{tenant, device}) {
		if o.news(what) {
			o.Push(frame)
		}
	}
}

// Connected reports whether the device has a connection.
func (h *Handler) Connected(tenant wire.TenantID, device wire.DeviceID) bool {
	return len(h.reg.of(Identity{tenant, device})) > 0
}

// Devices lists the devices that have a connection.
func (h *Handler) Devices() []Identity { return h.reg.present() }

// Stats returns the counts of this moment.
func (h *Handler) Stats() Stats {
	s := Stats{
		FramesIn:  h.count.framesIn.Load(),
		FramesOut: h.count.framesOut.Load(),
		BytesIn:   h.count.bytesIn.Load(),
		BytesOut:  h.count.bytesOut.Load(),
		Writes:    h.count.writes.Load(),
		Dropped:   make(map[string]uint64),
	}
	for r := range dropReasons {
		s.Dropped[r.String()] = h.count.dropped[r].Load()
	}
	h.count.mu.Lock()
	s.Closings = maps.Clone(h.count.closings)
	s.Refused = maps.Clone(h.count.refused)
	h.count.mu.Unlock()
	s.SlowClosings = s.Closings[wire.CloseSlow]
	h.reg.mu.Lock()
	defer h.reg.mu.Unlock()
	s.Streams = len(h.reg.streams)
	for _, conns := range h.reg.devices {
		s.Sockets += len(conns)
	}
	s.Sockets -= s.Streams
	s.Pending = h.reg.pending
	return s
}

// attach makes a connection one of its device's and welcomes it. Its undo is to be called
// once, at the connection's end; it is never nil.
func (h *Handler) attach(t *ticket, who Identity, hello wire.RequestID, o *outbox) (undo func(), err error) {
	o.hold()
	dead, refuse := h.reg.join(t, who, o, &h.cfg, h.mark())
	if refuse != 0 {
		o.Close(refuse, "")
		return func() {}, nil
	}
	if dead != nil {
		dead.Close(wire.CloseTooMany, "a newer connection of the device takes its place")
	}
	undo = func() { h.reg.part(who, o) }
	var (
		w      wire.Welcome
		detach func()
	)
	if err := guard(func() (err error) {
		w, detach, err = h.cfg.Backend.Attach(h.ctx, who, o)
		return err
	}); err != nil {
		return undo, err
	}
	undo = func() {
		h.reg.part(who, o)
		detach()
	}
	w.HeartbeatSeconds = int(h.cfg.Heartbeat / time.Second)
	w.Limits = h.cfg.Limits
	if w.Time.IsZero() {
		w.Time = h.cfg.Now()
	}
	if w.Device == "" {
		w.Device = who.Device
	}
	o.release(encode(wire.TypeWelcome, hello, w))
	return undo, nil
}

// problem returns what a device may see of an error; the rest goes to the log.
func (h *Handler) problem(doing string, err error) *wire.Problem {
	var p *wire.Problem
	if errors.As(err, &p) {
		return p
	}
	h.cfg.Logger.Error("wsconn: "+doing, "err", err)
	return wire.NewProblem(wire.CodeInternal, "while the server tried to %s", doing)
}

// guard turns a panic of the backend into the end of one connection or request.
func guard(call func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("wsconn: panic: %v\n%s", v, debug.Stack())
		}
	}()
	return call()
}

// refuse answers a request over HTTP with a problem.
func (h *Handler) refuse(w http.ResponseWriter, p *wire.Problem) {
	h.count.refuse(p.Code)
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	if p.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.RetryAfterSeconds))
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client may be gone; nothing to be done about it
}

// encode makes an envelope of the server's own. Its body always can be encoded.
func encode(t wire.Type, id wire.RequestID, body any) []byte {
	e := wire.Envelope{Type: t, ID: id}
	if body != nil {
		var err error
		if e.Body, err = json.Marshal(body); err != nil {
			panic(fmt.Sprintf("wsconn: encode %s: %v", t, err))
		}
	}
	return e.AppendEncode(nil)
}
