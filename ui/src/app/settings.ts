/** What the person has set on this computer: kept by the browser, never sent. */

import { DEFAULT_BINDINGS, type Bindings } from "../logic/keys";
import { TILE_SIZES } from "../logic/grid";

export interface Settings {
  theme: "system" | "light" | "dark";
  text: "normal" | "large";
  tile: number;
  hide: boolean; // suggestions
  bindings: Bindings;
}

const KEY = "handful.settings";

export const DEFAULTS: Settings = {
  theme: "system", text: "normal", tile: TILE_SIZES[1], hide: false,
  bindings: DEFAULT_BINDINGS,
};

/** What is kept, field by field: a damaged or older entry costs only itself. */
export function loaded(text: string | null): Settings {
  let kept: Partial<Settings> = {};
  try {
    kept = (JSON.parse(text ?? "{}") ?? {}) as Partial<Settings>;
  } catch {
    // Not ours any more: the defaults hold.
  }
  const own = Object.entries(kept.bindings?.own ?? {}).filter(
    (entry): entry is [string, string[]] =>
      Array.isArray(entry[1]) && entry[1].every((chord) => typeof chord === "string"),
  );
  return {
    theme: kept.theme === "light" || kept.theme === "dark" ? kept.theme : "system",
    text: kept.text === "large" ? "large" : "normal",
    tile: TILE_SIZES.find((size) => size === kept.tile) ?? DEFAULTS.tile,
    hide: kept.hide === true,
    bindings: { own: Object.fromEntries(own), single: kept.bindings?.single !== false },
  };
}

export function load(): Settings {
  return loaded(localStorage.getItem(KEY));
}

export function save(settings: Settings): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // Full: the settings hold until the page closes.
  }
}

export function dress(settings: Settings, root: HTMLElement): void {
  if (settings.theme === "system") delete root.dataset["theme"];
  else root.dataset["theme"] = settings.theme;
  root.dataset["text"] = settings.text;
}
