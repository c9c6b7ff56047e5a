// The tab for files: choose or drop, wait, look at the answer.

import { $, clock, make, percent, save } from "./dom.js";
import { Refused } from "./api.js";
import { showBars } from "./bars.js";
import { Files, describe } from "./files.js";
import { clearError, showError } from "./messages.js";
import { Player, playerKeys } from "./player.js";
import { showScan } from "./scan.js";
import { showTable } from "./table.js";
import { Timeline } from "./timeline.js";
import { SURE, stretches, toCsv } from "./windows.js";

const UNDER_WAY = new Set(["waiting", "loading", "sending", "looking", "busy"]);

export class FilePage {
  /** hooks: ready() resolves to the card; askToken(done) shows the prompt. */
  constructor(hooks) {
    this.hooks = hooks;
    this.files = new Files({ ready: hooks.ready, changed: (job) => this.changed(job) });
    this.player = new Player((t) => this.moved(t));
    this.timeline = new Timeline((t) => this.player.seek(t));
    this.job = this.shown = null; // chosen, and the one whose answer is on the page
    playerKeys(this.player, this.timeline);
  }

  /** Wire the page; `open` brings this tab to the front. */
  listen(open) {
    const take = (files) => { if (files?.length) { open(); this.choose(this.files.add(files)[0]); } };
    $("choose").addEventListener("click", () => $("file").click());
    $("file").addEventListener("change", () => { take($("file").files); $("file").value = ""; });
    let depth = 0; // enter and leave come for each element on the way
    const over = (by) => { depth = by ? Math.max(0, depth + by) : 0; document.body.classList.toggle("dropping", depth > 0); };
    const files = (e) => e.dataTransfer?.types.includes("Files");
    addEventListener("dragenter", (e) => files(e) && over(1));
    addEventListener("dragleave", (e) => files(e) && over(-1));
    addEventListener("dragover", (e) => files(e) && e.preventDefault());
    addEventListener("drop", (e) => { if (files(e)) { e.preventDefault(); over(0); take(e.dataTransfer.files); } });
    $("cancel").addEventListener("click", () => this.job && this.files.cancel(this.job));
    $("explain").addEventListener("click", () => this.explain(this.shown));
    for (const radio of document.getElementsByName("bars")) radio.addEventListener("change", () => this.bars(true));
    $("save-json").addEventListener("click", () => save(this.name("json"), JSON.stringify(this.shown.result, null, 2), "application/json"));
    $("save-csv").addEventListener("click", () => save(this.name("csv"), toCsv(this.shown.result), "text/csv"));
    $("save-viewer").addEventListener("click", () => save(this.name("html"), this.shown.result.viewer, "text/html"));
  }

  name(suffix) { return `${this.shown.file.name.replace(/\.[^.]*$/, "")}.${suffix}`; }

  choose(job) {
    this.job = job;
    this.changed(job);
  }

  changed(job) {
    const here = this.files.jobs.includes(job);
    if (job === this.job && !here) this.job = this.files.jobs.at(-1) ?? null;
    // what runs comes to the front by itself, unless an answer is being read
    if (here && job.state === "sending" && !job.result && this.job?.state !== "done") this.job = job;
    this.list();
    this.progress();
    const error = this.job?.error ?? null;
    if (error !== this.error) {
      this.error = error;
      if (error) this.fail(this.job, error); else clearError($("file-error"));
    }
    if (this.job?.result && this.job !== this.shown) this.answer(this.job);
    $("result").hidden = !this.job?.result || this.job !== this.shown;
    document.body.classList.toggle("started", this.files.jobs.length > 0);
  }

  fail(job, error) {
    const askToken = () => this.hooks.askToken(() => this.allowed());
    showError($("file-error"), error, { retry: () => this.retry(job), askToken });
    if (error.code === "unauthorized") askToken();
  }

  /** Once more; of a job with an answer it was the looking again that failed. */
  retry(job) { if (job.result) this.explain(job); else this.files.retry(job); }

  /** There is a token now: on with all that was refused for want of one. */
  allowed() {
    for (const job of this.files.jobs) if (job.error?.code === "unauthorized") this.retry(job);
  }

  list() {
    const box = $("jobs"), { jobs } = this.files;
    box.hidden = jobs.length < 2;
    while (box.children.length > jobs.length) box.lastChild.remove();
    jobs.forEach((job, i) => {
      const button = (box.children[i] ?? make("li", box)).firstChild ?? make("button", box.children[i], { type: "button" });
      const state = job.state === "done" ? `${job.result.label} ${share(job.result)}`
        : { failed: "failed", waiting: "waits" }[job.state] ?? "under way";
      const text = `${job.file.name}: ${state}`;
      if (button.textContent !== text) button.textContent = text;
      button.setAttribute("aria-pressed", String(job === this.job));
      button.onclick = () => this.choose(job);
    });
  }

