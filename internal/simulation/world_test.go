package simulation

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

const tenant = wire.DefaultTenant

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// world is nodes on one disk, parties with devices, and the calls between them.
type world struct {
	*scheduler
	nodes   []*node
	parties []*party
	calls   []*phoneCall
	tasks   int // under way
	serial  int // of names
	wrong   []string

	// people guards what devices know, where several goroutines of one moment may tell them.
	// It is held for moments only.
	people sync.Mutex
}

func (w *world) fail(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// learn changes what devices know.
func (w *world) learn(f func()) {
	w.people.Lock()
	defer w.people.Unlock()
	f()
}

// node is one process: a matcher and a session service.
type node struct {
	name     string
	life     int
	w        *world
	dead     bool
	ctx      context.Context
	cancel   context.CancelFunc
	matcher  *call.Matcher
	sessions *session.Service
	made     atomic.Int64 // of what fresh makes up
}

// start starts a node, or starts it again.
func (n *node) start() {
	n.life++
	fresh := &node{name: fmt.Sprintf("n%d", slices.Index(n.w.nodes, n)), life: n.life, w: n.w}
	n.w.nodes[slices.Index(n.w.nodes, n)] = fresh
	n = fresh
	n.ctx, n.cancel = context.WithCancel(context.Background())
	e := engine{n.w.scheduler, n}
	quiet := slog.New(slog.DiscardHandler)
	limits := wire.DefaultLimits
	limits.MessagesPerSecond, limits.MessageBurst = 1e6, 1e6
	var err error
	n.sessions, err = session.New(session.Config{
		Records:  store.TableOf[session.Record](e, "sessions"),
		ByDevice: store.TableOf[session.Place](e, "session-devices"),
		Alarms:   store.TableOf[session.Alarm](e, "session-alarms"),
		Log:      e, Bus: e, Watcher: n, Blocks: n, Limits: limits, Logger: quiet, Tail: 4,
	})
	if err == nil {
		n.matcher, err = call.New(call.Config{
			Records:   store.TableOf[call.Record](e, "calls"),
			Index:     store.TableOf[call.IndexEntry](e, "calls-by-party"),
			Directory: n, Sessions: n, Notifier: n, Log: quiet, Fresh: n.fresh,
		})
	}
	if err != nil {
		panic(err)
	}
	go func() { _ = n.matcher.Run(named(n.ctx, n.name+" matcher")) }()
	go func() { _ = n.sessions.Run(named(n.ctx, n.name+" sessions")) }()
	synctest.Wait()
}

// fresh: what the matcher makes up is different each time, and says nothing. Each node counts
// for itself, since two may do so at one moment.
func (n *node) fresh() call.Fresh {
	id := fmt.Sprintf("%sx%dx%d", n.name, n.life, n.made.Add(1))
	return call.Fresh{Life: "r" + id, Session: wire.SessionID("s" + id), Invitation: wire.InvitationID("i" + id), Words: "amber falcon"}
}

// kill ends the process in the middle of whatever it does.
func (w *world) kill(n *node) {
	w.mu.Lock()
	n.dead = true
	w.mu.Unlock()
	for _, d := range w.devices() {
		if d.at == n {
			d.cut()
		}
	}
	w.abandon(n)
	n.cancel()
	synctest.Wait()
	if len(w.nodes) == 1 {
		w.disk.crash()
	}
	n.start()
}

// A node is the matcher's directory: each party is known by one identity.
func (n *node) Principal(_ context.Context, _ wire.TenantID, id tel.Identity) (tel.Identity, error) {
	return id, nil
}

func (n *node) SharedName(context.Context, wire.TenantID, tel.Identity, tel.Identity) (bool, error) {
	return false, nil
}

func (n *node) Devices(_ context.Context, _ wire.TenantID, id tel.Identity) (ids []wire.DeviceID, err error) {
	for _, p := range n.w.parties {
		if p.id == id {
			for _, d := range p.devices {
				ids = append(ids, d.id)
			}
		}
	}
	return ids, nil
}

func (n *node) Apart(context.Context, wire.TenantID, tel.Identity, tel.Identity) (bool, error) {
	return false, nil
}

// It is the matcher's way to the sessions, as the server wires it.
func (n *node) Open(ctx context.Context, o call.Opening) error {
	x := session.Opening{Tenant: o.Tenant, ID: o.ID, At: o.At}
	for _, s := range o.Sides {
		x.Sides = append(x.Sides, openingSide(s))
	}
	return n.sessions.Open(ctx, x)
}

func openingSide(s call.Side) session.OpeningSide {
	return session.OpeningSide{Principal: s.Principal, Shown: s.Shown, Devices: s.Devices, At: s.At}
}

func (n *node) JoinDevices(ctx context.Context, t wire.TenantID, id wire.SessionID, s call.Side) error {
	return n.sessions.JoinDevices(ctx, t, id, openingSide(s))
}

func (n *node) Part(ctx context.Context, t wire.TenantID, id wire.SessionID, s call.Side) error {
	return n.sessions.Away(ctx, t, id, session.OpeningSide{Principal: s.Principal, At: s.At})
}

func (n *node) CallEnded(ctx context.Context, t wire.TenantID, id wire.SessionID, at time.Time, order uint64) error {
	return n.sessions.CallEnded(ctx, t, id, at, order)
}

func (n *node) CallUp(ctx context.Context, t wire.TenantID, id wire.SessionID, order uint64) (bool, error) {
	return n.sessions.CallUp(ctx, t, id, order)
}

// It is the sessions' way back to the matcher.
func (n *node) Gone(ctx context.Context, t wire.TenantID, id wire.SessionID, left []tel.Identity, over bool) error {
	return n.matcher.Gone(ctx, t, id, left, over)
}

func (n *node) Dropped(context.Context, wire.TenantID, wire.SessionID) error { return nil }

func (n *node) Block(context.Context, wire.TenantID, tel.Identity, tel.Identity) error { return nil }

func (n *node) BlockUnnamed(context.Context, wire.TenantID, tel.Identity, tel.Identity) error {
	return nil
}

// Tell lets a device have an invitation, wherever it is connected.
func (n *node) Tell(_ context.Context, _ wire.TenantID, id wire.DeviceID, t wire.Type, body any) error {
	inv, ok := body.(*wire.Invite)
	n.w.learn(func() {
		for _, d := range n.w.devices() {
			if ok && d.id == id && t == wire.TypeInvite {
				d.invited = inv
			}
		}
	})
	return nil
}

// task runs f as a goroutine of its own on a live node.
func (w *world) task(what string, n *node, f func(ctx context.Context)) {
	w.serial++
	name := fmt.Sprintf("%s t%d %s", n.name, w.serial, what)
	w.note("begin %s", name)
	w.mu.Lock()
	w.tasks++
	w.mu.Unlock()
	go func() {
		f(named(n.ctx, name))
		w.mu.Lock()
		w.tasks--
		w.mu.Unlock()
	}()
	synctest.Wait()
}

func (w *world) busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tasks > 0
}

