package server_test

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// Ranks tell whether kinds of question can be told apart by the time of their answers.
//
// Questions are asked in blocks: one of each kind, in random order. What the machine does
// otherwise then meets all kinds alike: if they do not differ, each order of the times in a block is
// equally likely, on a busy machine too. From the times of a block its median is taken off, since the
// load changes from block to block. Then of each two kinds the edge is computed: the probability that
// an answer to the one takes longer than one to the other (Mann-Whitney's statistic), less a
// half. By chance alone it deviates by sqrt(k/(k-1)/6n) with n blocks of k kinds.
//
// A round accuses each two kinds whose edge is above tolerated and 2.5 such deviations. Two kinds
// are an oracle if each of three rounds, with orders of their own, accuses them of it:
// with kinds that differ by less than tolerated that happens by chance in less than
// 42 × 0.0062³ = 1 in 100,000 runs (TestOraclesByChance). Most runs end after the first round.

const (
	// tolerated is the most that an observer may gain over guessing, from one answer.
	tolerated = 0.05
	// rounds must agree.
	rounds = 3
)

// times are the times of answers, by kind of question.
type times map[string][]float64

// add adds a block.
func (x times) add(block map[string]float64) {
	all := slices.Sorted(maps.Values(block))
	middle := (all[(len(all)-1)/2] + all[len(all)/2]) / 2
	for kind, v := range block {
		x[kind] = append(x[kind], v-middle)
	}
}

// edge is of two kinds: how much more often than not a takes longer than b.
type edge struct{ a, b string }

// edges are of each two kinds, both ways.
func (x times) edges() map[edge]float64 {
	all := map[edge]float64{}
	for a := range x {
		for b := range x {
			if a < b {
				e := longer(x[a], x[b]) - 0.5
				all[edge{a, b}], all[edge{b, a}] = e, -e
			}
		}
	}
	return all
}

// chance is the standard deviation of an edge by chance alone.
func (x times) chance() float64 {
	k, n := float64(len(x)), 0
	for _, v := range x {
		n = len(v)
	}
	return math.Sqrt(k / (k - 1) / 6 / float64(n))
}

// oracles asks round after round, until the suspicion has gone or is confirmed, and returns
// what each of them found.
func oracles(round func() times) map[edge][]float64 {
	var suspected map[edge][]float64
	for i := range rounds {
		x := round()
		limit := tolerated + 2.5*x.chance()
		accused := map[edge][]float64{}
		for e, v := range x.edges() {
			if v > limit && (i == 0 || suspected[e] != nil) {
				accused[e] = append(slices.Clone(suspected[e]), v)
			}
		}
		if suspected = accused; len(suspected) == 0 {
			return nil
		}
	}
	return suspected
}

// longer is the probability that a value of a is greater than one of b: the Mann-Whitney U
// divided by the number of pairs.
func longer(a, b []float64) float64 {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	won, below, same := 0.0, 0, 0 // of b: below the value of a, and equal to it
	for _, v := range a {
		for below < len(b) && b[below] < v {
			below++
		}
		for same = below; same < len(b) && b[same] == v; {
			same++
		}
		won += float64(below) + float64(same-below)/2
	}
	return won / float64(len(a)*len(b))
}

func TestLonger(t *testing.T) {
	for _, c := range []struct {
		a, b []float64
		want float64
	}{
		{[]float64{1, 2}, []float64{3, 4}, 0},
		{[]float64{4, 3}, []float64{1, 2}, 1},
		{[]float64{1, 3}, []float64{4, 2}, 0.25},
		{[]float64{1, 1}, []float64{1, 1}, 0.5},
		{[]float64{1, 2, 2}, []float64{2}, 1.0 / 3},
	} {
		if got := longer(c.a, c.b); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%v, %v: %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

// busy makes times of n blocks of questions of some kinds on a machine whose load changes all
// the time. An answer to kind "0" takes longer by extra.
func busy(r *rand.Rand, n, kinds int, extra float64) times {
	x := times{}
	load := 0.0
	for range n {
		block := map[string]float64{}
		for _, kind := range r.Perm(kinds) {
			load = 0.95*load + r.NormFloat64()/5
			v := 10 + math.Exp(load)*r.ExpFloat64()
			if r.IntN(50) == 0 {
				v += 100 * r.Float64()
			}
			if kind == 0 {
				v += extra
			}
			block[fmt.Sprint(kind)] = v
		}
		x.add(block)
	}
	return x
}

// TestOraclesByChance: a round accuses kinds that do not differ so seldom that rounds in
// succession do it in less than 1 of 10,000 runs.
func TestOraclesByChance(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, kinds := range []int{3, 7} {
		const tries = 1000
		accused, found, pairs := 0, 0, float64(kinds*(kinds-1))
		for range tries {
			x := busy(r, 60, kinds, 0)
			for _, v := range x.edges() {
				if v > 2.5*x.chance() { // as if they differed by what is tolerated
					accused++
				}
			}
			found += len(oracles(func() times { return busy(r, 60, kinds, 0) }))
		}
		p := float64(accused) / (tries * pairs)
		run := pairs * math.Pow(p, rounds)
		t.Logf("%d kinds: a round accuses by chance with the probability %.4f, a run with %.1g", kinds, p, run)
		if run > 5e-5 || found > 0 {
			t.Errorf("a run accused %d times in %d", found, tries)
		}
	}
}

// TestOraclesAreFound: a kind whose answers take longer by three times the spread of the times is
// found, and nothing else.
func TestOraclesAreFound(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		spread := busy(r, 60, 7, 0).spread()
		found := oracles(func() times { return busy(r, 60, 7, 3*spread) })
		for e := range found {
			if e.a != "0" {
				t.Errorf("found %v", e)
			}
		}
		if len(found) == 0 {
			t.Errorf("found nothing")
		}
	}
}

// spread is the range in which the middle half of all times lies.
func (x times) spread() float64 {
	var all []float64
	for _, v := range x {
		all = append(all, v...)
	}
	slices.Sort(all)
	return all[len(all)*3/4] - all[len(all)/4]
}
