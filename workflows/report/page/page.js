"use strict";
// Draws the charts, fills the table, shows a row's details. All text goes in by textContent: what a run wrote is never markup.
const DATA = JSON.parse(document.getElementById("data").textContent);
const make = (tag, text, attributes = {}) => {
  const node = document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
};
const shown = (value) => {
  if (value === null || value === undefined) return "–";
  return typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(4))) : String(value);
};

// Charts. Plotly reads markup in whatever text it gets: all of it goes in escaped, and what stands at an axis short.
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const escaped = (value, key) => {
  if (typeof value === "string") return key === "hovertemplate" ? value : value.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  if (Array.isArray(value)) return value.map((one) => escaped(one, key));
  return value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([name, one]) => [name, escaped(one, name)])) : value;
};
const cut = (text, most) => (text.length > most ? text.slice(0, most / 2) + "…" + text.slice(1 - most / 2) : text); // ends tell names apart
const short = (text) => (text.trim() && !isNaN(text) ? shown(Number(text)) : cut(text, 16));
const themed = ({ data, layout }) => {
  const lines = { gridcolor: color("--line"), zerolinecolor: color("--line"), linecolor: color("--line"), automargin: true, exponentformat: "e", minexponent: 6 };
  const axis = (one = {}) => ({ ...lines, ...one, ...(one.categoryarray ? { tickvals: one.categoryarray, ticktext: one.categoryarray.map(short) } : {}) });
  const parallel = (trace) => ({
    ...trace,
    dimensions: trace.dimensions.map((one) => ({ ...one, label: escaped(one.label), ticktext: one.ticktext.map(short) })), // no markup in these
    line: { ...trace.line, colorscale: ["--low", "--middle", "--high"].map((name, i) => [i / 2, color(name)]) },
    tickfont: { size: 11, shadow: Array(4).fill(`0 0 2px ${color("--paper")}`).join() },
  });
  return {
    data: data.map((trace) => (trace.dimensions ? parallel(trace) : escaped({ ...trace, name: cut(trace.name || "", 40) }))),
    layout: escaped({
      ...layout, xaxis: axis(layout.xaxis), yaxis: axis(layout.yaxis), paper_bgcolor: color("--paper"), plot_bgcolor: color("--paper"),
      font: { color: color("--ink"), size: 12, family: "system-ui, sans-serif" }, dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      margin: { ...layout.margin, r: Math.max(layout.margin.r, 26) }, // half of 100,000 stands beyond the axis
      shapes: (layout.shapes || []).map((shape) => ({ ...shape, line: { color: color("--ink"), width: 1, dash: "dash" } })),
    }),
  };
};
const named = ({ data, layout: { xaxis, yaxis } }) => // for who hears the page: the numbers are in the table
  data[0].dimensions ? data[0].dimensions.map(({ label }) => label).join(", ") : [yaxis, xaxis].map(({ title }) => title.text).filter(Boolean).join(" over ");
const panels = []; // all have their places before the first is drawn: Plotly measures them once
for (const holder of document.querySelectorAll("[data-chart]")) {
  for (const panel of DATA.charts[holder.dataset.chart]) {
    const wide = panel.min_width ? { class: "parallel", tabindex: 0 } : {};
    const target = make("div", null, { "aria-hidden": true, style: `min-height: ${panel.layout.height}px; min-width: ${panel.min_width || 0}px` });
    holder.appendChild(make("div", null, { role: "img", "aria-label": named(panel), ...wide })).append(target);
    panels.push({ panel, target });
  }
}
const draw = () => {
  for (const { panel, target } of panels) {
    const { data, layout } = themed(panel);
    const first = !target.on;
    Plotly.react(target, data, layout, { responsive: true, displaylogo: false, displayModeBar: false });
    if (first) {
      target.on("plotly_click", ({ points: [{ curveNumber, pointNumber }] }) => showDetail((panel.data[curveNumber].customdata || [])[pointNumber]));
    }
  }
  document.getElementById("js-plotly-tester")?.setAttribute("aria-hidden", "true"); // where Plotly measures text
};

