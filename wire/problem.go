package wire

import "fmt"

// Code names an error condition; the list is problems in catalogue.go.
type Code string

// Problem is an error as a client sees it: RFC 9457 problem details over HTTP
// (application/problem+json), and the body of an error frame.
type Problem struct {
	// Type is "/problems/CODE", a page of the server's that explains it.
	Type string `json:"type"`
	// Title of the condition, the same each time.
	Title string `json:"title"`
	// Status is the HTTP status that belongs to it.
	Status int `json:"status"`
	// Detail says what was wrong this time, and what to do.
	Detail string `json:"detail,omitempty"`
	// Code names the condition, for programs.
	Code Code `json:"code"`
	// RetryAfterSeconds until a repetition can succeed.
	RetryAfterSeconds int `json:"retry_after_s,omitempty"`
	// Errors lists the single faults of a request's fields, where there are several.
	Errors []FieldError `json:"errors,omitempty"`
}

// FieldError is one fault in a request.
type FieldError struct {
	// Location of the field, e.g. "body.number".
	Location string `json:"location"`
	// Message says what is wrong with it.
	Message string `json:"message"`
}

// Error makes a Problem an error.
func (p *Problem) Error() string {
	if p.Detail == "" {
		return fmt.Sprintf("%s (%s)", p.Title, p.Code)
	}
	return fmt.Sprintf("%s: %s (%s)", p.Title, p.Detail, p.Code)
}

// NewProblem returns the problem of this code with a detail.
func NewProblem(c Code, detail string, args ...any) *Problem {
	k, ok := Catalogue[c]
	if !ok {
		c, k = CodeInternal, Catalogue[CodeInternal]
	}
	return &Problem{Type: "/problems/" + string(c), Title: k.Title, Status: k.Status, Detail: fmt.Sprintf(detail, args...), Code: c}
}
