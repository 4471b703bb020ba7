import type { Crypto } from "./ports.ts";
import type { JWK } from "./wire.ts";

const algorithm = { name: "ECDSA", namedCurve: "P-256" };

/**
 * Keys by the Web Cryptography API, which browsers and Node have. A stored key is a pair
 * of CryptoKeys; the private one cannot be read, only used.
 */
export function webCrypto(api: globalThis.Crypto): Crypto {
  return {
    random: (bytes) => api.getRandomValues(new Uint8Array(bytes)),
    createKey: () => api.subtle.generateKey(algorithm, false, ["sign"]),
    publicKey: (key) => publicJWK(api, (key as CryptoKeyPair).publicKey),
    sign: (key, data) => sign(api, (key as CryptoKeyPair).privateKey, data),
    digest: (data) => digest(api, data),
  };
}

/** As webCrypto, but a stored key is a private JWK: for stores that are files. */
export function portableCrypto(api: globalThis.Crypto): Crypto {
  return {
    random: (bytes) => api.getRandomValues(new Uint8Array(bytes)),
    createKey: async () => {
      const pair = await api.subtle.generateKey(algorithm, true, ["sign"]);
      return api.subtle.exportKey("jwk", pair.privateKey);
    },
    publicKey: async (key) => publicPart(key as JsonWebKey),
    sign: async (key, data) =>
      sign(
        api,
        await api.subtle.importKey("jwk", key as JsonWebKey, algorithm, false, ["sign"]),
        data,
      ),
    digest: (data) => digest(api, data),
  };
}

async function sign(api: globalThis.Crypto, key: CryptoKey, data: Uint8Array): Promise<Uint8Array> {
  const hash = { name: "ECDSA", hash: "SHA-256" };
  return new Uint8Array(await api.subtle.sign(hash, key, data as Uint8Array<ArrayBuffer>));
}

async function digest(api: globalThis.Crypto, data: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await api.subtle.digest("SHA-256", data as Uint8Array<ArrayBuffer>));
}

async function publicJWK(api: globalThis.Crypto, key: CryptoKey): Promise<JWK> {
  return publicPart(await api.subtle.exportKey("jwk", key));
}

function publicPart({ kty = "", crv = "", x = "", y = "" }: JsonWebKey): JWK {
  return { kty, crv, x, y };
}
