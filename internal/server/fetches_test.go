package server_test

import (
	"net/http"
	"strings"
	"testing"
)

// A device cannot have the server ask others' servers as often as it likes.
func TestFetchesOfADeviceAreLimited(t *testing.T) {
	w := newWorld(t)
	x, _, session := w.pair(alice, bob)
	token, path := w.token(x), "/v1/sessions/"+string(session)+"/overlays/1/pictures/logo"
	n := 0
	for ; n < 200; n++ {
		if r := w.ask("GET", path, token, ""); r.status == http.StatusTooManyRequests {
			if !strings.Contains(r.body, "device-fetches") {
				t.Errorf("refused by another limit: %+v", r)
			}
			break
		} else if r.status != http.StatusNotFound {
			t.Fatalf("a picture that is not there: %+v", r)
		}
	}
	if n < 120 || n == 200 { // the bucket fills while the test runs
		t.Errorf("refused after %d", n)
	}
	if r := w.ask("GET", "/v1/sessions", token, ""); r.status != http.StatusOK {
		t.Errorf("what fetches nothing is refused too: %+v", r)
	}
}
