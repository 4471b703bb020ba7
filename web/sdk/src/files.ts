/**
 * Files into a session and out of it. It is an entry of its own, so that a page loads it
 * when the first file comes.
 *
 * @packageDocumentation
 */
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { DetailedError, Upload as Tus } from "tus-js-client";
import { type Api, reasonOf, StatusError, stallMs } from "./api.ts";
import {
  FileError,
  NetworkError,
  ProblemError,
  ProtocolError,
  problemOf,
  retryable,
} from "./error.ts";
import { newID } from "./frame.ts";
import type { Ports } from "./ports.ts";
import type { FileOffer, MemberID, Problem, RequestID, SessionID } from "./wire.ts";

/** What to send into a session. */
export interface UploadRequest {
  session: SessionID;
  /** The members addressed; left out: all others. */
  to?: MemberID[];
  /** A File of a page, or in Node what fs.openAsBlob gives. */
  content: Blob;
  /** The name to offer to the others. */
  name: string;
  /** Leaves place and camera in a picture; otherwise the server strips them. */
  keepMetadata?: boolean;
  /** Makes repeating the upload harmless, also after a reload; left out: a fresh one. */
  id?: RequestID;
  /** What the server has confirmed, from 0 to size. */
  progress?: (sent: number, size: number) => void;
  /** Ends it. What is there stays for a while: the same id takes it up again. */
  signal?: AbortSignal;
  /** Where the signal ends it, nothing stays, and the members are told. */
  takeBack?: boolean;
}

/** What one request carries: progress is known, and a cut costs, once per chunk. */
const chunkBytes = 4 << 20;
/** How long transfers try to go on without any progress: pauses that double up to 5 s. */
const pausesMs = [250, 500, 1000, 2000, 4000, ...Array<number>(24).fill(5000)];

/**
 * Sends a file. It resolves when the server has stored all of it and told the members.
 * Uploads are resumable (tus 1.0): after a lost connection, or a restart of the server,
 * they go on where they stand. Without any progress they are given up after a minute or two, on a
 * connection that stands still after one;
 * where mayPass says so of the error, they can be taken up again by their id.
 *
 * @returns the id with which the upload can be repeated
 * @throws ProblemError, NetworkError; FileError where the content is at fault
 */
export async function upload(
  api: Api,
  ports: Pick<Ports, "clock" | "crypto">,
  u: UploadRequest,
): Promise<RequestID> {
  const id = u.id ?? newID("u", ports.crypto.random);
  const { content } = u;
  const metadata = {
    session: u.session,
    id,
    filename: u.name,
    ...(content.type && { filetype: content.type }),
    ...(u.to && { to: u.to.join(",") }),
    ...(u.keepMetadata && { keep_metadata: "true" }),
  };
  // Creating it again, by its id, finds the upload that a lost answer spoke of, or that
  // was begun before a reload.
  const address = await patiently(ports, u.signal, () =>
    create(api, content.size, metadata, u.signal),
  );
  let sent = -1;
  const confirmed = (bytes: number) => {
    if (bytes > sent) {
      sent = bytes;
      u.progress?.(bytes, content.size);
    }
  };
  confirmed(0);
  await new Promise<void>((resolve, reject) => {
    let calm = () => {};
    const end = () => {
      calm();
      u.signal?.removeEventListener("abort", stop);
    };
    const stop = () => {
      end();
      void tus.abort();
      if (u.takeBack) {
        // Where the server cannot be told, it forgets what is there by itself.
        void takeBack(api, ports, address, content.size).catch(() => {});
      }
      reject(u.signal?.reason);
    };
    /** Something goes on. A connection over which nothing does, says nothing itself. */
    const goesOn = () => {
      calm();
      calm = ports.clock.after(stallMs, () => {
        end();
        void tus.abort();
        reject(new NetworkError("the upload stands still"));
      });
    };
    const tus = new Tus(content, {
      uploadUrl: address,
      chunkSize: chunkBytes,
      retryDelays: pausesMs,
      storeFingerprintForResuming: false,
      fileReader: { openFile: async () => source(content) },
      onBeforeRequest: async (req) => {
        goesOn();
        req.setHeader("Authorization", `Bearer ${await api.bearer()}`);
      },
      onShouldRetry: (err) => {
        return mayPass(errorOf(err));
      },
      onProgress: goesOn,
      onChunkComplete: (_, bytes) => confirmed(bytes),
      onSuccess: () => {
        end();
        confirmed(content.size);
        resolve();
      },
      onError: (err) => {
        end();
        reject(errorOf(err));
      },
    });
    if (u.signal?.aborted) {
      stop();
      return;
    }
    u.signal?.addEventListener("abort", stop, { once: true });
    tus.start();
  });
  return id;
}

