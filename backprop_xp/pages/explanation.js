"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const widths = data.network.widths, nLayers = widths.length - 1, nRows = data.X.length;
const at = (id) => document.getElementById(id);
const state = { run: 0, frame: 0, row: 0, stage: null, chosen: null, playing: null };

// ---- numbers and elements
const narrow = matchMedia("(max-width: 30rem)");
function shown(value, digits = 6) {  // as Python's %.6g
  if (value === null || value === undefined) return "not run";
  if (value === 0) return "0";
  const text = value.toPrecision(digits), size = Math.abs(value);
  if (size < 1e-4 || size >= 1e6) return value.toExponential(digits - 1).replace(/\.?0+e/, "e").replace(/e([+-])(\d)$/, "e$10$2");
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}
function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "circle", "path", "line", "text", "polyline", "title"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
function number(value, what) {
  const element = make("span", { class: "numbers", "data-what": what }, shown(value, narrow.matches ? 4 : 6));
  if (typeof value === "number") element.dataset.value = String(value);
  return element;
}
const subscript = (n) => String(n).replace(/\d/g, (digit) => "₀₁₂₃₄₅₆₇₈₉"[digit]);
const colour = (value) => (value < 0 ? "var(--orange)" : "var(--blue)");
const rowName = (n) => String(n + data.first_row);
const sum = (values) => values.reduce((total, value) => total + value, 0);

const room = (svg) => Math.max(280, Math.min(560, svg.clientWidth || 520));  // so that letters keep their size

// ---- what a frame holds
const run = () => data.runs[state.run];
const frame = () => run().frames[state.frame];
const output = (layer, unit) => (layer ? frame().outputs[layer - 1][state.row][unit - 1] : data.X[state.row][unit - 1]);
const delta = (layer, unit) => frame().layers[layer - 1].delta[state.row][unit - 1];
const placeKey = (layer, unit, source) => `${layer},${unit},${source}`;
const places = new Map(data.places.map(([layer, unit, source], k) => [placeKey(layer, unit, source), k]));
const short = (value) => (Math.abs(value) >= 0.01 || value === 0 ? value.toFixed(2) : value.toExponential(0));
function weightAt(layer, unit, source) {
  const shared = source === null && data.network.bias === "shared";
  const [w, gradient, matrix, loop, difference, after] = frame().weights[places.get(placeKey(layer, shared ? 1 : unit, source))];
  return { w, gradient, matrix, loop, difference, after };
}
function named(layer, unit, source) {
  if (source === undefined) return layer ? `layer ${layer}, unit ${unit}` : `input ${unit}`;
  if (source === null && data.network.bias === "shared") return `layer ${layer}, shared bias`;
  return `layer ${layer}, unit ${unit}, ${source === null ? "bias" : "from " + source}`;
}

function spoken(layer, unit, source) {  // the same in words
  const end = (l, u) => (l === 0 ? `input ${u}` : l === nLayers ? `output ${u}` : `hidden unit ${u}${nLayers > 2 ? ` of layer ${l}` : ""}`);
  if (source === undefined) return end(layer, unit);
  return source === null ? `the bias of ${data.network.bias === "shared" ? "all its units" : end(layer, unit)}` : `${end(layer - 1, source)} → ${end(layer, unit)}`;
}

