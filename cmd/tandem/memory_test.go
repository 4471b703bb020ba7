package main

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/wire"
)

func TestMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), memoryFile)
	m, err := recall(path)
	if err != nil || len(m.positions()) != 0 {
		t.Fatalf("before the first run: %v, %v", m.positions(), err)
	}
	for seq := range uint64(9) {
		for _, s := range []wire.SessionID{"a", "b", "c", "d"} {
			m.shown(wire.Envelope{Session: s, Epoch: 3, Seq: seq + 1})
		}
	}
	m.over("b")
	m.rewound("c", 4)
	m.rewound("d", 0)
	m.wanted(wire.File{ID: "f1"})
	m.wanted(wire.File{ID: "f2", Name: "x"})
	m.settled("f1")
	if err := m.save(); err != nil {
		t.Fatal(err)
	}
	again, err := recall(path)
	if err != nil {
		t.Fatal(err)
	}
	want := map[wire.SessionID]client.Position{"a": {Epoch: 3, Seq: 9}, "c": {Epoch: 3, Seq: 4}}
	if got := again.positions(); !maps.Equal(got, want) {
		t.Errorf("positions %v, want %v", got, want)
	}
	if got := again.files(); len(got) != 1 || got["f2"].Name != "x" {
		t.Errorf("files %v", got)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if m, err := recall(path); err == nil || len(m.positions()) != 0 {
		t.Errorf("a damaged file: %v, %v", m.positions(), err)
	}
}
