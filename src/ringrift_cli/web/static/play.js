// The page of a game: selection in steps, commands, and the other players' answers.
import { $, ask, Board, element, guarded, problem } from "/static/board.js";

const BY_ONE_CELL = ["eliminate", "extract", "forced"], AREAS = ["line", "region"];
const KEPT = "ringrift.game", SEEN = "ringrift.explained", LISTED = 12, LISTED_ENDS = 6, PAUSE_MS = 450;
const LETTERS = "ABCD";
let view = null, hint = null;
let left = [], path = [];
const board = new Board($("#board"), guarded(choose));
board.place.addEventListener("pointerdown", () => { hint = null; });

// ---- selection ----

function matching(among, cell) {
  const tests = [
    (choice) => choice.start === cell, (choice) => choice.end === cell, (choice) => choice.target === cell,
    (choice) => AREAS.includes(choice.kind) && choice.cells.includes(cell),
  ];
  for (const test of tests) {
    const found = among.filter(test);
    if (found.length) return found;
  }
  return [];
}

function sharedStart(among) {
  const starts = new Set(among.filter((choice) => choice.cells.length).map((choice) => choice.start));
  return starts.size === 1 ? [...starts][0] : null;
}

function reset() {
  left = view?.choices ?? [];
  path = [];
  const start = sharedStart(left), first = left.find((choice) => choice.cells.length);
  if (start !== null && first?.end) { // one stack has to go on
    path = [start];
    left = left.filter((choice) => choice.start === start);
  }
  present();
}

async function choose(cell) {
  if (!view?.choices) return;
  for (const [among, before] of [[left, path], [view.choices, []]]) {
    const found = matching(among, cell);
    if (!found.length) continue;
    const again = before.at(-1) === cell, only = found.length === 1, kind = found[0].kind;
    const ended = found[0].end === cell || BY_ONE_CELL.includes(kind) || (kind === "place" && !again);
    if (only && (ended || (again && !found[0].end))) return play(found[0]);
    if (again && before.length === path.length && found.length === left.length) return back();
    left = found;
    path = again ? before : [...before, cell];
    hint = null;
    return present();
  }
  reset();
}

function back() {
  if (path.length) { hint = null; reset(); } else $("#undo").click();
}

function present() {
  const choosing = path.length > 0, lit = new Set(), chosen = new Set(path.slice(-1));
  for (const choice of left) {
    if (AREAS.includes(choice.kind)) choice.cells.forEach((cell) => (choosing ? chosen : lit).add(cell));
    else if (choosing && choice.end) lit.add(choice.end);
    else if (!choosing && choice.start) lit.add(choice.start);
  }
  const hinted = hint ? hint.choice.cells.slice(0, 1).concat(hint.choice.end ?? []) : [];
  const nearlyAll = lit.size > board.names.length / 2;
  board.mark({ last: view.last, [nearlyAll ? "open" : "lit"]: [...lit], chosen: [...chosen], hinted });
  board.clear("above");
  if (hint?.choice.end) board.arrow(hint.choice.start, hint.choice.end);
  const listed = left.filter((choice) => left.length <= (choice.end ? LISTED_ENDS : LISTED) || !choice.cells.length);
  const skips = choosing ? view.choices.filter((choice) => !choice.cells.length && !left.includes(choice)) : [];
  const buttons = [...listed, ...skips].map((choice, i) => {
    const effect = element("small", {}, aboutOf(choice));
    if (!view.about && listed.length <= 6) ask(`/games/${view.game}`, { command: "about", action: choice.action }).then((found) => { effect.textContent = found.about; }, () => {});
    return element("button", { onclick: guarded(() => play(choice)) }, `${i + 1}. ${label(choice)}`, effect);
  });
  if (choosing && path.length && view.choices.length > left.length) buttons.push(element("button", { onclick: back }, "Back (Esc)"));
  $("#choices").replaceChildren(...buttons);
}

function label(choice) {
  const names = { skip_placement: "Place nothing", skip_capture: "Do not capture", skip_recovery: "Do not recover", skip_territory: "Take no region", swap: "Swap seats" };
  if (names[choice.kind]) return names[choice.kind];
  if (choice.kind === "place") return `${choice.rings} ring${choice.rings > 1 ? "s" : ""} on ${choice.cells[0]}`;
  if (AREAS.includes(choice.kind)) return `Take the ${choice.kind} (${choice.cells.length} cells)`;
  return choice.text;
}