type party struct {
	id      tel.Identity
	devices []*device
}

// phoneCall is a call as it is: what its two sides do.
type phoneCall struct {
	name    string
	parties [2]*party
	// state of each side, as its devices will say it.
	state [2]tel.State
	// reports: whether the side's devices say anything at all.
	reports [2]bool
	callID  string // "" where the reporters do not know it
}

func (c *phoneCall) over() bool { return c.state[0] == tel.Ended && c.state[1] == tel.Ended }

// device says what its party does, and takes part in sessions, as the SDK does.
type device struct {
	w     *world
	id    wire.DeviceID
	party *party
	at    *node // connected to
	box   *box
	// reporting: a report is under way; said is what was last heard of each call, "" where
	// that is not known.
	reporting bool
	said      map[*phoneCall]tel.State
	seq       uint64
	invited   *wire.Invite // not answered yet
	views     map[wire.SessionID]*view
	out       *outgoing // the message that it is sending
	sent      int
}

// outgoing is a message that is repeated until it is answered.
type outgoing struct {
	id      wire.RequestID
	session wire.SessionID
	trying  bool
	said    bool // once at least
}

// view is what the device's user sees of a session.
type view struct {
	state    wire.SessionState
	seen     []wire.Envelope
	at       wire.Resume
	held     []wire.Envelope
	live     bool
	resuming bool
	acked    []wire.Envelope
	lost     bool
}

// box is a connection.
type box struct {
	d *device
}

