package overlay_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/overlay/internal/publish"
)

const taxi = "testdata/taxi.json"

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestSchemaIsWhatTheTypesSay(t *testing.T) {
	want, err := publish.Schema()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, overlay.Schema()) {
		t.Error("schema.json is out of date: run go generate ./overlay")
	}
}

func TestSchemaTakesWhatDecodeTakes(t *testing.T) {
	parse := func(data []byte) any {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		return doc
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("overlay.json", parse(overlay.Schema())); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("overlay.json")
	if err != nil {
		t.Fatal(err)
	}
	good := read(t, taxi)
	if err := compiled.Validate(parse(good)); err != nil {
		t.Error(err)
	}
	for old, other := range map[string]string{`"call_back"`: `"run"`, `"https://`: `"javascript:`, `"flash"`: `"burn"`, `"opacity"`: `"onclick"`} {
		if compiled.Validate(parse(bytes.Replace(good, []byte(old), []byte(other), 1))) == nil {
			t.Errorf("%s in the place of %s is taken", other, old)
		}
	}
}

func TestRenderings(t *testing.T) {
	o, err := overlay.Decode(read(t, taxi))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := o.Text("de-at"), "Ajax Taxi\n1. Hier abholen\n2. Wann?\n3. Rückruf\n"; got != want {
		t.Errorf("text in German: %q, want %q", got, want)
	}
	menu := o.Softkeys("fr")
	if len(menu) != 3 || menu[0] != (overlay.Softkey{Region: "here", Label: "Pick me up here"}) {
		t.Errorf("soft keys in a language that is not there: %v", menu)
	}
}

// Each case changes one thing of a good overlay.
func TestHostileOverlaysAreRefused(t *testing.T) {
	cases := map[string]struct{ old, new, want string }{
		"script element":       {`"opacity": 85`, `"script": "alert(1)"`, `unknown field "script"`},
		"handler":              {`"display": "flash"`, `"onclick": "alert(1)"`, `unknown field "onclick"`},
		"unknown action":       {`"call_back"`, `"run"`, `there is no action "run"`},
		"javascript address":   {"https://taxi.example/logo.png", "javascript:alert(1)", "https address"},
		"data address":         {"https://taxi.example/logo.png", "data:text/html,x", "https address"},
		"http address":         {"https://taxi.example/logo.png", "http://taxi.example/logo.png", "https address"},
		"user in the address":  {"https://taxi.example/logo.png", "https://bank.example@evil.example/", "https address"},
		"look-alike host":      {"https://taxi.example/logo.png", "https://t\u0430xi.example/", "https address"},
		"backslash":            {"https://taxi.example/logo.png", `https://taxi.example\\@evil.example`, "https address"},
		"text turned round":    {"Pick me up here", "Pay \u202egnihton", "character"},
		"isolated text":        {"Pick me up here", "a\u2066b", "character"},
		"hidden text":          {"Pick me up here", "a\u200bb", "character"},
		"control character":    {"Pick me up here", `a\u0007b`, "character"},
		"long text":            {"Pick me up here", strings.Repeat("x", 501), "longer than 500"},
		"key in capitals":      {`"opacity": 85`, `"ID": "other"`, "lower case"},
		"key that looks alike": {`"opacity": 85`, `"ver\u017fion": 1`, "lower case"},
		"key twice":            {`"opacity": 85`, `"id": "other"`, "comes twice"},
		"opaque":               {`"opacity": 85`, `"opacity": 101`, "opacity"},
		"other version":        {`"version": 1`, `"version": 2`, "version"},
		"no alternative text":  {`"alt": {"en": "Ajax Taxi"}`, `"alt": {}`, "alt"},
		"outside the grid":     {`"column": 0, "row": 2, "width": 2`, `"column": 3, "row": 2, "width": 2`, "outside"},
		"overflowing place":    {`"column": 0, "row": 2, "width": 2`, `"column": 1, "row": 2, "width": 9223372036854775807`, "outside"},
		"id twice":             {`"id": "when"`, `"id": "here"`, "each id once"},
		"field of another":     {`"number": "+442079460900"`, `"number": "+442079460900", "keys": "1"`, "has no keys"},
		"field missing":        {`, "number": "+442079460900"`, ``, "needs number"},
		"premium code":         {"+442079460900", "*21*0900#", "international form"},
		"options of a date":    {`"type": "date"`, `"type": "date", "options": [{"value": "a", "label": {"en": "a"}}]`, "has no options"},
	}
	good := string(read(t, taxi))
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			bad := strings.Replace(good, c.old, c.new, 1)
			if bad == good {
				t.Fatalf("%q is not in the good overlay", c.old)
			}
			_, err := overlay.Decode([]byte(bad))
			if !errors.Is(err, overlay.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestSizeAndDepthAreLimited(t *testing.T) {
	good := read(t, taxi)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"huge":      {append(bytes.Clone(good), bytes.Repeat([]byte(" "), overlay.MaxSize)...), "larger than"},
		"deep":      {bytes.Repeat([]byte("["), 100_000), "levels deep"},
		"two":       {append(bytes.Clone(good), "{}"...), "follows the end"},
		"not UTF-8": {[]byte("{\"id\":\"\xff\"}"), "UTF-8"},
		"cut off":   {good[:len(good)/2], "not JSON"},
		"nothing":   {nil, "not JSON"},
		"null":      {[]byte("null"), "version"},
	} {
		if _, err := overlay.Decode(c.data); !errors.Is(err, overlay.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestFormAnswers(t *testing.T) {
	words := overlay.Words{"en": "?"}
	form := overlay.Form{Fields: []overlay.Field{
		{ID: "when", Label: words, Type: overlay.Date, Required: true, Least: "2026-05-01", Most: "2026-05-31"},
		{ID: "seats", Label: words, Type: overlay.Seats, Max: 2, Options: []overlay.Option{
			{Value: "a1", Label: words}, {Value: "a2", Label: words}, {Value: "a3", Label: words}, {Value: "a4", Label: words, Taken: true}}},
		{ID: "people", Label: words, Type: overlay.Number, Min: 1, Max: 6},
		{ID: "name", Label: words, Type: overlay.Line, Max: 5},
	}}
	type answers = map[string][]string
	for name, c := range map[string]struct {
		answers answers
		want    string
	}{
		"all":          {answers{"when": {"2026-05-31"}, "seats": {"a1", "a2"}, "people": {"6"}, "name": {"Ålice"}}, ""},
		"required":     {answers{"people": {"2"}}, "when must be filled in"},
		"no date":      {answers{"when": {"2026-05-32"}}, "takes a date"},
		"too early":    {answers{"when": {"2026-04-30"}}, "takes a date from"},
		"too late":     {answers{"when": {"2026-06-01"}}, "takes a date from"},
		"taken":        {answers{"when": {"2026-05-01"}, "seats": {"a4"}}, "is taken"},
		"no such seat": {answers{"when": {"2026-05-01"}, "seats": {"z9"}}, "no option"},
		"many seats":   {answers{"when": {"2026-05-01"}, "seats": {"a1", "a2", "a3"}}, "at most 2"},
		"seat twice":   {answers{"when": {"2026-05-01"}, "seats": {"a1", "a1"}}, "twice"},
		"too many":     {answers{"when": {"2026-05-01"}, "people": {"7"}}, "from 1 to 6"},
		"two numbers":  {answers{"when": {"2026-05-01"}, "people": {"1", "2"}}, "one answer"},
		"long line":    {answers{"when": {"2026-05-01"}, "name": {"Alicia"}}, "at most 5"},
		"other field":  {answers{"when": {"2026-05-01"}, "card": {"1"}}, "no field"},
	} {
		err := form.Check(c.answers)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// What is accepted can be written, read again, and drawn.
func FuzzDecode(f *testing.F) {
	f.Add(read(f, taxi))
	f.Add([]byte(`{"version":1,"id":"a","language":"en","regions":[{"id":"b","exact":{"x":0,"y":0,"width":1,"height":1},"text":{"en":"c"}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := overlay.Decode(data)
		if err != nil {
			if !errors.Is(err, overlay.ErrInvalid) {
				t.Fatalf("another error: %v", err)
			}
			return
		}
		again, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if len(again) <= overlay.MaxSize {
			if _, err := overlay.Decode(again); err != nil {
				t.Fatalf("what was accepted is refused when written again: %v\n%s", err, again)
			}
		}
		if strings.Count(o.Text("en"), "\n") < len(o.Regions) || len(o.Softkeys("en")) > len(o.Regions) {
			t.Fatal("regions are missing from the text, or too many in the menu")
		}
	})
}
