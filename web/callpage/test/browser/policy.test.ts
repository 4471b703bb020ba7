import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { enrol, launch, open, type Watched } from "../support/browser.ts";

// The page's content security policy (docs/security.md, "What comes from outside"), attacked in a
// real browser: as somebody would who has found a way to put something into the page.

let browser: Browser;
let server: TestServer;
let elsewhere: Server;
/** Another origin, and what it was asked for. */
let foreign: string;
const asked: string[] = [];
let alice: Watched;

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start();
  elsewhere = createServer((q, r) => {
    asked.push(q.url ?? "");
    r.setHeader("Access-Control-Allow-Origin", "*");
    r.setHeader("Content-Type", q.url?.endsWith(".js") ? "text/javascript" : "text/html");
    r.end("globalThis.breached = true");
  });
  await new Promise<void>((resolve) => elsewhere.listen(0, "127.0.0.1", resolve));
  foreign = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}`;
  alice = await open(browser, server.url);
  await enrol(alice, server, "+442079460061", "Alice");
});
afterAll(async () => {
  await browser?.close();
  await server?.remove();
  elsewhere?.close();
});

interface Outcome {
  /** Directives that were violated. */
  refused: string[];
  breached: boolean;
  /** What the attack threw. */
  thrown: string;
}

/** Runs an attack in the page, and waits until the browser has refused it, or it has succeeded. */
function attack(page: Page, what: string): Promise<Outcome> {
  return page.evaluate(
    async ([what, foreign]) => {
      const g = globalThis as unknown as { breached?: boolean };
      g.breached = false;
      const refused: string[] = [];
      const heard = (e: SecurityPolicyViolationEvent) => refused.push(e.effectiveDirective);
      document.addEventListener("securitypolicyviolation", heard);
      const add = <K extends keyof HTMLElementTagNameMap>(
        name: K,
        set: (e: HTMLElementTagNameMap[K]) => void = () => {},
      ) => {
        const e = document.createElement(name);
        set(e);
        document.body.append(e);
        return e;
      };
      // Strings that become code go by a way that the types don't see.
      const raw = (e: object, key: string, value: string) => Reflect.set(e, key, value);
      const attacks: Record<string, () => unknown> = {
        "an inline script": () => add("script", (s) => s.append("globalThis.breached = true")),
        "a script of another origin": () => {
          const s = document.createElement("script");
          s.setAttribute("src", `${foreign}/attack.js`);
          document.body.append(s);
        },
        "an inline handler": () =>
          add("button", (b) => b.setAttribute("onclick", "globalThis.breached = true")).click(),
        "markup with a handler": () =>
          raw(add("div"), "innerHTML", "<img src=x onerror='globalThis.breached = true'>"),
        eval: () => {
          // biome-ignore lint/security/noGlobalEval: that is the attack
          globalThis.eval("globalThis.breached = true");
        },
        "a function of a string": () =>
          Reflect.construct(Function, ["globalThis.breached = true"])(),
        "a timer of a string": () =>
          Reflect.apply(setTimeout, globalThis, ["globalThis.breached = true", 0]),
        "a javascript: address": () =>
          add("a", (a) => a.setAttribute("href", "javascript:globalThis.breached = true")).click(),
        "a script in a blob": () => {
          const u = URL.createObjectURL(
            new Blob(["globalThis.breached = true"], { type: "text/javascript" }),
          );
          const s = document.createElement("script");
          s.setAttribute("src", u);
          document.body.append(s);
        },
        "a worker of a blob": () => {
          const u = URL.createObjectURL(new Blob([""], { type: "text/javascript" }));
          Reflect.construct(Worker, [u]);
        },
        "a request to another origin": () => fetch(`${foreign}/fetched`),
        "a beacon to another origin": () => navigator.sendBeacon(`${foreign}/beacon`, "secret"),
        "a socket to another origin": () => new WebSocket(foreign.replace("http", "ws")),
        "an event stream of another origin": () => new EventSource(`${foreign}/events`),
        "a picture of another origin": () =>
          add("img", (i) => i.setAttribute("src", `${foreign}/pixel.png`)),
        "a style sheet of another origin": () =>
          add("link", (l) => {
            l.rel = "stylesheet";
            l.href = `${foreign}/style.css`;
          }),
        "an inline style sheet": () => add("style", (s) => s.append("body { display: none }")),
        "a frame of another origin": () =>
          add("iframe", (f) => f.setAttribute("src", `${foreign}/frame`)),
        "a frame of this origin": () => add("iframe", (f) => f.setAttribute("src", "/")),
        "a frame of markup": () =>
          raw(add("iframe"), "srcdoc", "<script>parent.breached = true</script>"),
        "an object of another origin": () =>
          add("object", (o) => o.setAttribute("data", `${foreign}/object`)),
        "a form to another origin": () =>
          add("form", (f) => {
            f.method = "post";
            f.action = `${foreign}/form`;
          }).submit(),
        "another base": () => {
          add("base", (b) => b.setAttribute("href", `${foreign}/`));
          if (document.baseURI.startsWith(foreign)) {
            g.breached = true;
          }
        },
      };
      let thrown = "";
      try {
        // Not from within the call: what a debugger evaluates may do what the page may not.
        await new Promise((resolve) => setTimeout(resolve));
        await attacks[what]?.();
      } catch (e) {
        thrown = String(e);
      }
      for (let i = 0; i < 500 && refused.length === 0 && !g.breached; i++) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      document.removeEventListener("securitypolicyviolation", heard);
      return { refused, breached: g.breached ?? false, thrown };
    },
    [what, foreign] as const,
  );
}

test.each([
  ["an inline script", "require-trusted-types-for|script-src"],
  ["a script of another origin", "require-trusted-types-for|script-src"],
  ["an inline handler", "require-trusted-types-for|script-src"],
  ["markup with a handler", "require-trusted-types-for"],
  ["eval", "require-trusted-types-for|script-src"],
  ["a function of a string", "require-trusted-types-for|script-src"],
  ["a timer of a string", "require-trusted-types-for|script-src"],
  ["a javascript: address", "require-trusted-types-for|script-src"],
  ["a script in a blob", "require-trusted-types-for|script-src"],
  ["a worker of a blob", "require-trusted-types-for|worker-src"],
  ["a request to another origin", "connect-src"],
  ["a beacon to another origin", "connect-src"],
  ["a socket to another origin", "connect-src"],
  ["an event stream of another origin", "connect-src"],
  ["a picture of another origin", "img-src"],
  ["a style sheet of another origin", "style-src"],
  ["an inline style sheet", "style-src"],
  ["a frame of another origin", "frame-src"],
  ["a frame of this origin", "frame-src"],
  ["a frame of markup", "require-trusted-types-for"],
  ["an object of another origin", "require-trusted-types-for|object-src"],
  ["a form to another origin", "form-action"],
  ["another base", "base-uri"],
])("%s is refused", async (what, directive) => {
  const o = await attack(alice.page, what);
  expect(o.breached).toBe(false);
  expect(o.refused.join(" "), o.thrown).toMatch(new RegExp(directive));
  expect(asked).toEqual([]);
});

test("nobody shows the page in a frame", async () => {
  const framing = createServer((_, r) => {
    r.setHeader("Content-Type", "text/html");
    r.end(`<iframe src="${server.url}/"></iframe>`);
  });
  await new Promise<void>((resolve) => framing.listen(0, "127.0.0.1", resolve));
  const port = (framing.address() as AddressInfo).port;
  const page = await browser.newPage();
  const refused = page.waitForEvent("console", (m) =>
    /frame-ancestors|X-Frame-Options/.test(m.text()),
  );
  await page.goto(`http://127.0.0.1:${port}/`);
  await refused;
  await page.close();
  framing.close();
});

// Without this, the test would also pass in a browser that knows no policy.
test("the same attacks succeed in a page without a policy", async () => {
  const bare = createServer((_, r) => {
    r.setHeader("Content-Type", "text/html");
    r.end("<body></body>");
  });
  await new Promise<void>((resolve) => bare.listen(0, "127.0.0.1", resolve));
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${(bare.address() as AddressInfo).port}/`);
  for (const what of ["an inline script", "an inline handler", "eval", "another base"]) {
    expect((await attack(page, what)).breached, what).toBe(true);
  }
  await page.close();
  bare.close();
});
