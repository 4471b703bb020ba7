/** Where the page is: the part of the address after "#/", in pieces. */
class Router {
  at = $state<string[]>(parse());

  constructor() {
    addEventListener("hashchange", () => {
      this.at = parse();
    });
  }

  get view(): string {
    return this.at[0] ?? "";
  }
}

function parse(): string[] {
  return location.hash
    .replace(/^#\/?/, "")
    .split("/")
    .map(plain)
    .filter((s) => s !== "");
}

function plain(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return "";
  }
}

/** The address of a view. */
export function to(...parts: string[]): string {
  return `#/${parts.map(encodeURIComponent).join("/")}`;
}

/** Goes to a view. */
export function go(...parts: string[]): void {
  location.hash = to(...parts);
}

export const router = new Router();