function aboutOf(choice) { return view.about?.[view.choices.indexOf(choice)] ?? ""; }

// ---- the game ----

async function play(choice) {
  if (document.body.dataset.state !== "ready") return; // a second click while the first is on its way
  document.body.dataset.state = "waiting";
  try {
    await show(await ask(`/games/${view.game}`, { command: "move", action: choice.action }));
  } catch (error) {
    document.body.dataset.state = "ready";
    throw error;
  }
}

async function command(name) {
  const found = await ask(`/games/${view.game}`, { command: name });
  await show(found);
}

async function show(found) {
  const begun = performance.now();
  view = found;
  hint = null;
  await board.load(view.board);
  board.show(view.cells, view.drawings);
  reset();
  panel();
  window.redrawn = performance.now() - begun;
  document.body.dataset.state = view.over ? "over" : view.persons_turn ? "ready" : "waiting";
  if (view.over || view.persons_turn) return keep();
  const { game, revision } = view;
  const wait = new Promise((done) => { setTimeout(done, PAUSE_MS); });
  const answer = await ask(`/games/${game}`, { command: "answer" });
  await wait;
  if (view.game === game && view.revision === revision) await show(answer);
}

function panel() {
  const waiting = !view.over && !view.persons_turn;
  $("#status").replaceChildren(element("strong", {}, view.over ? "Game over." : waiting ? `${view.names[view.seat - 1]} is thinking …` : view.heading),
    element("div", { class: "faint" }, view.over ? view.ending[0] : view.warning ?? ""));
  const rows = view.seats.map((seat, i) => element("tr", { class: view.seat === i + 1 && !view.over ? "turn" : "" },
    element("td", {}, element("i", { class: `dot c${i + 1}` }), view.names[i]), element("td", { class: "n" }, String(seat.hand)),
    element("td", { class: "n" }, `${seat.eliminated} / ${view.rings_to_win}`), element("td", { class: "n" }, `${seat.territory} / ${view.cells_to_win}`)));
  const head = ["Player", "Hand", "Eliminated", "Territory"].map((name, i) => element("th", { class: i ? "n" : "" }, name));
  $("#players").replaceChildren(element("tr", {}, ...head), ...rows);
  $("#ask").hidden = !view.choices && !view.over;
  explain();
  $("#log").replaceChildren(...view.log.map((line) => element("li", {}, line)));
  $("#log").scrollTop = $("#log").scrollHeight;
  $("#rules dl").replaceChildren(...Object.entries(view.rules).flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]));
  $("#undo").disabled = !view.can_undo;
  $("#hint").disabled = $("#resign").disabled = !view.persons_turn;
  $("#save").href = `/games/${view.game}/file`;
  const lesson = $("#lesson");
  lesson.hidden = !view.lesson;
  if (view.lesson) {
    const { title, rule, task, solved, tried, praise } = view.lesson;
    lesson.classList.toggle("praise", solved);
    lesson.replaceChildren(element("h2", {}, title), element("p", {}, rule), element("p", {}, element("b", {}, solved ? praise : tried ? "Not this one. Undo, and look again." : task)),
      element("button", { onclick: guarded(() => learn(lessonNumber + 1)), class: solved ? "main" : "" }, "Next lesson"));
  }
}

function explain() {
  const seen = JSON.parse(localStorage.getItem(SEEN) ?? "[]"), box = $("#explanation");
  if (view.over) { box.replaceChildren(...view.ending.slice(1).map((line) => element("p", {}, line))); return; }
  if (!view.choices) return;
  const isNew = !seen.includes(view.kind);
  box.replaceChildren(element("details", isNew ? { open: "" } : {}, element("summary", {}, isNew ? "New here" : "What can I do?"), element("p", {}, view.explanation)));
  if (isNew) localStorage.setItem(SEEN, JSON.stringify([...seen, view.kind]));
}

// The server may forget a game: the browser keeps a copy.
async function keep() {
  const file = await fetch(`/games/${view.game}/file`).then((answer) => answer.text());
  localStorage.setItem(KEPT, JSON.stringify({ game: view.game, file }));
}

async function begin() {
  const query = new URLSearchParams(location.search), kept = JSON.parse(localStorage.getItem(KEPT) ?? "null");
  if (query.has("learn")) { await show(await ask("/games", { lesson: lessonNumber })); return lessons(); }
  if (kept && !query.has("new")) {
    try { return await show(await ask(`/games/${kept.game}`)); } catch { /* forgotten */ }
    try { return await show(await ask("/games", { text: kept.file })); } catch { localStorage.removeItem(KEPT); }
  }
  await show(await ask("/games", { board: "hex8", players: 2, seats: ["person", "level-2"] }));
}

