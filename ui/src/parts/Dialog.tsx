import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

/** A question over the page, only where something would change that deserves a second look. */
export function Dialog({ title, children, onClose, onSubmit, action, disabled }: {
  title: string;
  children: ComponentChildren;
  onClose: () => void;
  onSubmit: () => void;
  action: string;
  disabled?: boolean;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement;
    const box = dialog.current!;
    box.showModal();
    const first = box.querySelector<HTMLElement>("input, .catches, button.main:enabled");
    first?.focus();
    return () => (before as HTMLElement | null)?.focus?.();
  }, []);
  return (
    <dialog
      ref={dialog} class="card" aria-labelledby="dialog-title"
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (!disabled) onSubmit();
        }}
      >
        <h2 id="dialog-title">{title}</h2>
        {children}
        <div class="ends">
          <button type="button" onClick={onClose}>Cancel <kbd>Esc</kbd></button>
          <button type="submit" class="main" disabled={disabled ?? false}>
            {action} <kbd>Enter</kbd>
          </button>
        </div>
      </form>
    </dialog>
  );
}
