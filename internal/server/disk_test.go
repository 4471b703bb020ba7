package server_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

var discard = slog.New(slog.DiscardHandler)

// done is a context that has ended.
func done(t testing.TB) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// full makes the server keep back more of the disk than there is.
func full(c *server.Config) { c.Engine.HeadroomMiB = 1 << 40 }

// TestFullDisk: what would write is refused and stores nothing, reading goes on, the
// server says that it is not ready; and all is as before once there is room again.
func TestFullDisk(t *testing.T) {
	w := newWorld(t)
	a, b, session := w.pair(alice, bob)
	path := "/v1/sessions/" + string(session) + "/messages"
	send := func(id string) reply {
		return w.ask("POST", path, w.token(a), fmt.Sprintf(`{"id":%q,"kind":"text","body":{"text":"x"}}`, id))
	}
	if r := send("before"); r.status != http.StatusCreated {
		t.Fatalf("%+v", r)
	}
	w.stop()
	w.start(full)
	w.until("the server is not ready", func() bool {
		r := w.ask("GET", "/readyz", "", "")
		return r.status == http.StatusServiceUnavailable && r.body == "not ready\n"
	})
	if r := do(w.admin(), mustRequest(t, w, "http://admin/readyz")); r.status != http.StatusServiceUnavailable || !strings.Contains(r.body, "MiB free") {
		t.Errorf("whoever runs the server is told why: %+v", r)
	}
	if n := strings.Count(w.log.String(), "not ready for requests"); n != 1 {
		t.Errorf("the log says so %d times", n)
	}
	if r := w.ask("GET", "/healthz", "", ""); r.status != http.StatusOK {
		t.Errorf("alive all the same: %+v", r)
	}
	upload := []string{"Tus-Resumable", "1.0.0", "Upload-Length", "10", "Upload-Metadata", "session " + base64.StdEncoding.EncodeToString([]byte(session))}
	for name, r := range map[string]reply{
		"message":   send("during"),
		"report":    w.ask("POST", "/v1/reports", w.token(a), report(carol, "outgoing", "active", "d")),
		"enrolment": w.ask("POST", "/v1/enrolments", "", enrolBodyOf(t, w, carol)),
		"leave":     w.ask("POST", "/v1/sessions/"+string(session)+"/leave", w.token(a), `{}`),
		"upload":    w.ask("POST", "/v1/files/", w.token(a), "", upload...),
		"API key":   w.ask("POST", "/v1/operator/credentials", w.op, `{"role":"element","name":"x","ranges":["+44"]}`),
	} {
		if r.status != http.StatusInsufficientStorage || r.code(t) != wire.CodeStorageFull {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	s := w.enter(b) // devices still come in
	if _, p := s.answer(fmt.Sprintf(`{"type":"send","id":"socket","session":%q,"kind":"text","body":{"text":"x"}}`, session)); p.Code != wire.CodeStorageFull {
		t.Errorf("over the socket: %+v", p)
	}
	var list wire.MessageList
	check(t, client.NewAPI(b, w.http).Call(w.ctx, "GET", path, nil, &list))
	if n := texts(list); n != 1 {
		t.Errorf("%d messages can be read", n)
	}
	if r := w.ask("GET", "/metrics", w.op, ""); !strings.Contains(r.body, "tandem_ready 0") {
		t.Error("the metrics say that all is well")
	}
	check(t, s.conn.CloseNow())

	w.stop()
	w.start()
	if r := w.ask("GET", "/readyz", "", ""); r.status != http.StatusOK {
		t.Errorf("%+v", r)
	}
	for _, id := range []string{"during", "during"} { // repeating is harmless
		if r := send(id); r.status != http.StatusCreated {
			t.Errorf("%+v", r)
		}
	}
	check(t, client.NewAPI(b, w.http).Call(w.ctx, "GET", path, nil, &list))
	if n := texts(list); n != 2 {
		t.Errorf("%d messages in the end", n)
	}
}

func texts(l wire.MessageList) (n int) {
	for _, e := range l.Messages {
		if e.Kind == wire.KindText {
			n++
		}
	}
	return n
}

func enrolBodyOf(t *testing.T, w *world, number string) string {
	id, err := client.NewIdentity(w.url())
	check(t, err)
	k := id.PublicKey()
	return fmt.Sprintf(`{"number":%q,"key":{"kty":"EC","crv":"P-256","x":%q,"y":%q}}`, number, k.X, k.Y)
}

// TestDamagedStore: it is not opened as if nothing were wrong, and the error says what
// can be done.
func TestDamagedStore(t *testing.T) {
	w := newWorld(t)
	w.pair(alice, bob)
	w.stop()
	damaged := 0
	check(t, filepath.WalkDir(filepath.Join(w.dir, server.StoreDir), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".log" && filepath.Ext(path) != ".sst" {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || len(b) < 200 {
			return err
		}
		for i := len(b) / 4; i < len(b)/2; i++ {
			b[i] ^= 0xff
		}
		damaged++
		return os.WriteFile(path, b, 0o600)
	}))
	if damaged == 0 {
		t.Fatal("nothing to damage")
	}
	s, err := w.make()
	if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "store verify --data "+w.dir) || !strings.Contains(err.Error(), "repair --accept-loss") {
		t.Fatalf("%v, %v", s, err)
	}
	if _, err := server.VerifyData(t.Context(), w.dir); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("verify: %v", err)
	}
	if _, err := server.RepairData(t.Context(), w.dir, false); err == nil {
		t.Error("a repair loses data without being told to")
	}
}