  progress() {
    const { job } = this, on = job && UNDER_WAY.has(job.state), bar = $("progress-bar");
    const hadFocus = document.activeElement === $("cancel");
    $("progress").hidden = !on;
    if (hadFocus && !on) $("main").focus();
    if (!on) return;
    if (job.state === "sending") bar.value = job.share; else bar.removeAttribute("value");
    const [text, tick = ""] = describe(job);
    if ($("progress-text").textContent !== text) $("progress-text").textContent = text;
    $("progress-share").textContent = tick;
  }

  async answer(job) {
    this.shown = job;
    const card = await this.hooks.ready(), { result } = job, scan = result.kind === "scan";
    if (this.shown !== job) return;
    this.card = card;
    $("found").replaceChildren(make("b", null, { textContent: result.label }), ` ${share(result)}`);
    $("about").textContent = about(result, card.classes);
    const notes = [result.problem, ...(result.notes ?? [])].filter(Boolean);
    $("problem").hidden = !notes.length;
    $("problem").textContent = notes.join("; ");
    $("player").hidden = $("keys").hidden = scan;
    document.querySelector(".choice").hidden = scan;
    $("save-csv").hidden = $("table-box").hidden = scan;
    showScan(scan ? result : null);
    if (scan) this.player.close(); else this.video(job, card);
    document.querySelector("input[name=bars][value=whole]").checked = true;
    this.bars(true);
    const { activeElement } = document;
    if (activeElement === document.body || $("main") === activeElement || activeElement === $("choose")) $("found").focus();
    document.body.dataset.shown = job.file.name;
  }

  video(job, card) {
    const { result } = job, windows = result.timeline ?? [];
    const duration = result.duration || windows.at(-1)?.end || 1;
    this.player.open(job.file, duration, result.fps);
    this.timeline.show(result, card.classes, duration);
    showTable(result, (t) => this.player.seek(t));
    this.explained(job, false);
    this.moved(0);
  }

  moved(t) {
    if (!this.timeline.cells.length) return;
    const part = this.timeline.update(t), doubt = part.score < SURE ? ", not sure" : "";
    const text = `${clock(t)}: ${part.label} ${percent(part.score)}${doubt}`;
    if ($("now").textContent !== text) $("now").textContent = text;
    if (part !== this.part) {
      this.part = part;
      this.bars(false);
    }
  }

  /** The bars, of the whole file or of the moment; only the latter change while playing. */
  bars(always) {
    if (!this.shown?.result || !this.card) return;
    const moment = !document.querySelector("input[name=bars][value=whole]").checked;
    if (!moment && !always) return;
    const part = moment ? this.part : this.shown.result;
    showBars($("bars"), part.top ?? [part], this.card.classes);
  }

  async explain(job) {
    const before = job.result, say = (text) => { if (this.shown === job) $("explained").textContent = text; };
    $("explain").disabled = true;
    say("Looking again, to find what counted. This takes longer than the answer.");
    await this.files.explain(job);
    $("explain").disabled = false;
    say("");
    if (this.shown === job && job.result !== before) this.explained(job, true); // neither refused nor canceled
  }

  explained(job, asked) {
    const { result } = job, { heat, importance } = result, some = heat || importance;
    $("explain").hidden = Boolean(some);
    $("explained").textContent = asked && !some ? "The service cannot tell for this network." : "";
    this.timeline.importance(importance);
    try { this.player.setHeat(heat); } catch (error) {
      return this.files.change(job, { error: new Refused("damaged", error.message) });
    }
    if (!some) return;
    const { times } = heat ?? importance, { target, method, verdict } = { ...heat, ...importance };
    const parts = stretches(times), where = parts.length > 1 ? `in ${parts.length} parts of the video`
      : `from ${clock(times[0])} to ${clock(times.at(-1))}`;
    $("explained").textContent = [`What spoke for ${target ?? result.label}, ${where}`,
      method && ` (${method})`, ".", verdict && ` ${verdict}`].filter(Boolean).join("");
    // the maps cover a part of a long video: go where there is something to see
    if (this.player.heat?.at(this.player.time) === -1) this.player.seek(this.player.heat.nearest(this.player.time));
  }
}

/** Probability of the label; a measured value has none. */
function share({ score }) { return score === null ? "" : percent(score); }

/** One line on a file: length or spacing, size, how many windows. */
function about(result, classes) {
  const { duration, fps, width, height, timeline = [], spacing_mm: mm, orientation, volume_ml: ml = {} } = result;
  return [result.source, duration && clock(duration), fps && `${+fps.toFixed(2)} frames/s`,
    width && `${width} x ${height} pixels`, timeline.length > 1 && `${timeline.length} windows`,
    mm && `${mm.map((s) => +s.toPrecision(3)).join(" x ")} mm`, orientation,
    ...Object.entries(ml).map(([name, volume]) => `${name} ${volume} ml`),
    result.score !== null && result.score < SURE && "not sure of the whole",
    result.score !== null && classes && `one of ${classes.length} classes`].filter(Boolean).join(" · ");
}
