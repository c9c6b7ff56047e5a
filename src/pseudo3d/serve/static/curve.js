// A curve over time or slices, as wide as what it stands under.

import { make, svg } from "./dom.js";
import { stretches } from "./windows.js";

/** Draw values at positions 0..1; `text` says in words what is to see. */
export function showCurve(box, positions, values, text) {
  box.replaceChildren();
  const known = values.filter(Number.isFinite);
  box.hidden = known.length === 0;
  if (box.hidden) return;
  const high = Math.max(...known), low = Math.min(0, ...known), span = high - low || 1;
  const picture = svg("svg", box, { viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "img", "aria-label": text });
  const points = values.map((v, i) => [1000 * positions[i], 95 - (90 * ((v ?? NaN) - low)) / span]);
  for (const [first, end] of stretches(positions)) { // no line where nothing was looked at
    const part = points.slice(first, end).filter(([, y]) => Number.isFinite(y));
    if (part.length === 1) part.push([part[0][0] + 2, part[0][1]]);
    if (part.length) stroke(picture, part);
  }
  make("span", box, { className: "curve-name", textContent: text });
}

function stroke(picture, part) {
  const points = part.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
  const [first, end] = [part[0][0], part.at(-1)[0]].map((x) => x.toFixed(1));
  svg("polygon", picture, { points: `${first},100 ${points} ${end},100`, class: "area" });
  svg("polyline", picture, { points, class: "line", "vector-effect": "non-scaling-stroke" });
}
