package natsstore

import (
	"crypto/sha256"
	"fmt"
	"hash/fnv"
	"strings"
)

// maxName is the longest key, log, counter or subject that is taken, in bytes of its
// NATS form: the server closes connections over a control line of 4,096 bytes.
const maxName = 2048

// emptyPart is an empty part of a name as a NATS token.
const emptyPart = "/e"

// subject writes a name of the store's alphabet as NATS tokens that are also a legal
// key of a key-value bucket, so that the nats command shows them. The separator "/"
// becomes "."; that frees "/" to escape what NATS does not take: "." is "/d", "+" is "/p"
// and an empty part is "/e".
func subject(name string) (string, error) {
	var b strings.Builder
	b.Grow(len(name) + 8)
	for i := range len(name) {
		switch c := name[i]; {
		case c == '/':
			if i == 0 || name[i-1] == '/' {
				b.WriteString(emptyPart)
			}
			b.WriteByte('.')
			if i == len(name)-1 {
				b.WriteString(emptyPart)
			}
		case c == '.':
			b.WriteString("/d")
		case c == '+':
			b.WriteString("/p")
		case inAlphabet(c):
			b.WriteByte(c)
		default:
			return "", fmt.Errorf("natsstore: name %q has a character outside the store's alphabet", name)
		}
	}
	if b.Len() == 0 {
		return "", fmt.Errorf("natsstore: empty name")
	}
	if b.Len() > maxName {
		return "", fmt.Errorf("natsstore: name of %d bytes is too long", len(name))
	}
	return b.String(), nil
}

var fromSubject = strings.NewReplacer(".", "/", "/d", ".", "/p", "+", emptyPart, "")

// name is the inverse of subject.
func name(subject string) string { return fromSubject.Replace(subject) }

// scanFilter returns the NATS filter that covers every key beginning with prefix, and
// perhaps more: filters end at a separator, prefixes need not.
func scanFilter(prefix string) (string, error) {
	parent, _, ok := cutLast(prefix, '/')
	if !ok {
		return ">", nil
	}
	if parent == "" {
		return emptyPart + ".>", nil
	}
	s, err := subject(parent)
	if err != nil {
		return "", err
	}
	return s + ".>", nil
}

func cutLast(s string, sep byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// maxBucket is the longest bucket name, in bytes: stream names end at 255, and file
// names with them.
const maxBucket = 200

// bucketName writes a table's name with the characters of a bucket's name. A long one
// becomes a hash.
func bucketName(prefix, table string) (string, error) {
	if table == "" {
		return "", fmt.Errorf("natsstore: empty table name")
	}
	var b strings.Builder
	b.WriteString(prefix)
	b.WriteByte('_')
	for i := range len(table) {
		switch c := table[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-':
			b.WriteByte(c)
		case inAlphabet(c) || c == '/' || c == '.' || c == '+':
			fmt.Fprintf(&b, "_%02X", c)
		default:
			return "", fmt.Errorf("natsstore: table name %q has a character outside the store's alphabet", table)
		}
	}
	if b.Len() > maxBucket {
		return fmt.Sprintf("%s__%x", prefix, sha256.Sum256([]byte(table))), nil
	}
	return b.String(), nil
}

// inAlphabet reports whether c is of the store's alphabet and means nothing to NATS.
func inAlphabet(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '=' || c == '-'
}

// logStream says which of the log streams holds the log.
func logStream(log string) int {
	h := fnv.New32a()
	h.Write([]byte(log))
	return int(h.Sum32() % logStreams)
}
