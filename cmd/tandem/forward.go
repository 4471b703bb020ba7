package main

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/wire"
)

// A network element may report a call to the party's own PC, which forwards the report as
// its own (SPEC A6). The PC takes what the server takes, POST /v1/reports with a wire.Report,
// so that an element needs another address only.

// maxForwarded is the largest report that is taken, in bytes.
const maxForwarded = 64 << 10

// forwarder serves an element's reports at the party's device.
type forwarder struct {
	device *client.Device
	me     *client.Identity
	// key that the element sends as bearer token; empty: none, on loopback only.
	key string
	say func(wire.Report, wire.Ack, error)
}

// listenForReports opens the address; one beyond this machine needs a key.
func listenForReports(addr, keyFile string) (net.Listener, string, error) {
	key := ""
	if keyFile != "" {
		b, err := os.ReadFile(keyFile)
		if err != nil {
			return nil, "", err
		}
		if key = strings.TrimSpace(string(b)); len(key) < 16 {
			return nil, "", fmt.Errorf("--reports-key %s: a key has 16 characters at least", keyFile)
		}
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, "", fmt.Errorf("--reports-from: %w", err)
	}
	if a := l.Addr().(*net.TCPAddr); key == "" && !a.IP.IsLoopback() {
		return nil, "", errors.Join(fmt.Errorf("--reports-from %s: an address beyond this machine needs --reports-key", addr), l.Close())
	}
	return l, key, nil
}

// Run serves until ctx ends.
func (f forwarder) Run(ctx context.Context, l net.Listener, log *slog.Logger) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/reports", f.report)
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 15 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := s.Shutdown(end); err != nil {
		return s.Close()
	}
	return nil
}

func (f forwarder) report(w http.ResponseWriter, r *http.Request) {
	var ack wire.Ack
	report, err := f.read(w, r)
	if err == nil {
		ack, err = f.device.Report(r.Context(), report)
		f.say(report, ack, err)
	}
	if err != nil {
		var p *wire.Problem
		if !errors.As(err, &p) {
			p = wire.NewProblem(wire.CodeUncertain, "the report was not forwarded: %v", err)
		}
		httpapi.WriteProblem(w, p)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(ack) // the element has gone: nobody to tell
}

// read takes a report that is about this device's own number, or names none.
func (f forwarder) read(w http.ResponseWriter, r *http.Request) (wire.Report, error) {
	if f.key != "" {
		_, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if subtle.ConstantTimeCompare([]byte(given), []byte(f.key)) != 1 {
			return wire.Report{}, wire.NewProblem(wire.CodeUnauthenticated, "send this device's key for reports as bearer token")
		}
	}
	if t, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(t) != "application/json" {
		return wire.Report{}, wire.NewProblem(wire.CodeUnsupportedType, "send application/json") // no page of a browser can, without asking
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(http.MaxBytesReader(w, r.Body, maxForwarded)); err != nil {
		return wire.Report{}, wire.NewProblem(wire.CodeTooLarge, "a report has at most %d bytes", maxForwarded)
	}
	report, err := wire.DecodeBody[wire.Report](wire.Envelope{Type: wire.TypeReport, Body: b.Bytes()})
	if err != nil {
		return report, wire.NewProblem(wire.CodeBadRequest, "%v", err)
	}
	// What the element says may not make this device claim another party, nor a person's word.
	if !report.Own.IsZero() && report.Own != f.me.Number.Identity() {
		return report, wire.NewProblem(wire.CodeNotYourParty, "this device carries data for %s", f.me.Number)
	}
	report.Typed = false
	return report, nil
}