/** Creates the upload, or finds it, and returns its address. */
async function create(
  api: Api,
  size: number,
  metadata: Record<string, string>,
  signal: AbortSignal | undefined,
): Promise<string> {
  const pairs = Object.entries(metadata).map(([key, value]) => `${key} ${base64(value)}`);
  const res = await api.send("POST", "/v1/files/", {
    headers: {
      "Tus-Resumable": "1.0.0",
      "Upload-Length": String(size),
      "Upload-Metadata": pairs.join(","),
    },
    signal,
  });
  await res.body?.cancel();
  const location = res.headers.get("Location");
  if (res.status !== 201 || !location) {
    throw new ProtocolError("the server named no address for the upload");
  }
  // Behind a proxy the server may know itself by another name: only the path counts.
  return api.url(new URL(location, api.server).pathname);
}

/** Has the server forget an upload, unless it has all of it: that was offered by now. */
async function takeBack(
  api: Api,
  ports: Pick<Ports, "clock">,
  address: string,
  size: number,
): Promise<void> {
  const headers = { "Tus-Resumable": "1.0.0" };
  await patiently(ports, undefined, async () => {
    const res = await api.send("HEAD", address, { headers });
    if (Number(res.headers.get("Upload-Offset") ?? size) < size) {
      await api.send("DELETE", address, { headers });
    }
  });
}

