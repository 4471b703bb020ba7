package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bench is one run: its settings, and the figures as they come.
type bench struct {
	dir      string        // for data, on the disk that is to be measured
	rounds   int           // of what is compared
	time     time.Duration // of one measurement
	pairs    int
	window   int  // messages that each sender has under way
	packed   bool // messages are sent many to a write
	rate     int  // messages per second, where it is fixed
	idle     int  // connections
	parties  int  // stored in the last step of growth
	members  int  // of one session, where it is large
	plots    string
	growth   []growthFigures
	profiles string

	out      io.Writer
	quiet    bool
	figures  map[string][]float64 // by name, one for each round
	rowsSeen int                  // of the table being printed
}

func (b *bench) progress(format string, args ...any) {
	if !b.quiet {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}
}

func (b *bench) printf(format string, args ...any) { fmt.Fprintf(b.out, format, args...) }

// row prints a row of a table in Markdown; the first one is its head.
func (b *bench) row(cells ...string) {
	b.printf("| %s |\n", strings.Join(cells, " | "))
	if b.rowsSeen == 0 {
		b.printf("|%s\n", strings.Repeat(" --- |", len(cells)))
	}
	b.rowsSeen++
}

func (b *bench) endTable() {
	b.printf("\n")
	b.rowsSeen = 0
}

func (b *bench) add(name string, v float64) { b.figures[name] = append(b.figures[name], v) }

// figure is a median and its range over the rounds.
func (b *bench) figure(name string, decimals int) string { return medianOf(b.figures[name], decimals) }

// ratio is the median and the range of one figure over another of the same round.
func (b *bench) ratio(name, to string) string {
	n, d := b.figures[name], b.figures[to]
	ratios := make([]float64, min(len(n), len(d)))
	for i := range ratios {
		ratios[i] = n[i] / d[i]
	}
	return medianOf(ratios, 2)
}

func (b *bench) quantile(name string, q float64) string {
	return number(quantile(slices.Clone(b.figures[name]), q), 0)
}

func medianOf(l []float64, decimals int) string {
	if len(l) == 0 {
		return "–"
	}
	l = slices.Sorted(slices.Values(l))
	median := (l[(len(l)-1)/2] + l[len(l)/2]) / 2
	return fmt.Sprintf("**%s** (%s…%s)", number(median, decimals), number(l[0], decimals), number(l[len(l)-1], decimals))
}

// number writes a number with commas between thousands.
func number(v float64, decimals int) string {
	s := strconv.FormatFloat(v, 'f', decimals, 64)
	whole, rest, point := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if point {
		whole += "." + rest
	}
	return whole
}
