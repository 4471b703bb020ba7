package wsconn

import (
	"os"
	"sync"
	"syscall"
	"time"
)

// lounge is where connections rest from which nothing comes: without a goroutine and
// without a buffer. One goroutine waits for all of them (epoll(7)). A connection that
// speaks gets a goroutine, which waits for more, and rests again after a silence.
//
// See the package comment for its lock.
type lounge struct {
	h *Handler

	mu      sync.Mutex
	awake   map[*socket]struct{} // those that could rest and do not
	timer   *time.Timer          // while some are awake; nil before
	armed   bool
	resting []*socket // by descriptor
	poll    *os.File  // of epoll; nil until it is needed
	ended   chan struct{}
}

// Guarded by lounge.mu.
type seat struct {
	fd       int
	enrolled bool // epoll knows the descriptor
}

func (l *lounge) init(h *Handler) { l.h, l.awake = h, map[*socket]struct{}{} }

// wake notes that the connection has a goroutine.
func (l *lounge) wake(c *socket) {
	if c.raw == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.awake[c] = struct{}{}
	if l.armed {
		return
	}
	l.armed = true
	if l.timer == nil {
		l.timer = time.AfterFunc(rest, l.sweep)
	} else {
		l.timer.Reset(rest)
	}
}

// leave forgets a connection that is over.
func (l *lounge) leave(c *socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.awake, c)
}

// sweep has the reads of silent connections time out.
func (l *lounge) sweep() {
	before := l.h.mark() - int64(rest)
	var silent []*socket
	l.mu.Lock()
	for c := range l.awake {
		if c.heard.Load() <= before {
			silent = append(silent, c)
		}
	}
	if l.armed = len(l.awake) > 0; l.armed {
		l.timer.Reset(rest)
	}
	l.mu.Unlock()
	for _, c := range silent {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // fails only when closed
	}
}

// enter lets a connection rest; its goroutine must end then. False: go on reading.
func (l *lounge) enter(c *socket) bool {
	l.mu.Lock()
	poll, err := l.open()
	if err == nil {
		delete(l.awake, c)
	}
	l.mu.Unlock()
	if err != nil {
		return false
	}
	var failed error
	err = c.raw.Control(func(fd uintptr) {
		l.mu.Lock()
		c.seat.fd = int(fd)
		for len(l.resting) <= c.seat.fd {
			l.resting = append(l.resting, nil)
		}
		if old := l.resting[fd]; old != nil {
			go old.run() // it was closed, and disturb has not come to it yet
		}
		l.resting[fd] = c
		op := syscall.EPOLL_CTL_MOD
		if !c.seat.enrolled {
			op, c.seat.enrolled = syscall.EPOLL_CTL_ADD, true
		}
		l.mu.Unlock()
		failed = epollControl(poll, op, int(fd))
	})
	if err == nil && failed == nil {
		return true
	}
	if err == nil && !l.take(c) {
		return true // it was woken already
	}
	l.wake(c)
	return false
}

// take ends the rest of a connection; the caller must give it a goroutine.
func (l *lounge) take(c *socket) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if fd := c.seat.fd; fd < len(l.resting) && l.resting[fd] == c {
		l.resting[fd] = nil
		return true
	}
	return false
}

// disturb wakes a connection that has been closed, so that it comes to its end.
func (l *lounge) disturb(c *socket) {
	if l.take(c) {
		go c.run()
	}
}

// open makes the epoll instance. Called with mu held.
func (l *lounge) open() (*os.File, error) {
	if l.poll != nil {
		return l.poll, nil
	}
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err == nil {
		err = syscall.SetNonblock(fd, true) // so that the runtime waits for it, and no thread
	}
	if err != nil {
		l.h.cfg.Logger.Warn("wsconn: idle connections keep their memory", "err", err)
		return nil, err
	}
	l.poll, l.ended = os.NewFile(uintptr(fd), "epoll"), make(chan struct{})
	go l.wait(l.poll)
	return l.poll, nil
}

func epollControl(poll *os.File, op, fd int) (err error) {
	raw, err := poll.SyscallConn()
	if err != nil {
		return err
	}
	e := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT, Fd: int32(fd)}
	var failed error
	err = raw.Control(func(p uintptr) { failed = syscall.EpollCtl(int(p), op, fd, &e) })
	if err == nil {
		err = failed
	}
	return err
}

// wait wakes the connections that speak, until poll is closed.
func (l *lounge) wait(poll *os.File) {
	defer close(l.ended)
	raw, err := poll.SyscallConn()
	if err != nil {
		return // it is closed
	}
	events := make([]syscall.EpollEvent, 128)
	for {
		n := 0
		if err := raw.Read(func(fd uintptr) bool {
			n, _ = syscall.EpollWait(int(fd), events, 0) // fails only when interrupted
			return n > 0
		}); err != nil {
			return
		}
		l.mu.Lock()
		var spoke []*socket
		for _, e := range events[:n] {
			// A descriptor may have got another owner, which then reads in vain and rests again.
			if c := l.resting[e.Fd]; c != nil {
				l.resting[e.Fd] = nil
				spoke = append(spoke, c)
			}
		}
		l.mu.Unlock()
		for _, c := range spoke {
			go c.run()
		}
	}
}

// close ends the waiting; no connection rests any more.
func (l *lounge) close() {
	l.mu.Lock()
	poll := l.poll
	if l.timer != nil {
		l.timer.Stop()
	}
	l.mu.Unlock()
	if poll != nil {
		poll.Close()
		<-l.ended
	}
}
