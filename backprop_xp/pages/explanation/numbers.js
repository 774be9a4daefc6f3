"use strict";
// The data, numbers and elements.
const data = JSON.parse(document.getElementById("data").textContent);
const widths = data.network.widths,
  nLayers = widths.length - 1,
  nRows = data.n_rows,
  bias = data.network.bias;
const at = (id) => document.getElementById(id);
const state = { run: 0, frame: 0, row: 0, stage: null, chosen: null, playing: null };

const narrow = matchMedia("(max-width: 30rem)");
function shown(value, digits = 6) {
  // as Python's %.6g
  if (value === null || value === undefined) return "not run";
  if (value === 0) return "0";
  const text = value.toPrecision(digits),
    size = Math.abs(value);
  if (size < 1e-4 || size >= 1e6)
    return value
      .toExponential(digits - 1)
      .replace(/\.?0+e/, "e")
      .replace(/e([+-])(\d)$/, "e$10$2");
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
const short = (value) => (Math.abs(value) >= 0.01 || value === 0 ? value.toFixed(2) : value.toExponential(0));
const room = (svg) => Math.max(280, Math.min(560, svg.clientWidth || 520)); // so that letters keep their size
const rows = Array.from({ length: nRows }, (_, n) => n);

// Arrays come as base64 of their bytes, row by row, and are read when they are first asked for.
function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return data.kind === "f8" ? new Float64Array(bytes.buffer) : new Float32Array(bytes.buffer);
}
const read = new WeakMap();
function array(holder, name) {
  if (!read.has(holder)) read.set(holder, {});
  const known = read.get(holder);
  if (!(name in known)) known[name] = holder[name] === undefined ? null : unpacked(holder[name]);
  return known[name];
}
const run = () => data.runs[state.run];
const frame = () => run().frames[state.frame];
const input = (n, unit) => array(data, "X")[n * widths[0] + unit - 1];
const target = (n, unit) => array(data, "Y")[n * widths[nLayers] + unit - 1];
const outputAt = (n, layer, unit) =>
  layer ? array(frame().outputs, layer - 1)[n * widths[layer] + unit - 1] : input(n, unit);
const term = (name, n, layer, unit) => array(frame().layers[layer - 1], name)[n * widths[layer] + unit - 1];
const output = (layer, unit) => outputAt(state.row, layer, unit);
const delta = (layer, unit) => term("delta", state.row, layer, unit);
const deltas = (n, layer) => Array.from({ length: widths[layer] }, (_, k) => term("delta", n, layer, k + 1));

// Weights stand layer by layer, in a layer unit by unit those into it, then the layer's biases.
const biases = (layer) => (bias === "shared" ? 1 : bias ? widths[layer] : 0);
const starts = [0];
for (let layer = 1; layer <= nLayers; layer++)
  starts.push(starts[layer - 1] + widths[layer - 1] * widths[layer] + biases(layer));
function placeOf(layer, unit, source) {
  const within =
    source === null
      ? widths[layer - 1] * widths[layer] + (bias === "shared" ? 0 : unit - 1)
      : (unit - 1) * widths[layer - 1] + source - 1;
  return starts[layer - 1] + within;
}
function ofWeightAt(name, layer, unit, source) {
  const values = array(frame().weights, name);
  return values === null ? null : values[placeOf(layer, unit, source)];
}
const weight = (layer, unit, source) => ofWeightAt("w", layer, unit, source);
const gradient = (layer, unit, source) => ofWeightAt("gradient", layer, unit, source);

function named(layer, unit, source) {
  if (source === undefined) return layer ? `layer ${layer}, unit ${unit}` : `input ${unit}`;
  if (source === null && bias === "shared") return `layer ${layer}, shared bias`;
  return `layer ${layer}, unit ${unit}, ${source === null ? "bias" : "from " + source}`;
}
const inputName = (unit) => `input ${unit}${data.features ? ` (${data.features[unit - 1]})` : ""}`;
const outputName = (unit) =>
  `output ${unit}${data.classes && data.classes.length === widths[nLayers] ? ` (${data.classes[unit - 1]})` : ""}`;
function spoken(layer, unit, source) {
  // the same in words
  const end = (l, u) =>
    l === 0 ? inputName(u) : l === nLayers ? outputName(u) : `hidden unit ${u}${nLayers > 2 ? ` of layer ${l}` : ""}`;
  if (source === undefined) return end(layer, unit);
  return source === null
    ? `the bias of ${bias === "shared" ? "all its units" : end(layer, unit)}`
    : `${end(layer - 1, source)} → ${end(layer, unit)}`;
}
const keyOf = ({ layer, unit, source }) =>
  `${source === undefined ? "unit" : "edge"} ${layer} ${unit} ${source === undefined ? "" : source}`;
