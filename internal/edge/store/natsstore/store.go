package natsstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/tandem-call/tandem/internal/store"
)

// logStreams is the number of streams that all logs share. It is part of the data's
// format: another number would look for a log in another stream.
const logStreams = 8

// epochKey is the metadata entry of a log stream that holds the base of its epochs,
// in microseconds since 1970.
const epochKey = "tandem-epoch"

// Options say where the cluster is and how data is kept there.
type Options struct {
	// URL of one server or of several, separated by commas: nats://host:4222, tls://host:4222.
	URL string
	// Servers are further URLs. At least one URL is needed here or in URL.
	Servers []string
	// Replicas of every stream that is created: 1, 3 or 5. Zero: 3. With 1, data is
	// on a single server. Streams that exist keep what they have.
	Replicas int
	// Credentials is the path of a NATS credentials file. Empty: none.
	Credentials string
	// Prefix begins the name of every bucket, stream and subject, so that several
	// deployments can share an account: letters, digits and "-". Empty: "tandem".
	Prefix string
	// Tables are made by Open where they are not there yet; others are made by the first
	// write to them, which waits for that.
	Tables []string
	// Timeout is how long a call goes on trying when its context has no earlier
	// deadline. Zero: 12 s, since an election of a stream's leader takes up to 9 s.
	Timeout time.Duration
	// Recheck is how often a watch asks for the head of its log, in case a live copy
	// was lost and no later one has shown the gap. Zero: 30 s.
	Recheck time.Duration
	// Logger gets connection events. Nil: none.
	Logger *slog.Logger
}

var validPrefix = regexp.MustCompile(`^[A-Za-z0-9-]+$`)

func (o *Options) complete() error {
	if o.Replicas == 0 {
		o.Replicas = 3
	}
	if o.Prefix == "" {
		o.Prefix = "tandem"
	}
	if o.Timeout == 0 {
		o.Timeout = 12 * time.Second
	}
	if o.Recheck == 0 {
		o.Recheck = 30 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case o.URL == "" && len(o.Servers) == 0:
		return errors.New("natsstore: no server given")
	case o.Replicas != 1 && o.Replicas != 3 && o.Replicas != 5:
		return fmt.Errorf("natsstore: %d replicas: must be 1, 3 or 5", o.Replicas)
	case !validPrefix.MatchString(o.Prefix):
		return fmt.Errorf("natsstore: prefix %q: letters, digits and - only", o.Prefix)
	case o.Timeout < 0 || o.Recheck < 0:
		return errors.New("natsstore: negative duration")
	}
	return nil
}

// Store is the engine. It is made by [Open].
type Store struct {
	// fixed after Open
	opt     Options
	node    string // tells this engine from others on the cluster
	nc      *nats.Conn
	js      jetstream.JetStream
	logs    [logStreams]stream
	count   stream // counters
	life    context.Context
	stop    context.CancelFunc
	wg      sync.WaitGroup // watches, subscriptions
	gathers gathers
	fences  fences

	closing atomic.Bool // set under mu, so that no goroutine starts afterwards
	full    atomic.Bool // the last write was refused for want of room

	mu      sync.Mutex
	buckets map[string]jetstream.Stream    // tables known to exist, by table name
	tails   map[string]*tail               // ends of logs, by log name
	watches map[string]map[*watch]struct{} // by log
}

// stream is one of the streams that are created at start.
type stream struct {
	name     string
	fence    string // its subject, see fence; of log streams
	epoch    uint64 // base of the epochs of its logs
	replicas int
}

var _ store.Engine = (*Store)(nil)

// Open connects to the cluster and makes the streams that are not there yet. It goes
// on trying until ctx ends, or for Options.Timeout while no server answers at all.
func Open(ctx context.Context, opt Options) (*Store, error) {
	if err := opt.complete(); err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(context.Background())
	s := &Store{
		opt: opt, node: nuid.Next(), life: life, stop: stop,
		buckets: make(map[string]jetstream.Stream),
		tails:   make(map[string]*tail),
		watches: make(map[string]map[*watch]struct{}),
		fences:  fences{waiting: make(map[string]*proof), running: make(map[string]bool)},
	}
	if err := s.connect(); err != nil {
		stop()
		return nil, fmt.Errorf("natsstore: connect: %w", err)
	}
	_, err := s.nc.Subscribe(s.wayRoot()+">", s.asked)
	if err == nil {
		err = s.listen()
	}
	if err == nil {
		err = s.prepare(ctx)
	}
	if err != nil {
		stop()
		s.nc.Close()
		return nil, fmt.Errorf("natsstore: prepare streams: %w", err)
	}
	return s, nil
}

