package pebblestore

import (
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options says where a store is and how it runs.
type Options struct {
	// Dir is the data directory; it is made if it is not there. Required.
	Dir string
	// Log gets what the store and Pebble have to say. Zero: nothing is logged.
	Log *slog.Logger
	// Headroom is the free space in bytes that the store leaves on the file system:
	// with less than that it refuses writes with store.ErrFull. It must cover a flush of
	// the memtables and a compaction. Zero: 256 MiB.
	Headroom int64
	// CacheSize is how much of the files is kept in memory, in bytes; more while little is being written. Zero: 64 MiB.
	CacheSize int64
	// Relaxed acknowledges before the fsync: a power cut takes about the last 200 ms of
	// acknowledged writes with it. For tests and benchmarks; Durability says "relaxed".
	Relaxed bool

	// For tests: the file system (zero: the real one), the memtable size in bytes (zero:
	// 64 MiB), what tells the free space (zero: the file system), and whether one can read
	// what is in a file.
	fs       vfs.FS
	memTable uint64
	free     func(dir string) (int64, error)
	plain    bool

	// scrub: see scrubbing.
	scrub *atomic.Int32
}

// complete fills in the defaults.
func (o Options) complete() (Options, error) {
	if o.Dir == "" {
		return o, errors.New("pebblestore: no data directory given")
	}
	if o.Headroom < 0 || o.CacheSize < 0 {
		return o, errors.New("pebblestore: headroom and cache size cannot be negative")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Headroom == 0 {
		o.Headroom = 256 << 20
	}
	if o.CacheSize == 0 {
		o.CacheSize = 64 << 20
	}
	if o.scrub == nil {
		o.scrub = new(atomic.Int32)
	}
	if o.memTable == 0 {
		o.memTable = 64 << 20
	}
	if o.fs == nil {
		o.fs = vfs.Default
		abs, err := filepath.Abs(o.Dir)
		if err != nil {
			return o, err
		}
		o.Dir = abs // a lock is known by its name
	}
	if o.free == nil {
		o.free = func(dir string) (int64, error) {
			usage, err := o.fs.GetDiskUsage(dir)
			return int64(usage.AvailBytes), err
		}
	}
	return o, nil
}

func (o Options) path(name string) string { return o.fs.PathJoin(o.Dir, name) }

// pebbleFormat is raised deliberately, not by an update of the module: an older
// program cannot open a newer format.
const pebbleFormat = pebble.FormatValueSeparation

// writing is how many memtables there are while much is written: one is filled, another one flushed. Pebble takes
// their memory off the cache's, which would have nothing left.
const writing = 2

// pebble returns the options for Pebble itself. onFatal is called before the process
// ends over an error that Pebble cannot survive.
func (o Options) pebble(onFatal func(error)) *pebble.Options {
	log := &pebbleLog{o.Log.With("part", "pebble"), onFatal}
	p := &pebble.Options{
		FS:                          scrubbing{o.fs, o.scrub},
		FormatMajorVersion:          pebbleFormat,
		CacheSize:                   o.CacheSize + writing*int64(o.memTable),
		MemTableSize:                o.memTable,
		MemTableStopWritesThreshold: memTables,
		MaxManifestFileSize:         1, // written anew as soon as most of it is history
		// The logs of all sessions grow at once, all over the key space, so a compaction out
		// of level 0 writes most of the next level anew: let it come seldom.
		L0CompactionThreshold: 8,
		LBaseMaxBytes:         512 << 20,
		Logger:                log,
		EventListener:         log.events(),
	}
	p.ApplyCompressionSettings(func() pebble.DBCompressionSettings {
		if o.plain {
			return pebble.DBCompressionNone
		}
		return pebble.DBCompressionFastest
	})
	for i := range p.Levels {
		p.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return p
}
