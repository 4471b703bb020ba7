package publish

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/invopop/jsonschema"

	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// renamed are the types that would hide a name of every browser, or say too little
// outside package wire.
var renamed = map[reflect.Type]string{
	reflect.TypeFor[wire.File]():   "FileOffer",
	reflect.TypeFor[wire.Link]():   "LinkOffer",
	reflect.TypeFor[wire.Text]():   "TextMessage",
	reflect.TypeFor[wire.Notice](): "NoticeBody",
	reflect.TypeFor[wire.App]():    "PushApp",
	reflect.TypeFor[wire.Code]():   "ProblemCode",
	reflect.TypeFor[tel.Number]():  "PhoneNumber",

	reflect.TypeFor[overlay.Region]():     "OverlayRegion",
	reflect.TypeFor[overlay.Grid]():       "OverlayGrid",
	reflect.TypeFor[overlay.Exact]():      "OverlayExact",
	reflect.TypeFor[overlay.Picture]():    "OverlayPicture",
	reflect.TypeFor[overlay.State]():      "OverlayState",
	reflect.TypeFor[overlay.Display]():    "OverlayDisplay",
	reflect.TypeFor[overlay.Action]():     "OverlayAction",
	reflect.TypeFor[overlay.ActionType](): "OverlayActionType",
	reflect.TypeFor[overlay.Amount]():     "OverlayAmount",
	reflect.TypeFor[overlay.Form]():       "OverlayForm",
	reflect.TypeFor[overlay.Field]():      "OverlayField",
	reflect.TypeFor[overlay.FieldType]():  "OverlayFieldType",
	reflect.TypeFor[overlay.Option]():     "OverlayOption",
	reflect.TypeFor[overlay.Outcome]():    "OverlayOutcome",
	reflect.TypeFor[overlay.Answer]():     "OverlayActionAnswer",
}

// explained are the types whose Go comment speaks of Go.
var explained = map[reflect.Type]string{
	reflect.TypeFor[wire.Envelope](): "One frame, whatever its type. DeviceFrame and ServerFrame say which fields each type has.",
	reflect.TypeFor[wire.Code]():     "Names an error condition; see catalogue.",
	reflect.TypeFor[tel.Identity]():  `Names a party: a tel:, sip:, mailto:, user:, acct: or id: URI. The server writes the canonical form, so that two that are equal name the same; it reads a number as people write it, too.`,
	reflect.TypeFor[tel.Number]():    "A telephone number in E.164 form: +442079460001.",
}

// choices are the types that are one of a few strings.
var choices = map[reflect.Type][]string{
	reflect.TypeFor[wire.Phase]():         {string(wire.InCall), string(wire.AfterCall), string(wire.Closed)},
	reflect.TypeFor[wire.CouplingKind]():  {string(wire.Permanent), string(wire.Temporary), string(wire.ForCall)},
	reflect.TypeFor[wire.SessionChoice](): {string(wire.ChoiceJoin), string(wire.ChoiceTold), string(wire.ChoiceNone)},
	reflect.TypeFor[wire.PlaceShow]():     {string(wire.ShowMap), string(wire.ShowPicture), string(wire.ShowLink), string(wire.ShowNone)},
	reflect.TypeFor[wire.Consent]():       {string(wire.ConsentOnce), string(wire.ConsentCall), string(wire.ConsentLive), string(wire.ConsentNo), string(wire.ConsentNever)},
	reflect.TypeFor[wire.PlaceGroup]():    {string(wire.GroupEmergency), string(wire.GroupProviders), string(wire.GroupContacts)},
	reflect.TypeFor[wire.SendRule]():      {string(wire.SendAlways), string(wire.SendOnce), string(wire.SendNever)},
	reflect.TypeFor[wire.KeepRule]():      {string(wire.KeepAsk), string(wire.KeepOnce), string(wire.KeepAlways), string(wire.KeepNever)},
	reflect.TypeFor[overlay.State]():      {string(overlay.Enabled), string(overlay.Disabled), string(overlay.Selected)},
	reflect.TypeFor[overlay.Display]():    {string(overlay.Steady), string(overlay.Flash), string(overlay.Wobble)},
	reflect.TypeFor[overlay.ActionType](): overlay.ActionTypes(),
	reflect.TypeFor[wire.PaymentState]():  {string(wire.PaymentOpen), string(wire.PaymentProcessing), string(wire.PaymentPaid), string(wire.PaymentFailed), string(wire.PaymentCancelled)},
	reflect.TypeFor[overlay.FieldType]():  {string(overlay.Line), string(overlay.Choice), string(overlay.Seats), string(overlay.Table), string(overlay.Date), string(overlay.Number)},
	reflect.TypeFor[overlay.Outcome]():    {string(overlay.Done), string(overlay.Failed), string(overlay.Cancelled)},
	reflect.TypeFor[tel.State]():          {string(tel.Ringing), string(tel.Active), string(tel.Held), string(tel.Ended)},
	reflect.TypeFor[tel.Direction]():      {string(tel.Outgoing), string(tel.Incoming)},
}

