//go:build peers

package sip

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// jssip installs the program of a JsSIP phone, and returns where it is.
func jssip(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "jssip"))); err != nil {
		t.Fatal(err)
	}
	install := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return dir
}

// jssip starts a JsSIP that has registered with a number over a WebSocket.
func (w *world) jssip(dir, number string) *realPhone {
	w.t.Helper()
	url := "ws" + strings.TrimPrefix(w.web.URL, "http")
	p := startPhone(w.t, number, dir, "node", filepath.Join(dir, "phone.mjs"), url, "sip:"+number+"@example.com")
	p.says("registered")
	return p
}

// TestKilledPhone: a JsSIP, as browsers have it, is killed while it rings. The caller hears so, or
// speaks with the Linphone of the same number, which rings on.
func TestKilledPhone(t *testing.T) {
	dir := jssip(t)
	t.Run("alone", func(t *testing.T) {
		w := newWorld(t)
		a, b := w.newAgent(alice, "UDP"), w.jssip(dir, bob)
		invite := a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", a.aor()))
		a.answer("INVITE", 180)
		b.says("rings")
		b.kill()
		a.tell(ackOf(invite, a.answer("INVITE", 480)))
		w.legs(alice+" outgoing ended", bob+" incoming ended")
		invite = a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", a.aor()))
		a.tell(ackOf(invite, a.answer("INVITE", 480))) // it is not registered any more
	})
	t.Run("beside one that answers", func(t *testing.T) {
		w := newWorld(t)
		a, b, desk := w.newAgent(alice, "UDP"), w.jssip(dir, bob), w.linphone(bob)
		m := a.ask("INVITE", "sip:"+bob+"@example.com", a.aor(), "Content-Type", "application/sdp")
		m.Body = []byte(sdp)
		invite := a.tell(m)
		b.says("rings")
		desk.says("Receiving new incoming call")
		b.kill()
		desk.typed("answer")
		d := a.calling(invite, a.answer("INVITE", 200))
		w.legs(alice+" outgoing active", bob+" incoming active")
		a.tell(d.ask("BYE"))
		a.answer("BYE", 200)
		w.legs(alice+" outgoing ended", bob+" incoming ended")
	})
	t.Run("beside one that is busy", func(t *testing.T) {
		w := newWorld(t)
		a, b, busy := w.newAgent(alice, "UDP"), w.jssip(dir, bob), w.jssip(dir, bob)
		invite := a.tell(a.ask("INVITE", "sip:"+bob+"@example.com", a.aor()))
		b.says("rings")
		busy.says("rings")
		busy.typed("refuse")
		busy.says("over: Rejected|over: Busy")
		b.kill()
		a.tell(ackOf(invite, a.answer("INVITE", 486)))
		w.legs(alice+" outgoing ended", bob+" incoming ended")
	})
}
