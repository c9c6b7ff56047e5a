"use strict";
// One scan, three planes, no network. Arrays are upright: axis 0 downward (or depth), 1 back, 2 left.
const S = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const [NA, NB, NC] = S.size;
const ROWS = [1, 0, 0], COLS = [2, 2, 1]; // upright axes of each plane's rows and columns
const state = { at: S.at.map((i, k) => shown(i, k)), low: S.window[0], high: S.window[1],
  opacity: S.opacity, zoom: 1, show: true, cross: true, smooth: false, active: 0 };
let image, overlay;
const panes = [];

function shown(i, k) { // index in the full upright array -> index of the shown voxel around it
  return Math.min(S.size[k] - 1, Math.floor(((i + 0.5) * S.size[k]) / S.full[k]));
}
function voxel() { // (d, h, w) in the scan's own array, as a real number, of the shown voxel's middle
  const v = [0, 0, 0];
  for (let k = 0; k < 3; k++) {
    const full = ((state.at[k] + 0.5) * S.full[k]) / S.size[k] - 0.5;
    v[S.axes[k]] = S.flips[k] ? S.full[k] - 1 - full : full;
  }
  return v;
}
function goTo(v) { // a voxel (d, h, w) of the scan's own array
  for (let k = 0; k < 3; k++) {
    const n = S.full[k], own = Math.max(0, Math.min(n - 1, v[S.axes[k]]));
    state.at[k] = shown(S.flips[k] ? n - 1 - own : own, k);
  }
}
const clamp = (i, n) => Math.max(0, Math.min(n - 1, i));
const short = (x) => (Math.abs(x) >= 1e5 || (x && Math.abs(x) < 1e-3) ? x.toExponential(2)
  : String(+x.toPrecision(4)));

async function unpack(code) {
  const text = atob(code.data), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const out = new Uint8Array(await new Response(stream).arrayBuffer());
  if (out.length !== NA * NB * NC) throw new Error("the file is damaged: wrong number of voxels");
  if (code.filtered) restore(out);
  return out;
}
function restore(out) { // undo the prediction: median of left, upper and left + upper - corner
  for (let a = 0, at = 0; a < NA; a++) for (let r = 0; r < NB; r++) for (let c = 0; c < NC; c++, at++) {
    const left = c ? out[at - 1] : 0, up = r ? out[at - NC] : 0, corner = r && c ? out[at - NC - 1] : 0;
    const low = left < up ? left : up, high = left < up ? up : left, sum = left + up - corner;
    out[at] += sum < low ? low : sum > high ? high : sum;
  }
}