// bodiesOfHTTP are the bodies of the HTTP API that devices use.
var bodiesOfHTTP = []any{
	wire.EnrolRequest{}, wire.Enrolment{}, wire.EnrolConfirm{}, wire.DeviceInfo{}, wire.DeviceChange{}, wire.Softphone{},
	wire.CouplingOfferRequest{}, wire.CouplingOffer{}, wire.CouplingRequest{}, wire.CouplingPending{}, wire.CouplingClaim{}, wire.CouplingLook{},
	wire.CouplingSeen{}, wire.CouplingAccept{}, wire.CouplingNear{}, wire.CouplingList{}, wire.PartyMemberList{}, wire.PartyMemberChange{},
	wire.Payment{}, wire.PaymentList{}, wire.PaymentRequest{},
	wire.Profile{}, wire.ProfileChange{}, wire.ProfileChanged{}, wire.ProfileView{}, wire.ProfileSend{}, wire.ProfileSent{}, wire.ProfileHeld{},
	wire.StoredOverlay{}, wire.StoredOverlayList{}, wire.OverlayRollback{},
	wire.Agent{}, wire.AgentList{}, wire.AgentSignIn{}, wire.AgentSignedIn{}, wire.AgentStateRequest{}, wire.AgentSettings{}, wire.AgentConversation{}, wire.ConversationList{}, wire.NoteRequest{}, wire.WrapUpRequest{}, wire.TransferRequest{}, wire.LookedInto{},
	wire.PlaceAbility{}, wire.PlaceCheckRequest{}, wire.PlaceAskRequest{}, wire.PlaceAskedFor{}, wire.PlaceAnswer{}, wire.PlaceShare{}, wire.PlaceShared{}, wire.PlaceRules{}, wire.PlaceRulesHere{},
	wire.ProfileMissing{}, wire.ProfileLedger{}, wire.Contact{}, wire.ContactList{}, wire.ContactKeep{}, wire.ContactRule{}, wire.ContactRuleList{}, wire.BlockList{},
	overlay.Overlay{}, wire.OverlayFill{}, wire.OverlayFilled{}, wire.OverlaySend{}, wire.OverlaySent{}, wire.OverlayShow{}, wire.OverlayAnswer{}, wire.OverlayTemplateList{},
	wire.Page{}, wire.TryPhone{}, wire.TrialCode{},
	wire.TokenRequest{}, wire.Token{}, wire.CallList{}, wire.SessionList{}, wire.MessageList{},
	wire.SendRequest{}, wire.Sent{},
	wire.Push{}, wire.PushAnswer{}, wire.PushJoin{}, wire.PushKey{}, wire.Reach{}, wire.GuestRequest{}, wire.LinkInstalled{},
}

