// The network: all of it up to a few hundred units, else a window of each large layer around what is chosen.
const WHOLE = 400,
  WINDOW = 12,
  ROWS_HIGH = 32,
  DRAWN = 300;
const whole = sum(widths) <= WHOLE;
function unitsShown(layer) {
  const width = widths[layer];
  if (whole || width <= 2 * WINDOW) return Array.from({ length: width }, (_, k) => k + 1);
  let middle = 1;
  if (state.chosen && state.chosen.layer === layer) middle = state.chosen.unit;
  if (state.chosen && state.chosen.layer === layer + 1 && state.chosen.source) middle = state.chosen.source;
  const first = Math.max(1, Math.min(width - WINDOW + 1, middle - WINDOW / 2));
  return Array.from({ length: WINDOW }, (_, k) => first + k);
}
const small = Math.max(...widths.map((width) => (whole ? width : width <= 2 * WINDOW ? width : WINDOW))) > WINDOW;

function stages() {
  // the forward pass, the loss, the backward pass, the update
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
  if (pass === "forward")
    return `Forward, layer ${layer}: net = Σ O·w${bias ? " + b" : ""}, then O = ${data.network.activations[layer - 1]}(net), ${row}.`;
  if (pass === "loss") return `The loss compares the outputs with the targets: ${shown(frame().value)} over all rows.`;
  if (pass === "backward" && layer === nLayers) return `Backward, output layer: δ = ∂E/∂O · ∂O/∂net, ${row}.`;
  if (pass === "backward") return `Backward, layer ${layer}: δ = (Σ δ·w over layer ${layer + 1}) · ∂O/∂net, ${row}.`;
  if (data.optimizer.name !== "sgd")
    return `The update: ${data.optimizer.name} moves every weight by its rule, with learning rate ${shown(frame().learning_rate)}.`;
  return `The update: every weight moves by learning rate ${shown(frame().learning_rate)} times its gradient, against it.`;
}
function sees(pass, layer) {
  if (state.stage === null) return true;
  return stages().findIndex((each) => each.pass === pass && each.layer === layer) <= state.stage;
}

