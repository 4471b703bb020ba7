package session

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/tandem-call/tandem/internal/store"
)

// A log full of what nobody can read does not fill the operator's.
func TestUnreadableIsToldOnce(t *testing.T) {
	var log bytes.Buffer
	r := &room{s: &Service{log: slog.New(slog.NewTextHandler(&log, nil))}}
	for seq := range uint64(1000) {
		r.onEntry(store.Entry{Seq: seq + 1, Data: []byte("\xff")})
	}
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "seq=1") {
		t.Errorf("%d lines: %.300s", n, log.String())
	}
}
