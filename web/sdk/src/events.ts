/** One server-sent event. */
export interface ServerEvent {
  name: string;
  data: string;
}

/** Reads server-sent events (HTML standard, 9.2) from text that comes in pieces. */
export class EventParser {
  #rest = "";
  #name = "";
  #data: string[] = [];

  /** Takes a piece and returns the events that it completes. */
  take(piece: string): ServerEvent[] {
    const events: ServerEvent[] = [];
    const lines = (this.#rest + piece).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const raw of lines) {
      const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
      if (line === "") {
        if (this.#name !== "" || this.#data.length > 0) {
          events.push({ name: this.#name, data: this.#data.join("\n") });
        }
        this.#name = "";
        this.#data = [];
        continue;
      }
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      // An empty field is a comment: a heartbeat. Others mean nothing to us.
      if (field === "event") {
        this.#name = value;
      } else if (field === "data") {
        this.#data.push(value);
      }
    }
    return events;
  }
}
