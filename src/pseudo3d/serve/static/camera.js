// Camera to service over a WebSocket: latest frame wins on both sides, nothing piles up.

import { $, clamp, make, percent } from "./dom.js";
import { Refused, openStream } from "./api.js";
import { showBars } from "./bars.js";
import { clearError, showError } from "./messages.js";
import { showBands } from "./timeline.js";
import { SURE, runs } from "./windows.js";

const HISTORY = 30; // s shown
const HOLD = 1; // s a label stays before it is spoken
const AGAIN = [1, 2, 4, 8, 8]; // s between tries to connect
const PILE = 200_000; // bytes not yet sent from which on pictures are left out
const now = () => performance.now() / 1000;

const REFUSED = {
  NotAllowedError: "The browser was told not to give the camera to this page; allow it in the address bar and try again.",
  NotFoundError: "No camera was found; connect one and try again.",
  NotReadableError: "Another program may be using the camera; close it and try again.",
  OverconstrainedError: "That camera is gone; choose another one and try again.",
};

export class Camera {
  /** hooks: model() resolves to the card; askToken() shows the prompt. */
  constructor(hooks) {
    this.hooks = hooks;
    this.turn = 0; // starts and stops so far; what an older turn was waiting for comes too late
    this.video = $("camera");
    this.canvas = document.createElement("canvas");
    $("camera-start").addEventListener("click", () => (this.on ? this.stop() : this.start()));
    $("camera-which").addEventListener("change", () => { this.stop(); this.start(); });
    $("mirror").addEventListener("change", () => this.mirror());
  }

  async start() {
    clearError($("camera-error"));
    this.halt();
    const turn = ++this.turn;
    this.on = true;
    this.buttons();
    try {
      this.card = await this.hooks.model();
      if (turn === this.turn) await this.open(turn);
      if (turn !== this.turn) return;
      Object.assign(this, { past: [], tries: 0, sent: [], told: "", since: 0, label: "", last: 0 });
      this.connect();
    } catch (error) { if (turn === this.turn) this.fail(error); }
  }

