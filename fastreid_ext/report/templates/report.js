"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const root = document.documentElement;

  // ---- pictures: each is in the page once, and shown wherever it stands ------------------------------------------
  const showPictures = (element) => {
    for (const image of all("img[data-picture]", element)) {
      image.src = data.thumbnails[Number(image.dataset.picture)];
      delete image.dataset.picture;
    }
  };

  // ---- charts ------------------------------------------------------------------------------------------------------
  const byKey = new Map(data.charts.map((chart) => [chart.key, chart]));
  const coarse = matchMedia("(pointer: coarse)").matches;

  const draw = (element) => {
    const chart = byKey.get(element.dataset.chart);
    const style = getComputedStyle(root);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const [ink, line, card] = [colour("ink"), colour("line"), colour("card")];
    const axis = { gridcolor: line, linecolor: line, zerolinecolor: line, automargin: true };
    const traces = chart.traces.map((trace) => {
      const own = colour(`c${trace.meta.colour % 8}`);
      if (trace.type === "bar") return { ...trace, marker: { ...trace.marker, color: own } };
      const fill = trace.fill ? { fillcolor: transparent(own) } : {};
      return { ...trace, ...fill, line: { ...trace.line, color: own }, marker: { ...trace.marker, color: own } };
    });
    const layout = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink, size: 12, family: "system-ui, sans-serif" },
      margin: { l: 50, r: 12, t: 8, b: 40 },
      hovermode: "closest", hoverlabel: { bgcolor: card, bordercolor: line, font: { color: ink }, namelength: 40 },
      dragmode: coarse ? false : "zoom", barmode: "group",
      showlegend: traces.length > 1,
      scattermode: chart.x.type === "category" ? "group" : "overlay", scattergap: 0.6,
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 11 } },
      xaxis: { ...axis, ...chart.x }, yaxis: { ...axis, ...chart.y },
    };
    Plotly.react(element, traces, layout, { displayModeBar: false, responsive: true });
  };

  const transparent = (hex) => {
    const [red, green, blue] = [1, 3, 5].map((place) => parseInt(hex.slice(place, place + 2), 16));
    return `rgba(${red},${green},${blue},0.22)`;
  };

  const isShown = (element) => element.offsetParent !== null;
  const drawShown = () => all(".chart").filter(isShown).forEach(draw);

  for (const choices of all("[data-choices]")) {
    const select = document.querySelector(`[data-chooser="${choices.dataset.choices}"]`);
    if (!select) continue;
    const choose = () => {
      for (const figure of all("[data-choice]", choices)) figure.hidden = figure.dataset.choice !== select.value;
      drawShown();
    };
    select.addEventListener("change", choose);
    for (const figure of all("[data-choice]", choices)) figure.hidden = figure.dataset.choice !== select.value;
  }

  // ---- light and dark ----------------------------------------------------------------------------------------------
  const button = document.getElementById("theme");
  const themes = ["system", "light", "dark"];
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme || "system") + 1) % themes.length];
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    button.textContent = `Colours: ${next}`;
    button.setAttribute("aria-label", `Colours: ${next === "system" ? "as the system has them" : next}`);
    drawShown();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawShown);

  // ---- tables ------------------------------------------------------------------------------------------------------
  const compare = (first, second) => {
    const [a, b] = [first.dataset.order, second.dataset.order];
    if ((a === "") !== (b === "")) return null; // what is not known stays at the end
    const numbers = [Number(a), Number(b)];
    return numbers.some(Number.isNaN) ? a.localeCompare(b) : numbers[0] - numbers[1];
  };

  for (const table of all("table.sortable")) {
    const heads = all("thead th", table);
    heads.forEach((head, column) => {
      const sort = head.querySelector("button");
      if (!sort) return;
      sort.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort");
        const descending = before ? before === "ascending" : head.classList.contains("number");
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        const rows = all("tbody tr", table);
        rows.sort((first, second) => {
          const [a, b] = [first.children[column], second.children[column]];
          const order = compare(a, b);
          if (order === null) return a.dataset.order === "" ? 1 : -1;
          return descending ? -order : order;
        });
        table.tBodies[0].append(...rows);
      });
    });
  }

  for (const input of all("[data-filter]")) {
    const rows = all(`#table-${CSS.escape(input.dataset.filter)} tbody tr`);
    const count = document.querySelector(`[data-count="${CSS.escape(input.dataset.filter)}"]`);
    const filter = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += row.hidden ? 0 : 1;
      }
      count.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
    };
    input.addEventListener("input", filter);
  }

  // ---- hardest queries ---------------------------------------------------------------------------------------------
  const form = document.getElementById("query-filters");
  if (form) {
    const list = document.getElementById("query-list");
    const more = document.getElementById("more-queries");
    const queries = all(".query", list);
    const page = 10;
    let limit = page;
    const orders = {
      ap: (a, b) => a.dataset.ap - b.dataset.ap,
      first: (a, b) => b.dataset.first - a.dataset.first,
      file: (a, b) => a.dataset.file.localeCompare(b.dataset.file),
    };
    const update = () => {
      const { run, set, order, words, wrong } = form.elements;
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      const found = queries.filter((query) => {
        const about = query.dataset;
        const text = about.words.toLowerCase();
        return (run.value === "" || run.value === about.run) && (set.value === "" || set.value === about.set)
          && (!wrong.checked || about.wrong === "1") && wanted.every((word) => text.includes(word));
      });
      found.sort(orders[order.value]);
      const shown = new Set(found.slice(0, limit));
      for (const query of queries) query.hidden = !shown.has(query);
      shown.forEach((query) => { list.append(query); showPictures(query); });
      more.hidden = found.length <= limit;
      document.getElementById("query-count").textContent = `${shown.size} of ${found.length} queries`;
    };
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => { limit = page; update(); });
    more.addEventListener("click", () => {
      limit += page;
      update();
    });
    update();
  }

  drawShown();
  root.dataset.ready = "1";
})();
