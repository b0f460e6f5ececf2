// The page that analyses: positions of a loaded game, a running search, chances along the game.
import { $, ask, Board, element, events, guarded } from "/static/board.js";

const LETTERS = "ABCD", WIN = ["#3c72b8", "#dc5440", "#e0a51f", "#4ea896"];
let game = null, main = null; // the loaded game, and the one that a variation left
let ply = 0, positions = [], search = null, state = null, ownership = null, pointed = null;
const board = new Board($("#board"), guarded(onCell), () => {});

// ---- loading ----

async function load(asked) {
  stop();
  show(await ask("/analysis/load", asked));
}

function show(loaded, at = loaded.steps.length ? 0 : undefined) {
  game = loaded;
  positions = [{ ...game.first }];
  for (const step of game.steps) {
    const cells = [...positions.at(-1).cells];
    for (const [i, content] of Object.entries(step.changed)) cells[i] = content;
    positions.push({ ...step, cells });
  }
  $("#ply").max = game.steps.length;
  $("#main-game").hidden = !main;
  $("#game-card").hidden = !game.steps.length;
  if (!game.analysis) { $("#chart").setAttribute("hidden", ""); $("#mistakes").replaceChildren(); $("#game-progress").textContent = ""; } else chart();
  guarded(async () => {
    await board.load(game.first.board);
    board.drawings = game.first.drawings;
    const count = game.first.seats.length, { evaluators } = await ask(`/players?board=${game.first.board}&players=${count}`);
    $("#evaluator").replaceChildren(...evaluators.map((name) => element("option", { value: name }, name === "heuristic" ? "Heuristic" : `Network (${name})`)));
    go(at ?? game.steps.length);
  })();
}

function go(to) {
  stop();
  ply = Math.max(0, Math.min(to, game.steps.length));
  state = ownership = pointed = null;
  const now = positions[ply];
  board.show(now.cells, {});
  $("#ply").value = ply;
  const name = (seat) => game.names[seat - 1] ? `${LETTERS[seat - 1]} (${game.names[seat - 1]})` : LETTERS[seat - 1];
  const told = now.over ? game.ending || "Game over." : `${name(now.seat)}: ${now.phase.replaceAll("_", " ")}`;
  const counts = now.seats.map((seat, i) => `${LETTERS[i]} ${seat.hand} in hand, ${seat.eliminated}/${now.rings_to_win} eliminated, ${seat.territory}/${now.cells_to_win} territory`);
  $("#status").replaceChildren(element("strong", {}, `${ply} of ${game.steps.length}. ${told}`), element("div", { class: "faint" }, counts.join(" · ")));
  const from = Math.max(0, ply - 100);
  $("#log").replaceChildren(...game.steps.slice(from, ply + 20).map((step, i) => {
    const mark = game.analysis?.decisions[from + i]?.mark;
    return element("li", {}, element("a", { href: "#", class: mark ?? "", "aria-current": from + i + 1 === ply ? "true" : null, onclick: (event) => { event.preventDefault(); go(from + i + 1); } },
      `${from + i + 1}. ${LETTERS[positions[from + i].seat - 1]}: ${step.move.slice(0, 60)}${mark ? ` (${mark})` : ""}`));
  }));
  $("#log [aria-current]")?.scrollIntoView({ block: "nearest" });
  $("#search").disabled = now.over;
  $("#progress").textContent = "";
  draw();
  chart();
}

// ---- a running search ----

function stop() {
  search?.abort();
  search = null;
  $("#search").textContent = "Analyse position";
}

async function analyse() {
  if (search) return stop();
  const own = search = new AbortController();
  $("#search").textContent = "Stop";
  try {
    for await (const found of events("/analysis/position", { game: game.game, ply, evaluator: $("#evaluator").value, simulations: 100000 }, own.signal)) {
      if (search !== own) break;
      if (found.ownership) ownership = found.ownership;
      else state = found;
      draw();
    }
  } finally { if (search === own) stop(); }
}

const percent = (share) => `${(100 * share).toFixed(share > 0.995 || share < 0.005 ? 0 : 1)}`;

