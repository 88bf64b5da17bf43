/**
 * What a key press means.
 *
 * Digits go by position (AZERTY types `&` on the key of 1), letters by what they write, with
 * their position where the writing is not Latin; `/` and `?` by what they write wherever the
 * layout has put them.  A press that belongs to an input method means nothing here.
 */

export type Chord = string; // "1" "q" "shift+g" "ctrl+z" "space" "left" "/" "?"
export type Place =
  | "gallery" | "queue" | "pictures" | "audit" | "review" | "map" | "classes" | "other";

/** The screens that show pictures: there class keys answer. */
const VIEWS: readonly Place[] = [
  "gallery", "queue", "pictures", "audit", "review", "map",
];
const ANSWERING: ReadonlySet<Place> = new Set(VIEWS);
/** The screens on which arrows move between tiles or points. */
const MOVING: ReadonlySet<Place> = new Set(["gallery", "pictures", "map"]);

export interface Press {
  key: string;
  code: string;
  shiftKey?: boolean;
  ctrlKey?: boolean;
  altKey?: boolean;
  metaKey?: boolean;
  isComposing?: boolean;
  keyCode?: number;
}

const NAMED: Record<string, string> = {
  " ": "space", Spacebar: "space", Enter: "enter", Escape: "esc", Esc: "esc",
  Backspace: "backspace", Delete: "delete",
  ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down",
  Home: "home", End: "end", PageUp: "pageup", PageDown: "pagedown",
};
const BY_SIGN = new Set(["/", "?", "+", "-"]);
const COMPOSING = 229; // what browsers report while an input method is at work

/** The chord of a press, or null where it means nothing to us. */
export function chordOf(press: Press, options: { mac?: boolean } = {}): Chord | null {
  if (press.isComposing || press.keyCode === COMPOSING) return null;
  if (press.altKey) return null; // AltGr writes signs of its own
  const control = options.mac ? press.metaKey : press.ctrlKey;
  const other = options.mac ? press.ctrlKey : press.metaKey;
  if (other) return null;
  const base = baseOf(press);
  if (base === null) return null;
  // Signs carry their Shift already: where it is needed differs by layout.
  const shift = press.shiftKey && !BY_SIGN.has(base) && !/^\d$/.test(base);
  return `${control ? "ctrl+" : ""}${shift ? "shift+" : ""}${base}`;
}

function baseOf(press: Press): string | null {
  const named = NAMED[press.key];
  if (named !== undefined) return named;
  const digit = /^(Digit|Numpad)(\d)$/.exec(press.code);
  // AZERTY writes - and Czech + on the row of digits without Shift: there the position counts.
  if (BY_SIGN.has(press.key) && !(digit && !press.shiftKey)) return press.key;
  if (digit) {
    const [, row, number] = digit as unknown as [string, string, string];
    const writes = /^\d$/.test(press.key);
    if (row === "Numpad") return writes ? press.key : null; // NumLock off: an arrow, see NAMED
    if (press.shiftKey && !writes) return null; // ! " § are no answers
    return number;
  }
  if (/^[a-z]$/i.test(press.key)) return press.key.toLowerCase();
  const letter = /^Key([A-Z])$/.exec(press.code);
  // A Latin letter with an accent is not the letter below it; another script falls back.
  if (letter && press.key.length === 1 && !/\p{Script=Latin}/u.test(press.key)) {
    return /\p{Letter}/u.test(press.key) ? letter[1]!.toLowerCase() : null;
  }
  return null;
}

/** Whether the chord is one that a text box would write: those obey the single-key switch. */
export function isTyped(chord: Chord): boolean {
  return chord === "space" || /^(shift\+)?.$/u.test(chord);
}

/** Keys that classes take, in the order in which new classes get them. */
export const CLASS_KEYS: readonly Chord[] = [
  ..."1234567890", ..."qwertasdfzxcvb",
];
const NEVER_FOR_CLASSES = new Set([..."ghijklmnopuy"]);

export interface Command {
  id: string;
  text: string;
  places: readonly Place[] | "everywhere";
  keys: readonly Chord[];
}

