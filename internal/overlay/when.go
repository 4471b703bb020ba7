package overlay

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tandem-call/tandem/wire"
)

var (
	languageTag = regexp.MustCompile(`^[a-z]{2,3}(-[a-z0-9]{2,8}){0,4}$`)
	timeOfDay   = regexp.MustCompile(`^([01][0-9]|2[0-3]):[0-5][0-9]$`)
)

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// checkWhen looks at the conditions of a predetermined overlay.
func checkWhen(w *wire.OverlayWhen) error {
	if w == nil {
		return nil
	}
	for _, q := range w.Queues {
		if q == "" || len(q) > maxName {
			return fmt.Errorf("%w: when: a queue's name has 1 to %d bytes", ErrRequest, maxName)
		}
	}
	for _, l := range w.Languages {
		if !languageTag.MatchString(l) {
			return fmt.Errorf("%w: when: %q is not a language's tag in lower case", ErrRequest, l)
		}
	}
	for _, d := range w.Days {
		if !slices.Contains(weekdays, d) {
			return fmt.Errorf("%w: when: days are mon, tue, wed, thu, fri, sat, sun", ErrRequest)
		}
	}
	if (w.From == "") != (w.To == "") || w.From != "" && (!timeOfDay.MatchString(w.From) || !timeOfDay.MatchString(w.To) || w.From == w.To) {
		return fmt.Errorf("%w: when: from and to go together and are two times such as 09:00 and 17:30", ErrRequest)
	}
	if _, err := time.LoadLocation(w.Zone); err != nil || strings.EqualFold(w.Zone, "local") {
		return fmt.Errorf("%w: when: there is no time zone %q", ErrRequest, w.Zone)
	}
	return nil
}

// call is what decides which predetermined overlay is sent.
type call struct {
	queue, language string
	at              time.Time
}

// fits reports whether the conditions hold, and how many there are.
func fits(w wire.OverlayWhen, c call) (conditions int, ok bool) {
	if len(w.Queues) > 0 {
		conditions++
		if !slices.Contains(w.Queues, c.queue) {
			return 0, false
		}
	}
	if len(w.Languages) > 0 {
		conditions++
		if !speaks(w.Languages, c.language) {
			return 0, false
		}
	}
	zone, err := time.LoadLocation(w.Zone)
	if err != nil {
		return 0, false // the zone is not known any more
	}
	at := c.at.In(zone)
	day, clock := at.Weekday(), at.Format("15:04")
	if w.From != "" {
		conditions++
		switch {
		case w.From < w.To:
			if clock < w.From || clock >= w.To {
				return 0, false
			}
		case clock < w.To: // past midnight: it belongs to the day before
			day = (day + 6) % 7
		case clock < w.From:
			return 0, false
		}
	}
	if len(w.Days) > 0 {
		conditions++
		if !slices.Contains(w.Days, weekdays[day]) {
			return 0, false
		}
	}
	return conditions, true
}

// speaks reports whether the language, or a wider one (de for de-at), is among them.
func speaks(languages []string, tag string) bool {
	for tag != "" {
		if slices.Contains(languages, tag) {
			return true
		}
		tag = tag[:max(0, strings.LastIndexByte(tag, '-'))]
	}
	return false
}

// choose returns the overlay whose conditions hold, the one with the most of them, of these the one
// with the narrowest number, of these the first by name.
func choose(all []Stored, side Side, c call) (Stored, bool) {
	best, found := Stored{}, false
	most, narrow := 0, 0
	for _, x := range all {
		if !side.is(x.LiveNumbers) {
			continue
		}
		n, ok := fits(*x.LiveWhen, c)
		width := narrowest(x.LiveNumbers, side)
		if !ok || found && (n < most || n == most && (width < narrow || width == narrow && x.Name > best.Name)) {
			continue
		}
		best, found, most, narrow = x, true, n, width
	}
	return best, found
}

// narrowest is the length of the longest of the numbers that is the side.
func narrowest(numbers []string, s Side) int {
	longest := 0
	for _, n := range numbers {
		if s.is([]string{n}) {
			longest = max(longest, len(n))
		}
	}
	return longest
}
