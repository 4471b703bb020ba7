// Completes package-lock.json after `npm install` from a registry that does not carry the
// builds of a tool for every platform: npm leaves those out of the lock file then, and
// `npm ci` refuses such a lock file, here and everywhere else. They are optional, and
// their versions are fixed by the package that wants them.
//
// usage: node scripts/complete-lock.js
import { readFileSync, writeFileSync } from "node:fs";

const path = new URL("../package-lock.json", import.meta.url);
const lock = JSON.parse(readFileSync(path, "utf8"));
const systems = [
  "aix",
  "android",
  "darwin",
  "freebsd",
  "linux",
  "netbsd",
  "openbsd",
  "openharmony",
  "sunos",
  "win32",
];
const processors = [
  "arm64",
  "arm",
  "ia32",
  "loong64",
  "mips64el",
  "ppc64",
  "riscv64",
  "s390x",
  "x64",
];

/** The word of a list that a package's name names: "@esbuild/linux-x64". */
const named = (list, name) => list.find((word) => name.split(/[/-]/).some((part) => part === word));

let added = 0;
for (const [at, entry] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const os = named(systems, name);
    const found = [`${at}/node_modules/${name}`, `node_modules/${name}`].some(
      (p) => lock.packages[p],
    );
    if (found || !/^\d/.test(version)) {
      continue;
    }
    const cpu = named(processors, name);
    lock.packages[`node_modules/${name}`] = {
      version,
      ...(cpu && { cpu: [cpu] }),
      ...(entry.dev && { dev: true }),
      ...(/musl/.test(name) && { libc: ["musl"] }),
      ...(/gnu/.test(name) && { libc: ["glibc"] }),
      optional: true,
      ...(os && { os: [os] }),
    };
    added++;
  }
}
const [root, ...rest] = Object.entries(lock.packages);
rest.sort(([a], [b]) => a.localeCompare(b, "en"));
lock.packages = Object.fromEntries([root, ...rest]);
writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
process.stdout.write(`${added} optional packages added\n`);
