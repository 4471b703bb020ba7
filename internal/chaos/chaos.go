// Package chaos helps the tests that break things on purpose: kill -9, power cuts, damaged
// files, full disks. Their short forms belong to every run of the tests; `make chaos` runs the
// long ones, and prints what was done, how often, and what was lost. [Disk] is a file system
// whose power can be cut.
package chaos

import (
	"fmt"
	"os"
	"testing"
)

// Environment variables of `make chaos`.
const (
	// Full asks for the long forms.
	Full = "TANDEM_CHAOS"
	// Results names the file to which [Report] appends.
	Results = "TANDEM_CHAOS_RESULTS"
)

// Times returns how often a thing is done: in every run of the tests, and in `make chaos`.
func Times(short, full int) int {
	if os.Getenv(Full) != "" {
		return full
	}
	return short
}

// Report notes what a test did, how often, and what came of it, as a row of a table.
func Report(t testing.TB, did string, times int, format string, result ...any) {
	t.Helper()
	row := fmt.Sprintf("| %s | %d | %s |\n", did, times, fmt.Sprintf(format, result...))
	t.Log(row)
	name := os.Getenv(Results)
	if name == "" {
		return
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(row); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
