import { useApp, useModel } from "../app/context";
import { STATES, type Address, type Sort } from "../logic/address";
import { shown } from "../logic/names";
import { count, STATE_WORDS } from "../logic/texts";

const SORTS: Record<Sort, string> = {
  name: "by name", "-name": "by name, last first", "-time": "answered last first",
  time: "answered first first",
};

/** Which pictures are in view, and in what order; all of it stands in the address. */
export function Filters({ address, total, at }: {
  address: Address;
  total: { n: number; exact: boolean } | null;
  at: number;
}) {
  const model = useModel();
  const counts = useApp((app) => app.state?.counts);
  const missing = counts?.missing ?? 0;
  const { filter } = address;
  const numbers: Record<string, number | undefined> = {
    open: counts && counts.open - counts.later, later: counts?.later, unsure: counts?.unsure,
    none: counts?.none, broken: counts?.broken,
  };
  const go = (change: Partial<Address>) => model.visit({ ...address, ...change, screen: "pictures" });
  const set = (field: "state" | "class" | "missing", value: string) => {
    const { [field]: _, ...rest } = filter;
    if (value === "") return go({ filter: rest });
    go({ filter: { ...rest, [field]: field === "class" ? Number(value) : field === "missing" || value } });
  };
  return (
    <div class="filters" role="group" aria-label="Which pictures">
      <select
        aria-label="State" value={filter.missing ? "missing" : (filter.state ?? "")}
        onChange={(event) => {
          const { value } = event.currentTarget;
          const { missing: _, state: __, ...rest } = filter;
          if (value === "missing") go({ filter: { missing: true } });
          else go({ filter: value ? { ...rest, state: value as (typeof STATES)[number] } : rest });
        }}
      >
        <option value="">every state</option>
        {STATES.map((state) => (
          <option key={state} value={state}>
            {STATE_WORDS[state]}
            {numbers[state] === undefined ? "" : ` (${count(numbers[state]!)})`}
          </option>
        ))}
        {(missing > 0 || filter.missing) && <option value="missing">missing ({count(missing)})</option>}
      </select>
      <select
        aria-label="Class" value={filter.class === undefined ? "" : String(filter.class)}
        onChange={(event) => set("class", event.currentTarget.value)}
      >
        <option value="">every class</option>
        {model.classes.filter((c) => c.id >= 0).map((c) => (
          <option key={c.id} value={c.id}>{shown(c.name)} ({count(c.pictures)})</option>
        ))}
      </select>
      <select
        aria-label="Order" value={address.sort}
        onChange={(event) => go({ sort: event.currentTarget.value as Sort })}
      >
        {Object.entries(SORTS).map(([sort, text]) => <option key={sort} value={sort}>{text}</option>)}
      </select>
      {filter.folder !== undefined && (
        <button type="button" onClick={() => go({ filter: { ...omit(filter) } })}>
          in {shown(filter.folder)} ✕
        </button>
      )}
      <span class="total" aria-live="off">
        {total && total.n > 0 && `${count(Math.min(at + 1, total.n))} of ${count(total.n)}${total.exact ? "" : " or more"}`}
      </span>
    </div>
  );
}

function omit({ folder: _, ...rest }: Address["filter"]): Address["filter"] {
  return rest;
}
