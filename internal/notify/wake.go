package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Matter is a reason to wake a device.
type Matter struct {
	Tenant wire.TenantID
	Device wire.DeviceID
	// Number, instead of Device: a party that is reached by text message.
	Number tel.Number
	// After is how long to wait before the first attempt.
	After time.Duration
	// Ref tells it from others of its kind: the invitation, the session.
	Ref string
	// Push is what the device will be told of it; ID is set here, and Until where it is zero.
	Push wire.Push
}

// State is how far a push has come.
type State string

// States; the picture is in the package comment.
const (
	Waiting State = "waiting" // an attempt is to come
	Sent    State = "sent"    // the push service has taken it
	Dropped State = "dropped" // it was not needed
	Failed  State = "failed"
)

// Wake is one push about one matter to one device: table "wakes", key store.Key(id).
type Wake struct {
	Tenant  wire.TenantID `json:"tenant"`
	Device  wire.DeviceID `json:"device,omitempty"`
	Number  tel.Number    `json:"number,omitzero"`
	Ref     string        `json:"ref"`
	Push    wire.Push     `json:"push"`
	State   State         `json:"state"`
	Created time.Time     `json:"created"`
	// Next attempt, while waiting.
	Next time.Time `json:"next,omitzero"`
	// Lease: until then somebody is at it, whose Claim it is.
	Lease time.Time `json:"lease,omitzero"`
	Claim string    `json:"claim,omitempty"`
	// Tried since it last began to wait.
	Tried int `json:"tried,omitempty"`
	// Taken is when the push service took the push, zero if it never did.
	Taken time.Time `json:"taken,omitzero"`
}

// resend is how long a device that was told that data waits, and has not come, is not told
// again.
const resend = time.Hour

// urgent: somebody in a call waits for it.
func urgent(k wire.PushKind) bool { return k != wire.PushData }

func key(id wire.PushID) string { return store.Key(string(id)) }

// over is when nothing is left to be done for the push.
func (w Wake) over(now time.Time) bool { return !now.Before(w.Push.Until) }

// Wake has a device woken, unless it is connected to this node or has no application. When it
// has returned nil that outlives a crash; until then it must be repeated, which is harmless.
func (s *Service) Wake(ctx context.Context, m Matter) error {
	if m.Number.IsZero() && s.c.Connected(m.Tenant, m.Device) {
		return nil
	}
	app, err := s.app(ctx, m.Tenant, m.Device, m.Number)
	if err != nil {
		return fmt.Errorf("notify: wake: %w", err)
	}
	if app == nil || s.c.Pushers[app.Platform] == nil {
		return nil
	}
	w, err := s.write(ctx, m)
	if err != nil {
		return err
	}
	s.schedule(w)
	return nil
}

// PlatformText is the platform of a Pusher that sends text messages, to numbers.
const PlatformText = "text"

// app returns by which application whoever is to be woken is reached.
func (s *Service) app(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, n tel.Number) (*wire.App, error) {
	if !n.IsZero() {
		return &wire.App{Platform: PlatformText, ID: n.String()}, nil
	}
	return s.c.Devices.App(ctx, tenant, id)
}

func (s *Service) write(ctx context.Context, m Matter) (Wake, error) {
	now := s.now()
	m.Push.ID = s.id(m)
	if m.Push.Until.IsZero() {
		m.Push.Until = now.Add(s.c.KeepData)
	}
	w, err := store.Change(ctx, s.wakes, key(m.Push.ID), func(w Wake, exists bool) (Wake, bool, error) {
		again := w.State == Dropped || w.State == Failed || w.over(now) || m.Push.Kind == wire.PushTest ||
			w.State == Sent && w.Push.Kind == wire.PushData && now.Sub(w.Taken) >= resend
		if exists && !(again && w.Push.Withdrawn == "") {
			return w, false, nil
		}
		return Wake{
			Tenant: m.Tenant, Device: m.Device, Number: m.Number, Ref: m.Ref, Push: m.Push, State: Waiting, Created: now, Next: now.Add(m.After),
		}, true, nil
	})
	if err != nil {
		return w, fmt.Errorf("notify: wake: %w", err)
	}
	return w, nil
}

// Withdraw takes a matter back, for a reason as in wire.Withdrawn: a push that was not sent
// never is, one that was sent is followed by another that takes it off the screen. A matter
// that nobody was woken for is no error. It may repeat.
func (s *Service) Withdraw(ctx context.Context, m Matter, reason string) error {
	now := s.now()
	w, err := store.Change(ctx, s.wakes, key(s.id(m)), func(w Wake, exists bool) (Wake, bool, error) {
		if !exists || w.Push.Withdrawn != "" || w.over(now) {
			return w, false, nil
		}
		w.Push.Withdrawn = reason
		switch {
		case w.State == Sent && w.Number.IsZero(): // a text message cannot be taken back
			w.State, w.Next, w.Tried = Waiting, now, 0
		case w.State == Waiting && !w.Lease.After(now):
			w.State = Dropped
		}
		return w, true, nil
	})
	if err != nil {
		return fmt.Errorf("notify: withdraw: %w", err)
	}
	s.schedule(w)
	return nil
}

