package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/tandem-call/tandem/wire"
)

// Hash returns the hash that an entry must have.
func Hash(e wire.AuditEntry) string {
	e.Hash = ""
	b, err := json.Marshal(e)
	if err != nil {
		return "" // no hash at all: an entry with a time that JSON cannot write
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Fault is something wrong with a log.
type Fault struct {
	Seq  uint64 `json:"seq"`
	What string `json:"what"`
}

// String says it in one line.
func (f Fault) String() string { return fmt.Sprintf("entry %d: %s", f.Seq, f.What) }

// Verifier checks a log from its first entry on: [Verifier.Add] each entry in the order in
// which it was exported, then ask [Verifier.End]. The zero Verifier is ready.
type Verifier struct {
	// Anchor: the hash that the entry AnchorSeq had when somebody noted it. Zero: none.
	AnchorSeq uint64
	Anchor    string

	// Entries seen, and the last of them.
	Entries uint64
	Seq     uint64
	Head    string

	first    wire.AuditEntry
	start    bool // a pruning explains where the log begins
	anchored bool
	faults   []Fault
}

// Add looks at the next entry.
func (v *Verifier) Add(e wire.AuditEntry) {
	fault := func(format string, args ...any) {
		v.faults = append(v.faults, Fault{e.Seq, fmt.Sprintf(format, args...)})
	}
	switch {
	case v.Entries == 0:
		v.first = e
	case e.Seq > v.Seq+1:
		fault("entries %d to %d before it are missing", v.Seq+1, e.Seq-1)
	case e.Seq <= v.Seq:
		fault("it is not in its place: it comes after entry %d", v.Seq)
	case e.Prev != v.Head:
		fault("it does not follow from the entry before it")
	}
	if Hash(e) != e.Hash {
		fault("it has been changed: its hash is not that of its content")
	}
	if e.What == string(AuditPruned) && e.Details["hash"] == v.first.Prev && e.Details["through"] == strconv.FormatUint(v.first.Seq-1, 10) {
		v.start = true
	}
	if v.Anchor != "" && e.Seq == v.AnchorSeq {
		v.anchored = true
		if e.Hash != v.Anchor {
			fault("it is not the one that the anchor was taken of")
		}
	}
	v.Entries++
	v.Seq, v.Head = e.Seq, e.Hash
}

// End returns everything that is wrong, in the order of the entries.
func (v *Verifier) End() []Fault {
	faults := v.faults
	switch {
	case v.Entries == 0:
	case v.first.Seq == 1 && v.first.Prev != "":
		faults = append([]Fault{{1, "it claims to follow from another one"}}, faults...)
	case v.first.Seq != 1 && !v.start:
		faults = append([]Fault{{v.first.Seq, "the log begins here, and no entry tells of a pruning"}}, faults...)
	}
	if v.Anchor != "" && !v.anchored {
		faults = append(faults, Fault{v.AnchorSeq, "the anchor was taken of it, and it is not there"})
	}
	return faults
}
