import { mount } from "svelte";
import "../../callpage/src/styles/tokens.css";
import "../../callpage/src/styles/base.css";
import { choices } from "../../callpage/src/lib/choices.svelte.ts";
import Editor from "./editor/Editor.svelte";

await choices.apply();
const target = document.getElementById("app");
if (target) {
  mount(Editor, { target });
}
