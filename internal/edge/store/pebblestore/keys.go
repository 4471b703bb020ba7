package pebblestore

import (
	"encoding/binary"
	"fmt"

	"github.com/tandem-call/tandem/internal/store"
)

// Keys in Pebble; names and keys hold no zero byte, numbers are big-endian:
//
//	t <table> 00 <key>          record: revision, value
//	l <log> 00 e <sequence>     entries up to this one: see pack
//	l <log> 00 h <epoch>        an epoch began: the sequence it starts after
//	c <counter>                 value
//	m c                         number of the last commit
//	m e                         last epoch, epoch of the last unclean start
//	m s                         written to renew Pebble's files, see Compact
const (
	recordSpace  = 't'
	logSpace     = 'l'
	counterSpace = 'c'
	metaSpace    = 'm'
	entryKind    = 'e'
	epochKind    = 'h'
)

var (
	commitKey = []byte{metaSpace, 'c'}
	epochKey  = []byte{metaSpace, 'e'}
	scrubKey  = []byte{metaSpace, 's'}
)

func checkName(what, name string) error {
	if name == "" {
		return fmt.Errorf("pebblestore: empty %s", what)
	}
	return checkBytes(what, name)
}

func checkBytes(what, name string) error {
	for i := range len(name) {
		c := name[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '-' && c <= '9' || c == '_' || c == '=' || c == '+' {
			continue // '-' to '9' is "-./" and the digits
		}
		return fmt.Errorf("pebblestore: %s has a byte %#02x, which is outside the contract", what, c)
	}
	return nil
}

func tablePrefix(table string) []byte {
	k := append(make([]byte, 0, 1+len(table)+1), recordSpace)
	return append(append(k, table...), 0)
}

func recordKey(table, key string) ([]byte, error) {
	if err := checkName("table name", table); err != nil {
		return nil, err
	}
	if err := checkName("key", key); err != nil {
		return nil, err
	}
	k := append(make([]byte, 0, 1+len(table)+1+len(key)), recordSpace)
	k = append(append(k, table...), 0)
	return append(k, key...), nil
}

func encodeRecord(b []byte, rev uint64, value []byte) {
	binary.BigEndian.PutUint64(b, rev)
	copy(b[8:], value)
}

func decodeRecord(b []byte) (store.Rev, []byte, error) {
	if len(b) < 8 {
		return 0, nil, fmt.Errorf("pebblestore: record of %d bytes: %w", len(b), store.ErrDamaged)
	}
	return store.Rev(binary.BigEndian.Uint64(b)), b[8:], nil
}

func logPrefix(log string, kind byte) []byte {
	k := append(make([]byte, 0, len(log)+11), logSpace)
	return append(append(k, log...), 0, kind)
}

func entryKey(log string, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(logPrefix(log, entryKind), seq)
}

func epochStartKey(log string, epoch uint64) []byte {
	return binary.BigEndian.AppendUint64(logPrefix(log, epochKind), epoch)
}

func counterKey(counter string) ([]byte, error) {
	if err := checkName("counter name", counter); err != nil {
		return nil, err
	}
	return append([]byte{counterSpace}, counter...), nil
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func decodeNumber(what string, b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("pebblestore: %s of %d bytes: %w", what, len(b), store.ErrDamaged)
	}
	return binary.BigEndian.Uint64(b), nil
}

// after is the first key that is greater than all keys with this prefix, whose last
// byte is not 0xff.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	end[len(end)-1]++
	return end
}
