// Package store is the contract between Tandem and its storage engine.
//
// An [Engine] offers four things: tables of records changed by compare-and-set
// ([Table], over the engine's bytes), append-only logs with live delivery
// ([Engine.Append], [Engine.Watch]), counters, and a bus for what need not last.
// Two engines implement it, internal/edge/store/pebblestore in the process and
// internal/edge/store/natsstore on a JetStream cluster; both must pass the suite in
// internal/store/storetest.
//
// The contract promises one key at a time: there is no commit across keys, since a
// cluster has none. A decision is one compare-and-set; the winning record carries
// the effects that are still to be carried out, and whoever finds them completes
// them, idempotently.
//
// Everything acknowledged is durable: a method that returned nil has been synced to
// the disk, or stored by a quorum. An engine never answers from, and never causes an
// effect by, a change that is not durable yet, with the one exception that a caller
// asks for with [DeliverFirst].
package store

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Rev is the revision of one record: it grows with each change and is never used
// twice for the same key, not even after a delete. The zero Rev means "no record".
type Rev uint64

// Errors of an engine. Callers branch with errors.Is.
var (
	// ErrNotFound: no record under this key.
	ErrNotFound = errors.New("store: not found")
	// ErrConflict: the record is not at the expected revision; read it again and decide anew.
	ErrConflict = errors.New("store: record changed meanwhile")
	// ErrUncertain: the answer was lost (time-out, cut connection): the change may or
	// may not have been made. Read the record back and look for the attempt's id.
	ErrUncertain = errors.New("store: outcome unknown")
	// ErrFull: the engine keeps its last headroom and takes no more writes; reads go on.
	ErrFull = errors.New("store: disk is nearly full, writes are refused")
	// ErrClosed: the engine is closed or closing.
	ErrClosed = errors.New("store: closed")
	// ErrLocked: another process has the data directory open.
	ErrLocked = errors.New("store: data directory is in use by another process")
	// ErrDamaged: acknowledged data is missing or unreadable; the engine does not open
	// over it until an operator accepts the loss.
	ErrDamaged = errors.New("store: data is damaged")
	// ErrTooLarge: a value or entry is larger than [MaxValue].
	ErrTooLarge = errors.New("store: value too large")
)

// MaxValue is the largest record or log entry, in bytes: what a JetStream server
// takes by default (1 MiB), less room for headers.
const MaxValue = 1<<20 - 16<<10

// Record is one raw record of a table.
type Record struct {
	Key   string
	Value []byte
	Rev   Rev
}

// Head is the end of a log.
type Head struct {
	// Epoch names one life of the log. Within an epoch a sequence number means one
	// entry for ever; after a crash, a restore or an import the epoch is a new, higher
	// one. Zero: the log has never been written.
	Epoch uint64
	// Seq is the sequence of the last durable entry; zero when the log is empty.
	Seq uint64
}

// Entry is one entry of a log.
type Entry struct {
	Seq   uint64
	Epoch uint64
	Data  []byte
	// Time of the append, as the engine saw it.
	Time time.Time
}

// Delivery says when the watchers of a log see an entry.
type Delivery uint8

const (
	// DeliverAfter shows an entry to watchers once it is durable.
	DeliverAfter Delivery = iota
	// DeliverFirst lets an engine show it at once, before it is durable: for chat-like
	// kinds only. After a crash such an entry may be gone; the epoch is then a new one.
	DeliverFirst
)

// Pending is an append that has its place in the log but may not be durable yet.
type Pending interface {
	// Seq is the entry's sequence and Epoch its epoch, known at once.
	Seq() uint64
	Epoch() uint64
	// Wait returns nil once the entry is durable. ErrUncertain when ctx ends first.
	Wait(ctx context.Context) error
	// Done calls fn exactly once, with what Wait would return, when the outcome is
	// known: before Done returns if it is known already, else from a goroutine of the
	// engine. So fn must not block, nor take a lock that the caller of Done holds. Who
	// appends to a log and calls Done, one entry after the other, is called in that
	// order. It spares the relay a goroutine per message.
	Done(fn func(error))
}

