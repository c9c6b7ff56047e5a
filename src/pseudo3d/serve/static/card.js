// What is known of the network: classes, protocol, scores, preprocessing, limits.

import { $, bytes, make, percent } from "./dom.js";

const MANY = 24; // classes from which a field to search them helps

function words(key) { return key.replaceAll("_", " "); }

function value(x, key = "") {
  if (x === null || x === undefined || x === "") return "none";
  if (typeof x === "boolean") return x ? "yes" : "no";
  if (Array.isArray(x)) return x.map((one) => value(one)).join(", ");
  if (typeof x !== "number") return String(x);
  if (/bytes$/.test(key)) return bytes(x);
  return Number.isInteger(x) ? x.toLocaleString("en-US") : String(+x.toPrecision(4));
}

/** Scores are fractions by the house's rule, but for those that carry a unit. */
function score(x, key) {
  const share = typeof x === "number" && x >= 0 && x <= 1 && !/(_mm|_s|_ms|loss|seeds?|items|count)$/.test(key);
  return share ? percent(x) : value(x, key);
}

/** Lines of a list; an object inside becomes lines "outer: inner". */
function lines(data, show, before = "") {
  return Object.entries(data ?? {}).flatMap(([key, x]) => {
    const name = before ? `${before}: ${words(key)}` : words(key);
    return x && typeof x === "object" && !Array.isArray(x) ? lines(x, show, name) : [[name, show(x, key)]];
  });
}

function section(box, title, rows, note = "") {
  if (!rows.length && !note) return;
  const part = make("section", box, { className: "card" });
  make("h3", part, { textContent: title });
  if (note) make("p", part, { textContent: note });
  const list = rows.length ? make("dl", part) : null;
  for (const [name, text] of rows) {
    make("dt", list, { textContent: name });
    make("dd", list, { textContent: text });
  }
}

function classes(box, names) {
  const part = make("section", box, { className: "card broad" });
  make("h3", part, { textContent: `${names.length} ${names.length === 1 ? "class" : "classes"}` });
  const list = make("ul", null, { className: "names" }), items = names.map((name) => make("li", list, { textContent: name }));
  if (names.length > MANY) {
    const label = make("label", part, { textContent: "Find " }), field = make("input", label, { type: "search" });
    const count = make("p", part, { className: "soft small", role: "status" });
    field.addEventListener("input", () => {
      const text = field.value.trim().toLowerCase();
      items.forEach((item, i) => { item.hidden = !names[i].toLowerCase().includes(text); });
      const left = items.filter((item) => !item.hidden).length;
      count.textContent = text ? `${left} of ${names.length}` : "";
    });
  }
  part.append(list);
}

export function showCard(model) {
  const box = $("card");
  box.replaceChildren();
  $("card-name").textContent = model.name;
  const { frames, size, seconds } = model, scan = model.input === "scan";
  const input = [["takes", scan ? "scans" : "videos"]];
  if (frames) input.push([scan ? "slices at once" : "frames at once", value(frames)]);
  if (size) input.push(["size", `${size.join(" x ")} ${scan ? "voxels" : "pixels"} (${["depth", "height", "width"].slice(-size.length).join(" x ")})`]);
  if (seconds && !scan) input.push(["time at once", `${+seconds.toPrecision(3)} s`]);
  if (model.precision) input.push(["precision", model.precision]);
  section(box, "What it looks at", input);
  const scores = lines(model.scores, score);
  section(box, "Scores", scores, scores.length ? "" : "No scores are stored with these weights.");
  section(box, "Protocol", [], model.protocol || "Not stored with these weights: do not compare its scores with others.");
  section(box, "Training", lines(model.training, value));
  section(box, "Preprocessing", lines(model.preprocessing, value));
  section(box, "Limits of this service", lines(model.limits, value));
  section(box, "Notes", [], (model.notes ?? []).join(" "));
  classes(box, model.classes ?? []);
}
