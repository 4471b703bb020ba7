package wire

// Softphone is what a device needs to make and take telephone calls by SIP over WebSocket
// (RFC 7118), as its own number.
type Softphone struct {
	URI          string `json:"uri" doc:"Address to register, sip:+442079460001@example.com;user=phone"`
	WebSocketURL string `json:"websocket_url" doc:"Where SIP over WebSocket is spoken"`
	// Username and Password are for digest authentication (RFC 3261 22), and hold until they
	// expire; then new ones must be fetched. An open registrar does not ask for them.
	Username       string      `json:"username"`
	Password       string      `json:"password"`
	ExpiresSeconds int         `json:"expires_s"`
	ICEServers     []ICEServer `json:"ice_servers" doc:"For RTCPeerConnection, as it wants them"`
}

// ICEServer is an RTCIceServer (W3C WebRTC 4.2.2).
type ICEServer struct {
	URLs       []string `json:"urls"`
	Username   string   `json:"username,omitempty"`
	Credential string   `json:"credential,omitempty"`
}