function base64(text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

/** Reads the chunks of a blob, as browsers and Node have it. */
function source(content: Blob) {
  return {
    size: content.size,
    slice: async (start: number, end: number) => {
      try {
        const bytes = new Uint8Array(await content.slice(start, end).arrayBuffer());
        // tus-js-client looks at size, as of a Blob.
        const value = Object.assign(bytes, { size: bytes.length });
        return { value, done: end >= content.size };
      } catch (err) {
        throw new FileError(`the content cannot be read any more: ${reasonOf(err)}`);
      }
    },
    close: () => {},
  };
}

/** What an error of tus stands for. */
function errorOf(err: Error | DetailedError): Error {
  if (!(err instanceof DetailedError)) {
    return err;
  }
  if (err.causingError instanceof ProblemError || err.causingError instanceof FileError) {
    return err.causingError;
  }
  const res = err.originalResponse;
  if (!res || res.getStatus() === 0) {
    return new NetworkError(err.message, { cause: err });
  }
  try {
    const p = JSON.parse(res.getBody()) as Problem;
    if (typeof p.code === "string" && p.code !== "") {
      return new ProblemError(p);
    }
  } catch {
    // Not one of the server's: judged by its status.
  }
  return new StatusError(res.getStatus(), "");
}

/** Whether what an upload or a download failed for may pass, so that the same may succeed later. */
export function mayPass(err: unknown): boolean {
  const final =
    err instanceof StatusError &&
    err.status >= 400 &&
    err.status < 500 &&
    ![408, 409, 423, 429].includes(err.status);
  return retryable(err) && !final;
}

/** Tries again as long as that may help. progress says that a try was not in vain. */
async function patiently<T>(
  { clock }: Pick<Ports, "clock">,
  signal: AbortSignal | undefined,
  attempt: (progress: () => void) => Promise<T>,
): Promise<T> {
  for (let n = 0; ; n++) {
    try {
      return await attempt(() => {
        n = 0;
      });
    } catch (err) {
      signal?.throwIfAborted();
      const pause = pausesMs[n];
      if (pause === undefined || !mayPass(err)) {
        throw err;
      }
      const asked = (problemOf(err)?.retry_after_s ?? 0) * 1000;
      await new Promise<void>((resolve) => {
        const end = () => {
          cancel();
          signal?.removeEventListener("abort", end);
          resolve();
        };
        const cancel = clock.after(Math.max(pause * clock.random(), asked), end);
        signal?.addEventListener("abort", end, { once: true });
      });
      signal?.throwIfAborted();
    }
  }
}

/** Where a download goes. */
export interface Sink {
  /** Takes the next bytes; the download waits until it has. */
  write(bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Forgets what was written: it comes again from its start. */
  restart(): Promise<void>;
}

/** Choices for a download. */
export interface DownloadChoice {
  /** Is called as bytes come: how many there are, and how many there will be. */
  progress?: (got: number, size: number) => void;
  signal?: AbortSignal;
}

/**
 * Fetches a file that was offered, and checks it against the offer's SHA-256. What a lost
 * connection has left is taken up again.
 *
 * @throws FileError if what arrived is not what was offered; ProblemError, NetworkError
 */
export async function downloadTo(
  api: Api,
  ports: Pick<Ports, "clock">,
  offer: FileOffer,
  sink: Sink,
  choice: DownloadChoice = {},
): Promise<void> {
  let hash = sha256.create();
  let got = 0;
  const restart = async () => {
    hash = sha256.create();
    got = 0;
    await sink.restart();
  };
  await patiently(ports, choice.signal, async (progress) => {
    if (got === offer.size && got > 0) {
      return;
    }
    const ends = new AbortController();
    const end = () => ends.abort(choice.signal?.reason);
    choice.signal?.addEventListener("abort", end, { once: true });
    const silence = () => ends.abort(new NetworkError("the download stands still"));
    let calm = ports.clock.after(stallMs, silence);
    try {
      const digest = offer.sha256.toLowerCase();
      const range = { Range: `bytes=${got}-`, "If-Range": `"${digest}"` };
      const res = await api.send("GET", offer.path, {
        headers: got > 0 ? range : {},
        signal: ends.signal,
      });
      if (res.status === 206) {
        const from = /^bytes (\d+)-/.exec(res.headers.get("Content-Range") ?? "")?.[1];
        if (Number(from) !== got) {
          throw new ProtocolError("not the range that was asked for");
        }
      } else if (got > 0) {
        await restart();
      }
      const reader = res.body?.getReader();
      while (reader) {
        const { done, value } = await reader.read().catch((err) => {
          throw new NetworkError(`download: ${reasonOf(err)}`, { cause: err });
        });
        if (done) {
          break;
        }
        calm();
        calm = ports.clock.after(stallMs, silence);
        if (got + value.length > offer.size) {
          throw new FileError("more arrived than was offered");
        }
        await sink.write(value);
        hash.update(value);
        got += value.length;
        progress();
        choice.progress?.(got, offer.size);
      }
      if (got < offer.size) {
        throw new NetworkError("the download ended early");
      }
    } finally {
      calm();
      ends.abort(); // nothing more of it is wanted
      choice.signal?.removeEventListener("abort", end);
    }
  });
  if (bytesToHex(hash.digest()) !== offer.sha256.toLowerCase()) {
    await sink.restart();
    throw new FileError("what arrived is not what was offered");
  }
}

/** As downloadTo, into a Blob, which browsers keep on the disk where it is large. */
export async function download(
  api: Api,
  ports: Pick<Ports, "clock">,
  offer: FileOffer,
  choice: DownloadChoice = {},
): Promise<Blob> {
  let parts: BlobPart[] = [];
  let small: Uint8Array<ArrayBuffer>[] = [];
  let bytes = 0;
  const pack = () => {
    parts.push(new Blob(small));
    small = [];
    bytes = 0;
  };
  await downloadTo(
    api,
    ports,
    offer,
    {
      write: async (piece) => {
        small.push(piece);
        bytes += piece.length;
        if (bytes >= chunkBytes) {
          pack();
        }
      },
      restart: async () => {
        parts = [];
        small = [];
        bytes = 0;
      },
    },
    choice,
  );
  pack();
  return new Blob(parts, { type: offer.type });
}