func (b *box) Push(frame []byte) bool {
	b.d.w.people.Lock()
	defer b.d.w.people.Unlock()
	if b.d.box != b {
		return false
	}
	var e wire.Envelope
	if err := json.Unmarshal(frame, &e); err != nil {
		panic(err)
	}
	b.d.take(e)
	return true
}

func (b *box) Close(code wire.CloseCode, _ string) {
	b.d.w.learn(func() {
		if b.d.box == b {
			b.d.cut()
		}
	})
}

func (w *world) devices() (l []*device) {
	for _, p := range w.parties {
		l = append(l, p.devices...)
	}
	return l
}

func (d *device) view(id wire.SessionID) *view {
	v := d.views[id]
	if v == nil {
		v = &view{}
		d.views[id] = v
	}
	return v
}

// cut is the end of a connection.
func (d *device) cut() {
	d.at, d.box = nil, nil
	for _, v := range d.views {
		v.live, v.resuming, v.held = false, false, nil
	}
}

// connect connects the device to a node, and resumes everything that it knows.
func (d *device) connect(n *node) {
	b := &box{d}
	d.at, d.box = n, b
	d.w.task(string(d.id)+" connects", n, func(ctx context.Context) {
		states, _, err := n.sessions.Attach(ctx, tenant, d.id, b)
		d.w.learn(func() {
			if err != nil && d.box == b {
				d.cut()
			}
			for _, st := range states {
				d.view(st.ID).state = st
			}
		})
	})
}

// take takes a frame. It is called wherever the server pushes, and so does not stop.
func (d *device) take(e wire.Envelope) {
	switch e.Type {
	case wire.TypeSession:
		var st wire.SessionState
		if json.Unmarshal(e.Body, &st) == nil {
			d.view(e.Session).state = st
		}
	case wire.TypeMessage:
		v := d.view(e.Session)
		if v.live {
			if e.Epoch > v.at.Epoch && e.Seq <= v.at.Seq {
				d.w.fail("%s: message %d of epoch %d after %d of epoch %d on one connection", d.id, e.Seq, e.Epoch, v.at.Seq, v.at.Epoch)
			}
			v.hand(e)
		} else {
			v.held = append(v.held, e)
		}
	case wire.TypeResumed:
		var r wire.Resumed
		if err := json.Unmarshal(e.Body, &r); err != nil {
			panic(err)
		}
		d.view(e.Session).resumed(r)
	}
}

// hand shows the user a message that is new.
func (v *view) hand(e wire.Envelope) {
	if e.Seq <= v.at.Seq {
		return
	}
	v.at = wire.Resume{Epoch: e.Epoch, Seq: e.Seq}
	v.seen = append(v.seen, e)
}

func (v *view) resumed(r wire.Resumed) {
	if r.RewindTo != nil {
		v.seen = slices.DeleteFunc(v.seen, func(e wire.Envelope) bool { return e.Seq > *r.RewindTo })
		v.at.Seq = min(v.at.Seq, *r.RewindTo)
		if v.at.Seq == 0 {
			v.at.Epoch = 0
		}
	}
	v.lost = v.lost || !r.Recovered
	slices.SortStableFunc(v.held, func(a, b wire.Envelope) int { return cmp.Compare(a.Seq, b.Seq) })
	for _, e := range v.held {
		v.hand(e)
	}
	v.live, v.resuming, v.held = true, false, nil
	if r.Epoch == v.at.Epoch {
		v.at.Seq = max(v.at.Seq, r.Head)
	}
}

// resume asks for what was missed in the sessions that are not followed live.
func (d *device) resume() {
	for _, id := range sortedKeys(d.views) {
		v := d.views[id]
		if v.live || v.resuming || d.at == nil {
			continue
		}
		v.resuming = true
		b, n := d.box, d.at
		body, err := json.Marshal(v.at)
		if err != nil {
			panic(err)
		}
		d.w.task(string(d.id)+" resumes "+string(id), n, func(ctx context.Context) {
			err := n.sessions.Resume(ctx, tenant, d.id, b, wire.Envelope{Type: wire.TypeResume, ID: "r", Session: id, Body: body})
			d.w.learn(func() {
				switch {
				case err == nil || d.box != b:
				case code(err) == wire.CodeNotMember: // closed, and forgotten; or left
					v.live, v.resuming = true, false
				default:
					d.cut()
				}
			})
		})
		return
	}
}