/** Every command with its default keys; the keys sheet lists exactly these. */
export const COMMANDS: readonly Command[] = [
  { id: "type", text: "Type a class", places: VIEWS, keys: ["/"] },
  { id: "accept", text: "Accept the suggestion", places: ["queue"], keys: ["enter"] },
  { id: "label-group", text: "Label the group with its likely class (overview: open the group)", places: ["gallery"], keys: ["enter"] },
  { id: "label-shown", text: "The same, only those shown", places: ["gallery"], keys: ["shift+enter"] },
  { id: "take-out", text: "Take a picture out, or put it back (overview: tick a group)", places: ["gallery"], keys: ["space"] },
  { id: "take-all", text: "Take out all that are shown, or put them back (overview: tick all groups)", places: ["gallery"], keys: ["ctrl+a"] },
  { id: "halve", text: "Halve the group", places: ["gallery"], keys: ["h"] },
  { id: "mixed", text: "Not one class", places: ["gallery"], keys: ["o"] },
  { id: "same", text: "Same as... (overview: merge the ticked groups)", places: ["gallery"], keys: ["m"] },
  { id: "different", text: "Different, on a card", places: ["gallery"], keys: ["backspace"] },
  { id: "later", text: "Later", places: ["queue", "audit", "review"], keys: ["space", "l"] },
  { id: "select", text: "Select or unselect", places: ["pictures", "map"], keys: ["space"] },
  { id: "later-selected", text: "Later", places: ["gallery", "pictures", "map"], keys: ["l"] },
  { id: "unsure", text: "Unsure", places: VIEWS, keys: ["u"] },
  { id: "none", text: "None of these", places: VIEWS, keys: ["n"] },
  { id: "broken", text: "Broken picture", places: VIEWS, keys: ["i"] },
  { id: "clear", text: "Make open again", places: ["queue", "pictures", "map"], keys: ["delete"] },
  { id: "next", text: "Next without answering", places: ["queue", "audit", "review"], keys: ["right", "j"] },
  { id: "previous", text: "Previous picture", places: ["queue", "audit", "review"], keys: ["left", "k"] },
  { id: "next-group", text: "Next group", places: ["gallery"], keys: ["j"] },
  { id: "previous-group", text: "Previous group", places: ["gallery"], keys: ["k"] },
  { id: "keep", text: "Keep the label", places: ["review"], keys: ["enter"] },
  { id: "open-grid", text: "Open the selected as a grid", places: ["map"], keys: ["enter"] },
  { id: "zoom", text: "Zoom to pixels", places: ["queue", "audit", "review"], keys: ["p"] },
  { id: "contrast", text: "Contrast, as it is shown", places: ["queue", "audit", "review"], keys: ["shift+l"] },
  { id: "next-page", text: "Next page of a picture", places: ["queue", "audit", "review"], keys: ["shift+right"] },
  { id: "previous-page", text: "Previous page of a picture", places: ["queue", "audit", "review"], keys: ["shift+left"] },
  { id: "larger", text: "Larger", places: ["queue", "pictures", "audit", "map"], keys: ["+"] },
  { id: "smaller", text: "Smaller", places: ["queue", "pictures", "audit", "map"], keys: ["-"] },
  { id: "larger-tiles", text: "Larger tiles", places: ["gallery"], keys: ["+", "shift+up"] },
  { id: "smaller-tiles", text: "Smaller tiles", places: ["gallery"], keys: ["-", "shift+down"] },
  { id: "undo-answer", text: "Undo the last answer", places: ["queue", "audit"], keys: ["backspace"] },
  { id: "large", text: "Large view", places: ["pictures"], keys: ["p", "enter"] },
  { id: "large-point", text: "Large view", places: ["map"], keys: ["p"] },
  { id: "large-held", text: "Large view while held", places: ["gallery"], keys: ["p"] },
  { id: "hide", text: "Hide or show suggestions", places: ["gallery", "queue", "review"], keys: ["y"] },
  { id: "all", text: "Select all in this view", places: ["pictures", "map"], keys: ["ctrl+a"] },
  { id: "like", text: "Find more like this", places: ["gallery", "queue", "pictures", "review", "map"], keys: ["shift+f"] },
  { id: "again", text: "Look again, when finding more", places: ["pictures"], keys: ["j"] },
  { id: "guide", text: "Class guide", places: VIEWS, keys: ["g"] },
  { id: "pin", text: "Pin as an example of its class", places: ["gallery", "queue", "pictures", "review", "map"], keys: ["shift+k"] },
  { id: "undo", text: "Undo", places: "everywhere", keys: ["ctrl+z"] },
  { id: "redo", text: "Redo", places: "everywhere", keys: ["ctrl+shift+z", "ctrl+y"] },
  { id: "go-gallery", text: "Go to Gallery", places: "everywhere", keys: ["shift+g"] },
  { id: "go-queue", text: "Go to Queue", places: "everywhere", keys: ["shift+q"] },
  { id: "go-pictures", text: "Go to Pictures", places: "everywhere", keys: ["shift+p"] },
  { id: "go-audit", text: "Go to Audit", places: "everywhere", keys: ["shift+a"] },
  { id: "go-review", text: "Go to Review", places: "everywhere", keys: ["shift+r"] },
  { id: "go-map", text: "Go to Map", places: "everywhere", keys: ["shift+m"] },
  { id: "go-classes", text: "Go to Classes", places: "everywhere", keys: ["shift+c"] },
  { id: "go-export", text: "Go to Export", places: "everywhere", keys: ["shift+e"] },
  { id: "go-history", text: "Go to History", places: "everywhere", keys: ["shift+h"] },
  { id: "keys", text: "This sheet", places: "everywhere", keys: ["?"] },
  { id: "close", text: "Close, else back", places: "everywhere", keys: ["esc"] },
];

