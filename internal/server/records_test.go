package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

const (
	shapesFile = "testdata/records.txt"
	// shapesUpdate, when set, has what is new written to shapesFile.
	shapesUpdate = "RECORDS_UPDATE"
)

// TestRecordsKeepTheirShape (ADR 22): what a version writes into a table the next one reads, and on a
// cluster the other way round while nodes are upgraded one after the other. So a field may be
// added, and not renamed, retyped or dropped. testdata/records.txt has every field that has
// been written.
func TestRecordsKeepTheirShape(t *testing.T) {
	dir, roots := t.TempDir(), filepath.Join(t.TempDir(), "roots.pem")
	now := map[string]bool{}
	synctest.Test(t, func(t *testing.T) {
		writeRoot(t, roots)
		e := idleEra(t, dir, func(c *Config) {
			c.Webhooks.HTTP, c.Webhooks.Networks, c.Evidence.STIRRoots = true, []string{"127.0.0.0/8"}, roots
			c.Texts.Enabled = true
		})
		e.fillTables()
		for table := range tables(t) {
			for r, err := range e.engine.Scan(t.Context(), table, "") {
				if err != nil {
					t.Fatal(err)
				}
				var v any
				if err := json.Unmarshal(r.Value, &v); err != nil {
					now[table+": not JSON"] = true
					continue
				}
				shape(table+": ", v, now)
			}
		}
		if err := e.engine.Close(); err != nil {
			t.Fatal(err)
		}
	})
	if os.Getenv(shapesUpdate) != "" {
		for _, s := range earlierShapes(t) {
			now[s] = true
		}
		all := slices.Sorted(maps.Keys(now))
		if err := os.WriteFile(shapesFile, []byte(strings.Join(all, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	earlier := earlierShapes(t)
	for _, s := range earlier {
		if !now[s] {
			t.Errorf("earlier versions have written %q, and this one does not any more: they would not understand each other's records", s)
		}
		delete(now, s)
	}
	for s := range now {
		t.Errorf("%q is new: an older node drops it when it changes the record, and must do no harm by that; then note it with %s=1", s, shapesUpdate)
	}
}

func earlierShapes(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(shapesFile)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' })
}

var fieldName = regexp.MustCompile(`^[a-z][a-z0-9]{0,15}(_[a-z0-9]{1,12})*$`)

// shape notes the paths of a JSON value, each with its type. What looks like no field's name is
// a map's key.
func shape(path string, v any, into map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for k, f := range v {
			if !fieldName.MatchString(k) {
				k = "*"
			}
			shape(path+"."+k, f, into)
		}
	case []any:
		for _, f := range v {
			shape(path+"[]", f, into)
		}
	case nil: // of whatever type
	default:
		into[fmt.Sprintf("%s %T", path, v)] = true
	}
}