function draw() {
  const last = ply ? (game.steps[ply - 1].move.match(/-?\d+,-?\d+/g) ?? []).slice(0, 3) : [];
  board.mark({ last });
  board.clear("above", "below");
  $("#owner-label").hidden = !ownership;
  if ($("#heat").checked && state) {
    const most = Math.max(...Object.values(state.policy), 0.001);
    board.tint(Object.fromEntries(Object.entries(state.policy).map(([cell, share]) => [cell, { share: 0.75 * Math.sqrt(share / most) }])));
  } else if ($("#owner").checked && ownership) {
    board.tint(Object.fromEntries(ownership.map(([, ...seats], i) => { const most = Math.max(...seats); return [board.names[i], { share: 0.9 * most, fill: WIN[seats.indexOf(most)] }]; })));
  }
  const values = state?.values ?? game.analysis?.decisions[ply]?.values ?? (game.analysis && ply === game.steps.length ? game.analysis.final : null);
  $("#chances").hidden = !values;
  if (values) {
    $("#chances").setAttribute("aria-label", `Chances: ${values.map((v, i) => `${LETTERS[i]} ${percent(v)} %`).join(", ")}`);
    $("#chances").replaceChildren(...values.map((value, i) => element("span", { class: `c${i + 1}`, style: `flex: ${value.toFixed(4)} 1 0` }, value > 0.12 ? `${LETTERS[i]} ${percent(value)} %` : "")));
  }
  if (!state) { $("#candidates").replaceChildren(); return; }
  $("#progress").textContent = `${state.simulations.toLocaleString("en")} simulations, ${state.seconds.toFixed(1)} s${state.done ? ", stopped" : ""}`;
  const most = Math.max(...state.candidates.map((c) => c.visits), 1);
  const shown = new Set(), first = state.candidates[0], onBoard = [];
  for (const candidate of state.candidates) {
    if (!candidate.cell || shown.has(candidate.cell) || (!candidate.visits && candidate !== first)) continue;
    shown.add(candidate.cell);
    const top = candidate === first, strength = Math.sqrt(candidate.visits / most);
    const better = candidate !== first && candidate.visits > 0.03 * most && candidate.win_rate > first.win_rate;
    onBoard.push([`candidate${top ? " best" : ""}${better ? " better" : ""}`, candidate.cell, [percent(candidate.win_rate), short(candidate.visits)], top ? 1 : 0.35 + 0.6 * strength]);
  }
  for (const badge of onBoard.reverse()) board.badge(...badge);
  const chosen = $("#candidates tr:focus")?.dataset.action;
  $("#candidates").replaceChildren(...state.candidates.map((candidate) => element("tr", { tabindex: 0, "data-action": candidate.action, title: candidate.line.join(", "),
    onclick: guarded(() => vary(candidate)), onkeydown: guarded((event) => event.key === "Enter" && vary(candidate)),
    onpointerenter: () => line(candidate), onfocus: () => line(candidate) },
  element("td", {}, candidate.move.slice(0, 40)), element("td", { class: "n" }, `${percent(candidate.win_rate)} %`), element("td", { class: "n" }, short(candidate.visits)), element("td", { class: "n" }, `${percent(candidate.prior)} %`))));
  const kept = state.candidates.find((candidate) => candidate.action === pointed);
  if (kept) line(kept);
  if (chosen) $(`#candidates tr[data-action="${chosen}"]`)?.focus();
}

const short = (number) => (number >= 10000 ? `${(number / 1000).toFixed(0)}k` : number >= 1000 ? `${(number / 1000).toFixed(1)}k` : String(number));

// The expected moves: an arrow or a number for each.
function line(candidate) {
  pointed = candidate.action;
  board.clear("above");
  const at = {};
  candidate.line.forEach((move, i) => {
    const cells = move.match(/-?\d+,-?\d+/g) ?? [];
    if (!cells.length || /^(line|region)/.test(move)) return;
    if (cells.length > 1) board.arrow(cells[0], cells.at(-1));
    (at[cells.at(-1)] ??= []).push(i + 1);
  });
  for (const [cell, numbers] of Object.entries(at)) board.badge("step", cell, [numbers.join(" ")], 0.9);
}

async function vary(candidate) {
  const origin = main ?? { game, ply };
  const loaded = await ask("/analysis/load", { game: game.game, ply, action: candidate.action });
  main = origin;
  const running = search !== null;
  show(loaded, loaded.steps.length);
  if (running) setTimeout(guarded(analyse), 100);
}

async function onCell(cell) {
  const candidate = state?.candidates.find((one) => one.cell === cell);
  if (candidate) await vary(candidate);
}

// ---- the whole game ----

async function whole() {
  if (search) return stop();
  const own = search = new AbortController();
  $("#whole").textContent = "Stop";
  try {
    for await (const found of events("/analysis/game", { game: game.game, evaluator: $("#evaluator").value, simulations: 48 }, own.signal)) {
      $("#game-progress").textContent = `${found.done} of ${found.total} positions`;
      if (found.decisions.length) { game.analysis = found; $("#game-progress").textContent = ""; go(ply); }
    }
    if (!game.analysis && search === own) $("#game-progress").textContent = "Others wait for the machine: try again.";
  } finally { $("#whole").textContent = "Analyse game"; if (search === own) stop(); }
}