func (s *Store) connect() error {
	log := s.opt.Logger
	options := []nats.Option{
		nats.Name("tandem " + s.opt.Prefix),
		// A server that hangs, or whose machine is gone without a word, is noticed after
		// some three seconds, and then another one is asked.
		nats.Timeout(2 * time.Second),
		nats.PingInterval(time.Second),
		nats.MaxPingsOutstanding(2),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		// Nothing is kept for later while there is no connection: a write that its
		// caller has given up must not be made minutes afterwards.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if !s.closing.Load() {
				log.Warn("storage cluster: connection lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("storage cluster: connected again", "server", nc.ConnectedServerName())
			s.recheckAll()
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("storage cluster", "error", err)
		}),
	}
	if s.opt.Credentials != "" {
		options = append(options, nats.UserCredentials(s.opt.Credentials))
	}
	urls := s.opt.Servers
	if s.opt.URL != "" {
		urls = append([]string{s.opt.URL}, urls...)
	}
	var err error
	if s.nc, err = nats.Connect(strings.Join(urls, ","), options...); err != nil {
		return err
	}
	s.js, err = jetstream.New(s.nc)
	return err
}

// prepare creates the log streams and the counter stream, or reads how they are.
func (s *Store) prepare(ctx context.Context) error {
	ctx, cancel := s.within(ctx)
	defer cancel()
	for i := range s.logs {
		in := fmt.Sprintf("%s.log.%d.>", s.opt.Prefix, i)
		st, err := s.ensure(ctx, jetstream.StreamConfig{
			Name:        fmt.Sprintf("%s_log_%d", s.opt.Prefix, i),
			Description: "Tandem session logs",
			Subjects:    []string{in},
			Discard:     jetstream.DiscardNew, // a limit set by an operator refuses, never forgets
			RePublish:   &jetstream.RePublish{Source: in, Destination: fmt.Sprintf("%s.live.%d.>", s.opt.Prefix, i)},
			AllowRollup: true, // for fences
			Metadata:    map[string]string{epochKey: strconv.FormatInt(time.Now().UnixMicro(), 10)},
		})
		if err != nil {
			return err
		}
		st.fence = strings.TrimSuffix(in, ">") + fenceToken
		if s.logs[i] = st; st.epoch == 0 {
			return fmt.Errorf("stream %s has no %s in its metadata", st.name, epochKey)
		}
	}
	var err error
	s.count, err = s.ensure(ctx, jetstream.StreamConfig{
		Name:              s.opt.Prefix + "_count",
		Description:       "Tandem counters",
		Subjects:          []string{s.opt.Prefix + ".count.>"},
		MaxMsgsPerSubject: 1,
		AllowMsgCounter:   true,
	})
	for _, table := range s.opt.Tables {
		if err == nil {
			_, err = s.bucket(ctx, table, true)
		}
	}
	return err
}

// ensure creates a stream, or takes it as it is: another node may have been first.
func (s *Store) ensure(ctx context.Context, c jetstream.StreamConfig) (stream, error) {
	c.Storage, c.Replicas, c.AllowDirect = jetstream.FileStorage, s.opt.Replicas, true
	var info *jetstream.StreamInfo
	err := s.retry(ctx, func(try context.Context) error {
		st, err := s.js.Stream(try, c.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			st, err = s.js.CreateStream(try, c)
			if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
				return errNotYet // look again
			}
		}
		if err != nil {
			return err
		}
		if info = st.CachedInfo(); c.AllowRollup && !info.Config.AllowRollup { // made before there were fences
			info.Config.AllowRollup = true
			_, err = s.js.UpdateStream(try, info.Config)
		}
		return err
	})
	if err != nil {
		return stream{}, fmt.Errorf("%s: %w", c.Name, err)
	}
	if info.Config.Replicas != s.opt.Replicas {
		s.opt.Logger.Warn("storage cluster: stream keeps its own number of replicas",
			"stream", c.Name, "replicas", info.Config.Replicas, "wanted", s.opt.Replicas)
	}
	epoch, _ := strconv.ParseUint(info.Config.Metadata[epochKey], 10, 64)
	return stream{name: c.Name, epoch: epoch, replicas: info.Config.Replicas}, nil
}

// Durability says how many servers keep an entry. Whether a server has also synced it
// to its disk when it acknowledges is its own setting, which a client cannot see.
func (s *Store) Durability() string {
	n := s.count.replicas
	for _, st := range s.logs {
		n = min(n, st.replicas)
	}
	const sync = `; each server syncs its disk as its sync_interval says (default 2m; "always" survives a power cut of all)`
	if n == 1 {
		return "relaxed: a single server, no replicas" + sync
	}
	return "quorum of " + strconv.Itoa(n) + sync
}

// Err returns nil while there is a connection and the last write was not refused for
// want of room.
func (s *Store) Err() error {
	switch {
	case s.closing.Load():
		return store.ErrClosed
	case !s.nc.IsConnected():
		return errors.New("natsstore: not connected to the storage cluster")
	case s.full.Load():
		return store.ErrFull
	}
	return nil
}

// Close ends all watches and subscriptions, waits for them and closes the connection.
func (s *Store) Close() error {
	s.mu.Lock()
	again := s.closing.Swap(true)
	s.mu.Unlock()
	if again {
		return nil
	}
	s.stop()
	s.wg.Wait()
	s.nc.Close()
	return nil
}

// start runs f in a goroutine that Close waits for. False: Close has begun.
func (s *Store) start(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	s.wg.Go(f)
	return true
}

// open returns ErrClosed once Close has begun.
func (s *Store) open() error {
	if s.closing.Load() {
		return store.ErrClosed
	}
	return nil
}

// within gives a context without a deadline the one of Options.Timeout.
func (s *Store) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.opt.Timeout)
}
