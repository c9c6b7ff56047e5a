// The service: what is asked of it and what comes back, errors included.

const ROOT = new URL("../", import.meta.url); // also right behind a path prefix
const KEY = "pseudo3d-token";

/** A refusal with its code; "offline" and "damaged" are this page's own. */
export class Refused extends Error {
  constructor(code, message, retry = null) {
    super(message);
    Object.assign(this, { code, retry }); // retry: seconds the service asks to wait
  }
}
const OFFLINE = "The service does not answer. Is it still running, and is this device connected?";

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (text) => (text ? sessionStorage.setItem(KEY, text) : sessionStorage.removeItem(KEY)),
};
const headers = () => (token.get() ? { Authorization: `Bearer ${token.get()}` } : {});

function refusal(status, body, retryAfter) {
  const error = body?.error;
  const code = error?.code ?? { 401: "unauthorized", 403: "unauthorized", 413: "too_large",
    429: "busy", 503: "not_ready", 504: "timeout" }[status] ?? (status < 500 ? "bad_request" : "internal");
  const seconds = Number.parseFloat(retryAfter);
  const message = error?.message ?? (typeof error === "string" ? error : `The service answered ${status}.`);
  return new Refused(code, message, Number.isFinite(seconds) ? seconds : null);
}

function parsed(text) {
  try { return JSON.parse(text); } catch { return null; }
}

async function get(path) {
  let answer, body;
  try {
    answer = await fetch(new URL(path, ROOT), { headers: headers(), cache: "no-store" });
    body = parsed(await answer.text());
  } catch { throw new Refused("offline", OFFLINE); }
  if (!answer.ok) throw refusal(answer.status, body, answer.headers.get("Retry-After"));
  if (body === null) throw new Refused("damaged", "The answer is not JSON; is this the right service?");
  return body;
}

export const model = () => get("model");

/** "ready", "loading", "offline" or "failed" with a message; never throws. */
export async function health() {
  try { return { status: (await get("health")).status ?? "ready" }; } catch (err) {
    // 503 carries {"status": "failed", "error": "..."}; a proxy before the service has its own words
    return { status: { offline: "offline", damaged: "offline" }[err.code] ?? "failed", message: err.message };
  }
}

/** Send a file; resolves to the answer.

`onProgress` gets the share that has left, then 1. Aborting closes the connection, which the service
takes as a client that has left. */
export function predict(file, { explain = false, top = 5, signal, onProgress }) {
  // fetch does not tell how much of an upload has left
  const request = new XMLHttpRequest(), form = new FormData();
  form.append("file", file, file.name);
  const query = new URLSearchParams({ top, explain, segments: true });
  return new Promise((resolve, reject) => {
    const off = () => request.abort();
    request.upload.onprogress = (e) => e.lengthComputable && onProgress?.(Math.min(e.loaded / e.total, 0.999));
    request.upload.onload = () => onProgress?.(1);
    request.onabort = () => reject(new DOMException("canceled", "AbortError"));
    request.onerror = () => reject(new Refused("offline", OFFLINE));
    request.onload = () => {
      const body = parsed(request.responseText);
      if (request.status !== 200) reject(refusal(request.status, body, request.getResponseHeader("Retry-After")));
      else if (!body || !Array.isArray(body.top)) reject(new Refused("damaged", "The answer is incomplete; try again."));
      else resolve(body);
    };
    request.onloadend = () => signal?.removeEventListener("abort", off);
    request.open("POST", new URL(`predict?${query}`, ROOT));
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    signal?.addEventListener("abort", off);
    if (signal?.aborted) reject(new DOMException("canceled", "AbortError")); else request.send(form);
  });
}

/** A connection for frames; the first text, token included, is sent as soon as it stands. */
export function openStream(top) {
  const url = new URL("stream", ROOT);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  socket.addEventListener("open", () =>
    socket.send(JSON.stringify({ top, ...(token.get() ? { token: token.get() } : {}) })));
  return socket;
}
