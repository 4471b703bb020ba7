package docs_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// cells are the cells of a table's row; nil for what is none.
func cells(line string) []string {
	line = strings.TrimSpace(line)
	if !strings.HasPrefix(line, "| ") || !strings.HasSuffix(line, " |") || strings.HasPrefix(line, "| ---") {
		return nil
	}
	list := strings.Split(strings.Trim(line, "|"), " | ")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// TestThreats: each threat has a defence, and a test or script that attacks it, which exists.
func TestThreats(t *testing.T) {
	n := 0
	for line := range strings.Lines(read(t, "threats.md")) {
		c := cells(line)
		if c == nil || c[0] == "threat" {
			continue
		}
		n++
		if len(c) != 3 || c[1] == "" {
			t.Errorf("not a threat, its defence and its attack: %s", line)
			continue
		}
		attacks := 0
		for _, m := range code.FindAllStringSubmatch(c[2], -1) {
			if x := test.FindStringSubmatch(m[1]); x != nil && hasTest(t, x[1], x[2]) {
				attacks++
			} else if _, err := os.Stat("../" + m[1]); err == nil && (strings.HasSuffix(m[1], ".txtar") || strings.HasSuffix(m[1], ".test.ts") || m[1] == "arch_test.go") {
				attacks++
			} else {
				t.Errorf("%s: there is no %s", c[0], m[1])
			}
		}
		if attacks == 0 && !strings.Contains(c[2], "SECURITY.md") {
			t.Errorf("nothing attacks %q", c[0])
		}
	}
	if n < 40 {
		t.Errorf("only %d threats were found", n)
	}
}

// asvs are the requirements of levels 1 and 2 of ASVS 5.0.0: by section, the number of them. Where
// a section's own numbers have gaps at the end, those are of level 3.
var asvs = map[string]int{
	"1.1": 2, "1.2": 9, "1.3": 11, "1.4": 3, "1.5": 2, "2.1": 3, "2.2": 3, "2.3": 4, "2.4": 1,
	"3.2": 2, "3.3": 4, "3.4": 6, "3.5": 5, "3.7": 2, "4.1": 3, "4.2": 1, "4.3": 2, "4.4": 4, "5.1": 1, "5.2": 3, "5.3": 2, "5.4": 3,
	"6.1": 3, "6.2": 12, "6.3": 4, "6.4": 4, "6.5": 5, "6.6": 3, "6.8": 4, "7.1": 3, "7.2": 4, "7.3": 2, "7.4": 5, "7.5": 2, "7.6": 2,
	"8.1": 2, "8.2": 3, "8.3": 1, "8.4": 1, "9.1": 3, "9.2": 4, "10.1": 2, "10.2": 2, "10.3": 4, "10.4": 11, "10.5": 5, "10.6": 2, "10.7": 3,
	"11.1": 2, "11.2": 3, "11.3": 3, "11.4": 4, "11.5": 1, "11.6": 1, "12.1": 3, "12.2": 2, "12.3": 4, "13.1": 1, "13.2": 5, "13.3": 2, "13.4": 5,
	"14.1": 2, "14.2": 4, "14.3": 3, "15.1": 3, "15.2": 3, "15.3": 7, "16.1": 1, "16.2": 5, "16.3": 4, "16.4": 3, "16.5": 3, "17.1": 1, "17.2": 4, "17.3": 2,
}

// TestASVS: each requirement is answered once, with yes, partly, no or n/a, and a reason.
func TestASVS(t *testing.T) {
	answered := map[string]bool{}
	id := regexp.MustCompile(`^(\d+\.\d+)\.(\d+)(?:–(\d+\.\d+)\.(\d+))?$`)
	for line := range strings.Lines(read(t, "asvs.md")) {
		c := cells(line)
		if c == nil || c[0] == "id" {
			continue
		}
		m := id.FindStringSubmatch(c[0])
		if m == nil || len(c) != 3 || c[2] == "" || m[3] != "" && m[3] != m[1] {
			t.Errorf("not an answer: %s", line)
			continue
		}
		switch c[1] {
		case "yes", "partly", "no", "n/a":
		default:
			t.Errorf("%s: %q is no answer", c[0], c[1])
		}
		first, _ := strconv.Atoi(m[2])
		last := first
		if m[4] != "" {
			last, _ = strconv.Atoi(m[4])
		}
		for n := first; n <= last; n++ {
			key := fmt.Sprintf("%s.%d", m[1], n)
			if answered[key] {
				t.Errorf("%s is answered twice", key)
			}
			answered[key] = true
		}
	}
	total := 0
	for section, n := range asvs {
		total += n
		for i := 1; i <= n; i++ {
			if key := fmt.Sprintf("%s.%d", section, i); !answered[key] {
				t.Errorf("%s is not answered", key)
			} else {
				delete(answered, key)
			}
		}
	}
	for key := range answered {
		t.Errorf("%s is no requirement of level 1 or 2", key)
	}
	if total != 253 {
		t.Errorf("the list has %d requirements, the standard 253", total)
	}
}
