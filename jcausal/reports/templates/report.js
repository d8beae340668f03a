"use strict";
(() => {
  const PAGE = 25;
  const find = (id) => document.getElementById(id);
  const make = (name, text, attributes) => {
    const element = document.createElement(name);
    if (text !== undefined && text !== null) element.textContent = text;
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    return element;
  };

  // numbers as the rest of the page has them: thousands set apart, four significant digits or whole
  const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
  const said = (value) => {
    if (value === null || value === undefined) return "";
    if (typeof value !== "number") return String(value);
    if (Number.isInteger(value) || Math.abs(value) >= 1000) return whole.format(value);
    return String(Number(value.toPrecision(4)));
  };
  const cell = (value, first) => {
    const number = typeof value === "number";
    const made = make(first ? "th" : "td", said(value), number ? { class: "number" } : {});
    if (first) made.setAttribute("scope", "row");
    return made;
  };

  const contents = find("contents");
  for (const section of document.querySelectorAll("main > section[id]")) {
    const item = make("li");
    item.append(make("a", section.querySelector("h2").textContent, { href: "#" + section.id }));
    contents.append(item);
  }
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const one of folded) one.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const one of folded) one.open = false;
  });

  const source = find("data-units");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const columns = data.columns;
  const count = columns.length ? columns[0].values.length : 0;
  const value = (column, row) => {
    const held = column.values[row];
    return column.levels && held !== null ? column.levels[held] : held;
  };
  const opens = Boolean(data.units || data.series);
  const groupOf = new Map();
  if (data.groups) data.groups.of.forEach((row, k) => groupOf.set(row, k));

  const state = { order: [...Array(count).keys()], shown: [], page: 0, column: -1, down: false };
  const haystack = new Array(count);
  const words = (row) => {
    if (haystack[row] === undefined) {
      const parts = columns.filter((c) => !c.number).map((c) => value(c, row));
      if (data.units)
        for (const one of data.units.covariates)
          if (one.levels) parts.push(one.levels[one.values[data.unit[row]]]);
      haystack[row] = parts.filter((part) => part !== null).join("\n").toLowerCase();
    }
    return haystack[row];
  };

  const filter = () => {
    const wanted = find("search").value.trim().toLowerCase();
    const [place, level] = (find("arm").value || "").split(":").map(Number);
    state.shown = state.order.filter((row) => {
      if (find("arm").value && columns[place].values[row] !== level) return false;
      return !wanted || words(row).includes(wanted);
    });
    state.page = 0;
    draw();
  };
  const sort = (k) => {
    state.down = state.column === k ? !state.down : false;
    state.column = k;
    const values = columns[k].values.map((_, row) => value(columns[k], row));
    const sign = state.down ? -1 : 1;
    const names = new Intl.Collator("en", { numeric: true });
    state.order.sort((a, b) => {
      const [x, y] = [values[a], values[b]];
      if (x === null || y === null) return (x === null) - (y === null) || a - b;
      const by = typeof x === "number" && typeof y === "number" ? x - y : names.compare(x, y);
      return sign * by || a - b;
    });
    heads();
    filter();
  };
  const heads = () => {
    const row = make("tr");
    columns.forEach((column, k) => {
      const way = state.column !== k ? "none" : state.down ? "descending" : "ascending";
      const head = make("th", null, { scope: "col", "aria-sort": way });
      if (column.number) head.className = "number";
      const button = make("button", column.name, { type: "button", "data-sort": k });
      button.addEventListener("click", () => {
        sort(k);
        find("rows").querySelector(`[data-sort="${k}"]`).focus();
      });
      head.append(button);
      row.append(head);
    });
    find("rows").tHead.replaceChildren(row);
  };
  const draw = () => {
    const pages = Math.max(1, Math.ceil(state.shown.length / PAGE));
    const begin = state.page * PAGE;
    const body = state.shown.slice(begin, begin + PAGE).map((row) => {
      const line = make("tr");
      columns.forEach((column, k) => {
        const held = value(column, row);
        const made = cell(held, k === 0);
        if (column.number) made.className = "number";
        if (!column.number && held) made.title = held;
        if (k === 0 && opens) {
          const button = make("button", said(held), { type: "button", class: "open-unit", "aria-haspopup": "dialog" });
          button.addEventListener("click", () => open(row));
          made.replaceChildren(button);
        }
        line.append(made);
      });
      return line;
    });
    find("rows").tBodies[0].replaceChildren(...body);
    find("count").textContent = `${whole.format(state.shown.length)} of ${whole.format(count)}`;
    find("page").textContent = `page ${whole.format(state.page + 1)} of ${whole.format(pages)}`;
    find("before").disabled = state.page === 0;
    find("after").disabled = state.page + 1 >= pages;
  };

  const table = (head, rows, label) => {
    const box = make("div", null, { class: "scroll", tabindex: "0", role: "region", "aria-label": label });
    const made = make("table");
    const line = make("tr");
    head.forEach((name) => line.append(make("th", name, { scope: "col" })));
    made.createTHead().append(line);
    const body = made.createTBody();
    rows.forEach((row) => body.append(row));
    box.append(made);
    return box;
  };
  const known = (one, unit) => {
    const held = one.values[unit];
    return one.levels ? one.levels[held] : held;
  };
  const groupParts = (row) => {
    const units = data.units;
    const own = data.unit[row];
    const k = groupOf.get(row);
    const listed = k === undefined ? [own] : data.groups.members[k];
    const parts = [];
    if (k !== undefined) {
      const [controls, treated] = data.groups.size[k];
      parts.push(make("p", data.groups.words[k]));
      const shown = listed.length < controls + treated ? `${listed.length} of ${whole.format(controls + treated)} units are listed.` : "";
      if (shown) parts.push(make("p", shown, { class: "small" }));
    } else if (data.groups) {
      const result = columns.find((c) => c.name === "result");
      const why = result ? value(result, row) : "";
      parts.push(make("p", why && why !== "matched" ? `No group: ${why}.` : "Its group is not in this file, which holds some of them only."));
    }
    const head = ["id", "arm", ...(k === undefined ? [] : ["weight"]), ...(units.outcome ? ["outcome"] : []), ...units.covariates.map((one) => one.name)];
    const lines = listed.map((unit, at) => {
      const line = make("tr", null, { class: unit === own ? "own" : "" });
      line.append(cell(units.id[unit], true), cell(units.treated[unit] ? "treated" : "control"));
      if (k !== undefined) line.append(cell(data.groups.weights[k][at]));
      if (units.outcome) line.append(cell(units.outcome[unit]));
      for (const one of units.covariates) line.append(cell(known(one, unit)));
      return line;
    });
    parts.push(table(head, lines, "The unit and its group"));
    return parts;
  };
  const seriesParts = (row) => {
    const held = data.series;
    const lines = held.time.map((time, j) => {
      const line = make("tr", null, { class: held.treated[row][j] ? "own" : "" });
      line.append(cell(time, true));
      for (const name of ["observed", "y0", "effect"]) line.append(cell(held[name][row][j]));
      return line;
    });
    return [
      make("p", "Times with treatment are bold.", { class: "small" }),
      table(["time", "observed", "without treatment", "effect"], lines, "Outcomes over time"),
    ];
  };
  const open = (row) => {
    find("group-title").textContent = `${columns[0].name === "id" ? "Unit " : ""}${said(value(columns[0], row))}`;
    const facts = columns.slice(1).filter((c) => value(c, row) !== null && c.name !== "result");
    const line = facts.map((c) => `${c.name} ${said(value(c, row))}`).join(", ");
    const parts = data.units ? groupParts(row) : seriesParts(row);
    find("group-body").replaceChildren(make("p", line, { class: "small" }), ...parts);
    find("group").showModal();
    find("group").scrollTop = 0;
  };

  const arm = columns.findIndex((c) => c.name === "arm" && c.levels && c.levels.length > 1);
  const filtered = arm >= 0 ? arm : columns.findIndex((c) => c.levels && c.levels.length > 1 && c.levels.length < 12);
  if (filtered >= 0) {
    find("arm").append(make("option", "all", { value: "" }));
    columns[filtered].levels.forEach((level, k) => find("arm").append(make("option", `${columns[filtered].name}: ${level}`, { value: `${filtered}:${k}` })));
    find("arm").hidden = false;
    document.querySelector("label[for=arm]").hidden = false;
  }
  find("search").addEventListener("input", filter);
  find("arm").addEventListener("change", filter);
  find("before").addEventListener("click", () => { state.page -= 1; draw(); });
  find("after").addEventListener("click", () => { state.page += 1; draw(); });
  find("close").addEventListener("click", () => find("group").close());
  find("group").addEventListener("click", (event) => { if (event.target === find("group")) find("group").close(); });
  find("finder").hidden = false;
  heads();
  filter();
})();
