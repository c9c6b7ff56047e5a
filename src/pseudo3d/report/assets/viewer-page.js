// Controls, keys, layout and start.
function layout() { // all planes at one scale: the largest at which they fit
  const mm = (k) => S.size[k] * S.spacing[k], room = Math.min(document.documentElement.clientWidth - 40, 1560);
  const tall = Math.max(260, window.innerHeight * 0.62), one = room < 700;
  const wide = panes.reduce((sum, p) => sum + mm(COLS[p.k]), 0);
  const most = Math.max(...panes.map((p) => mm(ROWS[p.k]))), broad = Math.max(...panes.map((p) => mm(COLS[p.k])));
  const scale = Math.min(tall / most, one ? room / broad : (room - 24) / wide);
  for (const p of panes) {
    const w = Math.max(24, mm(COLS[p.k]) * scale), h = Math.max(8, mm(ROWS[p.k]) * scale);
    p.dot = window.devicePixelRatio || 1;
    p.canvas.width = Math.round(w * p.dot); p.canvas.height = Math.round(h * p.dot);
    p.canvas.style.width = `${w}px`; p.canvas.style.height = `${h}px`;
    p.box.style.width = `${Math.max(w, 150)}px`;
  }
  redraw();
}
const NS = "http://www.w3.org/2000/svg";
function svg(tag, parent, props) {
  const e = document.createElementNS(NS, tag);
  for (const [key, value] of Object.entries(props)) e.setAttribute(key, value);
  return parent.appendChild(e);
}
let marker;
function curve() {
  if (!S.curve) return;
  const v = S.curve.values, n = v.length, known = v.filter((x) => x !== null);
  const high = Math.max(...known), low = Math.min(0, ...known), box = $("curve");
  const [from, to] = [["S", "I"], ["A", "P"], ["R", "L"]][S.curve.axis], ends = S.placed ? `, ${from} to ${to}` : "";
  box.hidden = false;
  make("p", box, { textContent: `${S.curve.what}, slice by slice (${S.planes[S.curve.axis]}${ends}), up to ${short(high)}; click to go there` });
  const pic = svg("svg", box, { viewBox: `0 0 ${n} 100`, preserveAspectRatio: "none", role: "img" });
  const y = (x) => 96 - (90 * (x - low)) / (high - low || 1);
  marker = svg("rect", pic, { y: 0, width: 1, height: 100, fill: "var(--accent)", opacity: 0.35 });
  let run = [];  // slices without a value are a gap, not a 0
  for (const [i, x] of [...v, null].entries()) {
    if (x !== null) run.push(`${i + 0.5},${y(x).toFixed(2)}`);
    else if (run.length) {
      svg("polyline", pic, { points: [run[0], ...run].join(" "), fill: "none", stroke: "var(--ink)",
        "stroke-width": 1.5, "stroke-linecap": "round", "vector-effect": "non-scaling-stroke" });
      run = [];
    }
  }
  pic.addEventListener("pointerdown", (e) => {
    const b = pic.getBoundingClientRect(), k = S.curve.axis;
    state.at[k] = shown(clamp(Math.floor(((e.clientX - b.left) / b.width) * n), n), k); state.active = k; redraw();
  });
}
function mark() {
  const k = S.curve.axis, ratio = S.full[k] / S.size[k];
  marker.setAttribute("x", state.at[k] * ratio); marker.setAttribute("width", ratio);
}
function words() {
  $("title").textContent = document.title;
  if (S.label) {
    $("found").append(Object.assign(document.createElement("b"), { textContent: S.label }),
      S.prob === null ? "" : ` ${(100 * S.prob).toFixed(1)} %`);
  }
  for (const [name, share] of S.top) {
    const row = make("div", $("top"));
    make("span", row, { textContent: name, title: name });
    make("i", row).style.width = `${Math.max(0.5, 100 * share)}%`;
    make("span", row, { textContent: `${(100 * share).toFixed(1)} %` });
  }
  for (const fact of S.facts) make("li", $("facts"), { textContent: fact });
  if (!overlay) document.body.classList.add("plain");
  else if (S.kind === "heat") {
    make("span", $("legend"), { textContent: "heat 0" });
    make("i", $("legend"), { className: "ramp" }).style.background = `linear-gradient(90deg, ${S.colors.filter((_, i) => i % 15 === 0).join(",")})`;
    make("span", $("legend"), { textContent: short(S.overlay.table[255]) });
  } else for (const value of [...new Set(overlay)].sort((a, b) => a - b)) if (value) {
    const item = make("span", $("legend"));
    make("i", item).style.background = S.colors[value];
    item.append(S.names[value] || `label ${value}`);
  }
}
function controls() {
  const t = S.image.table, span = Math.max(t[255] - t[0], S.window[1] - S.window[0]);
  Object.assign($("level"), { min: Math.min(t[0], S.window[0]), max: Math.max(t[255], S.window[1]) });
  Object.assign($("width"), { min: span / 1e4, max: 1.5 * span });
  for (const [name] of S.presets) make("option", $("preset"), { textContent: name });
  $("preset").addEventListener("change", (e) => { [state.low, state.high] = S.presets[e.target.selectedIndex][1]; redraw(); });
  $("level").addEventListener("input", (e) => setWindow(+e.target.value, state.high - state.low));
  $("width").addEventListener("input", (e) => setWindow((state.low + state.high) / 2, +e.target.value));
  $("opacity").addEventListener("input", (e) => { state.opacity = +e.target.value; redraw(); });
  $("zoom").addEventListener("input", (e) => setZoom(+e.target.value));
  for (const id of ["show", "cross", "smooth"]) {
    $(id).addEventListener("change", (e) => { state[id] = e.target.checked; redraw(); });
  }
  $("hot").addEventListener("click", hot); $("reset").addEventListener("click", reset);
  $("theme").addEventListener("click", () => {
    const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  window.addEventListener("resize", layout); window.addEventListener("hashchange", fromAddress);
  window.addEventListener("keydown", key);
}
function hot() { state.at = S.hot.map((i, k) => shown(i, k)); redraw(); }
function reset() {
  Object.assign(state, { low: S.window[0], high: S.window[1], opacity: S.opacity, zoom: 1, show: true });
  $("preset").selectedIndex = 0; state.at = S.at.map((i, k) => shown(i, k)); redraw();
}
function key(e) {
  if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|SELECT|BUTTON)$/.test(e.target.tagName)) return;
  const k = state.active, moves = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
  if (e.key in moves) scroll(k, moves[e.key]);
  else if ("123".includes(e.key)) { state.active = +e.key - 1; redraw(); }
  else if (e.key === "o") { state.show = !state.show; redraw(); }
  else if (e.key === "[" || e.key === "]") { state.opacity = Math.max(0, Math.min(1, state.opacity + (e.key === "]" ? 0.1 : -0.1))); redraw(); }
  else if (e.key === "+" || e.key === "=") setZoom(state.zoom * 1.25);
  else if (e.key === "-") setZoom(state.zoom / 1.25);
  else if (e.key === "h") hot();
  else if (e.key === "r") reset();
  else return;
  e.preventDefault();
}
function fromAddress() {
  const v = location.hash.slice(1).split(",").map(Number);
  if (v.length === 3 && v.every(Number.isFinite)) { goTo(v); redraw(); }
}
async function start() {
  if (!("DecompressionStream" in window)) {
    throw new Error("this browser is too old to unpack the scan; Chrome 80, Firefox 113, Safari 16.4 or newer can");
  }
  [image, overlay] = [await unpack(S.image), S.overlay && await unpack(S.overlay)];
  $("main").hidden = false; $("wait").hidden = true;
  for (let k = 0; k < 3; k++) pane(k);
  words(); controls(); curve(); fromAddress(); layout(); draw();
  document.body.dataset.ready = "yes";
}
start().catch((err) => { $("wait").textContent = `the scan cannot be shown: ${err.message}`; });
