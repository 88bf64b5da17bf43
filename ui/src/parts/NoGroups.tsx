import { useApp, useModel } from "../app/context";
import { galleryOf } from "../app/gallery";
import { usePart } from "../app/observable";
import { FEWEST, groupsDone, groupsMore, groupsSoon, TOO_FEW } from "../logic/texts";
import { ClassColumn } from "./ClassColumn";
import { NoPictures } from "./NoPictures";

const MAKING = new Set(["pictures", "features", "groups"]); // tasks that end in newer groups

/** What the gallery says while there is no group to show, and the way on. */
export function NoGroups() {
  const model = useModel();
  const groups = galleryOf(model);
  const { loading, rev } = usePart(groups.view, (view) => view);
  const state = useApp((app) => app.state);
  useApp((app) => app.waiting);
  const counts = model.counts;
  if (!state || !counts) return <main class="gallery" aria-busy="true" />;
  const making = state.tasks.find((task) => MAKING.has(task.name));
  const more = making !== undefined || state.scanning;
  const queue = <a class="button" href="#/queue">Go to the queue <kbd>Shift+Q</kbd></a>;
  const about = () => {
    if (counts.pictures === 0 && !state.scanning) return <NoPictures />;
    if (counts.pictures < FEWEST && !state.scanning) return <><p>{TOO_FEW}</p>{queue}</>;
    if (state.groups_rev === 0) {
      const eta = state.tasks.find((task) => task.name !== "scan")?.eta_s ?? null;
      return <><p>{state.trouble ?? groupsSoon(eta)}</p>{queue}</>;
    }
    if (loading || rev === 0) return null;
    const open = counts.open + counts.by_model;
    return (
      <>
        <p>{more && open > 0 ? groupsMore(open, making?.eta_s ?? null) : groupsDone(open)}</p>
        <div class="row">
          {open > 0 && !more && (
            <button type="button" onClick={() => void groups.regroup()}>Regroup the open ones</button>
          )}
          {queue}
          <a class="button quiet" href="#/gallery?part=all">All groups</a>
        </div>
      </>
    );
  };
  return (
    <main class="gallery">
      <h1 class="said">Gallery</h1>
      <ClassColumn place="gallery" idle onReply={() => undefined} />
      <div class="empty nothing" aria-busy={loading || more}>{about()}</div>
    </main>
  );
}
