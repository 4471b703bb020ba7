/** A new version of the page, which the service worker has fetched and which waits to be used. */
class Update {
  ready = $state(false);
  #registration: ServiceWorkerRegistration | undefined;

  /** Follows a registration, from which new versions come. */
  watch(registration: ServiceWorkerRegistration): void {
    this.#registration = registration;
    this.#look();
    registration.addEventListener("updatefound", () => {
      registration.installing?.addEventListener("statechange", () => this.#look());
    });
    const had = navigator.serviceWorker.controller !== null;
    navigator.serviceWorker.addEventListener("controllerchange", () => {
      // Another tab has chosen the new version; this one still shows the old one.
      this.ready ||= had;
    });
  }

  /** Asks the server whether there is one. */
  async check(): Promise<void> {
    await this.#registration?.update().catch(() => {}); // without a network there is none
  }

  /** Shows it. */
  take(): void {
    const waiting = this.#registration?.waiting;
    if (!waiting) {
      location.reload();
      return;
    }
    navigator.serviceWorker.addEventListener("controllerchange", () => location.reload());
    waiting.postMessage("take-over");
  }

  #look(): void {
    // The first version that is ever installed replaces nothing.
    this.ready ||=
      this.#registration?.waiting != null && navigator.serviceWorker.controller !== null;
  }
}

export const update = new Update();
