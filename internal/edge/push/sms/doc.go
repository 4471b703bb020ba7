// Package sms sends text messages: the codes of an enrolment, and links for those who
// have no client yet (SPEC B16, D4).
//
// There are three senders, each of which fits device.Sender: [Kannel] speaks to a Kannel
// gateway, [Webhook] to anything that takes a JSON document over HTTP, and [Dev] prints
// the message instead of sending it, on a server that only its own machine can reach.
package sms

import "errors"

// Errors of all senders.
var (
	// ErrRejected: the gateway does not take this message or these credentials; sending it
	// again will not help.
	ErrRejected = errors.New("sms: the gateway refused the message")
	// ErrUnavailable: the gateway cannot be reached, or cannot take messages now.
	ErrUnavailable = errors.New("sms: the gateway is unavailable")
	// ErrConfig: the sender cannot work with this configuration.
	ErrConfig = errors.New("sms: unusable configuration")
	// ErrTold: what a gateway posts cannot be read.
	ErrTold = errors.New("sms: the gateway's message cannot be read")
	// ErrMediaType: what a gateway posts is neither a form nor JSON.
	ErrMediaType = errors.New("sms: the gateway's message must be a form or JSON")
)
