package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Disk is an ext4 file system of its own, in a file on a loop device, so that its power can be
// cut while the machine goes on. That takes a superuser; for anybody else it is a plain directory,
// [Disk.Cut] is no more than a kill -9, and Real says so.
type Disk struct {
	t     testing.TB
	image string
	// Dir is where it is mounted.
	Dir string
	// Real is false where it cannot be mounted.
	Real bool
}

// NewDisk makes one of so many MiB. In the long form it must be real.
func NewDisk(t testing.TB, mib int64) *Disk {
	t.Helper()
	dir := t.TempDir()
	d := &Disk{t: t, image: filepath.Join(dir, "image"), Dir: filepath.Join(dir, "mnt")}
	if err := os.Mkdir(d.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		d.format(mib)
		err := d.mount()
		if d.Real = err == nil; !d.Real {
			t.Logf("no loop device here: %v", err)
		}
	}
	if !d.Real && os.Getenv(Full) != "" {
		t.Fatal("cutting the power takes a superuser, and loop devices")
	}
	t.Cleanup(func() {
		if d.Real {
			d.run("umount", "-l", d.Dir)
		}
	})
	return d
}

func (d *Disk) format(mib int64) {
	d.t.Helper()
	f, err := os.Create(d.image)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := f.Truncate(mib << 20); err != nil {
		d.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		d.t.Fatal(err)
	}
	d.run("mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size=8", d.image)
}

func (d *Disk) mount() error {
	out, err := exec.Command("mount", "-o", "loop", d.image, d.Dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mount: %w: %s", err, out)
	}
	return nil
}

func (d *Disk) run(name string, args ...string) {
	d.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		d.t.Errorf("%s %v: %v: %s", name, args, err, out)
	}
}

// fsIOCShutdown is FS_IOC_SHUTDOWN of linux/fs.h. After it, whoever uses the file system
// gets EIO.
const fsIOCShutdown = 0x8004587d

// How to shut down (EXT4_GOING_FLAGS of fs/ext4/ext4.h).
const (
	syncFirst  = 0 // what was written is on the disk
	noLogFlush = 2 // nothing that is not on the disk by now gets there, not even the journal
)

// Cut cuts the power under a process, and kills it. Everything that was not synced is lost at
// the next Mend.
//
// The process is stopped before: of an fdatasync that is under way in this moment the kernel
// (6.18) may say that it succeeded, although the data never reach the disk, and that answer
// must not get anywhere. With the power of a whole machine it could not.
func (d *Disk) Cut(p *os.Process) {
	d.t.Helper()
	if d.Real {
		if err := freeze(p); err != nil {
			d.t.Fatal(err)
		}
		d.shutdown(noLogFlush)
	}
	if err := p.Kill(); err != nil {
		d.t.Fatal(err)
	}
}

// Break makes the disk answer EIO to everything from now on, until Mend. What was synced stays.
func (d *Disk) Break() {
	d.t.Helper()
	d.shutdown(syncFirst)
}

func (d *Disk) shutdown(how int) {
	d.t.Helper()
	f, err := os.Open(d.Dir)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), fsIOCShutdown, how); err != nil {
		d.t.Fatalf("shut down the file system: %v", err)
	}
}

// freeze stops a process, and returns when none of its threads can run on.
func freeze(p *os.Process) error {
	if err := p.Signal(unix.SIGSTOP); err != nil {
		return err
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Pid))
		if err != nil {
			return err
		}
		running := len(threads) == 0
		for _, name := range threads {
			b, err := os.ReadFile(name)
			if err != nil {
				continue // a thread that has ended
			}
			// The state follows the name in parentheses. T is stopped; D waits in the kernel,
			// and stops before it runs on.
			_, rest, _ := strings.Cut(string(b), ") ")
			running = running || !strings.HasPrefix(rest, "T") && !strings.HasPrefix(rest, "D")
		}
		if !running {
			return nil
		}
	}
	return errors.New("chaos: a process does not stop")
}

// Mend mounts the file system again after a Cut or Break, when nobody uses it any more.
func (d *Disk) Mend() {
	d.t.Helper()
	if !d.Real {
		return
	}
	d.run("umount", d.Dir)
	if err := d.mount(); err != nil {
		d.t.Fatal(err)
	}
}
