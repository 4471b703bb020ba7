package server_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/wire"
)

// anybody marks the operations that need no credentials.
var anybody = []string{"nobody", "device", "element", "provider", "operator", "revoked device", "revoked key"}

// operations are all operations of the API: who may call each, and what a harmless
// request gets then. A new operation belongs here.
var operations = map[string]struct {
	who    []string
	query  string
	body   string
	status int
}{
	"begin-enrolment":   {anybody, "", `{"number":"NUMBER","key":KEY}`, 202},
	"confirm-enrolment": {anybody, "", `{"code":"123456","assertion":"a.b.c"}`, 410},
	"bind-device":       {[]string{"operator"}, "", `{"number":"NUMBER","key":KEY,"proof":"sim"}`, 201}, // elements need a scope: TestScopes
	"challenge":         {anybody, "", "", 200},
	"token":             {anybody, "", `{"nonce":"n","assertion":"a.b.c"}`, 401},

	"get-device":    {[]string{"device"}, "", "", 200},
	"change-device": {[]string{"device"}, "", `{"name":"new"}`, 200},
	"remove-device": {[]string{"device"}, "", "", 204},
	"softphone":     {[]string{"device"}, "", "", 200},

	"report":            {[]string{"device", "element", "provider", "operator"}, "", `{"own":"tel:NUMBER","other":"tel:+442079460009","direction":"outgoing","state":"active"}`, 200},
	"list-calls":        {[]string{"device"}, "", "", 200},
	"answer-invitation": {[]string{"device"}, "", `{"invitation":"none","accept":true}`, 404},
	"confirm-words":     {[]string{"device"}, "", `{"invitation":"none","words":"two words"}`, 404},

	"offer-coupling":      {[]string{"device", "operator"}, "", `{"number":"NUMBER"}`, 201},
	"request-coupling":    {anybody, "", `{"key":KEY}`, 201},
	"claim-coupling":      {anybody, "", `{"assertion":"a.b.c"}`, 410},
	"look-coupling":       {[]string{"device", "operator"}, "", `{"code":"123456789"}`, 403},
	"accept-coupling":     {[]string{"device", "element", "provider", "operator"}, "", `{"code":"123456789","number":"NUMBER"}`, 403},
	"list-couplings":      {[]string{"device", "operator"}, "?number=%2B442079460995", "", 200},
	"end-coupling":        {[]string{"device", "operator"}, "?number=%2B442079460995", "", 404},
	"near-coupling":       {[]string{"device"}, "", `{}`, 404},
	"here":                {anybody, "", `{"nonce":"n","assertion":"a.b.c"}`, 401},
	"list-party-devices":  {[]string{"device"}, "", "", 200},
	"ask-session":         {[]string{"device"}, "", `{"other":"tel:+442079460009"}`, 200},
	"join-session":        {[]string{"device"}, "", "", 404},
	"choose-party-device": {[]string{"device"}, "", `{"session":"told"}`, 404},

	"get-profile":         {[]string{"device"}, "", ``, 200},
	"change-profile":      {[]string{"device"}, "", `{"set":[{"id":"fn","name":"fn","value":"x"}]}`, 200},
	"remove-profile":      {[]string{"device"}, "", ``, 204},
	"read-profile-source": {[]string{"device"}, "", ``, 400},
	"prove-email":         {[]string{"device"}, "", `{"address":"x@example.com"}`, 200},
	"confirm-email":       {[]string{"device"}, "", `{"address":"y@example.com","code":"000000"}`, 410},
	"withdraw-email":      {[]string{"device"}, "?address=y@example.com", "", 404},
	"preview-profile":     {[]string{"device"}, "", ``, 200},
	"set-profile-picture": {[]string{"device"}, "", `nothing`, 415},
	"get-picture":         {[]string{"device"}, "", ``, 404},
	"take-card":           {[]string{"device"}, "", `nothing`, 415},
	"get-card":            {[]string{"device"}, "", ``, 200},
	"get-ledger":          {[]string{"device"}, "", ``, 200},
	"withdraw-profile":    {[]string{"device"}, "", ``, 404},
	"send-profile":        {[]string{"device"}, "", `{}`, 404},
	"hold-profile":        {[]string{"device"}, "", `{"owner":"who_x","have":[]}`, 404},
	"list-contacts":       {[]string{"device"}, "", ``, 200},
	"keep-contact":        {[]string{"device"}, "", `{"owner":"who_x"}`, 404},
	"import-contacts":     {[]string{"device"}, "", `nothing`, 415},
	"get-contact-cards":   {[]string{"device"}, "", ``, 200},
	"remove-contact":      {[]string{"device"}, "", ``, 404},
	"list-contact-rules":  {[]string{"device"}, "", ``, 200},
	"list-blocks":         {[]string{"device"}, "", ``, 200},
	"block":               {[]string{"device"}, "", `{"identity":"tel:+442079460990"}`, 204},
	"unblock":             {[]string{"device"}, "?identity=tel:%2B442079460990", ``, 204},
	"set-contact-rule":    {[]string{"device"}, "", `{"identity":"tel:+442079460990","keep":"always"}`, 204},

	"set-place-ability": {[]string{"device"}, "", `{"provide":true,"show":"map"}`, 404},
	"check-place":       {[]string{"device"}, "", `{"to":"1"}`, 404},
	"ask-place":         {[]string{"device"}, "", `{"to":"1"}`, 404},
	"answer-place":      {[]string{"device"}, "", `{"request":"ask_x","consent":"once"}`, 404},
	"share-place":       {[]string{"device"}, "", `{"uri":"geo:1,1"}`, 404},
	"stop-place":        {[]string{"device"}, "", ``, 404},

	"get-place-rules":      {[]string{"device"}, "", ``, 200},
	"set-place-rules":      {[]string{"device"}, "", `{"rules":[{"group":"emergency","consent":"call"}],"never":[]}`, 200},
	"get-place-rules-here": {[]string{"device"}, "", ``, 404},
	"get-network-place":    {[]string{"device"}, "", ``, 404},
	"get-place-picture":    {anybody, "", ``, 404},
	// A provider's key needs the scope agents: TestSpec/I1.
	"list-agents":               {[]string{"operator"}, "", "", 200},
	"set-agent":                 {[]string{"operator"}, "", `{"name":"Anna","number":"12"}`, 400}, // so that there is none: TestSpec/I1 adds some
	"remove-agent":              {[]string{"operator"}, "", "", 404},
	"invite-agent":              {[]string{"operator"}, "", `{}`, 404},
	"revoke-sign-ins":           {[]string{"operator"}, "", "", 404},
	"get-agent-settings":        {[]string{"operator"}, "", "", 200},
	"set-agent-settings":        {[]string{"operator"}, "", `{"reasons":["lunch"],"wrap_up_codes":[{"code":"x","text":"X"}],"retention_days":7}`, 200},
	"agent-sign-in":             {anybody, "", `{"code":"tag_x_y","key":KEY,"assertion":"a.b.c"}`, 410},
	"get-agent":                 {[]string{"device"}, "", "", 403}, // but for an agent's own: TestSpec/I1
	"agent-sign-out":            {[]string{"device"}, "", "", 403},
	"set-agent-state":           {[]string{"device"}, "", `{"state":"away"}`, 403},
	"get-own-agent-settings":    {[]string{"device"}, "", "", 403},
	"list-colleagues":           {[]string{"device"}, "", "", 403},
	"list-conversations":        {[]string{"device"}, "", "", 403},
	"get-conversation":          {[]string{"device"}, "", "", 403},
	"add-note":                  {[]string{"device"}, "", `{"id":"1","text":"x"}`, 403},
	"wrap-up":                   {[]string{"device"}, "", `{"code":"solved"}`, 403},
	"transfer":                  {[]string{"device"}, "", `{"to":"ben"}`, 403},
	"look":                      {[]string{"device"}, "", "", 403},
	"looked-into":               {[]string{"device"}, "", "", 403},
	"end-look":                  {[]string{"device"}, "", "", 403},
	"list-overlays":             {[]string{"provider", "operator"}, "", ``, 200},
	"get-overlay":               {[]string{"provider", "operator"}, "", ``, 404},
	"set-overlay-draft":         {[]string{"provider", "operator"}, "", `{"title":{"en":"x"},"numbers":["+442079460996"],"document":{"version":1,"id":"x","language":"en","regions":[{"id":"a","grid":{"column":0,"row":0},"text":{"en":"x"}}]}}`, 200},
	"publish-overlay":           {[]string{"provider", "operator"}, "", ``, 404},
	"roll-back-overlay":         {[]string{"provider", "operator"}, "", `{"version":1}`, 404},
	"remove-overlay":            {[]string{"provider", "operator"}, "", ``, 404},
	"list-overlay-templates":    {[]string{"device", "provider", "operator"}, "", ``, 404},
	"preview-overlay":           {[]string{"device", "provider", "operator"}, "", `{"template":"x"}`, 404},
	"send-overlay":              {[]string{"device", "provider", "operator"}, "", `{"id":"1","template":"x"}`, 404},
	"overlay-shown":             {[]string{"device"}, "", `{"state":"shown"}`, 404},
	"answer-overlay":            {[]string{"device"}, "", `{"id":"1","region":"a","action":0,"type":"choose","outcome":"done","value":"x"}`, 404},
	"get-overlay-version":       {[]string{"provider", "operator"}, "", ``, 404},
	"get-overlay-draft-picture": {[]string{"provider", "operator"}, "", ``, 404},
	"get-overlay-picture":       {[]string{"device"}, "", ``, 404},
	"list-payment-accounts":     {[]string{"provider", "operator"}, "", ``, 200},
	"get-payment-account":       {[]string{"provider", "operator"}, "", ``, 404},
	"set-payment-account":       {[]string{"provider", "operator"}, "", `{"numbers":["+442079460996"]}`, 400},
	"remove-payment-account":    {[]string{"provider", "operator"}, "", ``, 404},
	"begin-payment":             {[]string{"device"}, "", `{"region":"a","action":0}`, 404},
	"list-payments":             {[]string{"device", "provider", "operator"}, "", ``, 200},
	"cancel-payment":            {[]string{"device"}, "", ``, 404},
	"payment-noticed":           {anybody, "", `{}`, 401},

	"list-sessions": {[]string{"device"}, "", "", 200},
	"get-session":   {[]string{"device"}, "", "", 404},
	"list-messages": {[]string{"device"}, "", "", 404},
	"send":          {[]string{"device"}, "", `{"id":"1","kind":"text","body":{"text":"x"}}`, 404},

	"page":       {anybody, "", "", 200},
	"trial-code": {anybody, "", "", 403}, // but for the phones of Try it: TestTrialCode

	"extend-session": {[]string{"device"}, "", `{"seconds":60}`, 404},
	"leave-session":  {[]string{"device"}, "", `{}`, 404},

	"list-credentials":  {[]string{"operator"}, "", "", 200},
	"create-credential": {[]string{"operator"}, "", `{"role":"element","name":"x","ranges":["+44"]}`, 201},
	"revoke-credential": {[]string{"operator"}, "", "", 404},
	"link-identity":     {[]string{"operator"}, "", `{"identity":"mailto:x@example.com","party":"tel:+442079460999"}`, 204},
	"unlink-identity":   {[]string{"operator"}, "?identity=mailto:y@example.com", "", 404},
	"list-shared":       {[]string{"operator"}, "", "", 200},
	"share-identity":    {[]string{"operator"}, "", `{"identity":"tel:+442079460998"}`, 204},
	"unshare-identity":  {[]string{"operator"}, "?identity=tel:%2B442079460997", "", 204},
	"recycle-number":    {[]string{"operator"}, "", "", 204},
	"explain-call":      {[]string{"operator"}, "", `{"a":"tel:+442079460001","b":"tel:+442079460002"}`, 200},
	"close-session":     {[]string{"operator"}, "", "", 404},
	"backup":            {[]string{"operator"}, "", `{"dir":"/nowhere"}`, 403}, // but over the admin socket
	"audit":             {[]string{"operator"}, "", "", 200},
	"export-party":      {[]string{"operator"}, "", `{"party":"tel:+442079460993"}`, 200},
	"erase-party":       {[]string{"operator"}, "", `{"party":"tel:+442079460993"}`, 200},

	"rotate-secrets": {[]string{"operator"}, "", `{}`, 403}, // but over the admin socket
	"list-tenants":   {[]string{"operator"}, "", "", 403},   // but over the admin socket
	"set-tenant":     {[]string{"operator"}, "", `{}`, 403},
	"push-key":       {anybody, "", "", 200},
	"get-push":       {anybody, "", "", 404},
	"answer-push":    {anybody, "", `{"accept":true}`, 404},
	"enter-as-guest": {anybody, "", `{"link":"none","key":KEY,"assertion":"x"}`, 410},
	"link-installed": {[]string{"device"}, "", `{"link":"none"}`, 410},
	"get-reach":      {[]string{"device"}, "", "", 200},
	"set-reach":      {[]string{"device"}, "", `{"ways":["push","text"]}`, 200},
	"text-came":      {anybody, "?token=x&from=%2B442079460001", "", 401},
	"text-reported":  {anybody, "?token=x&id=x&status=1", "", 401},
	"text-posted":    {anybody, "?token=x", `{"from":"+442079460001"}`, 401},
	"report-posted":  {anybody, "?token=x&id=x", `{"status":"delivered"}`, 401},
	"join-push":      {[]string{"device"}, "", `{"report":{"state":"active"}}`, 404},
	"test-push":      {[]string{"operator"}, "", `{"number":"tel:+442079460993"}`, 200},

	"list-barred": {[]string{"operator"}, "", "", 200},
	"bar":         {[]string{"operator"}, "", `{"identity":"tel:+442079460995"}`, 204},
	"unbar":       {[]string{"operator"}, "?identity=tel:%2B442079460994", "", 404},

	"list-webhooks": {[]string{"operator"}, "", "", 200},
	// An address of documentation (RFC 5737), which nobody is asked for and nothing is sent to.
	"add-webhook":             {[]string{"operator"}, "", `{"url":"https://192.0.2.1/tandem"}`, 201},
	"remove-webhook":          {[]string{"operator"}, "", "", 404},
	"rotate-webhook":          {[]string{"operator"}, "", "", 404},
	"enable-webhook":          {[]string{"operator"}, "", "", 404},
	"test-webhook":            {[]string{"operator"}, "", "", 404},
	"list-webhook-deliveries": {[]string{"operator"}, "", "", 200},
	"replay-event":            {[]string{"operator"}, "", `{}`, 404},
}

