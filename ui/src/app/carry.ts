/** Labels that come in from a file: sent in pieces, shown, then taken or not. */

import type { ImportPreview } from "../api.types";
import { base64, pieces, uploadName } from "../logic/carry";
import { carrying, complaint, Refused } from "./api";
import type { Model } from "./model";
import { Observable } from "./observable";

export interface Coming {
  busy: string; // what is under way, in words; empty when nothing is
  wanted: { upload?: string; guesses?: boolean } | null;
  preview: ImportPreview | null;
  complaint: string;
  done: string;
}

const NOTHING: Coming = { busy: "", wanted: null, preview: null, complaint: "", done: "" };

export class Import {
  readonly coming = new Observable<Coming>(NOTHING);

  constructor(private readonly model: Model) {}

  /** A file that was dropped or chosen. */
  async take(file: File): Promise<void> {
    const cuts = pieces(file.size);
    if (!cuts) {
      this.coming.set({ ...NOTHING, complaint: "The file is larger than 128 MB. Split it, or use handful import." });
      return;
    }
    this.coming.set({ ...NOTHING, busy: "Reading the file..." });
    const upload = uploadName();
    try {
      for (const [part, [from, to]] of cuts.entries()) {
        const data = base64(new Uint8Array(await file.slice(from, to).arrayBuffer()));
        await carrying.part({ upload, name: file.name.slice(0, 300) || "file", part, parts: cuts.length, data });
      }
      await this.look({ upload });
    } catch (error) {
      this.coming.set({ ...NOTHING, complaint: complaint(error) });
    }
  }

  /** What a file, or the folders that the pictures lie in, would change. */
  async look(wanted: NonNullable<Coming["wanted"]>): Promise<void> {
    this.coming.set({ ...NOTHING, busy: "Comparing..." });
    try {
      const preview = await carrying.preview(wanted);
      this.coming.set({ ...NOTHING, wanted, preview });
    } catch (error) {
      this.coming.set({ ...NOTHING, complaint: complaint(error) });
    }
  }

  async apply(onlyNew: boolean): Promise<void> {
    const { wanted, preview } = this.coming.now;
    const { state } = this.model.now;
    if (!wanted || !preview || !state) return;
    this.coming.set({ busy: "Importing..." });
    try {
      const done = await carrying.import({
        ...wanted, id: this.model.outbox.newId(), seen_rev: state.label_rev,
        set_hash: preview.set_hash, ...(onlyNew ? { only_new: true } : {}),
      });
      const text = done.undo?.text ?? "";
      this.coming.set({ ...NOTHING, done: `${text.charAt(0).toUpperCase()}${text.slice(1)}. One undo takes all of it back.` });
      await this.model.refresh();
    } catch (error) {
      if (error instanceof Refused && error.failure.id === "E12") {
        await this.look(wanted);
        this.coming.set({ complaint: error.message });
      } else {
        this.coming.set({ busy: "", complaint: complaint(error) });
      }
    }
  }

  /** The same file, with what a model wrote. */
  async guesses(): Promise<void> {
    const { wanted } = this.coming.now;
    if (wanted) await this.look({ ...wanted, guesses: true });
  }

  forget(): void {
    this.coming.set(NOTHING);
  }
}
