// Overview, audit, comparison, settings: tables and lists.

/** A table in a box of its own that scrolls sideways where the page is narrow. */
function wide(label, head, body, attributes = {}) {
  const box = { class: "wide", tabindex: 0, role: "region", "aria-label": label };
  return el("div", box, el("table", attributes, head && el("thead", {}, head), el("tbody", {}, body)));
}

/** A name that may go over a line's end where its parts meet, as in vision_gain/corrupted. */
function breakable(name) {
  const parts = shortened(name, LONGEST_TOKEN).split(/(?<=[_/.])(?=[^_/.])/);
  return parts.flatMap((part, i) => (i ? [el("wbr"), part] : [part]));
}

function cell(value, numeric) {
  const text = typeof value === "number" ? brief(value) : breakable(value ?? "–");
  return el("td", numeric ? { class: "number" } : { dir: "auto" }, text);
}

function table(title, columns, rows) {
  const numeric = columns.map((_, i) => rows.some((row) => typeof row[i] === "number"));
  const head = columns.map((name, i) => el("th", { scope: "col", class: numeric[i] ? "number" : null }, breakable(name)));
  return wide(title, el("tr", {}, head), rows.map((row) => el("tr", {}, row.map((value, i) => cell(value, numeric[i])))));
}

function notices() {
  return RUNS.filter((run) => run.missing?.length).map((run) => {
    const sentences = run.missing.map((sentence) => el("li", {}, sentence));
    return el("div", { class: "notice" }, el("h3", {}, `Not in ${run.name}`), el("ul", {}, sentences));
  });
}

/** A cell "before → after" with the difference. */
function change(before, after) {
  if (typeof before !== "number" || typeof after !== "number") {
    return el("td", { class: "number" }, decimals(after ?? before));
  }
  const was = el("span", { class: "was" }, decimals(before));
  const by = el("span", { class: "by" }, signed(after - before));
  return el("td", { class: "number change" }, was, " → ", el("b", {}, decimals(after)), by);
}

function heldOut() {
  const results = RUNS.filter((run) => run.summary?.after)
    .map((run) => ({ before: {}, ...run.summary, name: run.name, questions: run.held_out }));
  if (!results.length) return null;
  const names = new Set(results.flatMap(({ before, after }) => [...Object.keys(before ?? {}), ...Object.keys(after)]));
  const count = (questions) => questions && el("small", {}, plural(questions, "question"));
  const head = results.map(({ name, questions }) => el("th", { scope: "col", class: "number" }, name, count(questions)));
  const row = (name) => el("tr", {}, el("th", { scope: "row" }, name),
    results.map(({ before, after }) => change(before?.[name], after[name])));
  return el("div", {}, el("h2", {}, "Held out, before and after"),
    wide("Held out", el("tr", {}, el("th", { scope: "col" }, ""), head), [...names].map(row), { class: "heldout" }));
}

/** Has a run settings, results or gaps to tell of? The mean of several runs has curves only. */
function tells(run) {
  return RUNS.length === 1 || run.summary || run.missing?.length || Object.keys(run.config ?? {}).length;
}

/** A figure with its 95 % interval and the number of questions, as far as they are known. */
function estimate(value, low, high, questions) {
  const known = typeof low === "number" && typeof high === "number";
  const interval = known ? ` (95 %: ${decimals(low)} … ${decimals(high)})` : "";
  return `${decimals(value)}${interval}${questions ? `, ${plural(questions, "question")}` : ""}`;
}

function runCard(run, i) {
  if (!tells(run)) return null;
  const scalars = Object.entries(run.summary ?? {}).filter(([, value]) => typeof value !== "object");
  const headline = (run.headline ?? []).map(([name, ...figures]) => [name, estimate(...figures)]);
  const bounds = goesByRole(run) ? run.clip.map((bound) => brief(bound)).join(" … ") : null;
  const rollouts = GROUPS.filter((group) => group.run === i).reduce((sum, group) => sum + group.replies.length, 0);
  const told = [
    ...headline,
    ["credit", run.credit || null],
    ["strength λ", run.strength],
    ["weights clipped to", bounds],
    ["rollouts here", rollouts || null],
  ].filter(([, value]) => value !== null && value !== undefined);
  const names = new Set(told.map(([name]) => name));
  const facts = [...told, ...scalars.filter(([name]) => !names.has(name))];
  const shown = facts.map(([name, value]) => [name, typeof value === "number" ? brief(value) : value]);
  return el("article", { class: "run" },
    el("header", {}, RUNS.length > 1 && keySample(i), el("h2", {}, run.name), el("span", { class: "badge" }, run.kind)),
    run.note && el("p", {}, run.note), described(shown, { class: "facts" }));
}

function overviewSection() {
  const again = DATA.refresh && ` It reads the run again every ${plural(DATA.refresh, "second")}.`;
  return el("section", { "aria-label": "Overview" }, notices(), el("div", { class: "runs" }, RUNS.map(runCard)), heldOut(),
    DATA.left_out && el("p", { class: "small" }, DATA.left_out), el("p", { class: "small" }, `Made ${DATA.made}.`, again));
}

function ofRun(title, run) {
  return RUNS.length > 1 ? `${title} · ${RUNS[run].name}` : title;
}

function noted(heading, title, note, columns, rows) {
  return el("div", {}, el(heading, {}, title), note && el("p", { class: "small lines" }, note), table(title, columns, rows));
}

function auditSection() {
  return el("section", { "aria-label": "Audit" }, DATA.audit.map(({ run, title, note, columns, rows }) =>
    noted("h2", ofRun(title, run), note, columns, rows)));
}

function comparisonSection() {
  return el("section", { "aria-label": "Comparison" }, DATA.comparison.map(({ run, figure: drawing, tables }) => [
    RUNS.length > 1 && el("h2", {}, RUNS[run].name),
    drawing && el("div", {}, picture(drawing, "The comparison's figure", { class: "drawn" })),
    tables.map(({ title, note, columns, rows }) => noted("h3", title, note, columns, rows)),
  ]));
}

function settingText(value) {
  if (Array.isArray(value)) return value.map(settingText).join(" ");
  return value !== null && typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Nested settings as [["a.b", text], ...]. */
function flat(value, prefix = "") {
  return Object.entries(value ?? {}).flatMap(([name, part]) => {
    const nested = part !== null && typeof part === "object" && !Array.isArray(part);
    return nested ? flat(part, `${prefix}${name}.`) : [[prefix + name, settingText(part)]];
  });
}

/** One table of settings, a column a run; rows in which the runs differ are marked. */
function settings(title, of) {
  const runs = RUNS.filter((run) => Object.keys(of(run) ?? {}).length);
  const columns = runs.map((run) => new Map(flat(of(run))));
  const names = [...new Set(columns.flatMap((column) => [...column.keys()]))].sort();
  if (!names.length) return null;
  const row = (name) => {
    const differs = new Set(columns.map((column) => column.get(name))).size > 1;
    return el("tr", { class: differs ? "differs" : null },
      el("th", { scope: "row" }, breakable(name), differs && el("span", { class: "badge" }, "differs")),
      columns.map((column) => el("td", { dir: "auto" }, column.get(name) ?? "–")));
  };
  const head = runs.length > 1 && el("tr", {}, el("th", {}, ""), runs.map((run) => el("th", { scope: "col" }, run.name)));
  return el("div", {}, el("h2", {}, title), wide(title, head, names.map(row), { class: "settings" }));
}

function configSection() {
  return el("section", { "aria-label": "Config and versions" },
    settings("Config", (run) => run.config), settings("Versions and machine", (run) => run.environment));
}
