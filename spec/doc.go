// Package spec holds one executable script for each row of the specification that is
// served: testdata/B1.txtar drives the real program, through its command line, its HTTP
// API and its sockets, and shows that row B1 holds. What the scripts can say, besides
// testscript's own commands, stands in commands_test.go.
package spec
