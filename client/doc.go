// Package client is the device SDK: what a phone's, a PC's or a test's program uses to
// take part in data sessions. It knows the wire and nothing of the server.
//
// A device first proves its number, once ([Enrol]); the [Identity] that it gets is a
// key of its own and is kept in a file ([Identity.Save]). Afterwards [Connect] makes a
// [Device], whose Run keeps one connection to the server, comes back after any loss,
// resumes every session where it stopped, and tells the program what happens
// ([Events]). [Device.Report] reports calls, [Device.Send] and [Device.SendFile] send to
// the other members; they return when the server has stored what was sent, and may be
// repeated harmlessly with the same id. What a program has seen it need not see again
// after a restart, if it keeps its [Device.Positions].
//
// A program that only makes a request now and then uses [API] without a connection.
package client
