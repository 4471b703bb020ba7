package apns

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore"
	"github.com/tandem-call/tandem/internal/notify"
	"github.com/tandem-call/tandem/wire"
)

// fleet is devices with one token each, none of them connected.
type fleet struct {
	mu   sync.Mutex
	apps map[wire.DeviceID]wire.App
}

func tokenOf(id wire.DeviceID) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

func (f *fleet) App(_ context.Context, _ wire.TenantID, id wire.DeviceID) (*wire.App, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a, ok := f.apps[id]; ok {
		return &a, nil
	}
	return nil, nil
}

func (f *fleet) Drop(_ context.Context, _ wire.TenantID, id wire.DeviceID, dead wire.App) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.apps[id] == dead {
		delete(f.apps, id)
	}
	return nil
}

// TestFaults: 1,000 devices are woken through a service that answers now with
// 500, now with 429 or 503 and Retry-After, and ends connections by GOAWAY. Every device that
// is there is woken; those that are not (410) are forgotten, and only those; one token serves.
func TestFaults(t *testing.T) {
	const devices, gone = 1000, 50
	a, p := newWorld(t)
	a.goaway, a.dead = 100, map[string]bool{}
	a.fault = func(n int) (refusal, bool) {
		switch {
		case n == 300: // everybody waits
			return refusal{503, "ServiceUnavailable", "1"}, true
		case n%97 == 0:
			return refusal{429, "TooManyRequests", "1"}, true
		case n%50 == 0:
			return refusal{500, "InternalServerError", ""}, true
		}
		return refusal{}, false
	}
	f := &fleet{apps: map[wire.DeviceID]wire.App{}}
	engine, err := pebblestore.Open(pebblestore.Options{Dir: t.TempDir(), Headroom: 1, Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := notify.New(notify.Config{
		Engine: engine, Secret: []byte("0123456789abcdef"), Devices: f, Pushers: map[string]notify.Pusher{"apns": p},
		Connected: func(wire.TenantID, wire.DeviceID) bool { return false },
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range devices {
		id := wire.DeviceID(fmt.Sprint("dev_", i))
		f.apps[id] = wire.App{Platform: "apns", ID: tokenOf(id)}
		if i%(devices/gone) == 0 {
			a.dead[tokenOf(id)] = true
		}
		m := notify.Matter{Tenant: "t", Device: id, Ref: "s_1", Push: wire.Push{Kind: wire.PushSession, Session: "s_1"}}
		if err := s.Wake(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for end := time.Now().Add(10 * time.Minute); s.Stats().Waiting > 0 || s.Stats().Sent["apns"]+s.Stats().Gone["apns"] < devices; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not done: %+v", s.Stats())
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := engine.Close(); err != nil {
		t.Error(err)
	}
	woken := map[string]bool{}
	for _, h := range a.headers {
		woken[h.Get("apns-collapse-id")] = true
	}
	st := s.Stats()
	if len(woken) != devices-gone || st.Gone["apns"] != gone || len(f.apps) != devices-gone || len(a.tokens) != 1 || st.Missed["apns"] == 0 {
		t.Errorf("%d woken, %d forgotten, %d left, %d tokens, %d missed", len(woken), st.Gone["apns"], len(f.apps), len(a.tokens), st.Missed["apns"])
	}
}
