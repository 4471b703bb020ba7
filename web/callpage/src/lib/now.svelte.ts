/** The time, which moves once a second while somebody looks at it. */
class Now {
  ms = $state(Date.now());
  /** By how much the server's clock is ahead of this one. */
  ahead = $state(0);

  constructor() {
    setInterval(() => {
      this.ms = Date.now();
    }, 1000);
  }

  /** The present by the server's clock. */
  get server(): number {
    return this.ms + this.ahead;
  }
}

export const now = new Now();
