package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/chaos"
	"github.com/tandem-call/tandem/internal/testport"
	"github.com/tandem-call/tandem/wire"
)

// TestKilledUnderLoad: a server that is killed in the middle of its work has lost nothing
// that it acknowledged, and its devices come back by themselves.
func TestKilledUnderLoad(t *testing.T) {
	devices, times := chaos.Times(50, 500), chaos.Times(5, 100)
	c := newChild(t)
	l := newLoad(t, c, loadOf{devices: devices, pause: time.Duration(chaos.Times(0, 100)) * time.Millisecond})
	var slowest time.Duration
	for range times {
		l.more(500)
		if err := c.end(syscall.SIGKILL); err == nil {
			t.Fatal("it ended in good order")
		}
		c.start()
		slowest = max(slowest, l.back())
	}
	l.more(500)
	l.settle()
	// The short form shares the machine with other tests.
	if limit := time.Duration(chaos.Times(30, 10)) * time.Second; slowest > limit {
		t.Errorf("devices were back after %v only", slowest)
	}
	chaos.Report(t, fmt.Sprintf("server: kill -9 under %d devices", devices), times,
		"%d messages acknowledged, 0 lost, 0 seen twice; all devices back after %.1f s at most", l.acked.Load(), slowest.Seconds())
}

// TestPowerCutUnderLoad cuts the power of the server's disk while devices send messages and
// files. Nothing acknowledged is lost; with relaxed durability something must be, or else the
// test is blind.
func TestPowerCutUnderLoad(t *testing.T) {
	disk := chaos.NewDisk(t, 1024)
	cut := func(c *child) {
		disk.Cut(c.cmd.Process)
		if err := c.wait(); err == nil {
			t.Fatal("it ended in good order")
		}
		disk.Mend()
		c.start()
	}
	devices, times := chaos.Times(8, 20), chaos.Times(3, 200)
	c := &child{t: t, dir: filepath.Join(disk.Dir, "data"), addr: freeAddress(t)}
	c.begin()
	l := newLoad(t, c, loadOf{devices: devices, pause: time.Millisecond})
	l.upload()
	for range times {
		l.more(100 + int64(mathrand.IntN(200)))
		cut(c)
	}
	l.more(100)
	l.settle()
	l.settleFiles()
	l.stop()
	_ = c.end(syscall.SIGTERM)
	if !disk.Real {
		t.Log("not a superuser: the process was only killed")
		return
	}
	chaos.Report(t, fmt.Sprintf("server: power cut under %d devices", devices), times,
		"%d messages and %d files acknowledged, 0 lost", l.acked.Load(), len(l.files))

	loose := &child{t: t, dir: filepath.Join(disk.Dir, "relaxed"), addr: freeAddress(t), mode: modeRelaxed}
	loose.begin()
	l = newLoad(t, loose, loadOf{devices: devices, pause: time.Millisecond, lossy: true})
	lost, cuts := 0, 0
	for ; lost == 0 && cuts < 20; cuts++ {
		l.more(500)
		cut(loose)
		lost = l.missing()
	}
	l.stop()
	l.stopped()
	if lost == 0 {
		t.Error("nothing was lost without syncs: the power is not really cut")
	}
	chaos.Report(t, "the same with relaxed durability, which must lose something", cuts, "%d messages acknowledged, %d lost", l.acked.Load(), lost)
}

