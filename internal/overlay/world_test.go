package overlay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/credential"
	"github.com/tandem-call/tandem/internal/edge/store/pebblestore/pebbletest"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// world is one session between a customer (member 1, device "customer") and a provider (member
// 2, device "agent") with a tablet that comes later, and the provider's own server.
type world struct {
	t      *testing.T
	engine store.Engine
	now    time.Time

	mu       sync.Mutex
	session  Session
	closed   bool
	log      []wire.Envelope
	requests map[string]wire.Sent
	reads    int    // messages that Messages returned
	fails    error  // of the next Send
	sending  func() // called in the next Send
	queue    string
	language string
	// What the provider's server answers, and what it was asked.
	answer    string
	asked     []Question
	noAnswer  error
	delivered chan struct{}
}

const (
	customer wire.DeviceID = "customer"
	agent    wire.DeviceID = "agent"
)

func newWorld(t *testing.T) (*world, *Service) {
	t.Helper()
	a, errA := tel.ParseIdentity("+442079460001", "")
	b, errB := tel.ParseIdentity("+442079460900", "")
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, engine: pebbletest.Open(t), now: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC),
		requests: map[string]wire.Sent{}, delivered: make(chan struct{}, 100),
		session: Session{ID: "s_1", Sides: []Side{
			{Principal: a, Shown: a, Members: []Member{{"1", customer}}},
			{Principal: b, Shown: b, Members: []Member{{"2", agent}}},
		}},
	}
	return w, w.service()
}

// service is another node of the same world.
func (w *world) service() *Service {
	w.t.Helper()
	s, err := New(w.t.Context(), Config{
		Engine: w.engine, Sessions: w, Calls: w, Devices: w, Ask: w.ask, Now: func() time.Time { return w.now },
		CheckURL: func(u string) error {
			if !strings.HasPrefix(u, "https://") {
				return errors.New("it must begin with https://")
			}
			return nil
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) Session(_ context.Context, _ wire.TenantID, id wire.SessionID) (Session, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if id != w.session.ID || w.closed {
		return Session{}, ErrClosed
	}
	return w.session, nil
}

func (w *world) Send(_ context.Context, _ wire.TenantID, _ wire.SessionID, from wire.DeviceID, to []wire.MemberID, request wire.RequestID, kind string, body any) (wire.Sent, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.fails; err != nil {
		w.fails = nil
		return wire.Sent{}, err
	}
	key := fmt.Sprint(from, request)
	if sent, ok := w.requests[key]; ok {
		return sent, nil
	}
	b, err := json.Marshal(body)
	if err != nil {
		return wire.Sent{}, err
	}
	e := wire.Envelope{Seq: uint64(len(w.log) + 1), From: "2", To: to, Kind: kind, Body: b}
	if from == customer {
		e.From = "1"
	}
	if f := w.sending; f != nil {
		w.sending = nil
		f()
	}
	w.log = append(w.log, e)
	w.requests[key] = wire.Sent{Seq: e.Seq}
	w.delivered <- struct{}{}
	return w.requests[key], nil
}

func (w *world) Messages(_ context.Context, _ wire.TenantID, d wire.DeviceID, id wire.SessionID, after uint64, limit int) ([]wire.Envelope, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if id != w.session.ID || d != customer && d != agent && d != "second" {
		return nil, ErrClosed
	}
	rest := w.log[min(int(after), len(w.log)):]
	rest = rest[:min(limit, len(rest))]
	w.reads += len(rest)
	return slices.Clone(rest), nil
}

func (w *world) Queue(context.Context, wire.TenantID, wire.SessionID, tel.Identity) (string, error) {
	return w.queue, nil
}

func (w *world) Language(_ context.Context, _ wire.TenantID, d wire.DeviceID) (string, error) {
	if d != customer {
		return "en", nil
	}
	return w.language, nil
}

func (w *world) ask(_ context.Context, q Question) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, q)
	return []byte(w.answer), w.noAnswer
}

// said is what was sent: kind, receivers, and the id of an overlay.
func (w *world) said() (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.log {
		var b struct{ ID, Overlay string }
		if err := json.Unmarshal(e.Body, &b); err != nil {
			w.t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s>%v %s %s", e.From, e.To, e.Kind, b.ID+b.Overlay))
	}
	return all
}

// plain is a draft with a text and a button, and an id.
func plain(id string) wire.OverlayDraft {
	return wire.OverlayDraft{
		Title: map[string]string{"en": id}, Numbers: []string{"+442079460900"},
		Document: json.RawMessage(`{"version": 1, "id": "` + id + `", "language": "en", "regions": [
			{"id": "yes", "grid": {"column": 0, "row": 0}, "text": {"en": "Yes"}, "actions": [{"type": "choose", "value": "yes"}]}]}`),
	}
}

func opening(d wire.OverlayDraft) wire.OverlayDraft {
	d.When = &wire.OverlayWhen{}
	return d
}

var all = credential.Owner{Tenant: "t", All: true}

// publish stores a draft and makes it live.
func (w *world) publish(s *Service, name string, d wire.OverlayDraft) wire.StoredOverlay {
	w.t.Helper()
	made, err := s.SetDraft(w.t.Context(), all, name, d)
	if err != nil {
		w.t.Fatal(err)
	}
	x, err := s.Publish(w.t.Context(), all, name)
	if err != nil {
		w.t.Fatal(err)
	}
	x.Secret = made.Secret
	return x
}
