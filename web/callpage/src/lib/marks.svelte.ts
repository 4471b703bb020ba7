import {
  type Device,
  type Envelope,
  type Message,
  newID,
  type Ports,
  type SendFrame,
  type SessionID,
} from "@tandem-call/sdk";
import { SvelteMap } from "svelte/reactivity";
import type { LonLat, Mark } from "./map/view.ts";

/** Kinds of message between pages: a GeoJSON Feature with an id, and its removal by its id. */
export const putMark = "page.map.put";
export const removeMark = "page.map.remove";

/** The most points of a line, and the most marks of a session that are shown. */
const mostPoints = 500;
const mostMarks = 200;

/** What the members of a session pin and draw on the map together. */
export class Marks {
  readonly #marks = new SvelteMap<string, Mark>();
  /** This party's own that were removed, in case that is refused. */
  readonly #removed = new Map<string, Mark>();
  readonly #device: Device;
  readonly #ports: Ports;
  readonly #session: SessionID;

  constructor(device: Device, ports: Ports, session: SessionID) {
    this.#device = device;
    this.#ports = ports;
    this.#session = session;
  }

  readonly all = $derived([...this.#marks.values()]);

  /** Takes a message about marks. Only who made a mark can remove it. */
  take(m: Message | Envelope, mine: boolean): void {
    if (m.kind === putMark) {
      const mark = markOf(m.body);
      const before = mark && this.#marks.get(mark.id);
      if (mark && (before ? before.mine === mine : this.#marks.size < mostMarks)) {
        this.#marks.set(mark.id, { ...mark, mine });
      }
    } else if (m.kind === removeMark) {
      const mark = this.#marks.get(idOf(m.body));
      if (mark?.mine === mine) {
        this.#marks.delete(mark.id);
        if (mine) {
          this.#removed.set(mark.id, mark);
        }
      }
    }
  }

  /** The server has refused one of this party's messages: the map is as the others see it. */
  refused({ kind, body }: SendFrame): void {
    const id = idOf(body);
    const removed = this.#removed.get(id);
    if (kind === putMark) {
      if (this.#marks.get(id)?.mine) {
        this.#marks.delete(id);
      }
      this.#removed.delete(id);
    } else if (kind === removeMark && removed) {
      this.#marks.set(id, removed);
    }
  }

  /** Sets a pin, or draws a line. */
  add(points: LonLat[]): void {
    const step = Math.ceil(points.length / mostPoints);
    const few = points.filter((_, i) => i % step === 0 || i === points.length - 1);
    const short = few.map(([lon, lat]): LonLat => [round(lon), round(lat)]);
    const [first] = short;
    if (!first) {
      return;
    }
    const id = newID("k", this.#ports.crypto.random);
    const geometry =
      short.length > 1
        ? { type: "LineString", coordinates: short }
        : { type: "Point", coordinates: first };
    this.#marks.set(id, { id, mine: true, points: short });
    this.#send(putMark, { type: "Feature", id, geometry, properties: {} });
  }

  /** Removes what this party has set and drawn. */
  clear(): void {
    for (const mark of this.all) {
      if (mark.mine) {
        this.#marks.delete(mark.id);
        this.#removed.set(mark.id, mark);
        this.#send(removeMark, { id: mark.id });
      }
    }
  }

  #send(kind: string, body: unknown): void {
    // sent and refused tell what becomes of it.
    this.#device.send(this.#session, kind, body, {}).catch(() => {});
  }
}

/** Which mark a message is about; "" if none. */
function idOf(body: unknown): string {
  const id = (body as { id?: unknown } | null | undefined)?.id;
  return typeof id === "string" ? id : "";
}

/** A millionth of a degree is a tenth of a metre. */
const round = (n: number) => Math.round(n * 1e6) / 1e6;

/** The mark in a message's body, if that is one. */
export function markOf(body: unknown): Omit<Mark, "mine"> | undefined {
  const { id, geometry } = (body ?? {}) as { id?: unknown; geometry?: Record<string, unknown> };
  const given = geometry?.coordinates;
  const points = geometry?.type === "Point" ? [given] : geometry?.type === "LineString" ? given : 0;
  const ok =
    typeof id === "string" &&
    id.length <= 64 &&
    Array.isArray(points) &&
    points.length > 0 &&
    points.length <= mostPoints + 1 &&
    points.every(
      (p) =>
        Array.isArray(p) &&
        [180, 90].every((most, i) => typeof p[i] === "number" && Math.abs(p[i]) <= most),
    );
  return ok ? { id, points: points.map((p) => [p[0], p[1]] as LonLat) } : undefined;
}
