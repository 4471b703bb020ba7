import type { InstallOffer } from "./worker.ts";

/** The browser's offer to install the page. */
class Install {
  offer = $state.raw<InstallOffer>();

  constructor() {
    addEventListener("beforeinstallprompt", (e) => {
      e.preventDefault();
      this.offer = e as InstallOffer;
    });
    addEventListener("appinstalled", () => {
      this.offer = undefined;
    });
  }

  async take(): Promise<void> {
    await this.offer?.prompt();
    this.offer = undefined;
  }
}

export const install = new Install();
