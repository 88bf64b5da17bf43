// A book in memory behind the API, for the tests of the page: as much of it as they ask for.

const ANSWERED = new Set(["labelled", "unsure", "none", "broken"]);

export function mockServer({
  names = 30, problems = [], firstVisit = true, folder = "plankton", groups = [], near = [],
  firstLook = 0, modelRev = 0,
} = {}) {
  const pictures = Array.from({ length: names }, (_, i) => ({
    id: `p${i}`, v: "1", w: 64, h: 64, name: `deep/${String(i + 1).padStart(6, "0")}.png`,
    presence: "here", state: "open", class: null, source: null, person: "", at: null, sug: null,
    stack: 1,
  }));
  const classes = [];
  const log = []; // {id, seq, at, text, undone, before: [[picture, state, class, source]], classes}
  const server = { pictures, classes, log, requests: [], up: true, scanning: false, tasks: [], handle, modelRev, groupsRev: groups.length ? 1 : 0, firstLook, near };
  // Groups are lists of positions; an id is the revision and a number, as the server makes it.
  let counter = 0;
  const asGroup = (ids) => ({ id: `${server.groupsRev}.${counter++}`, ids, aside: null, likely: null });
  server.groups = groups.map((some) => asGroup(some.map((i) => `p${i}`)));
  server.regroup = (some) => {
    server.groupsRev += 1;
    server.groups = some.map((list) => asGroup(list.map((i) => `p${i}`)));
  };
  const byId = new Map(pictures.map((p) => [p.id, p]));
  server.add = (found) => {
    for (const picture of found) {
      pictures.push(picture);
      byId.set(picture.id, picture);
    }
  };

  const top = (undone) => log.findLast((e) => e.kind === "answer" && e.undone === undone);
  const done = (entry) => (entry ? { id: entry.id, text: entry.text } : null);
  const revisions = () => ({ label_rev: log.length, undo: done(top(false)), redo: done(redoable()) });
  const redoable = () => (server.redo ? log.find((e) => e.id === server.redo) : null);

  function counts() {
    const of = (state) => pictures.filter((p) => p.state === state).length;
    return {
      pictures: pictures.length,
      by_you: pictures.filter((p) => ANSWERED.has(p.state) && p.source !== "group").length,
      in_groups: pictures.filter((p) => p.source === "group").length, by_model: 0,
      open: of("open") + of("later"), later: of("later"), unsure: of("unsure"), none: of("none"),
      broken: of("broken"), missing: 0, problems: problems.length, others: 3,
    };
  }

  function classInfos() {
    return classes.map((c) => {
      const own = pictures.filter((p) => p.class === c.id);
      return { ...c, pictures: own.length, by_you: own.length, in_groups: 0, by_model: 0, guide: { text: "", examples: [], nots: [] } };
    });
  }

  function makeClass(name) {
    const found = classes.find((c) => !c.archived && c.name.toLowerCase() === name.toLowerCase());
    if (found) return found;
    const keys = [..."1234567890qwertasdfzxcvb"];
    const key = keys.find((k) => !classes.some((c) => c.key === k && !c.archived)) ?? null;
    const made = { id: classes.length, name, key, look: classes.length % 21, archived: false, merged_into: null };
    classes.push(made);
    return made;
  }

  function record(id, text, ids, change) {
    const before = ids.map((i) => ({ ...byId.get(i) }));
    for (const i of ids) Object.assign(byId.get(i), change);
    log.push({
      kind: "answer", id, seq: log.length + 1, at: 1.7e9 + log.length, person: "", text, undone: false,
      before, after: ids.map((i) => ({ ...byId.get(i) })),
    });
    server.redo = null;
  }

  function decide(event) {
    const known = log.find((e) => e.id === event.id);
    if (known) return { id: event.id, ok: true, seq: known.seq };
    if (event.kind === "pair_answered") {
      log.push({ kind: "answer", id: event.id, seq: log.length + 1, at: 1.7e9, person: "", text: "pair", undone: false, before: [], after: [] });
      return { id: event.id, ok: true, seq: log.length };
    }
    const ids = event.images ?? [event.image];
    if (ids.some((i) => !byId.has(i))) {
      return { id: event.id, ok: false, error: { id: "E12", text: "This picture is not here any more." } };
    }
    const what = ids.length === 1 ? "1 image" : `${ids.length} images`;
    if (event.state !== undefined) {
      const source = ANSWERED.has(event.state) ? "hand" : null;
      record(event.id, `${what} set to ${event.state}`, ids, { state: event.state, class: null, source });
      return { id: event.id, ok: true, seq: log.length };
    }
    const target = event.name === undefined ? classes[event.class] : makeClass(event.name);
    if (target.merged_into !== null || target.archived) {
      return { id: event.id, ok: false, error: { id: "E12", text: `This changed elsewhere: "${target.name}" is gone. Nothing was done.` } };
    }
    const source = event.kind === "audit_answered" ? "audit" : event.from === "gallery" ? "group" : "hand";
    record(event.id, `${what} labelled "${target.name}"`, ids, { state: "labelled", class: target.id, source, at: 1.7e9 });
    return { id: event.id, ok: true, seq: log.length, class_id: target.id };
  }

  function turn(undo) {
    const entry = undo ? top(false) : redoable();
    if (!entry) return { event: null, text: "", affected: 0, kept: 0, ...revisions(), counts: counts() };
    entry.undone = undo;
    const behind = log.find((e) => e.kind === "answer" && e.undone && e.seq > entry.seq);
    server.redo = undo ? entry.id : (behind?.id ?? null);
    for (const picture of undo ? entry.before : entry.after) Object.assign(byId.get(picture.id), picture);
    if (entry.groups) server.groups = undo ? entry.groups[0] : entry.groups[1];
    log.push({ kind: undo ? "undone" : "redone", id: `t.${log.length}`, seq: log.length + 1, at: 1.7e9, person: "", text: `${undo ? "Undone" : "Done again"}: ${entry.text}`, undone: false });
    return {
      event: line(entry), text: `${undo ? "Undone" : "Done again"}: ${entry.text}`,
      affected: entry.before.length, kept: 0, ...revisions(), counts: counts(),
    };
  }

  const line = ({ id, seq, at, person, text, undone, kind }) => ({ id, seq, at, person, text, undone, kind });

  function made(id, moved = 0) {
    return { class: classInfos()[id], classes: classInfos(), moved, ...revisions() };
  }

  function state() {
    return {
      project: { folder, place: `${folder}/.handful`, read_only: false, version: "0.1" },
      person: "", counts: counts(), classes: classInfos(), tasks: server.tasks,
      scan: { added: 0, missing: 0, moved: 0, changed: 0, back: 0 }, storage: { ok: true, error: null },
      ...revisions(), first_visit: firstVisit && log.length === 0, scanning: server.scanning,
      pace_s: null, left_s: null, model_rev: server.modelRev, groups_rev: server.groupsRev, map_rev: 0,
      features: null, goal: 0.95, first_look: server.modelRev === 0, trouble: null, people: null,
      advice: { case: "early", text: "Go on.", goal: 0.95, screen: "queue", class_id: null, changed: null, answers: 0, low: null, high: null },
      audit: { answered: 0, wanted: 150, closed: false, min: 30 },
      settings: { goal: 0.95, features: "auto", features_choices: ["auto"], person: "" },
    };
  }

  function page(fields) {
    const filter = JSON.parse(fields.get("filter") ?? "{}");
    const from = Number(fields.get("cursor") ?? 0);
    const limit = Number(fields.get("limit") ?? 200);
    let found = pictures.filter(
      (p) =>
        (!filter.state || filter.state.includes(p.state)) &&
        (!filter.class || filter.class.includes(p.class)) &&
        (!filter.presence || filter.presence.includes(p.presence)),
    );
    if (fields.get("sort") === "-name") found = found.toReversed();
    return {
      items: found.slice(from, from + limit), next: from + limit < found.length ? String(from + limit) : null,
      total: found.length, total_exact: true, stale: false, label_rev: log.length,
    };
  }

  function queue(fields) {
    const mode = fields.get("mode") ?? "random";
    const blind = mode === "first" || mode === "audit";
    const pool = blind ? pictures.slice(0, server.firstLook) : pictures;
    const wanted = pool.filter((p) => p.state === (mode === "later" || mode === "unsure" ? mode : "open"));
    const from = Number(fields.get("cursor") ?? 0);
    const n = Number(fields.get("n") ?? 20);
    // The cursor counts all pictures, so that answers do not shift what comes next.
    const behind = wanted.filter((p) => pictures.indexOf(p) >= from);
    const items = behind.slice(0, n);
    const next = behind.length > n ? String(pictures.indexOf(items.at(-1)) + 1) : null;
    const c = counts();
    return {
      items: items.map(({ id, v, w, h, sug }) => (blind ? { id, v, w, h } : { id, v, w, h, sug })), mode, blind,
      next, label_rev: log.length, model_rev: server.modelRev,
      left: blind ? null : { open: c.open - c.later, later: c.later, unsure: c.unsure },
    };
  }

  function group({ id, ids, aside, likely }) {
    const open = ids.filter((i) => byId.get(i).state === "open");
    const all = open.map((i) => byId.get(i));
    return {
      id, n: ids.length, open: open.length, rev: Number(id.split(".")[0]), likely, ids: open, aside,
      typical: all.slice(0, 24), edge: all.slice(24).slice(-12),
    };
  }

  function groupPage(fields) {
    const from = Number(fields.get("cursor") ?? 0), limit = Number(fields.get("limit") ?? 20);
    const open = server.groups.filter((g) => group(g).open > 0 && g.aside !== "mixed");
    return {
      items: open.slice(from, from + limit).map(group), next: from + limit < open.length ? String(from + limit) : null,
      total: open.length, done: server.groups.length - open.length, near: server.near, rev: server.groupsRev,
      newest: server.groupsRev, stale: false, label_rev: log.length,
    };
  }

  /** Puts groups in the place of others, as a decision that undo takes back. */
  function regrouped(id, text, ids, fresh) {
    const before = server.groups;
    const at = before.findIndex((g) => ids.includes(g.id));
    if (at < 0) return { status: 409, body: { error: { id: "E12", text: "This changed elsewhere. Nothing was done." } } };
    const rest = before.filter((g) => !ids.includes(g.id));
    server.groups = [...rest.slice(0, at), ...fresh, ...rest.slice(at)];
    log.push({ kind: "answer", id, seq: log.length + 1, at: 1.7e9, person: "", text, undone: false, before: [], after: [], groups: [before, server.groups] });
    return { status: 200, body: { items: fresh.map(group), total: server.groups.length, ...revisions() } };
  }

  /** The answer to a request, as { status, body }; a body that is no record is a refusal. */
  function handle(method, address, body) {
    if (!server.up) throw new TypeError("Failed to fetch");
    const url = new URL(address, "http://handful.invalid");
    const path = url.pathname.replace("/api/v1", "");
    server.requests.push({ method, path, search: url.search, body });
    const ok = (answer) => ({ status: 200, body: answer });
    const refused = (status, id, text) => ({ status, body: { error: { id, text } } });
    if (path === "/state") return ok(state());
    if (path === "/images") return ok(page(url.searchParams));
    if (path === "/queue") return ok(queue(url.searchParams));
    if (path === "/groups") return ok(groupPage(url.searchParams));
    if (path === "/groups/regroup") return ok({ started: true });
    if (path === "/groups/merge") {
      const some = server.groups.filter((g) => body.groups.includes(g.id));
      return regrouped(body.id, "groups merged", body.groups, [asGroup(some.flatMap((g) => g.ids))]);
    }
    const cut = /^\/groups\/([\d.m]+)\/(halve|aside)$/.exec(path);
    if (cut) {
      const one = server.groups.find((g) => g.id === cut[1]);
      if (!one) return refused(409, "E12", "This changed elsewhere. Nothing was done.");
      if (cut[2] === "aside") return { ...regrouped(body.id, "1 group put aside", [one.id], [{ ...one, aside: body.why }]) };
      const middle = Math.ceil(one.ids.length / 2);
      return regrouped(body.id, "1 group halved", [one.id], [asGroup(one.ids.slice(0, middle)), asGroup(one.ids.slice(middle))]);
    }
    if (path === "/problems") return ok({ items: problems, total: problems.length, next: null, others: { ".txt": 3 } });
    if (path === "/history") return ok({ items: log.map(line).toReversed(), next: null, label_rev: log.length });
    if (path === "/rescan") return ok({ started: true });
    if (path === "/export") return ok({ folder: "handful-export/2026-11-21-1042", files: Object.fromEntries(body.formats.map((f) => [`labels.${f}`, pictures.length])), label_rev: log.length });
    if (path === "/events") {
      const results = body.map(decide);
      return ok({ results, ...revisions(), counts: counts() });
    }
    if (path === "/undo" || path === "/redo") return ok(turn(path === "/undo"));
    if (path === "/classes") {
      if (classes.some((c) => c.name.toLowerCase() === body.name.toLowerCase())) {
        return refused(409, "E10", `There is already a class "${body.name}". Use it (Enter) or choose another name.`);
      }
      return ok(made(makeClass(body.name).id));
    }
    const one = /^\/classes\/(\d+)(\/merge|\/archive)?$/.exec(path);
    if (one) {
      const id = Number(one[1]);
      const own = pictures.filter((p) => p.class === id);
      if (one[2] === "/merge") {
        for (const p of own) p.class = body.into;
        classes[id].merged_into = body.into;
      } else if (one[2] === "/archive") {
        for (const p of own) Object.assign(p, { state: "open", class: null, source: null });
        classes[id].archived = true;
      } else {
        const holder = classes.find((c) => c.key === body.key && body.key !== undefined);
        if (holder && body.swap) holder.key = classes[id].key;
        for (const field of ["name", "key", "look"]) if (body[field] !== undefined) classes[id][field] = body[field];
      }
      return ok(made(id, one[2] ? own.length : 0));
    }
    const image = /^\/images\/(\w+)$/.exec(path);
    if (image && byId.has(image[1])) {
      return ok({ picture: byId.get(image[1]), stack: [], sha256: null, bytes: 1, kind: "PNG", pages: 1, problem: null, history: [], label_rev: log.length });
    }
    return refused(404, "", "Nothing of that name is here.");
  }

  return server;
}
