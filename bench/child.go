package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// childVariable makes this program a server: its value is "ROLE DIR".
const childVariable = "TANDEM_BENCH_CHILD"

// roles are the servers that a child can be. Each serves on loopback until ctx ends, and
// says its address as soon as it can be reached.
var roles = map[string]func(ctx context.Context, dir string, ready func(addr string)) error{
	"limit":      serveLimit,
	"tandem":     serveTandem,
	overTLS:      serveTandemOverTLS,
	"centrifuge": serveCentrifuge,
	"nats":       serveNATS,
}

// serveIfChild runs the server that a parent asked for, and ends the program with it.
func serveIfChild() {
	role, dir, ok := strings.Cut(os.Getenv(childVariable), " ")
	if !ok {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		obey(os.Stdin)
		cancel()
	}()
	err := roles[role](ctx, dir, func(addr string) { fmt.Println("ready", addr) })
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "bench:", role+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// obey answers the parent's questions until it hangs up.
func obey(in io.Reader) {
	for lines := bufio.NewScanner(in); lines.Scan(); {
		what, arg, _ := strings.Cut(lines.Text(), " ")
		switch what {
		case "usage":
			fmt.Println(int64(ownProcessor()))
		case "memory":
			runtime.GC()
			debug.FreeOSMemory()
			fmt.Println(residentBytes())
		case "heap":
			f, err := os.Create(arg)
			if err == nil {
				err = errors.Join(pprof.WriteHeapProfile(f), f.Close())
			}
			fmt.Println("ok", err)
		case "profile":
			if arg == "" {
				pprof.StopCPUProfile()
				fmt.Println("ok")
				continue
			}
			f, err := os.Create(arg)
			if err == nil {
				err = pprof.StartCPUProfile(f)
			}
			fmt.Println("ok", err)
		}
	}
}

// ownProcessor is the time that this process has spent on the processors.
func ownProcessor() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // SELF cannot fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// residentBytes is what the process holds of the machine's memory.
func residentBytes() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if f := strings.Fields(string(b)); err == nil && len(f) > 1 {
		pages, _ := strconv.ParseInt(f[1], 10, 64)
		return pages * int64(os.Getpagesize())
	}
	return -1
}

// child is this program run once more, as one server.
type child struct {
	role string
	addr string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

func startChild(role, dir string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{role: role, cmd: exec.Command(self)}
	c.cmd.Env = append(os.Environ(), childVariable+"="+role+" "+dir)
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := c.out.ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s did not start: %w", role, err), c.stop())
	}
	_, c.addr, _ = strings.Cut(strings.TrimSpace(line), " ")
	return c, nil
}

func (c *child) ask(question string) (string, error) {
	if _, err := fmt.Fprintln(c.in, question); err != nil {
		return "", fmt.Errorf("ask %s: %w", c.role, err)
	}
	line, err := c.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("ask %s: %w", c.role, err)
	}
	return strings.TrimSpace(line), nil
}

func (c *child) number(question string) (int64, error) {
	line, err := c.ask(question)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(line, 10, 64)
}

// processor is the time that the server has spent on the processors.
func (c *child) processor() (time.Duration, error) {
	n, err := c.number("usage")
	return time.Duration(n), err
}

// memory is what the server holds after a collection of garbage, in bytes.
func (c *child) memory() (int64, error) { return c.number("memory") }

// heap has the server write a profile of its memory.
func (c *child) heap(file string) error { _, err := c.ask("heap " + file); return err }

// profile has the server write a processor profile, until the function is called.
func (c *child) profile(file string) (stop func() error, err error) {
	if _, err := c.ask("profile " + file); err != nil {
		return nil, err
	}
	return func() error { _, err := c.ask("profile"); return err }, nil
}

// stop ends the server and waits for it.
func (c *child) stop() error {
	c.in.Close()
	return c.cmd.Wait()
}
