package tel_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tandem-call/tandem/tel"
)

func TestValidate(t *testing.T) {
	good := tel.PartyDetails{Own: identity(t, "+442079460001"), Other: identity(t, "+442079460002"), State: tel.Active}
	if err := good.Validate(); err != nil {
		t.Fatalf("good details: %v", err)
	}
	long := strings.Repeat("9", tel.MaxDetail)
	for _, tt := range []struct {
		name   string
		change func(*tel.PartyDetails)
		faults []string // none: valid
	}{
		{"only the own party", func(d *tel.PartyDetails) { d.Other = tel.Identity{} }, nil},
		{"only the other party", func(d *tel.PartyDetails) { d.Own = tel.Identity{} }, nil},
		{"everything, as long as may be", func(d *tel.PartyDetails) {
			*d = tel.PartyDetails{d.Own, d.Other, true, true, long, long, d.Other, long, tel.Incoming, tel.Held, tel.Ref{long, long, long}}
		}, nil},
		{"nobody", func(d *tel.PartyDetails) { d.Own, d.Other = tel.Identity{}, tel.Identity{} }, []string{"names a party"}},
		{"no state", func(d *tel.PartyDetails) { d.State = "" }, []string{"state is missing"}},
		{"unknown state", func(d *tel.PartyDetails) { d.State = "Active" }, []string{"state is none of"}},
		{"unknown direction", func(d *tel.PartyDetails) { d.Direction = "up" }, []string{"direction is neither"}},
		{"dialled without a direction", func(d *tel.PartyDetails) { d.Dialled = d.Other }, []string{"only with a direction"}},
		{"long extension", func(d *tel.PartyDetails) { d.Extension = long + "9" }, []string{"extension is longer than 128"}},
		{"long other extension", func(d *tel.PartyDetails) { d.OtherExtension = long + "9" }, []string{"other_extension is longer"}},
		{"long conference id", func(d *tel.PartyDetails) { d.ConferenceID = long + "9" }, []string{"conference_id is longer"}},
		{"long references", func(d *tel.PartyDetails) { d.Ref = tel.Ref{long + "9", long + "9", long + "9"} },
			[]string{"ref.session_id is longer", "ref.call_id is longer", "ref.local is longer"}},
		{"line end in a reference", func(d *tel.PartyDetails) { d.Ref.CallID = "a\nb" }, []string{"ref.call_id holds"}},
		{"bytes that are no text", func(d *tel.PartyDetails) { d.Extension = "\xff" }, []string{"extension holds"}},
		{"several faults at once", func(d *tel.PartyDetails) { *d = tel.PartyDetails{Direction: "\x00"} },
			[]string{"state is missing", "direction is neither", "names a party"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := good
			tt.change(&d)
			err := d.Validate()
			if len(tt.faults) == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, tel.ErrDetails) {
				t.Fatalf("Validate() = %v, want ErrDetails", err)
			}
			for _, f := range tt.faults {
				if !strings.Contains(err.Error(), f) {
					t.Errorf("%q does not say %q", err, f)
				}
			}
		})
	}
}

// A device leaves its own identity out; with a withheld number nobody is named then.
func TestValidateFieldsLetsNobodyBeNamed(t *testing.T) {
	if err := (tel.PartyDetails{State: tel.Ringing}).ValidateFields(); err != nil {
		t.Error(err)
	}
	if err := (tel.PartyDetails{}).ValidateFields(); !errors.Is(err, tel.ErrDetails) {
		t.Errorf("no state: %v", err)
	}
}
