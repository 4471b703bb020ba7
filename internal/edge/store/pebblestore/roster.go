package pebblestore

import (
	"bytes"
	"hash/maphash"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// rosterSize is how many keys of one table are known in memory.
const rosterSize = 4096

// rosters knows the keys of small tables, so that Pebble need not be asked for what is not there:
// most of what is asked of marks, blocks and choices. A key is entered before its record can be seen by
// anybody, and taken off when the record's removal is durable. So what is not in a
// roster is not there, and was not a moment ago either; what is in one may be there.
type rosters struct {
	mu     sync.RWMutex
	tables map[string]*roster // a table that is not in it has never had a record

	blind bool // nothing is known: the tables could not be read. Fixed after load.
}

// roster is the keys of one table.
type roster struct {
	mu   sync.RWMutex
	keys map[uint64]uint32 // how many have this hash; nil once there were too many
}

func newRosters() *rosters { return &rosters{tables: map[string]*roster{}} }

// load enters what the tables hold.
func (rs *rosters) load(db *pebble.DB) error {
	err := rs.read(db)
	rs.blind = err != nil
	return err
}

func (rs *rosters) read(db *pebble.DB) error {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{recordSpace}, UpperBound: []byte{recordSpace + 1}})
	if err != nil {
		return readError(err)
	}
	defer it.Close()
	for ok := it.First(); ok; {
		name, _, _ := bytes.Cut(it.Key()[1:], []byte{0})
		r, prefix := rs.of(string(name)), tablePrefix(string(name))
		for ; ok && bytes.HasPrefix(it.Key(), prefix); ok = it.Next() {
			if r.add(hashOf(it.Key())); r.overflowed() {
				ok = it.SeekGE(after(prefix))
				break
			}
		}
	}
	if err := it.Error(); err != nil {
		return readError(err)
	}
	return nil
}

// of returns the roster of a table, which it makes if need be.
func (rs *rosters) of(table string) *roster {
	rs.mu.RLock()
	r := rs.tables[table]
	rs.mu.RUnlock()
	if r == nil {
		rs.mu.Lock()
		defer rs.mu.Unlock()
		if r = rs.tables[table]; r == nil {
			r = &roster{keys: map[uint64]uint32{}}
			rs.tables[table] = r
		}
	}
	return r
}

// lacks reports that a table has no record under the key with this hash.
func (rs *rosters) lacks(table string, key uint64) bool {
	r := rs.known(table)
	if r == nil {
		return !rs.blind
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.keys != nil && r.keys[key] == 0
}

// empty reports that a table has no records.
func (rs *rosters) empty(table string) bool {
	r := rs.known(table)
	if r == nil {
		return !rs.blind
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.keys != nil && len(r.keys) == 0
}

// known returns the roster of a table; nil where there is none, or it says nothing.
func (rs *rosters) known(table string) *roster {
	if rs.blind {
		return nil
	}
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	return rs.tables[table]
}

func (r *roster) add(key uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys == nil {
		return
	}
	if r.keys[key]++; len(r.keys) > rosterSize {
		r.keys = nil
	}
}

func (r *roster) remove(key uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch n := r.keys[key]; n {
	case 0: // there were too many
	case 1:
		delete(r.keys, key)
	default:
		r.keys[key] = n - 1
	}
}

func (r *roster) overflowed() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.keys == nil
}

// hashOf a key in Pebble.
func hashOf(key []byte) uint64 { return maphash.Bytes(hashSeed, key) }
