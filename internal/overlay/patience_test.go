package overlay

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/tandem-call/tandem/wire"
)

// A server that does not answer is waited for by one question at a time, and other servers are asked as
// before.
func TestSilentServerHoldsUpNobody(t *testing.T) {
	w, s := newWorld(t)
	w.publish(s, "own", own())
	other := own()
	other.URL = "https://other.example/overlay"
	w.publish(s, "other", other)
	ask := func(name string) error {
		_, err := s.Preview(t.Context(), byAgent, "s_1", wire.OverlayFill{Template: name, Values: Values{"car": {"Golf"}}})
		return err
	}
	entered, hang := make(chan struct{}, 10), make(chan struct{})
	asked, one := s.cfg.Ask, sync.Mutex{}
	s.cfg.Ask = func(ctx context.Context, q Question) ([]byte, error) {
		if q.URL == other.URL {
			return []byte(`{"values": {"price": ["1"]}}`), nil
		}
		entered <- struct{}{}
		<-hang
		one.Lock()
		defer one.Unlock()
		return asked(ctx, q)
	}
	w.noAnswer = errors.New("no route")
	results := make(chan error, 10)
	many := func(n int) {
		for range n {
			go func() { results <- ask("own") }()
		}
	}
	// As long as nothing is known of it, all wait.
	many(5)
	for range 5 {
		<-entered
	}
	for range 5 {
		hang <- struct{}{}
	}
	for range 5 {
		if err := <-results; !errors.Is(err, ErrSource) {
			t.Fatal(err)
		}
	}
	// Then one does; the others go on with what there is.
	many(5)
	<-entered
	for range 4 {
		if err := <-results; !errors.Is(err, ErrSource) {
			t.Fatal(err)
		}
	}
	if err := ask("other"); err != nil {
		t.Errorf("another server: %v", err)
	}
	if len(entered) != 0 {
		t.Errorf("%d more questions wait", len(entered))
	}
	// It answers again, and is asked as before.
	w.noAnswer, w.answer = nil, `{"values": {"price": ["7"]}}`
	hang <- struct{}{}
	if err := <-results; err != nil {
		t.Fatal(err)
	}
	many(5)
	for range 5 {
		<-entered
	}
	close(hang)
	for range 5 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if len(s.patience.servers) != 0 {
		t.Errorf("%d servers are remembered", len(s.patience.servers))
	}
}