// TestDroppedSessionDropsItsFiles: when a session's time is over, its files go with it.
func TestDroppedSessionDropsItsFiles(t *testing.T) {
	w := newWorld(t)
	a, _, session := w.pair(alice, bob)
	check(t, client.NewAPI(a, w.http).Upload(w.ctx, client.Upload{
		Session: session, Name: "note.txt", Content: strings.NewReader("remember me"), Size: 11,
	}))
	contents := func() (n int) {
		check(t, filepath.WalkDir(filepath.Join(w.dir, server.FilesDir, "contents"), func(_ string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				n++
			}
			return err
		}))
		return n
	}
	check(t, w.server.SessionDropped(w.ctx, wire.DefaultTenant, "another"))
	if n := contents(); n != 1 {
		t.Fatalf("%d files", n)
	}
	check(t, w.server.SessionDropped(w.ctx, wire.DefaultTenant, session))
	if n := contents(); n != 0 {
		t.Errorf("%d files left", n)
	}
}

// TestAdminSocket: whoever can open it is the operator, and only its owner can.
func TestAdminSocket(t *testing.T) {
	w := newWorld(t)
	st, err := os.Stat(filepath.Join(w.dir, server.AdminSocket))
	check(t, err)
	if st.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v", st.Mode())
	}
	for _, dir := range []string{w.dir, filepath.Join(w.dir, server.StoreDir)} {
		if st, err := os.Stat(dir); err != nil || st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v %v", dir, st.Mode(), err)
		}
	}
	admin := client.NewKeyAPI("http://admin", "", w.admin())
	to := filepath.Join(t.TempDir(), "backup")
	w.pair(alice, bob)
	var made wire.BackupDone
	check(t, admin.Call(w.ctx, "POST", "/v1/operator/backups", wire.BackupRequest{Dir: to}, &made))
	if made.Dir != to || made.Bytes == 0 {
		t.Errorf("%+v", made)
	}
	var p *wire.Problem
	if err := admin.Call(w.ctx, "POST", "/v1/operator/backups", wire.BackupRequest{Dir: to}, &made); !errors.As(err, &p) || p.Code != wire.CodeConflict {
		t.Errorf("over another: %v", err)
	}
	// A place that cannot be written to is told as such, also where only the files come to it.
	file := filepath.Join(t.TempDir(), "file")
	check(t, os.WriteFile(file, nil, 0o600))
	half := t.TempDir()
	check(t, os.WriteFile(filepath.Join(half, server.FilesDir), nil, 0o600))
	for dir, at := range map[string]string{filepath.Join(file, "backup"): file, half: filepath.Join(half, server.FilesDir)} {
		err := admin.Call(w.ctx, "POST", "/v1/operator/backups", wire.BackupRequest{Dir: dir}, &made)
		if !errors.As(err, &p) || p.Code != wire.CodeBadRequest || !strings.Contains(p.Detail, at) || !strings.Contains(p.Detail, "not a directory") {
			t.Errorf("to %s: %v", dir, err)
		}
	}
	restored := filepath.Join(t.TempDir(), "data")
	check(t, server.RestoreData(t.Context(), to, restored))
	if err := server.RestoreData(t.Context(), to, restored); !errors.Is(err, os.ErrExist) {
		t.Errorf("restored over another: %v", err)
	}
	w.stop()
	w.dir = restored
	w.start()
	if r := w.ask("GET", "/v1/operator/credentials", w.op, ""); r.status != http.StatusOK {
		t.Errorf("the restored server does not know the key: %+v", r)
	}
}
