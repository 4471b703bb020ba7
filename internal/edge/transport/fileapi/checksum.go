package fileapi

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"strings"

	"github.com/tandem-call/tandem/internal/files"
)

// checksumNames lists the algorithms of Upload-Checksum; tus requires sha1.
const checksumNames = "sha1,sha256,sha512"

// parseChecksum reads an Upload-Checksum header (tus 1.0.0, Checksum); nil if it is empty.
func parseChecksum(header string) (*files.Checksum, error) {
	if header == "" {
		return nil, nil
	}
	name, value, _ := strings.Cut(header, " ")
	var algorithm func() hash.Hash
	switch name {
	case "sha1":
		algorithm = sha1.New
	case "sha256":
		algorithm = sha256.New
	case "sha512":
		algorithm = sha512.New
	default:
		return nil, fmt.Errorf("%w: Upload-Checksum: use one of %s", files.ErrInvalid, checksumNames)
	}
	sum, err := base64.StdEncoding.DecodeString(value)
	if err != nil || len(sum) != algorithm().Size() {
		return nil, fmt.Errorf("%w: Upload-Checksum is not a %s in base64", files.ErrInvalid, name)
	}
	return &files.Checksum{New: algorithm, Sum: sum}, nil
}
