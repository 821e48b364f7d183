"use strict";
(() => {
  document.documentElement.classList.add("scripted");
  const data = JSON.parse(document.getElementById("data").textContent);
  const names = data.names;
  const ordered = data.order.map((t) => names[t]);

  // names under the pointer
  const tip = document.getElementById("tip");
  const show = (text, event) => {
    tip.textContent = text;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8)) + "px";
    tip.style.top = (event.clientY + 18 + height > innerHeight ? event.clientY - height - 10 : event.clientY + 18) + "px";
  };
  document.addEventListener("pointermove", (event) => {
    const on = event.target.closest ? event.target.closest("[data-tip]") : null;
    if (on) show(on.dataset.tip, event);
    else if (!event.target.closest || !event.target.closest(".canvas img, .memberships img")) tip.hidden = true;
  });

  // files
  const save = (name, type, text) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const cell = (text) => (/[",\n\r]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text);
  const csv = (table) => {
    const rows = [...table.tHead.rows, ...table.tBodies[0].rows].filter((row) => !row.hidden);
    const place = new Map([...table.tBodies[0].rows].map((row) => [row, +row.dataset.place]));
    return rows.map((row) => [...row.cells].flatMap((td, column) => {
      if (row.parentNode === table.tHead) {
        const title = td.textContent.trim();
        return td.dataset.interval ? [cell(title), cell(title + " ±")] : [cell(title)];
      }
      if (column === 0) return [cell(data.groups.tasks[data.order[place.get(row)]])];  // as it is
      if (!table.tHead.rows[0].cells[column].dataset.interval) return [cell(td.textContent.trim())];
      const [value, margin] = td.textContent.split("±");
      return [value.trim(), (margin || "").trim()];
    }).join(",")).join("\r\n") + "\r\n";
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.save) save("groups.json", "application/json", JSON.stringify(data.groups, null, 1));
    if (button.dataset.csv) save("results.csv", "text/csv", csv(document.getElementById(button.dataset.csv)));
    if (button.dataset.copy) {
      const text = document.getElementById(button.dataset.copy).textContent;
      const done = () => { button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy"; }, 1500); };
      if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, () => getSelection().selectAllChildren(document.getElementById(button.dataset.copy)));
    }
    if (button.dataset.zoom) zoom(button.closest(".matrix"), +button.dataset.zoom);
  });

  // the table of tasks
  const table = document.getElementById("task-table");
  const body = table.tBodies[0];
  [...body.rows].forEach((row, place) => { row.dataset.place = place; });
  const headers = [...table.tHead.rows[0].cells];
  const collator = new Intl.Collator(undefined, { numeric: true });
  const sort = (column) => {
    const header = headers[column];
    const ascending = header.getAttribute("aria-sort") === "descending" ||
      (!header.hasAttribute("aria-sort") && (header.dataset.sort === "text" || column === 1));
    const key = header.dataset.sort === "text" ? (row) => row.cells[column].textContent
      : (row) => parseFloat(row.cells[column].textContent);
    const rows = [...body.rows].map((row) => [key(row), row]);
    const sign = ascending ? 1 : -1;
    rows.sort(([a, one], [b, two]) => {
      if (typeof a === "string") return sign * collator.compare(a, b);
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
      return sign * (a - b) || one.dataset.place - two.dataset.place;
    });
    headers.forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    body.append(...rows.map(([, row]) => row));
  };
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(column));
    header.append(button);
  });
  const search = document.getElementById("search-tasks");
  const found = document.getElementById("found-tasks");
  search.addEventListener("input", () => {
    const wanted = search.value.toLocaleLowerCase();
    let n = 0;
    for (const row of body.rows) {
      row.hidden = !ordered[row.dataset.place].toLocaleLowerCase().includes(wanted);
      n += !row.hidden;
    }
    found.textContent = wanted ? n + " of " + ordered.length + " tasks" : "";
  });

  // matrices: values come from the shades of the image
  const shades = new WeakMap();
  const shade = (image, x, y) => {
    if (!shades.has(image)) {
      const canvas = document.createElement("canvas");
      canvas.width = image.naturalWidth;
      canvas.height = image.naturalHeight;
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
      shades.set(image, pixels);
    }
    const at = 4 * (y * image.naturalWidth + x);
    return shades.get(image).slice(at, at + 4);
  };
  const stops = [[68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137],
    [53, 183, 121], [110, 206, 88], [181, 222, 43], [253, 231, 37]];
  const levels = 32;
  const palette = Array.from({ length: levels }, (_, level) => {
    const at = (level * (stops.length - 1)) / (levels - 1), low = Math.min(Math.floor(at), stops.length - 2);
    return stops[low].map((v, c) => v + (at - low) * (stops[low + 1][c] - v));
  });
  const share = (rgb) => {
    const far = palette.map((color) => color.reduce((sum, v, c) => sum + (v - rgb[c]) ** 2, 0));
    return (far.indexOf(Math.min(...far)) + 0.5) / levels;
  };
  const place = (image, event) => {
    const box = image.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]
      .map((v) => Math.max(0, Math.min(0.99999, v)));
  };
  document.querySelectorAll(".matrix").forEach((figure) => {
    const image = figure.querySelector("img"), side = +figure.dataset.side;
    const low = +figure.dataset.low, high = +figure.dataset.high;
    image.addEventListener("pointermove", (event) => {
      const [x, y] = place(image, event);
      const rgba = shade(image, Math.floor(x * image.naturalWidth), Math.floor(y * image.naturalHeight));
      const a = ordered[Math.floor(y * side)], b = ordered[Math.floor(x * side)];
      const near = image.naturalWidth < side ? ", mean of the pairs around" : "";
      const value = rgba[3] ? "≈ " + (low + share(rgba) * (high - low)).toPrecision(2) + near : "no value";
      show(a === b ? a : a + "\n" + b + "\n" + value, event);
    });
    image.addEventListener("pointerleave", () => { tip.hidden = true; });
  });
  const named = 11;
  const label = (figure) => {
    const box = figure.querySelector(".square"), canvas = figure.querySelector(".canvas");
    const image = figure.querySelector("img"), side = +figure.dataset.side;
    const size = image.getBoundingClientRect().height / side;
    let list = canvas.querySelector("ol.moving");
    if (size < named) { if (list) list.remove(); canvas.classList.remove("wide"); return; }
    if (!list) {
      list = document.createElement("ol");
      list.className = "moving";
      list.setAttribute("aria-hidden", "true");
      canvas.classList.add("wide");
      canvas.prepend(list);
    }
    const first = Math.max(0, Math.floor(box.scrollTop / size) - 1);
    const last = Math.min(side, first + Math.ceil(box.clientHeight / size) + 2);
    list.style.cssText = "position:absolute;float:none;width:138px;left:" + box.scrollLeft + "px;top:" + (14 + first * size) + "px";
    list.replaceChildren(...ordered.slice(first, last).map((name) => {
      const item = document.createElement("li"), bdi = document.createElement("bdi");
      bdi.textContent = name.slice(0, 40);
      item.append(bdi);
      return item;
    }));
  };
  const zoom = (figure, factor) => {
    const canvas = figure.querySelector(".canvas"), image = figure.querySelector("img"), side = +figure.dataset.side;
    const box = figure.querySelector(".square");
    const before = image.getBoundingClientRect().height / side;
    const size = Math.max(Math.min(640 / side, 26), Math.min(32, before * factor));
    const at = (box.scrollTop + box.clientHeight / 2) / before;
    canvas.style.setProperty("--cell", size + "px");
    box.scrollTop = at * size - box.clientHeight / 2;
    box.scrollLeft = box.scrollTop;
    if (!canvas.classList.contains("named")) label(figure);
  };
  document.querySelectorAll(".matrix .square").forEach((box) => {
    const figure = box.closest(".matrix");
    if (!figure.querySelector(".named")) box.addEventListener("scroll", () => requestAnimationFrame(() => label(figure)));
  });
  document.querySelectorAll(".memberships img").forEach((image) => {
    image.addEventListener("pointermove", (event) => {
      const [x, y] = place(image, event);
      const t = data.order[Math.floor(x * names.length)], g = Math.floor(y * data.centres.length);
      show(names[t] + "\n" + (100 * data.groups.membership[t][g]).toFixed(0) + " % in group " + g + ", " + data.centres[g], event);
    });
    image.addEventListener("pointerleave", () => { tip.hidden = true; });
  });

  // the data map of a task
  const chosen = document.getElementById("map-task");
  if (chosen) {
    const points = document.querySelector(".points"), { rows, columns } = document.querySelector(".map").dataset;
    const at = (place, n) => (n > 1 ? (100 * place) / (n - 1) : 0) + "%";
    const draw = () => {
      const t = +chosen.value, tile = chosen.selectedIndex;
      points.style.setProperty("--at", at(tile % columns, columns) + " " + at(Math.floor(tile / columns), rows));
      points.setAttribute("aria-label", "Data map of " + names[t]);
      points.querySelectorAll("b").forEach((b, region) => { b.textContent = (100 * data.regions[t][region]).toFixed(0) + " %"; });
      const name = document.createElement("bdi");
      name.textContent = names[t];
      document.getElementById("map-name").replaceChildren(name);
    };
    // samples of that task: pictures where there are any, else rows
    const element = (tag, content, type) => {
      const made = document.createElement(tag);
      made.append(...[content].flat());
      if (type) made.className = type;
      return made;
    };
    const kinds = [["suspects", "Labels that may be wrong"], ["ambiguous", "Ambiguous"]];
    const value = (v) => (v === null ? "–" : v.toFixed(2));
    const listed = ([sample, label, confidence, spread]) => {
      const classes = data.samples.classes[+chosen.value];
      const text = element("p", ["label ", element("bdi", classes ? classes[label] : "" + label), element("br", []), element("small", "sample " + sample + " · " + value(confidence) + " ± " + value(spread))]);
      const item = element("li", text), source = data.samples.pictures[sample];
      if (source) {
        const picture = document.createElement("img");
        picture.src = source;
        picture.alt = "Training sample " + sample;
        item.prepend(picture);
      }
      return item;
    };
    const list = () => {
      const t = +chosen.value;
      document.getElementById("map-samples").replaceChildren(...kinds.filter(([kind]) => data.samples[kind][t].length)
        .flatMap(([kind, title]) => [element("h3", title), element("ul", data.samples[kind][t].map(listed), "pictures")]));
    };
    chosen.addEventListener("change", () => { draw(); list(); });
    list();
  }
})();
