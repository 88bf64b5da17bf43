/** Files on their way out and in: pieces, sizes, and what a preview says. */

import type { ExportFormat, ExportOptions, ImportPreview } from "../api.types";
import { count, pictures } from "./texts";

export type Format = ExportFormat["id"];

/** A request holds at most 4 MB; base64 takes a third more than its bytes. */
export const PIECE = 2_000_000;
export const MOST_PIECES = 64;

export interface Chosen {
  labels: boolean;
  formats: readonly Format[];
  where: "pictures" | "project";
  states: boolean;
  open: boolean;
  byModel: boolean;
  pictures: boolean; // in parquet
  folders: boolean;
  how: "copies" | "links";
  place: string;
  model: boolean;
  report: boolean;
  examples: boolean;
}

/** What is asked of the server; null while nothing is chosen. */
export function asked(chosen: Chosen): ExportOptions | null {
  const formats = chosen.labels ? [...chosen.formats] : [];
  if (!formats.length && !chosen.folders && !chosen.model && !chosen.report) return null;
  return {
    formats, where: chosen.where, states: chosen.states, open: chosen.open,
    model_labels: chosen.byModel, pictures: chosen.pictures, model: chosen.model,
    report: chosen.report, report_pictures: chosen.report && chosen.examples,
    ...(chosen.folders ? { folders: chosen.how, folders_where: chosen.place } : {}),
  };
}

/** Where a file of this size is cut; null where it is too large to be taken in. */
export function pieces(size: number, piece: number = PIECE): [number, number][] | null {
  const n = Math.max(1, Math.ceil(size / piece));
  if (n > MOST_PIECES) return null;
  return Array.from({ length: n }, (_, i) => [i * piece, Math.min(size, (i + 1) * piece)]);
}

export function base64(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return btoa(text);
}

/** A name for an upload that no other has. */
export function uploadName(random: () => number = Math.random): string {
  return Array.from({ length: 16 }, () => Math.floor(random() * 36).toString(36)).join("");
}

/** `1.2 MB`. */
export function size(bytes: number): string {
  if (bytes < 1000) return `${count(bytes)} bytes`;
  const [n, unit] = bytes < 1e6 ? [bytes / 1e3, "kB"] : [bytes / 1e6, "MB"];
  return `${n.toFixed(n < 10 ? 1 : 0)} ${unit}`;
}

/** The lines under the first sentence of a preview: what else there is to know, in words. */
export function details(preview: ImportPreview): string[] {
  const rows = (n: number) => (n === 1 ? "1 row" : `${count(n)} rows`);
  const lines: [number, string][] = [
    [preview.same, `${pictures(preview.same)} already ${preview.same === 1 ? "has its" : "have their"} label.`],
    [preview.conflicts, `${pictures(preview.conflicts)} ${preview.conflicts === 1 ? "is" : "are"} given two classes and left out.`],
    [preview.faulty, `${rows(preview.faulty)} cannot be used and ${preview.faulty === 1 ? "is" : "are"} left out.`],
    [preview.empty, `${rows(preview.empty)} without a label.`],
    [preview.guesses, `${rows(preview.guesses)} that a model wrote ${preview.guesses === 1 ? "is" : "are"} left out.`],
    [preview.by_content, `${pictures(preview.by_content)} found by content, under another name.`],
    [preview.by_end, `${pictures(preview.by_end)} found by the end of the name.`],
  ];
  return lines.filter(([n]) => n > 0).map(([, text]) => text);
}

/** The words of the two buttons; null where the button would do nothing, or the same. */
export function buttons(preview: ImportPreview): { all: string | null; fresh: string | null } {
  const all = preview.new + preview.change;
  return {
    all: all > 0 ? `Import ${count(all)}` : null,
    fresh: preview.new > 0 && preview.change > 0 ? `Only the new ${count(preview.new)}` : null,
  };
}
