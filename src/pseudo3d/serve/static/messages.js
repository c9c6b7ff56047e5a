// Errors as a person reads them: a title for each code, the service's own sentence, a way on.

import { make } from "./dom.js";

const TITLES = {
  too_large: "Too large",
  unreadable: "This file cannot be read",
  busy: "The service is busy",
  not_ready: "The network is not ready",
  timeout: "It took too long",
  unauthorized: "A token is needed",
  bad_request: "The service did not understand",
  internal: "The service failed",
  offline: "No connection",
  damaged: "The answer cannot be used",
  camera: "No camera",
};
const LATER = new Set(["busy", "not_ready", "timeout", "internal", "offline", "damaged", "camera"]);

/** Show an error in a box with role=alert.

`actions` may hold `retry` and `askToken`; a button is shown where the code makes sense of it. */
export function showError(box, error, actions = {}) {
  clearError(box);
  const known = error.code in TITLES, frame = make("div", box, { className: "error" });
  frame.dataset.code = error.code ?? "page";
  make("h3", frame, { textContent: known ? TITLES[error.code] : "This page failed" });
  make("p", frame, { textContent: sentence(error.message || "reload the page and try again") });
  const row = make("p", frame, { className: "tools" });
  if (error.code === "unauthorized" && actions.askToken) {
    make("button", row, { type: "button", textContent: "Enter a token", className: "primary" })
      .addEventListener("click", actions.askToken);
  }
  if (LATER.has(error.code) && actions.retry) {
    make("button", row, { type: "button", textContent: "Try again" }).addEventListener("click", actions.retry);
  }
  if (!row.children.length) row.remove();
}

/** The service speaks in fragments: a capital, unless it starts with a name, and a period. */
function sentence(text) {
  const first = /^[a-z]+[ ,]/.test(text) ? text[0].toUpperCase() + text.slice(1) : text;
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

export const clearError = (box) => box.replaceChildren();
