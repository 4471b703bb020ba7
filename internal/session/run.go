package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

const (
	// noticeSubject carries notices: look at this session, it has changed.
	noticeSubject = "session-notice"
	// pause is the longest time between two looks at the alarms, and how long a room
	// stays without anybody in it.
	pause = time.Minute
	// lookAgain is when a change that could not be read is looked at again.
	lookAgain = time.Second
	// alarmPage is how many alarms are handled before the next look.
	alarmPage = 512
)

// notice tells other nodes that a session has changed.
type notice struct {
	Node    string          `json:"node"`
	Tenant  wire.TenantID   `json:"tenant"`
	Session wire.SessionID  `json:"session"`
	Version uint64          `json:"version"`
	Devices []wire.DeviceID `json:"devices"`
}

// looks collects the sessions that must be read again, each once, with the version that each is known to have: what is
// read may be older.
type looks struct {
	signal chan struct{}

	mu   sync.Mutex
	keys map[roomKey]uint64
}

func (l *looks) add(k roomKey, version uint64) {
	l.mu.Lock()
	if l.keys == nil {
		l.keys = map[roomKey]uint64{}
	}
	l.keys[k] = max(l.keys[k], version)
	l.mu.Unlock()
	select {
	case l.signal <- struct{}{}:
	default:
	}
}

// take empties the collection; the order is always the same (for the simulation).
func (l *looks) take() (keys []roomKey, versions map[roomKey]uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	keys = slices.SortedFunc(maps.Keys(l.keys), func(a, b roomKey) int { return strings.Compare(a.record(), b.record()) })
	versions, l.keys = l.keys, nil
	return keys, versions
}

// Run closes sessions when their time has come, forgets them later, carries out what a
// crash left undone, and hears of changes that other nodes made. It returns when ctx
// ends, nil, or when the bus cannot be subscribed to.
func (s *Service) Run(ctx context.Context) error {
	cancel, err := s.c.Bus.Subscribe(ctx, noticeSubject, s.onNotice)
	if err != nil {
		return fmt.Errorf("session: hear of other nodes: %w", err)
	}
	defer cancel()
	var g errgroup.Group
	g.Go(func() error { s.runLooks(ctx); return nil })
	g.Go(func() error { s.runAlarms(ctx); return nil })
	return g.Wait()
}

func (s *Service) onNotice(_ string, data []byte) {
	var n notice
	if json.Unmarshal(data, &n) != nil || n.Node == s.node {
		return
	}
	key := roomKey{n.Tenant, n.Session}
	s.mu.RLock()
	known := s.rooms[key] != nil
	for _, d := range n.Devices {
		known = known || s.devices[deviceKey{n.Tenant, d}] != nil
	}
	s.mu.RUnlock()
	if known {
		s.look.add(key, n.Version)
	}
}

// Look reads a session again that another node may have changed, and tells the devices that are connected here what they
// have not heard: what that node said of it may have been lost.
func (s *Service) Look(tenant wire.TenantID, id wire.SessionID) { s.look.add(roomKey{tenant, id}, 0) }

func (s *Service) runLooks(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.look.signal:
		}
		keys, versions := s.look.take()
		for _, key := range keys {
			rec, _, err := s.c.Records.Get(ctx, key.record())
			if err == nil {
				err = s.apply(ctx, &rec)
			}
			if err == nil && rec.Version < versions[key] {
				err = fmt.Errorf("version %d was read, and there is %d", rec.Version, versions[key])
			}
			if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrNotFound) {
				s.log.Warn("session: change made elsewhere is not known yet", "session", key.session, "err", err)
				time.AfterFunc(lookAgain, func() { s.look.add(key, versions[key]) })
			}
		}
	}
}

func (s *Service) runAlarms(ctx context.Context) {
	for {
		next := s.ring(ctx)
		s.evict()
		s.noteAgain(ctx)
		left := next.Sub(s.c.Now())
		if left <= 0 && ctx.Err() == nil {
			continue
		}
		timer := time.NewTimer(left)
	wait:
		for {
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case at := <-s.wake:
				s.alarms.reach(at)
				if at.Before(next) {
					break wait
				}
			case <-timer.C:
				break wait
			}
		}
		timer.Stop()
	}
}

// due is when a record must be looked at next; zero: not before something happens. What is to
// be carried out is tried again after a pause, should the one who does it now die.
func (s *Service) due(r *Record) time.Time {
	details := false
	for _, side := range r.Sides {
		details = details || !side.Principal.IsZero() || !side.Shown.IsZero()
	}
	var at time.Time
	switch {
	case r.Phase == wire.AfterCall:
		at = r.Until
	case r.Phase == wire.Closed && details:
		at = r.Closed.Add(s.c.KeepDetails)
	case r.Phase == wire.Closed:
		at = r.Closed.Add(s.c.Keep)
	}
	if again := r.Changed.Add(pause); len(r.Due) > 0 && (at.IsZero() || again.Before(at)) {
		at = again
	}
	return at
}

