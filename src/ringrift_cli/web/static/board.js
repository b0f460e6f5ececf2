// The board of a page: draws views of the server, marks cells, and reports clicks and keys.
export const $ = (selector) => document.querySelector(selector);
const SVG = "http://www.w3.org/2000/svg";
const LETTERS = "ABCD";

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function drawn(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

export function problem(message) {
  document.querySelectorAll(".error").forEach((old) => old.remove());
  const box = element("div", { class: "error", role: "alert" }, message);
  document.body.append(box);
  setTimeout(() => box.remove(), 6000);
}

export async function ask(path, document_ = undefined) {
  const options = document_ === undefined ? {} : { method: "POST", body: JSON.stringify(document_) };
  const answer = await fetch(path, options);
  const found = await answer.json();
  if (!answer.ok) throw new Error([found.error, found.hint && `Try: ${found.hint}.`].filter(Boolean).join(" "));
  return found;
}

// Server-sent events as an answer to POST; ends when `signal` aborts.
export async function* events(path, document_, signal) {
  const answer = await fetch(path, { method: "POST", body: JSON.stringify(document_), signal });
  if (!answer.ok) throw new Error((await answer.json()).error);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (text + value).split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const found = JSON.parse(part.slice(6));
      if (found.error) throw new Error(found.error);
      yield found;
    }
  }
}

export function guarded(act) {
  return async (...given) => {
    try { return await act(...given); } catch (error) { if (error.name !== "AbortError") problem(error.message); }
  };
}

export function contentText(content) {
  if (!content) return "empty";
  const owner = LETTERS[content.at(-1) - 1];
  if (content[0] === "m") return `marker of ${owner}`;
  if (content[0] === "c") return `territory of ${owner}`;
  const rings = content.slice(1);
  const cap = rings.length - rings.replace(new RegExp(`${rings.at(-1)}+$`), "").length;
  const names = [...rings].map((ring) => LETTERS[ring - 1]).join("");
  return `stack of ${owner}, height ${rings.length}, cap ${cap}, bottom to top ${names}`;
}

export class Board {
  constructor(place, onCell, onHover = () => {}) {
    this.place = place;
    this.onCell = onCell;
    this.onHover = onHover;
    this.name = null;
    this.contents = [];
    this.drawings = {};
    this.marked = [];
  }

  async load(name) {
    if (this.name === name) return;
    const [svg, info] = await Promise.all([fetch(`/boards/${name}`).then((a) => a.text()), ask("/info")]);
    this.place.innerHTML = svg;
    this.svg = this.place.querySelector("svg");
    this.svg.classList.add("board");
    this.svg.setAttribute("role", "group");
    this.svg.setAttribute("aria-label", `Board ${name}. Arrow keys move, Enter chooses.`);
    this.pitch = Number(this.svg.dataset.pitch);
    this.names = info.boards[name].cells;
    this.index = Object.fromEntries(this.names.map((cell, i) => [cell, i]));
    this.cells = [...this.svg.querySelectorAll(".cell")];
    this.on = this.cells.map((_, i) => this.svg.querySelector(`#on-${i}`));
    this.centres = this.on.map((place) => place.getAttribute("transform").match(/[-\d.]+/g).map(Number));
    this.contents = this.names.map(() => null);
    this.drawings = {};
    this.marked = [];
    this.name = name;
    this.cells.forEach((cell, i) => {
      cell.setAttribute("role", "button");
      cell.setAttribute("tabindex", i ? -1 : 0);
    });
    const cellOf = (event) => this.cells.indexOf(event.target);
    this.svg.onclick = (event) => cellOf(event) >= 0 && this.choose(cellOf(event));
    this.svg.onkeydown = (event) => this.key(event, cellOf(event));
    this.svg.onpointerover = (event) => this.onHover(this.names[cellOf(event)]);
  }

  choose(i) {
    this.focusable(i);
    this.onCell(this.names[i]);
  }

  focusable(i) {
    this.cells.forEach((cell) => cell.tabIndex === 0 && cell.setAttribute("tabindex", -1));
    this.cells[i].setAttribute("tabindex", 0);
  }

