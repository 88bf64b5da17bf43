import { useApp, useModel } from "../app/context";
import { api } from "../app/api";
import { count } from "../logic/texts";

export function NoPictures() {
  const model = useModel();
  const others = useApp((app) => app.state?.counts.others ?? 0);
  const problems = useApp((app) => app.state?.counts.problems ?? 0);
  return (
    <div class="empty">
      <p>
        No pictures in this folder. Looked for JPEG, PNG, TIFF, WebP, BMP, GIF in it and below.{" "}
        {others > 0 && `${count(others)} other files were left alone.`}
      </p>
      <div class="row">
        {problems > 0 && <a class="button" href="#/problems">Show the files with a problem</a>}
        <button type="button" onClick={() => void api.rescan().catch((e) => model.tell(String(e.message)))}>
          Look again
        </button>
      </div>
    </div>
  );
}
