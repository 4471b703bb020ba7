package sip

import (
	"encoding/xml"
	"fmt"
	"strings"

	"github.com/tandem-call/tandem/tel"
)

// dialogInfo is a document of application/dialog-info+xml (RFC 4235 4.1), as far as it is read.
type dialogInfo struct {
	XMLName xml.Name        `xml:"dialog-info"`
	Version uint32          `xml:"version,attr"`
	State   string          `xml:"state,attr"` // full or partial
	Entity  string          `xml:"entity,attr"`
	Dialogs []watchedDialog `xml:"dialog"`
}

type watchedDialog struct {
	ID        string       `xml:"id,attr"`
	CallID    string       `xml:"call-id,attr"`
	Direction string       `xml:"direction,attr"` // initiator or recipient
	State     string       `xml:"state"`
	Local     watchedParty `xml:"local"`
	Remote    watchedParty `xml:"remote"`
}

type watchedParty struct {
	Identity struct {
		URI string `xml:",chardata"`
	} `xml:"identity"`
	Target struct {
		URI    string `xml:"uri,attr"`
		Params []struct {
			Name  string `xml:"pname,attr"`
			Value string `xml:"pval,attr"`
		} `xml:"param"`
	} `xml:"target"`
}

// parseDialogInfo reads a document.
func parseDialogInfo(b []byte) (d dialogInfo, err error) {
	if err = xml.Unmarshal(b, &d); err != nil {
		return d, fmt.Errorf("sip: dialog-info: %w", err)
	}
	return d, nil
}

// leg is the state of the leg that a dialog is; "" if it says nothing of one.
func (d watchedDialog) leg() tel.State {
	switch strings.TrimSpace(d.State) {
	case "trying", "proceeding", "early":
		return tel.Ringing
	case "confirmed":
		for _, p := range d.Local.Target.Params { // RFC 4235 4.1.6: who does not render holds
			if strings.EqualFold(p.Name, "+sip.rendering") && strings.EqualFold(p.Value, "no") {
				return tel.Held
			}
		}
		return tel.Active
	case "terminated":
		return tel.Ended
	}
	return ""
}

func (d watchedDialog) direction() tel.Direction {
	switch d.Direction {
	case "initiator":
		return tel.Outgoing
	case "recipient":
		return tel.Incoming
	}
	return ""
}
