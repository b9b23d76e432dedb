// Small line plots: linear axes, colour and dash for each line, values under the pointer or the arrow keys in the key.
const PLOT = { width: 420, height: 190, left: 46, right: 12, top: 10, bottom: 24 };
const DASHES = ["", "6 3", "2 3", "9 3 2 3", "12 4", "1 4", "4 2 1 2", "8 2"];
const FEW_POINTS = 12;
const LINES_ABOVE = 4; // a longer key goes below its plot

/** The class and the dash of a line: a role looks as in the rollouts, a number takes the look of that number. */
function looks(look) {
  if (look === "perception") return ["line-p", ""];
  if (look === "reasoning") return ["line-r", "2 3"];
  const round = Math.floor(look / DASHES.length);
  return [`l${look % DASHES.length}`, DASHES[(look + round) % DASHES.length]];
}

/** Round numbers that span [low, high]; a point is given some room, inside `bounds` where it lies in them. */
function niceTicks(low, high, count, bounds = [-Infinity, Infinity]) {
  const size = Math.max(Math.abs(low), Math.abs(high));
  if (!(high - low > 1e-9 * size)) {
    const room = Math.max(0.5, size / 10);
    const [least, most] = low >= bounds[0] && high <= bounds[1] ? bounds : [-Infinity, Infinity];
    [low, high] = [Math.max(least, low - room), Math.min(most, high + room)];
  }
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const ticks = [];
  for (let i = Math.floor(low / step); i <= Math.ceil(high / step); i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

/** Exponential moving average that starts unbiased; gaps stay gaps. */
function smoothed(points, share) {
  let sum = 0;
  let mass = 0;
  return points.map(([x, y]) => {
    if (y === null) return [x, null];
    sum = share * sum + (1 - share) * y;
    mass = share * mass + (1 - share);
    return [x, sum / mass];
  });
}

function pathOf(points, x, y) {
  let open = false;
  return points.map(([step, value]) => {
    if (value === null) {
      open = false;
      return "";
    }
    const command = `${open ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`;
    open = true;
    return command;
  }).join("");
}

function axes(xTicks, yTicks, x, y, unit) {
  const { width, height, left, right, bottom } = PLOT;
  return svg("g", { class: "axes" },
    yTicks.map((tick) => [
      svg("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick) }),
      svg("text", { x: left - 6, y: y(tick) + 3.5, "text-anchor": "end" }, brief(tick, 3)),
    ]).flat(),
    xTicks.map((tick) => svg("text", { x: x(tick), y: height - bottom + 16, "text-anchor": "middle" }, brief(tick))),
    svg("text", { class: "unit", x: width - right, y: height - bottom + 16, "text-anchor": "end" }, unit));
}

function keySample(look) {
  const [name, dash] = looks(look);
  return svg("svg", { class: "sample", viewBox: "0 0 26 8", width: 26, height: 8, "aria-hidden": "true" },
    svg("path", { class: `line ${name}`, d: "M0 4H26", "stroke-dasharray": dash || null }));
}

function valueNear(points, step) {
  let best = null;
  for (const point of points) {
    if (point[1] !== null && (best === null || Math.abs(point[0] - step) < Math.abs(best[0] - step))) best = point;
  }
  return best;
}

/**
 * A plot with its key.
 * lines: [{label, look, points: [[x, y or null]]}]; options: {title, note, unit, xName, smooth, range: [low, high] or null}
 */
function plot(lines, { title, note = "", unit = "", xName = "step", smooth = 0, range = null }) {
  const { width, height, left, right, top, bottom } = PLOT;
  const drawn = lines.map((line) => ({ ...line, shown: smooth ? smoothed(line.points, smooth) : line.points }));
  const known = lines.flatMap((line) => line.points).filter((point) => point[1] !== null);
  const steps = known.map((point) => point[0]);
  const [first, last] = extent(known.map(([step]) => [null, step]));
  const [low, high] = range ?? extent(known);
  const yTicks = niceTicks(low, high, 4, unit === "share" ? [0, 1] : undefined);
  const x = (step) => left + ((step - first) / (last - first || 1)) * (width - left - right);
  const [floor, ceiling] = [yTicks[0], yTicks[yTicks.length - 1]];
  const y = (value) => height - bottom - ((value - floor) / (ceiling - floor)) * (height - top - bottom);
  const guide = svg("line", { class: "guide", y1: top, y2: height - bottom, visibility: "hidden" });
  const dots = svg("g", { class: "dots" });
  const xTicks = niceTicks(first, last, 5).filter((tick) => tick >= first && tick <= last - (last - first) / 9);
  const label = `${title}; left and right arrows read values`;
  const frame = { class: "plot", viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "img", "aria-label": label };
  const drawing = svg("svg", frame,
    axes(xTicks, yTicks, x, y, xName),
    drawn.map((line) => lineOf(line, smooth, x, y)).flat(), guide, dots);
  const values = drawn.map(() => el("output", {}));
  const at = el("span", { class: "at" });
  const key = el("ul", { class: "key" }, drawn.map((line, i) =>
    el("li", {}, keySample(line.look), el("span", { class: "name" }, line.label), values[i])));
  const read = (step) => {
    drawn.forEach((line, i) => values[i].replaceChildren(brief(valueNear(line.shown, step)?.[1], 3)));
    at.replaceChildren(`${xName} ${brief(step)}`);
  };
  const show = (step) => {
    const near = drawn.map((line) => valueNear(line.shown, step)).filter(Boolean);
    const snapped = valueNear(near, step)[0];
    for (const name of ["x1", "x2"]) guide.setAttribute(name, x(snapped));
    guide.setAttribute("visibility", "visible");
    dots.replaceChildren(...drawn.map((line) => [line, valueNear(line.shown, snapped)]).filter(([, point]) => point)
      .map(([line, point]) => svg("circle", { class: looks(line.look)[0], cx: x(point[0]), cy: y(point[1]), r: 3 })));
    read(snapped);
    return snapped;
  };
  const rest = () => {
    guide.setAttribute("visibility", "hidden");
    dots.replaceChildren();
    read(last);
  };
  follow(drawing, { first, last, steps: [...new Set(steps)].sort((a, b) => a - b), show, rest, left, right, width, key });
  rest();
  const heading = el("h3", {}, title, unit && el("small", {}, ` ${unit}`), at);
  return el("figure", { class: "chart" }, el("figcaption", {}, heading, note && el("p", {}, note)),
    lines.length > LINES_ABOVE ? [drawing, key] : [key, drawing]);
}

function lineOf({ look, points, shown }, smooth, x, y) {
  const [name, dash] = looks(look);
  const parts = [];
  if (smooth) parts.push(svg("path", { class: `line raw ${name}`, d: pathOf(points, x, y) }));
  parts.push(svg("path", { class: `line ${name}`, d: pathOf(shown, x, y), "stroke-dasharray": dash || null }));
  if (points.length <= FEW_POINTS) {
    const known = points.filter(([, value]) => value !== null);
    parts.push(...known.map(([step, value]) => svg("circle", { class: name, cx: x(step), cy: y(value), r: 2.2 })));
  }
  return parts;
}

function extent(points) {
  return points.reduce(([low, high], [, value]) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}

/** Pointer and arrow keys move the guide of a plot. */
function follow(drawing, { first, last, steps, show, rest, left, right, width, key }) {
  let current = last;
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const share = (((event.clientX - box.left) / box.width) * width - left) / (width - left - right);
    current = show(first + Math.max(0, Math.min(1, share)) * (last - first));
  });
  for (const leaving of ["pointerleave", "blur"]) {
    drawing.addEventListener(leaving, () => {
      current = last;
      rest();
    });
  }
  drawing.addEventListener("keydown", (event) => {
    const place = steps.findIndex((step) => step >= current);
    const next = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: steps.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    current = show(steps[Math.max(0, Math.min(steps.length - 1, next))]);
    const values = [...key.children].map((item) => item.textContent);
    said.textContent = `${drawing.parentNode.querySelector(".at").textContent}: ${values.join(", ")}`;
  });
}
