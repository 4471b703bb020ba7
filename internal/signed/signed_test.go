package signed_test

import (
	"encoding/base64"
	"testing"

	"github.com/tandem-call/tandem/internal/signed"
)

// The example of the Standard Webhooks specification's own libraries.
func TestSignatureOfTheSpecification(t *testing.T) {
	key, err := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := signed.Text(key), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"; got != want {
		t.Errorf("secret %s, want %s", got, want)
	}
	got := signed.Sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("signature %s, want %s", got, want)
	}
	if len(signed.NewKey()) != 32 {
		t.Error("a key has 32 bytes")
	}
}