func code(err error) wire.Code {
	var p *wire.Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}

// say sends the device's message, again and again until it is answered.
func (d *device) say(n *node) {
	o := d.out
	o.trying = true
	body, err := json.Marshal(wire.Text{Text: string(o.id)})
	if err != nil {
		panic(err)
	}
	e := wire.Envelope{Type: wire.TypeSend, ID: o.id, Fresh: !o.said, Session: o.session, Kind: wire.KindText, Body: body}
	o.said = true
	d.w.task(string(d.id)+" says "+string(o.id), n, func(ctx context.Context) {
		answered := make(chan wire.Envelope, 1)
		var out session.Outbox
		d.w.learn(func() {
			if d.at == n {
				out = d.box
			}
		})
		n.sessions.Send(ctx, tenant, d.id, out, e, func(a wire.Envelope) { answered <- a })
		var a wire.Envelope
		select {
		case a = <-answered:
		case <-ctx.Done(): // the node has died
			d.w.learn(func() { o.trying = false })
			return
		}
		d.w.people.Lock()
		defer d.w.people.Unlock()
		o.trying = false
		if a.Type == wire.TypeAck {
			v := d.view(o.session)
			v.acked = append(v.acked, wire.Envelope{ID: o.id, Seq: a.Seq, Epoch: a.Epoch})
			d.out = nil
			return
		}
		var p wire.Problem
		if json.Unmarshal(a.Body, &p) != nil || !wire.Catalogue[p.Code].Retry {
			d.out = nil // it will not be taken
		}
	})
}

// report says what has become of a call, until it is heard.
func (d *device) report(n *node, c *phoneCall, side int) {
	d.reporting = true
	d.seq++
	seq, state := d.seq, c.state[side]
	d.said[c] = ""
	own, other := c.parties[side], c.parties[1-side]
	details := tel.PartyDetails{Own: own.id, Other: other.id, State: state, Direction: []tel.Direction{tel.Outgoing, tel.Incoming}[side]}
	details.Ref.Local, details.Ref.CallID = c.name, c.callID
	r := call.Report{
		Tenant: tenant, Reporter: call.Reporter{Kind: call.ByDevice, ID: string(d.id), Device: d.id, Evidence: call.Observed},
		Report: wire.Report{PartyDetails: details, Seq: seq, At: time.Now()},
	}
	d.w.task(fmt.Sprintf("%s reports %s %s", d.id, c.name, state), n, func(ctx context.Context) {
		_, err := n.matcher.Report(ctx, r)
		d.w.people.Lock()
		defer d.w.people.Unlock()
		d.reporting = false
		if err == nil {
			d.said[c] = state
		} else if errors.Is(err, call.ErrReport) || errors.Is(err, call.ErrTooMany) {
			d.w.fail("%s: report refused: %v", d.id, err)
			d.said[c] = state
		}
	})
}

// speaksTo reports whether the device's user is in a call with somebody.
func (d *device) speaksTo(other tel.Identity) bool {
	return slices.ContainsFunc(d.w.calls, func(c *phoneCall) bool {
		side := slices.Index(c.parties[:], d.party)
		return side >= 0 && c.parties[1-side].id == other && (c.state[side] == tel.Active || c.state[side] == tel.Held)
	})
}

// answer answers an invitation.
func (d *device) answer(n *node, accept bool) {
	inv := d.invited.ID
	d.invited = nil
	d.w.task(fmt.Sprintf("%s answers %s %v", d.id, inv, accept), n, func(ctx context.Context) {
		_ = n.matcher.Answer(ctx, tenant, d.id, d.party.id, wire.Answer{Invitation: inv, Accept: accept}) // it may be over
	})
}

// messages returns the text messages that a session has for a device.
func (w *world) messages(d *device, id wire.SessionID) (l []wire.Envelope) {
	w.task(string(d.id)+" reads", w.nodes[0], func(ctx context.Context) {
		page, err := w.nodes[0].sessions.Messages(ctx, tenant, d.id, id, 0, session.MaxList)
		if err != nil {
			w.learn(func() { w.fail("%s cannot read %s: %v", d.id, id, err) })
		}
		for _, e := range page.Messages {
			if e.Kind == wire.KindText {
				l = append(l, e)
			}
		}
	})
	w.settle(0)
	return l
}
