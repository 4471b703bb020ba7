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

const killedDir = "TANDEM_TEST_KILLED_STORE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedDir); dir != "" {
		if err := writeUntilKilled(dir, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// writeUntilKilled writes from several goroutines and prints what is acknowledged.
func writeUntilKilled(dir string, out io.Writer) error {
	s, err := Open(Options{Dir: dir})
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

// TestKill kills a process that writes, at any point, and looks for each write that it
// had acknowledged.
func TestKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	puts, entries, count := map[string]string{}, map[string]string{}, int64(0)
	for round := range 20 {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), killedDir+"="+dir)
		child.Stderr = os.Stderr
		out := must[io.ReadCloser](t)(child.StdoutPipe())
		ok(t, child.Start())
		lines := bufio.NewScanner(out)
		for killAt, n := rand.IntN(150), 0; lines.Scan(); n++ {
			f := strings.Fields(lines.Text())
			switch {
			case f[0] == "put" && len(f) == 4:
				puts[f[1]] = f[2] + " " + f[3]
			case f[0] == "entry" && len(f) == 4:
				entries[f[1]+" "+f[2]] = f[3]
			case f[0] == "count" && len(f) == 2:
				var v int64
				fmt.Sscan(f[1], &v)
				count = max(count, v)
			default: // the last line may be cut
				if lines.Scan() {
					t.Fatalf("the child said %q", f)
				}
			}
			if n == killAt {
				ok(t, child.Process.Kill()) // and read on: more may have been acknowledged
			}
		}
		if err := child.Wait(); err == nil || child.ProcessState.Exited() {
			t.Fatalf("round %d: the child ended by itself: %v", round, err)
		}

		s := openStore(t, Options{Dir: dir})
		for key, was := range puts {
			r := must[store.Record](t)(s.Get(t.Context(), "t", key))
			var rev store.Rev
			var value string
			fmt.Sscan(was, &rev, &value)
			if r.Rev < rev || r.Rev == rev && string(r.Value) != value {
				t.Fatalf("round %d: %s is %q at %d, acknowledged was %q at %d", round, key, r.Value, r.Rev, value, rev)
			}
		}
		stored := map[string]string{}
		for _, e := range must[[]store.Entry](t)(s.Read(t.Context(), "log", 0, 1<<30)) {
			stored[fmt.Sprint(e.Epoch, " ", e.Seq)] = string(e.Data)
		}
		for at, data := range entries {
			if stored[at] != data {
				t.Fatalf("round %d: entry %s is %q, acknowledged was %q", round, at, stored[at], data)
			}
		}
		if v := must[int64](t)(s.Add(t.Context(), "c", 0)); v < count {
			t.Fatalf("round %d: counter %d, acknowledged was %d", round, v, count)
		}
		ok(t, s.Close())
		must[Report](t)(Verify(t.Context(), Options{Dir: dir}))
	}
	if len(entries) == 0 || len(puts) == 0 || count == 0 {
		t.Fatal("nothing was ever acknowledged")
	}
}