// ---- the network: all of it up to a few hundred units, else a window of each layer around the chosen unit
const WINDOW = 12;
function window_(layer) {
  const width = widths[layer];
  if (Math.max(...widths) <= 2 * WINDOW) return Array.from({ length: width }, (_, k) => k + 1);
  let middle = 1;
  if (state.chosen && state.chosen.layer === layer) middle = state.chosen.unit;
  if (state.chosen && state.chosen.layer === layer + 1 && state.chosen.source) middle = state.chosen.source;
  const first = Math.max(1, Math.min(width - WINDOW + 1, middle - WINDOW / 2));
  return Array.from({ length: Math.min(width, WINDOW) }, (_, k) => first + k);
}
function stages() {  // the forward pass, the loss, the backward pass, the update
  const list = [];
  for (let layer = 1; layer <= nLayers; layer++) list.push({ pass: "forward", layer });
  list.push({ pass: "loss", layer: nLayers });
  for (let layer = nLayers; layer >= 1; layer--) list.push({ pass: "backward", layer });
  list.push({ pass: "update", layer: 0 });
  return list;
}
function stageText() {
  const row = `row ${rowName(state.row)}`;
  if (state.stage === null) return `Forward and backward pass together, ${row}.`;
  const { pass, layer } = stages()[state.stage];
  if (pass === "forward") return `Forward, layer ${layer}: net = Σ O·w${data.network.bias ? " + b" : ""}, then O = ${data.network.activations[layer - 1]}(net), ${row}.`;
  if (pass === "loss") return `The loss compares the outputs with the targets: ${shown(frame().value)} over all rows.`;
  if (pass === "backward" && layer === nLayers) return `Backward, output layer: δ = ∂E/∂O · ∂O/∂net, ${row}.`;
  if (pass === "backward") return `Backward, layer ${layer}: δ = (Σ δ·w over layer ${layer + 1}) · ∂O/∂net, ${row}.`;
  return `The update: every weight moves by learning rate ${shown(run().learning_rate)} times its gradient, against it.`;
}
function sees(pass, layer) {
  if (state.stage === null) return true;
  return stages().findIndex((each) => each.pass === pass && each.layer === layer) <= state.stage;
}
function drawNetwork() {
  const svg = at("network"), focused = document.activeElement && document.activeElement.dataset.key;
  const shownUnits = widths.map((_, layer) => window_(layer)), most = Math.max(...shownUnits.map((units) => units.length));
  const wide = room(svg), high = Math.max(190, (most < 5 ? 90 : 64) * most + 30), gap = wide / (nLayers + 1);
  svg.setAttribute("viewBox", `0 0 ${wide} ${high}`);
  const x = (layer) => gap * (layer + 0.5), y = (layer, k) => (high - 24) * ((k + 0.5) / shownUnits[layer].length) + 4;
  const gradients = at("colour").value === "gradient";
  const edges = [], nodes = [];
  const strength = (layer, unit, source) => { const it = weightAt(layer, unit, source); return gradients ? it.gradient : it.w; };
  let largest = 1e-300;
  for (let layer = 1; layer <= nLayers; layer++)
    for (const unit of shownUnits[layer]) for (const source of shownUnits[layer - 1]) largest = Math.max(largest, Math.abs(strength(layer, unit, source)));
  for (let layer = 1; layer <= nLayers; layer++)
    shownUnits[layer].forEach((unit, j) => {
      shownUnits[layer - 1].forEach((source, i) => {
        const value = strength(layer, unit, source), width = 0.6 + 5 * Math.abs(value) / largest;
        const d = `M${x(layer - 1) + 19} ${y(layer - 1, i)} L${x(layer) - 19} ${y(layer, j)}`;
        edges.push(choosable({ layer, unit, source }, "edge",
          `${named(layer, unit, source)}: weight ${shown(weightAt(layer, unit, source).w)}, gradient ${shown(weightAt(layer, unit, source).gradient)}`,
          make("path", { class: "hit", d }), make("path", { class: "seen", d, stroke: colour(value), "stroke-width": width, opacity: 0.85, "pointer-events": "none" })));
      });
      if (data.network.bias && (data.network.bias !== "shared" || unit === 1)) {
        const value = strength(layer, unit, null), d = `M${x(layer) - 18} ${y(layer, j) - 36} L${x(layer) - 5} ${y(layer, j) - 17}`;
        edges.push(choosable({ layer, unit, source: null }, "edge",
          `${named(layer, unit, null)}: ${shown(weightAt(layer, unit, null).w)}, gradient ${shown(weightAt(layer, unit, null).gradient)}`,
          make("path", { class: "hit", d }), make("path", { class: "seen", d, stroke: colour(value), "stroke-width": 0.6 + 5 * Math.min(1, Math.abs(value) / largest), "pointer-events": "none" })));
      }
    });
  widths.forEach((_, layer) => shownUnits[layer].forEach((unit, k) => {
    const lit = layer === 0 || sees("forward", layer), back = layer > 0 && sees("backward", layer);
    const value = output(layer, unit), of = gradients && layer ? (back ? delta(layer, unit) : 0) : lit ? value : 0;
    const scale = gradients && layer ? Math.max(1e-300, ...frame().layers[layer - 1].delta[state.row].map(Math.abs)) : Math.max(1, Math.abs(value));
    const label = layer ? `${named(layer, unit)}: output ${shown(value)}, delta ${shown(delta(layer, unit))}` : `input ${unit}: ${shown(value)}`;
    const texts = [make("text", { x: x(layer), y: y(layer, k) + 4 }, gradients && layer ? (back ? short(delta(layer, unit)) : "·") : lit ? short(value) : "·")];
    if (back && !gradients) texts.push(make("text", { x: x(layer), y: y(layer, k) + 32, class: "small" }, `δ ${delta(layer, unit).toPrecision(2)}`));
    nodes.push(choosable({ layer, unit }, "unit", label,
      make("circle", { cx: x(layer), cy: y(layer, k), r: 18, fill: "var(--paper)" }),
      make("circle", { cx: x(layer), cy: y(layer, k), r: 18, fill: colour(of), "fill-opacity": 0.08 + 0.4 * Math.min(1, Math.abs(of) / scale), stroke: "none" }), ...texts));
  }));
  svg.replaceChildren(...edges, ...nodes);
  widths.forEach((width, layer) => svg.append(make("text", { x: x(layer), y: high - 4, class: "small" },
    (layer === 0 ? "inputs" : layer === nLayers ? "outputs" : `layer ${layer}`) + (shownUnits[layer].length < width ? ` (${shownUnits[layer].length} of ${width})` : ""))));
  if (focused) { const again = svg.querySelector(`[data-key="${focused}"]`); if (again) again.focus(); }
  at("stagetext").textContent = stageText();
  at("back").disabled = state.stage === 0;
  at("onward").disabled = state.stage === stages().length - 1;
  at("whole").disabled = state.stage === null;
}
function choosable(place, kind, label, ...shapes) {
  const key = `${kind} ${place.layer} ${place.unit} ${place.source === undefined ? "" : place.source}`;
  const now = state.chosen && key === state.chosen.key;
  const element = make("g", { class: kind + (now ? " chosen" : ""), tabindex: 0, role: "button", "aria-label": label, "aria-pressed": Boolean(now), "data-key": key },
    make("title", {}, label), ...shapes);
  const choose = () => { state.chosen = { ...place, key }; draw(); };
  element.addEventListener("click", choose);
  element.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); event.stopPropagation(); choose(); } });
  return element;
}

