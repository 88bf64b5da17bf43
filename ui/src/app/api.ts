/** The only place that talks to the server: this computer's, and no other. */

import type {
  Accept, AcceptAsked, AcceptCheck, AcceptChecked, AcceptPreview, Accepted, AlikeAsked, Alikes,
  Aside, Audit, AuditResult, ClassChange, ClassMade, Confusion, Detail, Disagreements, ExportChoices, ExportDone,
  ExportOptions, ExportShown, Failed, Failure, Filter, GroupAct, GroupMerge, Groups,
  GroupsChanged, History, ImportAsked, ImportDone, ImportPart, ImportPartDone, ImportPreview,
  ImportWanted, MapIds, Mistakes, NewClass, Page, Problems, Queue, RegroupStarted, RescanStarted,
  Review, Settings, SettingsChange, State, Values,
} from "../api.types";
import { asked, AS_IT_COMES, type Look } from "../logic/look";
import type { Reply } from "../logic/outbox";

const PREFIX = "/api/v1";

/** A request that the server refused; the text is ready to be shown. */
export class Refused extends Error {
  constructor(readonly status: number, readonly failure: Failure) {
    super(failure.text);
  }
}

/** A request that nobody answered. */
export class Unreachable extends Error {}

async function ask(method: string, path: string, body?: unknown): Promise<Reply> {
  const options: RequestInit = { method, credentials: "same-origin", cache: "no-store" };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json", "X-Handful": "1" };
  }
  const response = await fetch(PREFIX + path, options);
  const text = await response.text();
  let parsed: unknown = {};
  try {
    parsed = text ? JSON.parse(text) : {};
  } catch {
    parsed = { error: { id: "", text: `The program answered ${response.status} without a reason.` } };
  }
  return { status: response.status, body: parsed as Record<string, unknown> };
}

async function must<T>(method: string, path: string, body?: unknown): Promise<T> {
  let reply: Reply;
  try {
    reply = await ask(method, path, body);
  } catch (error) {
    throw new Unreachable(String(error));
  }
  if (reply.status >= 400) {
    const failure = reply.body["error"] as Failure | undefined;
    throw new Refused(reply.status, failure ?? { id: "", text: `Refused (${reply.status}).` });
  }
  return reply.body as T;
}

function query(fields: Record<string, string | number | null | undefined>): string {
  const given = Object.entries(fields).filter(([, value]) => value !== null && value !== undefined);
  const text = new URLSearchParams(given.map(([k, v]) => [k, String(v)])).toString();
  return text ? `?${text}` : "";
}

export const api = {
  send: (path: string, body: unknown): Promise<Reply> => ask("POST", path, body),
  state: () => must<State>("GET", "/state"),
  images: (filter: Filter, sort: string, cursor: string | null, limit: number) =>
    must<Page>("GET", `/images${query({
      filter: Object.keys(filter).length ? JSON.stringify(filter) : null, sort, cursor, limit,
    })}`),
  values: (id: string, page: number, channel: number | null) =>
    must<Values>("GET", `/values/${id}${query({ page: page || null, channel })}`),
  image: (id: string) => must<Detail>("GET", `/images/${id}`),
  queue: (n: number, mode: string, cursor: string | null) =>
    must<Queue>("GET", `/queue${query({ n, mode, cursor })}`),
  groups: (cursor: string | null, limit: number, done = false) =>
    must<Groups>("GET", `/groups${query({ cursor, limit, done: done ? 1 : null })}`),
  halveGroup: (id: string, body: GroupAct) =>
    must<GroupsChanged>("POST", `/groups/${id}/halve`, body),
  asideGroup: (id: string, body: Aside) =>
    must<GroupsChanged>("POST", `/groups/${id}/aside`, body),
  mergeGroups: (body: GroupMerge) => must<GroupsChanged>("POST", "/groups/merge", body),
  regroup: () => must<RegroupStarted>("POST", "/groups/regroup", {}),
  settings: (body: SettingsChange) => must<Settings>("PATCH", "/settings", body),
  history: (cursor: string | null) => must<History>("GET", `/history${query({ cursor, limit: 50 })}`),
  newClass: (body: NewClass) => must<ClassMade>("POST", "/classes", body),
  changeClass: (id: number, body: ClassChange) => must<ClassMade>("PATCH", `/classes/${id}`, body),
  mergeClass: (id: number, body: { id: string; seen_rev: number; into: number }) =>
    must<ClassMade>("POST", `/classes/${id}/merge`, body),
  archiveClass: (id: number, body: { id: string; seen_rev: number }) =>
    must<ClassMade>("POST", `/classes/${id}/archive`, body),
  problems: (cursor: string | null) => must<Problems>("GET", `/problems${query({ cursor })}`),
  rescan: (ids?: string[]) => must<RescanStarted>("POST", "/rescan", ids ? { ids } : {}),
};

