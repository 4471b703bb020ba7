package pebblestore

import (
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
)

// pebbleLog hands Pebble's log and events to slog: what costs time or data as
// warnings and errors, the rest on debug.
type pebbleLog struct {
	log     *slog.Logger
	onFatal func(error)
}

func (l *pebbleLog) Infof(format string, args ...any)  { l.log.Debug(fmt.Sprintf(format, args...)) }
func (l *pebbleLog) Errorf(format string, args ...any) { l.log.Error(fmt.Sprintf(format, args...)) }

// Fatalf ends the process, as Pebble expects: it cannot go on, and what is
// acknowledged is on the disk.
func (l *pebbleLog) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	l.log.Error("storage failed, ending", "error", err)
	l.onFatal(err)
	panic(err)
}

func (l *pebbleLog) events() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) { l.log.Error("background work failed, will be tried again", "error", err) },
		DataCorruption:  func(i pebble.DataCorruptionInfo) { l.log.Error("data is damaged", "event", i.String()) },
		DiskSlow:        func(i pebble.DiskSlowInfo) { l.log.Warn("disk is slow", "event", i.String()) },
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) { l.log.Warn("writes wait", "reason", i.Reason) },
		WriteStallEnd:   func() { l.log.Info("writes go on") },
		FlushEnd:        func(i pebble.FlushInfo) { l.log.Debug("flushed", "event", i.String()) },
		CompactionEnd:   func(i pebble.CompactionInfo) { l.log.Debug("compacted", "event", i.String()) },
		FormatUpgrade:   func(v pebble.FormatMajorVersion) { l.log.Debug("format raised", "version", v.String()) },
	}
}
