package server_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inNamespace, in the environment, says that this process has a network of its own.
const inNamespace = "TANDEM_TEST_IN_NAMESPACE"

// inOwnNetwork runs the test again as a process with a network namespace of its own, and reports
// whether this is that process. Who is not root needs user namespaces.
func inOwnNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inNamespace) != "" {
		return true
	}
	self, err := os.Executable()
	check(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout="+flag.Lookup("test.timeout").Value.String())
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = ownNetwork()
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL // when the thread that starts it ends
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.WaitDelay = 10 * time.Second // what it has started and left may hold its output
	var out bytes.Buffer
	cmd.Stdout = &out
	if testing.Verbose() { // one can watch it, then
		cmd.Stdout = os.Stdout
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Run(); err != nil {
		t.Errorf("in its own network: %v\n%s", err, &out)
	}
	return false
}

func ownNetwork() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		a.Cloneflags |= syscall.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	return a
}

// lan is an Ethernet of machines, each a network namespace, on a bridge in this process's own.
type lan struct {
	t        *testing.T
	machines int
}

// here is the address of this process in the network.
const here = "10.77.0.254"

func newLAN(t *testing.T) *lan {
	l := &lan{t: t}
	l.run("ip", "link", "set", "lo", "up")
	l.run("ip", "link", "add", "lan", "type", "bridge")
	l.run("ip", "address", "add", here+"/24", "dev", "lan")
	l.run("ip", "link", "set", "lan", "up")
	return l
}

func (l *lan) run(name string, args ...string) {
	l.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		l.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// machine is one network namespace with an address and a cable.
type machine struct {
	lan    *lan
	host   string // its address
	cable  string // the end of the cable at the bridge
	holder *exec.Cmd
}

func (l *lan) machine() *machine {
	l.t.Helper()
	m := l.namespace()
	l.run("ip", "link", "add", m.cable, "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(m.holder.Process.Pid))
	l.plug(m)
	return m
}

// far is a machine at the end of a long cable: each frame is away for so many nanoseconds.
func (l *lan) far(away *atomic.Int64) *machine {
	l.t.Helper()
	m := l.namespace()
	var ends [2]*os.File
	var err error
	ends[0], err = tap(m.cable)
	check(l.t, err)
	done := make(chan error, 1)
	go func() {
		done <- m.inside(func() (err error) { ends[1], err = tap("eth0"); return err })
	}()
	check(l.t, <-done)
	l.t.Cleanup(func() { check(l.t, errors.Join(ends[0].Close(), ends[1].Close())) })
	go carry(ends[0], ends[1], away)
	go carry(ends[1], ends[0], away)
	l.plug(m)
	return m
}

// tap makes a network device in this thread's namespace whose frames the file takes and gives.
func tap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	r, err := unix.NewIfreq(name)
	if err == nil {
		r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, r)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil // not before: it could not be polled
}

// carry passes frames on, in their order, until a device is closed. What the other one does not take
// is lost.
func carry(from, to *os.File, away *atomic.Int64) {
	type frame struct {
		due  time.Time
		data []byte
	}
	queue := make(chan frame, 10_000)
	defer close(queue)
	go func() {
		for f := range queue {
			time.Sleep(time.Until(f.due))
			_, _ = to.Write(f.data)
		}
	}()
	for {
		b := make([]byte, 2048)
		n, err := from.Read(b)
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case err != nil:
			time.Sleep(time.Millisecond) // its cable is out
		default:
			queue <- frame{time.Now().Add(time.Duration(away.Load())), b[:n]}
		}
	}
}

// namespace is a machine without a cable.
func (l *lan) namespace() *machine {
	l.t.Helper()
	l.machines++
	m := &machine{lan: l, host: fmt.Sprintf("10.77.0.%d", l.machines), cable: fmt.Sprintf("m%d", l.machines), holder: exec.Command("sleep", "infinity")}
	m.holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	// The signal is for the end of the thread that starts it: which must be this process's.
	runtime.LockOSThread()
	check(l.t, m.holder.Start())
	l.t.Cleanup(func() { _ = m.holder.Process.Kill(); _ = m.holder.Wait() })
	return m
}

// plug puts the machine's cable in.
func (l *lan) plug(m *machine) {
	l.t.Helper()
	l.run("ip", "link", "set", m.cable, "master", "lan", "up")
	m.run("ip", "link", "set", "lo", "up")
	m.run("ip", "address", "add", m.host+"/24", "dev", "eth0")
	m.run("ip", "link", "set", "eth0", "up")
	// As deploy/README.md advises for the machines of a cluster, where the kernel has it (Linux 6.15).
	m.run("sh", "-c", "f=/proc/sys/net/ipv4/tcp_rto_max_ms; test ! -e $f || echo 1000 >$f")
}

// on begins a command that runs on the machine.
func (m *machine) on() []string {
	return []string{"nsenter", "-t", strconv.Itoa(m.holder.Process.Pid), "-n"}
}

func (m *machine) run(args ...string) {
	m.lan.t.Helper()
	args = append(m.on(), args...)
	m.lan.run(args[0], args[1:]...)
}

// cut and mend pull the cable out and put it in again.
func (m *machine) cut()  { m.lan.run("ip", "link", "set", m.cable, "down") }
func (m *machine) mend() { m.lan.run("ip", "link", "set", m.cable, "up") }

// deafen loses what is sent to the machine; what it sends arrives.
func (m *machine) deafen() {
	m.lan.run("tc", "qdisc", "add", "dev", m.cable, "root", "tbf", "rate", "8bit", "burst", "10b", "limit", "10b")
}
func (m *machine) heal() { m.lan.run("tc", "qdisc", "del", "dev", m.cable, "root") }

// avoid loses what one machine sends to another one; the other way it arrives.
func (m *machine) avoid(o *machine) { m.run("ip", "route", "add", "blackhole", o.host+"/32") }
func (m *machine) seek(o *machine)  { m.run("ip", "route", "del", "blackhole", o.host+"/32") }

// move gives the machine another address and takes the old one away: connections from it are
// dead, and nobody says so.
func (m *machine) move() {
	old := m.host
	m.lan.machines++
	m.host = fmt.Sprintf("10.77.0.%d", m.lan.machines)
	m.run("ip", "address", "del", old+"/24", "dev", "eth0")
	m.run("ip", "address", "add", m.host+"/24", "dev", "eth0")
}

// dial opens a connection from the machine.
func (m *machine) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var c net.Conn
	done := make(chan error, 1)
	go func() {
		done <- m.inside(func() (err error) { c, err = new(net.Dialer).DialContext(ctx, network, addr); return err })
	}()
	err := <-done
	return c, err
}

// inside runs f on a thread that is in the machine's namespace and ends with it.
func (m *machine) inside(f func() error) error {
	runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", m.holder.Process.Pid))
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	return f()
}