  /** Show the camera; one that the browser gives after its turn is over is let go at once. */
  async open(turn) {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Refused("camera", "Browsers give the camera only to pages of this computer or over https; "
        + "open the page as http://localhost or put https in front of the service.");
    }
    const which = $("camera-which").value;
    const video = { width: { ideal: 640 }, height: { ideal: 480 }, ...(which && { deviceId: { exact: which } }) };
    let media;
    try { media = await navigator.mediaDevices.getUserMedia({ video, audio: false }); } catch (error) {
      throw new Refused("camera", REFUSED[error.name] ?? `The camera cannot be opened: ${error.message}`);
    }
    if (turn !== this.turn) return release(media);
    this.media = media; // from here on, whoever ends the turn lets go of it
    media.getVideoTracks()[0].addEventListener("ended", () => turn === this.turn &&
      this.fail(new Refused("camera", "The camera was taken away; connect it and try again.")));
    this.video.srcObject = media;
    await this.video.play();
    if (turn !== this.turn) return;
    $("live").hidden = false;
    this.mirror();
    await this.choices(turn);
  }

  /** With more than one camera there is something to choose; names are known only after consent. */
  async choices(turn) {
    const all = (await navigator.mediaDevices.enumerateDevices()).filter((d) => d.kind === "videoinput");
    if (turn !== this.turn) return;
    const used = this.media.getVideoTracks()[0].getSettings().deviceId;
    $("camera-choice").hidden = all.length < 2;
    $("camera-which").replaceChildren(...all.map((d, i) => make("option", null,
      { value: d.deviceId, textContent: d.label || `camera ${i + 1}`, selected: d.deviceId === used })));
  }

  connect() {
    const socket = this.socket = openStream(5);
    $("live-stats").textContent = "connecting ...";
    socket.addEventListener("open", () => {
      $("live-stats").textContent = `looking; the first answer comes after about ${Math.ceil(this.card.seconds || 1)} s`;
      this.timer = setInterval(() => this.frame(socket), 1000 / this.rate());
    });
    socket.addEventListener("message", (e) => this.answer(socket, e.data));
    socket.addEventListener("close", (e) => this.closed(socket, e));
  }

  /** Pictures per second: a little more than the network takes, so each of its moments is met. */
  rate() {
    const { frames, seconds } = this.card;
    return clamp(Math.ceil((1.25 * frames) / seconds) || 10, 8, 30);
  }

  frame(socket) {
    const { videoWidth: w, videoHeight: h } = this.video;
    if (this.packing || !w || socket.readyState !== WebSocket.OPEN || socket.bufferedAmount > PILE) return;
    // the network's own size is enough, and a quarter more for what is cut off
    const scale = Math.min(1, (1.25 * Math.max(...(this.card.size ?? [256]))) / Math.min(w, h)), time = now();
    this.canvas.width = Math.round(w * scale);
    this.canvas.height = Math.round(h * scale);
    this.canvas.getContext("2d").drawImage(this.video, 0, 0, this.canvas.width, this.canvas.height);
    this.packing = true;
    this.canvas.toBlob(async (blob) => {
      try {
        if (!blob) return; // the camera has just gone
        const picture = new Uint8Array(await blob.arrayBuffer()), packet = new Uint8Array(8 + picture.length);
        new DataView(packet.buffer).setFloat64(0, time, true);
        packet.set(picture, 8);
        if (socket.readyState === WebSocket.OPEN) socket.send(packet);
        this.sent = [...this.sent.filter((t) => t > time - 3), time];
      } finally { this.packing = false; }
    }, "image/jpeg", 0.85);
  }

  answer(socket, text) {
    if (socket !== this.socket) return;
    let said;
    try { said = JSON.parse(text); } catch { return this.fail(new Refused("damaged", "An answer is not JSON; is this the right service?")); }
    if (said.error) return this.refused(said.error);
    if (typeof said.label !== "string") return;
    this.tries = 0;
    this.past = [...this.past.filter((p) => p.time > said.time - HISTORY), said];
    this.show(said);
  }

  refused({ code, message, retry_after: retry = null }) {
    const error = new Refused(code, message, retry);
    if (code === "busy" || code === "not_ready") this.again(error);
    else this.fail(error);
  }

  closed(socket, event) {
    if (socket !== this.socket || !this.on) return;
    clearInterval(this.timer);
    if (event.code === 1008) this.fail(new Refused("unauthorized", event.reason || "The service wants a token; enter it and start again."));
    else this.again(new Refused("offline", "The connection to the service broke off and did not come back."));
  }

  /** Connect anew after a while, longer each time; in the end say why not. */
  again(error) {
    this.drop();
    if (this.tries === AGAIN.length) return this.fail(error);
    const wait = Math.max(AGAIN[this.tries++], error.retry ?? 0);
    $("live-stats").textContent = `${error.code === "offline" ? "The connection is lost" : error.message}; trying again in ${wait} s`;
    this.waiting = setTimeout(() => this.on && this.connect(), 1000 * wait);
  }

  show({ label, score, top, time, latency_ms: inside, dropped = 0 }) {
    const line = $("live-found"), sure = score >= SURE, whole = 1000 * (now() - time);
    line.replaceChildren(make("b", null, { textContent: sure ? label : "not sure" }),
      ` ${sure ? percent(score) : `${label} ${percent(score)}`}`);
    showBars($("live-bars"), top, this.card.classes);
    const times = this.past.map((p) => p.time), end = times.at(-1);
    const parts = this.past.map((p, i) => ({ ...p, start: times[i - 1] ?? p.time, end: p.time }));
    const shown = runs(parts);
    showBands($("live-track"), shown, end - HISTORY, end, this.card.classes);
    const said = [...new Set(shown.filter((run) => run.sure).map((run) => run.label))];
    $("live-track").setAttribute("aria-label", `Labels of the last 30 seconds: ${said.join(", ") || "none sure"}`);
    const pace = this.sent.length > 1 ? (this.sent.length - 1) / (this.sent.at(-1) - this.sent[0]) : 0;
    $("live-stats").textContent = [`${pace.toFixed(0)} pictures a second`,
      whole >= 0 && whole < 60_000 ? `answer ${whole.toFixed(0)} ms after the picture` : "",
      Number.isFinite(inside) ? `${inside.toFixed(0)} ms of them in the service` : "",
      `${dropped} left out`].filter(Boolean).join(", ");
    this.speak(sure ? label : "not sure");
  }

  /** For screen readers: only what has stayed for a while, and only when it is new. */
  speak(label) {
    if (label !== this.label) Object.assign(this, { label, since: now() });
    if (label !== this.told && now() - this.since >= HOLD) $("live-said").textContent = this.told = label;
  }

  mirror() { this.video.classList.toggle("mirrored", $("mirror").checked); }

  /** Let go of the connection, not of the camera. */
  drop() {
    clearInterval(this.timer);
    clearTimeout(this.waiting);
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }

  halt() {
    this.drop();
    release(this.media);
    this.media = this.video.srcObject = null;
    $("live").hidden = true;
  }

  stop() {
    this.turn++;
    this.on = false;
    this.halt();
    this.buttons();
  }

  fail(error) {
    this.stop();
    showError($("camera-error"), error, { retry: () => this.start(),
      askToken: () => this.hooks.askToken(() => this.start()) });
  }

  buttons() {
    $("camera-start").textContent = this.on ? "Stop the camera" : "Start the camera";
    $("camera-start").classList.toggle("primary", !this.on);
  }
}

function release(media) { for (const track of media?.getTracks() ?? []) track.stop(); }