func freeAddress(t *testing.T) string {
	port, err := testport.Free(1)
	check(t, err)
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// missing counts the messages that were acknowledged and are not in their logs.
func (l *load) missing() (n int) {
	l.t.Helper()
	for i := 0; i < len(l.talkers); i += 2 {
		var acked []string
		for _, k := range l.talkers[i : i+2] {
			k.do(func() { acked = append(acked, k.acked...) })
		}
		kept, _ := l.logOf(i)
		for _, text := range acked {
			if kept[body(text)] == 0 {
				n++
			}
		}
	}
	return n
}

// upload lets the first device send files, too, until the talking ends.
func (l *load) upload() {
	k := l.talkers[0]
	l.wg.Go(func() {
		ctx, cancel := context.WithCancel(l.t.Context())
		defer cancel()
		for {
			select {
			case <-l.quiet:
				return
			case <-time.After(50 * time.Millisecond):
			}
			b := make([]byte, 1+mathrand.IntN(100_000))
			_, _ = rand.Read(b)
			// One whose first request was cut may be unknown afterwards: then it was never
			// acknowledged, and another follows.
			err := k.API().Upload(ctx, client.Upload{Session: k.session, Name: "noise", Content: bytes.NewReader(b), Size: int64(len(b))})
			if err != nil {
				l.t.Logf("an upload failed: %v", err)
				continue
			}
			sum := sha256.Sum256(b)
			l.files = append(l.files, hex.EncodeToString(sum[:]))
		}
	})
}

// settleFiles checks, after settle, that each file that was acknowledged is offered once and
// can be had whole.
func (l *load) settleFiles() {
	l.t.Helper()
	k := l.talkers[1]
	offers := map[string][]wire.File{}
	for after := uint64(0); ; {
		var page wire.MessageList
		check(l.t, k.API().Call(l.t.Context(), http.MethodGet, fmt.Sprintf("/v1/sessions/%s/messages?limit=1000&after=%d", k.session, after), nil, &page))
		for _, e := range page.Messages {
			if after = e.Seq; e.Kind == wire.KindFile {
				f, err := client.FileOf(e)
				check(l.t, err)
				offers[f.SHA256] = append(offers[f.SHA256], f)
			}
		}
		if len(page.Messages) == 0 || after >= page.Head {
			break
		}
	}
	dir := l.t.TempDir()
	for _, sum := range l.files {
		if len(offers[sum]) != 1 {
			l.t.Errorf("a file was acknowledged, and is offered %d times", len(offers[sum]))
			continue
		}
		path, err := k.API().Download(l.t.Context(), offers[sum][0], dir, nil) // which checks the sum
		if err != nil {
			l.t.Errorf("a file was acknowledged, and cannot be had: %v", err)
			continue
		}
		check(l.t, os.Remove(path))
	}
	if len(l.files) == 0 {
		l.t.Error("no file was sent")
	}
}

// TestStartsOnOneDirectory starts many servers on one data directory at once: exactly one wins,
// and the others say why they end.
func TestStartsOnOneDirectory(t *testing.T) {
	starts, times := chaos.Times(8, 50), chaos.Times(1, 10)
	self, err := os.Executable()
	check(t, err)
	for range times {
		dir := filepath.Join(t.TempDir(), "data")
		type end struct {
			i   int
			err error
		}
		ends := make(chan end, starts)
		said, running := make([]lines, starts), map[int]*os.Process{}
		for i := range starts {
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), childData+"="+dir, childListen+"=127.0.0.1:0")
			cmd.Stderr = &said[i]
			check(t, cmd.Start())
			running[i] = cmd.Process
			go func() { ends <- end{i, cmd.Wait()} }()
		}
		timeout := time.After(4 * patience)
		for len(running) > 1 {
			select {
			case e := <-ends:
				if text := said[e.i].String(); e.err == nil || !strings.Contains(text, "another server is running") {
					t.Errorf("a server ended: %v, %s", e.err, text)
				}
				delete(running, e.i)
			case <-timeout:
				t.Fatalf("%d servers run on one directory", len(running))
			}
		}
		w := &world{t: t, dir: dir, log: &lines{}}
		admin := w.admin()
		w.until("the one that won answers", func() bool {
			res, err := admin.Get("http://admin/readyz")
			return err == nil && res.Body.Close() == nil && res.StatusCode == http.StatusOK
		})
		admin.CloseIdleConnections()
		for _, p := range running {
			check(t, p.Signal(syscall.SIGTERM))
		}
		if e := <-ends; e.err != nil {
			t.Errorf("the one that won did not run: %v, %s", e.err, &said[e.i])
		}
	}
	chaos.Report(t, fmt.Sprintf("server: %d starts on one directory at once", starts), times, "exactly one runs, each time")
}