function chart() {
  if (!game.analysis) return;
  const { decisions, final } = game.analysis, rows = [...decisions.map((one) => one.values), final];
  const count = final.length, width = Math.max(1, rows.length - 1), parts = [];
  const sums = rows.map((values) => { let total = 0; return [0, ...values.map((value) => (total += value))]; });
  for (let seat = 0; seat < count; seat += 1) {
    const top = sums.map((sum, x) => `${x} ${1 - sum[seat]}`), low = sums.map((sum, x) => `${x} ${1 - sum[seat + 1]}`).reverse();
    parts.push(`<path class="s${seat + 1}" d="M${[...top, ...low].join("L")}Z"/>`);
  }
  for (const one of decisions.filter((decision) => decision.mark === "blunder")) parts.push(`<path class="mark" d="M${one.ply} 0V1"/>`);
  parts.push(`<path class="now" d="M${ply} 0V1"/>`);
  const svg = $("#chart");
  svg.removeAttribute("hidden");
  svg.setAttribute("viewBox", `0 0 ${width} 1`);
  svg.innerHTML = parts.join("");
  const marked = decisions.filter((one) => one.mark).sort((a, b) => b.lost - a.lost).slice(0, 12);
  $("#mistakes").replaceChildren(element("p", { class: "faint" }, marked.length ? "What cost most:" : "No mistake was found."), ...marked.map((one) => element("div", {},
    element("a", { href: "#", class: one.mark, onclick: (event) => { event.preventDefault(); go(one.ply); } }, `${one.ply}. ${LETTERS[one.seat - 1]} ${one.mark} −${Math.round(100 * one.lost)} %`),
    ` ${one.move.slice(0, 40)}, better ${one.best.slice(0, 40)}`)));
}

// ---- controls ----

async function openDialog() {
  const sources = await ask("/analysis/sources"), select = $("#source");
  $("#recorded").hidden = !sources.length;
  select.replaceChildren(...sources.map((source, i) => element("option", { value: i }, source.label)));
  const numbers = () => $("#number").replaceChildren(...[...(sources[select.value]?.numbers ?? [])].reverse().map((number) => element("option", {}, String(number))));
  select.onchange = numbers;
  numbers();
  $("#open").showModal();
}

async function opened() {
  const how = $("#open").returnValue;
  main = null;
  if (how === "recorded") await load({ source: Number($("#source").value), number: Number($("#number").value) });
  if (how === "text") await load({ text: $("#text").value });
}

async function begin() {
  const text = location.hash === "#game" && sessionStorage.getItem("ringrift.analyse");
  if (text) return load({ text });
  const sources = await ask("/analysis/sources"), number = sources[0]?.numbers.at(-1);
  if (number) return load({ source: 0, number });
  await load({ text: "newgame board hex8 players 2" });
}

const on = (id, act) => $(id).addEventListener("click", guarded(act));
on("#search", analyse); on("#whole", whole); on("#load", openDialog);
on("#first", () => go(0)); on("#back", () => go(ply - 1)); on("#next", () => go(ply + 1)); on("#last", () => go(game.steps.length));
on("#main-game", () => { const before = main; main = null; show(before.game, before.ply); });
on("#chart", (event) => { const box = $("#chart").getBoundingClientRect(); go(Math.round(((event.clientX - box.left) / box.width) * game.steps.length)); });
$("#ply").addEventListener("input", (event) => go(Number(event.target.value)));
$("#heat").addEventListener("change", () => { $("#owner").checked = false; draw(); });
$("#owner").addEventListener("change", () => { $("#heat").checked = false; draw(); });
for (const left of ["pointerleave", "focusout"]) $("#candidates").addEventListener(left, () => { pointed = null; });
$("#open").addEventListener("close", guarded(opened));
$("#file").addEventListener("change", async (event) => { $("#text").value = await event.target.files[0].text(); });
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]") || event.target.closest("input, textarea, select, svg")) return;
  const keys = { ArrowLeft: "#back", ArrowRight: "#next", Home: "#first", End: "#last", " ": "#search" };
  if (keys[event.key] && !(event.key === " " && event.target.tagName === "BUTTON")) { event.preventDefault(); $(keys[event.key]).click(); }
});
guarded(begin)();
