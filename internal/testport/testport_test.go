package testport

import "testing"

// TestOnce: no port is given twice, though nobody listens at the first one yet.
func TestOnce(t *testing.T) {
	given := map[int]bool{}
	for range 200 {
		port, err := Free(2)
		if err != nil {
			t.Fatal(err)
		}
		if given[port] {
			t.Fatalf("port %d is given a second time", port)
		}
		given[port] = true
	}
}
