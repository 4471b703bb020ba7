import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TcpProxy } from "../../../sdk/test/support/proxy.ts";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { axe, enrol, fits, launch, open, report, type Watched } from "../support/browser.ts";
import { pmtiles, tile } from "../support/pmtiles.ts";

const numbers = { alice: "+442079460063", bob: "+442079460064" };

// Where they are, by Chromium's geolocation override.
const london = { latitude: 51.5074, longitude: -0.1278, accuracy: 25 };
const paris = { latitude: 48.8566, longitude: 2.3522, accuracy: 30 };
const lille = { latitude: 50.6292, longitude: 3.0573, accuracy: 12 };

// Colours of the map: lib/map/view.ts.
const sea = [0xd5, 0xe5, 0xee];
const land = [0xf6, 0xf3, 0xea];
const mark = [0x7a, 0x3f, 0xa0];

let browser: Browser;

beforeAll(async () => {
  // There is no graphics card: WebGL is drawn by the processor.
  browser = await launch("--use-angle=swiftshader", "--enable-unsafe-swiftshader");
});
afterAll(() => browser?.close());

const log = ({ page }: Watched) => page.getByRole("log");
const map = ({ page }: Watched) => page.getByRole("region", { name: "Map", exact: true });

/** Two pages of a server in a session, each where it is. */
async function pair(
  server: TestServer,
  plain?: "no WebGL",
  alices = server.url,
): Promise<[Watched, Watched]> {
  const people = [london, paris].map((geolocation) =>
    open(browser, "about:blank", { geolocation, permissions: ["geolocation"] }),
  );
  const [alice, bob] = (await Promise.all(people)) as [Watched, Watched];
  if (plain) {
    await alice.page.addInitScript(() => {
      const real = HTMLCanvasElement.prototype.getContext;
      HTMLCanvasElement.prototype.getContext = function (this: HTMLCanvasElement, ...a: unknown[]) {
        return a[0] === "2d" ? Reflect.apply(real, this, a) : null;
      } as typeof real;
    });
  }
  for (const [who, number, name, url] of [
    [alice, numbers.alice, "Alice", alices],
    [bob, numbers.bob, "Bob", server.url],
  ] as const) {
    await who.page.goto(url);
    await enrol(who, server, number, name);
  }
  await report(alice, numbers.bob);
  await bob.page.getByRole("alertdialog").getByRole("button", { name: "Open it" }).click();
  await alice.page.getByRole("heading", { name: "Session with Bob" }).waitFor();
  await bob.page.getByRole("heading", { name: "Session with Alice" }).waitFor();
  return [alice, bob];
}

/**
 * Where somebody's pin is on the map, wherever that is on the page: both are measured at one moment, after two frames,
 * without which nothing moves.
 */
function pinOf(who: Watched, pin: string): Promise<{ x: number; y: number }> {
  return map(who)
    .locator(".map")
    .evaluate(async (m, pin) => {
      await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
      const [box, whole] = [m.querySelector(pin), m].map((e) => e?.getBoundingClientRect());
      if (!box || !whole) {
        throw new Error(`no ${pin} is on the map`);
      }
      return { x: box.x + box.width / 2 - whole.x, y: box.y + box.height / 2 - whole.y };
    }, pin);
}

/** Where it is when it has come to rest, and a condition holds there. */
async function rests(who: Watched, pin: string, where = (_: { x: number; y: number }) => true) {
  let was = await pinOf(who, pin);
  await expect
    .poll(
      async () => {
        const is = await pinOf(who, pin);
        const moved = Math.hypot(is.x - was.x, is.y - was.y);
        was = is;
        return moved < 1 && where(is);
      },
      { timeout: 30_000, interval: 100 },
    )
    .toBe(true);
  return was;
}