// TestOpenAPI: the document is what a public tool takes for valid OpenAPI 3.1.
func TestOpenAPI(t *testing.T) {
	w := newWorld(t)
	doc := document(t, w)
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("version %s", doc.OpenAPI)
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if op.Summary == "" || len(op.Tags) != 1 {
				t.Errorf("%s %s explains itself badly", method, path)
			}
			for status, r := range op.Responses.Map() {
				if n, err := strconv.Atoi(status); err != nil || n >= 400 && r.Value.Content.Get("application/problem+json") == nil {
					t.Errorf("%s %s: %s is not a problem", method, path, status)
				}
			}
			if b := op.RequestBody; b != nil && (op.Responses.Value("413") == nil || op.Responses.Value("415") == nil) {
				t.Errorf("%s %s takes a body and does not say how it may be refused", method, path)
			}
		}
	}
}

func document(t *testing.T, w *world) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData([]byte(w.ask("GET", "/openapi.json", "", "").body))
	check(t, err)
	if err := doc.Validate(w.ctx, openapi3.IsOpenAPI31OrLater(), openapi3.EnableSchemaPatternValidation(), openapi3.EnableMultiError()); err != nil {
		t.Fatalf("the OpenAPI document: %v", err)
	}
	return doc
}

// TestEveryOperation: each operation answers each kind of caller as it should, with a
// status that its description names.
func TestEveryOperation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	doc := document(t, w)
	next := 0
	number := func() string { next++; return fmt.Sprintf("+44207946%04d", 2000+next) }
	fresh, err := client.NewIdentity(w.url())
	check(t, err)
	jwk := fresh.PublicKey()
	key := fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":%q,"y":%q}`, jwk.X, jwk.Y)

	revokedDevice := w.token(w.enrol(number()))
	if r := w.ask("DELETE", "/v1/device", revokedDevice, ""); r.status != http.StatusNoContent {
		t.Fatalf("%+v", r)
	}
	revokedKey := w.key("operator")
	if r := w.ask("DELETE", "/v1/operator/credentials/"+strings.Split(revokedKey, "_")[1], w.op, ""); r.status != http.StatusNoContent {
		t.Fatalf("%+v", r)
	}
	tokens := map[string]string{
		"nobody": "", "element": w.key("element", "+44"), "provider": w.key("provider", "+44"), "operator": w.op,
		"revoked device": revokedDevice, "revoked key": revokedKey,
	}
	seen := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			seen[op.OperationID] = true
			o, ok := operations[op.OperationID]
			if !ok {
				t.Errorf("%s %s (%s) is new: say in operations who may call it", method, path, op.OperationID)
				continue
			}
			if open := op.Security == nil; open != (len(o.who) == len(anybody)) {
				t.Errorf("%s: the document says that anybody may call it: %v", op.OperationID, open)
			}
			at := strings.NewReplacer("{id}", "none", "{device}", "none", "{session}", "none", "{number}", "+442079460996", "{event}", "none", "{receiver}", "none", "{picture}", "none.png", "{agent}", "none", "{name}/draft", "made/draft", "{name}", "none", "{tenant}", "none", "{account}", "none", "{payment}", "none", "{seq}", "1", "{version}", "1", "{region}", "none").Replace(path) + o.query
			for _, who := range anybody {
				own, token := number(), tokens[who]
				if who == "device" {
					token = w.token(w.enrol(own))
				}
				body := strings.NewReplacer("NUMBER", own, "KEY", key).Replace(o.body)
				r := w.ask(method, at, token, body, "X-Forwarded-For", "203.0.113."+strconv.Itoa(next%250+1))
				want, code := o.status, wire.Code("")
				if !slices.Contains(o.who, who) {
					switch who {
					case "nobody", "revoked key":
						want, code = http.StatusUnauthorized, wire.CodeUnauthenticated
					case "revoked device":
						want, code = http.StatusForbidden, wire.CodeRevoked
					default:
						want, code = http.StatusForbidden, wire.CodeForbidden
					}
				}
				if r.status != want {
					t.Errorf("%s by %s: %d %s, want %d", op.OperationID, who, r.status, r.body, want)
					continue
				}
				if r.status >= 400 {
					if p := r.problem(t); code != "" && p.Code != code {
						t.Errorf("%s by %s: %s, want %s", op.OperationID, who, r.body, code)
					}
				}
				if (r.status == http.StatusUnauthorized) != (r.header.Get("WWW-Authenticate") != "") {
					t.Errorf("%s by %s: %d with WWW-Authenticate %q", op.OperationID, who, r.status, r.header.Get("WWW-Authenticate"))
				}
				if op.Responses.Value(strconv.Itoa(r.status)) == nil {
					t.Errorf("%s by %s: %d is not in the document, which has %v", op.OperationID, who, r.status, slices.Sorted(maps.Keys(op.Responses.Map())))
				}
			}
		}
	}
	for id := range operations {
		if !seen[id] {
			t.Errorf("%s is no operation any more", id)
		}
	}
}

// TestRetryAfter: whoever asks too often is told how long to wait.
func TestRetryAfter(t *testing.T) {
	w := newWorld(t)
	fresh, err := client.NewIdentity(w.url())
	check(t, err)
	k := fresh.PublicKey()
	for range 100 {
		r := w.ask("POST", "/v1/enrolments", "", fmt.Sprintf(`{"number":%q,"key":{"kty":"EC","crv":"P-256","x":%q,"y":%q}}`, alice, k.X, k.Y))
		if r.status == http.StatusAccepted {
			<-w.codes
			continue
		}
		p := r.problem(t)
		if after, err := strconv.Atoi(r.header.Get("Retry-After")); p.Code != wire.CodeTooMany || err != nil || after < 1 || after != p.RetryAfterSeconds {
			t.Errorf("%v %s", r.header, r.body)
		}
		return
	}
	t.Error("a hundred codes to one number")
}
