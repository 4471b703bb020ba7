import { mount } from "svelte";
import "../../callpage/src/styles/tokens.css";
import "../../callpage/src/styles/base.css";
import { app } from "../../callpage/src/lib/app.svelte.ts";
import { choices } from "../../callpage/src/lib/choices.svelte.ts";
import App from "./App.svelte";
import { desk } from "./lib/desk.svelte.ts";

await choices.apply();
const target = document.getElementById("app");
if (target) {
  mount(App, { target });
}
await app.start();
await desk.start();
