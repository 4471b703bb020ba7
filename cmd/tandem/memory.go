package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"sync"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/wire"
)

// memoryFile lies beside the device's key.
const memoryFile = "shown.json"

// memory is what a running device keeps for its next run, in a file beside its key: how
// far each session has been shown, and which files are still to be fetched.
type memory struct {
	path string

	mu      sync.Mutex
	kept    kept
	changed chan struct{} // of one
}

// kept is the file's form.
type kept struct {
	Positions map[wire.SessionID]client.Position `json:"positions"`
	Files     map[wire.FileID]wire.File          `json:"files,omitempty"`
}

// recall reads the memory. Where there is none, or only a damaged one, it is empty: then
// sessions are shown from their beginning.
func recall(path string) (*memory, error) {
	m := &memory{path: path, changed: make(chan struct{}, 1)}
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &m.kept)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		m.kept, err = kept{}, fmt.Errorf("%s: what was shown before is forgotten: %w", path, err)
	}
	if m.kept.Positions == nil {
		m.kept.Positions = map[wire.SessionID]client.Position{}
	}
	if m.kept.Files == nil {
		m.kept.Files = map[wire.FileID]wire.File{}
	}
	return m, err
}

// Run writes what has changed until ctx ends; what changes later is for save. A disk that
// is full must not keep calls from being reported.
func (m *memory) Run(ctx context.Context, log *slog.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.changed:
			if err := m.save(); err != nil {
				log.Warn(err.Error())
			}
		}
	}
}

func (m *memory) save() error {
	m.mu.Lock()
	b, err := json.Marshal(m.kept)
	m.mu.Unlock()
	if err == nil {
		err = replace(m.path, b)
	}
	if err != nil {
		return fmt.Errorf("keep what was shown: %w", err)
	}
	return nil
}

// replace writes a file in one step, for this user only.
func replace(path string, b []byte) error {
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (m *memory) change(f func(*kept)) {
	m.mu.Lock()
	f(&m.kept)
	m.mu.Unlock()
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// positions and files are what the last run has left.
func (m *memory) positions() map[wire.SessionID]client.Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.kept.Positions)
}

func (m *memory) files() map[wire.FileID]wire.File {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.kept.Files)
}

// shown notes that a message has been shown.
func (m *memory) shown(e wire.Envelope) {
	m.change(func(k *kept) { k.Positions[e.Session] = client.Position{Epoch: e.Epoch, Seq: e.Seq} })
}

// rewound notes that a session goes on from an earlier place.
func (m *memory) rewound(id wire.SessionID, seq uint64) {
	m.change(func(k *kept) {
		if p := k.Positions[id]; seq > 0 && seq < p.Seq {
			k.Positions[id] = client.Position{Epoch: p.Epoch, Seq: seq}
		} else if seq == 0 {
			delete(k.Positions, id)
		}
	})
}

// over notes that a session is closed.
func (m *memory) over(id wire.SessionID) { m.change(func(k *kept) { delete(k.Positions, id) }) }

// wanted and settled note the files that are still to be fetched.
func (m *memory) wanted(f wire.File)     { m.change(func(k *kept) { k.Files[f.ID] = f }) }
func (m *memory) settled(id wire.FileID) { m.change(func(k *kept) { delete(k.Files, id) }) }
