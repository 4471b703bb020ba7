package pebblestore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"github.com/tandem-call/tandem/internal/chaos"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/internal/store/storetest"
)

// TestPowerCut copies, again and again, what a power cut would leave of the disk:
// what was synced, with a random part of what was not.
func TestPowerCut(t *testing.T) {
	for _, percent := range []int{0, 50, 100} {
		t.Run(fmt.Sprint(percent, "% of the unsynced"), func(t *testing.T) {
			storetest.Crashes(t, func(t *testing.T) (store.Engine, func() store.Engine) {
				disk := memory(vfs.NewCrashableMem())
				return openStore(t, Options{Dir: "data", fs: disk}), func() store.Engine {
					disk = memory(disk.CrashClone(vfs.CrashCloneCfg{
						UnsyncedDataPercent: percent,
						RNG:                 rand.New(rand.NewPCG(rand.Uint64(), 0)),
					}))
					return openStore(t, Options{Dir: "data", fs: disk})
				}
			})
		})
	}
}

// With these in its environment the test's program writes into a store until it is killed.
const (
	killedDir     = "TANDEM_TEST_KILLED_STORE"
	killedRelaxed = "TANDEM_TEST_KILLED_RELAXED"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedDir); dir != "" {
		if err := writeUntilKilled(dir, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			if errors.Is(err, store.ErrFull) {
				os.Exit(exitFull)
			}
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// exitFull is how the writing process ends when the store refuses to write.
const exitFull = 3

// small are options for a store on a small disk.
func small(dir string) Options {
	return Options{Dir: dir, Headroom: 16 << 20, memTable: 4 << 20, CacheSize: 1 << 20}
}

// writeUntilKilled writes from several goroutines and prints what is acknowledged.
func writeUntilKilled(dir string, out io.Writer) error {
	o := small(dir)
	o.Relaxed = os.Getenv(killedRelaxed) != ""
	s, err := Open(o)
	if err != nil {
		return err
	}
	ctx := context.Background()
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(out, format+"\n", args...)
	}
	var wg sync.WaitGroup
	var failed error
	work := func(step func(i int) error) {
		wg.Go(func() {
			for i := 0; ; i++ {
				if err := step(i); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
			}
		})
	}
	for w := range 3 {
		work(func(i int) error {
			key, value := fmt.Sprintf("%d-%d", w, i%7), fmt.Sprintf("%d-%d", os.Getpid(), i)
			r, err := s.Get(ctx, "t", key)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			rev, err := s.Put(ctx, "t", key, []byte(value), r.Rev)
			if err == nil {
				say("put %s %d %s", key, rev, value)
			}
			return err
		})
	}
	work(func(i int) error {
		p, err := s.Append(ctx, "log", fmt.Appendf(nil, "%d-%d", os.Getpid(), i), store.Delivery(i%2))
		if err != nil {
			return err
		}
		if err = p.Wait(ctx); err == nil {
			say("entry %d %d %d-%d", p.Epoch(), p.Seq(), os.Getpid(), i)
		}
		return err
	})
	work(func(int) error {
		v, err := s.Add(ctx, "c", 1)
		if err == nil {
			say("count %d", v)
		}
		return err
	})
	wg.Wait()
	return failed
}

// ledger is what a writing process has acknowledged.
type ledger struct {
	puts, entries map[string]string
	count         int64
	acks          int
}

func newLedger() *ledger { return &ledger{puts: map[string]string{}, entries: map[string]string{}} }

// note reads a line of the process. False: it is not whole.
func (l *ledger) note(line string) bool {
	switch f := strings.Fields(line); {
	case len(f) == 4 && f[0] == "put":
		l.puts[f[1]] = f[2] + " " + f[3]
	case len(f) == 4 && f[0] == "entry":
		l.entries[f[1]+" "+f[2]] = f[3]
	case len(f) == 2 && f[0] == "count":
		var v int64
		fmt.Sscan(f[1], &v)
		l.count = max(l.count, v)
	default:
		return false
	}
	l.acks++
	return true
}

// lost looks in a store for everything that was acknowledged, and says what is not there.
func (l *ledger) lost(t *testing.T, s *Store) (lost []string) {
	t.Helper()
	for key, was := range l.puts {
		r, err := s.Get(t.Context(), "t", key)
		var rev store.Rev
		var value string
		fmt.Sscan(was, &rev, &value)
		if err != nil || r.Rev < rev || r.Rev == rev && string(r.Value) != value {
			lost = append(lost, fmt.Sprintf("%s is %q at %d (%v), acknowledged was %q at %d", key, r.Value, r.Rev, err, value, rev))
		}
	}
	stored := map[string]string{}
	for _, e := range must[[]store.Entry](t)(s.Read(t.Context(), "log", 0, 1<<30)) {
		stored[fmt.Sprint(e.Epoch, " ", e.Seq)] = string(e.Data)
	}
	for at, data := range l.entries {
		if stored[at] != data {
			lost = append(lost, fmt.Sprintf("entry %s is %q, acknowledged was %q", at, stored[at], data))
		}
	}
	if v := must[int64](t)(s.Add(t.Context(), "c", 0)); v < l.count {
		lost = append(lost, fmt.Sprintf("counter %d, acknowledged was %d", v, l.count))
	}
	return lost
}

// writer runs a process that writes into dir, and does something to it when it has
// acknowledged a number of writes; more may follow. It returns how the process ended.
func (l *ledger) writer(t *testing.T, dir string, acks int, then func(*os.Process), env ...string) *os.ProcessState {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(append(os.Environ(), killedDir+"="+dir), env...)
	var said strings.Builder
	child.Stderr = &said
	out := must[io.ReadCloser](t)(child.StdoutPipe())
	ok(t, child.Start())
	lines := bufio.NewScanner(out)
	n := 0
	for ; lines.Scan(); n++ {
		if !l.note(lines.Text()) && lines.Scan() { // the last line may be cut
			t.Fatalf("the child said %q", lines.Text())
		}
		if n == acks {
			then(child.Process)
		}
	}
	if err := child.Wait(); err == nil || n <= acks {
		t.Fatalf("the child ended by itself after %d writes: %v\n%s", n, err, &said)
	}
	return child.ProcessState
}

func kill(t *testing.T) func(*os.Process) {
	return func(p *os.Process) { ok(t, p.Kill()) }
}

// intact opens what is left, wants everything acknowledged to be there, and verifies the store.
func (l *ledger) intact(t *testing.T, dir string, round int) {
	t.Helper()
	s := openStore(t, small(dir))
	for _, what := range l.lost(t, s) {
		t.Errorf("round %d: %s", round, what)
	}
	ok(t, s.Close())
	must[Report](t)(Verify(t.Context(), Options{Dir: dir}))
	if t.Failed() {
		t.FailNow()
	}
}

// TestKill kills a process that writes, at any point, and looks for each write that it
// had acknowledged.
func TestKill(t *testing.T) {
	dir, l, times := filepath.Join(t.TempDir(), "data"), newLedger(), chaos.Times(20, 200)
	for round := range times {
		if l.writer(t, dir, rand.IntN(150), kill(t)).Exited() {
			t.Fatalf("round %d: the child ended by itself", round)
		}
		l.intact(t, dir, round)
	}
	chaos.Report(t, "engine: kill -9 of a writing process", times, "%d acknowledged, 0 lost", l.acks)
}

// TestPower cuts the power of the disk under a process that writes. The same with an engine
// that does not wait for the disk must lose something, or else the test is blind.
func TestPower(t *testing.T) {
	disk := chaos.NewDisk(t, 128)
	dir, l, times := filepath.Join(disk.Dir, "data"), newLedger(), chaos.Times(5, 200)
	for round := range times {
		l.writer(t, dir, rand.IntN(300), disk.Cut)
		disk.Mend()
		l.intact(t, dir, round)
	}
	if !disk.Real {
		t.Log("not a superuser: only the process was killed")
		return
	}
	chaos.Report(t, "engine: power cut (ext4, FS_IOC_SHUTDOWN) under a writing process", times, "%d acknowledged, 0 lost", l.acks)

	dir, times = filepath.Join(disk.Dir, "relaxed"), chaos.Times(2, 20)
	acks, lost, cuts := 0, 0, 0
	for ; cuts < times || lost == 0 && cuts < 30; cuts++ {
		ok(t, os.RemoveAll(dir))
		ok(t, openStore(t, small(dir)).Close())
		l := newLedger()
		l.writer(t, dir, 300, disk.Cut, killedRelaxed+"=1")
		disk.Mend()
		s := openStore(t, small(dir))
		lost += len(l.lost(t, s))
		acks += l.acks
		ok(t, s.Close())
	}
	if lost == 0 {
		t.Fatal("nothing was lost without syncs: the power is not really cut")
	}
	chaos.Report(t, "the same with relaxed durability, which must lose something", cuts, "%d acknowledged, %d lost", acks, lost)
}

// TestBrokenDisk lets the kernel answer EIO to everything from some moment on. The process
// must end by itself, and have acknowledged nothing that is not on the disk.
func TestBrokenDisk(t *testing.T) {
	disk := chaos.NewDisk(t, 128)
	if !disk.Real {
		t.Log("not a superuser: TestSyncFails is what there is")
		return
	}
	dir, l, times := filepath.Join(disk.Dir, "data"), newLedger(), chaos.Times(3, 50)
	for round := range times {
		l.writer(t, dir, rand.IntN(300), func(*os.Process) { disk.Break() })
		disk.Mend()
		l.intact(t, dir, round)
	}
	chaos.Report(t, "engine: the disk answers EIO from some moment on", times, "%d acknowledged, 0 of them not stored; the process ends each time", l.acks)
}

// TestDiskFilledByOthers lets somebody else take all of the disk at once, headroom and all,
// under a process that writes: it ends, or refuses to write; what it acknowledged is there.
func TestDiskFilledByOthers(t *testing.T) {
	disk := chaos.NewDisk(t, 128)
	if !disk.Real {
		t.Log("not a superuser: TestFullDisk is what there is")
		return
	}
	dir, l, times := filepath.Join(disk.Dir, "data"), newLedger(), chaos.Times(3, 50)
	ballast, refused := filepath.Join(disk.Dir, "ballast"), 0
	for round := range times {
		how := l.writer(t, dir, rand.IntN(300), func(*os.Process) {
			var st unix.Statfs_t
			ok(t, unix.Statfs(disk.Dir, &st))
			f := must[*os.File](t)(os.Create(ballast))
			_ = unix.Fallocate(int(f.Fd()), 0, 0, int64(st.Bavail)*st.Bsize) // as much as there is
			for block := make([]byte, 4096); ; {
				if _, err := f.Write(block); err != nil {
					break // full to the last block
				}
			}
			ok(t, f.Close())
		})
		if how.ExitCode() == exitFull {
			refused++
		}
		ok(t, os.Remove(ballast))
		l.intact(t, dir, round)
	}
	chaos.Report(t, "engine: somebody else fills the disk to the last block", times,
		"%d acknowledged, 0 lost; %d times writes were refused in time, else the process ended", l.acks, refused)
}
