// A phone of JsSIP, as pages have it, over a WebSocket: it registers, rings, and refuses a call
// when it is told to ("refuse" on standard input). It takes none: there is no sound here.
//   node phone.mjs ws://127.0.0.1:PORT sip:USER@example.com
import { createInterface } from "node:readline";
import JsSIP from "jssip";
import { WebSocket } from "ws";

// JsSIP looks for what a browser has; sound is wanted only by who takes a call.
Object.assign(globalThis, { WebSocket, window: globalThis, RTCPeerConnection: class {} });
const [url, uri] = process.argv.slice(2);
const phone = new JsSIP.UA({ sockets: [new JsSIP.WebSocketInterface(url)], uri, register: true });
let session;
phone.on("registered", () => console.log("registered"));
phone.on("registrationFailed", (e) => console.log("not registered:", e.cause));
phone.on("newRTCSession", (e) => {
  session = e.session;
  console.log("rings");
  session.on("failed", (e) => console.log("over:", e.cause));
});
createInterface({ input: process.stdin }).on("line", () => session.terminate({ status_code: 486 }));
phone.start();
