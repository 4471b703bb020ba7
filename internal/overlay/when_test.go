package overlay

import (
	"errors"
	"testing"
	"time"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

func TestFits(t *testing.T) {
	// A Thursday, 22:30 in UTC; half past eleven at night in Berlin.
	at := time.Date(2026, 11, 26, 22, 30, 0, 0, time.UTC)
	c := call{queue: "airport", language: "de-at", at: at}
	for name, x := range map[string]struct {
		when wire.OverlayWhen
		n    int
		ok   bool
	}{
		"always":           {wire.OverlayWhen{}, 0, true},
		"queue":            {wire.OverlayWhen{Queues: []string{"city", "airport"}}, 1, true},
		"other queue":      {wire.OverlayWhen{Queues: []string{"city"}}, 0, false},
		"wider language":   {wire.OverlayWhen{Languages: []string{"de"}}, 1, true},
		"other language":   {wire.OverlayWhen{Languages: []string{"de-ch", "d"}}, 0, false},
		"day":              {wire.OverlayWhen{Days: []string{"thu"}}, 1, true},
		"other day":        {wire.OverlayWhen{Days: []string{"fri"}}, 0, false},
		"hours":            {wire.OverlayWhen{From: "22:30", To: "22:31"}, 1, true},
		"to is excluded":   {wire.OverlayWhen{From: "09:00", To: "22:30"}, 0, false},
		"zone":             {wire.OverlayWhen{From: "23:00", To: "24:00", Zone: "Europe/Berlin"}, 1, true},
		"day in a zone":    {wire.OverlayWhen{Days: []string{"fri"}, Zone: "Asia/Tokyo"}, 1, true},
		"night":            {wire.OverlayWhen{From: "22:00", To: "06:00", Days: []string{"thu"}}, 2, true},
		"night of another": {wire.OverlayWhen{From: "22:00", To: "06:00", Days: []string{"wed"}}, 0, false},
		"morning after":    {wire.OverlayWhen{From: "22:00", To: "08:00", Days: []string{"thu"}, Zone: "Asia/Tokyo"}, 2, true},
		"day between":      {wire.OverlayWhen{From: "23:00", To: "06:00"}, 0, false},
		"all":              {wire.OverlayWhen{Queues: []string{"airport"}, Languages: []string{"de"}, Days: []string{"thu"}, From: "00:00", To: "23:59"}, 4, true},
	} {
		if n, ok := fits(x.when, c); n != x.n || ok != x.ok {
			t.Errorf("%s: %d, %v", name, n, ok)
		}
	}
}

func TestChoose(t *testing.T) {
	live := func(name string, w wire.OverlayWhen, numbers ...string) Stored {
		return Stored{Name: name, Live: 1, LiveWhen: &w, LiveNumbers: numbers}
	}
	n, err := tel.ParseIdentity("+442079460900", "")
	if err != nil {
		t.Fatal(err)
	}
	side := Side{Principal: n, Shown: n}
	queue := wire.OverlayWhen{Queues: []string{"airport"}}
	for name, c := range map[string]struct {
		all  []Stored
		want string
	}{
		"none is there":        {nil, ""},
		"another's":            {[]Stored{live("a", wire.OverlayWhen{}, "+442079461")}, ""},
		"most conditions":      {[]Stored{live("a", wire.OverlayWhen{}, "+442079460900"), live("b", queue, "+44")}, "b"},
		"narrowest number":     {[]Stored{live("a", queue, "+44"), live("b", queue, "+4420794609"), live("c", queue, "+442")}, "b"},
		"first by name":        {[]Stored{live("b", queue, "+44"), live("a", queue, "+44")}, "a"},
		"condition not fitted": {[]Stored{live("a", wire.OverlayWhen{Queues: []string{"city"}}, "+44")}, ""},
	} {
		if got, ok := choose(c.all, side, call{queue: "airport", at: time.Unix(0, 0)}); got.Name != c.want || ok != (c.want != "") {
			t.Errorf("%s: %q, %v", name, got.Name, ok)
		}
	}
}

func TestConditionsAreChecked(t *testing.T) {
	for name, w := range map[string]wire.OverlayWhen{
		"day": {Days: []string{"Monday"}}, "half a time": {From: "09:00"}, "no time": {From: "9", To: "10:00"}, "nothing between": {From: "09:00", To: "09:00"},
		"zone": {Zone: "Moon/Tycho"}, "this machine's zone": {Zone: "Local"}, "language": {Languages: []string{"DE"}}, "queue": {Queues: []string{""}},
	} {
		if err := checkWhen(&w); !errors.Is(err, ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := checkWhen(&wire.OverlayWhen{Days: []string{"mon"}, From: "22:00", To: "06:00", Zone: "Europe/London"}); err != nil {
		t.Error(err)
	}
}
