// The answer over time as data: overlapping windows become cells that touch, cells become runs.

export const SURE = 0.4; // as report/plots.py: from here on a label is written over time

/** Usual distance between neighbors (their median), which gaps do not change; 0 of fewer than two. */
export function spacing(times) {
  const steps = times.slice(1).map((t, i) => t - times[i]).sort((a, b) => a - b);
  return steps[steps.length >> 1] ?? 0;
}

/** Indices cut where a distance is far above the usual one: stretches [first, end). */
export function stretches(times) {
  const far = 2.5 * spacing(times) + 1e-9, cuts = [0];
  times.forEach((t, i) => { if (i && t - times[i - 1] > far) cuts.push(i); });
  return cuts.map((first, i) => [first, cuts[i + 1] ?? times.length]);
}

/** One cell for each window: from halfway to its left neighbor to halfway to its right one. */
export function cells(windows) {
  const sorted = [...windows].sort((a, b) => a.start + a.end - b.start - b.end);
  const middle = sorted.map((w) => (w.start + w.end) / 2), last = sorted.length - 1;
  return sorted.map((w, i) => ({ ...w,
    start: i ? (middle[i - 1] + middle[i]) / 2 : w.start,
    end: i < last ? (middle[i] + middle[i + 1]) / 2 : w.end }));
}

/** Neighbors of one label, and equally sure or not, joined; the score is their mean over time. */
export function runs(parts) {
  const out = [];
  for (const part of parts) {
    const before = out.at(-1), sure = part.score >= SURE, length = part.end - part.start;
    if (before && before.label === part.label && before.sure === sure) {
      const weight = before.end - before.start;
      before.score = weight + length > 0
        ? (before.score * weight + part.score * length) / (weight + length) : part.score;
      before.end = part.end;
    } else out.push({ start: part.start, end: part.end, label: part.label, score: part.score, sure });
  }
  return out;
}

/** The part at a time, the nearest one where none is; null of an empty list. */
export function partAt(parts, t) {
  let low = 0, high = parts.length - 1;
  while (low < high) {
    const half = (low + high) >> 1;
    if (parts[half].end <= t) low = half + 1; else high = half;
  }
  return parts[low] ?? null;
}

/** Rows of the table and the CSV: segments where the service found them, else the runs. */
export function rows(result) {
  return result.segments?.length ? result.segments : runs(cells(result.timeline ?? []));
}

const quoted = (text) => {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text; // a spreadsheet would run it
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};

export function toCsv(result) {
  const lines = rows(result).map((r) =>
    [r.start.toFixed(3), r.end.toFixed(3), quoted(r.label), r.score.toFixed(6)].join(","));
  return ["start,end,label,score", ...lines, ""].join("\n");
}
