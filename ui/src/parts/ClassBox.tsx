import { useRef, useState } from "preact/hooks";
import { useApp, useKeys, useModel } from "../app/context";
import type { Reply } from "../app/model";
import { linesFor } from "../logic/box";
import { shown } from "../logic/names";
import { Chip } from "./Chip";

/** The box in which a class is typed: found while typing, or made by its own last line. */
export function ClassBox({ onReply }: { onReply: (reply: Reply) => void }) {
  const model = useModel();
  useApp((app) => app.state);
  useApp((app) => app.provisional);
  const [typed, setTyped] = useState("");
  const [open, setOpen] = useState(false);
  const [moved, setMoved] = useState<number | null>(null);
  const input = useRef<HTMLInputElement>(null);
  const { lines, highlighted, problem } = linesFor(typed, model.classes);
  const at = Math.min(moved ?? highlighted, lines.length - 1);

  useKeys((meaning) => {
    if (!("command" in meaning) || meaning.command !== "type") return false;
    input.current?.focus();
    return true;
  });

  const close = () => {
    setTyped("");
    setOpen(false);
    setMoved(null);
    input.current?.blur();
  };
  const take = (index: number) => {
    const line = lines[index];
    if (!line) return;
    close();
    onReply(line.kind === "class" ? { class: line.id } : model.named(line.name));
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.isComposing) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) setMoved(Math.max(0, Math.min(lines.length - 1, at + step)));
    else if (event.key === "Enter") take(at);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <div class="typing">
      <input
        ref={input} type="text" data-testid="class-box" placeholder="/  type a name"
        role="combobox" aria-label="Class by name" aria-expanded={open && lines.length > 0}
        aria-controls="class-lines" aria-autocomplete="list" autocomplete="off" spellcheck={false}
        aria-activedescendant={open && at >= 0 ? `class-line-${at}` : undefined}
        value={typed} onFocus={() => setOpen(true)} onBlur={() => setOpen(false)}
        onInput={(event) => {
          setTyped(event.currentTarget.value);
          setMoved(null);
          setOpen(true);
        }}
        onKeyDown={onKeyDown}
      />
      {open && typed !== "" && (
        <ul class="lines" id="class-lines" role="listbox" aria-label="Classes">
          {lines.map((line, i) => (
            <li
              key={line.kind === "class" ? line.id : "new"} id={`class-line-${i}`} role="option"
              aria-selected={i === at} class={line.kind}
              onMouseDown={(event) => {
                event.preventDefault();
                take(i);
              }}
            >
              {line.kind === "class" ? (
                <>
                  <Chip of={model.classes.find((c) => c.id === line.id)!} /> {shown(line.name)}
                </>
              ) : (
                <span>
                  New class "{shown(line.name)}"
                  {line.near && <span class="near"> — close to "{shown(line.near)}"</span>}
                </span>
              )}
            </li>
          ))}
          {problem && <li class="why" role="option" aria-selected={false}>{problem}</li>}
        </ul>
      )}
    </div>
  );
}