// typescript returns web/sdk/src/wire.ts: the types, and the tables that an SDK needs.
func typescript(g *generator) []byte {
	s := &script{g: g, done: map[reflect.Type]bool{}}
	s.p("// Made by `go generate ./wire` from the Go types. Change those.\n\n")
	s.p("/** A time as in RFC 3339: \"2026-11-23T10:00:00Z\". */\nexport type Time = string;\n\n")
	s.named(reflect.TypeFor[wire.Envelope]())
	s.frames()
	s.kinds()
	for _, v := range bodiesOfHTTP {
		s.named(reflect.TypeOf(v))
	}
	for len(s.todo) > 0 {
		t := s.todo[0]
		s.todo = s.todo[1:]
		s.declare(t)
	}
	s.problems()
	s.closeCodes()
	s.limits()
	s.schemas()
	return s.b.Bytes()
}

// script is a TypeScript file that is being written.
type script struct {
	g    *generator
	b    bytes.Buffer
	done map[reflect.Type]bool // declared, or in todo
	todo []reflect.Type
}

func (s *script) p(format string, args ...any) { fmt.Fprintf(&s.b, format, args...) }

// doc writes a comment, if there is one.
func (s *script) doc(indent, text string) {
	if text != "" {
		s.p("%s/** %s */\n", indent, strings.ReplaceAll(text, "*/", "* /"))
	}
}

// name is a Go type's name in TypeScript.
func name(t reflect.Type) string {
	if n, ok := renamed[t]; ok {
		return n
	}
	return t.Name()
}

// about is the comment of a type.
func (s *script) about(t reflect.Type) string {
	if text, ok := explained[t]; ok {
		return text
	}
	return s.g.comment(t, "")
}

// named returns the name of a type that is declared in this file, sooner or later.
func (s *script) named(t reflect.Type) string {
	if !s.done[t] {
		s.done[t] = true
		s.todo = append(s.todo, t)
	}
	return name(t)
}

// typ returns how a Go type is written.
func (s *script) typ(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "Time"
	case t == reflect.TypeFor[json.RawMessage]():
		return "unknown"
	case t == reflect.TypeFor[wire.Type]():
		return "string" // a newer server may send others
	case t == reflect.TypeFor[wire.Code]():
		return "ProblemCode"
	case t.Kind() == reflect.Pointer:
		return s.typ(t.Elem())
	case t.Kind() == reflect.Slice:
		return s.typ(t.Elem()) + "[]"
	case t.Kind() == reflect.Map:
		return "Record<" + s.typ(t.Key()) + ", " + s.typ(t.Elem()) + ">"
	case t.PkgPath() != "":
		return s.named(t)
	}
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64, reflect.Uint64, reflect.Float64:
		return "number"
	}
	panic("publish: no TypeScript for " + t.String())
}

// declare writes a named type.
func (s *script) declare(t reflect.Type) {
	s.doc("", s.about(t))
	switch {
	case choices[t] != nil:
		s.p("export type %s = %s;\n\n", name(t), union(choices[t]))
		return
	case t.Kind() != reflect.Struct || t == reflect.TypeFor[tel.Identity]() || t == reflect.TypeFor[tel.Number]():
		s.p("export type %s = string;\n\n", name(t))
		return
	}
	extends := ""
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous {
			extends = " extends " + s.typ(f.Type)
		}
	}
	s.p("export interface %s%s {\n", name(t), extends)
	for i := range t.NumField() {
		f := t.Field(i)
		key, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || key == "" || key == "-" {
			continue
		}
		text := s.g.comment(t, f.Name)
		if text == "" {
			text = f.Tag.Get("doc")
		}
		s.doc("  ", text)
		optional := ""
		if strings.Contains(opts, "omitempty") || strings.Contains(opts, "omitzero") {
			optional = "?"
		}
		s.p("  %s%s: %s;\n", key, optional, s.typ(f.Type))
	}
	s.p("}\n\n")
}

func union(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = fmt.Sprintf("%q", v)
	}
	return strings.Join(quoted, " | ")
}

