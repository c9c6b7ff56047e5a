// Where the network looked: maps over time, drawn over the playing picture.

import { clamp } from "./dom.js";
import { spacing } from "./windows.js";

// inferno at 13 even places, as the scan viewer uses it
const STOPS = [[0, 0, 4], [17, 10, 48], [50, 10, 94], [87, 16, 110], [120, 28, 109], [154, 40, 101], [188, 55, 84],
  [216, 76, 62], [237, 105, 37], [249, 142, 9], [251, 182, 26], [244, 223, 83], [252, 255, 164]];

/** Red, green and blue of a code 0..255. */
export function inferno(code) {
  const at = (code / 255) * (STOPS.length - 1), i = Math.min(STOPS.length - 2, Math.floor(at));
  return STOPS[i].map((low, k) => Math.round(low + (STOPS[i + 1][k] - low) * (at - i)));
}
const COLORS = Array.from({ length: 256 }, (_, code) => inferno(code));

export class Heat {
  /** @param data "heat" of an answer: times (T), rows, cols, values (base64 of T * rows * cols bytes), and
   * maybe box: [left, top, width, height], the part of the picture the network saw, as fractions. */
  constructor(data) {
    const text = atob(data.values), { rows, cols, times } = data;
    if (text.length !== times.length * rows * cols) {
      throw new Error(`${text.length} heat values came where ${times.length} x ${rows} x ${cols} were said`);
    }
    this.values = Uint8Array.from(text, (c) => c.charCodeAt(0));
    this.times = times;
    this.box = data.box ?? [0, 0, 1, 1];
    this.canvas = new OffscreenCanvas(cols, rows);
    this.pen = this.canvas.getContext("2d");
    this.shown = -1;
    this.gap = spacing(times) || 0.25; // s, that a single map stands for
  }

  /** The map nearest to a time; -1 where none is near, for no map is better than a wrong one. */
  at(t) {
    let best = -1, least = this.gap * 0.75 + 0.02;
    this.times.forEach((time, i) => {
      const away = Math.abs(time - t);
      if (away <= least) [best, least] = [i, away];
    });
    return best;
  }

  /** The nearest time that has a map. */
  nearest(t) { return this.times.reduce((best, time) => (Math.abs(time - t) < Math.abs(best - t) ? time : best)); }

  /** Draw the map of a time into the rectangle where the picture is; its index is returned. */
  draw(context, picture, t, strength) {
    const index = this.at(t);
    if (index < 0) return index;
    if (index !== this.shown) this.paint(index);
    const [left, top, width, height] = this.box;
    context.globalAlpha = clamp(strength, 0, 1);
    context.imageSmoothingQuality = "high";
    context.drawImage(this.canvas, picture.left + left * picture.width, picture.top + top * picture.height,
      width * picture.width, height * picture.height);
    context.globalAlpha = 1;
    return index;
  }

  paint(index) {
    const { width, height } = this.canvas, image = this.pen.createImageData(width, height);
    for (let i = 0, from = index * width * height; i < width * height; i++) {
      const code = this.values[from + i];
      image.data.set([...COLORS[code], code], 4 * i); // cold parts let the picture through
    }
    this.pen.putImageData(image, 0, 0);
    this.shown = index;
  }
}
