package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/files"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// nowhere is a listener that nobody reaches: time in this test passes in a bubble, which
// a network does not enter.
type nowhere struct{}

func (nowhere) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (nowhere) Close() error              { return nil }
func (nowhere) Addr() net.Addr            { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// era is a server's parts on a directory, running for some time.
type era struct {
	*Server
	t    *testing.T
	stop func()
}

// idleEra is one whose parts do not run.
func idleEra(t *testing.T, dir string, settings ...func(*Config)) *era {
	t.Helper()
	c := Defaults()
	c.Data, c.Engine.HeadroomMiB, c.Engine.Durability, c.SIP.Mode = dir, 16, "relaxed", SIPOff
	for _, f := range settings {
		f(&c)
	}
	s, err := New(t.Context(), c, Options{Version: "test", Logger: slog.New(slog.DiscardHandler), Listener: nowhere{}, Show: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	return &era{s, t, nil}
}

func newEra(t *testing.T, dir string, settings ...func(*Config)) *era {
	t.Helper()
	e := idleEra(t, dir, settings...)
	ctx, cancel := context.WithCancel(t.Context())
	g, ctx := errgroup.WithContext(ctx)
	for _, run := range e.parts() {
		g.Go(func() error { return run(ctx) })
	}
	e.stop = func() {
		cancel()
		if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := e.engine.Close(); err != nil {
			t.Error(err)
		}
	}
	return e
}

func (e *era) enrol(number string) httpapi.Caller {
	e.t.Helper()
	n, err := tel.ParseNumber(number, "")
	if err != nil {
		e.t.Fatal(err)
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		e.t.Fatal(err)
	}
	key, err := device.JWKOf(&private.PublicKey)
	if err != nil {
		e.t.Fatal(err)
	}
	d, err := e.devices.Bind(e.t.Context(), device.Request{Tenant: wire.DefaultTenant, Number: n, Key: key, Name: "telephone"}, device.ProofSIM)
	if err != nil {
		e.t.Fatal(err)
	}
	return httpapi.Caller{Tenant: d.Tenant, Role: httpapi.RoleDevice, Device: d.ID}
}

func (e *era) report(who httpapi.Caller, other string, d tel.Direction, s tel.State) wire.SessionID {
	e.t.Helper()
	o, err := tel.ParseIdentity(other, "")
	if err != nil {
		e.t.Fatal(err)
	}
	ack, err := calls{e.Server}.Report(e.t.Context(), who, wire.Report{PartyDetails: tel.PartyDetails{
		Other: o, Direction: d, State: s, Ref: tel.Ref{CallID: "reference-of-the-call"},
	}})
	if err != nil {
		e.t.Fatal(err)
	}
	return ack.Session
}

// silent is a log for Pebble.
type silent struct{}

func (silent) Infof(string, ...any)           {}
func (silent) Errorf(string, ...any)          {}
func (silent) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

// kept lists the records of a stopped server, raw, without those that are the server's own;
// and the files that were uploaded.
func kept(t *testing.T, dir string) (found []string) {
	t.Helper()
	db, err := pebble.Open(filepath.Join(dir, StoreDir, "db"), &pebble.Options{ReadOnly: true, ErrorIfNotExists: true, Logger: silent{}})
	if err != nil {
		t.Fatal(err)
	}
	it, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		k := bytes.ReplaceAll(it.Key(), []byte{0}, []byte(" "))
		if k[0] != 'm' {
			found = append(found, fmt.Sprintf("%s %s", k, it.Value()))
		}
	}
	if err := errors.Join(it.Error(), it.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(filepath.Join(dir, FilesDir), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, "file "+path)
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return found
}

func having(found []string, texts ...string) []string {
	return slices.DeleteFunc(slices.Clone(found), func(s string) bool {
		return !slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(s, text) })
	})
}

// docs/privacy.md, as time passes: of a call, first its details go, then its session, then
// all but the audit log; of a number that nobody proves again, in the end everything.
func TestRetention(t *testing.T) {
	dir := t.TempDir()
	const alice, bob = "+442079460001", "+442079460002"
	numbers := []string{"442079460001", "442079460002"}
	synctest.Test(t, func(t *testing.T) {
		e := newEra(t, dir)
		a, b := e.enrol(alice), e.enrol(bob)
		e.report(a, bob, tel.Outgoing, tel.Active)
		session := e.report(b, alice, tel.Incoming, tel.Active)
		if session == "" {
			t.Fatal("the call does not match")
		}
		if _, err := e.send(t.Context(), a.Tenant, a.Device, wire.Envelope{
			Type: wire.TypeSend, ID: "1", Session: session, Kind: wire.KindText, Body: []byte(`{"text":"swordfish"}`),
		}); err != nil {
			t.Fatal(err)
		}
		up, _, err := e.files.Create(t.Context(), files.NewUpload{Tenant: a.Tenant, Device: a.Device, Session: session, Name: "plan.txt", Length: 5})
		if err == nil {
			_, err = e.files.Append(t.Context(), a.Tenant, a.Device, up.ID, 0, strings.NewReader("plans"), nil)
		}
		if err == nil {
			err = e.files.Finish(t.Context(), a.Tenant, a.Device, up.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
		// Somebody speaks for a number that is not theirs; and a call that nobody answers.
		_, err = calls{e.Server}.Report(t.Context(), a, wire.Report{PartyDetails: tel.PartyDetails{Own: mustID(t, bob), State: tel.Active}})
		if err == nil {
			t.Fatal("she may not speak for him")
		}
		e.report(a, "+442079460009", tel.Outgoing, tel.Ringing)
		e.report(a, "+442079460009", tel.Outgoing, tel.Ended)
		e.report(a, bob, tel.Outgoing, tel.Ended)
		e.report(b, alice, tel.Incoming, tel.Ended)
		synctest.Wait()
		if st, err := e.sessions.Record(t.Context(), a.Tenant, session); err != nil || st.Phase != wire.AfterCall {
			t.Fatalf("the session is %v, %v", st.Phase, err)
		}

		// after lets so much time pass and looks at the data; long times in a stopped server, which
		// then has to catch up.
		after := func(d time.Duration) []string {
			if long := d - time.Hour; long > 0 {
				e.stop()
				time.Sleep(long)
				e = newEra(t, dir)
				d = sweepEvery + time.Minute
			}
			time.Sleep(d)
			synctest.Wait()
			e.stop()
			found := kept(t, dir)
			e = newEra(t, dir)
			return found
		}
		cfg := Defaults()
		cfg.SIP.Mode = SIPOff
		call := []string{"reference-of-the-call", "calls-by-party", string(session), "swordfish", "plan.txt", "file "}

		found := after(time.Minute)
		for _, text := range call {
			if len(having(found, text)) == 0 {
				t.Errorf("a minute after the call %q is nowhere: this test looks for the wrong thing", text)
			}
		}
		found = after(cfg.Sessions.Linger + cfg.Calls.Retention + time.Minute)
		if left := having(found, "reference-of-the-call", "calls-by-party"); len(left) > 0 {
			t.Errorf("the call's details are left:\n%s", strings.Join(left, "\n"))
		}
		if left := having(having(found, numbers...), string(session)); len(left) > 0 {
			t.Errorf("the session still tells who spoke: %q", left)
		}
		if len(having(found, "swordfish")) == 0 {
			t.Error("the messages went too early")
		}
		found = after(cfg.Sessions.Retention + time.Hour)
		if left := having(found, call...); len(left) > 0 {
			t.Errorf("left of the call: %q", left)
		}
		for _, r := range having(found, "taudit ") {
			if len(having([]string{r}, numbers...)) > 0 {
				t.Errorf("the audit log has a number: %s", r)
			}
		}
		if len(having(found, "report.refused")) == 0 {
			t.Error("the audit log does not tell of the refused report")
		}
		if left := having(found, "442079460009"); len(left) > 0 {
			t.Errorf("left of who never answered: %q", left)
		}

		found = after(time.Duration(cfg.Codes.BindingDays)*24*time.Hour + cfg.Retention.Lapsed)
		for _, r := range having(found, numbers...) {
			if !strings.HasPrefix(r, "taudit-names ") {
				t.Errorf("left of a number that nobody has proved since: %s", r)
			}
		}
		found = after(cfg.Retention.Audit + 48*time.Hour)
		if left := having(found, numbers...); len(left) > 0 {
			t.Errorf("left in the end: %q", left)
		}
		if left := having(found, "report.refused"); len(left) > 0 {
			t.Errorf("left of the audit log: %q", left)
		}
		e.stop()
	})
}

func mustID(t *testing.T, s string) tel.Identity {
	t.Helper()
	id, err := tel.ParseIdentity(s, "")
	if err != nil {
		t.Fatal(err)
	}
	return id
}
