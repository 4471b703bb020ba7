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
	var file struct {
		Vectors []struct{ Name, Old, New, Want string }
	}
	if err := json.Unmarshal(read(t, "testdata/hostile.json"), &file); err != nil {
		t.Fatal(err)
	}
	good := string(read(t, taxi))
	for _, c := range file.Vectors {
		t.Run(c.Name, func(t *testing.T) {
			bad := strings.Replace(good, c.Old, c.New, 1)
			if bad == good {
				t.Fatalf("%q is not in the good overlay", c.Old)
			}
			_, err := overlay.Decode([]byte(bad))
			if !errors.Is(err, overlay.ErrInvalid) || !strings.Contains(err.Error(), c.Want) {
				t.Errorf("%v, want %q", err, c.Want)
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
	var file struct {
		Form    overlay.Form
		Vectors []struct {
			Name    string
			Answers map[string][]string
			Want    string
		}
	}
	if err := json.Unmarshal(read(t, "testdata/answers.json"), &file); err != nil {
		t.Fatal(err)
	}
	for _, c := range file.Vectors {
		err := file.Form.Check(c.Answers)
		if c.Want == "" && err != nil || c.Want != "" && (err == nil || !strings.Contains(err.Error(), c.Want)) {
			t.Errorf("%s: %v, want %q", c.Name, err, c.Want)
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

func TestAmountString(t *testing.T) {
	for want, a := range map[string]overlay.Amount{
		"12.50 EUR": {Minor: 1250, Currency: "EUR"}, "0.05 EUR": {Minor: 5, Currency: "EUR"}, "500 JPY": {Minor: 500, Currency: "JPY"},
		"1.250 KWD": {Minor: 1250, Currency: "KWD"}, "0.10 ZZZ": {Minor: 10, Currency: "ZZZ"},
	} {
		if got := a.String(); got != want {
			t.Errorf("%d %s: %s, want %s", a.Minor, a.Currency, got, want)
		}
	}
}
