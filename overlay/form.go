package overlay

import (
	"slices"
	"strconv"
	"time"
)

// FieldType is what a field of a form takes.
type FieldType string

const (
	Line   FieldType = "line"   // a line of text, up to max characters
	Choice FieldType = "choice" // one of the options
	Seats  FieldType = "seats"  // up to max of the options, on a seat map
	Table  FieldType = "table"  // one of the options, on a table plan
	Date   FieldType = "date"   // RFC 3339 full-date, from least to most
	Number FieldType = "number" // a whole number, from min to max
)

// Form is what a user fills in.
type Form struct {
	// Fields in reading order.
	Fields []Field `json:"fields" jsonschema:"minItems=1,maxItems=16"`
}

// Field is one question.
type Field struct {
	ID    string    `json:"id" jsonschema:"pattern=^[a-z0-9_-]+$,maxLength=64"`
	Label Words     `json:"label"`
	Type  FieldType `json:"type" jsonschema:"enum=line,enum=choice,enum=seats,enum=table,enum=date,enum=number"`
	// Required: it cannot be left empty.
	Required bool `json:"required,omitempty"`
	// Options of choice, seats and table.
	Options []Option `json:"options,omitempty" jsonschema:"maxItems=500"`
	// Min of number.
	Min int64 `json:"min,omitempty"`
	// Max of number; of line, in characters; of seats, how many.
	Max int64 `json:"max,omitempty"`
	// Least and most are the first and the last date.
	Least string `json:"least,omitempty" jsonschema:"format=date"`
	Most  string `json:"most,omitempty" jsonschema:"format=date"`
}

// Option can be chosen.
type Option struct {
	Value string `json:"value" jsonschema:"maxLength=64"`
	Label Words  `json:"label"`
	// Taken: shown, and cannot be chosen.
	Taken bool `json:"taken,omitempty"`
	// Exact is its place on the plan, for seats and table.
	Exact *Exact `json:"exact,omitempty"`
}

// Check says whether answers, by the fields' ids, answer the form. Seats take any number of
// values, all others one.
func (f Form) Check(answers map[string][]string) error {
	for id := range answers {
		if !slices.ContainsFunc(f.Fields, func(x Field) bool { return x.ID == id }) {
			return fault("form: there is no field %q", clip(id))
		}
	}
	for _, field := range f.Fields {
		given := answers[field.ID]
		if len(given) == 0 {
			if field.Required {
				return fault("form: %s must be filled in", field.ID)
			}
			continue
		}
		if len(given) > 1 && field.Type != Seats {
			return fault("form: %s takes one answer", field.ID)
		}
		if field.Type == Seats && int64(len(given)) > field.Max {
			return fault("form: %s takes at most %d seats", field.ID, field.Max)
		}
		for i, value := range given {
			if slices.Contains(given[:i], value) {
				return fault("form: %s names %q twice", field.ID, clip(value))
			}
			if err := field.accept(value); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f Field) accept(value string) error {
	switch f.Type {
	case Line:
		if int64(len([]rune(value))) > f.Max {
			return fault("form: %s takes at most %d characters", f.ID, f.Max)
		}
		return checkText("form: "+f.ID, value)
	case Date:
		if _, err := time.Parse(time.DateOnly, value); err != nil {
			return fault("form: %s takes a date such as 2026-05-31", f.ID)
		}
		if value < f.Least || f.Most != "" && value > f.Most {
			return fault("form: %s takes a date from %s to %s", f.ID, f.Least, f.Most)
		}
	case Number:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < f.Min || n > f.Max {
			return fault("form: %s takes a whole number from %d to %d", f.ID, f.Min, f.Max)
		}
	default:
		i := slices.IndexFunc(f.Options, func(o Option) bool { return o.Value == value })
		if i < 0 {
			return fault("form: %s has no option %q", f.ID, clip(value))
		}
		if f.Options[i].Taken {
			return fault("form: %s: %q is taken", f.ID, clip(value))
		}
	}
	return nil
}

// Valid says whether the form is one; its texts must be there in the language.
func (f Form) Valid(language string) error { return f.check("form", language) }

func (f Form) check(at, language string) error {
	if len(f.Fields) < 1 || len(f.Fields) > maxFields {
		return fault("%s.fields: must be 1 to %d", at, maxFields)
	}
	seen := map[string]bool{}
	for i, field := range f.Fields {
		at := at + ".fields[" + strconv.Itoa(i) + "]"
		if err := newID(at+".id", field.ID, seen); err != nil {
			return err
		}
		if err := field.check(at, language); err != nil {
			return err
		}
	}
	return nil
}

func (f Field) check(at, language string) error {
	if err := f.Label.check(at+".label", language, true); err != nil {
		return err
	}
	optional := f.Type == Choice || f.Type == Seats || f.Type == Table
	switch {
	case !slices.Contains([]FieldType{Line, Choice, Seats, Table, Date, Number}, f.Type):
		return fault("%s.type: there is no field type %q", at, clip(string(f.Type)))
	case optional && (len(f.Options) < 1 || len(f.Options) > maxOptions):
		return fault("%s.options: must be 1 to %d", at, maxOptions)
	case !optional && len(f.Options) > 0:
		return fault("%s: %s has no options", at, f.Type)
	case f.Type == Line && (f.Max < 1 || f.Max > maxText):
		return fault("%s.max: must be 1 to %d characters", at, maxText)
	case f.Type == Seats && (f.Max < 1 || f.Max > int64(len(f.Options))):
		return fault("%s.max: must be 1 to the number of options", at)
	case f.Type == Number && f.Min > f.Max:
		return fault("%s: min is above max", at)
	case f.Type != Number && f.Min != 0, (f.Type == Choice || f.Type == Table || f.Type == Date) && f.Max != 0:
		return fault("%s: %s has no such min or max", at, f.Type)
	case f.Type != Date && (f.Least != "" || f.Most != ""):
		return fault("%s: %s has no least and most", at, f.Type)
	}
	for _, day := range []string{f.Least, f.Most} {
		if _, err := time.Parse(time.DateOnly, day); day != "" && err != nil {
			return fault("%s: least and most are dates such as 2026-05-31", at)
		}
	}
	if f.Most != "" && f.Least > f.Most {
		return fault("%s: least is after most", at)
	}
	seen := map[string]bool{}
	for i, o := range f.Options {
		at := at + ".options[" + strconv.Itoa(i) + "]"
		if o.Value == "" || len(o.Value) > maxID || seen[o.Value] {
			return fault("%s.value: must be 1 to %d characters, each value once", at, maxID)
		}
		seen[o.Value] = true
		if err := checkText(at+".value", o.Value); err != nil {
			return err
		}
		if err := o.Label.check(at+".label", language, true); err != nil {
			return err
		}
		if o.Exact != nil {
			if err := o.Exact.check(at + ".exact"); err != nil {
				return err
			}
		}
	}
	return nil
}
