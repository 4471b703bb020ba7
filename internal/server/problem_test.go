package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/tandem-call/tandem/wire"
)

// A caller that hangs up is no fault of ours: the log would fill with them each time that a node drains.
func TestProblemOfACallerThatWentAway(t *testing.T) {
	for _, c := range []struct {
		err   error
		code  wire.Code
		level string // "": nothing is written
	}{
		{fmt.Errorf("read: %w", context.Canceled), wire.CodeUncertain, ""},
		{fmt.Errorf("read: %w", context.DeadlineExceeded), wire.CodeUncertain, "level=WARN"},
		{errors.New("a bug"), wire.CodeInternal, "level=ERROR"},
	} {
		var written bytes.Buffer
		var p *wire.Problem
		if err := problem(slog.New(slog.NewTextHandler(&written, nil)), "report", c.err); !errors.As(err, &p) || p.Code != c.code {
			t.Errorf("%v: %v; want %s", c.err, err, c.code)
		}
		if s := written.String(); (s == "") != (c.level == "") || !strings.Contains(s, c.level) {
			t.Errorf("%v: log %q; want %q", c.err, s, c.level)
		}
	}
}