function lut() { // code -> gray
  const table = new Uint8Array(256), span = state.high - state.low;
  for (let i = 0; i < 256; i++) {
    table[i] = Math.max(0, Math.min(255, Math.round((255 * (S.image.table[i] - state.low)) / span)));
  }
  return table;
}
const rgb = S.colors.map((c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16)));
function mix(code) { // color and cover of an overlay code
  if (!code || !state.show) return null;
  return [rgb[code], S.kind === "mask" ? state.opacity : (state.opacity * code) / 255];
}
function paint(p, gray) { // one slice into the pane's small canvas, one pixel per voxel
  const rows = S.size[ROWS[p.k]], cols = S.size[COLS[p.k]], px = p.pixels.data, i = state.at[p.k];
  const step = p.k === 2 ? NC : 1, line = p.k === 0 ? NC : NB * NC;
  const start = p.k === 0 ? i * NB * NC : p.k === 1 ? i * NC : i;
  for (let r = 0, o = 0; r < rows; r++) for (let c = 0, at = start + r * line; c < cols; c++, o += 4, at += step) {
    const g = gray[image[at]], m = overlay && p.mixes[overlay[at]];
    if (m) {
      const f = m[1];
      px[o] = g + (m[0][0] - g) * f; px[o + 1] = g + (m[0][1] - g) * f; px[o + 2] = g + (m[0][2] - g) * f;
    } else { px[o] = px[o + 1] = px[o + 2] = g; }
    px[o + 3] = 255;
  }
  p.small.getContext("2d").putImageData(p.pixels, 0, 0);
}
function origin(p) { // top left corner of what is visible, and its size, in voxels
  const cols = S.size[COLS[p.k]], rows = S.size[ROWS[p.k]], w = cols / state.zoom, h = rows / state.zoom;
  const x = Math.max(0, Math.min(cols - w, state.at[COLS[p.k]] + 0.5 - w / 2));
  const y = Math.max(0, Math.min(rows - h, state.at[ROWS[p.k]] + 0.5 - h / 2));
  return [x, y, w, h];
}
function draw() {
  const gray = lut(), mixes = Array.from({ length: 256 }, (_, i) => mix(i));
  for (const p of panes) {
    p.mixes = mixes;
    paint(p, gray);
    const g = p.canvas.getContext("2d"), W = p.canvas.width, H = p.canvas.height, dot = p.dot;
    const [x, y, w, h] = origin(p);
    g.imageSmoothingEnabled = state.smooth;
    g.drawImage(p.small, x, y, w, h, 0, 0, W, H);
    if (state.cross) {
      const cx = ((state.at[COLS[p.k]] + 0.5 - x) / w) * W, cy = ((state.at[ROWS[p.k]] + 0.5 - y) / h) * H;
      const gap = 7 * dot;
      g.strokeStyle = "rgba(127,219,255,.85)"; g.lineWidth = dot;
      g.beginPath();
      g.moveTo(0, cy); g.lineTo(cx - gap, cy); g.moveTo(cx + gap, cy); g.lineTo(W, cy);
      g.moveTo(cx, 0); g.lineTo(cx, cy - gap); g.moveTo(cx, cy + gap); g.lineTo(cx, H);
      g.stroke();
    }
    if (S.measured && H > 70 * dot) bar(g, p, (W / w) / S.spacing[COLS[p.k]], H);
    const k = S.axes[p.k], v = Math.round(voxel()[k]);
    p.name.lastChild.textContent = `${"dhw"[k]} = ${v} of 0 to ${S.full[p.k] - 1}`;
    p.slider.value = state.at[p.k];
    p.box.classList.toggle("active", p.k === state.active);
  }
  tell();
}
function bar(g, p, perMm, H) { // a round length in mm
  const most = (p.canvas.width / perMm) / 4, power = 10 ** Math.floor(Math.log10(most));
  const mm = [5, 2, 1].find((s) => s * power <= most) * power, d = p.dot;
  g.fillStyle = "#000"; g.fillRect(9 * d, H - 14 * d, mm * perMm + 2 * d, 4 * d);
  g.fillStyle = "#fff"; g.fillRect(10 * d, H - 13 * d, mm * perMm, 2 * d);
  g.font = `${11 * d}px system-ui, sans-serif`; g.lineWidth = 3 * d; g.strokeStyle = "#000";
  g.strokeText(`${short(mm)} mm`, 10 * d, H - 18 * d); g.fillText(`${short(mm)} mm`, 10 * d, H - 18 * d);
}
function tell() {
  const v = voxel(), at = (state.at[0] * NB + state.at[1]) * NC + state.at[2];
  const own = v.map((x) => Math.round(x)), mm = S.affine.map((r) => r[0] * v[0] + r[1] * v[1] + r[2] * v[2] + r[3]);
  const code = image[at], value = S.image.table[code];
  let text = `voxel (d, h, w) = (${own.join(", ")})`;
  if (S.placed) {
    const name = ["RL", "AP", "SI"];
    text += "  ·  " + mm.map((x, i) => `${name[i][x < 0 ? 1 : 0]} ${Math.abs(x).toFixed(1)}`).join("  ") + " mm";
  }
  text += `  ·  value ${S.image.exact ? "" : "about "}${short(value)} ${S.units}`.trimEnd();
  if (overlay) {
    const over = overlay[at];
    text += S.kind === "mask" ? `  ·  mask: ${over ? S.names[over] || over : "none"}`
      : `  ·  heat ${short(S.overlay.table[over])} of ${short(S.overlay.table[255])}`;
  }
  $("where").textContent = text;
  Object.assign(document.body.dataset, { voxel: own.join(","), mm: mm.map((x) => x.toFixed(2)).join(","),
    value: short(value), window: `${short(state.low)},${short(state.high)}` });
  $("level").value = (state.low + state.high) / 2; $("width").value = state.high - state.low;
  $("level-out").textContent = short((state.low + state.high) / 2);
  $("width-out").textContent = short(state.high - state.low);
  $("opacity").value = state.opacity; $("opacity-out").textContent = `${Math.round(100 * state.opacity)} %`;
  $("zoom").value = state.zoom; $("show").checked = state.show;
  if (S.curve) mark();
}
let asked = false;
function redraw() { // at most once a frame
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; draw(); });
}
function scroll(k, by) { state.at[k] = clamp(state.at[k] + by, S.size[k]); redraw(); }
function setWindow(level, width) {
  const least = (S.image.table[255] - S.image.table[0]) / 1e4 || 1e-6;
  width = Math.max(least, width); state.low = level - width / 2; state.high = level + width / 2; redraw();
}
function setZoom(z) { state.zoom = Math.max(1, Math.min(8, z)); redraw(); }

