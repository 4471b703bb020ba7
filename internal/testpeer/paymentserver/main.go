// Command paymentserver is a payment server in miniature, for the tests: it speaks the three requests of Stripe's API that a
// checkout needs, has a page on which somebody pays, declines or turns back, and posts signed events. It knows nothing
// of Tandem's code. State is in memory.
package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"html/template"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// checkout is what Stripe calls a checkout session, as far as it is needed.
type checkout struct {
	ID            string            `json:"id"`
	Object        string            `json:"object"`
	URL           string            `json:"url,omitempty"`
	Status        string            `json:"status"`
	PaymentStatus string            `json:"payment_status"`
	PaymentIntent any               `json:"payment_intent,omitempty"` // its id; the whole where it is asked for
	ExpiresAt     int64             `json:"expires_at"`
	Amount        int64             `json:"amount_total"`
	Currency      string            `json:"currency"`
	Reference     string            `json:"client_reference_id"`
	Metadata      map[string]string `json:"metadata"`

	item, success, cancel string
	intent                intent
}

// intent is what Stripe calls a payment intent.
type intent struct {
	ID     string `json:"id"`
	Object string `json:"object"`
	Status string `json:"status"`
}

type server struct {
	url, hook, secret string

	mu     sync.Mutex
	all    map[string]*checkout
	orders map[string]string // by Idempotency-Key
}

// key that requests must have.
const key = "sk_test_tandem"

func main() {
	s := &server{all: map[string]*checkout{}, orders: map[string]string{}}
	flag.StringVar(&s.hook, "hook", "", "where events are posted; or POST /hook url=…")
	flag.StringVar(&s.secret, "secret", "whsec_tandem", "secret that signs events")
	flag.Parse()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	s.url = "http://" + l.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/checkout/sessions", s.api(s.create))
	mux.HandleFunc("GET /v1/checkout/sessions/{id}", s.api(s.get))
	mux.HandleFunc("POST /v1/checkout/sessions/{id}/expire", s.api(s.expire))
	mux.HandleFunc("GET /pay/{id}", s.page)
	mux.HandleFunc("POST /pay/{id}", s.pay)
	// Who is told may be known later than our own address.
	mux.HandleFunc("POST /hook", func(_ http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.hook = r.FormValue("url")
	})
	fmt.Println("payment server at " + s.url)
	log.Fatal((&http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}).Serve(l))
}

// api checks the key, and answers in JSON.
func (s *server) api(do func(r *http.Request) (*checkout, int, string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Header.Get("Authorization") != "Bearer "+key {
			refuse(w, http.StatusUnauthorized, "Invalid API Key provided")
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		c, status, message := do(r)
		if c == nil {
			refuse(w, status, message)
			return
		}
		_ = json.NewEncoder(w).Encode(c)
	}
}

func refuse(w http.ResponseWriter, status int, message string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"type": "invalid_request_error", "message": message}})
}

func (s *server) create(r *http.Request) (*checkout, int, string) {
	if err := r.ParseForm(); err != nil {
		return nil, http.StatusBadRequest, "not a form"
	}
	idempotency := r.Header.Get("Idempotency-Key")
	if c := s.all[s.orders[idempotency]]; c != nil && idempotency != "" {
		return c, 0, ""
	}
	const price = "line_items[0][price_data]"
	amount, err := strconv.ParseInt(r.PostForm.Get(price+"[unit_amount]"), 10, 64)
	until, err2 := strconv.ParseInt(r.PostForm.Get("expires_at"), 10, 64)
	currency := r.PostForm.Get(price + "[currency]")
	switch {
	case r.PostForm.Get("mode") != "payment", r.PostForm.Get("line_items[0][quantity]") != "1", r.PostForm.Get("success_url") == "":
		return nil, http.StatusBadRequest, "mode, quantity or success_url"
	case err != nil || amount <= 0 || len(currency) != 3 || currency != strings.ToLower(currency):
		return nil, http.StatusBadRequest, "amount or currency"
	case err2 != nil || until < time.Now().Add(30*time.Minute).Unix():
		return nil, http.StatusBadRequest, "expires_at must be at least 30 minutes from now"
	}
	c := &checkout{
		ID: "cs_test_" + random(), Object: "checkout.session", Status: "open", PaymentStatus: "unpaid", ExpiresAt: until,
		Amount: amount, Currency: currency, Reference: r.PostForm.Get("client_reference_id"), Metadata: map[string]string{},
		item: r.PostForm.Get(price + "[product_data][name]"), success: r.PostForm.Get("success_url"), cancel: r.PostForm.Get("cancel_url"),
	}
	for k := range r.PostForm {
		if name, ok := strings.CutPrefix(k, "metadata["); ok {
			c.Metadata[strings.TrimSuffix(name, "]")] = r.PostForm.Get(k)
		}
	}
	c.URL = s.url + "/pay/" + c.ID
	s.all[c.ID], s.orders[idempotency] = c, c.ID
	return c, 0, ""
}

