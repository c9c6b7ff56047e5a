// The frame of the page: light or dark, and tabs that arrow keys move between.

const KEY = "pseudo3d-theme";

export function theme(button) {
  const root = document.documentElement, media = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : media.matches);
  const name = () => { button.textContent = dark() ? "Light theme" : "Dark theme"; };
  try { if (localStorage.getItem(KEY)) root.dataset.theme = localStorage.getItem(KEY); } catch { /* storage is off: the system decides */ }
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem(KEY, root.dataset.theme); } catch { /* kept until the page is left */ }
    name();
  });
  media.addEventListener("change", name);
  name();
}

export function tabs(all, changed) {
  const choose = (tab) => {
    for (const other of all) {
      other.setAttribute("aria-selected", String(other === tab));
      other.tabIndex = other === tab ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = other !== tab;
    }
    changed(tab);
  };
  for (const tab of all) tab.addEventListener("click", () => choose(tab));
  all[0].parentElement.addEventListener("keydown", (event) => {
    const shown = all.filter((tab) => !tab.hidden), at = shown.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: shown.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    const tab = shown[(to + shown.length) % shown.length];
    tab.focus();
    choose(tab);
  });
}
