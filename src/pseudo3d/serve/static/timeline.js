// Labels over time under the video: one slider for mouse, finger, keyboard and screen reader.

import { $, clamp, clock, make, paint, percent } from "./dom.js";
import { showCurve } from "./curve.js";
import { cells, partAt, runs } from "./windows.js";

const TICKS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200];

/** Fill a track with bands; where the network is not sure the band is pale and without a name. */
export function showBands(track, parts, from, to, classes) {
  const length = to - from || 1;
  track.replaceChildren(...parts.map(({ start, end, label, score, sure = true }) => {
    const band = make("span", null, { className: sure ? "band" : "band unsure" });
    band.title = `${sure ? "" : "not sure: "}${label} ${percent(score)}`;
    band.style.left = `${(100 * (start - from)) / length}%`;
    band.style.width = `${(100 * (end - start)) / length}%`;
    if (sure) {
      const { back, ink } = paint(classes, label);
      Object.assign(band.style, { background: back, color: ink });
      make("b", band, { textContent: label });
    }
    return band;
  }));
}

export class Timeline {
  constructor(onSeek) {
    this.onSeek = onSeek;
    this.cells = [];
    this.runs = [];
    this.zoom = 1;
    this.duration = 1;
    const lanes = $("lanes");
    lanes.addEventListener("pointerdown", (e) => this.drag(e));
    lanes.addEventListener("pointermove", (e) => lanes.hasPointerCapture(e.pointerId) && this.drag(e));
    $("zoom-in").addEventListener("click", () => this.setZoom(this.zoom * 2));
    $("zoom-out").addEventListener("click", () => this.setZoom(this.zoom / 2));
    new ResizeObserver(() => this.ticks()).observe($("scroller"));
  }

  show(result, classes, duration) {
    this.duration = duration;
    this.cells = cells(result.timeline ?? []);
    if (!this.cells.length) this.cells = [{ start: 0, end: duration, label: result.label, score: result.score, top: result.top }];
    this.runs = runs(this.cells);
    showBands($("track"), this.runs, 0, duration, classes);
    const found = result.segments ?? [];
    $("segments").hidden = !found.length;
    showBands($("segments"), found, 0, duration, classes);
    this.importance(result.importance);
    const pale = this.runs.some((run) => !run.sure) ? "; pale: not sure" : "";
    $("lanes-text").textContent = found.length
      ? `Above what each moment looks like${pale}, below the ${found.length} segment${found.length > 1 ? "s" : ""} found.`
      : `What each moment looks like${pale}.`;
    $("zoom-bar").hidden = duration < 30;
    const track = $("track");
    track.setAttribute("aria-valuemin", "0");
    track.setAttribute("aria-valuemax", duration.toFixed(2));
    this.setZoom(1);
  }

  importance(curve) {
    const box = $("importance");
    box.hidden = !curve?.values?.length;
    if (box.hidden) return;
    const { times, values } = curve, peak = times[values.indexOf(Math.max(...values))];
    showCurve(box, times.map((t) => clamp(t / this.duration, 0, 1)), values,
      `How much each moment counted, most at ${clock(peak)}`);
  }

  at(t) { return partAt(this.cells, t); }

  /** Start of the next (+1) or the previous (-1) label. */
  neighbor(t, way) {
    const starts = this.runs.map((run) => run.start);
    // a little past a start, "previous" is the one before it, as in any player
    return way > 0 ? starts.find((s) => s > t + 0.01) ?? t : starts.findLast((s) => s < t - 0.25) ?? 0;
  }

  update(t) {
    const share = clamp(t / this.duration, 0, 1), track = $("track"), part = this.at(t);
    $("cursor").style.left = `${100 * share}%`;
    const words = `${clock(t)} of ${clock(this.duration)}, ${part.label} ${percent(part.score)}`;
    if (track.getAttribute("aria-valuetext") !== words) {
      track.setAttribute("aria-valuenow", t.toFixed(2));
      track.setAttribute("aria-valuetext", words);
    }
    const box = $("scroller"), x = share * $("lanes").offsetWidth;
    if (this.zoom > 1 && (x < box.scrollLeft || x > box.scrollLeft + box.clientWidth)) {
      box.scrollLeft = x - 0.1 * box.clientWidth;
    }
    return part;
  }

  drag(event) {
    if (event.button > 0) return;
    const { left, width } = $("lanes").getBoundingClientRect();
    if (event.type === "pointerdown") {
      $("lanes").setPointerCapture(event.pointerId);
      $("track").focus({ preventScroll: true });
      event.preventDefault();
    }
    this.onSeek(clamp((event.clientX - left) / width, 0, 1) * this.duration);
  }

  setZoom(zoom) {
    const most = Math.max(1, this.duration / 5), box = $("scroller");
    const middle = Number.parseFloat($("cursor").style.left || "0") / 100;
    this.zoom = clamp(zoom, 1, most);
    $("lanes").style.width = `${100 * this.zoom}%`;
    $("lanes").classList.toggle("zoomed", this.zoom > 1);
    box.scrollLeft = middle * $("lanes").offsetWidth - box.clientWidth / 2;
    $("zoom-text").textContent = this.zoom > 1 ? `${clock(this.duration / this.zoom)} at a time` : "whole video";
    $("zoom-in").disabled = this.zoom >= most;
    $("zoom-out").disabled = this.zoom <= 1;
    this.ticks();
  }

  ticks() {
    const wanted = Math.max(2, $("lanes").clientWidth / 80);
    const step = TICKS.find((s) => this.duration / s <= wanted) ?? TICKS.at(-1), box = $("ticks");
    box.replaceChildren();
    for (let i = 0; i * step <= this.duration; i++) {
      const tick = make("span", box, { textContent: clock(i * step) });
      tick.style.left = `${(100 * i * step) / this.duration}%`;
      // the last one would stand out over the edge
      if ((i * step) / this.duration > 0.96) tick.classList.add("last");
    }
  }
}
