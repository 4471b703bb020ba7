package server_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
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
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60m")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = ownNetwork()
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL // when the thread that starts it ends
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.WaitDelay = 10 * time.Second // what it has started and left may hold its output
	out, err := cmd.CombinedOutput()
	t.Logf("in its own network: %v\n%s", err, out)
	if err != nil {
		t.Fail()
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
	l.machines++
	m := &machine{lan: l, host: fmt.Sprintf("10.77.0.%d", l.machines), cable: fmt.Sprintf("m%d", l.machines), holder: exec.Command("sleep", "infinity")}
	m.holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	// The signal is for the end of the thread that starts it: which must be this process's.
	runtime.LockOSThread()
	check(l.t, m.holder.Start())
	l.t.Cleanup(func() { _ = m.holder.Process.Kill(); _ = m.holder.Wait() })
	l.run("ip", "link", "add", m.cable, "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(m.holder.Process.Pid))
	l.run("ip", "link", "set", m.cable, "master", "lan", "up")
	m.run("ip", "link", "set", "lo", "up")
	m.run("ip", "address", "add", m.host+"/24", "dev", "eth0")
	m.run("ip", "link", "set", "eth0", "up")
	return m
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
