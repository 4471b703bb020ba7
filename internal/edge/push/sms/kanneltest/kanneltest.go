// Package kanneltest configures a real Kannel (Debian's packages kannel and kannel-extras) for
// the tests of several packages: bearerbox, smsbox, and the mobile network that comes with
// them for tests, fakesmsc.
package kanneltest

import (
	"fmt"
	"os"
	"path/filepath"
)

// The programs.
const (
	Bearerbox = "/usr/sbin/bearerbox"
	Smsbox    = "/usr/sbin/smsbox"
	Fakesmsc  = "/usr/lib/kannel/test/fakesmsc"
)

// What each says when it is ready; fakesmsc's is said by bearerbox.
const (
	BearerboxReady = "Start-up done"
	FakesmscReady  = "Fakesmsc client connected"
	SmsboxReady    = "Connected to bearerbox"
)

// Username and Password of the sendsms user.
const (
	Username = "tester"
	Password = "foo&bar"
)

// Config of a gateway. Ports are of 127.0.0.1 and must be free.
type Config struct {
	// Dir is where its files are.
	Dir string
	// Admin, Boxes, Network and SendSMS are ports: of the administration, between the boxes, of
	// the mobile network, and for senders.
	Admin, Boxes, Network, SendSMS string
	// Inbound is an address that is told of messages that come, with Kannel's escapes such as %p
	// and %a; empty: nobody is told.
	Inbound string
}

// URL is where senders send.
func (c Config) URL() string { return "http://127.0.0.1:" + c.SendSMS }

// Write writes the configuration file and returns its path.
func (c Config) Write() (string, error) {
	service := "text = none"
	if c.Inbound != "" {
		service = fmt.Sprintf("get-url = %q\nmax-messages = 0", c.Inbound)
	}
	path := filepath.Join(c.Dir, "kannel.conf")
	text := fmt.Sprintf(conf, c.Admin, c.Boxes, filepath.Join(c.Dir, "spool"), c.Network, c.Boxes, c.SendSMS, Username, Password, service)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

const conf = `
group = core
admin-port = %s
admin-password = none
admin-interface = 127.0.0.1
smsbox-port = %s
box-allow-ip = 127.0.0.1
store-type = file
store-location = %s

group = smsc
smsc = fake
smsc-id = FAKE
port = %s
connect-allow-ip = 127.0.0.1

group = smsbox
bearerbox-host = 127.0.0.1
bearerbox-port = %s
sendsms-port = %s
sendsms-interface = 127.0.0.1

group = sendsms-user
username = %s
password = %s
max-messages = 3
concatenation = true

group = sms-service
keyword = default
%s
`
