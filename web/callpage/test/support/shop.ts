import type { OverlayResult, OverlayShown } from "@tandem-call/sdk";
import { Person } from "../../../sdk/test/support/person.ts";
import { report, type Watched } from "./browser.ts";

/** A region over the whole width of a row. */
export const region = (id: string, row: number, more: object) => ({
  id: id.toLowerCase().replaceAll(" ", "-"),
  grid: { column: 0, row, width: 4 },
  text: { en: id },
  ...more,
});

/** A provider's agent, who sends overlays, and hears what came of them. */
export class Shop extends Person {
  session = "";
  #sent = 0;

  /** Opens a session with a customer's page, which says by hand that it is in a call. */
  async meet(customer: Watched, number: string): Promise<void> {
    const opened = this.next("session", (s) => s.phase === "in_call");
    this.call({ number } as Person);
    await report(customer, this.number);
    this.session = (await opened).id;
    await customer.page.getByRole("heading", { name: `Session with ${this.number}` }).waitFor();
  }

  /** Sends an overlay; its sequence. */
  async send(regions: object[], more: object = {}): Promise<number> {
    this.#sent++;
    const document = { version: 1, id: "shop", language: "en", regions, ...more };
    const path = `/v1/sessions/${this.session}/overlays`;
    const body = { id: `q${this.#sent}`, document };
    return (await this.device.api.call<{ seq: number }>("POST", path, body)).seq;
  }

  /** What the customer's page says of an overlay. */
  shown(seq: number): Promise<OverlayShown> {
    return this.#said("tandem.overlay.shown", (b: OverlayShown) => b.seq === seq);
  }

  /** What came of a region's action. */
  result(seq: number, of: string): Promise<OverlayResult> {
    const fits = (b: OverlayResult) => b.seq === seq && b.region === of;
    return this.#said("tandem.overlay.result", fits);
  }

  #said<T>(kind: string, fits: (body: T) => boolean): Promise<T> {
    return this.until(kind, () =>
      this.messages
        .filter((m) => m.kind === kind)
        .map((m) => m.body as T)
        .find(fits),
    );
  }
}
