package overlay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxSize of a document, in bytes.
const MaxSize = 256 << 10

// Further limits of a document.
const (
	maxDepth     = 16
	maxRegions   = 64
	maxActions   = 8
	maxFields    = 16
	maxOptions   = 500
	maxLanguages = 32
	maxText      = 500 // characters
	maxURL       = 2048
	maxID        = 64
	maxMinor     = 100_000_000_000
	whole        = 10_000 // of an exact place
)

// ErrInvalid: the bytes are not an overlay, or an answer does not fit its form. The text
// says where and what to do.
var ErrInvalid = errors.New("overlay: not valid")

var (
	id       = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)
	language = regexp.MustCompile(`^[a-z]{2,3}(-[a-z0-9]{2,8}){0,4}$`)
	number   = regexp.MustCompile(`^\+[1-9][0-9]{2,14}$`)
	keys     = regexp.MustCompile(`^[0-9*#,]{1,32}$`)
	currency = regexp.MustCompile(`^[A-Z]{3}$`)
	host     = regexp.MustCompile(`^[A-Za-z0-9.-]+$`)
)

// Decode reads a document from outside. It refuses, with [ErrInvalid], unknown elements,
// keys in another spelling or twice, and all that [Overlay.Check] refuses.
func Decode(data []byte) (Overlay, error) {
	if len(data) > MaxSize {
		return Overlay{}, fault("it is larger than %d bytes", MaxSize)
	}
	if !utf8.Valid(data) {
		return Overlay{}, fault("it is not UTF-8")
	}
	if err := walk(data); err != nil {
		return Overlay{}, err
	}
	var o Overlay
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return Overlay{}, fault("%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return o, o.Check()
}

// walk looks at the nesting and the keys, which encoding/json takes in any case, and the
// last of several.
func walk(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	type level struct {
		keys map[string]bool // nil in an array
		key  bool            // a key comes next
	}
	var open []level
	for done := false; ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) && done {
			return nil
		}
		if err != nil {
			return fault("at byte %d: it is not JSON: %v", d.InputOffset(), err)
		}
		if done {
			return fault("something follows the end")
		}
		delim, isDelim := token.(json.Delim)
		if n := len(open) - 1; n >= 0 && open[n].keys != nil && delim != '}' {
			if name, ok := token.(string); ok && open[n].key {
				if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
					return fault("the key %q must be in lower case", clip(name))
				}
				if open[n].keys[name] {
					return fault("the key %q comes twice", clip(name))
				}
				open[n].keys[name], open[n].key = true, false
				continue
			}
			open[n].key = true
		}
		switch {
		case isDelim && (delim == '{' || delim == '['):
			if len(open) == maxDepth {
				return fault("it is nested more than %d levels deep", maxDepth)
			}
			l := level{}
			if delim == '{' {
				l = level{map[string]bool{}, true}
			}
			open = append(open, l)
		case isDelim:
			open = open[:len(open)-1]
		}
		done = len(open) == 0
	}
}

// Check says whether the document is one that devices show.
func (o Overlay) Check() error {
	switch {
	case o.Version != Version:
		return fault("version: must be %d", Version)
	case !id.MatchString(o.ID):
		return fault("id: must be 1 to %d of a-z 0-9 _ -", maxID)
	case !language.MatchString(o.Language):
		return fault("language: must be a tag in lower case, such as en or pt-br")
	case o.Opacity != 0 && (o.Opacity < 20 || o.Opacity > 100):
		return fault("opacity: must be 20 to 100 per cent")
	case o.Columns < 0 || o.Columns > 12:
		return fault("columns: must be 1 to 12")
	case len(o.Regions) < 1 || len(o.Regions) > maxRegions:
		return fault("regions: must be 1 to %d", maxRegions)
	}
	columns := o.Columns
	if columns == 0 {
		columns = 4
	}
	seen, pictures := map[string]bool{}, map[string]bool{}
	for i, r := range o.Regions {
		at := "regions[" + strconv.Itoa(i) + "]"
		if err := newID(at+".id", r.ID, seen); err != nil {
			return err
		}
		if err := r.place(at, columns, pictures); err != nil {
			return err
		}
		if err := r.check(at, o.Language); err != nil {
			return err
		}
		pictures[r.ID] = r.Picture != nil
	}
	return nil
}

