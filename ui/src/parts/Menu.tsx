import { useEffect, useRef, useState } from "preact/hooks";

/** A button with a short list behind it; arrows move, Esc closes. */
export function Menu({ label, entries }: {
  label: string;
  entries: readonly (readonly [text: string, run: (() => void) | null])[];
}) {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  const able = entries.filter((entry) => entry[1] !== null);
  useEffect(() => {
    if (!open) return;
    box.current?.querySelector<HTMLElement>("[role=menuitem]")?.focus();
    const outside = (event: Event) => {
      if (!box.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener("pointerdown", outside);
    return () => document.removeEventListener("pointerdown", outside);
  }, [open]);
  const close = () => {
    setOpen(false);
    box.current?.querySelector<HTMLElement>("button")?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const items = [...(box.current?.querySelectorAll<HTMLElement>("[role=menuitem]") ?? [])];
    const at = items.indexOf(document.activeElement as HTMLElement);
    if (!open) return;
    if (event.key === "Escape") close();
    else if (event.key === "ArrowDown") items[(at + 1) % items.length]?.focus();
    else if (event.key === "ArrowUp") items.at(at - 1)?.focus();
    else if (event.key === "Tab") return setOpen(false);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div class="menu" ref={box} onKeyDown={onKeyDown}>
      <button
        type="button" class="quiet" aria-haspopup="menu" aria-expanded={open} aria-label={label}
        onClick={() => setOpen((is) => !is)}
      >
        •••
      </button>
      {open && (
        <ul role="menu" aria-label={label}>
          {able.map(([text, run]) => (
            <li key={text} role="none">
              <button
                type="button" role="menuitem"
                onClick={() => {
                  close();
                  run!();
                }}
              >
                {text}
              </button>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
