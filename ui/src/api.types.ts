// Made from api.schema.json by scripts/types.mjs: npm run types.

/** What became of one decision: ``seq`` when it is stored, else ``error``. */
export type Answer = {
  id: string;
  ok: boolean;
  seq?: number;
  class_id?: number;
  error?: Failure;
};

/** Stored before it is said; counts and undo as they are now. */
export type Answered = {
  results: (Answer)[];
  label_rev: number;
  counts: Counts;
  undo: Done | null;
  redo: Done | null;
};

/** Put a class away: its pictures become open. */
export type Archive = {
  id: string;
  seen_rev: number;
};

/** What is left out stays. ``swap``: a key that is taken changes hands. */
export type ClassChange = {
  id: string;
  seen_rev: number;
  name?: string;
  key?: string;
  swap?: boolean;
  look?: number;
};

/** ``look`` is a slot of the colours and patterns, -1: key and name only. */
export type ClassInfo = {
  id: number;
  name: string;
  key: string | null;
  look: number;
  archived: boolean;
  merged_into: number | null;
  pictures: number;
  by_you: number;
  in_groups: number;
  by_model: number;
};

export type ClassMade = {
  class: ClassInfo;
  classes: (ClassInfo)[];
  moved: number;
  label_rev: number;
  undo: Done | null;
  redo: Done | null;
};

/** ``by_you + in_groups + by_model + open`` is ``pictures``, all that can be read. */
export type Counts = {
  pictures: number;
  by_you: number;
  in_groups: number;
  by_model: number;
  open: number;
  later: number;
  unsure: number;
  none: number;
  broken: number;
  missing: number;
  problems: number;
  others: number;
};

/** One picture in full. */
export type Detail = {
  picture: Picture;
  sha256: string | null;
  bytes: number | null;
  kind: string | null;
  pages: number | null;
  problem: Failure | null;
  history: (HistoryLine)[];
  label_rev: number;
};

/** A decision that Ctrl+Z or Ctrl+Shift+Z would take: what it was, in words. */
export type Done = {
  id: string;
  text: string;
};

/** File names are relative to ``folder``, which is relative to the place chosen. */
export type ExportDone = {
  folder: string;
  files: Record<string, number>;
  label_rev: number;
};

/** ``where``: next to the pictures, or in the project's own folder. */
export type ExportOptions = {
  formats: ("csv" | "jsonl")[];
  where?: "pictures" | "project";
  states?: boolean;
  open?: boolean;
};

/** The body of every answer that is not 200. */
export type Failed = {
  error: Failure;
};

/** Why something was refused; ``id`` names the message, ``text`` is ready to be shown. */
export type Failure = {
  id: string;
  text: string;
  class_id?: number;
};

export type Filter = {
  class?: (number)[];
  state?: ("open" | "labelled" | "later" | "unsure" | "none" | "broken")[];
  source?: ("initial" | "oracle" | "hand" | "group" | "accepted" | "imported" | "copied" | "audit" | "weak")[];
  person?: (string)[];
  presence?: ("here" | "missing" | "unreadable")[];
  folder?: string;
};

export type GroupLabelled = {
  kind: "group_labelled";
  id: string;
  seen_rev: number;
  ms?: number;
  from?: "queue" | "grid" | "gallery" | "picture" | "history";
  images: (string)[];
  class?: number;
  name?: string;
};

/** Newest first. */
export type History = {
  items: (HistoryLine)[];
  next: string | null;
  label_rev: number;
};

/** One event in words. */
export type HistoryLine = {
  id: string;
  seq: number;
  at: number;
  person: string;
  kind: string;
  text: string;
  undone: boolean;
};

export type Labelled = {
  kind: "labelled";
  id: string;
  seen_rev: number;
  ms?: number;
  from?: "queue" | "grid" | "gallery" | "picture" | "history";
  image: string;
  class?: number;
  name?: string;
};

