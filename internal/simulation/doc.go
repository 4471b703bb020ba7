// Package simulation runs the real core (the matcher of internal/call and the sessions of
// internal/session, on one to three nodes) in a world that a seed decides: which step comes next,
// when time passes, which answer of the store is lost, when a node dies. The same seed gives the
// same run, down to each step; so a failure can be repeated by its seed.
//
// The nodes' goroutines are real, in a bubble of testing/synctest. Each of them stops before each
// operation on the store. When all have stopped, the seed chooses which one goes on, alone, and
// whether its operation succeeds; so there is one thread, and its schedule is the seed's. The
// store itself is a model in memory of what internal/store promises, and of what a crash takes away;
// whether the real engines keep these promises is for internal/store/storetest to say.
//
// There is nothing here but tests. TestSimulation runs some seeds; `make chaos` runs 10,000.
// SIMULATION_SEED=n runs one, and prints its steps.
package simulation