// Details of a row
const byId = new Map(DATA.rows.map((row) => [row.id, row]));
const pictures = (list) => list.map(({ caption, src, large }) => {
  const figure = make("figure");
  figure.append(make("img", null, { src, alt: caption, ...(large ? { class: "large" } : {}) }), make("figcaption", caption));
  return figure;
});
const definitions = (pairs) => {
  const list = make("dl");
  for (const [name, value] of pairs) list.append(make("dt", name), make("dd", shown(value)));
  return list;
};
const showDetail = (id) => {
  const row = byId.get(id);
  if (!row) return;
  document.getElementById("detail-title").textContent = `${row.id}: ${row.role}`;
  const body = document.getElementById("detail-body");
  body.replaceChildren();
  if (row.error) body.append(make("p", row.error, { class: "error" }));
  const grids = make("div", null, { class: "pictures" });
  grids.append(...pictures(row.pictures));
  if (row.note) body.append(make("p", row.note));
  body.append(grids);
  for (const [title, pairs] of row.details) body.append(make("h3", title), definitions(pairs));
  document.getElementById("detail").showModal();
};
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-trial]");
  if (button) showDetail(button.dataset.trial);
});
for (const button of document.querySelectorAll("[data-trial]")) {
  if (!byId.has(button.dataset.trial)) button.replaceWith(button.textContent); // of more trials than the table holds
}
for (const holder of document.querySelectorAll("[data-pictures]")) {
  holder.append(...pictures((byId.get(holder.dataset.pictures) || { pictures: [] }).pictures));
}

// The table: sorted by a click on a column's name, filtered by any text
let sorted = { column: -1, down: false };
const number = (cell) => (cell === "inf" ? Infinity : cell === "-inf" ? -Infinity : cell); // which JSON has no word for
const kinds = DATA.columns.map((_, i) => (DATA.rows.every(({ cells }) => cells[i] === null || typeof number(cells[i]) === "number") ? {} : { class: "text" }));
const heads = DATA.columns.map((name, i) => {
  const head = make("th", null, { scope: "col", ...kinds[i] });
  const button = head.appendChild(make("button", name, { type: "button" }));
  button.addEventListener("click", () => {
    sorted = { column: i, down: sorted.column === i && !sorted.down };
    fill();
  });
  return head;
});
document.querySelector("#rows thead").appendChild(make("tr")).append(...heads);
const compare = (a, b) => {
  if (a === null || b === null) return a === b ? 0 : a === null ? 2 : -2; // what is missing stays at the end
  const [x, y] = [number(a), number(b)];
  return typeof x === "number" && typeof y === "number" ? (x > y) - (x < y) : Math.sign(String(a).localeCompare(String(b), "en", { numeric: true }));
};
const fill = () => {
  const text = document.getElementById("filter").value.trim().toLowerCase();
  const rows = DATA.rows.filter((row) => row.cells.some((cell) => shown(cell).toLowerCase().includes(text)));
  if (sorted.column >= 0) {
    rows.sort((a, b) => {
      const order = compare(a.cells[sorted.column], b.cells[sorted.column]);
      return Math.abs(order) === 2 || !sorted.down ? order : -order;
    });
  }
  heads.forEach((head, i) => {
    if (i === sorted.column) head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
  document.querySelector("#rows tbody").replaceChildren(...rows.map((row) => {
    const line = make("tr");
    row.cells.forEach((cell, i) => {
      const td = line.appendChild(make("td", null, kinds[i]));
      if (i === 0) td.append(make("button", cell, { type: "button", class: "link", "data-trial": row.id }));
      else td.textContent = shown(cell);
    });
    return line;
  }));
  document.getElementById("shown").textContent = `${rows.length} of ${DATA.rows.length}`;
};
document.getElementById("filter").addEventListener("input", fill);

fill();
draw();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