// alarmKey begins with the hour, so that those of an hour can be found without the others: of each closed session one is kept
// for as long as the session.
func alarmKey(a Alarm) string {
	return store.Key(alarmHour(a.At), fmt.Sprintf("%015d", a.At.UnixMilli()), string(a.Tenant), string(a.Session))
}

func alarmHour(at time.Time) string { return fmt.Sprintf("%s%07d", hourMark, at.Unix()/3600) }

const (
	hourMark = "h"
	// oldAlarms begin with this: the time in milliseconds. They were set by an earlier version.
	oldAlarms = "0"
	// listAlarms is how often all alarms are listed, for those that another node has set in hours that are over here.
	listAlarms = 10 * time.Minute
	// hoursKept is how long an hour is looked at for alarms after it has begun, at least.
	hoursKept = 2 * time.Hour
)

// alarms are where to look for those whose time has come. They are of ring alone.
type alarms struct {
	from   time.Time // in earlier hours there are none
	listed time.Time // when all were listed
	old    bool      // some were found that an earlier version has set
}

// reach notes that there may be one at that time.
func (a *alarms) reach(at time.Time) {
	if at.Before(a.from) {
		a.from = at
	}
}

// arm sets the alarm that a record needs. One that is set already is written again, so
// that whoever answers it at this moment, by the record before its change, does not
// delete it.
func (s *Service) arm(ctx context.Context, r *Record) error {
	at := s.due(r)
	if at.IsZero() {
		return nil
	}
	at = time.UnixMilli(at.UnixMilli() + 1) // the key's precision; not early
	if err := s.set(ctx, Alarm{Tenant: r.Tenant, Session: r.ID, At: at}); err != nil {
		return err
	}
	for { // keeping the earlier of two
		select {
		case s.wake <- at:
			return nil
		case old := <-s.wake:
			if old.Before(at) {
				at = old
			}
		}
	}
}

func (s *Service) set(ctx context.Context, a Alarm) error {
	_, err := store.Change(ctx, s.c.Alarms, alarmKey(a), func(Alarm, bool) (Alarm, bool, error) { return a, true, nil })
	if err != nil {
		return fmt.Errorf("session: set alarm: %w", err)
	}
	return nil
}

// catchUp moves an alarm that goes on failing to the hour that it is by now, or each look would go through all hours since. Nodes that
// do so at once move it to the same place.
func (s *Service) catchUp(ctx context.Context, a store.Item[Alarm]) error {
	now := s.c.Now()
	if now.Sub(a.Value.At) < hoursKept {
		return nil
	}
	moved := a.Value
	moved.At = now.Truncate(time.Hour)
	if err := s.set(ctx, moved); err != nil {
		return err
	}
	return s.answered(ctx, a)
}

// answered removes an alarm.
func (s *Service) answered(ctx context.Context, a store.Item[Alarm]) error {
	err := s.c.Alarms.Delete(ctx, a.Key, a.Rev)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
		return nil // another node was faster
	}
	return err
}

// ring handles the alarms whose time has come and returns when to look again.
func (s *Service) ring(ctx context.Context) time.Time {
	now := s.c.Now()
	due, next, err := s.alarmsDue(ctx, now)
	if err != nil {
		if ctx.Err() == nil {
			s.log.Error("session: alarms cannot be read", "err", err)
		}
		return now.Add(pause)
	}
	failed := 0
	var g errgroup.Group
	var mu sync.Mutex
	g.SetLimit(16)
	for _, a := range due {
		g.Go(func() error {
			if err := s.answerAlarm(ctx, a); err != nil && ctx.Err() == nil {
				err = errors.Join(err, s.catchUp(ctx, a))
				s.log.Error("session: alarm failed, and is tried again", "session", a.Value.Session, "err", err)
				mu.Lock()
				failed++
				mu.Unlock()
			}
			return nil
		})
	}
	_ = g.Wait() // failures are counted
	if failed > 0 {
		return now.Add(time.Second)
	}
	return next
}