// Engine is what a storage engine offers. Keys, table names, log names and subjects
// are of the characters [A-Za-z0-9_=+.-] and "/" as separator (see [Key]); other bytes
// are escaped by [Key]. All methods may be called from several goroutines. An engine
// may keep the slices that it is given and show them to watchers as they are: nobody
// changes them afterwards. Slices that it returns belong to the caller, who may change
// them, but for those that a watcher or subscriber gets.
type Engine interface {
	// Get returns the record under key. ErrNotFound. See [Linearizable].
	Get(ctx context.Context, table, key string) (Record, error)
	// Put writes value if the record is at revision at (zero: if there is no record)
	// and returns its new revision. ErrConflict, ErrUncertain, ErrFull, ErrTooLarge.
	// After ErrUncertain the record must be read back before a repeat.
	Put(ctx context.Context, table, key string, value []byte, at Rev) (Rev, error)
	// Delete removes the record if it is at revision at. Deleting what is not there is
	// ErrNotFound. ErrConflict, ErrUncertain.
	Delete(ctx context.Context, table, key string, at Rev) error
	// Scan walks the records whose key begins with prefix, in the order of their keys,
	// as they were at one moment or later; it shows nothing that is not durable. See [Linearizable].
	// The error, if any, is the last pair.
	Scan(ctx context.Context, table, prefix string) iter.Seq2[Record, error]
	// ScanAfter is Scan from behind a key on, which need not be there: a later page costs
	// what the first one does. An engine may list the keys before it, but reads no values.
	ScanAfter(ctx context.Context, table, prefix, after string) iter.Seq2[Record, error]

	// Append gives data the next sequence of the log and returns at once; see Pending.
	// Entries become durable in the order of their sequence. The epoch is durable
	// before the first entry that bears it.
	Append(ctx context.Context, log string, data []byte, d Delivery) (Pending, error)
	// Read returns durable entries with a sequence greater than after, at most limit.
	Read(ctx context.Context, log string, after uint64, limit int) ([]Entry, error)
	// Head returns the end of the log, from the one who decides it (in a cluster the
	// stream's leader, never a lagging replica). See [Linearizable].
	Head(ctx context.Context, log string) (Head, error)
	// Rewind says up to which sequence a reader who stopped at (epoch, seq) has seen
	// only what is in the log: seq itself, or less when the tail of that epoch was never
	// stored, or zero when the epoch is unknown. Entries under way are waited for.
	Rewind(ctx context.Context, log string, epoch, seq uint64) (uint64, error)
	// Watch calls fn with the entries appended from now on, in the order of their
	// sequence, from one goroutine at a time; fn must not block and must not call the
	// engine. ctx covers the setting up only; cancel, which may be called again, ends the
	// watch and returns after the last fn.
	// To follow a log from its start: Watch first, then Read, and join by sequence.
	Watch(ctx context.Context, log string, fn func(Entry)) (cancel func(), err error)
	// DropLog removes a log and its epochs. Dropping what is not there is no error.
	DropLog(ctx context.Context, log string) error

	// Add adds delta to a counter and returns the new value. ErrUncertain.
	Add(ctx context.Context, counter string, delta int64) (int64, error)

	// Publish hands data to the present subscribers of a subject, on every node; nothing
	// is kept. Subscribe's fn runs as Watch's does. A subject ending in "/>" subscribes to
	// all below it.
	Publish(ctx context.Context, subject string, data []byte) error
	Subscribe(ctx context.Context, subject string, fn func(subject string, data []byte)) (cancel func(), err error)

	// Durability says in words what an acknowledgement means now, for the start-up line
	// and the metric: "fsync", "quorum of 3", "relaxed".
	Durability() string
	// Err returns nil while the engine can take writes, else why not.
	Err() error
	Close() error
}
