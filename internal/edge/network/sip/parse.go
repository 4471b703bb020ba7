package sip

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits on what is taken from outside.
const (
	// maxMessage is the largest message, in bytes; UDP can carry no larger one.
	maxMessage = 65535
	// maxHeaders bounds the header fields of a message.
	maxHeaders = 256
	// maxVias bounds the elements that a message has come through: no Max-Forwards allows
	// more in practice, and each costs those behind it.
	maxVias = 70
)

// parseDatagram reads a message that came alone: in a datagram, or as one message of a
// WebSocket (RFC 7118 5). What is behind the body is no part of it (RFC 3261 18.3).
// Message and fault both: a request that can be answered with the fault. Nil and a
// fault: nothing that could be answered.
func parseDatagram(data []byte) (*Message, *Fault) {
	head, body, fault := cutHead(data)
	if fault != nil {
		return nil, fault
	}
	m, length, fault := parseHead(head)
	if m == nil {
		return nil, fault
	}
	switch {
	case fault != nil:
	case length < 0: // the datagram is the message
		m.Body = bytes.Clone(body)
	case length > len(body):
		fault = bad("Content-Length says %d and there are %d bytes", length, len(body))
	default:
		m.Body = bytes.Clone(body[:length])
	}
	if fault == nil {
		fault = validate(m)
	}
	return m, fault
}

// cutHead parts the lines of a message from its body.
func cutHead(data []byte) (head, body []byte, fault *Fault) {
	data = bytes.TrimLeft(data, "\r\n") // RFC 3261 7.5
	i := bytes.Index(data, []byte("\r\n\r\n"))
	if i < 0 {
		return nil, nil, bad("no empty line ends the header fields")
	}
	return data[:i+2], data[i+4:], nil
}

// parseHead reads start line and header fields. The length is that of Content-Length, -1
// without one.
func parseHead(head []byte) (m *Message, length int, fault *Fault) {
	length = -1
	line, rest, _ := strings.Cut(string(head), "\r\n")
	m, fault = parseStart(line)
	if m == nil {
		return nil, length, fault
	}
	note := func(f *Fault) {
		if fault == nil {
			fault = f
		}
	}
	m.Headers = make([]Header, 0, 16)
	for rest != "" {
		line, rest, _ = strings.Cut(rest, "\r\n")
		if strings.ContainsAny(line, "\r\n") {
			note(bad("a line is not ended by CR LF"))
			continue
		}
		if line != "" && (line[0] == ' ' || line[0] == '\t') { // folded (RFC 3261 7.3.1)
			if len(m.Headers) == 0 {
				note(bad("the first header field begins with white space"))
				continue
			}
			h := &m.Headers[len(m.Headers)-1]
			h.Value = strings.Trim(h.Value+" "+strings.Trim(line, " \t"), " ")
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		name = strings.TrimRight(name, " \t")
		if !ok || !isToken(name) {
			note(bad("a header field has no name"))
			continue
		}
		if len(m.Headers) == maxHeaders {
			note(bad("more than %d header fields", maxHeaders))
			break
		}
		m.Headers = append(m.Headers, Header{headerID(name), name, strings.Trim(value, " \t")})
	}
	for _, h := range m.Headers {
		if h.ID != ContentLength {
			continue
		}
		n, ok := number(h.Value, maxMessage+1)
		switch {
		case !ok:
			note(lost(bad("Content-Length is no number")))
		case length >= 0 && length != int(n):
			note(lost(bad("two Content-Length fields disagree")))
		case n > maxMessage:
			note(lost(&Fault{Status: 513, Reason: reasons[513], Why: "the body is too large"}))
		default:
			length = int(n)
		}
	}
	return m, length, fault
}

// lost marks a fault after which the stream makes no sense.
func lost(f *Fault) *Fault {
	f.Lost = true
	return f
}

// parseStart reads the start line. A message beside the fault is a request that can be
// answered once its header fields are read.
func parseStart(line string) (*Message, *Fault) {
	if version, rest, ok := strings.Cut(line, " "); ok && isVersion(version) { // RFC 3261 7.2
		code, reason, ok := strings.Cut(rest, " ")
		n, err := strconv.Atoi(code)
		if !ok || len(code) != 3 || err != nil || n < 100 || n > 699 || !utf8.ValidString(reason) {
			return nil, bad("no status line")
		}
		if !strings.EqualFold(version, "SIP/2.0") {
			return nil, bad("a response of version %.20q", version)
		}
		return &Message{Status: n, Reason: reason}, nil
	}
	first, last := strings.IndexByte(line, ' '), strings.LastIndexByte(strings.TrimRight(line, " \t"), ' ')
	if first <= 0 || last < 0 || !isToken(line[:first]) {
		return nil, bad("no request line")
	}
	version := line[last+1:]
	if !isVersion(strings.TrimRight(version, " \t")) {
		return nil, bad("no request line")
	}
	m := &Message{Method: line[:first]}
	if first == last {
		return m, bad("the request line has no Request-URI")
	}
	m.URI = line[first+1 : last]
	switch {
	case strings.ContainsAny(m.URI, " \t") || m.URI == "" || version != strings.TrimRight(version, " \t"):
		return m, bad("the request line has white space where none may be") // RFC 3261 7.1
	case !strings.EqualFold(version, "SIP/2.0"):
		return m, &Fault{Status: 505, Reason: reasons[505], Why: "the version is not 2.0"}
	}
	return m, nil
}

// isVersion: "SIP/" and digits, in any case.
func isVersion(s string) bool {
	if len(s) < 7 || !strings.EqualFold(s[:4], "SIP/") {
		return false
	}
	major, minor, ok := strings.Cut(s[4:], ".")
	return ok && major != "" && minor != "" && strings.Trim(major+minor, digits) == ""
}
