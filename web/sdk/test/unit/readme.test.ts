import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** The programs that the README shows, by the name of a file that does not exist. */
const programs = new Map(
  [...readFileSync(`${root}README.md`, "utf8").matchAll(/^```ts\n(.*?)^```/gms)].map((m, i) => [
    `${root}readme-${i}.ts`,
    m[1] ?? "",
  ]),
);

test("what the README shows is right by its types", { timeout: 120_000 }, () => {
  expect(programs.size).toBeGreaterThan(5);
  const { config } = ts.readConfigFile(`${root}tsconfig.json`, ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
  options.paths = {
    "@tandem-call/sdk": ["./src/index.ts"],
    "@tandem-call/sdk/files": ["./src/files.ts"],
    "@tandem-call/sdk/*": ["./src/*/index.ts"],
  };
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile, getSourceFile } = host;
  host.fileExists = (path) => programs.has(path) || fileExists(path);
  host.readFile = (path) => programs.get(path) ?? readFile(path);
  host.getSourceFile = (path, version, ...rest) => {
    const program = programs.get(path);
    return program === undefined
      ? getSourceFile(path, version, ...rest)
      : ts.createSourceFile(path, program, version);
  };
  const program = ts.createProgram([...programs.keys()], options, host);
  const faults = ts.getPreEmitDiagnostics(program).map((d) => {
    const text = ts.flattenDiagnosticMessageText(d.messageText, "\n");
    return `${d.file?.fileName.slice(root.length)}: ${text}`;
  });
  expect(faults).toEqual([]);
});