func (s *server) get(r *http.Request) (*checkout, int, string) {
	c := s.all[r.PathValue("id")]
	if c == nil || c.intent.ID == "" || r.FormValue("expand[0]") != "payment_intent" {
		return c, http.StatusNotFound, "No such checkout.session"
	}
	whole := *c
	whole.PaymentIntent = c.intent
	return &whole, 0, ""
}

func (s *server) expire(r *http.Request) (*checkout, int, string) {
	c := s.all[r.PathValue("id")]
	switch {
	case c == nil:
		return nil, http.StatusNotFound, "No such checkout.session"
	case c.Status != "open":
		return nil, http.StatusBadRequest, "Only Checkout Sessions with a status in [\"open\"] can be expired."
	}
	c.Status = "expired"
	s.post("checkout.session.expired", *c)
	return c, 0, ""
}

var form = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Payment server</title>
<h1>{{.Item}}</h1><p>{{.Amount}} {{.Currency}} (in the smallest unit)</p>
<form method="post"><button name="do" value="pay">Pay</button> <button name="do" value="transfer">Pay by bank transfer</button> <button name="do" value="back">Back</button></form></html>`))

func (s *server) page(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.all[r.PathValue("id")]
	if c == nil || c.Status != "open" {
		http.Error(w, "This page can no longer be used.", http.StatusNotFound)
		return
	}
	_ = form.Execute(w, map[string]any{"Item": c.item, "Amount": c.Amount, "Currency": strings.ToUpper(c.Currency)})
}

// pay does what was pressed: pay, transfer (the money comes later), back; and for the tests money and bounce, which is what
// becomes of a transfer.
func (s *server) pay(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.all[r.PathValue("id")]
	do := r.FormValue("do")
	if c == nil || (c.Status == "open") == (do == "money" || do == "bounce") || c.Status == "expired" {
		http.Error(w, "This page can no longer be used.", http.StatusNotFound)
		return
	}
	back := c.success
	switch do {
	case "pay":
		c.complete("succeeded")
		c.PaymentStatus = "paid"
		s.post("checkout.session.completed", *c)
	case "transfer":
		c.complete("processing")
		s.post("checkout.session.completed", *c)
	case "money":
		c.PaymentStatus, c.intent.Status = "paid", "succeeded"
		s.post("checkout.session.async_payment_succeeded", *c)
	case "bounce":
		c.intent.Status = "requires_payment_method"
		s.post("checkout.session.async_payment_failed", *c)
	default:
		back = c.cancel
	}
	http.Redirect(w, r, back, http.StatusSeeOther)
}

// complete: the customer is done.
func (c *checkout) complete(status string) {
	c.Status, c.intent = "complete", intent{"pi_" + random(), "payment_intent", status}
	c.PaymentIntent = c.intent.ID
}

// post posts an event, signed as https://docs.stripe.com/webhooks#verify-manually says.
func (s *server) post(kind string, c checkout) {
	if s.hook == "" {
		return
	}
	body, err := json.Marshal(map[string]any{
		"id": "evt_" + random(), "object": "event", "type": kind, "created": time.Now().Unix(), "data": map[string]any{"object": c},
	})
	if err != nil {
		log.Print(err)
		return
	}
	at := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte(s.secret))
	mac.Write([]byte(at + "." + string(body)))
	go func(hook string) {
		req, err := http.NewRequest(http.MethodPost, hook, bytes.NewReader(body))
		if err != nil {
			log.Print(err)
			return
		}
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
		req.Header.Set("Stripe-Signature", "t="+at+",v1="+hex.EncodeToString(mac.Sum(nil)))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			log.Print(err)
			return
		}
		_ = res.Body.Close()
		log.Print("event ", kind, ": ", res.Status)
	}(s.hook)
}

func random() string {
	b := make([]byte, 12)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
