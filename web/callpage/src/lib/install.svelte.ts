import type { InstallOffer } from "./worker.ts";

/** When the user did not want to be asked is kept here, and how long that holds. */
const laterKey = "tandem-install-later";
const laterMs = 30 * 24 * 3600_000;

/** The browser's offer to install the page. */
class Install {
  offer = $state.raw<InstallOffer>();
  #later = $state(Number(localStorage.getItem(laterKey) ?? 0));

  constructor() {
    addEventListener("beforeinstallprompt", (e) => {
      e.preventDefault(); // the page asks at a better moment
      this.offer = e as InstallOffer;
    });
    addEventListener("appinstalled", () => {
      this.offer = undefined;
    });
  }

  /** Safari on a phone or tablet has no offer to make: the user has to do it. */
  readonly byHand =
    "standalone" in navigator && navigator.standalone === false && navigator.maxTouchPoints > 0;

  readonly possible = $derived(this.offer !== undefined || this.byHand);

  /** Whether to ask unasked: it is possible, and the user has not said "not now". */
  readonly wanted = $derived(this.possible && Date.now() - this.#later > laterMs);

  async take(): Promise<void> {
    await this.offer?.prompt();
    this.offer = undefined;
  }

  /** Not now: it stays among the settings. */
  later(): void {
    this.#later = Date.now();
    localStorage.setItem(laterKey, String(this.#later));
  }
}

export const install = new Install();
