// The rollouts: a list of prompts, and the replies of the chosen one side by side.
const LONG_QUESTION = 160;
const view = { box: null, group: null, replies: [], ticket: 0 };

function rolloutsSection() {
  view.box = el("section", { class: "rollouts", "aria-label": "Rollouts" });
  updateRollouts({});
  return view.box;
}

/** Show the rollouts of the state after some changes to it. */
function updateRollouts(changes) {
  keep(changes);
  if (!GROUPS.some((group) => group.run === state.run)) keep({ run: GROUPS[0].run });
  const prompts = promptsInView();
  const group = chosenPrompt(prompts);
  const focused = document.activeElement?.name;
  const detail = el("div", { class: "detail" });
  const scrolled = view.box.querySelector(".prompts")?.scrollTop ?? 0;
  view.box.replaceChildren(
    el("aside", {}, pickers(prompts, group), group && stepNote(group), filterControl(), promptList(prompts, group), signKey(),
      leftOut()),
    detail,
  );
  const list = view.box.querySelector(".prompts");
  list.scrollTop = scrolled;
  if (focused) view.box.querySelector(`input[name="${focused}"]:checked`)?.focus();
  if (!group) detail.append(el("p", { class: "notice" }, "No reply of this run is like that; choose another filter."));
  else showGroup(group, detail, prompts);
}

function leftOut() {
  return DATA.left_out ? el("p", { class: "small" }, DATA.left_out) : null;
}

function pickers(prompts, group) {
  const runs = [...new Set(GROUPS.map((each) => each.run))].map((i) => [String(i), RUNS[i].name]);
  const steps = [...new Set(prompts.map((each) => each.step))].sort((a, b) => a - b).map((step) => [`${step}`, `${step}`]);
  const weighed = GROUPS.some((each) => each.run === state.run && largestWeight(each) > -Infinity);
  const orders = [["given", "as sampled"], ["weight", "largest weights"]];
  const go = (changes) => updateRollouts({ prompt: 0, reply: -1, token: -1, ...changes });
  return el("div", { class: "pickers" },
    runs.length > 1 && dropDown("Run", runs, `${state.run}`, (run) => go({ run: Number(run), step: -1 })),
    dropDown("Step", steps, `${group?.step}`, (step) => go({ step: Number(step) })),
    weighed && dropDown("Order", orders, state.order, (order) => updateRollouts({ order })));
}

function showPrompt(group) {
  updateRollouts({ step: group.step, prompt: group.ordinal, reply: -1, token: -1 });
  const button = view.box.querySelector(".prompt[aria-current]");
  button?.focus({ preventScroll: true });
  button?.scrollIntoView({ block: "nearest" });
}

function stepPrompt(way) {
  const prompts = promptsInView();
  const next = prompts[prompts.indexOf(view.group) + way];
  if (next) showPrompt(next);
}

async function showGroup(group, detail, prompts) {
  const ticket = ++view.ticket;
  view.group = group;
  const cards = el("div", { class: "replies", "aria-busy": "true" });
  const run = RUNS[group.run];
  const note = run.note ? el("p", { class: "notice" }, run.note) : "";
  detail.append(question(group, prompts), note, el("div", { class: "colours" }), cards);
  drawColours(detail.querySelector(".colours"), group);
  let replies;
  try {
    replies = await repliesOf(group);
  } catch (error) {
    cards.removeAttribute("aria-busy");
    cards.replaceChildren(el("p", { class: "notice" }, `The tokens of this prompt cannot be read: ${error.message}.`));
    return;
  }
  if (ticket !== view.ticket) return;
  const shared = { strength: run.strength ?? 1, measured: measuresGaps(group.run), byRole: goesByRole(run) };
  view.replies = replies;
  replies.forEach((reply, i) => Object.assign(reply, { number: i, advantage: group.replies[i].advantage, ...shared }));
  drawReplies(group, cards);
}

function drawReplies(group, cards) {
  const shown = matching(group);
  const weight = (i) => group.replies[i].largest_weight ?? 0;
  if (state.order === "weight") shown.sort((a, b) => weight(b) - weight(a));
  cards.replaceChildren(...shown.map((i) => replyCard(group, i, view.replies[i])));
  cards.removeAttribute("aria-busy");
  if (shown.length < group.replies.length) cards.before(partNote(shown.length, group));
  tintReplies();
  const linked = view.replies[state.reply];
  if (linked?.nodes && state.token >= 0) {
    moveTo(linked, state.token, false);
    linked.nodes[linked.current].classList.add("linked");
    linked.nodes[linked.current].scrollIntoView({ block: "nearest" });
  }
}

function partNote(count, group) {
  const all = () => updateRollouts({ show: "all", step: group.step, prompt: group.ordinal });
  return el("p", { class: "small" }, `${count} of ${plural(group.replies.length, "reply", "replies")} shown. `,
    el("button", { type: "button", class: "link", onclick: all }, "Show all"));
}

function tintReplies() {
  const run = RUNS[view.group.run];
  const colours = stripColours();
  for (const reply of view.replies) if (reply.nodes?.[0]?.isConnected) tint(reply, state.colour, run, colours);
}

