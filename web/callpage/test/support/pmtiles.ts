import { gzipSync } from "node:zlib";
import { png } from "./photo.ts";

/** A tile of 256 pixels in one colour. */
export function tile(red: number, green: number, blue: number): Buffer {
  return png(256, 256, () => [red, green, blue]);
}

/**
 * A PMTiles archive (version 3, as its specification says) of one PNG tile, that of zoom level 0.
 */
export function pmtiles(only: Buffer): Buffer {
  const varints = (...numbers: number[]) =>
    Buffer.from(
      numbers.flatMap((n) => {
        const bytes = [];
        for (; n > 127; n = Math.floor(n / 128)) {
          bytes.push((n % 128) | 128);
        }
        return [...bytes, n];
      }),
    );
  // One entry: its id, its run length, its length, and its offset plus one.
  const directory = gzipSync(varints(1, 0, 1, only.length, 1));
  const metadata = gzipSync(Buffer.from("{}"));
  const header = Buffer.alloc(127);
  header.write("PMTiles", 0, "latin1");
  header[7] = 3;
  let at = 8;
  const parts = [127, directory.length, 127 + directory.length, metadata.length];
  const data = 127 + directory.length + metadata.length;
  for (const n of [...parts, 0, 0, data, only.length, 1, 1, 1]) {
    header.writeBigUInt64LE(BigInt(n), at);
    at += 8;
  }
  header.set([1, 2, 1, 2, 0, 0], at); // clustered; gzip inside, tiles as they are; PNG; zoom 0 to 0
  const box = [-180, -85, 180, 85].map((d) => Math.round(d * 1e7));
  box.forEach((n, i) => {
    header.writeInt32LE(n, 102 + 4 * i);
  });
  return Buffer.concat([header, directory, metadata, only]);
}
