import { execFile, spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { number } from "../support/person.ts";
import { TestServer } from "../support/server.ts";

// The package as somebody gets it who knows nothing of this repository: packed, unpacked into a project
// of its own, checked by its types, and run.

const run = promisify(execFile);
const sdk = fileURLToPath(new URL("../../", import.meta.url));
const modules = join(sdk, "../node_modules");
let project: string;
let server: TestServer;

beforeAll(async () => {
  server = await TestServer.start();
  project = await mkdtemp(join(tmpdir(), "tandem-pack-"));
  const own = join(project, "node_modules/@tandem-call/sdk");
  await mkdir(own, { recursive: true });
  await run("npm", ["pack", "--silent", "--pack-destination", project], { cwd: sdk });
  await run("sh", ["-c", `tar xzf *.tgz -C ${own} --strip-components=1`], { cwd: project });
  for (const name of ["@noble", "@types", "tus-js-client", "ws"]) {
    await symlink(join(modules, name), join(project, "node_modules", name));
  }
  await writeFile(join(project, "package.json"), '{ "type": "module" }');
});
afterAll(async () => {
  await server?.remove();
  await rm(project, { recursive: true, force: true });
});

const program = `
import { Device, enrol, safeName } from "@tandem-call/sdk";
import { nodePorts } from "@tandem-call/sdk/node";
import { createInterface } from "node:readline/promises";

const [, , server = "", number = ""] = process.argv;
const ports = nodePorts({ file: "device.json" });
const pending = await enrol({ server, number, name: safeName("A program") }, ports);
console.log("code?");
const input = createInterface(process.stdin);
const identity = await pending.confirm(await input.question(""));
input.close();
const device = await Device.open({ identity, ports });
const stop = new AbortController();
device.on("connected", () => {
  console.log("connected");
  stop.abort();
});
await device.run(stop.signal);
`;

test("a program of its own is right by the package's types, in Node and for a page", async () => {
  await writeFile(join(project, "program.ts"), program);
  await writeFile(
    join(project, "page.ts"),
    `import { browserPorts } from "@tandem-call/sdk/browser";
import { upload } from "@tandem-call/sdk/files";
import { readOverlay } from "@tandem-call/sdk/overlay";
export const all = [browserPorts(), upload, readOverlay];
`,
  );
  const tsc = join(modules, "typescript/bin/tsc");
  for (const [module, resolution] of [
    ["nodenext", "nodenext"],
    ["esnext", "bundler"],
  ] as const) {
    const options = ["--noEmit", "--strict", "--target", "es2022", "--lib", "es2024,dom"];
    const how = ["--module", module, "--moduleResolution", resolution, "--types", "node"];
    await run(process.execPath, [tsc, ...options, ...how, "program.ts", "page.ts"], {
      cwd: project,
    }).catch((err: { stdout?: string }) => {
      throw new Error(err.stdout);
    });
  }
});

test("the program runs with the package alone", async () => {
  await writeFile(join(project, "program.js"), program);
  const child = spawn(process.execPath, ["program.js", server.url, number()], {
    cwd: project,
    stdio: ["pipe", "pipe", "inherit"],
    timeout: 100_000, // only to fail
  });
  const said: string[] = [];
  createInterface(child.stdout).on("line", async (line) => {
    said.push(line);
    if (line === "code?") {
      child.stdin.end(`${await server.code()}\n`);
    }
  });
  const status = await new Promise((resolve) => child.once("exit", resolve));
  expect(status).toBe(0);
  expect(said).toContain("connected");
});
