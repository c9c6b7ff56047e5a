// A scan: its curve over the slices and the viewer, which is a page of its own in a sandbox.

import { $ } from "./dom.js";
import { showCurve } from "./curve.js";

let waiting = null;
addEventListener("message", (event) => {
  // the frame has no origin of its own, so who speaks is told by its window
  if (event.source !== $("viewer").contentWindow || event.data !== "frame-ready" || waiting === null) return;
  event.source.postMessage({ html: waiting }, "*");
  waiting = null;
});

/** Show what came for a scan; null clears it. */
export function showScan(result) {
  const frame = $("viewer"), html = result?.viewer ?? null, values = result?.curve ?? [];
  frame.hidden = $("save-viewer").hidden = !html;
  waiting = html;
  if (html) frame.src = new URL("frame.html", import.meta.url); else frame.removeAttribute("src");
  // the viewer draws the curve itself, tied to its slices
  const high = values.indexOf(Math.max(...values.filter(Number.isFinite)));
  showCurve($("slices"), values.map((_, i) => (i + 0.5) / values.length), html ? [] : values,
    `What each of ${values.length} slices said for ${result?.label}, most slice ${high + 1}`);
}