/** The colourings of a run, and whether a group has numbers for them. */
function colourings(group) {
  const known = group.replies.some((reply) => reply.advantage !== null && reply.advantage !== undefined);
  const scored = group.replies.some((reply) => reply.scored);
  const gap = measuresGaps(group.run) ? { gap: scored } : {};
  return { weight: scored || known, ...gap, advantage: known, role: true };
}

function drawColours(box, group) {
  const available = colourings(group);
  if (!available[state.colour]) keep({ colour: Object.keys(available).find((name) => available[name]) });
  const options = Object.entries(available)
    .map(([name, there]) => [name, QUANTITIES[name].label, { title: QUANTITIES[name].note, disabled: !there }]);
  const control = segmented("colour", "Colour tokens by", options, state.colour, recolour);
  box.replaceChildren(control, legend(state.colour, RUNS[group.run]));
}

function recolour(colour) {
  keep({ colour });
  hideTip();
  view.box.querySelector(".legend").replaceWith(legend(colour, RUNS[view.group.run]));
  view.box.querySelector(`input[name="colour"][value="${colour}"]`).checked = true;
  tintReplies();
}

function cycleColour() {
  const available = colourings(view.group);
  const names = Object.keys(available).filter((name) => available[name]);
  recolour(names[(names.indexOf(state.colour) + 1) % names.length]);
}

function figure(index, caption) {
  const image = DATA.images[index];
  const node = image && picture(image.uri, caption, { width: image.width, height: image.height });
  if (!node) return null;
  const attributes = { type: "button", "aria-pressed": "false", title: "Larger or smaller" };
  const button = el("button", { ...attributes, class: image.width < 128 ? "picture pixels" : "picture" }, node);
  button.addEventListener("click", () => {
    const large = button.closest("figure").classList.toggle("large");
    button.setAttribute("aria-pressed", String(large));
  });
  return el("figure", {}, button, el("figcaption", {}, caption));
}

/** Where the prompt stands among those in view, with buttons to its neighbours. */
function stepper(group, prompts) {
  const place = prompts.indexOf(group);
  const go = (way, label, key, text) => el("button", { type: "button", "aria-label": label, title: `${label} (${key})`,
    disabled: !prompts[place + way], onclick: () => stepPrompt(way) }, text);
  return el("p", { class: "stepper" }, go(-1, "Previous prompt", "[", "‹"),
    el("span", {}, `Prompt ${place + 1} of ${prompts.length} · step ${group.step}`), go(1, "Next prompt", "]", "›"));
}

function question(group, prompts) {
  const { question: asked, options, corruption } = group;
  const facts = [["Reference", group.reference], ["Task", group.task], ["Row", group.row_id]].filter(([, value]) => value);
  return el("header", { class: "asked" },
    el("div", { class: "pictures" }, figure(group.image, "Image"),
      figure(group.corrupted, corruption ? `Corrupted: ${corruption}` : "Corrupted")),
    el("div", { class: "words" }, stepper(group, prompts),
      el("h2", { dir: "auto", class: asked.length > LONG_QUESTION ? "long" : null }, asked || "(no question)"),
      options?.length > 0 && el("ol", { class: "options" }, options.map((option) => el("li", { dir: "auto" }, option))),
      described(facts, { class: "facts" })));
}

function replyCard(group, i, reply) {
  const about = group.replies[i];
  const [kind, word] = verdict(about);
  reply.strip = el("canvas", { class: "strip", "aria-hidden": "true" });
  reply.strip.addEventListener("click", (event) => {
    const box = reply.strip.getBoundingClientRect();
    moveTo(reply, Math.floor(((event.clientX - box.left) / box.width) * reply.tokens.length));
  });
  const body = tokenText(reply, `Tokens of reply ${i + 1}; arrow keys move`);
  const unscored = !about.scored && reply.measured;
  const badges = [!about.structured && "unstructured", unscored && "not scored"].filter(Boolean);
  return el("article", { class: `reply ${kind}`, "aria-label": `Reply ${i + 1}, ${word}` },
    el("header", {},
      el("h3", {}, sign(kind), `Reply ${i + 1}`, el("span", { class: "word" }, word)),
      badges.map((badge) => el("span", { class: "badge" }, badge)),
      advantageBar(about.advantage)),
    rewards(about),
    reply.strip, body);
}

function advantageBar(value) {
  if (value === null || value === undefined) return null;
  const bar = el("i", { class: value < 0 ? "down" : "up" });
  bar.style.width = `${Math.min(50, Math.abs(value) * 20)}%`;
  return el("span", { class: "advantage", title: "Advantage of the reply within its group" },
    "A ", el("b", {}, signed(value)), el("span", { class: "beam" }, bar));
}

function rewards(about) {
  const pairs = Object.entries(about.rewards ?? {}).map(([name, value]) => [name, brief(value, 3)]);
  const known = typeof about.largest_weight === "number";
  const weight = known ? [["max weight", brief(about.largest_weight, 3)]] : [];
  const extra = [["tokens", about.tokens.toLocaleString("en")], ...weight];
  const item = ([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value));
  return el("dl", { class: "rewards" }, [...pairs, ...extra].map(item));
}
