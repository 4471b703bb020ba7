/**
 * Fills in what stands in {braces}. In a text from right to left each value is set apart by an isolate
 * (Unicode UAX 9, 2.4): without that, the plus sign of a number goes to its wrong end.
 */
export function fill(
  text: string,
  values: Record<string, string | number>,
  rightToLeft: boolean,
): string {
  return text.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = String(values[name] ?? "");
    if (!rightToLeft || !value) {
      return value;
    }
    const direction = value.startsWith("+") ? "\u2066" : "\u2068"; // from left to right; as its first letter
    return `${direction}${value}\u2069`;
  });
}
