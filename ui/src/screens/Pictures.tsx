import { useEffect, useRef, useState } from "preact/hooks";
import type { Page, Picture } from "../api.types";
import { api, Refused } from "../app/api";
import { useApp, useModel } from "../app/context";
import { asked, format, type Address } from "../logic/address";
import { Filters } from "../parts/Filters";
import { NoPictures } from "../parts/NoPictures";
import { PictureGrid } from "../parts/PictureGrid";

const PAGE = 500;

interface Loaded {
  key: string; // of the filter and the order
  items: readonly Picture[];
  next: string | null;
  total: number;
  exact: boolean;
}

/** Pages one after the other, as far as the view needs them. */
function usePictures(address: Address, reload: number) {
  const model = useModel();
  const key = format({ ...address, screen: "pictures" });
  const [loaded, setLoaded] = useState<Loaded | null>(null);
  const latest = useRef<Loaded | null>(null);
  const busy = useRef<Promise<void> | null>(null);
  const take = (value: Loaded) => {
    latest.current = value;
    setLoaded(value);
  };
  /** Pages up to `n` pictures, behind what is there or anew; anew is shown when it is whole. */
  const load = async (n: number, anew: boolean): Promise<void> => {
    let have = !anew && latest.current?.key === key ? latest.current : null;
    while (!have || (have.next !== null && have.items.length < n)) {
      const page: Page = await api.images(
        asked(address.filter), address.sort, have?.next ?? null, PAGE,
      );
      have = {
        key, items: [...(have?.items ?? []), ...page.items], next: page.next, total: page.total,
        exact: page.total_exact,
      };
      if (!anew) take(have);
    }
    if (anew) take(have);
  };
  const run = (n: number, anew: boolean): Promise<void> => {
    busy.current = (busy.current ?? Promise.resolve())
      .then(() => load(n, anew))
      .catch((error) => {
        if (error instanceof Refused) model.tell(error.message, "careful");
      });
    return busy.current;
  };
  const until = (n: number) => run(n, false);
  useEffect(() => {
    latest.current = null;
    void until(1);
  }, [key]);
  useEffect(() => {
    if (reload > 0 && latest.current) void run(latest.current.items.length, true);
  }, [reload]);
  return { loaded: loaded?.key === key ? loaded : null, until };
}

export function Pictures() {
  const address = useApp((app) => app.address);
  const reload = useApp((app) => app.reload);
  const { loaded, until } = usePictures(address, reload);
  const [at, setAt] = useState(0);
  return (
    <PictureGrid
      title="Pictures" from="grid" of={format(address)} items={loaded?.items ?? []}
      total={loaded?.total ?? 0} until={until} onMoved={setAt}
      top={<Filters address={address} total={loaded ? { n: loaded.total, exact: loaded.exact } : null} at={at} />}
      empty={loaded && loaded.total === 0 ? <Nothing address={address} /> : null}
    />
  );
}

function Nothing({ address }: { address: Address }) {
  const pictures = useApp((app) => app.state?.counts.pictures ?? 0);
  const { filter } = address;
  const filtered = Object.keys(filter).length > 0;
  if (pictures === 0 && !filtered) return <NoPictures />;
  return (
    <div class="empty">
      <p>No picture is like that.</p>
      <a class="button" href="#/pictures">Show all pictures</a>
    </div>
  );
}
