package testpeer

import (
	"fmt"
	"os"
	"path/filepath"
)

// Linphone prepares a home directory for linphonec (started with HOME=home -c FILE -S) and returns its
// configuration file. It registers as sip:identity at the registrar, host:port with parameters. Over TLS
// the registrar's certificate must lead to the one in the file root; "" without TLS.
func Linphone(home, identity, registrar, root string) (file string, err error) {
	if err := os.MkdirAll(filepath.Join(home, ".local/share/linphone"), 0o700); err != nil { // or else it does not start
		return "", err
	}
	file = filepath.Join(home, "linphonerc")
	return file, os.WriteFile(file, fmt.Appendf(nil, `[sip]
sip_port=-2
sip_tcp_port=-2
sip_tls_port=-2
root_ca=%[3]s
verify_server_certs=1
verify_server_cn=1
use_ipv6=0
guess_hostname=0
auto_net_state_mon=0
register_only_when_network_is_up=0
default_proxy=0
media_encryption=none
[rtp]
audio_rtp_port=-1
[proxy_0]
reg_proxy=<sip:%[2]s>
reg_route=<sip:%[2]s;lr>
reg_identity=sip:%[1]s
reg_expires=60
reg_sendregister=1
publish=0
`, identity, registrar, root), 0o600)
}
