// A value becomes one of 21 levels, 0 (deep blue) … 10 (neutral) … 20 (deep orange).
const NEUTRAL_LEVEL = 10;
const EMPTY = "∅"; // stands for a token without text
const DEEP = 6; // steps from neutral at which text must change to stay readable

/** Weights are clipped, then divided by their mean, so they reach beyond the clip bounds: here by half as much again. */
function weightScale(clip) {
  const bounds = (clip ?? []).filter((bound) => bound > 0).map((bound) => Math.max(bound, 1 / bound));
  const bound = Math.max(1.25, ...(bounds.length ? bounds : [2]));
  const limit = 1.5 * bound;
  return {
    place: (value) => (value > 0 ? Math.log(value) / Math.log(limit) : value === 0 ? -1 : NaN),
    ticks: [1 / limit, 1 / bound, 1, bound, limit],
  };
}

function symmetric(ticks) {
  const limit = Math.log2(1 + ticks[ticks.length - 1]);
  return { place: (value) => (Math.sign(value) * Math.log2(1 + Math.abs(value))) / limit, ticks };
}

const QUANTITIES = {
  weight: {
    label: "Weight",
    unit: "",
    low: "less than GRPO",
    high: "more than GRPO",
    note: "How much of the reply's advantage a token gets; 1 is GRPO's share. Blue is weakened, orange is strengthened.",
    value: (reply, i) => reply.weights[i],
    scale: (run) => weightScale(run.clip),
  },
  gap: {
    label: "Gap",
    unit: " nats",
    low: "likelier without",
    high: "needs the evidence",
    note: "How much likelier a token is with its evidence (the image; for reasoning, the perception) than without.",
    value: (reply, i) => (reply.scored ? reply.gaps[i] : NaN),
    scale: () => symmetric([-8, -3, -1, 0, 1, 3, 8]),
  },
  advantage: {
    label: "Advantage",
    unit: "",
    low: "made rarer",
    high: "made likelier",
    note: "What the update does to each token: A·((1 − λ) + λ·w), the reply's advantage A shared out by the weights.",
    value: (reply, i) => tokenAdvantage(reply.advantage, reply.weights[i], reply.strength),
    scale: () => symmetric([-3, -1.5, -0.5, 0, 0.5, 1.5, 3]),
  },
  role: { label: "Role only", note: "Which tokens are perception and which are reasoning.", value: () => NaN, scale: null },
};

function levelOf(scale, value) {
  const place = scale.place(value);
  if (Number.isNaN(place)) return NEUTRAL_LEVEL;
  return NEUTRAL_LEVEL + Math.round(NEUTRAL_LEVEL * Math.max(-1, Math.min(1, place)));
}

/** The classes of a token of a role and a level. */
function tokenClass(role, level) {
  const deep = Math.abs(level - NEUTRAL_LEVEL) >= DEEP ? " deep" : "";
  return `t ${ROLE_CLASSES[role] ?? "n"} c${level}${deep}`;
}

/** The level of each token of a reply under a colouring. */
function levels(name, run, reply) {
  const { scale, value } = QUANTITIES[name];
  const result = new Uint8Array(reply.tokens.length).fill(NEUTRAL_LEVEL);
  if (!scale) return result;
  const chosen = scale(run);
  for (let i = 0; i < result.length; i++) result[i] = levelOf(chosen, value(reply, i));
  return result;
}

function roleKey() {
  const sample = (kind, text) => el("span", { class: `sample t ${kind}` }, text);
  const empty = el("span", {}, el("span", { class: "mark" }, EMPTY), " no text");
  return el("p", { class: "rolekey" }, sample("p", "perception"), sample("r", "reasoning"), sample("n", "neither"), empty);
}

/** The scale of a colouring with its numbers, and the signs of the roles. */
function legend(name, run) {
  const quantity = QUANTITIES[name];
  const box = el("div", { class: "legend" });
  if (quantity.scale) {
    const scale = quantity.scale(run);
    const cells = Array.from({ length: 21 }, (_, i) => el("i", { class: `c${i}`, "data-level": i }));
    const ticks = scale.ticks.map((tick, i) => {
      const text = (i === 0 ? "≤ " : i === scale.ticks.length - 1 ? "≥ " : "") + brief(tick, 2);
      const node = el("span", { class: i % 2 ? "minor" : null }, text);
      node.style.left = `${50 + 50 * scale.place(tick)}%`;
      return node;
    });
    box.append(
      el("div", { class: "scale", role: "img", "aria-label": `Blue is ${quantity.low}, orange is ${quantity.high}` },
        el("div", { class: "ends" }, el("span", {}, quantity.low), el("span", {}, quantity.high)),
        el("div", { class: "cells" }, cells),
        el("div", { class: "ticks" }, ticks)),
    );
  }
  box.append(roleKey());
  return box;
}
