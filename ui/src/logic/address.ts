/**
 * The address behind the #: which screen, and for the pictures which of them.
 *
 *     #/pictures?state=labelled&class=3&sort=name   <->   { screen, filter, sort }
 *
 * Everything that decides what is in view is in the address and survives a reload.
 */

export const SCREENS = [
  "queue", "pictures", "classes", "export", "problems", "history", "keys",
] as const;
export type Screen = (typeof SCREENS)[number];

export const STATES = ["open", "labelled", "later", "unsure", "none", "broken"] as const;
export type State = (typeof STATES)[number];
export const MODES = ["random", "later", "unsure"] as const;
export type Mode = (typeof MODES)[number];

export interface Filter {
  state?: State;
  class?: number;
  name?: string; // part of the file's name
}

export interface Address {
  screen: Screen;
  filter: Filter;
  sort: string;
  mode: Mode;
}

export const DEFAULT_SORT = "name";

export function parse(hash: string): Address {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const screen = SCREENS.find((s) => s === path) ?? "queue";
  const fields = new URLSearchParams(query);
  const filter: Filter = {};
  const state = STATES.find((s) => s === fields.get("state"));
  if (state) filter.state = state;
  const id = fields.get("class");
  if (id !== null && /^\d+$/.test(id)) filter.class = Number(id);
  const name = fields.get("name")?.trim();
  if (name) filter.name = name;
  return {
    screen,
    filter,
    sort: fields.get("sort") || DEFAULT_SORT,
    mode: MODES.find((m) => m === fields.get("mode")) ?? "random",
  };
}

export function format(address: Partial<Address> & { screen: Screen }): string {
  const fields = new URLSearchParams();
  const { state, class: id, name } = address.filter ?? {};
  if (state) fields.set("state", state);
  if (id !== undefined) fields.set("class", String(id));
  if (name) fields.set("name", name);
  if (address.sort && address.sort !== DEFAULT_SORT) fields.set("sort", address.sort);
  if (address.mode && address.mode !== "random") fields.set("mode", address.mode);
  const query = fields.toString();
  return `#/${address.screen}${query ? `?${query}` : ""}`;
}
