// What is looked at lives in the address, so that a reload and a shared link show the same.
const SECTIONS = ["overview", "curves", "rollouts", "distributions", "audit", "comparison", "config"];
const CHOICES = {
  section: ["", ...SECTIONS],
  colour: Object.keys(QUANTITIES),
  show: ["all", "right", "wrong", "lucky", "unstructured"],
  order: ["given", "weight"],
  theme: ["auto", "light", "dark"],
};
const NUMBERS = { run: 0, step: -1, prompt: 0, reply: -1, token: -1, smooth: 0 };
const RUN_LIST = /^\d{1,4}(\.\d{1,4})*$/;
const state = readState();

function readState() {
  const given = new URLSearchParams(location.hash.slice(1));
  const result = {};
  for (const [name, allowed] of Object.entries(CHOICES)) {
    result[name] = allowed.includes(given.get(name)) ? given.get(name) : allowed[0];
  }
  for (const [name, fallback] of Object.entries(NUMBERS)) {
    result[name] = /^\d{1,9}$/.test(given.get(name) ?? "") ? Number(given.get(name)) : fallback;
  }
  result.off = RUN_LIST.test(given.get("off") ?? "") ? given.get("off").split(".").map(Number) : [];
  return result;
}

function address() {
  const parts = new URLSearchParams();
  for (const name of Object.keys(CHOICES)) if (state[name] !== CHOICES[name][0]) parts.set(name, state[name]);
  for (const name of Object.keys(NUMBERS)) if (state[name] !== NUMBERS[name]) parts.set(name, state[name]);
  if (state.off.length) parts.set("off", state.off.join("."));
  return `#${parts}`;
}

/** Change the state and the address; a new section is a new entry of the browser's history. */
function keep(changes, entry = false) {
  Object.assign(state, changes);
  if (address() === (location.hash || "#")) return;
  if (entry) history.pushState(null, "", address());
  else history.replaceState(history.state, "", address());
}
