/** The sentences of the screens that check the work. */

import { count, pictures } from "./texts";

const SOURCES: Record<string, string> = {
  hand: "by you", oracle: "by you", initial: "given at the start", group: "by you, in a group",
  accepted: "accepted from the model", imported: "imported", copied: "copied from its double",
  audit: "your blind answer", weak: "guessed by a rule", model: "by the model",
};

/** How a label arose, in words; empty where nobody knows. */
export function sourceWords(source: string | null): string {
  return source === null ? "" : (SOURCES[source] ?? source);
}

/** `14 nauplius that look like copepod`: what a cell of the table opens. */
export function cellText(n: number, label: string, to: string, kind: Compared = "cell"): string {
  if (kind === "audit") return `${count(n)} ${label} answered blind as ${to}`;
  return label === to ? `${count(n)} ${label} that look like ${to}, too` : `${count(n)} ${label} that look like ${to}`;
}

export function acceptable(n: number): string {
  return n === 0 ? "no pictures" : pictures(n);
}

export function firstCheck(n: number): string {
  return `First check ${count(n)} of them blind.`;
}

export function sampled(total: number, of: number): string {
  return `Showing ${count(of)} of ${count(total)} points, all selected ones included.`;
}

export function chosen(n: number): string {
  return `${count(n)} selected`;
}

/** What a label is compared with: a held-out suggestion, or a blind answer. */
export type Compared = "cell" | "audit";

/** A cell of a table as it stands in the address: `cell:3:4`, `none` for none of these. */
export function cellPart(kind: Compared, label: number | null, to: number | null): string {
  return `${kind}:${label ?? "none"}:${to ?? "none"}`;
}

export function cellOf(part: string): { kind: Compared; label: number | null; to: number | null } | null {
  const match = /^(cell|audit):(\d+|none):(\d+|none)$/.exec(part);
  if (!match) return null;
  const [label, to] = [match[2]!, match[3]!].map((text) => (text === "none" ? null : Number(text)));
  return { kind: match[1] as Compared, label: label!, to: to! };
}

/** The share as a person types it: `0,97`, `97`, `97 %` and `.97` mean the same; null: no share. */
export function shareOf(text: string): number | null {
  const clean = text.trim().replace(",", ".").replace(/\s*%$/, "");
  if (!/^\d*\.?\d+$|^\d+\.$/.test(clean)) return null;
  const value = Number(clean);
  const share = value > 1 || /%\s*$/.test(text) ? value / 100 : value;
  return share >= 0 && share <= 1 ? share : null;
}
