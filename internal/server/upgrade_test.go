package server_test

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/chaos"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/wire"
)

// previousProgram names this test's program as it was at an earlier commit (make upgrade).
// Without it the program itself stands in, so that the way is gone in make test, too.
const previousProgram = "PREVIOUS_PROGRAM"

// programs returns the earlier program and this one.
func programs(t *testing.T) (previous, this string) {
	t.Helper()
	this, err := os.Executable()
	check(t, err)
	return cmp.Or(os.Getenv(previousProgram), this), this
}

// become replaces the program, in good order, as an operator does.
func (c *child) become(program string) {
	c.t.Helper()
	if err := c.end(syscall.SIGTERM); err != nil {
		c.t.Fatalf("not in good order: %v", err)
	}
	c.program = program
	c.start()
	c.ready()
}

// TestUpgrade (B4, B12): under load, a server becomes the newer version and goes back to the
// earlier one, on the same data; backups that either wrote of its running self are restored
// by the newer one. Nothing that was acknowledged is lost, nothing is seen twice.
func TestUpgrade(t *testing.T) {
	previous, this := programs(t)
	c := &child{t: t, dir: filepath.Join(t.TempDir(), "data"), addr: freeAddress(t), program: previous}
	c.begin()
	devices, times := chaos.Times(6, 20), chaos.Times(1, 20)
	l := newLoad(t, c, loadOf{devices: devices, pause: 50 * time.Millisecond})
	for range times {
		for _, program := range []string{this, previous} {
			l.more(200)
			l.backedUp(c, this)
			c.become(program)
		}
	}
	l.more(200)
	l.settle()
	chaos.Report(t, fmt.Sprintf("upgrade and rollback under %d devices, each with a hot backup and its restoring", devices), 2*times,
		"%d messages acknowledged, 0 lost, 0 seen twice; 0 missing in a backup", l.acked.Load())
}

// backedUp has the running server write a backup, restores it, and looks whether another
// server has everything in it that had been acknowledged when the backup was asked for.
func (l *load) backedUp(c *child, program string) {
	t := l.t
	t.Helper()
	acked := make([][]string, len(l.talkers))
	for i, k := range l.talkers {
		k.do(func() { acked[i] = append(acked[i], k.acked...) })
	}
	dir := t.TempDir()
	backup, data := filepath.Join(dir, "backup"), filepath.Join(dir, "data")
	admin := client.NewKeyAPI("http://admin", "", adminOf(t, c.dir))
	check(t, admin.Call(t.Context(), http.MethodPost, "/v1/operator/backups", wire.BackupRequest{Dir: backup}, new(wire.BackupDone)))
	check(t, server.RestoreData(t.Context(), backup, data))

	twin := &child{t: t, dir: data, addr: freeAddress(t), program: program}
	twin.begin()
	for i, k := range l.talkers {
		id := *k.id
		id.Server = twin.url()
		kept, _ := l.logAt(client.NewAPI(&id, clientOf(t, nil)), i)
		for _, text := range acked[i] {
			if kept[body(text)] != 1 {
				t.Errorf("%q was acknowledged before the backup, which has it %d times", text, kept[body(text)])
			}
		}
	}
	if err := twin.end(syscall.SIGTERM); err != nil {
		t.Errorf("the restored server did not end in good order: %v", err)
	}
}

// rollingUpgrade: the nodes of a cluster become the newer version one after the other, and
// go back, under load; for some time both versions serve one session.
func (f *farm) rollingUpgrade(t *testing.T) {
	previous, this := programs(t)
	for _, n := range f.nodes {
		n.become(previous)
	}
	devices, times := chaos.Times(8, 30), chaos.Times(1, 20)
	l := newLoad(t, f.nodes[0], loadOf{devices: devices, first: 3000, at: f.balancer.url(), pause: 50 * time.Millisecond})
	for range times {
		for _, program := range []string{this, previous} {
			for _, n := range f.nodes {
				l.more(100)
				n.become(program)
			}
		}
	}
	l.more(100)
	l.settle()
	for _, n := range f.nodes {
		n.become(this)
	}
	chaos.Report(t, fmt.Sprintf("rolling upgrade and rollback of a cluster's three nodes under %d devices", devices), 2*times,
		"%d messages acknowledged, 0 lost, 0 seen twice; the longest wait for one was %v", l.acked.Load(), time.Duration(l.longest.Load()).Round(100*time.Millisecond))
}