// Where the units stand: a column a layer; where layers are large, small circles in as many columns as it takes.
function placed(units, svg) {
  const wide = room(svg);
  if (!small) {
    const most = Math.max(...units.map((each) => each.length)),
      high = Math.max(190, (most < 5 ? 90 : 64) * most + 30),
      gap = wide / widths.length;
    return {
      wide,
      high,
      r: 18,
      x: (layer) => gap * (layer + 0.5),
      y: (layer, k) => (high - 24) * ((k + 0.5) / units[layer].length) + 4,
    };
  }
  const pitch = 16,
    columns = units.map((each) => Math.ceil(each.length / ROWS_HIGH)),
    room_ = Math.max(wide, sum(columns) * pitch + 60 * widths.length);
  const tall = Math.min(ROWS_HIGH, Math.max(...units.map((each) => each.length))),
    high = tall * pitch + 40,
    gap = (room_ - sum(columns) * pitch) / widths.length;
  const left = (layer) => gap * (layer + 0.5) + pitch * sum(columns.slice(0, layer));
  const rowsOf = (layer) => Math.min(ROWS_HIGH, units[layer].length);
  return {
    wide: room_,
    high,
    r: 6,
    x: (layer, k) => left(layer) + pitch * (Math.floor((k || 0) / ROWS_HIGH) + 0.5),
    columns,
    y: (layer, k) => 10 + ((tall * pitch) / rowsOf(layer)) * ((k % ROWS_HIGH) + 0.5),
    middle: (layer) => left(layer) + (pitch * columns[layer]) / 2,
  };
}
function drawNetwork() {
  const svg = at("network"),
    focused = document.activeElement && document.activeElement.dataset.key;
  const units = widths.map((_, layer) => unitsShown(layer)),
    where = placed(units, svg);
  svg.setAttribute("viewBox", `0 0 ${where.wide} ${where.high}`);
  const strength = at("colour").value === "gradient" ? gradient : weight;
  svg.replaceChildren(
    ...(small ? manyEdges(units, where, strength) : fewEdges(units, where, strength)),
    ...circles(units, where),
  );
  widths.forEach((width, layer) =>
    svg.append(
      make(
        "text",
        { x: small ? where.middle(layer) : where.x(layer), y: where.high - 4, class: "small" },
        (layer === 0 ? "inputs" : layer === nLayers ? "outputs" : `layer ${layer}`) +
          (units[layer].length < width ? ` (${units[layer].length} of ${width})` : ""),
      ),
    ),
  );
  if (focused) {
    const again = svg.querySelector(`[data-key="${focused}"]`);
    if (again) again.focus();
  }
  at("stagetext").textContent = stageText();
  at("back").disabled = !state.stage;
  at("onward").textContent = state.stage === null ? "Forward and backward pass, one by one ▶" : "Next ▶";
  at("onward").disabled = state.stage === stages().length - 1;
  at("whole").disabled = state.stage === null;
}
function edge(place, d, width, value, hit = 20) {
  const { layer, unit, source } = place;
  return choosable(
    place,
    "edge",
    `${named(layer, unit, source)}: ${source === null ? "" : "weight "}${shown(weight(layer, unit, source))}, gradient ${shown(gradient(layer, unit, source))}`,
    make("path", { class: "hit", d, "stroke-width": hit }),
    make("path", {
      class: "seen",
      d,
      stroke: colour(value),
      "stroke-width": width,
      opacity: 0.85,
      "pointer-events": "none",
    }),
  );
}
function fewEdges(units, { x, y }, strength) {
  const edges = [];
  let largest = 1e-300;
  for (let layer = 1; layer <= nLayers; layer++)
    for (const unit of units[layer])
      for (const source of units[layer - 1]) largest = Math.max(largest, Math.abs(strength(layer, unit, source)));
  const width = (value) => 0.6 + 5 * Math.min(1, Math.abs(value) / largest);
  for (let layer = 1; layer <= nLayers; layer++)
    units[layer].forEach((unit, j) => {
      units[layer - 1].forEach((source, i) => {
        const value = strength(layer, unit, source);
        edges.push(
          edge(
            { layer, unit, source },
            `M${x(layer - 1) + 19} ${y(layer - 1, i)} L${x(layer) - 19} ${y(layer, j)}`,
            width(value),
            value,
          ),
        );
      });
      if (bias && (bias !== "shared" || unit === 1)) {
        const value = strength(layer, unit, null);
        edges.push(
          edge(
            { layer, unit, source: null },
            `M${x(layer) - 18} ${y(layer, j) - 36} L${x(layer) - 5} ${y(layer, j) - 17}`,
            width(value),
            value,
          ),
        );
      }
    });
  return edges;
}
// The strongest weights as a few long paths, and over them those of the chosen unit, which can be chosen in turn.
function manyEdges(units, { x, y, r }, strength) {
  const drawn = [],
    line = (layer, i, j) =>
      `M${x(layer - 1, i) + r} ${y(layer - 1, i).toFixed(1)}L${x(layer, j) - r} ${y(layer, j).toFixed(1)}`;
  let most = 0,
    largest = 1e-300;
  for (let layer = 1; layer <= nLayers; layer++) {
    const of = [];
    units[layer].forEach((unit, j) =>
      units[layer - 1].forEach((source, i) => of.push([strength(layer, unit, source), layer, i, j])),
    );
    of.sort((a, b) => Math.abs(b[0]) - Math.abs(a[0]));
    most = Math.max(most, of.length);
    largest = Math.max(largest, Math.abs(of[0][0]));
    drawn.push(...of.slice(0, DRAWN));
  }
  const paths = {};
  for (const [value, layer, i, j] of drawn) {
    const share = Math.abs(value) / largest,
      width = share > 0.5 ? 2 : share > 0.2 ? 1 : 0.4,
      key = `${colour(value)} ${width}`;
    (paths[key] = paths[key] || []).push(line(layer, i, j));
  }
  const edges = Object.entries(paths).map(([key, d]) =>
    make("path", { class: "many", d: d.join(""), stroke: key.split(" ")[0], "stroke-width": key.split(" ")[1] }),
  );
  at("drawn").textContent =
    `${most > DRAWN ? `Of each layer the ${DRAWN} largest weights are drawn, and all of the chosen unit. ` : ""}The lines of the chosen unit can be chosen in turn.`;
  const { layer, unit, source } = state.chosen,
    ends = (l, u, s) => [units[l - 1].indexOf(s), units[l].indexOf(u)];
  const of =
    source === undefined
      ? [
          ...(layer ? units[layer - 1].map((from) => [layer, unit, from]) : []),
          ...(layer < nLayers ? units[layer + 1].map((to) => [layer + 1, to, unit]) : []),
        ]
      : source === null
        ? []
        : [[layer, unit, source]];
  for (const [l, u, s] of of) {
    const value = strength(l, u, s);
    edges.push(
      edge(
        { layer: l, unit: u, source: s },
        line(l, ...ends(l, u, s)),
        0.6 + (3 * Math.abs(value)) / largest,
        value,
        6,
      ),
    );
  }
  return edges;
}
function circles(units, { x, y, r }) {
  const nodes = [],
    gradients = at("colour").value === "gradient";
  widths.forEach((_, layer) =>
    units[layer].forEach((unit, k) => {
      const lit = layer === 0 || sees("forward", layer),
        back = layer > 0 && sees("backward", layer);
      const value = output(layer, unit),
        of = gradients && layer ? (back ? delta(layer, unit) : 0) : lit ? value : 0;
      const scale = Math.max(
        1e-300,
        ...units[layer].map((each) => Math.abs(gradients && layer ? delta(layer, each) : output(layer, each))),
        gradients && layer ? 0 : 1,
      );
      const label = layer
        ? `${named(layer, unit)}: output ${shown(value)}, delta ${shown(delta(layer, unit))}`
        : `input ${unit}: ${shown(value)}`;
      const texts = [];
      if (!small) {
        texts.push(
          make(
            "text",
            { x: x(layer), y: y(layer, k) + 4 },
            gradients && layer ? (back ? short(delta(layer, unit)) : "·") : lit ? short(value) : "·",
          ),
        );
        if (back && !gradients)
          texts.push(
            make(
              "text",
              { x: x(layer), y: y(layer, k) + 32, class: "small" },
              `δ ${delta(layer, unit).toPrecision(2)}`,
            ),
          );
      }
      nodes.push(
        choosable(
          { layer, unit },
          "unit",
          label,
          make("circle", { cx: x(layer, k), cy: y(layer, k), r, fill: "var(--paper)" }),
          make("circle", {
            cx: x(layer, k),
            cy: y(layer, k),
            r,
            fill: colour(of),
            "fill-opacity": 0.08 + (small ? 0.8 : 0.4) * Math.min(1, Math.abs(of) / scale),
            stroke: "none",
          }),
          ...texts,
        ),
      );
    }),
  );
  return nodes;
}
function walkUnits(event, { layer, unit }) {
  const by = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
  if (!by) return;
  event.preventDefault();
  event.stopPropagation();
  const to = Math.max(0, Math.min(nLayers, layer + by[0]));
  choose({ layer: to, unit: Math.max(1, Math.min(widths[to], unit + by[1])) });
  at("network").querySelector(`[data-key="${state.chosen.key}"]`).focus();
}
function choosable(place, kind, label, ...shapes) {
  const key = keyOf(place),
    now = state.chosen && key === state.chosen.key;
  // Of many units one is met by Tab, and the arrows go on from it.
  const tab =
    !small || (kind === "unit" && place.layer === state.chosen.layer && place.unit === state.chosen.unit) ? 0 : -1;
  const element = make(
    "g",
    {
      class: kind + (now ? " chosen" : ""),
      tabindex: tab,
      role: "button",
      "aria-label": label,
      "aria-pressed": Boolean(now),
      "data-key": key,
    },
    make("title", {}, label),
    ...shapes,
  );
  element.addEventListener("click", () => choose(place));
  element.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      event.stopPropagation();
      choose(place);
    }
    if (small && kind === "unit") walkUnits(event, place);
  });
  return element;
}
