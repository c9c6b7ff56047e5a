// Entry: the service's state, theme, token and tabs, and who talks to whom.

import { $, bytes, lasting } from "./dom.js";
import { health, model as askModel, token } from "./api.js";
import { Camera } from "./camera.js";
import { showCard } from "./card.js";
import { FilePage } from "./file-page.js";
import { tabs, theme } from "./chrome.js";

const PATIENCE = [0.5, 1, 1, 2, 2, 5]; // s between two looks at a service that is not ready
const WORDS = {
  loading: "The network is being loaded. You may choose a file already.",
  offline: "The service does not answer; trying again.",
};
const later = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

let card = null;
const ready = Promise.withResolvers?.() ?? (() => { // Safari before 17.4
  const out = {};
  out.promise = new Promise((resolve) => { out.resolve = resolve; });
  return out;
})();

function status(state, text) {
  $("service").dataset.state = state;
  if ($("service").textContent !== text) $("service").textContent = text;
}

/** Wait until the network is loaded and its card is here; ask for the token where one is needed. */
async function begin() {
  for (let round = 0; !card; round++) {
    const { status: state, message } = await health();
    if (state === "ready") {
      try { card = await askModel(); } catch (error) {
        status("failed", error.message);
        if (error.code === "unauthorized") {
          if ($("token-open").hidden) askToken();
          $("token-open").hidden = false; // asked once, then there when wanted
        }
      }
    } else status(state, WORDS[state] ?? message);
    if (!card) await later(PATIENCE[Math.min(round, PATIENCE.length - 1)]);
  }
  show();
  if (card.token_required && !token.get()) askToken();
  ready.resolve(card);
}

function show() {
  const scan = card.input === "scan", kind = scan ? "scan" : "video", { limits = {} } = card;
  status("ready", "ready");
  $("model-name").textContent = card.name;
  document.title = `${card.name} · pseudo3d`;
  document.body.dataset.input = kind;
  $("tab-file").textContent = scan ? "Scan" : "Video";
  $("tab-camera").hidden = scan;
  $("banner").hidden = !scan;
  $("token-open").hidden = !card.token_required;
  $("drop-what").textContent = `Drop a ${kind} here`;
  $("file").accept = (card.suffixes ?? (scan ? [] : ["video/*", ".mkv", ".avi", ".gif"])).join(",");
  const most = [limits.upload_bytes && bytes(limits.upload_bytes), !scan && limits.seconds && lasting(limits.seconds)].filter(Boolean);
  $("drop-limits").textContent = most.length ? `up to ${most.join(" and ")}` : "";
  showCard(card);
}

/** Ask for the token; `done` is called after one was given. */
function askToken(done = () => {}) {
  const box = $("token-box"), open = box.open;
  if (!open) $("token").value = token.get(); // else somebody may be typing
  $("token-form").onsubmit = (event) => {
    event.preventDefault();
    token.set($("token").value.trim());
    box.close();
    done();
  };
  if (!open) box.showModal();
}

theme($("theme"));
const camera = new Camera({ model: () => ready.promise, askToken });
const page = new FilePage({ ready: () => ready.promise, askToken });
tabs([$("tab-file"), $("tab-camera"), $("tab-card")], (tab) => {
  if (tab.id !== "tab-camera" && camera.on) camera.stop();
});
$("token-open").addEventListener("click", () => askToken(() => page.allowed()));
$("token-cancel").addEventListener("click", () => $("token-box").close());
page.listen(() => $("tab-file").click());
begin();