/** What the queue could still serve, by mode. */
export type Left = {
  open: number;
  later: number;
  unsure: number;
};

/** Merge into another class: its pictures change hands, undo brings them back. */
export type Merge = {
  id: string;
  seen_rev: number;
  into: number;
};

/** A class by its name; the key is the next free one unless given. */
export type NewClass = {
  id: string;
  name: string;
  key?: string;
  seen_rev: number;
};

/** ``stale``: the cursor came from an older revision; it goes on where it was. */
export type Page = {
  items: (Picture)[];
  next: string | null;
  total: number;
  total_exact: boolean;
  stale: boolean;
  label_rev: number;
};

export type Picture = {
  id: string;
  v: string | null;
  w: number | null;
  h: number | null;
  name: string;
  presence: "here" | "missing" | "unreadable";
  state: "open" | "labelled" | "later" | "unsure" | "none" | "broken";
  class: number | null;
  source: "initial" | "oracle" | "hand" | "group" | "accepted" | "imported" | "copied" | "audit" | "weak" | null;
  person: string;
  at: number | null;
};

/** A file that cannot be used, and why. */
export type Problem = {
  id: string;
  name: string;
  problem: Failure;
};

/** ``others``: how many files of which suffix were left alone. */
export type Problems = {
  items: (Problem)[];
  total: number;
  next: string | null;
  others: Record<string, number>;
};

/** ``place``: where the work is kept, in words for a person. */
export type Project = {
  folder: string;
  place: string;
  read_only: boolean;
  version: string;
};

/** ``next`` asks for those behind; null: the end of this pass. */
export type Queue = {
  items: (Queued)[];
  mode: "random" | "later" | "unsure";
  left: Left;
  next: string | null;
  label_rev: number;
};

/** A picture to be answered; nothing that could lead the answer. */
export type Queued = {
  id: string;
  v: string | null;
  w: number | null;
  h: number | null;
};

/** Look at the folder again; at the problems, too, or only at some of them. */
export type Rescan = {
  ids?: (string)[];
};

/** False: it was under way already, and another follows. */
export type RescanStarted = {
  started: boolean;
};

/** What the last look at the folder found to be different; all 0: nothing. */
export type ScanResult = {
  added: number;
  missing: number;
  moved: number;
  changed: number;
  back: number;
};

/** Everything around the work: read once, then kept up to date by the stream. */
export type State = {
  project: Project;
  person: string;
  label_rev: number;
  counts: Counts;
  classes: (ClassInfo)[];
  tasks: (Task)[];
  scan: ScanResult;
  storage: Storage;
  undo: Done | null;
  redo: Done | null;
  first_visit: boolean;
  scanning: boolean;
  pace_s: number | null;
  left_s: number | null;
};

export type StateSet = {
  kind: "state_set";
  id: string;
  seen_rev: number;
  ms?: number;
  from?: "queue" | "grid" | "gallery" | "picture" | "history";
  images: (string)[];
  state: "open" | "later" | "unsure" | "none" | "broken";
};

/** Whether answers can be written; ``error`` says why not. */
export type Storage = {
  ok: boolean;
  error: Failure | null;
};

/** Event ``counts`` of the stream. */
export type StreamCounts = {
  label_rev: number;
  counts: Counts;
};

/** Event ``task`` of the stream: all that is under way; empty when nothing is. */
export type StreamTasks = {
  tasks: (Task)[];
  scanning: boolean;
};

/** Work in the background, in words: ``Reading pictures``. */
export type Task = {
  name: string;
  text: string;
  done: number;
  total: number;
  eta_s: number | null;
};

/** Take back, or do again, the last decision of this person. */
export type Undo = {
  id: string;
};

/** ``kept``: pictures that stay as they are, since somebody answered them later. */
export type Undone = {
  event: HistoryLine | null;
  text: string;
  affected: number;
  kept: number;
  label_rev: number;
  counts: Counts;
  undo: Done | null;
  redo: Done | null;
};
