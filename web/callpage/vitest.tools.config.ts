import { defineConfig } from "vitest/config";
import tests from "./vitest.config.ts";

/** What is run by hand: pictures for the docs, and measurements. */
export default defineConfig({
  ...tests,
  test: { ...tests.test, include: ["tools/*.ts"], testTimeout: 600_000 },
});
