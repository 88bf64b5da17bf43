/**
 * The address behind the #: which screen, and for the pictures which of them.
 *
 *     #/pictures?state=labelled&class=3&sort=name   <->   { screen, filter, sort }
 *
 * Everything that decides what is in view is in the address and survives a reload.
 */

import type { Filter as Asked } from "../api.types";

export const SCREENS = [
  "gallery", "queue", "pictures", "audit", "review", "map", "find", "classes", "export", "problems", "history",
  "keys",
] as const;
export type Screen = (typeof SCREENS)[number];

export const STATES = ["open", "labelled", "later", "unsure", "none", "broken"] as const;
export type State = (typeof STATES)[number];
export const MODES = ["useful", "random", "later", "unsure"] as const;
export const DEFAULT_MODE = "useful";
export type Mode = (typeof MODES)[number];

export interface Filter {
  state?: State;
  class?: number;
  folder?: string; // relative, with everything below it
  missing?: boolean; // files that are no longer there
}

export interface Address {
  screen: Screen;
  filter: Filter;
  sort: Sort;
  mode: Mode;
  part?: string; // of a screen that has several: review's "confusion", "cell:3:4", "accept"
  like?: readonly string[]; // pictures to find more of
}

export const SORTS = ["name", "-name", "-time", "time"] as const;
export type Sort = (typeof SORTS)[number];
export const DEFAULT_SORT: Sort = "name";

export function parse(hash: string): Address {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const screen = SCREENS.find((s) => s === path) ?? "queue";
  const fields = new URLSearchParams(query);
  const filter: Filter = {};
  const state = STATES.find((s) => s === fields.get("state"));
  if (state) filter.state = state;
  const id = fields.get("class");
  if (id !== null && /^\d+$/.test(id)) filter.class = Number(id);
  const folder = fields.get("folder");
  if (folder) filter.folder = folder;
  if (fields.get("missing") === "yes") filter.missing = true;
  const part = fields.get("part");
  const like = fields.get("like");
  return {
    ...(part ? { part } : {}),
    ...(like ? { like: like.split(",").filter(Boolean) } : {}),
    screen,
    filter,
    sort: SORTS.find((s) => s === fields.get("sort")) ?? DEFAULT_SORT,
    mode: MODES.find((m) => m === fields.get("mode")) ?? DEFAULT_MODE,
  };
}

export function format(address: Partial<Address> & { screen: Screen }): string {
  const fields = new URLSearchParams();
  const { state, class: id, folder, missing } = address.filter ?? {};
  if (state) fields.set("state", state);
  if (id !== undefined) fields.set("class", String(id));
  if (folder) fields.set("folder", folder);
  if (missing) fields.set("missing", "yes");
  if (address.sort && address.sort !== DEFAULT_SORT) fields.set("sort", address.sort);
  if (address.mode && address.mode !== DEFAULT_MODE) fields.set("mode", address.mode);
  if (address.part) fields.set("part", address.part);
  if (address.like?.length) fields.set("like", address.like.join(","));
  const query = fields.toString();
  return `#/${address.screen}${query ? `?${query}` : ""}`;
}

/** The filter as the server takes it. */
export function asked(filter: Filter): Asked {
  const wanted: Asked = { presence: [filter.missing ? "missing" : "here"] };
  if (filter.state) wanted.state = [filter.state];
  if (filter.class !== undefined) wanted.class = [filter.class];
  if (filter.folder !== undefined) wanted.folder = filter.folder;
  return wanted;
}
