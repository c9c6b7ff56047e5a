// Files of this visit: sent one after the other, each with its answer or the reason why not.

import { bytes } from "./dom.js";
import { Refused, predict } from "./api.js";

const KEPT = 30; // answers of scans are large
const TRIES = 6; // at a busy service
const later = (seconds, signal) => new Promise((resolve, reject) => {
  const stop = () => { clearTimeout(timer); reject(new DOMException("canceled", "AbortError")); };
  const timer = setTimeout(() => { signal.removeEventListener("abort", stop); resolve(); }, 1000 * seconds);
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
});

export class Files {
  /** hooks: ready() resolves to the model; changed(job) is called after each change. */
  constructor(hooks) {
    this.hooks = hooks;
    this.jobs = [];
    this.busy = false;
  }

  add(files) {
    const jobs = [...files].map((file) => ({ file, state: "waiting", share: 0, result: null, error: null }));
    this.jobs.push(...jobs);
    // the oldest finished ones give way
    while (this.jobs.length > KEPT && ["done", "failed"].includes(this.jobs[0].state)) this.jobs.shift();
    for (const job of jobs) this.hooks.changed(job);
    this.run();
    return jobs;
  }

  retry(job) {
    this.change(job, { state: "waiting", share: 0, error: null });
    this.run();
  }

  /** A job under way is cut off, one that waits is taken out. */
  cancel(job) {
    if (job.stop) job.stop.abort();
    else this.remove(job);
  }

  remove(job) {
    this.jobs = this.jobs.filter((other) => other !== job);
    this.hooks.changed(job);
  }

  change(job, values) {
    Object.assign(job, values);
    this.hooks.changed(job);
  }

  async run() {
    if (this.busy) return;
    this.busy = true;
    for (let job; (job = this.jobs.find((one) => one.state === "waiting"));) {
      job.stop = new AbortController();
      try {
        const result = await this.send(job, { signal: job.stop.signal });
        this.change(job, { state: "done", result, stop: null });
      } catch (error) {
        job.stop = null;
        if (error.name === "AbortError") this.remove(job);
        else this.change(job, { state: "failed", error });
      }
    }
    this.busy = false;
  }

  /** The same file again, for what the network looked at; the answers are joined, an error stays the job's. */
  async explain(job) {
    Object.assign(job, { stop: new AbortController(), error: null });
    try {
      const { importance = null, heat = null } = await this.send(job, { explain: true, signal: job.stop.signal });
      job.result = { ...job.result, importance, heat };
    } catch (error) {
      if (error.name !== "AbortError") job.error = error;
    } finally { this.change(job, { state: "done", stop: null }); }
  }

  async send(job, options) {
    this.change(job, { state: "loading" });
    const aborted = new Promise((_, reject) => options.signal.addEventListener("abort", () =>
      reject(new DOMException("canceled", "AbortError")), { once: true }));
    const { limits = {} } = await Promise.race([this.hooks.ready(), aborted]);
    if (!job.file.size) throw new Refused("unreadable", `${job.file.name} is empty; choose another file.`);
    if (limits.upload_bytes && job.file.size > limits.upload_bytes) {
      throw new Refused("too_large", `${job.file.name} has ${bytes(job.file.size)}, and the service takes up to `
        + `${bytes(limits.upload_bytes)}; cut it or make it smaller.`);
    }
    for (let round = 1; ; round++) {
      try {
        const onProgress = (share) => this.change(job, { state: share < 1 ? "sending" : "looking", share });
        onProgress(0);
        return await predict(job.file, { ...options, onProgress });
      } catch (error) {
        if (error.code !== "busy" || round === TRIES) throw error;
        await this.pause(job, Math.max(1, error.retry ?? 3), options.signal);
      }
    }
  }

  async pause(job, seconds, signal) {
    for (let left = Math.min(60, Math.ceil(seconds)); left > 0; left--) {
      this.change(job, { state: "busy", left });
      await later(1, signal);
    }
  }
}

/** What a job is at, for the line over its progress bar: what is read out, and what only ticks. */
export function describe(job) {
  const { name } = job.file;
  return { waiting: [`${name} waits for its turn`], loading: [`${name} waits until the network is ready`],
    sending: [`Sending ${name}`, `${Math.floor(100 * job.share)} %`], looking: [`The network looks at ${name} ...`],
    busy: [`The service is busy; ${name} will be sent again`, `in ${job.left} s`] }[job.state] ?? [name];
}