// alarmsDue returns alarms whose time has come, and when to look again.
func (s *Service) alarmsDue(ctx context.Context, now time.Time) (due []store.Item[Alarm], next time.Time, err error) {
	next = now.Add(pause)
	select {
	case at := <-s.wake:
		s.alarms.reach(at)
	default:
	}
	// scan takes what is due of those with a prefix, and returns the first of all, zero where there is none.
	scan := func(prefix string) (first time.Time, err error) {
		for a, err := range s.c.Alarms.Scan(ctx, prefix) {
			if err != nil {
				return first, err
			}
			if first.IsZero() {
				first = a.Value.At
			}
			if len(due) == alarmPage {
				next = now
				return first, nil
			}
			if a.Value.At.After(now) {
				if a.Value.At.Before(next) {
					next = a.Value.At
				}
				return first, nil
			}
			due = append(due, a)
		}
		return first, nil
	}
	if s.alarms.old || now.Sub(s.alarms.listed) >= listAlarms {
		old, err := scan(oldAlarms)
		if err != nil {
			return nil, next, err
		}
		first, err := scan(hourMark)
		if err != nil {
			return nil, next, err
		}
		if first.IsZero() || first.After(now) {
			first = now
		}
		s.alarms = alarms{from: first, listed: now, old: !old.IsZero()}
		return due, next, nil
	}
	for hour := s.alarms.from.Truncate(time.Hour); !hour.After(now.Add(pause)); hour = hour.Add(time.Hour) {
		first, err := scan(alarmHour(hour) + "/")
		if err != nil {
			return nil, next, err
		}
		if first.IsZero() && hour.Equal(s.alarms.from.Truncate(time.Hour)) && now.Sub(hour) >= hoursKept {
			s.alarms.from = hour.Add(time.Hour)
		}
	}
	return due, next, nil
}

// answerAlarm does what a session needs now, sets its next alarm, and removes this one.
func (s *Service) answerAlarm(ctx context.Context, a store.Item[Alarm]) error {
	key := roomKey{a.Value.Tenant, a.Value.Session}
	rec, err := s.Record(ctx, key.tenant, key.session)
	if err == nil {
		rec, err = s.change(ctx, key, LingerOver{})
	}
	if err == nil && len(rec.Due) > 0 { // else everybody was told: the end of a session always has something due
		err = s.settled(ctx, &rec)
	}
	if err == nil && rec.Phase == wire.Closed {
		err = s.retire(ctx, key, &rec)
	}
	if err == nil {
		rec, _, err = s.c.Records.Get(ctx, key.record())
	}
	if err == nil {
		if next := s.due(&rec); !next.IsZero() && next.After(s.c.Now()) && next.UnixMilli()+1 == a.Value.At.UnixMilli() {
			return nil // this alarm is the next one
		}
		err = s.arm(ctx, &rec)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) && !gone(err) {
		return err
	}
	return s.answered(ctx, a)
}

// retire forgets a closed session step by step: the identities, then everything.
func (s *Service) retire(ctx context.Context, key roomKey, rec *Record) error {
	now := s.c.Now()
	if now.Before(rec.Closed.Add(s.c.KeepDetails)) {
		return nil
	}
	if _, err := s.change(ctx, key, DetailsOver{}); err != nil {
		return err
	}
	if now.Before(rec.Closed.Add(s.c.Keep)) {
		return nil
	}
	return s.drop(ctx, key, rec)
}

// drop removes all that is kept of a closed session. It may repeat.
func (s *Service) drop(ctx context.Context, key roomKey, rec *Record) error {
	s.mu.Lock()
	r := s.rooms[key]
	delete(s.rooms, key)
	s.mu.Unlock()
	if r != nil {
		<-r.ready
		r.mu.Lock()
		r.dead = true
		r.mu.Unlock()
		r.stop()
	}
	if s.c.Watcher != nil {
		if err := s.c.Watcher.Dropped(ctx, key.tenant, key.session); err != nil {
			return err
		}
	}
	if err := s.c.Log.DropLog(ctx, key.log()); err != nil {
		return err
	}
	for _, m := range rec.Members {
		place := placeKey(key.tenant, m.Device, key.session)
		if _, rev, err := s.c.ByDevice.Get(ctx, place); err == nil {
			err = s.c.ByDevice.Delete(ctx, place, rev)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	_, rev, err := s.c.Records.Get(ctx, key.record())
	if err == nil {
		err = s.c.Records.Delete(ctx, key.record(), rev)
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// evict drops the rooms and devices that nobody here has used for a while.
func (s *Service) evict() {
	old := s.c.Now().Add(-pause)
	var out []*room
	s.mu.Lock()
	for k, r := range s.rooms {
		r.mu.Lock()
		idle := len(r.subs) == 0 || r.rec.Phase == wire.Closed
		if !r.loading && idle && !r.waiting() && r.used.Before(old) {
			r.dead = true
			delete(s.rooms, k)
			out = append(out, r)
			for _, u := range r.subs {
				u.c.forget(k.session)
			}
		}
		r.mu.Unlock()
	}
	for k, at := range s.promised {
		if at.Before(old) {
			delete(s.promised, k)
		}
	}
	for k, d := range s.devices {
		if len(d.conns) == 0 && time.Unix(0, d.used.Load()).Before(old) {
			delete(s.devices, k)
		}
	}
	s.mu.Unlock()
	for _, r := range out {
		r.stop()
	}
}
