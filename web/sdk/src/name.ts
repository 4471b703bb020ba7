/** The longest name that safeName returns, in bytes: file systems allow 255. */
const longest = 200;

/**
 * Reduces a file's name from the other side to one that is harmless to show, and in a
 * folder of any operating system: no path, nothing invisible or turning the text around,
 * not hidden, not a device's, at most 200 bytes of UTF-8. The extension is kept.
 */
export function safeName(name: string): string {
  let safe = name
    .replace(/[/\\:*?"<>|\p{Cc}\ufffd]|\p{Cs}/gu, "_")
    .replace(/[\p{Cf}\p{Zl}\p{Zp}]/gu, "") // invisible, or turns the direction
    .replace(/\s/gu, " ")
    .replace(/^[. ]+|[. ]+$/g, "");
  if (bytes(safe) > longest) {
    const dot = safe.lastIndexOf(".");
    const extension = dot > 0 && bytes(safe.slice(dot)) <= 20 ? safe.slice(dot) : "";
    const stem = [...safe.slice(0, safe.length - extension.length)];
    let size = bytes(safe);
    while (size > longest) {
      size -= bytes(stem.pop() ?? "");
    }
    safe = stem.join("") + extension;
  }
  if (/^(con|prn|aux|nul|conin\$|conout\$|com.|lpt.) *(\.|$)/iu.test(safe)) {
    safe = `_${safe}`;
  }
  return safe || "file";
}

function bytes(text: string): number {
  return new TextEncoder().encode(text).length;
}