/** Keys that move inside a grid; they are not remapped, every grid on the web has them. */
export const MOVES: ReadonlySet<Chord> = new Set([
  "left", "right", "up", "down", "home", "end", "pageup", "pagedown",
  "shift+left", "shift+right", "shift+up", "shift+down", "shift+home", "shift+end",
]);

export interface KeyedClass {
  id: number;
  name: string;
  key: string | null;
}

export interface Bindings {
  own: Readonly<Record<string, readonly Chord[]>>; // what the person has changed, by command
  single: boolean; // the single-key switch
}

export const DEFAULT_BINDINGS: Bindings = { own: {}, single: true };

export function keysOf(command: Command, bindings: Bindings): readonly Chord[] {
  return bindings.own[command.id] ?? command.keys;
}

/** The first key of a command as it is printed on its button; none where it has none. */
export function keyOf(id: string, bindings: Bindings): string {
  const command = COMMANDS.find((c) => c.id === id);
  const chord = command && keysOf(command, bindings)[0];
  return chord === undefined ? "" : nameOf(chord);
}

export function within(command: Command, place: Place): boolean {
  return command.places === "everywhere" || command.places.includes(place);
}

export type Meaning =
  | { command: string }
  | { classId: number }
  | { move: Chord }
  | null;

/** What a chord does on a screen, given the classes with their keys. */
export function meaningOf(
  chord: Chord, place: Place, classes: readonly KeyedClass[], bindings: Bindings,
): Meaning {
  if (!bindings.single && isTyped(chord)) return null;
  const command = COMMANDS.find((c) => within(c, place) && keysOf(c, bindings).includes(chord));
  if (command) return { command: command.id };
  if (MOVING.has(place) && MOVES.has(chord)) return { move: chord };
  if (ANSWERING.has(place)) {
    const owner = classes.find((c) => c.key === chord);
    if (owner) return { classId: owner.id };
  }
  return null;
}

/** Why a chord cannot be given to a command, in words, or null where it can. */
export function conflictOf(
  chord: Chord, id: string, classes: readonly KeyedClass[], bindings: Bindings,
): string | null {
  const command = COMMANDS.find((c) => c.id === id)!;
  const owner = classes.find((c) => c.key === chord);
  if (owner) return taken(chord, owner.name);
  if (CLASS_KEYS.includes(chord)) {
    return `${nameOf(chord)} is kept for classes. Press another key.`;
  }
  if (MOVES.has(chord) && !command.keys.includes(chord)) {
    return `${nameOf(chord)} moves between pictures. Press another key.`;
  }
  const places: readonly Place[] =
    command.places === "everywhere" ? [...ANSWERING, "classes", "other"] : command.places;
  const other = COMMANDS.find(
    (c) => c.id !== id && keysOf(c, bindings).includes(chord) && places.some((p) => within(c, p)),
  );
  return other ? taken(chord, other.text) : null;
}

/** Why a class cannot have a key, in words, or null where it can. */
export function classKeyConflict(
  chord: Chord, id: number, classes: readonly KeyedClass[], bindings: Bindings,
): string | null {
  if (NEVER_FOR_CLASSES.has(chord) || !CLASS_KEYS.includes(chord)) {
    return `${nameOf(chord)} is kept for commands. Classes take digits and the letters of the left hand.`;
  }
  const owner = classes.find((c) => c.key === chord && c.id !== id);
  if (owner) return taken(chord, owner.name);
  const command = COMMANDS.find((c) => keysOf(c, bindings).includes(chord));
  return command ? taken(chord, command.text) : null;
}

function taken(chord: Chord, owner: string): string {
  return `${nameOf(chord)} belongs to "${owner}". Press another key or swap them.`;
}

const SHOWN: Record<string, string> = {
  space: "Space", enter: "Enter", esc: "Esc", backspace: "Backspace", delete: "Delete",
  left: "Left", right: "Right", up: "Up", down: "Down", home: "Home", end: "End",
  pageup: "PgUp", pagedown: "PgDn", ctrl: "Ctrl", shift: "Shift",
};

/** A chord as it is printed on buttons and in the sheet. */
export function nameOf(chord: Chord, options: { mac?: boolean } = {}): string {
  if (chord === "+") return "+";
  const parts = chord.endsWith("++") ? [...chord.slice(0, -2).split("+"), "+"] : chord.split("+");
  return parts
    .map((p) => (p === "ctrl" && options.mac ? "Cmd" : (SHOWN[p] ?? p.toUpperCase())))
    .join("+");
}

/** The first class key that nobody has, or null: then the class is reached by its name. */
export function freeKey(classes: readonly KeyedClass[]): Chord | null {
  const used = new Set(classes.map((c) => c.key));
  return CLASS_KEYS.find((k) => !used.has(k)) ?? null;
}
