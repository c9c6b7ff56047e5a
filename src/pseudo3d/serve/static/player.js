// The video as it was sent, with the heat over it; a file the browser cannot play keeps a clock.

import { $, clamp } from "./dom.js";
import { Heat } from "./heat.js";

export class Player {
  constructor(onTime) {
    this.video = $("video");
    this.onTime = onTime;
    this.heat = null;
    this.clock = 0; // where we are in a file that cannot be played
    const tell = () => this.tell();
    for (const name of ["seeking", "seeked", "timeupdate", "loadeddata"]) this.video.addEventListener(name, tell);
    for (const name of ["play", "pause", "ended"]) this.video.addEventListener(name, () => this.playing());
    this.video.addEventListener("loadedmetadata", () => this.video.videoWidth || this.cannotPlay());
    this.video.addEventListener("error", () => this.url && this.cannotPlay());
    new ResizeObserver(() => this.draw()).observe(this.video);
    for (const id of ["heat", "opacity"]) $(id).addEventListener("input", () => this.draw());
    $("play").addEventListener("click", () => this.toggle());
    $("full").addEventListener("click", () => this.full());
    this.video.addEventListener("click", () => this.toggle());
    $("speed").addEventListener("change", () => { this.video.playbackRate = Number($("speed").value); });
  }

  open(file, duration, fps) {
    this.close();
    Object.assign(this, { duration, fps: fps || 25, playable: true, clock: 0 });
    this.url = URL.createObjectURL(file);
    this.video.src = this.url;
    this.video.playbackRate = Number($("speed").value);
    $("screen").hidden = $("play").hidden = $("full").hidden = false;
    $("unplayable").hidden = true;
  }

  close() {
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = null;
    this.video.removeAttribute("src");
    this.video.load();
    this.setHeat(null);
  }

  cannotPlay() {
    this.playable = false;
    $("screen").hidden = $("play").hidden = $("full").hidden = true;
    $("unplayable").hidden = false;
    $("unplayable").textContent = "This browser cannot play this kind of video. What the network saw in it is below all the same.";
    this.tell();
  }

  get time() { return this.playable ? this.video.currentTime : this.clock; }

  seek(t) {
    this.clock = clamp(t, 0, this.duration);
    // past the last frame there is nothing to show
    if (this.playable) this.video.currentTime = Math.min(this.clock, Math.max(0, (this.video.duration || this.duration) - 0.001));
    this.tell();
  }

  step(frames) {
    this.video.pause();
    this.seek(this.time + frames / this.fps);
  }

  toggle() {
    if (!this.playable) return;
    if (this.video.paused) this.video.play().catch(() => this.playing()); else this.video.pause();
  }

  full() {
    if (document.fullscreenElement) document.exitFullscreen();
    else $("player").requestFullscreen?.().catch(() => {}); // a refusal leaves the page as it was
  }

  playing() {
    $("play").textContent = this.video.paused ? "Play" : "Pause";
    cancelAnimationFrame(this.timer);
    const turn = () => { this.tell(); this.timer = requestAnimationFrame(turn); };
    if (this.video.paused) this.tell(); else turn();
  }

  tell() {
    this.draw();
    this.onTime(this.time);
  }

  /** Take over the heat of an answer, or null. */
  setHeat(data) {
    this.heat = data ? new Heat(data) : null;
    $("heat-label").hidden = $("opacity-label").hidden = !this.heat;
    this.draw();
  }

  /** Where the picture is within the element: it keeps its shape and is centered. */
  picture() {
    const { clientWidth: w, clientHeight: h, videoWidth: vw, videoHeight: vh } = this.video;
    const scale = Math.min(w / vw, h / vh);
    return { left: (w - scale * vw) / 2, top: (h - scale * vh) / 2, width: scale * vw, height: scale * vh };
  }

  draw() {
    const canvas = $("overlay"), dot = window.devicePixelRatio || 1, { clientWidth, clientHeight } = this.video;
    canvas.width = Math.round(clientWidth * dot); // clears it too
    canvas.height = Math.round(clientHeight * dot);
    delete canvas.dataset.map;
    if (!this.heat || !$("heat").checked || !this.playable || !this.video.videoWidth) return;
    const pen = canvas.getContext("2d");
    pen.scale(dot, dot);
    canvas.dataset.map = this.heat.draw(pen, this.picture(), this.time, Number($("opacity").value));
  }
}

/** Keys of the player; they act only while the focus is inside it, and never take a control's own. */
export function playerKeys(player, timeline) {
  // a press moves by about a fiftieth
  const step = () => [[10, 0.1], [60, 0.5], [600, 1]].find(([most]) => player.duration <= most)?.[1] ?? 5;
  const by = (t) => player.seek(player.time + t);
  const keys = {
    " ": () => player.toggle(),
    ArrowRight: () => by(step()), ArrowLeft: () => by(-step()),
    ArrowUp: () => by(step()), ArrowDown: () => by(-step()),
    PageUp: () => by(10 * step()), PageDown: () => by(-10 * step()),
    Home: () => player.seek(0), End: () => player.seek(player.duration),
    "[": () => player.seek(timeline.neighbor(player.time, -1)), "]": () => player.seek(timeline.neighbor(player.time, 1)),
    ",": () => player.step(-1), ".": () => player.step(1),
    h: () => player.heat && $("heat").click(),
    f: () => player.playable && player.full(),
  };
  $("player").addEventListener("keydown", (e) => {
    const tag = e.target.tagName, own = e.key.length > 1 || e.key === " ";
    if (e.ctrlKey || e.metaKey || e.altKey || tag === "SELECT" || !(e.key in keys)) return;
    if (own && tag !== "DIV") return; // a button's space bar, a range's arrows, the video's own keys
    e.preventDefault();
    keys[e.key]();
  });
}
