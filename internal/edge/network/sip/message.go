package sip

import (
	"slices"
	"strconv"
	"strings"
)

// Message is a request or a response (RFC 3261 7). Header fields stay as they came, in
// their order, so that what the element does not understand is forwarded untouched
// (16.6): it reads only those that it needs, when it needs them.
type Message struct {
	// Method and URI of a request; Method is "" in a response.
	Method string
	URI    string
	// Status and Reason of a response.
	Status int
	Reason string

	Headers []Header
	Body    []byte
}

// Header is one header field line, unfolded. A compact name (RFC 3261 7.3.3) is kept; ID is
// the same for both forms.
type Header struct {
	ID    HeaderID
	Name  string
	Value string
}

// HeaderID tells the header fields that the element reads apart.
type HeaderID uint8

// Header fields that the element reads or writes.
const (
	otherHeader HeaderID = iota
	Via
	From
	To
	CallID
	CSeq
	Contact
	MaxForwards
	Route
	RecordRoute
	ContentLength
	ContentType
	Expires
	Authorization
	ProxyAuthorization
	WWWAuthenticate
	ProxyAuthenticate
	ProxyRequire
	Require
	Supported
	Unsupported
	Privacy
	PAssertedIdentity
	PPreferredIdentity
	PServedUser
	SessionIDHeader
	SessionExpires
	Identity
	Replaces
	ReferTo
	HistoryInfo
	Diversion
	Event
	SubscriptionState
	Date
	RetryAfter
	Path
	Geolocation
	GeolocationRouting
	ContentID
	ReasonHeader
	numHeaders
)

var headerNames = [numHeaders]string{
	Via: "Via", From: "From", To: "To", CallID: "Call-ID", CSeq: "CSeq", Contact: "Contact", MaxForwards: "Max-Forwards",
	Route: "Route", RecordRoute: "Record-Route", ContentLength: "Content-Length", ContentType: "Content-Type", Expires: "Expires",
	Authorization: "Authorization", ProxyAuthorization: "Proxy-Authorization", WWWAuthenticate: "WWW-Authenticate",
	ProxyAuthenticate: "Proxy-Authenticate", ProxyRequire: "Proxy-Require", Require: "Require", Supported: "Supported",
	Unsupported: "Unsupported", Privacy: "Privacy", PAssertedIdentity: "P-Asserted-Identity", PPreferredIdentity: "P-Preferred-Identity",
	PServedUser: "P-Served-User", SessionIDHeader: "Session-ID", SessionExpires: "Session-Expires", Identity: "Identity",
	Replaces: "Replaces", ReferTo: "Refer-To", HistoryInfo: "History-Info", Diversion: "Diversion", Event: "Event", SubscriptionState: "Subscription-State",
	Date: "Date", RetryAfter: "Retry-After", Path: "Path", Geolocation: "Geolocation", GeolocationRouting: "Geolocation-Routing", ContentID: "Content-ID", ReasonHeader: "Reason",
}

// compact forms, of RFC 3261 20 and the later RFCs that registered them.
var compact = map[byte]HeaderID{
	'v': Via, 'f': From, 't': To, 'i': CallID, 'm': Contact, 'l': ContentLength, 'c': ContentType, 'k': Supported,
	'x': SessionExpires, 'y': Identity, 'r': ReferTo, 'o': Event,
}

var headerIDs = func() map[string]HeaderID {
	m := map[string]HeaderID{}
	for id := otherHeader + 1; id < numHeaders; id++ {
		m[strings.ToLower(headerNames[id])] = id
	}
	return m
}()

// headerID of a name, in any case.
func headerID(name string) HeaderID {
	if len(name) == 1 {
		return compact[name[0]|0x20]
	}
	var low [24]byte // longer than any name above
	if len(name) > len(low) {
		return otherHeader
	}
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		low[i] = c
	}
	return headerIDs[string(low[:len(name)])]
}

// IsRequest reports whether m is a request.
func (m *Message) IsRequest() bool { return m.Method != "" }

// Get returns the value of the first header field; "" if there is none.
func (m *Message) Get(id HeaderID) string {
	if i := m.index(id); i >= 0 {
		return m.Headers[i].Value
	}
	return ""
}

// Has reports whether there is such a header field.
func (m *Message) Has(id HeaderID) bool { return m.index(id) >= 0 }