// frameName is the name of a type of envelope: AckFrame.
func frameName(t wire.Type) string {
	r := []rune(string(t))
	r[0] = unicode.ToUpper(r[0])
	return string(r) + "Frame"
}

// frames writes one interface for each type of envelope, and the unions of both sides.
func (s *script) frames() {
	sent := map[wire.Sender][]string{}
	for _, t := range wire.Types {
		for _, side := range []wire.Sender{wire.FromDevice, wire.FromServer} {
			if t.Sender == side || t.Sender == wire.FromBoth {
				sent[side] = append(sent[side], frameName(t.Type))
			}
		}
		s.doc("", t.Summary)
		s.p("export interface %s {\n  type: %q;\n", frameName(t.Type), t.Type)
		envelope := reflect.TypeFor[wire.Envelope]()
		for _, list := range [][]string{t.Required, t.Optional} {
			for _, field := range list {
				optional := ""
				if slices.Contains(t.Optional, field) {
					optional = "?"
				}
				f, _ := envelope.FieldByNameFunc(func(n string) bool {
					f, _ := envelope.FieldByName(n)
					key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
					return key == field
				})
				typ := s.typ(f.Type)
				if field == "body" && t.Body != nil {
					typ = s.typ(reflect.TypeOf(t.Body))
				}
				s.p("  %s%s: %s;\n", field, optional, typ)
			}
		}
		s.p("}\n\n")
	}
	s.p("/** What a device sends. */\nexport type DeviceFrame =\n  | %s;\n\n", strings.Join(sent[wire.FromDevice], "\n  | "))
	s.p("/** What the server sends. A newer server may send further types. */\nexport type ServerFrame =\n  | %s;\n\n", strings.Join(sent[wire.FromServer], "\n  | "))
}

// kinds writes the bodies of the kinds that have a meaning.
func (s *script) kinds() {
	s.p("/** The bodies of the kinds of message that Tandem itself gives a meaning. */\nexport interface KindBodies {\n")
	for _, k := range wire.Kinds {
		s.doc("  ", k.Summary)
		s.p("  %q: %s;\n", k.Kind, s.typ(reflect.TypeOf(k.Body)))
	}
	s.p("}\n\n")
}

func (s *script) problems() {
	var codes []string
	for _, c := range sortedCodes() {
		codes = append(codes, string(c))
	}
	s.doc("", s.about(reflect.TypeFor[wire.Code]()))
	s.p("export type ProblemCode =\n")
	for _, c := range codes {
		s.p("  | %q\n", c)
	}
	s.p("  | (string & {}); // or one that a newer server knows\n\n")
	s.p("/** What the catalogue says of a code. */\nexport interface Known {\n  status: number;\n  title: string;\n")
	s.p("  /** What a client or its user should do. */\n  advice: string;\n  /** The same request may succeed later. */\n  retry: boolean;\n}\n\n")
	s.p("/** The one table of problems, by code. */\nexport const catalogue: Readonly<Record<string, Known>> = {\n")
	for _, c := range sortedCodes() {
		k := wire.Catalogue[c]
		s.p("  %q: { status: %d, title: %s, advice: %s, retry: %v },\n", c, k.Status, literal(k.Title), literal(k.Advice), k.Retry)
	}
	s.p("};\n\n")
}

func (s *script) closeCodes() {
	s.p("/** What the protocol says of one close code. */\nexport interface CloseInfo {\n  name: string;\n  meaning: string;\n")
	s.p("  /** Whether a client should come back by itself: not, at once, or after a pause. */\n  reconnect: \"no\" | \"at once\" | \"after a pause\";\n}\n\n")
	s.p("/** The codes with which the server closes a connection (RFC 6455 7.4). */\nexport const closeCodes: Readonly<Record<number, CloseInfo>> = {\n")
	for _, c := range wire.CloseCodes {
		again, pause := c.Code.Reconnect()
		advice := "no"
		if again && pause {
			advice = "after a pause"
		} else if again {
			advice = "at once"
		}
		s.p("  %d: { name: %s, meaning: %s, reconnect: %q },\n", c.Code, literal(c.Name), literal(c.Meaning), advice)
	}
	s.p("};\n\n")
}

