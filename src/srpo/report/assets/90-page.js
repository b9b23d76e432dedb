// The frame: sections, theme, keys, and reading the file again while a run is watched.
const VIEWS = {
  overview: { label: "Overview", there: () => true, make: overviewSection },
  curves: { label: "Curves", there: hasCurves, make: curvesSection },
  rollouts: { label: "Rollouts", there: () => GROUPS.length, make: rolloutsSection },
  distributions: { label: "Distributions", there: () => DATA.distributions?.length, make: distributionsSection },
  audit: { label: "Audit", there: () => DATA.audit?.length, make: auditSection },
  comparison: { label: "Comparison", there: () => DATA.comparison?.length, make: comparisonSection },
  config: { label: "Config", there: () => true, make: configSection },
};
const KEYS = [
  ["[ ]", "previous and next prompt"],
  ["c", "next colouring"],
  ["← → ↑ ↓", "move among the tokens of a reply, the prompts of the list, the steps of a curve"],
  ["Home End", "first and last token or step"],
  ["Tab", "next reply or control"],
  ["t", "theme: as the system, light, dark"],
  ["Esc", "close"],
];
const SIGNS = [
  ...Object.entries(VERDICTS).map(([kind, meaning]) => [() => sign(kind), meaning]),
  [() => el("span", { class: "mark" }, EMPTY), "a token without text"],
  [() => el("span", { class: "mark" }, codePoint("\u202e")), "a character that nobody can see, by its number"],
];
const QUIET_SECONDS = 5;
const built = new Map();
let lastAct = 0;

function present() {
  return SECTIONS.filter((name) => VIEWS[name].there());
}

function sectionInView() {
  if (present().includes(state.section)) return state.section;
  return RUNS.every((run) => run.kind === "inspect") && GROUPS.length ? "rollouts" : "overview";
}

function showSection() {
  const chosen = sectionInView();
  if (!built.has(chosen)) {
    built.set(chosen, VIEWS[chosen].make());
    document.getElementById("main").append(built.get(chosen));
  }
  for (const [name, node] of built) node.hidden = name !== chosen;
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.dataset.section !== chosen) link.removeAttribute("aria-current");
    else {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ block: "nearest", inline: "center" });
    }
  }
}

function drawNav() {
  const go = (event) => {
    event.preventDefault();
    keep({ section: event.currentTarget.dataset.section }, true);
    showSection();
    window.scrollTo(0, 0);
  };
  const links = present().map((name) =>
    el("a", { href: `#section=${name}`, "data-section": name, onclick: go }, VIEWS[name].label));
  document.getElementById("nav").append(...links);
}

function applyTheme() {
  const root = document.documentElement;
  if (state.theme === "auto") root.removeAttribute("data-theme");
  else root.setAttribute("data-theme", state.theme);
  const button = document.getElementById("theme");
  button.textContent = { auto: "◐", light: "○", dark: "●" }[state.theme];
  button.title = `Theme: ${state.theme} (t)`;
  button.setAttribute("aria-label", `Theme: ${state.theme}`);
  if (view.group) tintReplies();
}

function nextTheme() {
  const { theme } = CHOICES;
  keep({ theme: theme[(theme.indexOf(state.theme) + 1) % theme.length] });
  applyTheme();
}

function showKeys() {
  const dialog = document.getElementById("keys");
  dialog.replaceChildren(el("h2", {}, "Keys"), described(KEYS),
    el("h2", {}, "Signs"), described(SIGNS.map(([make, meaning]) => [make(), meaning])),
    el("form", { method: "dialog" }, el("button", {}, "Close")));
  dialog.showModal();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.getElementById("keys").open) return;
  if (event.target.closest("select, textarea, input:not([type=radio])")) return;
  const rollouts = sectionInView() === "rollouts" && view.group;
  const act = {
    "?": showKeys,
    t: nextTheme,
    "[": rollouts && (() => stepPrompt(-1)),
    "]": rollouts && (() => stepPrompt(1)),
    c: rollouts && cycleColour,
  }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

/** While a run is watched: read the file again, unless somebody has just acted. */
function watch() {
  if (!DATA.refresh) return;
  const quiet = () => (Date.now() - lastAct) / 1000 > QUIET_SECONDS;
  const again = () => {
    if (!quiet() || document.getElementById("keys").open) return setTimeout(again, 1000);
    history.replaceState({ y: window.scrollY }, "", address());
    return location.reload();
  };
  for (const name of ["pointermove", "pointerdown", "keydown", "scroll"]) {
    window.addEventListener(name, () => (lastAct = Date.now()), { passive: true, capture: true });
  }
  setTimeout(again, DATA.refresh * 1000);
}

function start() {
  numberGroups();
  write(document.getElementById("title"), shortened(DATA.title, 200));
  document.getElementById("theme").addEventListener("click", nextTheme);
  document.getElementById("help").addEventListener("click", showKeys);
  document.addEventListener("keydown", onKey);
  window.addEventListener("scroll", onScroll, { passive: true, capture: true });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);
  window.addEventListener("hashchange", () => {
    Object.assign(state, readState());
    applyTheme();
    showSection();
    if (built.has("rollouts")) updateRollouts({});
  });
  drawNav();
  showSection();
  applyTheme();
  watch();
  if (history.state?.y) setTimeout(() => window.scrollTo(0, history.state.y), 100);
}

start();