/** What leaves as files, and labels that come in from one. */
export const carrying = {
  choices: () => must<ExportChoices>("GET", "/export"),
  export: (options: ExportOptions) => must<ExportDone>("POST", "/export", options),
  show: () => must<ExportShown>("POST", "/export/show", {}),
  part: (part: ImportPart) => must<ImportPartDone>("POST", "/import/part", part),
  preview: (wanted: ImportWanted) => must<ImportPreview>("POST", "/import/preview", wanted),
  import: (asked: ImportAsked) => must<ImportDone>("POST", "/import", asked),
};

/** What is asked when the work is checked, and when alike pictures are looked for. */
export const checks = {
  audit: () => must<Audit>("GET", "/audit"),
  closeAudit: (id: string) => must<AuditResult>("POST", "/audit/close", { id }),
  moreAudit: (id: string) => must<Audit>("POST", "/audit/more", { id }),
  mistakes: () => must<Mistakes>("GET", "/audit/mistakes"),
  review: (kind: string, cursor: string | null, limit: number) =>
    must<Review>("GET", `/review${query({ kind, cursor, limit })}`),
  disagreements: (cursor: string | null, limit: number) =>
    must<Disagreements>("GET", `/disagreements${query({ cursor, limit })}`),
  confusion: () => must<Confusion>("GET", "/confusion"),
  preview: (body: AcceptAsked) => must<AcceptPreview>("POST", "/accept/preview", body),
  checked: (body: AcceptCheck) => must<AcceptChecked>("POST", "/accept/check", body),
  accept: (body: Accept) => must<Accepted>("POST", "/accept", body),
  like: (body: AlikeAsked) => must<Alikes>("POST", "/like", body),
  mapIds: (start: number, rev: number) => must<MapIds>("GET", `/map/ids${query({ start, rev })}`),
  map: (rev: number, part: "labels" | null): Promise<ArrayBuffer> =>
    bytes(`/map${query({ rev, part })}`),
};

async function bytes(path: string): Promise<ArrayBuffer> {
  let response: Response;
  try {
    response = await fetch(PREFIX + path, { credentials: "same-origin", cache: "no-store" });
  } catch (error) {
    throw new Unreachable(String(error));
  }
  if (!response.ok) {
    const { error } = (await response.json().catch(() => ({}))) as Partial<Failed>;
    throw new Refused(response.status, error ?? { id: "", text: `Refused (${response.status}).` });
  }
  return response.arrayBuffer();
}

/** Why something did not work, in words for the person. */
export function complaint(error: unknown): string {
  return error instanceof Refused ? error.message : "handful is not running. Nothing was changed.";
}

export type Side = 96 | 192 | 384;

export function thumbnail(picture: { id: string; v: string | null }, side: Side): string {
  return `${PREFIX}/t/${picture.id}/${side}${query({ v: picture.v })}`;
}

export function full(
  picture: { id: string; v: string | null }, pixels = false, look: Look = AS_IT_COMES, page = 0,
): string {
  return `${PREFIX}/full/${picture.id}${query({
    v: picture.v, px: pixels ? 1 : null, page: page || null, ...asked(look),
  })}`;
}

export function stream(): EventSource {
  return new EventSource(`${PREFIX}/stream`);
}
