/** The answer of GET /v1/softphone: a device's account at the server's SIP element. */
export interface Account {
  /** "sip:+442079460018@tandem.example" */
  uri: string;
  /** Where SIP is spoken over WebSocket (RFC 7118). */
  websocket_url: string;
  username: string;
  password: string;
  /** How long the password is good, in seconds. */
  expires_s: number;
  ice_servers?: RTCIceServer[];
}