/** Moves and zooms without dragging: by presses, and by keys in the map itself (WCAG 2.2, 2.5.7 and 2.1.1). */
async function movesWithoutDragging(who: Watched, canvas: string, pin: string): Promise<void> {
  const press = (name: string) => map(who).getByRole("button", { name, exact: true }).click();
  const key = (name: string) => () => map(who).locator(canvas).press(name);
  /** How far the pin is moved by what is done, when it has come to rest. */
  const moved = async (act: () => Promise<void>) => {
    const before = await rests(who, pin);
    await act();
    const { x, y } = await rests(
      who,
      pin,
      (is) => Math.hypot(is.x - before.x, is.y - before.y) > 4,
    );
    return [x - before.x, y - before.y] as const;
  };
  // The map goes to the east: what is on it goes to the left.
  for (const [east, west, north, south] of [
    [
      () => press("To the east"),
      () => press("To the west"),
      () => press("To the north"),
      () => press("To the south"),
    ],
    [key("ArrowRight"), key("ArrowLeft"), key("ArrowUp"), key("ArrowDown")],
  ] as const) {
    await press("Show everybody");
    for (const [act, x, y] of [
      [east, -1, 0],
      [west, 1, 0],
      [south, 0, -1],
      [north, 0, 1],
    ] as const) {
      const [dx, dy] = await moved(act);
      const signs = [dx, dy].map((d) => (Math.abs(d) < 4 ? 0 : Math.sign(d)));
      expect(signs, `moved by ${dx}, ${dy}`).toEqual([x, y]);
    }
  }
  // Nearer and farther, by presses and by keys. The pin stands to the right of the middle.
  await press("Show everybody");
  await press("To the west");
  for (const [act, sign] of [
    [() => press("Farther"), -1],
    [key("+"), 1],
    [key("-"), -1],
    [() => press("Closer"), 1],
  ] as const) {
    const [dx] = await moved(act);
    expect(Math.sign(dx)).toBe(sign);
  }
}

