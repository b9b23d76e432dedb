const HISTOGRAMS = {
  gap: { label: "Gaps", centre: 0, note: "Share of the tokens of each role; 0 is no dependence on the evidence." },
  weight: { label: "Weights", centre: 1, note: "Share of the tokens of each role; 1 is GRPO's share." },
};

const LARGEST = 1e100; // beyond it a plot's arithmetic overflows

/** The points of a run's metric, those left out that no plot can show; undefined where it has none. */
function pointsOf(run, metric) {
  const drawable = (y) => typeof y === "number" && Math.abs(y) <= LARGEST;
  const exact = (y) => (Math.abs(y) < 1 / LARGEST ? 0 : y);
  return run.series?.[metric]?.map(([step, y]) => [step, drawable(y) ? exact(y) : null]);
}

function hasCurves() {
  const known = (metric) => RUNS.some((run) => pointsOf(run, metric)?.some((point) => point[1] !== null));
  return DATA.charts?.some((chart) => chart.metrics.some(([metric]) => known(metric)));
}

/** The lines of a chart: one panel with all metrics for a single run, one panel a metric for several. */
function panels(chart) {
  if (RUNS.length === 1) {
    const lines = chart.metrics.filter(([metric]) => pointsOf(RUNS[0], metric)?.length)
      .map(([metric, label], i) => {
        const look = ROLE_NAMES.includes(label) ? label : i;
        return { label, look, points: pointsOf(RUNS[0], metric) };
      });
    return lines.length ? [[chart.title, lines]] : [];
  }
  return chart.metrics.map(([metric, label]) => {
    const lines = RUNS.map((run, look) => ({ label: run.name, look, points: pointsOf(run, metric) }))
      .filter((line) => line.points?.length && !state.off.includes(line.look));
    return [chart.metrics.length > 1 ? `${chart.title}: ${label}` : chart.title, lines];
  }).filter(([, lines]) => lines.length);
}

function hasValues(lines) {
  return lines.some((line) => line.points.some((point) => point[1] !== null));
}

function drawCharts(box) {
  box.replaceChildren(...(DATA.charts ?? []).flatMap((chart) => {
    const drawn = panels(chart).filter(([, lines]) => hasValues(lines));
    const points = drawn.flatMap(([, lines]) => lines.flatMap((line) => line.points)).filter((point) => point[1] !== null);
    const range = drawn.length > 1 ? extent(points) : null;
    const shared = { note: chart.note, unit: chart.unit, smooth: Math.min(95, state.smooth) / 100, range };
    return drawn.map(([title, lines]) => plot(lines, { title, ...shared }));
  }));
}

/** Boxes that take runs out of the curves and put them back. */
function runBoxes(redraw) {
  const curved = RUNS.map((_, i) => i).filter((i) => Object.keys(RUNS[i].series ?? {}).length);
  if (curved.length < 2) return null;
  const toggle = (i, shown) => {
    keep({ off: shown ? state.off.filter((each) => each !== i) : [...state.off, i] });
    redraw();
  };
  const box = (i) => el("input", { type: "checkbox", checked: !state.off.includes(i),
    onchange: (event) => toggle(i, event.target.checked) });
  return el("fieldset", { class: "runboxes" }, el("legend", { class: "unseen" }, "Runs"),
    curved.map((i) => el("label", {}, box(i), keySample(i), el("span", {}, RUNS[i].name))));
}

function curvesSection() {
  const charts = el("div", { class: "charts" });
  const shown = el("output", {}, String(state.smooth));
  const slider = el("input", { type: "range", min: 0, max: 95, step: 5, value: Math.min(95, state.smooth), oninput: () => {
    keep({ smooth: Number(slider.value) });
    shown.textContent = slider.value;
    drawCharts(charts);
  } });
  drawCharts(charts);
  const smoothing = el("label", { class: "pick" }, el("span", {}, "Smoothing"), slider, shown);
  return el("section", { "aria-label": "Curves" },
    el("div", { class: "controls" }, smoothing, runBoxes(() => drawCharts(charts))), charts);
}

/** The outline of a histogram as shares of its tokens. */
function outline(counts, edges, total, x, y) {
  let path = `M${x(edges[0])} ${y(0)}`;
  counts.forEach((count, i) => (path += `V${y(count / total).toFixed(1)}H${x(edges[i + 1]).toFixed(1)}`));
  return `${path}V${y(0)}`;
}

function beyond(entry, role, total) {
  const part = (side, edge, sign) => {
    const count = entry[side]?.[role] ?? 0;
    return count ? `${number((100 * count) / total, 2)} % ${sign} ${brief(edge, 3)}` : null;
  };
  const [first, last] = [entry.edges[0], entry.edges[entry.edges.length - 1]];
  return [part("below", first, "<"), part("above", last, ">")].filter(Boolean).join(", ");
}

function histogram(entry) {
  const { width, height, left, right, top, bottom } = PLOT;
  const { edges } = entry;
  const roles = ["perception", "reasoning"].map((role) => {
    const counts = entry[role] ?? [];
    const total = counts.reduce((a, b) => a + b, 0) + (entry.below?.[role] ?? 0) + (entry.above?.[role] ?? 0);
    return { role, counts, total };
  }).filter(({ total }) => total > 0);
  const peak = Math.max(0.01, ...roles.flatMap(({ counts, total }) => counts.map((count) => count / total)));
  const yTicks = niceTicks(0, peak, 4);
  const [low, high] = [edges[0], edges[edges.length - 1]];
  const x = (value) => left + ((value - low) / (high - low)) * (width - left - right);
  const y = (share) => height - bottom - (share / yTicks[yTicks.length - 1]) * (height - top - bottom);
  const xTicks = niceTicks(low, high, 6).filter((tick) => tick >= low && tick <= high);
  const { label, centre, note } = HISTOGRAMS[entry.quantity];
  const title = ofRun(entry.unit ? `${label} (${entry.unit})` : label, entry.run);
  const text = roles.map(({ role, total }) => `${role}: ${plural(total, "token")}`).join("; ");
  return el("figure", { class: "chart" },
    el("figcaption", {}, el("h3", {}, title), el("p", {}, note)),
    el("ul", { class: "key" }, roles.map(({ role, total }) => el("li", {}, keySample(role), el("span", { class: "name" }, role),
      el("output", {}, plural(total, "token")), el("span", { class: "beyond" }, beyond(entry, role, total))))),
    svg("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}: ${text}` },
      axes(xTicks, yTicks, x, y, ""),
      svg("line", { class: "centre", x1: x(centre), x2: x(centre), y1: top, y2: height - bottom }),
      roles.map(({ role, counts, total }) => svg("path", { class: `line area ${looks(role)[0]}`,
        d: outline(counts, edges, total, x, y), "stroke-dasharray": looks(role)[1] || null }))));
}

function distributionsSection() {
  return el("section", { "aria-label": "Distributions" }, el("div", { class: "charts" }, DATA.distributions.map(histogram)));
}
