// The heat map and the sample browser of a ranking. Text always goes through textContent.
(function () {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const { make, place } = oneloop;
  const by = (id) => document.getElementById(id);
  const models = data.heat.models;

  function drawHeat() {
    const { rates } = data.heat;
    const map = by("heat-map");
    if (!rates.length) return void map.append("No pairs of measurements.");
    const width = Math.max(13, Math.min(34, Math.floor(900 / models.length)));
    map.style.gridTemplateColumns = `max-content repeat(${models.length}, ${width}px)`;
    map.append(make("span", "name", ""), ...models.map((_, index) => make("span", "head", String(index + 1))));
    rates.forEach((row, index) => {
      const name = make("span", "name");
      name.append(make("b", "", String(index + 1)), models[index]);
      name.title = models[index];
      map.append(name, ...row.map((rate, other) => {
        const cell = make("span", rate === null ? "cell none" : "cell");
        if (rate !== null) {
          const strength = Math.min(1, Math.abs(rate - 0.5) * 2) * 90;
          cell.style.background = `color-mix(in srgb, var(--${rate > 0.5 ? "plus" : "minus"}) ${strength.toFixed(1)}%, var(--raised))`;
        }
        cell.dataset.row = index;
        cell.dataset.column = other;
        return cell;
      }));
    });
    map.addEventListener("mousemove", (event) => {
      const { row, column } = event.target.dataset;
      if (row === undefined || row === column) return void (by("tip").hidden = true);
      const rate = rates[row][column];
      const words = rate === null ? "never on the same sample" : (100 * rate).toFixed(1) + " % of samples";
      by("tip").replaceChildren(make("strong", "", `${models[row]} over ${models[column]}`), make("div", "", words));
      place(by("tip"), event.clientX, event.clientY);
    });
    map.addEventListener("mouseleave", () => (by("tip").hidden = true));
  }

  const view = { chosen: 0, source: "", query: "" };
  const matching = () => data.samples.filter((sample) =>
    (!view.source || sample.source === view.source) &&
    (sample.name + "\n" + sample.text).toLowerCase().includes(view.query.toLowerCase()));

  function drawList(shown) {
    by("list").replaceChildren(...shown.map((sample, index) => {
      const entry = make("li");
      if (index === view.chosen) entry.setAttribute("aria-current", "true");
      const button = make("button");
      const note = sample.similarity === null ? `${sample.measured}` : sample.similarity.toFixed(2);
      button.append(make("span", "", sample.name), make("span", "reward", note));
      button.title = sample.similarity === null ? "models measured" : "similarity to the query";
      button.addEventListener("click", () => show({ chosen: index }));
      entry.append(button);
      return entry;
    }));
  }
  function drawMarks(sample) {
    const marks = make("div", "marks");
    const values = Object.values(sample.scores);
    const low = Math.min(0, ...values), high = Math.max(1, ...values);
    for (const [model, score] of Object.entries(sample.scores)) {
      const line = make("div");
      const name = make("span", "", models[model]);
      name.title = models[model];
      const track = make("span", "track"), bar = make("i");
      bar.style.width = (100 * (score - low)) / (high - low) + "%";
      track.append(bar);
      line.append(name, track, make("b", "", String(score).replace("-", "−")));
      marks.append(line);
    }
    return marks;
  }
  function drawSample(sample) {
    if (!sample) return void by("sample").replaceChildren(make("p", "quiet", "No sample matches."));
    const facts = make("dl", "facts");
    for (const [name, value] of Object.entries({ source: sample.source, ...sample.facts })) {
      const pair = make("div");
      pair.append(make("dt", "", name), make("dd", "", value));
      if (value) facts.append(pair);
    }
    const parts = [make("p", "prompt-name", sample.name)];
    if (sample.text) parts.push(make("div", "prompt", sample.text));
    by("sample").replaceChildren(...parts, facts, drawMarks(sample));
  }
  function show(changes) {
    Object.assign(view, changes);
    const shown = matching();
    view.chosen = Math.max(0, Math.min(view.chosen, shown.length - 1));
    by("matches").textContent = `${shown.length} of ${data.samples.length} shown`;
    drawList(shown);
    drawSample(shown[view.chosen]);
  }

  for (const source of [...new Set(data.samples.map((sample) => sample.source))].sort()) {
    const option = make("option", "", source || "(none)");
    option.value = source;
    by("source").append(option);
  }
  by("source").addEventListener("change", () => show({ source: by("source").value, chosen: 0 }));
  by("search").addEventListener("input", () => show({ query: by("search").value, chosen: 0 }));
  drawHeat();
  show({});
})();
