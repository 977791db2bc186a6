// Reads every chart at the step under the pointer; a click opens the rollouts nearest to it.
(function () {
  "use strict";
  const data = JSON.parse(document.getElementById("curves-data").textContent);
  const charts = [...document.querySelectorAll(".chart")];
  const tip = document.getElementById("curve-tip");
  const [left, right, width] = data.box;
  const [first, last] = data.domain;

  const pixel = (step) => left + ((step - first) / (last - first || 1)) * (right - left);

  function stepAt(svg, event) {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * width;
    const step = first + ((x - left) / (right - left)) * (last - first);
    return Math.round(Math.min(last, Math.max(first, step)));
  }

  function nearest(points, step) {
    return points.reduce((best, point) => (Math.abs(point[0] - step) < Math.abs(best[0] - step) ? point : best));
  }

  function show(value, percent) {
    return percent ? (100 * value).toFixed(1) + "%" : String(Number(value.toPrecision(4)));
  }

  function point(svg, event) {
    const step = stepAt(svg, event);
    const index = Number(svg.closest(".chart").dataset.panel);
    for (const chart of charts) {
      const cursor = chart.querySelector(".cursor");
      cursor.setAttribute("x1", pixel(step));
      cursor.setAttribute("x2", pixel(step));
      cursor.style.visibility = "visible";
    }
    const list = document.createElement("dl");
    for (const [name, points] of data.panels[index]) {
      const found = nearest(points, step);
      const near = Math.abs(found[0] - step) <= Math.max(1, (last - first) / 100);
      list.append(oneloop.make("dt", "", name), oneloop.make("dd", "", near ? show(found[1], data.percent[index]) : "–"));
    }
    tip.replaceChildren(oneloop.make("span", "quiet", "step " + step), list);
    oneloop.place(tip, event.clientX, event.clientY);
  }

  function leave() {
    tip.hidden = true;
    for (const chart of charts) chart.querySelector(".cursor").style.visibility = "hidden";
  }

  for (const chart of charts) {
    const svg = chart.querySelector("svg");
    svg.addEventListener("pointermove", (event) => point(svg, event));
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("click", (event) => {
      if (!oneloop.openStep) return;
      oneloop.openStep(stepAt(svg, event));
      document.getElementById("rollouts").scrollIntoView();
    });
  }
})();