// ---- the chain rule
function table(heads, rows, foot) {
  const line = (cells, tag) => make("tr", {}, ...cells.map((cell) => make(tag, {}, cell)));
  const body = rows.map((cells, n) => { const tr = line(cells, "td"); if (n === state.row) tr.className = "now"; return tr; });
  const parts = [make("thead", {}, line(heads, "th")), make("tbody", {}, ...body)];
  if (foot) parts.push(make("tfoot", {}, line(foot, "td")));
  return make("div", { class: "box" }, make("table", {}, ...parts));
}
function drawChain() {
  const chosen = state.chosen;
  const parts = chosen.source === undefined ? ofUnit(chosen.layer, chosen.unit) : ofWeight(chosen.layer, chosen.unit, chosen.source);
  at("chain").replaceChildren(...parts);
}
const heading = (layer, unit, source) => [make("h3", { id: "what" }, named(layer, unit, source)), make("p", { class: "soft" }, spoken(layer, unit, source))];
function sumOnward(layer, unit) {
  const onward = frame().layers[layer].delta[state.row].map((of, l) => [of, weightAt(layer + 1, l + 1, unit).w]);
  const line = make("p", { id: "sum" }, `First in row ${rowName(state.row)} comes back from layer ${layer + 1}: Σ δ·w = `);
  onward.slice(0, 12).forEach(([of, w], k) => line.append(k ? " + " : "", number(of, "onward delta"), " · ", number(w, "onward weight")));
  if (onward.length > 12) line.append(" + ...");
  line.append(" = ", number(frame().layers[layer - 1].first[state.row][unit - 1], "sum"));
  return line;
}
function ofWeight(layer, unit, source) {
  const it = weightAt(layer, unit, source), terms = frame().layers[layer - 1], j = subscript(unit), folded = data.folded && layer === nLayers;
  const shared = source === null && data.network.bias === "shared", parts = heading(layer, unit, source);
  const third = (n) => (source === null ? 1 : layer === 1 ? data.X[n][source - 1] : frame().outputs[layer - 2][n][source - 1]);
  const product = (n) => (shared ? sum(terms.delta[n]) : terms.delta[n][unit - 1] * third(n));
  if (shared) parts.push(make("p", { class: "formula" }, "∂E/∂b = Σ δ over rows and the layer's units: all share this bias"));
  else parts.push(make("p", { class: "formula" }, folded ? `∂E/∂w = Σ ∂E/∂net${j} · 1 · ∂net${j}/∂w` : `∂E/∂w = Σ ∂E/∂O${j} · ∂O${j}/∂net${j} · ∂net${j}/∂w`));
  const rows = data.X.map((_, n) => shared ? [rowName(n), number(product(n), "product")]
    : [rowName(n), number(terms.first[n][unit - 1], "first"), number(terms.second[n][unit - 1], "second"), number(third(n), "third"), number(product(n), "product")]);
  const total = number(it.gradient, "gradient");
  parts.push(table(shared ? ["row", "δ"] : ["row", "first", "second", "third", "product"], rows, shared ? ["sum", total] : ["sum", "", "", "", total]));
  if (!shared) parts.push(make("p", { class: "soft" }, "First: how the loss changes with this unit's output. Second: the slope of its activation there. Third: what comes in over this weight" + (source === null ? " (1 for a bias)." : ".")));
  if (layer < nLayers && !shared) parts.push(sumOnward(layer, unit));
  const same = make("p", { class: "numbers" }, "The same gradient: matrices Xᵀδ ");
  same.append(number(it.matrix, "matrix"), ", scalar loops ", number(it.loop, "loop"), ", central difference ", number(it.difference, "difference"), ".");
  parts.push(same);
  const moved = it.after - it.w, update = make("p", { class: "numbers", id: "update" });
  if (data.fixed[places.get(placeKey(layer, shared ? 1 : unit, source))]) update.append("It is not trained: it stays ", number(it.w, "w"), ".");
  else update.append("Update: w ← w − learning rate · gradient = ", number(it.w, "w"), " − ", number(run().learning_rate, "rate"), " · ", number(it.gradient, "g"), " = ", number(it.after, "after"),
    moved === 0 ? ": it does not move." : `: it ${moved > 0 ? "grows" : "falls"} by ${shown(Math.abs(moved))}, because the loss ${it.gradient > 0 ? "grows" : "falls"} when it grows.`);
  return [...parts, update];
}
function ofUnit(layer, unit) {
  const parts = heading(layer, unit);
  if (!layer) return [...parts, make("p", {}, `It passes on ${shown(output(0, unit))} in row ${rowName(state.row)}.`)];
  const terms = frame().layers[layer - 1];
  parts.push(make("p", { class: "formula" }, "δ = first · second = ∂E/∂O · ∂O/∂net"));
  parts.push(table(["row", "output", "first", "second", "δ"], data.X.map((_, n) => [rowName(n), number(frame().outputs[layer - 1][n][unit - 1], "output"),
    number(terms.first[n][unit - 1], "first"), number(terms.second[n][unit - 1], "second"), number(terms.delta[n][unit - 1], "delta")])));
  if (layer < nLayers) {
    parts.push(sumOnward(layer, unit));
  } else parts.push(make("p", { class: "soft" }, data.folded ? "Loss and output activation are differentiated together: first is ∂E/∂net, and second 1." : "At an output, first is how the loss itself changes with the output."));
  return parts;
}

