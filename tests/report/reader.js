// Runs in a viewer page once it is ready: acts as a reader does, and notes what the page says.
(async () => {
  const wait = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const key = (name) => window.dispatchEvent(new KeyboardEvent("keydown", { key: name }));
  const notes = {};
  const note = (name) => { notes[name] = { ...document.body.dataset, text: $("where").textContent,
  gray: Array.from(panes[0].pixels.data.slice(0, 4)), names: panes.map((p) => p.name.textContent) }; };
  while (!document.body.dataset.ready) await new Promise((done) => setTimeout(done, 20));
  await wait(); note("start");
  notes.boxes = panes.map((p) => { const b = p.canvas.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; });
  const wheel = (y) => panes[0].canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: y, cancelable: true }));
  wheel(100); await wait(); note("wheel");
  key("2"); key("ArrowDown"); await wait(); note("arrow");
  const b = panes[2].canvas.getBoundingClientRect(), c = panes[2].canvas;
  c.setPointerCapture = () => {};
  c.dispatchEvent(new PointerEvent("pointerdown", { clientX: b.left + 0.95 * b.width, clientY: b.top + 0.9 * b.height, pointerType: "mouse" }));
  c.dispatchEvent(new PointerEvent("pointerup", { pointerType: "mouse" })); await wait(); note("click");
  panes[1].slider.value = 0; panes[1].slider.dispatchEvent(new Event("input")); await wait(); note("slider");
  $("preset").selectedIndex = 1; $("preset").dispatchEvent(new Event("change")); await wait(); note("preset");
  key("h"); await wait(); note("hot");
  const before = panes[0].pixels.data.slice(); key("o"); await wait();
  notes.hidden = panes[0].pixels.data.some((v, i) => v !== before[i]);
  location.hash = "#1,2,3"; await wait(); await wait(); note("hash");
  const out = document.createElement("pre"); out.id = "notes"; out.textContent = JSON.stringify(notes);
  document.body.append(out);
})();
