import { useState } from "preact/hooks";
import type { Group } from "../api.types";
import { useApp, useKeys, useModel } from "../app/context";
import { galleryOf, pairId } from "../app/gallery";
import { usePart } from "../app/observable";
import * as gallery from "../logic/gallery";
import { keyOf } from "../logic/keys";
import { count, pictures } from "../logic/texts";
import { ClassColumn, keepFocus } from "./ClassColumn";
import { LikelyName, useNameOf } from "./Likely";
import { Thumbnail } from "./Tile";

const FEW = 4;
const TILE = 136;

/** Two groups that look alike: are they the same class? */
export function PairCard() {
  const model = useModel();
  const groups = galleryOf(model);
  const { line, asked } = usePart(groups.view, (view) => view);
  const hide = useApp((app) => app.settings.hide);
  const [large, setLarge] = useState<string | null>(null);
  const [begun] = useState(() => asked.size);
  const { cards } = groups;
  const pair = cards[0];
  const back = () => model.visit({ screen: "gallery" });
  const answer = (given: "same" | "different" | "unsure") => {
    setLarge(null);
    if (pair) void groups.pair(pair, given);
  };
  useKeys((meaning) => {
    if (!("command" in meaning)) return false;
    if (meaning.command === "label-group") pair ? answer("same") : back();
    else if (meaning.command === "different") answer("different");
    else if (meaning.command === "unsure") answer("unsure");
    else if (meaning.command === "close") large === null ? back() : setLarge(null);
    else return false;
    return true;
  });
  const key = (command: string) => keyOf(command, model.now.settings.bindings);
  const number = asked.size - begun;
  return (
    <main class="gallery" data-testid="pair">
      <ClassColumn place="gallery" idle onReply={() => undefined} />
      <header class="group-head">
        <h1>Are these the same class?</h1>
        {pair && <span class="dim">{count(number + 1)} of {count(number + cards.length)}</span>}
        <button type="button" class="push quiet" onMouseDown={keepFocus} onClick={back}>Back to the group <kbd>Esc</kbd></button>
      </header>
      {pair ? (
        <div class="ground pair" key={pairId(pair)}>
          {pair.map((id) => (
            <Side
              key={id} group={gallery.find(line, id)!.group} hide={hide} large={large === id}
              small={large !== null && large !== id} onLarge={() => setLarge(large === id ? null : id)}
            />
          ))}
        </div>
      ) : (
        <div class="empty ground">
          <p>No more groups look so much alike that they should be compared.</p>
          <button type="button" onClick={back}>Back to the groups <kbd>{key("label-group")}</kbd></button>
        </div>
      )}
      <footer class="acts">
        {pair && (
          <>
            <button type="button" class="main" onMouseDown={keepFocus} onClick={() => answer("same")}>Same <kbd>{key("label-group")}</kbd></button>
            <button type="button" onMouseDown={keepFocus} onClick={() => answer("different")}>Different <kbd>{key("different")}</kbd></button>
            <button type="button" onMouseDown={keepFocus} onClick={() => answer("unsure")}>Not sure <kbd>{key("unsure")}</kbd></button>
            <span class="dim push">The same: they become one group. You label it next.</span>
          </>
        )}
      </footer>
    </main>
  );
}

function Side({ group, hide, large, small, onLarge }: {
  group: Group;
  hide: boolean;
  large: boolean;
  small: boolean;
  onLarge: () => void;
}) {
  const nameOf = useNameOf();
  const name = hide ? null : nameOf(group.likely);
  if (small) return null;
  const tiles = group.typical.slice(0, large ? group.typical.length : FEW);
  return (
    <button
      type="button" class={`side ${large ? "wide" : ""}`} onMouseDown={keepFocus} onClick={onLarge}
    >
      <span class="tiles">
        {tiles.map((picture) => <span key={picture.id}><Thumbnail of={picture} tile={TILE} /></span>)}
      </span>
      <span class="row">
        <b><span class="said">Group of </span>{pictures(group.n)}</b>
        {name !== null && <LikelyName of={group.likely!} words="brackets" />}
        <span class="dim">{large ? "see less" : "see more"}</span>
      </span>
    </button>
  );
}
