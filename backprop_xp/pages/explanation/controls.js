// What is chosen, and by what it is changed.
function draw() {
  at("slider").value = state.frame;
  at("steplabel").textContent =
    `Step ${frame().step.toLocaleString("en")}${frame().epoch === undefined ? "" : ` (epoch ${frame().epoch})`}`;
  if (!state.playing)
    at("status").textContent =
      `${at("steplabel").textContent}, ${named(state.chosen.layer, state.chosen.unit, state.chosen.source)}${state.chosen.source === undefined ? "" : `: gradient ${shown(gradient(state.chosen.layer, state.chosen.unit, state.chosen.source))}`}`;
  at("slider").setAttribute("aria-valuetext", `step ${frame().step}, loss ${shown(frame().value)}`);
  drawNetwork();
  drawChain();
  drawLoss();
  drawFindings();
  drawSurface();
  drawRates();
}
function choose(place) {
  state.chosen = { ...place, key: keyOf(place) };
  at("chosenlayer").value = place.layer;
  at("chosenunit").value = place.unit;
  at("chosenunit").max = widths[place.layer];
  at("chosensource").value = place.source === undefined ? "" : place.source === null ? "bias" : place.source;
  draw();
}
function go(k) {
  state.frame = Math.max(0, Math.min(run().frames.length - 1, k));
  draw();
}
function play(wanted) {
  if (state.playing) {
    clearInterval(state.playing);
    state.playing = null;
  }
  if (wanted) {
    if (state.frame === run().frames.length - 1) go(0);
    state.playing = setInterval(() => {
      if (state.frame === run().frames.length - 1) play(false);
      else go(state.frame + 1);
    }, 120);
  }
  at("play").setAttribute("aria-pressed", Boolean(state.playing));
  at("play").textContent = state.playing ? "❚❚ Pause" : "▶ Play";
}
function walk(by) {
  const n = stages().length;
  if (by === 0) state.stage = null;
  else if (state.stage === null) state.stage = by > 0 ? 0 : n - 1;
  else state.stage = Math.max(0, Math.min(n - 1, state.stage + by));
  drawNetwork();
}
function fromForm() {
  // a unit or a weight by its numbers
  const layer = Number(at("chosenlayer").value),
    unit = Number(at("chosenunit").value),
    text = at("chosensource").value.trim().toLowerCase();
  const source = text === "" || layer === 0 ? undefined : text === "bias" ? null : Number(text);
  const known =
    unit >= 1 &&
    unit <= widths[layer] &&
    Number.isInteger(unit) &&
    (source === undefined ||
      (source === null ? Boolean(bias) : source >= 1 && source <= widths[layer - 1] && Number.isInteger(source)));
  at("chosentext").textContent = known
    ? ""
    : `${layer ? `Layer ${layer}` : "The inputs"}: ${widths[layer]} units${layer ? `, each with weights from 1 to ${widths[layer - 1]}${bias ? " and a bias" : ""}` : ""}.`;
  if (known) choose({ layer, unit, source });
}

const kinds = new Set(data.network.activations);
at("lead").textContent =
  `A ${widths.join("-")} network of ${kinds.size === 1 ? `${[...kinds][0]} units` : `units ${data.network.activations.join(", ")} by layer`}, ${nRows} row${nRows > 1 ? "s" : ""}, loss ${data.loss}. ${data.note}`;
at("lossword").textContent =
  data.loss === "half_squared_error"
    ? "The loss: the sum over rows and outputs of (y − p)² / 2, y the target and p the output."
    : `The loss, ${data.loss}: its ${data.over_samples} over the rows shown, with the penalty if there is one.`;
at("ruleword").hidden = at("rulename").hidden = data.optimizer.name === "sgd";
at("rulename").textContent = Object.keys(data.runs[0].frames[0].weights).some((name) => name.startsWith("v"))
  ? "g, m, v"
  : "g, m";
if (small) {
  at("edgeword").textContent = "Choose a circle to see its delta and its weights.";
  at("keyword").textContent =
    "Tab goes to the chosen circle, and the arrows on from it; the form above it chooses any unit or weight.";
}
data.runs.forEach((each, k) => {
  const radio = make("input", { type: "radio", name: "run", value: k });
  radio.checked = k === 0;
  radio.addEventListener("change", () => {
    const step = frame().step;
    state.run = k;
    at("slider").max = run().frames.length - 1;
    go(nearestFrame(step));
  });
  at("runs").append(make("label", {}, radio, ` ${shown(each.learning_rate)}`));
});
at("runs").hidden = data.runs.length === 1;
const few = (width, value) =>
  Array.from({ length: Math.min(4, width) }, (_, k) => shown(value(k + 1), 4)).join(", ") + (width > 4 ? ", …" : "");
function targetOf(n) {
  // the class where one is 1 and the others 0
  const values = Array.from({ length: widths[nLayers] }, (_, k) => target(n, k + 1));
  const one =
    values.length > 2 &&
    values.filter((value) => value === 1).length === 1 &&
    values.filter((value) => value === 0).length === values.length - 1;
  return one ? outputName(values.indexOf(1) + 1) : few(values.length, (k) => values[k - 1]);
}
rows.forEach((n) =>
  at("row").append(
    make("option", { value: n }, `${rowName(n)}: (${few(widths[0], (k) => input(n, k))}) → ${targetOf(n)}`),
  ),
);
widths.forEach((_, layer) =>
  at("chosenlayer").append(make("option", { value: layer }, layer ? `layer ${layer}` : "inputs")),
);
at("choose").hidden = whole && !small;
at("choose").addEventListener("submit", (event) => {
  event.preventDefault();
  fromForm();
});
at("slider").max = run().frames.length - 1;
at("slider").addEventListener("input", () => go(Number(at("slider").value)));
at("row").addEventListener("change", () => {
  state.row = Number(at("row").value);
  draw();
});
at("colour").addEventListener("change", drawNetwork);
at("play").addEventListener("click", () => play(!state.playing));
at("play").disabled = at("slider").disabled = run().frames.length === 1;
at("onward").addEventListener("click", () => walk(1));
at("back").addEventListener("click", () => walk(-1));
at("whole").addEventListener("click", () => walk(0));
document.addEventListener("keydown", (event) => {
  if (
    event.target.matches("input[type=radio], select, button, summary") ||
    (event.target.matches("input") && event.key !== " ") ||
    event.target.closest("form") ||
    event.ctrlKey ||
    event.metaKey ||
    event.altKey
  )
    return;
  if (event.key === " ") {
    event.preventDefault();
    play(!state.playing);
  }
  if (event.key === "ArrowRight") go(state.frame + 1);
  if (event.key === "ArrowLeft") go(state.frame - 1);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
window.addEventListener("resize", draw);
const first = frame().findings.find((each) => each.kind === "largest");
choose({ layer: first.layer, unit: first.unit, source: first.source });