// ---- loss, findings, surface, rates
function drawLoss() {
  const svg = at("loss"), wide = room(svg), high = 190, left = 52, bottom = 26, all = data.runs.flatMap((each) => each.losses);
  svg.setAttribute("viewBox", `0 0 ${wide} ${high}`);
  const lastStep = Math.max(1, ...all.map(([step]) => step)), top = Math.max(...all.map(([, loss]) => loss)) || 1;
  const x = (step) => left + (wide - left - 10) * (step / lastStep), low = Math.min(...all.map(([, loss]) => loss)), log = low > 0 && top / low > 20;
  const y = (loss) => 8 + (high - bottom - 8) * (log ? Math.log(top / loss) / Math.log(top / low) : 1 - loss / top);
  const lines = data.runs.map((each, k) => make("polyline", { points: each.losses.map(([step, loss]) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(" "), fill: "none", stroke: k === state.run ? "var(--blue)" : "var(--faint)", "stroke-width": k === state.run ? 2.5 : 1.5 }));
  const labels = data.runs.length > 1 ? data.runs.map((each) => { const [step, loss] = each.losses.at(-1); return make("text", { x: x(step) - 22, y: Math.min(high - bottom - 3, y(loss) - 5), class: "small" }, shown(each.learning_rate)); }) : [];
  const now = frame();
  svg.replaceChildren(make("line", { x1: left, x2: wide - 10, y1: high - bottom, y2: high - bottom, stroke: "var(--faint)" }), make("text", { x: left - 24, y: y(top) + 8, class: "small" }, shown(Number(top.toPrecision(3)))),
    make("text", { x: left - 24, y: high - bottom + 3, class: "small" }, log ? shown(Number(low.toPrecision(2))) : "0"), make("text", { x: x(lastStep) - 20, y: high - 6, class: "small" }, `step ${lastStep}`), make("text", { x: left, y: high - 6, class: "small" }, "0"),
    ...lines, ...labels, make("circle", { cx: x(now.step), cy: y(now.value), r: 5, fill: "var(--blue)", stroke: "var(--paper)" }));
  svg.setAttribute("aria-label", `The loss falls from ${shown(run().losses[0][1])} to ${shown(run().losses.at(-1)[1])} in ${lastStep} steps; now ${shown(now.value)} at step ${now.step}.`);
  at("losstext").replaceChildren(`${log ? "On a logarithmic scale. " : ""}At step ${now.step} the loss is `, number(now.value, "value"), `. Click the curve to go there.${data.runs.length > 1 ? " Each curve bears its learning rate; the blue one is chosen." : ""}`);
  svg.onclick = (event) => { const box = svg.getBoundingClientRect(), step = ((event.clientX - box.left) / box.width * wide - left) / (wide - left - 10) * lastStep; go(nearestFrame(step)); };
}
function nearestFrame(step) {
  const distances = run().frames.map((each) => Math.abs(each.step - step));
  return distances.indexOf(Math.min(...distances));
}
function drawFindings() {
  const largest = (each) => each.kind === "largest";
  const found = [...frame().findings.filter((each) => !largest(each)), ...frame().findings.filter(largest)];
  const items = found.map((each, k) => {
    const button = make("button", { type: "button", "data-kind": each.kind }, each.text);
    button.addEventListener("click", () => {
      const unit = each.unit || 1, place = each.kind === "largest" ? { layer: each.layer, unit, source: each.source } : { layer: each.layer, unit };
      state.row = Math.max(0, Math.min(nRows - 1, each.row - data.first_row));
      at("row").value = state.row;
      choose(place);
      at("findings").querySelectorAll("button")[k].focus({ preventScroll: true });
      at("chainhead").scrollIntoView({ block: "nearest" });
    });
    return make("li", {}, button);
  });
  at("findings").replaceChildren(...items);
}
function choose(place) {
  const kind = place.source === undefined ? "unit" : "edge";
  state.chosen = { ...place, key: `${kind} ${place.layer} ${place.unit} ${place.source === undefined ? "" : place.source}` };
  draw();
}
function drawSurface() {
  if (!data.bounds) return;
  at("surfacebox").hidden = false;
  const canvas = at("surface"), context = canvas.getContext("2d"), n = data.grid, bytes = atob(frame().surface), [low, high] = data.bounds;
  const image = new ImageData(n, n), dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const zero = dark ? [122, 64, 20] : [250, 196, 150], one = dark ? [36, 84, 160] : [150, 190, 250];
  for (let row = 0; row < n; row++) for (let column = 0; column < n; column++) {
    const share = bytes.charCodeAt(row * n + column) / 255, k = 4 * ((n - 1 - row) * n + column);
    for (let c = 0; c < 3; c++) image.data[k + c] = zero[c] + share * (one[c] - zero[c]);
    image.data[k + 3] = 255;
  }
  const small = document.createElement("canvas");
  small.width = small.height = n;
  small.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  data.X.forEach((x, k) => {
    const px = (x[0] - low[0]) / (high[0] - low[0]) * canvas.width, py = (1 - (x[1] - low[1]) / (high[1] - low[1])) * canvas.height;
    context.beginPath(); context.arc(px, py, k === state.row ? 9 : 6, 0, 7);
    context.fillStyle = data.Y[k][0] > 0.5 ? "#1f62c9" : "#c2570c"; context.fill();
    context.lineWidth = k === state.row ? 3 : 1.5; context.strokeStyle = "#fff"; context.stroke();
  });
  at("surfacetext").textContent = "Input 1 grows to the right, input 2 upwards. Blue: the first output is near 1, orange: near 0. Dots: the rows, coloured by their target; the larger one is the chosen row.";
  canvas.setAttribute("aria-label", `The first output over both inputs; at the rows ${data.X.map((x, k) => `(${x.join(", ")}) ${shown(frame().outputs[nLayers - 1][k][0])}`).join("; ")}`);
}
function drawRates() {
  const rows = data.runs.map((each, k) => {
    const cells = [shown(each.learning_rate), shown(each.losses[0][1]), shown(each.losses[Math.floor(each.losses.length / 10)][1]), shown(each.losses.at(-1)[1])];
    return make("tr", k === state.run ? { class: "now" } : {}, ...cells.map((cell) => make("td", {}, cell)));
  });
  const last = run().losses.at(-1)[0];
  at("rates").replaceChildren(make("thead", {}, make("tr", {}, ...["learning rate", "loss at the start", "after a tenth", `after ${last} steps`].map((text) => make("th", {}, text)))), make("tbody", {}, ...rows));
}

// ---- the controls
function draw() {
  at("slider").value = state.frame;
  at("steplabel").textContent = `Step ${frame().step.toLocaleString("en")}`;
  at("slider").setAttribute("aria-valuetext", `step ${frame().step}, loss ${shown(frame().value)}`);
  drawNetwork(); drawChain(); drawLoss(); drawFindings(); drawSurface(); drawRates();
}
function go(k) { state.frame = Math.max(0, Math.min(run().frames.length - 1, k)); draw(); }
function play(wanted) {
  if (state.playing) { clearInterval(state.playing); state.playing = null; }
  if (wanted) {
    if (state.frame === run().frames.length - 1) go(0);
    state.playing = setInterval(() => { if (state.frame === run().frames.length - 1) play(false); else go(state.frame + 1); }, 120);
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
const kinds = new Set(data.network.activations);
at("lead").textContent = `A ${widths.join("-")} network of ${kinds.size === 1 ? `${[...kinds][0]} units` : `units ${data.network.activations.join(", ")} by layer`}, ${nRows} row${nRows > 1 ? "s" : ""}, loss ${data.loss}, ${run().losses.at(-1)[0].toLocaleString("en")} steps of gradient descent on all rows at once.`;
at("lossword").textContent = data.loss === "half_squared_error" ? "The loss: the sum over rows and outputs of (y − p)² / 2, y the target and p the output." : `The loss, ${data.loss}: as backprop_xp.losses defines it, over all rows.`;
data.runs.forEach((each, k) => {
  const input = make("input", { type: "radio", name: "run", value: k });
  input.checked = k === 0;
  input.addEventListener("change", () => { const step = frame().step; state.run = k; at("slider").max = run().frames.length - 1; go(nearestFrame(step)); });
  at("runs").append(make("label", {}, input, ` ${shown(each.learning_rate)}`));
});
data.X.forEach((x, n) => at("row").append(make("option", { value: n }, `${rowName(n)}: (${x.slice(0, 4).map((value) => shown(value)).join(", ")}${x.length > 4 ? ", …" : ""}) → ${data.Y[n].map((value) => shown(value)).join(", ")}`)));
at("slider").max = run().frames.length - 1;
at("slider").addEventListener("input", () => go(Number(at("slider").value)));
at("row").addEventListener("change", () => { state.row = Number(at("row").value); draw(); });
at("colour").addEventListener("change", drawNetwork);
at("play").addEventListener("click", () => play(!state.playing));
at("onward").addEventListener("click", () => walk(1));
at("back").addEventListener("click", () => walk(-1));
at("whole").addEventListener("click", () => walk(0));
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input[type=radio], select, button, summary") || (event.target.matches("input") && event.key !== " ") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === " ") { event.preventDefault(); play(!state.playing); }
  if (event.key === "ArrowRight") go(state.frame + 1);
  if (event.key === "ArrowLeft") go(state.frame - 1);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
window.addEventListener("resize", draw);
const first = frame().findings.find((each) => each.kind === "largest");
choose({ layer: first.layer, unit: first.unit, source: first.source });
