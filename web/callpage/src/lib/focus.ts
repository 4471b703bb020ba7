/**
 * Whoever uses the keyboard must not lose their place: where the focus is nowhere, since what had it
 * is gone, it goes back to where the user was, or else to the title of what is shown.
 */
export function keepFocus(before?: HTMLElement): void {
  if (document.activeElement && document.activeElement !== document.body) {
    return;
  }
  if (before?.isConnected) {
    before.focus();
    return;
  }
  const title = document.querySelector<HTMLElement>("h1");
  if (title) {
    title.tabIndex = -1;
    title.focus({ preventScroll: true });
  }
}