// ---- dialogs ----

let lessonNumber = 0;

async function learn(number) {
  const { lessons } = await ask("/info");
  lessonNumber = number % lessons.length;
  $("#lessons").close();
  await show(await ask("/games", { lesson: lessonNumber }));
}

async function lessons() {
  const info = await ask("/info");
  $("#lesson-list").replaceChildren(...info.lessons.map((title, i) => element("button", { onclick: guarded(() => learn(i)) }, `${i + 1}. ${title}`)));
  $("#lessons").showModal();
}

async function seats() {
  const count = Number($("#count").value), listed = await ask(`/players?board=${$("#board-name").value}&players=${count}`);
  const before = [...document.querySelectorAll("#seats select")].map((select) => select.value);
  $("#seats").replaceChildren(...Array.from({ length: count }, (_, i) => element("label", {}, element("i", { class: `dot c${i + 1}` }), `${LETTERS[i]} `,
    element("select", { class: "seat", "aria-label": `Player ${LETTERS[i]}` }, ...listed.players.map(({ name, label: text }) => element("option", { value: name, selected: name === (before[i] ?? (i ? "level-2" : "person")) }, text))))));
  $("#pie-label").hidden = count !== 2;
}

async function setup() {
  const info = await ask("/info"), select = $("#board-name");
  if (!select.children.length) select.append(...Object.entries(info.boards).map(([name, { cells }]) => element("option", { value: name, selected: name === "hex8" }, `${name} (${cells.length} cells)`)));
  await seats();
  $("#setup").showModal();
}

async function start() {
  const text = $("#text").value.trim(), count = Number($("#count").value);
  const chosen = [...document.querySelectorAll(".seat")].map((select) => select.value);
  const asked = text ? { text } : { board: $("#board-name").value, players: count, seats: chosen, pie_rule: count === 2 && $("#pie").checked };
  await show(await ask("/games", asked));
  $("#text").value = "";
}

async function advise() {
  const { game, revision } = view;
  $("#hint").disabled = true;
  const found = await ask(`/games/${game}`, { command: "hint" });
  if (view.game !== game || view.revision !== revision || found.action === undefined) return;
  $("#hint").disabled = false;
  reset();
  hint = { choice: view.choices.find((choice) => choice.action === found.action) };
  const chances = found.values?.map((value, i) => `${view.names[i]} ${Math.round(100 * value)} %`).join(", ");
  present();
  $("#choices").prepend(element("button", { class: "main", onclick: guarded(() => play(hint.choice)) }, `Hint: ${label(hint.choice)}`, element("small", {}, [found.about, chances].filter(Boolean).join(". "))));
}

async function share() {
  $("#shared-text").value = await fetch(`/games/${view.game}/text`).then((answer) => answer.text());
  $("#shared").showModal();
}

const on = (id, act) => $(id).addEventListener("click", guarded(act));
for (const name of ["undo", "redo"]) on(`#${name}`, () => command(name));
on("#resign", () => { if (confirm("Give up this game?")) return command("resign"); });
on("#hint", advise); on("#new", setup); on("#learn", lessons); on("#share", share);
on("#close-lessons", () => $("#lessons").close()); on("#close-shared", () => $("#shared").close());
on("#copy", async () => { $("#shared-text").select(); await navigator.clipboard?.writeText($("#shared-text").value); problem("Copied."); });
on("#to-analysis", async () => { sessionStorage.setItem("ringrift.analyse", await fetch(`/games/${view.game}/text`).then((answer) => answer.text())); });
for (const id of ["#count", "#board-name"]) $(id).addEventListener("change", guarded(seats));
$("#setup").addEventListener("close", guarded(async () => { if ($("#setup").returnValue === "start") await start(); }));
$("#file").addEventListener("change", async (event) => { $("#text").value = await event.target.files[0].text(); });
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]") || /INPUT|TEXTAREA|SELECT/.test(event.target.tagName)) return;
  const keys = { u: "#undo", r: "#redo", h: "#hint", n: "#new" };
  if (event.key === "Escape") back();
  else if (keys[event.key]) $(keys[event.key]).click();
  else if (/^[1-9]$/.test(event.key)) $("#choices").querySelectorAll("button")[event.key - 1]?.click();
});
guarded(begin)();
