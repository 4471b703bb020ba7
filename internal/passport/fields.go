package passport

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/tandem-call/tandem/tel"
)

// fields is a JSON object, member by member. encoding/json would take "ORIG" for orig and
// the last of two; here names are exact and come once.
type fields map[string]json.RawMessage

func object(b []byte) (fields, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	o := fields{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, errors.New("not JSON")
		}
		name := t.(string) // the names of members are strings, else Token fails
		if _, twice := o[name]; twice {
			return nil, fmt.Errorf("%.20q comes twice", name)
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, errors.New("not JSON")
		}
		o[name] = v
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, errors.New("not JSON")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the object")
	}
	return o, nil
}

// text reads a string; what is missing stays empty.
func (o fields) text(name string, to *string) error {
	raw, ok := o[name]
	if !ok {
		return nil
	}
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, to) != nil {
		return form("%s is not a string", name)
	}
	return nil
}

// seconds reads a time (NumericDate, RFC 7519 2) of whole seconds.
func (o fields) seconds(name string) (time.Time, error) {
	var n json.Number
	raw, ok := o[name]
	if !ok || json.Unmarshal(raw, &n) != nil || raw[0] == '"' {
		return time.Time{}, form("%s is not a time in seconds", name)
	}
	s, err := n.Int64()
	if err != nil || s <= 0 || s > math.MaxInt32*4 {
		return time.Time{}, form("%s is not a time in seconds", name)
	}
	return time.Unix(s, 0).UTC(), nil
}

// party reads {"tn":"12155551212"}.
func (o fields) party(name string) (tel.Number, error) {
	p, err := o.member(name)
	if err != nil {
		return tel.Number{}, err
	}
	var tn string
	if err := p.text("tn", &tn); err != nil {
		return tel.Number{}, err
	}
	return number(name, tn)
}

// parties reads {"tn":["12155551213", …]}; URIs, beside the numbers or instead of them, are
// passed over.
func (o fields) parties(name string) ([]tel.Number, error) {
	p, err := o.member(name)
	if err != nil {
		return nil, err
	}
	if p["tn"] == nil && p["uri"] != nil {
		return nil, nil
	}
	var list []string
	if p["tn"] == nil || json.Unmarshal(p["tn"], &list) != nil || len(list) == 0 {
		return nil, form("%s names no telephone numbers", name)
	}
	numbers := make([]tel.Number, len(list))
	for i, tn := range list {
		if numbers[i], err = number(name, tn); err != nil {
			return nil, err
		}
	}
	return numbers, nil
}

func (o fields) member(name string) (fields, error) {
	raw, ok := o[name]
	if !ok {
		return nil, form("%s is missing", name)
	}
	p, err := object(raw)
	if err != nil {
		return nil, form("%s: %s", name, err)
	}
	return p, nil
}

// number reads a tn: the digits of an E.164 number and nothing else (RFC 8224 8.3, RFC 8225 5.2.1).
func number(where, tn string) (tel.Number, error) {
	if tn == "" || len(tn) > 15 || strings.Trim(tn, "0123456789") != "" {
		return tel.Number{}, form("%s: tn is not the digits of an international number", where)
	}
	n, err := tel.ParseNumber("+"+tn, "")
	if err != nil || n.String()[1:] != tn {
		return tel.Number{}, form("%s: tn is no international number in its canonical form", where)
	}
	return n, nil
}
