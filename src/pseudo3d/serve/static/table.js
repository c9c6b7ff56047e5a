// The timeline as a table: the same for those who do not see it, and exact times for all.

import { $, clock, make, percent } from "./dom.js";
import { rows } from "./windows.js";

const MOST = 300; // rows shown; the CSV has all

export function showTable(result, seek) {
  const all = rows(result), body = $("table");
  body.replaceChildren(...all.slice(0, MOST).map(({ start, end, label, score }) => {
    const row = make("tr");
    const button = make("button", make("td", row), { type: "button", className: "link", textContent: clock(start) });
    button.setAttribute("aria-label", `Go to ${clock(start)}`);
    button.addEventListener("click", () => seek(start));
    make("td", row, { textContent: clock(end) });
    make("td", row, { textContent: label });
    make("td", row, { textContent: percent(score), className: "number" });
    return row;
  }));
  $("table-title").textContent = result.segments?.length ? "Segments as a table" : "Labels as a table";
  $("table-more").hidden = all.length <= MOST;
  $("table-more").textContent = `The first ${MOST} of ${all.length}; the CSV has all.`;
}
