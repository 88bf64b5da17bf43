// Made from api.schema.json by scripts/types.mjs: npm run types.

/** Accept the set that was sampled. */
export type Accept = {
  id: string;
  p: number;
  set_hash: string;
  sample_events: (string)[];
};

/** All open pictures whose suggestion is at least ``p`` sure, of some classes or of all. */
export type AcceptAsked = {
  p: number;
  classes?: (number)[];
};

/** ``sample_events``: the ``labelled`` and ``state_set`` that answered the sample, from its start. */
export type AcceptCheck = {
  set_hash: string;
  sample_events: (string)[];
};

/** ``k`` of ``n`` suggestions were right; null below 30 answers. */
export type AcceptChecked = {
  k: number | null;
  n: number;
  unsure: number;
  low: number | null;
  high: number | null;
  text: string | null;
};

/** The set, frozen; ``sample``: in the order in which they are to be answered, blind. */
export type AcceptPreview = {
  n: number;
  set_hash: string;
  sample: (Seen)[];
  min: number;
  p: number;
  model_rev: number;
  label_rev: number;
};

/** One decision, one undo. */
export type Accepted = {
  n: number;
  seq: number;
  label_rev: number;
  counts: Counts;
  undo: Done | null;
  redo: Done | null;
};

/** Whether to stop: one sentence and what it rests on. It never stops anything itself. */
export type Advice = {
  case: "early" | "thin" | "steady" | "goal_met" | "goal_not_met" | "cannot";
  text: string;
  goal: number;
  screen: "gallery" | "queue" | "audit" | "review" | "find" | "export";
  class_id: number | null;
  changed: number | null;
  answers: number;
  low: number | null;
  high: number | null;
};

/** Two people who were asked ``n`` pictures both and said the same of ``k``. */
export type Agreed = {
  a: string;
  b: string;
  n: number;
  k: number;
  low: number | null;
  high: number | null;
  kappa: number | null;
  text: string;
};

/** How often answers followed the suggestion: where it was shown, where it was held back. */
export type Agreement = {
  shown_k: number;
  shown_n: number;
  hidden_k: number;
  hidden_n: number;
  text: string | null;
};

export type Alike = {
  id: string;
  v: string | null;
  w: number | null;
  h: number | null;
  class: number | null;
};

/** Pictures like ``ids`` and unlike ``not_ids``, the likest first. */
export type AlikeAsked = {
  ids: (string)[];
  not_ids?: (string)[];
  n?: number;
  cursor?: string;
  all?: boolean;
  for_class?: number;
};

/** ``bound``: what random answers say of how many there are; never the answers here. */
export type Alikes = {
  items: (Picture)[];
  scores: (number)[];
  next: string | null;
  total: number;
  bound: string | null;
  label_rev: number;
};

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

/** Put a group aside: of more than one class until the next grouping, or to the end. */
export type Aside = {
  id: string;
  why: "mixed" | "later";
};

/** The blind check. ``result`` only at 60, 150 and 300 answers, or when it was closed. */
export type Audit = {
  answered: number;
  wanted: number;
  min: number;
  closed: boolean;
  result: AuditResult | null;
};

export type AuditAnswered = {
  kind: "audit_answered";
  id: string;
  seen_rev: number;
  ms?: number;
  image: string;
  class?: number;
  name?: string;
  state?: "unsure" | "none" | "broken";
};

export type AuditClass = {
  class: number | null;
  k: number;
  n: number;
  low: number;
  high: number;
};

/** Close the check, or ask 150 more. */
export type AuditClosed = {
  id: string;
};

/** ``k`` of ``n`` blind answers agree with the label that the picture would have without them. */
export type AuditResult = {
  n: number;
  k: number;
  low: number | null;
  high: number | null;
  population: number;
  unsure: number;
  unlabelled: number;
  text: string;
  scope: string;
  caution: string;
  notes: (string)[];
  classes: (AuditClass)[];
  mistakes: number;
  agreement: Agreement;
  at: number;
  label_rev: number;
};

