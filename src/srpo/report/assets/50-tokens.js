// The tokens of a reply: one element each, tinted by its level; one tab stop a reply, arrow keys inside it.
const ROLE_CLASSES = ["n", "p", "r"];
const ROLE_NAMES = ["neither role", "perception", "reasoning"];
const STRIP_COLUMNS = 400;
const LONG_REPLY = 400;
const tip = document.getElementById("tip");
const said = document.getElementById("said");

function tokenElement(text, role, index) {
  const node = document.createElement("span");
  node.className = tokenClass(role, NEUTRAL_LEVEL);
  node.index = index;
  if (text === "") node.append(el("span", { class: "mark" }, EMPTY));
  else write(node, text, LONGEST_TOKEN);
  return node;
}

/** The text of a reply as token elements; `reply.nodes` keeps them in order. */
function tokenText(reply, label) {
  const kind = reply.tokens.length > LONG_REPLY ? "tokens long" : "tokens";
  const body = el("div", { class: kind, role: "group", "aria-label": label });
  reply.nodes = reply.tokens.map((text, i) => tokenElement(text, Number(reply.roles[i]), i));
  body.append(...reply.nodes);
  body.reply = reply;
  if (reply.nodes.length) reply.nodes[0].tabIndex = 0;
  reply.current = 0;
  body.addEventListener("keydown", (event) => onTokenKey(event, reply));
  body.addEventListener("mouseover", (event) => showTip(reply, tokenAt(event.target), false));
  body.addEventListener("mouseleave", hideTip);
  body.addEventListener("focusin", (event) => showTip(reply, tokenAt(event.target), true));
  body.addEventListener("focusout", hideTip);
  body.addEventListener("click", (event) => tokenAt(event.target) && moveTo(reply, tokenAt(event.target).index));
  return body;
}

function tokenAt(target) {
  return target.closest(".t");
}

/** Give each token the class of its level; `colours` are those of `stripColours`. */
function tint(reply, colour, run, colours) {
  const all = levels(colour, run, reply);
  for (let i = 0; i < all.length; i++) {
    const name = tokenClass(reply.roles[i], all[i]);
    if (reply.nodes[i].className !== name) reply.nodes[i].className = name;
  }
  drawStrip(reply, all, colours);
}

/** The whole reply in one line: the strongest level of each column, its role below. */
function drawStrip(reply, all, colours) {
  const columns = Math.max(1, Math.min(STRIP_COLUMNS, all.length));
  const canvas = reply.strip;
  canvas.width = columns;
  canvas.height = 8;
  const context = canvas.getContext("2d");
  for (let x = 0; x < columns; x++) {
    const start = Math.floor((x * all.length) / columns);
    const end = Math.floor(((x + 1) * all.length) / columns);
    let strongest = start;
    for (let i = start; i < end; i++) {
      if (Math.abs(all[i] - NEUTRAL_LEVEL) > Math.abs(all[strongest] - NEUTRAL_LEVEL)) strongest = i;
    }
    context.fillStyle = colours.levels[all[strongest] ?? NEUTRAL_LEVEL];
    context.fillRect(x, 0, 1, 6);
    context.fillStyle = colours.roles[reply.roles[strongest] ?? 0];
    context.fillRect(x, 7, 1, 1);
  }
}

/** The colours of the theme, as a canvas wants them. To be read before tokens change: reading computes all styles. */
function stripColours() {
  const probe = el("i", { class: "probe" });
  document.body.append(probe);
  const colourOf = (name) => {
    probe.className = `probe ${name}`;
    return getComputedStyle(probe).backgroundColor;
  };
  const result = {
    levels: Array.from({ length: 21 }, (_, i) => colourOf(`c${i}`)),
    roles: ROLE_CLASSES.map((name) => colourOf(`role-${name}`)),
  };
  probe.remove();
  return result;
}