function make(tag, parent, props = {}) {
  return parent.appendChild(Object.assign(document.createElement(tag), props));
}
function pane(k) {
  const box = make("section", $("planes"), { className: "plane" }), name = make("h2", box);
  make("span", name, { textContent: S.planes[k] }); make("span", name);
  const stage = make("div", box, { className: "stage" });
  const canvas = make("canvas", stage, { tabIndex: 0 });
  canvas.setAttribute("role", "img"); canvas.setAttribute("aria-label", `${S.planes[k]} slice`);
  for (const letter of S.edges[k]) make("b", stage, { textContent: letter });
  const slider = make("input", box, { type: "range", min: 0, max: S.size[k] - 1, step: 1 });
  slider.setAttribute("aria-label", `${S.planes[k]} slice`);
  slider.addEventListener("input", () => { state.at[k] = +slider.value; state.active = k; redraw(); });
  const small = document.createElement("canvas");
  small.width = S.size[COLS[k]]; small.height = S.size[ROWS[k]];
  const p = { k, box, name, canvas, slider, small, dot: 1 };
  p.pixels = small.getContext("2d").createImageData(small.width, small.height);
  panes.push(p); listen(p);
}
function listen(p) {
  const c = p.canvas;
  let last = null, moved = 0;
  const place = (e) => {
    const b = c.getBoundingClientRect(), [x, y, w, h] = origin(p);
    state.at[COLS[p.k]] = clamp(Math.floor(x + ((e.clientX - b.left) / b.width) * w), S.size[COLS[p.k]]);
    state.at[ROWS[p.k]] = clamp(Math.floor(y + ((e.clientY - b.top) / b.height) * h), S.size[ROWS[p.k]]);
    redraw();
  };
  c.addEventListener("wheel", (e) => {
    e.preventDefault();
    const by = e.deltaY || e.deltaX;
    if (e.ctrlKey) return setZoom(state.zoom * (by < 0 ? 1.15 : 1 / 1.15));
    const px = e.deltaMode ? 40 * by : by;
    p.wheel = Math.abs(px) >= 50 ? 30 * Math.sign(px) : (p.wheel || 0) + px; // a notch is one slice; trackpads send many small ones
    if (Math.abs(p.wheel) >= 30) { state.active = p.k; scroll(p.k, Math.sign(p.wheel)); p.wheel = 0; }
  }, { passive: false });
  c.addEventListener("contextmenu", (e) => e.preventDefault());
  c.addEventListener("pointerdown", (e) => {
    c.setPointerCapture(e.pointerId); state.active = p.k; moved = 0; c.focus({ preventScroll: true });
    last = { x: e.clientX, y: e.clientY, win: e.button === 2 || e.shiftKey };
    if (!last.win && e.pointerType !== "touch") place(e);
  });
  c.addEventListener("pointermove", (e) => {
    if (!last) return;
    const dx = e.clientX - last.x, dy = e.clientY - last.y;
    if (last.win) {
      const unit = (S.window[1] - S.window[0]) / 300;
      setWindow((state.low + state.high) / 2 + dy * unit, state.high - state.low + dx * unit);
    } else if (e.pointerType === "touch") {
      moved += Math.abs(dx) + Math.abs(dy);
      const steps = Math.trunc(dy / Math.max(4, 240 / S.size[p.k]));
      if (steps) scroll(p.k, steps); else return;
    } else place(e);
    last.x = e.clientX; last.y = e.clientY;
  });
  const end = (e) => { if (last && e.type === "pointerup" && e.pointerType === "touch" && moved < 8) place(e); last = null; };
  c.addEventListener("pointerup", end); c.addEventListener("pointercancel", end);
}
