import { useState } from "preact/hooks";
import type { People } from "../api.types";
import { api } from "../app/api";
import { useApp, useModel } from "../app/context";
import { shown } from "../logic/names";
import { count } from "../logic/texts";
import { Dialog } from "./Dialog";

const REMEMBERED = "handful.name";
const LONGEST = 60;
const MOST = 3; // names in the line; the others are behind it

/** Who else labels, and how far each is. */
export function Everybody() {
  const people = useApp((app) => app.state?.people ?? null);
  if (!people) return null;
  const others = [...people.others].sort((a, b) => Number(b.here) - Number(a.here) || b.answers - a.answers);
  return (
    <details class="advice people" data-testid="people">
      <summary>
        {others.length === 0 && "Nobody else yet"}
        {others.slice(0, MOST).map((one) => (
          <span key={one.name} class={one.here ? "" : "dim"} data-testid="colleague">
            {shown(one.name)} <b>{count(one.answers)}</b>
          </span>
        ))}
        {others.length > MOST && <span>and {count(others.length - MOST)} more</span>}
      </summary>
      <div class="fold"><List people={people} /></div>
    </details>
  );
}

function List({ people }: { people: People }) {
  return (
    <>
      <dl class="everybody">
        <dt>{shown(people.you)} (you)</dt><dd>{count(people.answers)}</dd>
        {people.others.map((one) => [
          <dt key={one.name}>{shown(one.name)} {!one.here && <span class="dim">away</span>}</dt>,
          <dd key={`${one.name}/n`}>{count(one.answers)}</dd>,
        ])}
      </dl>
      <p class="dim">Answers so far. Nobody is asked what somebody else is being asked.</p>
      {people.link && (
        <label class="invite">
          Open this on another device of this network:
          <input type="text" readOnly value={people.link} onFocus={(event) => event.currentTarget.select()} />
        </label>
      )}
    </>
  );
}

/** Asks who is there: a name, no account; the browser remembers it. */
export function AskName() {
  const model = useModel();
  const unnamed = useApp((app) => app.state?.people?.named === false);
  const [later, setLater] = useState(false);
  const [name, setName] = useState(remembered);
  if (!unnamed || later) return null;
  const take = async () => {
    try {
      await api.settings({ id: model.outbox.newId(), person: name.trim() });
      remember(name.trim());
      await model.refresh();
    } catch (error) {
      model.refuse(error);
    }
  };
  return (
    <Dialog title="Who is labelling here?" action="Begin" disabled={!name.trim()} onClose={() => setLater(true)} onSubmit={() => void take()}>
      <label class="field">
        Your name
        <input
          type="text" data-testid="name-field" value={name} maxLength={LONGEST} autocomplete="nickname"
          onInput={(event) => setName(event.currentTarget.value)}
        />
      </label>
      <p class="dim">No account: the others see it beside your answers, and it stands in the export.</p>
    </Dialog>
  );
}

function remembered(): string {
  try {
    return localStorage.getItem(REMEMBERED) ?? "";
  } catch {
    return "";
  }
}

function remember(name: string): void {
  try {
    localStorage.setItem(REMEMBERED, name);
  } catch {
    // A browser without storage asks again.
  }
}
