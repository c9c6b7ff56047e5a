// Small helpers: elements, numbers in words, colors of classes.

export const $ = (id) => document.getElementById(id);

export function make(tag, parent, props = {}) {
  const element = Object.assign(document.createElement(tag), props);
  parent?.append(element);
  return element;
}

export function svg(tag, parent, attributes = {}) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return parent.appendChild(element);
}

export const clamp = (x, low, high) => Math.max(low, Math.min(high, x));
export const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** 3.2 s, 1:03.2, 1:02:03 as people write times in a video. */
export function clock(t) {
  const tenths = Math.round(10 * Math.max(0, t));
  if (tenths < 600) return `${(tenths / 10).toFixed(1)} s`;
  const whole = Math.floor(tenths / 10), two = (n) => String(n).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)}:${two(whole % 60)}.${tenths % 10}`;
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

/** A length of time in words: 40 s, 15 min, 2 h. */
export function lasting(seconds) {
  if (seconds < 120) return `${+seconds.toFixed(1)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${+(seconds / 3600).toFixed(1)} h`;
}

export function bytes(n) {
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (n >= size) return `${+(n / size).toPrecision(3)} ${unit}`;
  }
  return `${n} bytes`;
}

// report/plots.py PALETTE: Okabe and Ito, filled up with Tol's "muted"
const PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#332288",
  "#999933", "#882255", "#44AA99", "#F0E442", "#AA4499"];

function luminance(color) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16) / 255)
    .map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** Color of a class and the ink that reads best on it: at least 4.5 to 1 on any color. */
export function paint(classes, label) {
  const back = PALETTE[Math.max(0, classes.indexOf(label)) % PALETTE.length];
  return { back, ink: luminance(back) > 0.1791 ? "#000000" : "#FFFFFF" };
}

/** Hand a text over as a download. */
export function save(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  make("a", null, { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
