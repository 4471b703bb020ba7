package pebblestore

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tandem-call/tandem/internal/store"
)

// packBytes is about the most data that one key of a log holds.
const packBytes = 64 << 10

// pack is what one key of a log holds: the entries that came while the first of them
// waited for its batch. An entry that comes alone is a pack of its own. Under load this
// spares Pebble most keys, and the committer most operations.
type pack struct {
	log      *logState
	newEpoch *epochStart // begins with its first entry
	// Guarded by logState.mu until it is written, then fixed.
	entries []*entry
	bytes   int // of their data
	size    int // what they were admitted with; see queuedSize
}

// add queues an entry of the log: in the pack that waits for its batch, if there is one,
// else in a new one. Called with mu held.
func (l *logState) add(e *entry, newEpoch *epochStart) error {
	p := l.open
	if p == nil || newEpoch != nil || p.bytes+len(e.Data) > packBytes {
		p = &pack{log: l, newEpoch: newEpoch}
		if err := l.logs.store.commits.submit(p); err != nil {
			return err
		}
		l.logs.retain(l)
		l.open = p
	}
	p.entries = append(p.entries, e)
	p.bytes += len(e.Data)
	p.size += int(queuedSize(e.size()))
	return nil
}

func (p *pack) write(b *pebble.Batch, _ uint64) {
	l := p.log
	l.mu.Lock() // nothing is added from now on
	if l.open == p {
		l.open = nil
	}
	l.mu.Unlock()
	if p.newEpoch != nil {
		// Set fails only on a batch that is already committed.
		_ = b.Set(epochStartKey(l.name, p.newEpoch.epoch), number(p.newEpoch.after), nil)
	}
	k := entryKey(l.name, p.last())
	d := b.SetDeferred(len(k), p.encodedSize())
	copy(d.Key, k)
	p.encode(d.Value)
	d.Finish()
}

func (p *pack) last() uint64 { return p.entries[len(p.entries)-1].Entry.Seq }

// finish settles all entries at once: readers see the durable end of a log only where a
// pack ends.
func (p *pack) finish(err error) {
	if err == nil {
		p.log.settle(p)
	}
	p.log.logs.release(p.log)
	p.log.logs.store.queued.Release(int64(p.size))
	for _, e := range p.entries {
		e.settle(err)
	}
}

// The value of a pack is that of its entry, if there is one only:
//
//	epoch   time in nanoseconds   data
//	8       8 bytes
//
// else the epoch with the first bit set, and the entries; the key has the last one's
// sequence, so that a search for any of them finds the pack:
//
//	epoch   number of entries   time in nanoseconds   length of data   data   …
//	8       4                   8                     4 bytes
const (
	entryHeader  = 16
	packHeader   = 12
	packedHeader = 12
	packed       = 1 << 63
)

func (p *pack) encodedSize() int {
	if len(p.entries) == 1 {
		return entryHeader + p.bytes
	}
	return packHeader + packedHeader*len(p.entries) + p.bytes
}

// encode fills b, which has the encoded size.
func (p *pack) encode(b []byte) {
	first := p.entries[0]
	if len(p.entries) == 1 {
		binary.BigEndian.PutUint64(b, first.Epoch())
		binary.BigEndian.PutUint64(b[8:], uint64(first.Time.UnixNano()))
		copy(b[entryHeader:], first.Data)
		return
	}
	binary.BigEndian.PutUint64(b, first.Epoch()|packed)
	binary.BigEndian.PutUint32(b[8:], uint32(len(p.entries)))
	b = b[packHeader:]
	for _, e := range p.entries {
		binary.BigEndian.PutUint64(b, uint64(e.Time.UnixNano()))
		binary.BigEndian.PutUint32(b[8:], uint32(len(e.Data)))
		b = b[packedHeader+copy(b[packedHeader:], e.Data):]
	}
}

// decodePack appends the entries of a pack to entries; their data is a part of value.
func decodePack(entries []store.Entry, key, value []byte) ([]store.Entry, error) {
	damaged := fmt.Errorf("pebblestore: log entry of %d bytes: %w", len(value), store.ErrDamaged)
	if len(key) < 8 || len(value) < packHeader {
		return entries, damaged
	}
	last := binary.BigEndian.Uint64(key[len(key)-8:])
	epoch := binary.BigEndian.Uint64(value)
	if epoch&packed == 0 {
		if len(value) < entryHeader {
			return entries, damaged
		}
		return append(entries, store.Entry{Seq: last, Epoch: epoch, Time: decodeTime(value[8:]), Data: value[entryHeader:]}), nil
	}
	n := uint64(binary.BigEndian.Uint32(value[8:]))
	b := value[packHeader:]
	if n < 2 || n > last {
		return entries, damaged
	}
	for seq := last - n + 1; seq <= last; seq++ {
		if len(b) < packedHeader {
			return entries, damaged
		}
		end := packedHeader + int(binary.BigEndian.Uint32(b[8:]))
		if end > len(b) {
			return entries, damaged
		}
		entries = append(entries, store.Entry{Seq: seq, Epoch: epoch &^ packed, Time: decodeTime(b), Data: b[packedHeader:end:end]})
		b = b[end:]
	}
	if len(b) > 0 {
		return entries, damaged
	}
	return entries, nil
}

func decodeTime(b []byte) time.Time { return time.Unix(0, int64(binary.BigEndian.Uint64(b))) }
