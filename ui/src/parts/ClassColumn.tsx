import type { ComponentChildren } from "preact";
import type { ClassInfo } from "../api.types";
import { useApp, useModel } from "../app/context";
import type { Reply } from "../app/model";
import { COMMANDS, keysOf, nameOf, within, type Place } from "../logic/keys";
import { shown } from "../logic/names";
import { count } from "../logic/texts";
import { Chip } from "./Chip";
import { ClassBox } from "./ClassBox";

const OTHERS = [
  { state: "none", text: "none of these", commands: ["none"] },
  { state: "unsure", text: "unsure", commands: ["unsure"] },
  { state: "later", text: "later", commands: ["later", "later-selected"] },
  { state: "broken", text: "broken", commands: ["broken"] },
];

/** Keeps the focus where it is: a button pressed by mouse must not swallow the next Space. */
export const keepFocus = (event: Event) => event.preventDefault();

/** Every answer there is, with its key: the classes, then what is no class. */
export function ClassColumn({ place, idle, mark, onReply }: {
  place: Exclude<Place, "classes" | "other">;
  idle?: boolean;
  mark?: (of: ClassInfo) => ComponentChildren; // what stands for the class on this screen
  onReply: (reply: Reply) => void;
}) {
  const model = useModel();
  useApp((app) => app.state);
  useApp((app) => app.provisional);
  useApp((app) => app.waiting);
  const flash = useApp((app) => app.flash);
  const bindings = useApp((app) => app.settings.bindings);
  const classes = model.classes;
  return (
    <aside class={`classes-column ${idle ? "idle" : ""}`} aria-label="Answers">
      <ClassBox onReply={onReply} />
      <div class="list">
        {classes.length === 0 && (
          <p class="dim">No classes yet. Press <kbd>/</kbd> and type a name.</p>
        )}
        {classes.map((c) => (
          <button
            key={c.id} type="button" data-testid="class-row" data-class={c.id}
            class={`class-row ${flash === `class-${c.id}` ? "given" : ""}`}
            onMouseDown={keepFocus} onClick={() => onReply({ class: c.id })}
          >
            <Chip of={c} />
            {mark?.(c)}
            <span class="name" title={shown(c.name)}>{shown(c.name)}</span>
            {/* Counts tell what is likely: none while answers are blind. */}
            {place !== "audit" && <span class="number">{count(c.pictures)}</span>}
          </button>
        ))}
      </div>
      <div class="others">
        {OTHERS.map(({ state, text, commands }) => {
          const command = COMMANDS.find((c) => commands.includes(c.id) && within(c, place));
          const key = command && keysOf(command, bindings)[0];
          return (
            <button
              key={state} type="button" class={`class-row ${flash === state ? "given" : ""}`}
              onMouseDown={keepFocus} onClick={() => onReply({ state })}
            >
              {key && <kbd>{nameOf(key)}</kbd>}
              <span class="name">{text}</span>
            </button>
          );
        })}
      </div>
    </aside>
  );
}
