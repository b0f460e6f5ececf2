// The page of a run, and the list of methods of the API.
import { $, ask, element, guarded } from "/static/board.js";

async function watch() {
  const { runs } = await ask("/info"), number = Number(new URLSearchParams(location.search).get("run") ?? 0);
  $("#none").hidden = runs.length > 0;
  if (!runs.length) return;
  if (runs.length > 1) $("#runs").replaceChildren(...runs.map((name, i) => element("a", { href: `/watch?run=${i}`, "aria-current": i === number ? "page" : null }, name)));
  const root = $("#run").attachShadow({ mode: "open" });
  const [style, head, body] = [element("style"), element("section", { id: "head" }), element("section", { id: "body" })];
  root.append(style, head, body);
  const stream = new EventSource(`/runs/${number}/events`);
  stream.onmessage = ({ data }) => {
    const found = JSON.parse(data);
    if (found.name) {
      $("#name").textContent = found.name;
      style.textContent = `${found.style.replaceAll(":root", ":host").replace(/^body \{[^}]*\}/m, "")} .alarm { color: #d1543f; font-weight: 600; }`;
    }
    if (found.head !== undefined) head.innerHTML = found.head;
    if (found.body !== undefined) body.innerHTML = found.body;
    $("#updated").textContent = `Updated ${new Date().toLocaleTimeString()}`;
  };
  stream.onerror = () => { $("#updated").textContent = "The server does not answer; trying again."; };
}

async function methods() {
  const { paths, components } = await ask("/api/openapi.json");
  for (const place of document.querySelectorAll("pre")) place.textContent = place.textContent.replaceAll("ADDRESS", location.origin);
  const fields = (name) => {
    const { properties = {}, required = [] } = components.schemas[name];
    return element("table", {}, ...Object.entries(properties).map(([field, about]) => element("tr", {}, element("td", {}, element("code", {}, field)),
      element("td", { class: "faint" }, [about.type ?? "", required.includes(field) ? "required" : "", "default" in about ? `default ${JSON.stringify(about.default)}` : "", about.description ?? ""].filter(Boolean).join("; ")))));
  };
  $("#methods").replaceChildren(...Object.entries(paths).map(([path, { post }]) => {
    const names = [post.requestBody, post.responses[200]].map((part) => part.content["application/json"].schema.oneOf[0].$ref.split("/").at(-1));
    return element("section", { class: "card" }, element("h2", {}, `POST ${path}`), element("p", {}, post.summary), element("h2", {}, "Request"), fields(names[0]), element("h2", {}, "Answer"), fields(names[1]));
  }));
}

guarded($("#methods") ? methods : watch)();