// Get returns what a push is about, and whom it was for. ErrNotFound.
func (s *Service) Get(ctx context.Context, id wire.PushID) (Wake, error) {
	w, _, err := s.wakes.Get(ctx, key(id))
	if errors.Is(err, store.ErrNotFound) || err == nil && w.over(s.now()) {
		return Wake{}, ErrNotFound
	}
	if err != nil {
		return Wake{}, fmt.Errorf("notify: read a push: %w", err)
	}
	return w, nil
}

// Data says that a message for a device that is away was stored in a session. It costs next
// to nothing when the device has been told before, and never blocks.
func (s *Service) Data(tenant wire.TenantID, id wire.DeviceID, session wire.SessionID) {
	k := deviceKey{tenant, id}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if at, told := s.announced[k][session]; told && now.Sub(at) < resend {
		return
	}
	if s.announced[k] == nil {
		s.announced[k] = map[wire.SessionID]time.Time{}
	}
	s.announced[k][session] = now
	s.data = append(s.data, waiting{k, session})
	s.times.Set(dataKey, now)
}

// Keys of the times that are no wake's.
const (
	dataKey = "data"  // s.data has something
	backKey = "back"  // s.back has
	goneKey = "gone/" // and the device: it has been gone for a while
)

// away is how long a device must be gone before it is woken for what it was being asked while
// it was connected: most come back at once.
const away = 5 * time.Second

// cameSubject is where a node says which device has come to it.
const cameSubject = "devices-came"

// came is what it says.
type came struct {
	Tenant wire.TenantID `json:"tenant"`
	Device wire.DeviceID `json:"device"`
	At     time.Time     `json:"at"`
}

// Came says that a device is connected: what was to tell it that data waits has served, whichever node told it.
func (s *Service) Came(ctx context.Context, tenant wire.TenantID, id wire.DeviceID) {
	if len(s.c.Pushers) == 0 {
		return // nobody is told of anything
	}
	k, now := deviceKey{tenant, id}, s.now()
	s.mu.Lock()
	told := s.announced[k]
	delete(s.announced, k)
	s.mu.Unlock()
	s.served(ctx, k, slices.Collect(maps.Keys(told)))
	data, err := json.Marshal(came{tenant, id, now})
	if err == nil {
		err = s.c.Engine.Publish(ctx, cameSubject, data)
	}
	if err != nil {
		s.c.Log.Warn("other nodes may not tell a device of further data for a while", "device", id, "err", err)
	}
}

// Served says that a device which has come is in those sessions, and reads what is there: whichever node has told it that data waits, and
// may not hear that it has come.
func (s *Service) Served(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, sessions []wire.SessionID) {
	if len(s.c.Pushers) > 0 {
		s.served(ctx, deviceKey{tenant, id}, sessions)
	}
}

// onCame hears of a device that has come, perhaps to another node. What follows from it is Run's.
func (s *Service) onCame(_ string, data []byte) {
	var c came
	if json.Unmarshal(data, &c) != nil {
		return
	}
	k := deviceKey{c.Tenant, c.Device}
	s.mu.Lock()
	defer s.mu.Unlock()
	for session, at := range s.announced[k] {
		if at.Before(c.At) { // else it has gone again, and was told since
			delete(s.announced[k], session)
			s.back = append(s.back, waiting{k, session})
			s.times.Set(backKey, s.now())
		}
	}
}

// served has a device be told again that data waits, when there is more.
func (s *Service) served(ctx context.Context, k deviceKey, told []wire.SessionID) {
	for _, session := range told {
		m := Matter{Tenant: k.tenant, Device: k.device, Ref: string(session), Push: wire.Push{Kind: wire.PushData}}
		_, err := store.Change(ctx, s.wakes, key(s.id(m)), func(w Wake, exists bool) (Wake, bool, error) {
			if !exists || w.State == Dropped || w.Lease.After(s.now()) {
				return w, false, nil
			}
			w.State = Dropped
			return w, true, nil
		})
		if err != nil {
			s.c.Log.Warn("a device may not be told of further data for a while", "device", k.device, "err", err)
		}
	}
}

// Left says that a device's last connection to this node is over.
func (s *Service) Left(tenant wire.TenantID, id wire.DeviceID) {
	k := goneKey + string(tenant) + "/" + string(id)
	s.mu.Lock()
	s.gone[k] = deviceKey{tenant, id}
	s.mu.Unlock()
	s.times.Set(k, s.now().Add(away))
}

// Forget removes all pushes to the devices, and those that name one of the identities, and
// returns how many. It belongs to the erasure of a party.
func (s *Service) Forget(ctx context.Context, tenant wire.TenantID, devices []wire.DeviceID, ids []tel.Identity) (int, error) {
	n := 0
	of := func(w Wake) bool {
		return slices.Contains(devices, w.Device) || !w.Number.IsZero() && slices.Contains(ids, w.Number.Identity())
	}
	var keys []string
	for item, err := range s.wakes.Scan(ctx, "") {
		if err != nil {
			return 0, fmt.Errorf("notify: forget: %w", err)
		}
		w := item.Value
		named := w.Push.Invite != nil && slices.Contains(ids, w.Push.Invite.Claimant)
		if w.Tenant == tenant && (named || of(w)) {
			keys = append(keys, item.Key)
		}
	}
	for _, k := range keys {
		if err := store.Remove(ctx, s.wakes, k); err != nil {
			return n, fmt.Errorf("notify: forget: %w", err)
		}
		n++
	}
	return n, nil
}

// now is the time as it reads back from a record.
func (s *Service) now() time.Time { return s.c.Now().UTC().Round(0) }
