package spec

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tandem-call/tandem/internal/testport"
)

// fleetNodes, in the environment, makes this program a fleet: that many servers, with a
// load balancer for connections in front of them, which takes the place of one server.
const fleetNodes = "SPEC_FLEET"

// fleet runs as "PROGRAM tandem serve --data DIR --listen ADDR" and ends as its servers do.
// What they print it prints; it says that it is ready when all of them are.
func fleet(nodes string, args []string) int {
	err := func() error {
		n, err := strconv.Atoi(nodes)
		if err != nil || len(args) != 6 {
			return fmt.Errorf("usage: %s=NODES fleet TANDEM serve --data DIR --listen ADDR", fleetNodes)
		}
		if err := os.Unsetenv(fleetNodes); err != nil { // the servers refuse what they do not know
			return err
		}
		front, err := net.Listen("tcp", args[5])
		if err != nil {
			return err
		}
		var all []*os.Process
		var addrs []string
		for i := range n {
			port, err := testport.Free(2)
			if err != nil {
				return err
			}
			addr, dir := fmt.Sprintf("127.0.0.1:%d", port), args[3]
			if i > 0 { // the operator's socket of the first is where a single server's is
				dir += "-" + strconv.Itoa(i+1)
			}
			cmd := exec.Command(args[0], "serve", "--data", dir, "--listen", addr)
			// Killed with this program, when that is killed.
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			ready := &announcer{ready: make(chan struct{})}
			cmd.Stdout, cmd.Stderr = ready, os.Stderr
			if err := cmd.Start(); err != nil {
				return err
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			select {
			case <-ready.ready:
			case err := <-ended:
				return errors.Join(fmt.Errorf("server %d ended", i+1), err)
			}
			all, addrs = append(all, cmd.Process), append(addrs, addr)
			defer func() { <-ended }()
		}
		go balance(front, addrs)
		fmt.Printf("Tandem fleet is at http://%s\n", args[5])
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		<-stop
		for _, p := range all {
			err = errors.Join(err, p.Signal(syscall.SIGTERM))
		}
		return err
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		return 1
	}
	return 0
}

// announcer passes a server's output on, but for the line that says where it is.
type announcer struct {
	ready chan struct{}
	once  sync.Once
}

func (a *announcer) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) { // the server writes whole lines
		if strings.HasPrefix(line, "Tandem ") && strings.Contains(line, " is at ") {
			a.once.Do(func() { close(a.ready) })
			continue
		}
		fmt.Print(line)
	}
	return len(b), nil
}

// balance gives each connection to the next server that takes it.
func balance(front net.Listener, addrs []string) {
	var next atomic.Uint32
	for {
		from, err := front.Accept()
		if err != nil {
			return
		}
		go func() {
			defer from.Close()
			for range addrs {
				to, err := net.DialTimeout("tcp", addrs[int(next.Add(1))%len(addrs)], 5*time.Second)
				if err != nil {
					continue
				}
				defer to.Close()
				done := make(chan struct{}, 2)
				for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
					go func() {
						_, _ = io.Copy(way[0], way[1]) // one end is gone: so is the other
						done <- struct{}{}
					}()
				}
				<-done
				return
			}
		}()
	}
}
