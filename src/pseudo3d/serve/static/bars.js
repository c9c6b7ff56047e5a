// The most probable classes as bars: each line also reads as text, color is never alone.

import { clamp, make, paint, percent } from "./dom.js";

export function showBars(list, top, classes) {
  while (list.children.length > top.length) list.lastChild.remove();
  top.forEach(({ label, score }, i) => {
    // kept elements let the width glide instead of jump
    const line = list.children[i] ?? blank(list), [name, bar, share] = line.children;
    name.textContent = name.title = label;
    share.textContent = percent(score);
    bar.firstChild.style.width = `${clamp(100 * score, 0.5, 100)}%`;
    bar.firstChild.style.background = paint(classes, label).back;
  });
}

function blank(list) {
  const line = make("li", list);
  make("span", line, { className: "name" });
  make("i", make("span", line, { className: "bar", ariaHidden: "true" }));
  make("span", line, { className: "share" });
  return line;
}