/** How far the blind check is; no running score. ``min``: answers that a percentage needs. */
export type AuditStanding = {
  answered: number;
  wanted: number;
  closed: boolean;
  min: number;
};

/** What is left out stays. ``swap``: a key that is taken changes hands. */
export type ClassChange = {
  id: string;
  seen_rev: number;
  name?: string;
  key?: string;
  swap?: boolean;
  look?: number;
  guide?: GuideChange;
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
  guide: Guide;
};

export type ClassMade = {
  class: ClassInfo;
  classes: (ClassInfo)[];
  moved: number;
  label_rev: number;
  undo: Done | null;
  redo: Done | null;
};

/** Somebody who answers, too; ``here``: heard within the last two minutes. */
export type Colleague = {
  name: string;
  answers: number;
  here: boolean;
};

/** Label against what a model says that was not taught it; cells that hold something. */
export type Confusion = {
  held: (ConfusionCell)[];
  audit: (ConfusionCell)[] | null;
  model_rev: number;
  label_rev: number;
};

/** Labels of one class that look like another, or the same; null: none of these. */
export type ConfusionCell = {
  label: number | null;
  to: number | null;
  n: number;
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

/** One picture in full; ``stack``: its near-duplicates, itself included, where it has some. */
export type Detail = {
  picture: Picture;
  stack: (Seen)[];
  sha256: string | null;
  bytes: number | null;
  kind: string | null;
  pages: number | null;
  problem: Failure | null;
  history: (HistoryLine)[];
  label_rev: number;
};

/** A picture of which people said different things; open until somebody settles it. */
export type Disagreement = {
  picture: Picture;
  answers: (Vote)[];
};

/** ``asked``: pictures that somebody was asked as one of two; ``twice``: both answered. */
export type Disagreements = {
  items: (Disagreement)[];
  next: string | null;
  total: number;
  asked: number;
  twice: number;
  agreement: (Agreed)[];
  label_rev: number;
};

/** A decision that Ctrl+Z or Ctrl+Shift+Z would take: what it was, in words. */
export type Done = {
  id: string;
  text: string;
};

/** The folder with a folder a class; left out are pictures without a class or gone. */
export type ExportByClass = {
  folder: string;
  pictures: number;
  left_out: number;
};

/** What can be written now; ``rows``: how many rows of each kind there would be. */
export type ExportChoices = {
  formats: (ExportFormat)[];
  places: (ExportPlace)[];
  labelled: number;
  by_model: number;
  states: number;
  open: number;
  model: ExportModel | null;
  audited: boolean;
};

/** File names are relative to ``folder``, which is relative to the place chosen. */
export type ExportDone = {
  folder: string;
  files: Record<string, number>;
  others: (string)[];
  by_class: ExportByClass | null;
  text: string;
  command: string | null;
  label_rev: number;
};

/** A form of label file: its name and the file that it becomes. */
export type ExportFormat = {
  id: "csv" | "jsonl" | "parquet" | "coco" | "label_studio" | "npz";
  text: string;
  file: string;
};

/** The model that would be written; ``trained_on`` answers. */
export type ExportModel = {
  bytes: number;
  classes: number;
  trained_on: number;
};

/** ``where``: next to the pictures, or in the project's own folder. */
export type ExportOptions = {
  formats: ("csv" | "jsonl" | "parquet" | "coco" | "label_studio" | "npz")[];
  where?: "pictures" | "project";
  states?: boolean;
  open?: boolean;
  model_labels?: boolean;
  pictures?: boolean;
  folders?: "copies" | "links";
  folders_where?: string;
  model?: boolean;
  report?: boolean;
  report_pictures?: boolean;
};

/** Where folders by class may go, in words for a person. */
export type ExportPlace = {
  id: string;
  text: string;
};

/** Open the folder of the last export in the files of this computer. */
export type ExportShow = {

};

/** False: this computer has no window for it. */
export type ExportShown = {
  shown: boolean;
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

/** What pictures are compared by, in words, and how many were. */
export type Features = {
  source: string;
  images: number;
};

export type Filter = {
  class?: (number)[];
  state?: ("open" | "labelled" | "later" | "unsure" | "none" | "broken")[];
  source?: ("initial" | "oracle" | "hand" | "group" | "accepted" | "imported" | "copied" | "audit" | "weak")[];
  person?: (string)[];
  presence?: ("here" | "missing" | "unreadable")[];
  folder?: string;
  ids?: (string)[];
};

/** Pictures that are alike; ``ids`` are those still open, of a done group all: typical first. */
export type Group = {
  id: string;
  n: number;
  open: number;
  rev: number;
  likely: Likely | null;
  ids: (string)[];
  typical: (Picture)[];
  edge: (Picture)[];
  aside: "mixed" | "later" | null;
};

/** Halve a group: two take its place. */
export type GroupAct = {
  id: string;
};

export type GroupLabelled = {
  kind: "group_labelled";
  id: string;
  seen_rev: number;
  ms?: number;
  from?: "queue" | "grid" | "gallery" | "picture" | "history" | "map" | "review" | "find" | "border" | "accept";
  images: (string)[];
  class?: number;
  name?: string;
  taken_out?: (string)[];
  shown?: (string)[];
  group_rev?: number;
  scope?: string;
  suggestion?: Shown;
};

/** One group in place of several, at the place of the first. */
export type GroupMerge = {
  id: string;
  groups: (string)[];
};

/** Those whose answer settles most first. ``near``: groups that may be one class, to be asked. */
export type Groups = {
  items: (Group)[];
  next: string | null;
  total: number;
  done: number;
  near: ((string)[])[];
  rev: number;
  newest: number;
  stale: boolean;
  label_rev: number;
};

/** The groups that took the place of what was asked for; empty: none did. */
export type GroupsChanged = {
  items: (Group)[];
  total: number;
  label_rev: number;
  undo: Done | null;
  redo: Done | null;
};

/** What a class means: a text, pictures that are it, pictures that are not. */
export type Guide = {
  text: string;
  examples: (Seen)[];
  nots: (Seen)[];
};

/** A guide as a whole. */
export type GuideChange = {
  text: string;
  examples: (string)[];
  nots: (string)[];
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

/** Do what was shown: ``set_hash`` of the preview; ``only_new`` leaves changes out. */
export type ImportAsked = {
  id: string;
  seen_rev: number;
  upload?: string;
  guesses?: boolean;
  only_new?: boolean;
  set_hash: string;
};

/** A label that would change: what counts now, what would. */
export type ImportChange = {
  id: string;
  name: string;
  now: string;
  then: string;
};

/** A class that would be made. */
export type ImportClass = {
  name: string;
  pictures: number;
};

/** How many labels came in, all by one event. */
export type ImportDone = {
  imported: number;
  classes: (ClassInfo)[];
  label_rev: number;
  counts: Counts;
  undo: Done | null;
  redo: Done | null;
};

/** A row that cannot be used; ``row`` 0: no single one. */
export type ImportFault = {
  row: number;
  text: string;
};

/** A piece of a file; ``upload`` is made by the page, ``data`` is base64. */
export type ImportPart = {
  upload: string;
  name: string;
  part: number;
  parts: number;
  data: string;
};

/** How many pieces are here. */
export type ImportPartDone = {
  upload: string;
  received: number;
};

/** What an import would do. Counts are whole, lists end after 100. */
export type ImportPreview = {
  file: string;
  form: string;
  rows: number;
  text: string;
  left_out: string | null;
  new: number;
  change: number;
  same: number;
  missing: number;
  conflicts: number;
  faulty: number;
  empty: number;
  guesses: number;
  by_content: number;
  by_end: number;
  missing_names: (string)[];
  conflict_names: (string)[];
  faults: (ImportFault)[];
  new_classes: (ImportClass)[];
  changes: (ImportChange)[];
  set_hash: string;
  label_rev: number;
};

/** What a file that was uploaded would do; without one, the folders the pictures lie in. */
export type ImportWanted = {
  upload?: string;
  guesses?: boolean;
};

export type Labelled = {
  kind: "labelled";
  id: string;
  seen_rev: number;
  ms?: number;
  from?: "queue" | "grid" | "gallery" | "picture" | "history" | "map" | "review" | "find" | "border" | "accept";
  image: string;
  class?: number;
  name?: string;
  suggestion?: Shown;
};

/** What the queue could still serve, by mode. */
export type Left = {
  open: number;
  later: number;
  unsure: number;
};

export type Likely = {
  class: number | null;
  p: number;
  words: "very sure" | "fairly sure" | "guess";
};

/** Ids in the order of the points of ``GET /map``, ``start`` the first. */
export type MapIds = {
  ids: (string)[];
  start: number;
  total: number;
  rev: number;
};

/** Merge into another class: its pictures change hands, undo brings them back. */
export type Merge = {
  id: string;
  seen_rev: number;
  into: number;
};

/** A blind answer that differs from the label; ``label`` as it was at closing. */
export type Mistake = {
  picture: Picture;
  label: number | null;
  label_source: "initial" | "oracle" | "hand" | "group" | "accepted" | "imported" | "copied" | "audit" | "weak" | "model";
  answer: number | null;
  settled: boolean;
};

/** Only after closing. */
export type Mistakes = {
  items: (Mistake)[];
  label_rev: number;
};

/** A class by its name; the key is the next free one unless given. */
export type NewClass = {
  id: string;
  name: string;
  key?: string;
  split_from?: number;
  seen_rev: number;
};

export type OverlapSettled = {
  kind: "overlap_settled";
  id: string;
  seen_rev: number;
  ms?: number;
  image: string;
  class?: number;
  name?: string;
  state?: "unsure" | "none" | "broken";
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

/** Whether two groups are the same class; the same: they are one group from now on. */
export type PairAnswered = {
  kind: "pair_answered";
  id: string;
  seen_rev: number;
  ms?: number;
  a: string;
  b: string;
  answer: "same" | "different" | "unsure";
};

/** Only with ``--lan``. ``named``: ``you`` is a name that was given, not made up. */
export type People = {
  you: string;
  named: boolean;
  answers: number;
  others: (Colleague)[];
  link: string | null;
};

export type Picture = {
  id: string;
  v: string | null;
  w: number | null;
  h: number | null;
  pages?: number;
  name: string;
  presence: "here" | "missing" | "unreadable";
  state: "open" | "labelled" | "later" | "unsure" | "none" | "broken";
  class: number | null;
  source: "initial" | "oracle" | "hand" | "group" | "accepted" | "imported" | "copied" | "audit" | "weak" | null;
  person: string;
  at: number | null;
  sug: Suggestion | null;
  stack: number;
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
  mode: "useful" | "random" | "later" | "unsure" | "audit" | "first";
  blind: boolean;
  left: Left | null;
  next: string | null;
  label_rev: number;
  model_rev: number;
};

/** A picture to be answered; in ``first`` and ``audit`` nothing but id, v, w, h. */
export type Queued = {
  id: string;
  v: string | null;
  w: number | null;
  h: number | null;
  pages?: number;
  sug?: Suggestion | null;
  next?: number | null;
  why?: string;
  likes?: (Alike)[];
  stack?: number;
};

/** Group what is open anew. */
export type Regroup = {

};

/** False: nothing runs that could. */
export type RegroupStarted = {
  started: boolean;
};

/** Look at the folder again; at the problems, too, or only at some of them. */
export type Rescan = {
  ids?: (string)[];
};

/** False: it was under way already, and another follows. */
export type RescanStarted = {
  started: boolean;
};

/** ``looked`` at so far, of which ``wrong`` were changed. */
export type Review = {
  items: (Reviewed)[];
  next: string | null;
  total: number;
  looked: number;
  wrong: number;
  labels: number;
  stale: boolean;
  model_rev: number;
  label_rev: number;
};

export type ReviewChanged = {
  kind: "review_changed";
  id: string;
  seen_rev: number;
  ms?: number;
  image: string;
  class?: number;
  name?: string;
};

/** The label is right: it does not come up again. */
export type ReviewKept = {
  kind: "review_kept";
  id: string;
  seen_rev: number;
  ms?: number;
  image: string;
};

/** A label that may be wrong, beside what is suggested, with the nearest of both classes. */
export type Reviewed = {
  picture: Picture;
  label: number | null;
  to: number | null;
  score: number;
  near_label: (Seen)[];
  near_to: (Seen)[];
};

/** What the last look at the folder found to be different; all 0: nothing. */
export type ScanResult = {
  added: number;
  missing: number;
  moved: number;
  changed: number;
  back: number;
};

/** A tile, and nothing that could lead an answer. */
export type Seen = {
  id: string;
  v: string | null;
  w: number | null;
  h: number | null;
  pages?: number;
};

/** ``goal`` of the stop advice, a share; ``features`` as chosen; the person's name. */
export type Settings = {
  goal: number;
  features: string;
  features_choices: (string)[];
  person: string;
};

/** What is left out stays; one change a request, each can be undone. */
export type SettingsChange = {
  id: string;
  goal?: number;
  features?: string;
  person?: string;
};

/** Settings and the advice that follows from them. */
export type SettingsChanged = {
  settings: Settings;
  advice: Advice;
  label_rev: number;
  undo: Done | null;
  redo: Done | null;
};

export type Shown = {
  class: number | null;
  p: number;
  model_rev: number;
  shown: boolean;
};

/** These are no near-duplicates: each is asked alone. Labels stay. */
export type StackBroken = {
  kind: "stack_broken";
  id: string;
  seen_rev: number;
  ms?: number;
  images: (string)[];
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
  model_rev: number;
  groups_rev: number;
  map_rev: number;
  features: Features | null;
  advice: Advice;
  audit: AuditStanding;
  first_look: boolean;
  goal: number;
  settings: Settings;
  people: People | null;
  trouble: string | null;
};

export type StateSet = {
  kind: "state_set";
  id: string;
  seen_rev: number;
  ms?: number;
  from?: "queue" | "grid" | "gallery" | "picture" | "history" | "map" | "review" | "find" | "border" | "accept";
  images: (string)[];
  state: "open" | "later" | "unsure" | "none" | "broken";
  suggestion?: Shown;
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

/** Events ``model``, ``groups``, ``map`` and ``features`` of the stream; 0: none yet. */
export type StreamLearned = {
  model_rev: number;
  groups_rev: number;
  map_rev: number;
  features: Features | null;
  first_look: boolean;
};

/** Event ``people`` of the stream: all, oneself included. */
export type StreamPeople = {
  people: (Colleague)[];
};

/** Event ``task`` of the stream: all that is under way; empty when nothing is. */
export type StreamTasks = {
  tasks: (Task)[];
  scanning: boolean;
  trouble: string | null;
};

export type Suggestion = {
  class: number | null;
  p: number;
  words: "very sure" | "fairly sure" | "guess";
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

/** One page of a picture as it is stored; ``low``, ``high``: percentiles 0.5 and 99.5. */
export type Values = {
  page: number;
  pages: number;
  channels: number;
  w: number;
  h: number;
  bits: number;
  least: number;
  most: number;
  low: number;
  high: number;
};

export type Vote = {
  person: string;
  state: "open" | "labelled" | "later" | "unsure" | "none" | "broken";
  class: number | null;
};
