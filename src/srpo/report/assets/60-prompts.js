// Which prompts and replies are looked at: filters, order, the list.
const FILTERS = {
  all: { label: "All", title: "All replies", test: () => true },
  right: { label: "Right", title: "The answer is right", test: (reply) => reply.right === true },
  wrong: { label: "Wrong", title: "The answer is wrong", test: (reply) => reply.right === false },
  lucky: { label: "Lucky", title: "Right, though the written perception is not", test: (reply) => reply.lucky === true },
  unstructured: { label: "Unstructured", title: "Not in the response format", test: (reply) => !reply.structured },
};

function matching(group) {
  const { test } = FILTERS[state.show];
  return group.replies.map((_, i) => i).filter((i) => test(group.replies[i]));
}

function largestWeight(group) {
  return Math.max(-Infinity, ...group.replies.map((reply) => reply.largest_weight ?? -Infinity));
}

/** The groups of the run in view that have a reply for the filter, in the chosen order. */
function promptsInView() {
  const groups = GROUPS.filter((group) => group.run === state.run && matching(group).length);
  return state.order === "weight" ? groups.sort((a, b) => largestWeight(b) - largestWeight(a)) : groups;
}

/** The group of the state, else the first one in view, else null. */
function chosenPrompt(prompts) {
  const same = (group) => group.step === state.step && group.ordinal === state.prompt;
  return prompts.find(same) ?? prompts.find((group) => group.step === state.step) ?? prompts[0] ?? null;
}

const VERDICTS = {
  right: "right",
  lucky: "lucky: right, though the written perception is not",
  wrong: "wrong",
  unknown: "not graded",
};

function sign(kind) {
  return el("i", { class: `sign ${kind}` });
}

function verdict(reply) {
  if (reply.right === null || reply.right === undefined) return ["unknown", "not graded"];
  if (!reply.right) return ["wrong", "wrong"];
  return reply.lucky ? ["lucky", "lucky"] : ["right", "right"];
}

/** One small sign a reply: full is right, half is lucky, hollow is wrong. */
function signs(group) {
  const words = group.replies.map((reply) => verdict(reply)[1]);
  const count = (word) => words.filter((each) => each === word).length;
  const kinds = ["right", "lucky", "wrong", "not graded"].filter(count);
  const label = kinds.map((word) => `${count(word)} ${word}`).join(", ");
  return el("span", { class: "signs", role: "img", "aria-label": label, title: label },
    group.replies.map((reply) => sign(verdict(reply)[0])));
}

/** What the signs in the list mean, of those that the run has. */
function signKey() {
  const kinds = new Set(GROUPS.filter((group) => group.run === state.run).flatMap((group) => group.replies)
    .map((reply) => verdict(reply)[0]));
  return el("ul", { class: "signkey small", "aria-label": "Signs" }, Object.entries(VERDICTS)
    .filter(([kind]) => kinds.has(kind)).map(([kind, meaning]) => el("li", {}, sign(kind), meaning)));
}

/** A step of rollouts counts the updates before it, a step of curves those up to its end. */
function stepNote({ run, step }) {
  const later = (RUNS[run].series?.reward ?? []).map(([end]) => end).filter((end) => end > step);
  if (!later.length) return null;
  return el("p", { class: "small" }, `Step ${brief(step)} was sampled after ${plural(step, "optimizer step")}; `,
    `its rewards are part of step ${brief(Math.min(...later))} of the curves.`);
}

function promptButton(group, current) {
  const image = picture(DATA.images[group.image]?.uri, "", { loading: "lazy" });
  const asked = el("span", { class: "ask", dir: "auto" }, shortened(group.question, 160));
  const chosen = current ? { "aria-current": "true", tabindex: 0 } : { tabindex: -1 };
  const attributes = { type: "button", class: "prompt", ...chosen };
  return el("li", {}, el("button", { ...attributes, onclick: () => showPrompt(group) },
    image ?? el("span", { class: "noimage" }), el("span", { class: "what" }, asked, signs(group))));
}

/** The prompts under the headings of their steps; up and down arrows move. */
function promptList(prompts, chosen) {
  const list = el("ol", { class: "prompts", "aria-label": "Prompts" });
  let step = null;
  for (const group of prompts) {
    if (state.order === "given" && group.step !== step) {
      step = group.step;
      list.append(el("li", { class: "step" }, `Step ${step}`));
    }
    list.append(promptButton(group, group === chosen));
  }
  list.addEventListener("keydown", (event) => {
    const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!way) return;
    event.preventDefault();
    stepPrompt(way);
    document.querySelector(".prompt[aria-current]")?.focus();
  });
  return list;
}

/** Radio buttons that look like one control. */
function segmented(name, label, options, chosen, onchange) {
  return el("fieldset", { class: "segmented" }, el("legend", { class: "unseen" }, label),
    options.map(([value, text, attributes = {}]) => el("label", { title: attributes.title ?? null },
      el("input", { type: "radio", name, value, checked: value === chosen, disabled: attributes.disabled,
        onchange: () => onchange(value) }),
      el("span", {}, text, attributes.count !== undefined && [" ", el("b", {}, String(attributes.count))]))));
}

function filterControl() {
  const replies = GROUPS.filter((group) => group.run === state.run).flatMap((group) => group.replies);
  const included = replies.some(FILTERS.lucky.test) ? { right: " (lucky included)" } : {};
  const options = Object.entries(FILTERS).map(([name, { label, title, test }]) =>
    [name, `${label}${included[name] ?? ""}`, { title, count: replies.filter(test).length }])
    .filter(([name, , { count }]) => name === "all" || count || name === state.show);
  return segmented("show", "Show replies", options, state.show, (show) => updateRollouts({ show }));
}

function dropDown(label, options, chosen, onchange) {
  const select = el("select", { onchange: () => onchange(select.value) },
    options.map(([value, text]) => el("option", { value, selected: value === chosen }, visible(text))));
  return el("label", { class: "pick" }, el("span", {}, label), select);
}
