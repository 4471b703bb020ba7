//go:build peers

package passport_test

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tandem-call/tandem/internal/passport"
)

// TestOpenSSLAgrees gives a PASSporT of ours to another implementation: openssl verifies
// chain and signature, which in JWS is R and S one after the other (RFC 7518 3.4), and
// prints the extension.
func TestOpenSSLAgrees(t *testing.T) {
	w := newWorld(t)
	token := must(passport.Parse(w.shaken(alice, bob), passport.Call{}))
	signed, raw := passport.Signed(token)
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	openssl := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput()
		return string(out), err
	}
	chain := strings.SplitAfter(string(w.provider.PEM()), "-----END CERTIFICATE-----\n")
	leaf, root := write("leaf.pem", []byte(chain[0])), write("root.pem", []byte(chain[1]))
	der := must(asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])}))
	data, sig := write("signed", []byte(signed)), write("signature", der)

	if out, err := openssl("verify", "-attime", itoa(w.now.Unix()), "-CAfile", root, leaf); err != nil {
		t.Errorf("chain: %v\n%s", err, out)
	}
	key, err := openssl("x509", "-in", leaf, "-pubkey", "-noout")
	if err != nil {
		t.Fatalf("key: %v\n%s", err, key)
	}
	public := write("key.pem", []byte(key))
	if out, err := openssl("dgst", "-sha256", "-verify", public, "-signature", sig, data); err != nil {
		t.Errorf("signature: %v\n%s", err, out)
	}
	if out, err := openssl("dgst", "-sha256", "-verify", public, "-signature", sig, write("other", []byte(signed+"x"))); err == nil {
		t.Errorf("openssl accepts other text: %s", out)
	}
	text, err := openssl("x509", "-in", leaf, "-text", "-noout")
	if err != nil || !strings.Contains(text, "1.3.6.1.5.5.7.1.26") || !strings.Contains(text, "709J") {
		t.Errorf("extension: %v\n%s", err, text)
	}

	// The other way round: what openssl signs, we accept.
	private := write("private.pem", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: must(x509.MarshalECPrivateKey(w.provider.Key))}))
	if out, err := openssl("dgst", "-sha256", "-sign", private, "-out", sig, data); err != nil {
		t.Fatalf("sign: %v\n%s", err, out)
	}
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(must(os.ReadFile(sig)), &rs); err != nil {
		t.Fatal(err)
	}
	var jws [64]byte
	rs.R.FillBytes(jws[:32])
	rs.S.FillBytes(jws[32:])
	w.want(nil, dialled(alice, bob, signed+"."+base64.RawURLEncoding.EncodeToString(jws[:])))
}
