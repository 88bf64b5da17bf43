import { render, type JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { api, Refused } from "./app/api";
import { ModelContext, useApp } from "./app/context";
import { listenToKeys } from "./app/keyboard";
import { galleryOf } from "./app/gallery";
import { Model } from "./app/model";
import type { Screen as Name } from "./logic/address";
import { Frame } from "./parts/Frame";
import { Audit } from "./screens/Audit";
import { Classes } from "./screens/Classes";
import { Export } from "./screens/Export";
import { Find } from "./screens/Find";
import { Gallery } from "./screens/Gallery";
import { History } from "./screens/History";
import { Keys } from "./screens/Keys";
import { Pictures } from "./screens/Pictures";
import { Problems } from "./screens/Problems";
import { Queue } from "./screens/Queue";
import { Review } from "./screens/Review";

/** Few go to the map: its code comes when somebody does. */
const Map = later(() => import("./screens/Map").then((found) => found.Map));

function later(load: () => Promise<() => JSX.Element>): () => JSX.Element {
  let Found: (() => JSX.Element) | null = null;
  return function Later() {
    const [, draw] = useState(0);
    useEffect(() => {
      if (!Found) void load().then((found) => { Found = found; draw(1); });
    }, []);
    return Found ? <Found /> : <main class="empty" aria-busy="true" />;
  };
}

const SCREENS: Record<Name, () => JSX.Element> = {
  gallery: Gallery, queue: Queue, pictures: Pictures, audit: Audit, review: Review,
  map: Map, find: Find, classes: Classes, export: Export, problems: Problems,
  history: History, keys: Keys,
};

function Page({ model }: { model: Model }) {
  return (
    <ModelContext.Provider value={model}>
      <Work />
    </ModelContext.Provider>
  );
}

function Work() {
  const screen = useApp((app) => app.address.screen);
  const folder = useApp((app) => app.state?.project.folder ?? "");
  useEffect(() => {
    document.title = folder ? `${folder} – handful` : "handful";
  }, [folder]);
  const Screen = SCREENS[screen];
  return (
    <Frame>
      <Screen key={screen} />
    </Frame>
  );
}

function Shut({ text }: { text: string }) {
  return (
    <main class="empty">
      <p role="alert">{text}</p>
      <button type="button" onClick={() => location.reload()}>Try again</button>
    </main>
  );
}

async function start(): Promise<void> {
  const root = document.getElementById("page")!;
  try {
    const model = new Model(await api.state());
    listenToKeys(model);
    galleryOf(model); // hears from the start what becomes of groups
    model.start();
    render(<Page model={model} />, root);
  } catch (error) {
    const gone = "handful is not running any more. Run the same command to go on.";
    render(<Shut text={error instanceof Refused ? error.message : gone} />, root);
  }
}

void start();
