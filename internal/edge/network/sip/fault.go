package sip

import "fmt"

// Fault says why a message cannot be taken, and how a request is answered for it (RFC
// 3261 8.2, 16.3).
type Fault struct {
	Status int
	Reason string
	// Why is for the log, and for whoever sent it (as the reason phrase of a 400).
	Why string
	// Unsupported lists the option tags of a 420.
	Unsupported string
	// Lost: on a stream, where the next message begins is not known.
	Lost bool
}

func (f *Fault) Error() string { return fmt.Sprintf("sip: %d %s: %s", f.Status, f.Reason, f.Why) }

// bad is a 400 whose reason phrase says what is bad (RFC 3261 21.4.1).
func bad(format string, args ...any) *Fault {
	why := fmt.Sprintf(format, args...)
	return &Fault{Status: 400, Reason: "Bad Request: " + why, Why: why}
}

// reasons are the default phrases of the statuses that the element gives (RFC 3261 21).
var reasons = map[int]string{
	100: "Trying", 200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
	407: "Proxy Authentication Required", 408: "Request Timeout", 416: "Unsupported URI Scheme", 420: "Bad Extension",
	423: "Interval Too Brief", 430: "Flow Failed", 480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist",
	482: "Loop Detected", 483: "Too Many Hops", 487: "Request Terminated", 489: "Bad Event", 500: "Server Internal Error", 501: "Not Implemented",
	503: "Service Unavailable", 504: "Server Time-out", 505: "Version Not Supported", 513: "Message Too Large",
}
