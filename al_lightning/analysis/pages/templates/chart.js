// Draws each figure.chart from the JSON in it: values under the pointer, lines that can be hidden, single seeds. It needs nothing else.
"use strict";
const NS = "http://www.w3.org/2000/svg";
const EDGE = { left: 48, right: 12, top: 10, bottom: 40 };

function make(parent, tag, attributes, text) {
  const node = tag === "button" || tag === "div" ? document.createElement(tag) : document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return parent.appendChild(node);
}

// Round numbers that cover a range.
function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(factor => factor * power).find(size => size >= rough);
  const found = [];
  for (let tick = Math.ceil(low / step); tick * step <= high; tick++) found.push(Number((tick * step).toPrecision(12)));
  return found;
}

function Chart(figure) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const hidden = new Set();
  let seeds = false;
  figure.hidden = false;
  const drawing = make(figure, "svg", { role: "img", "aria-label": data.ylabel });
  const told = make(figure, "div", { class: "told", hidden: "" });
  const names = make(figure, "div", { class: "names" });
  figure.append(figure.querySelector("figcaption"));

  function button(text, attributes, pressed, change) {
    const made = make(names, "button", { type: "button", "aria-pressed": pressed, ...attributes }, text);
    made.onclick = () => {
      made.setAttribute("aria-pressed", change());
      draw();
    };
  }
  data.lines.forEach((line, place) => {
    button(line.name, { class: "line", style: `border-left: 4px solid ${line.color}` }, true, () => !(hidden.delete(place) ? false : hidden.add(place)));
  });
  button("single seeds", { class: "seeds" }, false, () => (seeds = !seeds));

  const shown = () => data.lines.filter((_, place) => !hidden.has(place));
  let x, y;

  function path(xs, ys, attributes) {
    let d = "", pen = "M";
    ys.forEach((value, place) => {
      if (value === null) return void (pen = "M");
      d += `${pen}${x(xs[place]).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
    });
    make(drawing, "path", { fill: "none", d, ...attributes });
  }

  function axes(width, height, xs, low, high) {
    for (const tick of ticks(low, high, 5)) {
      make(drawing, "path", { class: "axis", d: `M${EDGE.left} ${y(tick)}H${width - EDGE.right}` });
      make(drawing, "text", { x: EDGE.left - 6, y: y(tick) + 4, "text-anchor": "end" }, tick);
    }
    for (const tick of ticks(xs[0], xs[1], width < 500 ? 4 : 8)) {
      make(drawing, "text", { x: x(tick), y: height - EDGE.bottom + 16, "text-anchor": "middle" }, tick.toLocaleString("en"));
    }
    make(drawing, "text", { x: width / 2, y: height - 6, "text-anchor": "middle" }, `${data.xlabel}; upwards: ${data.ylabel}`);
  }

  function draw() {
    const width = figure.clientWidth || 400, height = Math.max(260, Math.min(420, width * 0.6));
    drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    drawing.replaceChildren();
    told.hidden = true;
    const lines = shown(), values = lines.flatMap(line => [...line.mean, ...(seeds ? Object.values(line.seeds).flat() : [])]);
    const known = values.filter(value => value !== null);
    if (!known.length) return;
    const xs = [Math.min(...lines.flatMap(line => line.x)), Math.max(...lines.flatMap(line => line.x))];
    const room = 0.08 * (Math.max(...known) - Math.min(...known)) || 1;
    const low = Math.min(...known) - room, high = Math.max(...known) + room;
    x = value => EDGE.left + (width - EDGE.left - EDGE.right) * (xs[1] > xs[0] ? (value - xs[0]) / (xs[1] - xs[0]) : 0.5);
    y = value => height - EDGE.bottom - (height - EDGE.bottom - EDGE.top) * (value - low) / (high - low);
    axes(width, height, xs, low, high);
    for (const line of lines) {
      if (seeds) {
        for (const [seed, its] of Object.entries(line.seeds)) {
          path(line.x, its, { stroke: line.color, "stroke-width": 0.8, opacity: 0.5, "data-seed": seed });
        }
      }
      path(line.x, line.mean, { stroke: line.color, "stroke-width": 2, "stroke-dasharray": line.dashed ? "6 4" : "none", "data-line": line.name });
    }
  }

  function tell(event) {
    const box = drawing.getBoundingClientRect(), lines = shown();
    if (!lines.length || !x) return;
    const at = event.clientX - box.left, all = [...new Set(lines.flatMap(line => line.x))];
    const nearest = all.reduce((best, each) => Math.abs(x(each) - at) < Math.abs(x(best) - at) ? each : best);
    const rows = lines.map(line => [line, line.x.indexOf(nearest)]).filter(([line, place]) => place >= 0 && line.mean[place] !== null);
    rows.sort(([a, i], [b, j]) => b.mean[j] - a.mean[i]);
    const written = rows.map(([line, place]) => {
      const band = line.low[place] === null ? "" : `  [${line.low[place].toFixed(2)}, ${line.high[place].toFixed(2)}]`;
      return `${line.name}: ${line.mean[place].toFixed(2)}${band}`;
    });
    told.textContent = [`${nearest.toLocaleString("en")} ${data.xlabel}`, ...written].join("\n");
    told.hidden = false;
    told.style.left = `${Math.max(0, Math.min(at + 12, box.width - told.offsetWidth))}px`;
  }
  drawing.onpointermove = drawing.onpointerdown = tell;
  drawing.onpointerleave = () => (told.hidden = true);
  addEventListener("resize", draw);
  draw();
}
document.querySelectorAll("figure.chart").forEach(Chart);
