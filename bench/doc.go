// Bench measures Tandem beside its peers and its own limit, in one run.
//
//	go run . [-rounds 5] [-seconds 2] [-only relay,match,…] [-o FILE]
//
// Every server runs as a process of its own (this program again, see child.go), so that
// its processor time and memory are told from the load's. What is compared runs in turns,
// round by round, so that whatever else the machine does falls on all alike; ratios are
// taken within a round, and the table shows the median and the range over the rounds.
//
// The files: load.go (what drives a relay), ws.go (its WebSocket), limit.go, tandem.go,
// centrifuge.go, nats.go (the servers and how to talk to them), relay.go, match.go,
// resume.go, idle.go, fanout.go, growth.go, reach.go, sip.go and setup.go, store.go (one benchmark each), figure.go and
// plot.go (what comes out).
//
// It runs on Linux only: it reads /proc and uses fdatasync.
package main
