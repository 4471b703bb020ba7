// Package radicaletest says how tests start Radicale (Debian: radicale), a CardDAV server.
package radicaletest

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// Path of the program.
const Path = "/usr/bin/radicale"

// MakeBook is the body of a MKCOL (RFC 5689) that makes an address book (RFC 6352 6.3.1).
const MakeBook = `<?xml version="1.0"?><mkcol xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav"><set><prop><resourcetype><collection/><C:addressbook/></resourcetype></prop></set></mkcol>`

// Args makes what it needs in a directory, with one user, and returns its arguments. It serves on a port
// of 127.0.0.1, and keeps the book NAME of a user in DIR/collection-root/USER/NAME.
func Args(dir string, port int, user, password string) ([]string, error) {
	users := filepath.Join(dir, "users")
	return []string{
		"--config", "", "--server-hosts", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), "--auth-type", "htpasswd", "--auth-htpasswd-filename", users,
		"--auth-htpasswd-encryption", "plain", "--auth-delay", "0", "--rights-type", "owner_only", "--storage-filesystem-folder", dir,
	}, os.WriteFile(users, []byte(user+":"+password+"\n"), 0o600)
}
