import { kinds } from "./fields.ts";
import { t } from "./words.svelte.ts";

const known: readonly string[] = [...kinds, "n", "photo", "gender", "lang", "tz", "categories"];
const types: readonly string[] = ["home", "work", "cell"];

/** What a property is called: "x-favourite-pet" is "Favourite pet". */
export function fieldName(name: string): string {
  if (known.includes(name)) {
    return t(`field.${name as (typeof kinds)[number]}`);
  }
  const plain = name.replace(/^x-/, "").replaceAll("-", " ");
  return plain.charAt(0).toLocaleUpperCase() + plain.slice(1);
}

/** What a type is called. */
export function typeName(type: string): string {
  return types.includes(type) ? t(`type.${type as "home" | "work" | "cell"}`) : type;
}
