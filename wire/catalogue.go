package wire

// The codes of problems.
const (
	CodeBadFrame         Code = "bad-frame"
	CodeBadRequest       Code = "bad-request"
	CodeBadNumber        Code = "bad-number"
	CodeBadIdentity      Code = "bad-identity"
	CodeUnauthenticated  Code = "unauthenticated"
	CodeForbidden        Code = "forbidden"
	CodeNotFound         Code = "not-found"
	CodeNotMember        Code = "not-a-member"
	CodeSessionClosed    Code = "session-closed"
	CodeNotYourParty     Code = "not-your-party"
	CodeWrongCode        Code = "wrong-code"
	CodeCodeExpired      Code = "code-expired"
	CodeBindingExpired   Code = "binding-expired"
	CodeRevoked          Code = "revoked"
	CodeWrongWords       Code = "wrong-words"
	CodePassport         Code = "bad-passport"
	CodeCouplingPending  Code = "coupling-pending"
	CodeSecondHand       Code = "second-hand"
	CodeConflict         Code = "conflict"
	CodeTooLarge         Code = "too-large"
	CodeUnsupportedType  Code = "unsupported-type"
	CodeTooMany          Code = "too-many-requests"
	CodeSessionFull      Code = "session-full"
	CodeLogFull          Code = "log-full"
	CodeStorageFull      Code = "storage-full"
	CodeUncertain        Code = "outcome-unknown"
	CodeDraining         Code = "draining"
	CodeSenderFailed     Code = "code-not-sent"
	CodePaymentServer    Code = "payment-server"
	CodeMethodNotAllowed Code = "method-not-allowed"
	CodeInternal         Code = "internal"
)

// Known is what the catalogue says of a code.
type Known struct {
	Status int
	Title  string
	// Advice says what a client or its user should do.
	Advice string
	// Retry: the same request may succeed later.
	Retry bool
}

// Catalogue is the one table of problems; the pages under /problems/ and
// docs/reference/problems.md show it.
var Catalogue = map[Code]Known{
	CodeBadFrame:         {400, "The frame is not a valid message", "Compare it with the schema at /schemas/device_frame.json. Keys must be in lower case and appear once.", false},
	CodeBadRequest:       {400, "The request is not valid", "See detail and errors; the form is in /openapi.json.", false},
	CodeBadNumber:        {400, "Not a telephone number", "Write numbers in international form, +442079460001, or give a region for national ones.", false},
	CodeBadIdentity:      {400, "Not an identity", "Use tel:, sip:, mailto:, user:, acct: or id: URIs.", false},
	CodeUnauthenticated:  {401, "Authentication is missing or no longer valid", "Sign a fresh challenge with the device's key, or get a new token.", false},
	CodeForbidden:        {403, "These credentials do not allow this", "Ask the operator for a token with the role or range that is needed.", false},
	CodeNotFound:         {404, "There is no such thing here", "Check the address or id. What belongs to others looks the same as what does not exist.", false},
	CodeNotMember:        {404, "There is no such session for this device", "List your sessions at /v1/sessions.", false},
	CodeSessionClosed:    {410, "The session is closed", "A new call opens a new session.", false},
	CodeNotYourParty:     {403, "A device reports calls of its own party only", "Leave out the own identity, or use one that this device has proved.", false},
	CodeWrongCode:        {403, "The code is not right", "Type the newest code as it stands. After three tries ask for a new one.", false},
	CodeCodeExpired:      {410, "The code is no longer valid", "Ask for a new one.", false},
	CodeBindingExpired:   {403, "The proof that this device has its number has expired", "Enrol again with a new code; the device keeps its id.", false},
	CodeRevoked:          {403, "This device's key has been revoked", "Make a new key and enrol again.", false},
	CodeWrongWords:       {403, "These are not the words that the other side reads", "Listen once more. After three tries the call cannot be joined this way.", false},
	CodePassport:         {403, "A PASSporT does not prove this call", "See detail. Send the Identity header fields of this very call, once, with its first report; or leave them out.", false},
	CodeCouplingPending:  {409, "Nobody has vouched for the device yet", "Show its code; type the code at the phone, on a web page, or tell it to the operator. Then claim again.", true},
	CodeSecondHand:       {403, "A coupled device cannot vouch for another, or end what it is not part of", "Do it at a device that has proved the number itself.", false},
	CodeConflict:         {409, "It does not fit what is there now", "Read the detail, and what is there now, before you repeat it.", true},
	CodeTooLarge:         {413, "It is larger than the limit", "The limits are in the welcome message and in docs/protocol.md.", false},
	CodeUnsupportedType:  {415, "This content type is not accepted", "See /openapi.json.", false},
	CodeTooMany:          {429, "Too many requests", "Wait as long as retry_after_s says.", true},
	CodeSessionFull:      {409, "The session has as many members as it may have", "Let another device leave first.", false},
	CodeLogFull:          {409, "The session has as many messages as it may have", "A new call opens a new session.", false},
	CodeStorageFull:      {507, "The server's disk is nearly full", "Nothing was stored. Try later; the operator has been warned.", true},
	CodeUncertain:        {504, "The outcome is unknown", "Repeat the request with the same id: that is harmless.", true},
	CodeDraining:         {503, "The server is going down for maintenance", "Connect again; another node or the restarted one will answer.", true},
	CodeSenderFailed:     {502, "The code could not be sent", "Check the number or the address, and try again; if it lasts, tell the operator.", true},
	CodePaymentServer:    {502, "The payment server did not do it", "Nothing was paid. Try again in a moment; if it lasts, tell whoever is to be paid: detail says why.", true},
	CodeMethodNotAllowed: {405, "This address does not take this method", "See /openapi.json.", false},
	CodeInternal:         {500, "Something went wrong in the server", "Try again; if it lasts, give the operator the id in detail: it is in the server's log.", true},
}
