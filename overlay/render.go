package overlay

import (
	"fmt"
	"strings"
)

// Softkey is one entry of a menu on a telephone without touch.
type Softkey struct {
	Region string // its id
	Label  string
}

// Name is what a region is called: its text, else what its picture shows.
func (r Region) Name(language, fallback string) string {
	if text := r.Text.In(language, fallback); text != "" {
		return text
	}
	if r.Picture != nil {
		return r.Picture.Alt.In(language, fallback)
	}
	return ""
}

// Softkeys returns the regions that can be pressed, in reading order.
func (o Overlay) Softkeys(language string) (menu []Softkey) {
	for _, r := range o.Regions {
		if len(r.Actions) > 0 && r.State != Disabled {
			label := strings.Join(strings.Fields(r.Name(language, o.Language)), " ")
			menu = append(menu, Softkey{r.ID, label})
		}
	}
	return menu
}

// Text returns the whole overlay as lines of text. What can be pressed has the number of its
// soft key.
func (o Overlay) Text(language string) string {
	var b strings.Builder
	key := 0
	for _, r := range o.Regions {
		name := r.Name(language, o.Language)
		if len(r.Actions) > 0 && r.State != Disabled {
			key++
			name = fmt.Sprintf("%d. %s", key, name)
		}
		if r.State == Selected {
			name += " *"
		}
		b.WriteString(name + "\n")
	}
	return b.String()
}
