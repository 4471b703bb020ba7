import { mount } from "svelte";
import "./styles/tokens.css";
import "./styles/base.css";
import App from "./App.svelte";
import { app } from "./lib/app.svelte.ts";
import { choices } from "./lib/choices.svelte.ts";
import { registerWorker } from "./lib/worker.ts";

await choices.apply();
const target = document.getElementById("app");
if (target) {
  mount(App, { target });
}
await app.start();
await registerWorker();
