import { deflateSync } from "node:zlib";

/** Makes a PNG (RFC 2083) of what is to be seen at each pixel. */
export function png(
  width: number,
  height: number,
  colour: (x: number, y: number) => number[],
): Buffer {
  const rows = Buffer.alloc((width * 3 + 1) * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      rows.set(colour(x, y), y * (width * 3 + 1) + 1 + x * 3);
    }
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(rows)),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

/** A picture of a red door in a wall under a sky. */
export function photo(width: number, height: number): Buffer {
  return png(width, height, (x, y) => {
    const u = x / width;
    const v = y / height;
    const door = u > 0.4 && u < 0.6 && v > 0.42 && v < 0.88;
    const knob = (u - 0.57) ** 2 + ((v - 0.66) * (height / width)) ** 2 < 0.00012;
    const wall = v > 0.25 && v < 0.88 && u > 0.12 && u < 0.88;
    const window =
      wall && Math.abs(v - 0.5) < 0.09 && (Math.abs(u - 0.25) < 0.07 || Math.abs(u - 0.75) < 0.07);
    const brick =
      wall && (Math.floor(y / (height / 40)) % 2 === 0 ? x : x + width / 40) % (width / 20) < 2;
    return knob
      ? [250, 210, 90]
      : door
        ? [178 - 30 * (u - 0.4), 34, 34]
        : window
          ? [150, 190, 215]
          : brick
            ? [196, 176, 150]
            : wall
              ? [224, 206, 178]
              : v >= 0.88
                ? [120 + 20 * u, 130, 110]
                : [120 + 90 * v, 170 + 60 * v, 235];
  });
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const out = Buffer.alloc(body.length + 8);
  out.writeUInt32BE(data.length, 0);
  body.copy(out, 4);
  out.writeUInt32BE(crc(body), body.length + 4);
  return out;
}

function crc(data: Buffer): number {
  let c = ~0;
  for (const byte of data) {
    c ^= byte;
    for (let k = 0; k < 8; k++) {
      c = (c >>> 1) ^ (c & 1 ? 0xedb88320 : 0);
    }
  }
  return ~c >>> 0;
}