func (r Region) place(at string, columns int, pictures map[string]bool) error {
	switch {
	case (r.Grid == nil) == (r.Exact == nil):
		return fault("%s: has either grid or exact", at)
	case r.Exact != nil && r.Inside != "" && !pictures[r.Inside]:
		return fault("%s.inside: no earlier region %q has a picture", at, clip(r.Inside))
	case r.Exact != nil:
		return r.Exact.check(at + ".exact")
	case r.Inside != "":
		return fault("%s.inside: goes with exact", at)
	}
	g := *r.Grid
	if g.Column < 0 || g.Row < 0 || g.Width < 0 || g.Height < 0 ||
		g.Column > columns || g.Width > columns || g.Column+max(g.Width, 1) > columns ||
		g.Row > maxRegions || g.Height > maxRegions || g.Row+max(g.Height, 1) > maxRegions {
		return fault("%s.grid: lies outside %d columns and %d rows", at, columns, maxRegions)
	}
	return nil
}

func (e Exact) check(at string) error {
	if e.X < 0 || e.Y < 0 || e.Width < 1 || e.Height < 1 ||
		e.X > whole || e.Y > whole || e.Width > whole-e.X || e.Height > whole-e.Y {
		return fault("%s: lies outside 0 to %d", at, whole)
	}
	return nil
}

func (r Region) check(at, language string) error {
	switch r.State {
	case "", Enabled, Disabled, Selected:
	default:
		return fault("%s.state: there is no state %q", at, clip(string(r.State)))
	}
	switch r.Display {
	case "", Steady, Flash, Wobble:
	default:
		return fault("%s.display: there is no display %q", at, clip(string(r.Display)))
	}
	if r.Picture == nil && len(r.Text) == 0 {
		return fault("%s: has neither text nor picture", at)
	}
	if err := r.Text.check(at+".text", language, false); err != nil {
		return err
	}
	if r.Picture != nil {
		if err := checkURL(at+".picture.url", r.Picture.URL); err != nil {
			return err
		}
		if err := r.Picture.Alt.check(at+".picture.alt", language, true); err != nil {
			return err
		}
	}
	if len(r.Actions) > maxActions {
		return fault("%s.actions: must be at most %d", at, maxActions)
	}
	for i, a := range r.Actions {
		if err := a.check(at+".actions["+strconv.Itoa(i)+"]", language); err != nil {
			return err
		}
	}
	return nil
}

func (w Words) check(at, fallback string, required bool) error {
	if len(w) == 0 && !required {
		return nil
	}
	if len(w) > maxLanguages {
		return fault("%s: has more than %d languages", at, maxLanguages)
	}
	if strings.TrimSpace(w[fallback]) == "" {
		return fault("%s: has nothing in %q, the overlay's language", at, fallback)
	}
	for tag, text := range w {
		if !language.MatchString(tag) {
			return fault("%s: %q is not a language's tag in lower case", at, clip(tag))
		}
		if err := checkText(at+"."+tag, text); err != nil {
			return err
		}
	}
	return nil
}

// checkText refuses what could show a reader something else than is written: control
// characters, and invisible ones that turn the direction of the text (Unicode TR 36 2.2).
// Joiners, and the marks that right-to-left text needs, stay.
func checkText(at, text string) error {
	if utf8.RuneCountInString(text) > maxText {
		return fault("%s: is longer than %d characters", at, maxText)
	}
	for _, r := range text {
		control := unicode.Is(unicode.Cc, r) && r != '\n'
		hidden := unicode.Is(unicode.Cf, r) && !strings.ContainsRune("\u200c\u200d\u200e\u200f\u061c", r)
		if control || hidden || r == '\u2028' || r == '\u2029' {
			return fault("%s: has the character %+q, which is not allowed", at, r)
		}
	}
	return nil
}

// checkURL takes https only, with a host in ASCII and no user, so that an address is what
// it looks like.
func checkURL(at, address string) error {
	u, err := url.Parse(address)
	if err != nil || len(address) > maxURL || u.Scheme != "https" || u.User != nil || u.Opaque != "" ||
		!host.MatchString(u.Hostname()) || !strings.HasPrefix(address, "https://") || strings.ContainsAny(address, "\\ \t") {
		return fault("%s: must be an https address of a named host, with no user, at most %d bytes", at, maxURL)
	}
	return nil
}

func newID(at, name string, seen map[string]bool) error {
	if !id.MatchString(name) || seen[name] {
		return fault("%s: must be 1 to %d of a-z 0-9 _ -, each id once", at, maxID)
	}
	seen[name] = true
	return nil
}

func match(at, value string, form *regexp.Regexp, want string) error {
	if !form.MatchString(value) {
		return fault("%s: must be %s", at, want)
	}
	return nil
}

func fault(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// clip shortens what comes from outside, for an error.
func clip(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "…"
	}
	return s
}

func wider(tag string) string {
	i := strings.LastIndexByte(tag, '-')
	return tag[:max(i, 0)]
}