  key(event, at) {
    if (at < 0) return;
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Enter" || event.key === " ") this.choose(at);
    else if (step) {
      const [x, y] = this.centres[at];
      let best = at, nearest = Infinity;
      this.centres.forEach(([u, v], i) => {
        const along = (u - x) * step[0] + (v - y) * step[1];
        const aside = Math.abs((u - x) * step[1] + (v - y) * step[0]);
        const far = along + 2 * aside;
        if (along > this.pitch * 0.4 && far < nearest) { nearest = far; best = i; }
      });
      this.focusable(best);
      this.cells[best].focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  show(contents, drawings) {
    Object.assign(this.drawings, drawings);
    contents.forEach((content, i) => {
      if (this.contents[i] === content) return;
      this.contents[i] = content;
      this.on[i].innerHTML = content ? this.drawings[content] : "";
      if (content[0] === "c") this.cells[i].dataset.land = content[1];
      else delete this.cells[i].dataset.land;
      this.label(i);
    });
  }

  label(i, more = "") {
    this.cells[i].setAttribute("aria-label", `${this.names[i]}: ${contentText(this.contents[i])}${more}`);
  }

  // Marks cells by class: {lit: [names], chosen: [names], …}
  mark(classes) {
    const wanted = new Map();
    for (const [name, cells] of Object.entries(classes)) {
      for (const cell of cells) {
        const i = this.index[cell];
        wanted.set(i, [...(wanted.get(i) ?? []), name]);
      }
    }
    for (const i of this.marked) if (!wanted.has(i)) { this.cells[i].setAttribute("class", "cell"); this.label(i); }
    for (const [i, names] of wanted) {
      this.cells[i].setAttribute("class", `cell ${names.join(" ")}`);
      this.label(i, names.includes("chosen") ? ", chosen" : names.includes("lit") || names.includes("open") ? ", can be chosen" : "");
    }
    this.marked = [...wanted.keys()];
  }

  at(cell) { return this.centres[this.index[cell]]; }

  clear(...layers) { for (const layer of layers) this.svg?.querySelector(`#${layer}`).replaceChildren(); }

  arrow(from, to) {
    const [[x, y], [u, v]] = [this.at(from), this.at(to)];
    const length = Math.hypot(u - x, v - y), [dx, dy] = [(u - x) / length, (v - y) / length];
    const tip = this.pitch * 0.28, [a, b] = [u - dx * tip * 0.6, v - dy * tip * 0.6];
    const head = `M${a - dx * tip - dy * tip * 0.6} ${b - dy * tip + dx * tip * 0.6}L${a} ${b}L${a - dx * tip + dy * tip * 0.6} ${b - dy * tip - dx * tip * 0.6}`;
    this.svg.querySelector("#above").append(drawn("path", { class: "arrow", "stroke-width": this.pitch * 0.09, d: `M${x} ${y}L${a} ${b}${head}` }));
  }

  badge(kind, cell, lines, opacity = 1) {
    const [x, y] = this.at(cell), r = this.pitch * 0.42;
    const group = drawn("g", { class: kind, opacity, transform: `translate(${x} ${y})` });
    group.append(drawn("circle", { r }));
    const size = r * (lines.length > 1 ? 0.68 : 1);
    lines.forEach((text, i) => group.append(drawn("text", { y: (i - (lines.length - 1) / 2) * size * 1.02 + size * 0.34, "font-size": i ? size * 0.85 : size }, text)));
    this.svg.querySelector("#above").append(group);
  }

  // Discs under the contents: {cell: {share 0..1, fill}}
  tint(shares) {
    this.clear("below");
    const below = this.svg.querySelector("#below");
    for (const [cell, { share, fill }] of Object.entries(shares)) {
      const [x, y] = this.at(cell);
      below.append(drawn("circle", { class: "heat", cx: x, cy: y, r: this.pitch * 0.46, opacity: share, style: fill ? `fill:${fill}` : "" }));
    }
  }
}