func (m *Message) index(id HeaderID) int {
	return slices.IndexFunc(m.Headers, func(h Header) bool { return h.ID == id })
}

// All returns the values of all header fields of one name; those that hold lists are taken
// apart.
func (m *Message) All(id HeaderID) []string {
	var all []string
	for _, h := range m.Headers {
		if h.ID == id {
			all = append(all, splitList(h.Value)...)
		}
	}
	return all
}

// Raw returns the values of all header fields of a name, as they are.
func (m *Message) Raw(id HeaderID) []string {
	var all []string
	for _, h := range m.Headers {
		if h.ID == id {
			all = append(all, h.Value)
		}
	}
	return all
}

// Add puts a header field at the end.
func (m *Message) Add(id HeaderID, value string) {
	m.Headers = append(m.Headers, Header{id, headerNames[id], value})
}

// Push puts a header field above all others.
func (m *Message) Push(id HeaderID, value string) {
	m.Headers = slices.Insert(m.Headers, 0, Header{id, headerNames[id], value})
}

// Set replaces the first header field of a name, or adds it.
func (m *Message) Set(id HeaderID, value string) {
	if i := m.index(id); i >= 0 {
		m.Headers[i].Value = value
		return
	}
	m.Add(id, value)
}

// Remove removes all header fields of a name.
func (m *Message) Remove(id HeaderID) {
	m.Headers = slices.DeleteFunc(m.Headers, func(h Header) bool { return h.ID == id })
}

// Pop removes the first value of a header field that holds a list (Via, Route), and returns
// it.
func (m *Message) Pop(id HeaderID) (value string, ok bool) {
	i := m.index(id)
	if i < 0 {
		return "", false
	}
	first, rest := cutList(m.Headers[i].Value)
	if rest == "" {
		m.Headers = slices.Delete(m.Headers, i, i+1)
	} else {
		m.Headers[i].Value = rest
	}
	return first, true
}

// Top returns the first value of a header field that holds a list.
func (m *Message) Top(id HeaderID) string {
	first, _ := cutList(m.Get(id))
	return first
}

// Clone returns a copy whose header fields can be changed. The body is shared.
func (m *Message) Clone() *Message {
	c := *m
	c.Headers = slices.Clone(m.Headers)
	return &c
}

// Encode returns the message as it is sent, with its Content-Length (RFC 3261 18.3).
func (m *Message) Encode() []byte {
	n := 64 + len(m.URI) + len(m.Reason) + len(m.Body)
	for _, h := range m.Headers {
		n += len(h.Name) + len(h.Value) + 4
	}
	b := make([]byte, 0, n)
	if m.IsRequest() {
		b = append(append(append(append(b, m.Method...), ' '), m.URI...), " SIP/2.0\r\n"...)
	} else {
		b = strconv.AppendInt(append(b, "SIP/2.0 "...), int64(m.Status), 10)
		b = append(append(append(b, ' '), m.Reason...), "\r\n"...)
	}
	for _, h := range m.Headers {
		if h.ID == ContentLength {
			continue
		}
		b = append(append(append(append(b, h.Name...), ": "...), h.Value...), "\r\n"...)
	}
	b = strconv.AppendInt(append(b, "Content-Length: "...), int64(len(m.Body)), 10)
	return append(append(b, "\r\n\r\n"...), m.Body...)
}

// Response begins the answer to a request (RFC 3261 8.2.6), without a To tag of our own.
func (m *Message) Response(status int, reason string) *Message {
	r := &Message{Status: status, Reason: reason}
	for _, h := range m.Headers {
		switch h.ID {
		case Via, From, To, CallID, CSeq:
			r.Headers = append(r.Headers, h)
		case otherHeader:
			if status == 100 && strings.EqualFold(h.Name, "Timestamp") { // RFC 3261 8.2.6.1
				r.Headers = append(r.Headers, h)
			}
		}
	}
	return r
}

// cseq returns the parts of CSeq. A message that was parsed has a good one.
func (m *Message) cseq() (n uint32, method string) {
	num, method, _ := strings.Cut(m.Get(CSeq), " ")
	v, err := strconv.ParseUint(num, 10, 31)
	if err != nil {
		return 0, ""
	}
	return uint32(v), strings.TrimLeft(method, " \t")
}