function onTokenKey(event, reply) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const last = reply.nodes.length - 1;
  const target = {
    ArrowRight: () => Math.min(last, reply.current + 1),
    ArrowLeft: () => Math.max(0, reply.current - 1),
    ArrowDown: () => tokenOnLine(reply, 1),
    ArrowUp: () => tokenOnLine(reply, -1),
    Home: () => 0,
    End: () => last,
  }[event.key];
  if (event.key === "Escape") hideTip();
  if (!target) return;
  event.preventDefault();
  moveTo(reply, target());
}

/** Where a token is; of one that goes over a line's end, its larger part. */
function boxOf(node) {
  const boxes = [...node.getClientRects()];
  return boxes.reduce((best, box) => (box.width > best.width ? box : best), boxes[0] ?? node.getBoundingClientRect());
}

/** The token on the next line (direction 1) or the one before (−1), nearest below or above the current one. */
function tokenOnLine(reply, direction) {
  const here = boxOf(reply.nodes[reply.current]);
  let best = reply.current;
  let line = null;
  let distance = Infinity;
  for (let i = reply.current + direction; i >= 0 && i < reply.nodes.length; i += direction) {
    const box = boxOf(reply.nodes[i]);
    if (direction * (box.top - here.top) < here.height / 2) continue;
    line ??= box.top;
    if (Math.abs(box.top - line) > here.height / 2) break;
    if (Math.abs(box.left - here.left) < distance) [best, distance] = [i, Math.abs(box.left - here.left)];
  }
  return best;
}

/** Make a token the reply's tab stop and focus it. */
function moveTo(reply, index, focus = true) {
  const node = reply.nodes[Math.max(0, Math.min(reply.nodes.length - 1, index))];
  if (!node) return;
  reply.nodes[reply.current]?.removeAttribute("tabindex");
  reply.current = node.index;
  node.tabIndex = 0;
  keep({ reply: reply.number, token: node.index });
  if (focus) node.focus();
}

function gapText(reply, i) {
  if (!reply.scored) return "not scored";
  return reply.byRole && !Number(reply.roles[i]) ? "–, neither role" : `${number(reply.gaps[i])} nats`;
}

/** [name, text] of every number of a token. */
function numbersOf(reply, i) {
  const gap = reply.measured ? [["gap", gapText(reply, i)]] : [];
  const advantage = tokenAdvantage(reply.advantage, reply.weights[i], reply.strength);
  return [["weight", number(reply.weights[i])], ...gap, ["advantage", number(advantage)]];
}

function showTip(reply, node, speak) {
  if (!node) return;
  const i = node.index;
  const role = ROLE_NAMES[reply.roles[i]] ?? ROLE_NAMES[0];
  const pairs = numbersOf(reply, i);
  tip.replaceChildren(
    el("p", { class: "quote" }, reply.tokens[i] === "" ? "no text" : shortened(reply.tokens[i], 80)),
    el("p", { class: "where" }, `${role} · token ${i + 1} of ${reply.tokens.length}`),
    el("dl", {}, pairs.flatMap(([name, value]) => [el("dt", {}, name), el("dd", { "data-number": name }, value)])),
  );
  tip.hidden = false;
  tip.anchor = node;
  placeTip(node);
  if (!speak) return;
  said.replaceChildren();
  write(said, [shortened(reply.tokens[i], 80) || "no text", role, ...pairs.map((pair) => pair.join(" "))].join(", "));
}

function placeTip(node) {
  const box = boxOf(node);
  const { width, height } = tip.getBoundingClientRect();
  const below = box.bottom + 8;
  const fits = below + height < window.innerHeight;
  tip.style.left = `${Math.max(8, Math.min(window.innerWidth - width - 8, box.left - 8))}px`;
  tip.style.top = `${fits ? below : Math.max(8, box.top - height - 8)}px`;
}

function hideTip() {
  tip.hidden = true;
}

/** A scrolled page takes the numbers of the focused token along and drops those of a hovered one. */
function onScroll() {
  if (tip.hidden) return;
  if (tip.anchor === document.activeElement) placeTip(tip.anchor);
  else hideTip();
}
