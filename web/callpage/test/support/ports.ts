import { createServer } from "node:net";

/** Listens for a moment, to see whether a port is free. */
async function isFree(port: number): Promise<boolean> {
  const s = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      s.once("error", reject);
      s.listen(port, "127.0.0.1", resolve);
    });
    return true;
  } catch {
    return false;
  } finally {
    await new Promise((resolve) => s.close(resolve));
  }
}

/**
 * The first of so many ports in a row that are free, below those that systems give to outgoing
 * connections, one of which may come between.
 */
export async function freePorts(count: number): Promise<number> {
  for (;;) {
    const at = 10_000 + 10 * Math.floor(Math.random() * 1_500);
    const wanted = Array.from({ length: count }, (_, i) => at + i);
    if ((await Promise.all(wanted.map(isFree))).every(Boolean)) {
      return at;
    }
  }
}
