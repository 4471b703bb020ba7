package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// benchmarks in the order in which they run.
var benchmarks = []struct {
	name string
	run  func(*bench) error
}{
	{"relay", relay}, {"match", match}, {"resume", resume}, {"idle", idle}, {"fanout", fanout}, {"growth", growth}, {"reach", reach}, {"sip", inPath}, {"puts", puts},
}

func main() {
	serveIfChild()
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) (err error) {
	b := &bench{figures: map[string][]float64{}, out: out}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.IntVar(&b.rounds, "rounds", 5, "rounds of what is compared")
	seconds := f.Float64("seconds", 2, "time of one measurement")
	f.IntVar(&b.pairs, "pairs", 200, "pairs of devices")
	f.IntVar(&b.window, "window", 64, "messages that each sender has under way")
	f.IntVar(&b.rate, "rate", 5000, "messages per second where it is fixed")
	f.IntVar(&b.idle, "idle", 19_000, "idle connections whose memory is measured; a quarter as many over TLS")
	f.IntVar(&b.parties, "parties", 100_000, "stored parties in the last step of growth; a tenth and a hundredth of it before")
	f.IntVar(&b.members, "members", 10_000, "members of the large session")
	f.StringVar(&b.plots, "plots", "", "directory for plots (SVG)")
	f.BoolVar(&b.packed, "packed", false, "senders pack the messages that they send together into one write")
	only := f.String("only", "", "benchmarks to run, separated by commas: "+names())
	file := f.String("o", "", "write the tables to this file too")
	f.StringVar(&b.dir, "dir", "", "directory for data, on the disk to be measured (default: a temporary one)")
	f.StringVar(&b.profiles, "profile", "", "directory for profiles: the processor under the relays, the memory with idle devices")
	f.BoolVar(&b.quiet, "quiet", false, "do not tell how far it is")
	if err := f.Parse(args); err != nil {
		return err
	}
	b.time = time.Duration(*seconds * float64(time.Second))
	if b.rounds < 1 || b.time <= 0 || b.pairs < 1 || b.window < 1 || b.rate < 1 || b.idle < 1 || b.parties < 1 || b.members < 2 {
		return errors.New("rounds, seconds, pairs, window, rate, idle, parties and members must be above zero")
	}
	if b.dir, err = os.MkdirTemp(b.dir, "tandem-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if *file != "" {
		w, err := os.Create(*file)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, w.Close()) }()
		b.out = io.MultiWriter(out, w)
	}
	b.printf("%d processors, %s, %s; %d rounds of %v; median (lowest…highest).\n\n",
		runtime.NumCPU(), runtime.Version(), runtime.GOOS, b.rounds, b.time)
	for _, m := range benchmarks {
		if *only == "" || slices.Contains(strings.Split(*only, ","), m.name) {
			if err := m.run(b); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
		}
	}
	if b.plots != "" {
		return b.draw()
	}
	return nil
}

func names() string {
	var l []string
	for _, m := range benchmarks {
		l = append(l, m.name)
	}
	return strings.Join(l, ", ")
}