async function shareLive({ page }: Watched): Promise<void> {
  await page.getByRole("button", { name: "Places" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("For how long").first().selectOption("Live, for 60 minutes");
  await dialog.getByRole("button", { name: "Share" }).click();
  await dialog.waitFor({ state: "detached" });
}

async function openMap(who: Watched): Promise<void> {
  await who.page.getByRole("button", { name: "Places" }).click();
  await who.page.getByRole("dialog").getByRole("button", { name: "Map" }).click();
  await map(who).getByRole("button", { name: "Send as a picture" }).waitFor();
}

/** The user has told the browser to save data. */
async function saveData({ page }: Watched): Promise<void> {
  await page.addInitScript(() => {
    Object.defineProperty(navigator, "connection", { value: { saveData: true } });
  });
  await page.reload();
}

/** How many pixels of the map have a colour, nearly. */
async function pixels(who: Watched, colour: number[]): Promise<number> {
  const shot = await map(who).locator(".map").screenshot();
  return who.page.evaluate(
    async ([bytes, wanted]) => {
      const picture = await createImageBitmap(new Blob([new Uint8Array(bytes)]));
      const canvas = new OffscreenCanvas(picture.width, picture.height);
      const c = canvas.getContext("2d") as OffscreenCanvasRenderingContext2D;
      c.drawImage(picture, 0, 0);
      const { data } = c.getImageData(0, 0, picture.width, picture.height);
      let n = 0;
      for (let i = 0; i < data.length; i += 4) {
        n += [0, 1, 2].every((k) => Math.abs((data[i + k] ?? 0) - (wanted[k] ?? 0)) < 6) ? 1 : 0;
      }
      return n;
    },
    [[...shot], colour] as const,
  );
}

/** Waits until so many pixels have a colour: the map is drawn by and by. */
const drawn = (who: Watched, colour: number[], least = 500) =>
  expect.poll(() => pixels(who, colour), { timeout: 60_000, interval: 500 }).toBeGreaterThan(least);

/** Keeps what is seen for docs/pictures, where the variable PICTURES names a folder. */
async function keep(page: Page, name: string): Promise<void> {
  const dir = process.env.PICTURES;
  for (const look of dir ? (["light", "dark"] as const) : []) {
    await page.emulateMedia({ colorScheme: look });
    await page.screenshot({ path: join(dir ?? "", `places-${name}-${look}.png`) });
  }
  await page.emulateMedia({ colorScheme: null });
}

test("two pages in a call follow each other on the map, and draw on it together", async () => {
  const server = await TestServer.start({ TANDEM_CALLS_INVITE_DELAY: "100ms" });
  try {
    const [alice, bob] = await pair(server);
    const lazy: string[] = [];
    alice.page.on("request", (r) => /maplibre|outline/.test(r.url()) && lazy.push(r.url()));
    await shareLive(alice);
    await shareLive(bob);
    await log(alice).getByText("344 km to the south-east of you").waitFor();
    // Who looks at no map loads none.
    expect(lazy).toEqual([]);
    await openMap(alice);
    await openMap(bob);
    await drawn(alice, land);
    await drawn(alice, sea);
    expect(lazy.some((url) => url.includes("maplibre-gl-worker"))).toBe(true);
    const words = map(alice).getByRole("listitem");
    await words
      .getByText("Bob: 48.8566° N 2.3522° E, within 30 m, 344 km to the south-east")
      .waitFor();
    await words.getByText("You: 51.5074° N 0.1278° W, within 25 m").waitFor();
    // The same is said of the map itself.
    await map(alice)
      .getByRole("region", { name: /Bob: 48\.8566° N/ })
      .waitFor();
    await map(alice).getByText("Natural Earth").waitFor();
    expect(await axe(alice.page)).toEqual([]);
    const large = map(alice).getByRole("button", { name: "Larger map" });
    await large.click();
    await map(alice).getByRole("button", { name: "Show everybody" }).click();
    await drawn(alice, sea);
    await keep(alice.page, "follow");
    await large.click();

    await movesWithoutDragging(alice, "canvas", ".pin.other");
    await map(alice).getByRole("button", { name: "Show everybody" }).click();

    // Bob goes north: his pin does, too.
    const pin = map(alice).locator(".pin.other");
    const before = (await pin.boundingBox())?.y ?? 0;
    await bob.page.context().setGeolocation(lille);
    await words.getByText("Bob: 50.6292° N 3.0573° E, within 12 m").waitFor();
    await expect
      .poll(async () => (await pin.boundingBox())?.y, { timeout: 60_000 })
      .toBeLessThan(before - 5);
    // And so does Alice's, on Bob's map.
    await alice.page.context().setGeolocation({ ...london, latitude: 51.1, accuracy: 40 });
    await map(bob).getByText("Alice: 51.1° N 0.1278° W, within 40 m").waitFor();

    // A pin, and a line.
    await map(alice).getByRole("button", { name: "Set a pin" }).click();
    await map(alice)
      .locator(".map")
      .click({ position: { x: 90, y: 60 } });
    await log(bob).getByText("Alice set a pin on the map").waitFor();
    await map(bob).locator(".pin.mark").waitFor();
    await map(bob).getByRole("button", { name: "Draw" }).click();
    const box = (await map(bob).locator(".map").boundingBox()) ?? { x: 0, y: 0 };
    await bob.page.mouse.move(box.x + 60, box.y + 90);
    await bob.page.mouse.down();
    await bob.page.mouse.move(box.x + 200, box.y + 110, { steps: 8 });
    await bob.page.mouse.up();
    await log(alice).getByText("Bob drew on the map").waitFor();
    await map(alice).getByRole("button", { name: "Show everybody" }).click();
    await drawn(alice, mark, 40);
    // Each removes only what is their own.
    await map(bob).getByRole("button", { name: "Remove what I pinned" }).click();
    await expect.poll(() => pixels(bob, mark), { timeout: 60_000 }).toBeLessThan(400);
    await map(bob).locator(".pin.mark").waitFor();

    // A picture for those who see no map.
    await map(alice).getByRole("button", { name: "Send as a picture" }).click();
    await log(bob).getByRole("button", { name: "Show map.png large" }).waitFor();

    await alice.page.setViewportSize({ width: 1280, height: 800 });
    await map(alice).getByRole("button", { name: "Show everybody" }).click();
    await drawn(alice, land);
    await keep(alice.page, "desktop");
    await fits(bob.page);

    // Whoever saves data draws no map, and is sent a picture: here of the outline of the world.
    await saveData(bob);
    await bob.page.getByRole("heading", { name: "Session with Alice" }).waitFor();
    await alice.page.getByRole("button", { name: "Places" }).click();
    const dialog = alice.page.getByRole("dialog");
    await dialog.getByText("The other device shows a picture of the map.").waitFor();
    await dialog.getByRole("button", { name: "Share" }).click();
    await log(bob).getByRole("img", { name: "Map: 51.1° N 0.1278° W, within 40 m" }).waitFor();
    await keep(bob.page, "picture");
    await map(alice).getByRole("button", { name: "Close the map" }).click();
    expect(await map(alice).count()).toBe(0);
    expect(alice.faults).toEqual([]);
    expect(bob.faults).toEqual([]);
  } finally {
    await server.remove();
  }
});

test("without WebGL there is a map all the same, of the operator's file there is one with it", async () => {
  const dir = await mkdtemp(join(tmpdir(), "tandem-maps-"));
  const green = [0x3a, 0x9a, 0x5c] as const;
  await writeFile(join(dir, "world.pmtiles"), pmtiles(tile(...green)));
  const server = await TestServer.start({
    TANDEM_CALLS_INVITE_DELAY: "100ms",
    TANDEM_MAPS_FILE: join(dir, "world.pmtiles"),
    TANDEM_MAPS_ATTRIBUTION: "© the makers of the map",
  });
  try {
    const [alice, bob] = await pair(server, "no WebGL");
    await shareLive(bob);
    await log(alice).getByText("Live", { exact: true }).waitFor();
    await openMap(alice);
    await map(alice).locator("svg.plain").waitFor();
    await drawn(alice, land);
    await drawn(alice, sea);
    await map(alice)
      .getByRole("img", { name: /Bob: 48\.8566° N/ })
      .waitFor();
    await movesWithoutDragging(alice, "svg.plain", ".plain circle");
    expect(await axe(alice.page)).toEqual([]);
    await map(alice).getByRole("button", { name: "Send as a picture" }).click();
    await log(bob).getByRole("button", { name: "Show map.png large" }).waitFor();
    // Bob's browser has WebGL.
    await openMap(bob);
    await drawn(bob, [...green]);
    await map(bob).getByText("© the makers of the map").waitFor();
    expect(alice.faults).toEqual([]);
    expect(bob.faults).toEqual([]);
  } finally {
    await server.remove();
    await rm(dir, { recursive: true });
  }
});

test("a pin that came too late is off the map of who has set it, and that is said", async () => {
  const server = await TestServer.start({ TANDEM_CALLS_INVITE_DELAY: "100ms" });
  const proxy = await TcpProxy.to(server.port);
  try {
    const [alice, bob] = await pair(server, "no WebGL", proxy.url);
    await openMap(alice);
    const marks = (n: number) => map(alice).getByRole("img", { name: `Pins and lines: ${n}` });
    const pin = async () => {
      await map(alice).getByRole("button", { name: "Set a pin" }).focus();
      await alice.page.keyboard.press("Enter");
    };
    await pin();
    await log(bob).getByText("Alice set a pin on the map").waitFor();
    proxy.down = true;
    proxy.cut();
    await alice.page.getByText("Nothing is lost.").waitFor();
    // One that stays, one to be removed that others see, and one that nobody ever does.
    await pin();
    await marks(2).waitFor();
    await map(alice).getByRole("button", { name: "Remove what I pinned" }).click();
    await map(alice).getByRole("img", { name: "Map" }).waitFor();
    await pin();
    await marks(1).waitFor();
    await bob.page.getByRole("button", { name: "Leave" }).click();
    await bob.page.getByRole("dialog").getByRole("button", { name: "Leave" }).click();
    await bob.page.getByText("Closed").first().waitFor();
    proxy.down = false;
    const link = alice.page.getByRole("link", { name: /Bob/ });
    await link.getByText("Closed").waitFor();
    await link.click();
    const refused = log(alice).getByText("Your pin was not sent, and is off the map: ");
    await expect.poll(() => refused.count()).toBe(2);
    // What the others see.
    await marks(1).waitFor();
    expect(await axe(alice.page)).toEqual([]);
    expect([...alice.faults, ...bob.faults]).toEqual([]);
  } finally {
    await proxy.close();
    await server.remove();
  }
});

test("of the operator's service; and who saves data is sent a picture", async () => {
  const red = [0xc2, 0x4a, 0x3e] as const;
  const asked: string[] = [];
  const tiles: Server = createServer((req, res) => {
    asked.push(req.url ?? "");
    res
      .writeHead(200, { "content-type": "image/png", "access-control-allow-origin": "*" })
      .end(tile(...red));
  });
  await new Promise<void>((resolve) => tiles.listen(0, "127.0.0.1", resolve));
  const { port } = tiles.address() as AddressInfo;
  const server = await TestServer.start({
    TANDEM_CALLS_INVITE_DELAY: "100ms",
    TANDEM_MAPS_TILES: `http://127.0.0.1:${port}/{z}/{x}/{y}.png`,
    TANDEM_MAPS_NETWORKS: "127.0.0.0/8",
    TANDEM_MAPS_ATTRIBUTION: "© the makers of the map",
  });
  try {
    const [alice, bob] = await pair(server);
    await saveData(bob);
    await bob.page.getByRole("heading", { name: "Session with Alice" }).waitFor();
    // The capability check says so.
    await alice.page.getByRole("button", { name: "Places" }).click();
    const dialog = alice.page.getByRole("dialog");
    await dialog.getByText("The other device shows a picture of the map.").waitFor();
    await dialog.getByRole("button", { name: "Share" }).click();
    const picture = log(bob).getByRole("img", { name: "Map: 51.5074° N 0.1278° W, within 25 m" });
    await picture.waitFor();
    expect(await picture.evaluate((e) => (e as HTMLImageElement).naturalWidth)).toBe(480);
    expect(await log(bob).getByRole("button", { name: "Show on the map" }).count()).toBe(0);
    // Alice draws the map herself.
    await openMap(alice);
    await drawn(alice, [...red]);
    expect(asked.every((path) => /^\/\d+\/\d+\/\d+\.png$/.test(path))).toBe(true);
    expect(alice.faults).toEqual([]);
    expect(bob.faults).toEqual([]);
  } finally {
    await server.remove();
    tiles.closeAllConnections();
    await new Promise((resolve) => tiles.close(resolve));
  }
});
