"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("filters");
  const table = document.getElementById("explorer");
  const [headRow, body] = [table.tHead.rows[0], table.tBodies[0]];
  const label = (name) => data.metrics[name].label;
  const missing = (v) => v === null || v === undefined;

  const rows = data.cells.flatMap((cell) =>
    Object.entries(cell.values).map(([metric, [mean, low, high, seeds, note]]) => ({ cell, metric, mean, low, high, seeds, note })));

  function show(value, metric) {
    if (missing(value)) return "–";
    const rate = data.metrics[metric].rate;
    const v = rate ? 100 * value : value;
    return Number(v.toPrecision(3)).toString() + (rate ? "%" : "");
  }
  const half = (r) => (missing(r.low) || missing(r.high) ? null : (r.high - r.low) / 2);

  const columns = [
    { name: "sampler", key: (r) => [...r.cell.rank, r.cell.label], make: samplerCell },
    { name: "NFE", number: true, key: (r) => r.cell.nfe, make: (r) => (r.cell.nfe === r.cell.counted ? `${r.cell.nfe}` : `${r.cell.counted} of ${r.cell.nfe}`) },
    { name: "mean", number: true, value: true, key: (r) => r.mean, make: (r) => show(r.mean, r.metric) },
    { name: "± 95%", number: true, key: half, make: (r) => show(half(r), r.metric) },
    { name: "interval", key: (r) => r.low, make: spark },
    { name: "metric", key: (r) => label(r.metric), make: (r) => label(r.metric) },
    { name: "problem", key: (r) => r.cell.problem, make: (r) => r.cell.problem },
    { name: "seeds", number: true, key: (r) => r.seeds.length, make: (r) => `${r.seeds.length}` },
    { name: "fit s", number: true, key: (r) => r.cell.fit, make: (r) => seconds(r.cell.fit) },
    { name: "sample s", number: true, key: (r) => r.cell.sampling, make: (r) => seconds(r.cell.sampling) },
  ];
  let sorted = { column: 0, down: false };
  let scale = [0, 1];

  const seconds = (v) => (missing(v) ? "–" : v < 0.005 ? "0" : Number(v.toPrecision(3)).toString());

  function element(tag, text, attributes = {}) {
    const made = document.createElement(tag);
    if (text !== null) made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  function samplerCell(r) {
    const open = element("button", null, { type: "button", class: "open", "aria-expanded": "false" });
    const dot = element("span", null, { class: "dot", "aria-hidden": "true" });
    dot.style.background = r.cell.colour;
    open.append(dot, r.cell.label);
    if (r.cell.options && r.cell.main) open.append(element("span", ` ${r.cell.options}`, { class: "options" }));
    return open;
  }

  function spark(r) {
    const strip = element("span", null, { class: "spark", "aria-hidden": "true" });
    const at = (v) => `${100 * Math.min(1, Math.max(0, (v - scale[0]) / (scale[1] - scale[0] || 1)))}%`;
    const part = (name, style) => {
      const made = element("span", null, { class: name });
      Object.assign(made.style, { background: r.cell.colour, ...style });
      strip.append(made);
    };
    if (missing(r.mean)) return strip;
    if (!missing(r.low)) part("range", { left: at(r.low), right: `calc(100% - ${at(r.high)})` });
    part("point", { left: at(r.mean) });
    return strip;
  }

  function detail(r) {
    const line = element("tr", null, { class: "detail" });
    const cell = element("td", null, { colspan: columns.length });
    const inner = element("div", null, { class: "inner" });
    const block = (heading, text) => {
      const part = element("div", null);
      part.append(element("h4", heading), element("pre", text));
      inner.append(part);
    };
    const c = r.cell;
    block("Made by", c.command);
    block(`Seeds: value, key of the record`, c.seeds.map((seed, i) => `${seed}  ${show(r.seeds[i], r.metric)}  ${c.keys[i]}`).join("\n"));
    if (r.note) block("How it was measured", r.note);
    block("Configuration", JSON.stringify(c.config, null, 1));
    if (Object.keys(c.info).length) block("What the fit found", JSON.stringify(c.info, null, 1));
    block("Environment", JSON.stringify(data.environments[c.environment], null, 1));
    cell.append(inner);
    line.append(cell);
    return line;
  }

  function toggle(line, r) {
    const button = line.querySelector(".open");
    const isOpen = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!isOpen));
    if (isOpen) line.nextElementSibling.remove();
    else line.after(detail(r));
  }

  const compare = (a, b) => {
    if (Array.isArray(a)) {
      for (let i = 0; i < a.length; i++) if (compare(a[i], b[i])) return compare(a[i], b[i]);
      return 0;
    }
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    return typeof a === "number" ? a - b : String(a).localeCompare(String(b));
  };

  function chosen() {
    const { problem, metric, nfe, sampler } = Object.fromEntries(new FormData(form));
    const part = sampler.trim().toLowerCase();
    return rows.filter((r) =>
      (!problem || r.cell.problem === problem) && (!metric || r.metric === metric) &&
      (!nfe || String(r.cell.nfe) === nfe || r.cell.nfe === 0) &&
      (!part || `${r.cell.label} ${r.cell.options} ${r.cell.family}`.toLowerCase().includes(part)));
  }

  function render() {
    const shown = chosen();
    const { key } = columns[sorted.column];
    shown.sort((a, b) => {
      const order = compare(key(a), key(b));
      if (order && !missing(key(a)) && !missing(key(b))) return sorted.down ? -order : order;
      return order || a.cell.nfe - b.cell.nfe;
    });
    const ends = shown.flatMap((r) => [r.mean, r.low, r.high]).filter((v) => !missing(v));
    const metrics = new Set(shown.map((r) => r.metric));
    scale = metrics.size === 1 && ends.length ? [Math.min(...ends), Math.max(...ends)] : [0, 1];
    body.replaceChildren(...shown.map((r) => {
      const line = element("tr", null, { class: "row" });
      for (const column of columns) {
        const cell = element("td", null, { class: `${column.number ? "number" : ""} ${column.value ? "value" : ""}`.trim() });
        cell.append(column.name === "interval" && metrics.size > 1 ? "" : column.make(r));
        line.append(cell);
      }
      line.addEventListener("click", (event) => { if (!getSelection().toString()) toggle(line, r); });
      return line;
    }));
    for (const [i, th] of [...headRow.cells].entries()) {
      th.setAttribute("aria-sort", i !== sorted.column ? "none" : sorted.down ? "descending" : "ascending");
    }
    const only = metrics.size === 1 ? data.metrics[[...metrics][0]] : null;
    const way = { lower: " Lower is better.", higher: " Higher is better." }[only?.better] ?? " Read it beside held-out examples.";
    document.getElementById("meaning").textContent = only && only.meaning ? `${only.label}: ${only.meaning}.${way}` : "";
    document.getElementById("count").textContent = `${shown.length} of ${rows.length} rows`;
  }

  function fill(name, options, all, start) {
    const select = form.elements[name];
    if (all) select.append(new Option(all, ""));
    for (const [value, text] of options) select.append(new Option(text, value, value === start, value === start));
  }

  const unique = (values) => [...new Set(values)];
  const problems = unique(rows.map((r) => r.cell.problem));
  const metrics = Object.keys(data.metrics);
  const budgets = unique(rows.map((r) => r.cell.nfe)).filter((n) => n > 0).sort((a, b) => a - b);
  const quality = (problem) => data.quality[problem] ?? metrics[0];
  fill("problem", problems.map((p) => [p, p]), "all", problems[0]);
  fill("metric", metrics.map((m) => [m, label(m)]), "all", quality(problems[0]));
  fill("nfe", budgets.map((n) => [String(n), String(n)]), "all", budgets.includes(10) ? "10" : "");
  columns.forEach((column, i) => {
    const th = element("th", null, { scope: "col", class: column.number ? "number" : "" });
    const button = element("button", column.name, { type: "button" });
    button.addEventListener("click", () => {
      sorted = { column: i, down: sorted.column === i ? !sorted.down : false };
      render();
    });
    th.append(button);
    headRow.append(th);
  });
  form.addEventListener("input", () => {
    const { problem, metric } = form.elements;
    const measured = rows.some((r) => r.metric === metric.value && r.cell.problem === problem.value);
    if (problem.value && metric.value && !measured) metric.value = quality(problem.value);
    render();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(render));
  form.hidden = table.hidden = false;
  render();
})();