func (s *script) limits() {
	s.p("/** The limits in force unless the operator configures others. */\nexport const defaultLimits: Limits = %s;\n\n", literal(wire.DefaultLimits))
	s.p("/** How deep the arrays and objects of a body may be nested. */\nexport const maxDepth = %d;\n", wire.MaxDepth)
	s.p("/** After how many days the proof of a number or address is shown as old. */\nexport const proofStaleDays = %d;\n", wire.ProofStaleDays)
	s.p("/** The most members that one message may name. */\nexport const maxTo = %d;\n", wire.MaxTo)
	s.p("/** The longest identifier, in characters. */\nexport const maxID = %d;\n\n", wire.MaxID)
}

// schemas writes what the published schemas demand of a device's frames, short enough for
// a client to hold its own frames to.
func (s *script) schemas() {
	s.p("/** The part of JSON Schema that the schemas of a device's frames use. */\nexport interface Schema {\n")
	s.p("  type?: \"object\" | \"array\" | \"string\" | \"integer\" | \"number\" | \"boolean\";\n  properties?: Readonly<Record<string, Schema>>;\n")
	s.p("  required?: readonly string[];\n  items?: Schema;\n  enum?: readonly string[];\n  pattern?: string;\n  format?: \"date-time\";\n  minLength?: number;\n  maxLength?: number;\n")
	s.p("  minItems?: number;\n  maxItems?: number;\n  minimum?: number;\n  maximum?: number;\n}\n\n")
	envelope := s.g.reflect(wire.Envelope{}, true)
	s.g.limitEnvelope(envelope)
	fields := s.short(envelope).(object)["properties"].(object)
	s.p("/** The fields of an envelope. */\nexport const envelopeFields: Readonly<Record<string, Schema>> = {\n")
	for p := envelope.Properties.Oldest(); p != nil; p = p.Next() {
		s.p("  %s: %s,\n", p.Key, literal(fields[p.Key]))
	}
	s.p("};\n\n/** Which fields each type of a device's frames has, and what its body is. */\n")
	s.p("export const deviceFrames: Readonly<Record<DeviceFrame[\"type\"], { required: readonly string[]; optional: readonly string[]; body?: Schema }>> = {\n")
	for _, t := range wire.Types {
		if t.Sender == wire.FromServer {
			continue
		}
		s.p("  %s: { required: %s, optional: %s", t.Type, list1(t.Required), list1(t.Optional))
		if t.Body != nil {
			s.p(", body: %s", literal(s.short(s.g.reflect(t.Body, true))))
		}
		s.p(" },\n")
	}
	s.p("};\n")
}

func list1(l []string) string {
	if l == nil {
		l = []string{}
	}
	return literal(l)
}

// short returns a schema in one piece and without what is for people.
func (s *script) short(schema *jsonschema.Schema) any {
	b, err := json.Marshal(schema)
	if err != nil {
		panic(err) // it came from a Go type
	}
	var doc object
	if err := json.Unmarshal(b, &doc); err != nil {
		panic(err)
	}
	defs, _ := doc["$defs"].(object)
	var walk func(v any, names bool) any
	walk = func(v any, names bool) any {
		switch v := v.(type) {
		case object:
			if ref, ok := v["$ref"].(string); ok && !names {
				return walk(defs[strings.TrimPrefix(ref, "#/$defs/")], false)
			}
			out := object{}
			for key, e := range v {
				switch key {
				case "description", "title", "$schema", "$defs", "$id", "additionalProperties":
					if !names {
						continue
					}
				}
				out[key] = walk(e, key == "properties" && !names)
			}
			return out
		case []any:
			for i := range v {
				v[i] = walk(v[i], false)
			}
		}
		return v
	}
	return walk(doc, false)
}

// literal is v as JSON, which is TypeScript.
func literal(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // made of strings and numbers
	}
	return strings.TrimSpace(b.String())
}
