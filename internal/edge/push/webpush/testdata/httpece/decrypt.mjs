// Decrypts Web Push messages with http_ece (by the author of RFC 8188 and RFC 8291): one JSON
// object on each line of standard input, with body, private and auth in base64url.
import { createECDH } from 'node:crypto'
import { createInterface } from 'node:readline'
import ece from 'http_ece'

for await (const line of createInterface({ input: process.stdin })) {
  const m = JSON.parse(line)
  const key = createECDH('prime256v1')
  key.setPrivateKey(Buffer.from(m.private, 'base64url'))
  const plain = ece.decrypt(Buffer.from(m.body, 'base64url'), { version: 'aes128gcm', privateKey: key, authSecret: m.auth })
  console.log(plain.toString('utf8'))
}
