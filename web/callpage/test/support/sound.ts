/** The loudest sample of a WAV file of 16 bits, which may still be written: from 0 to 1. */
export function loudest(wav: Buffer): number {
  let most = 0;
  for (let at = 44; at + 1 < wav.length; at += 2) {
    most = Math.max(most, Math.abs(wav.readInt16LE(at)) / 32_768);
  }
  return most;
}
