// Images of a group: a tree where rollouts share denoising steps, else a row of pictures, framed by advantage.
(function () {
  "use strict";
  const { make } = oneloop;
  const SVG = Object.assign(make("div"), { innerHTML: "<svg></svg>" }).firstChild.namespaceURI;
  const SIZES = [104, 88, 76, 64, 56, 48], GAP = 14, WIDE = 168, MORE = 130, LABEL = 44;
  const HEAD = 30, EDGE = 6;
  const PNG = "data:image/png;base64,";

  const at = (values, place) => (Array.isArray(values) ? values[place] : values);
  const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null);
  const known = (values) => values.filter((value) => value !== null && value !== undefined);
  const short = (value) => (value === null ? "none" : value.toFixed(2).replace("-", "−"));
  const signed = (value) => (value > 0 ? "+" : "") + short(value);

  function colour(value, limit) {
    if (value === null || !limit) return "var(--rule)";
    const strength = 22 + 78 * Math.min(1, Math.abs(value) / limit);
    return `color-mix(in srgb, var(--${value < 0 ? "minus" : "plus"}) ${strength.toFixed(0)}%, var(--rule))`;
  }

  // The mean of the pictures of some rollouts: each is laid over those before it with weight 1 / (their number).
  function picture(rollouts, size) {
    const canvas = make("canvas", "picture");
    canvas.style.width = canvas.style.height = size + "px";
    const images = rollouts.map((rollout) => {
      const image = new Image();
      image.src = PNG + rollout.image;
      return image;
    });
    Promise.all(images.map((image) => image.decode())).then(() => {
      canvas.width = images[0].naturalWidth;
      canvas.height = images[0].naturalHeight;
      const pen = canvas.getContext("2d");
      images.forEach((image, place) => {
        pen.globalAlpha = 1 / (place + 1);
        pen.drawImage(image, 0, 0);
      });
      canvas.dataset.drawn = images.length;
    });
    return canvas;
  }

  // A branch: the steps from..to-1 that exactly these leaves share, then what follows it.
  function grow(leaves, from, level) {
    const path = leaves[0].path;
    let to = from;
    while (to < path.length && leaves.every((leaf) => leaf.path[to] === path[to])) to++;
    const parts = new Map();
    if (leaves.length > 1)
      for (const leaf of leaves) parts.set(leaf.path[to], [...(parts.get(leaf.path[to]) ?? []), leaf]);
    const steps = [...Array(to - from).keys()].map((place) => from + place);
    const { actions } = leaves[0];
    return {
      leaves, from, to, level,
      advantage: mean(known(steps.map((step) => at(actions.advantage, step)))),
      trained: steps.filter((step) => at(actions.share, step) !== 0).length,
      value: mean(known(leaves.map((leaf) => leaf.reward))),
      children: parts.size > 1 ? [...parts.values()].map((part) => grow(part, to, level + 1)) : [],
    };
  }
  const size = (node) => SIZES[Math.min(node.level, SIZES.length - 1)];

  function lay(node, top) {
    let bottom = top;
    for (const child of node.children) bottom = lay(child, bottom);
    if (!node.children.length) bottom = top + size(node) + GAP;
    const ends = node.children.length ? [node.children[0].y, node.children.at(-1).y] : [top + size(node) / 2];
    node.y = (ends[0] + ends.at(-1)) / 2;
    node.x = EDGE + node.level * WIDE;
    return bottom;
  }

  function say(node) {
    const leaf = node.leaves.length === 1;
    const steps = node.to - node.from;
    const lines = [
      steps ? `steps ${node.from} to ${node.to - 1}` : "start: the noise they share",
      `${leaf ? "reward" : `mean reward of ${node.leaves.length} images`} ${short(node.value)}`,
    ];
    if (node.advantage !== null) lines.push(`advantage ${signed(node.advantage)}`);
    if (node.trained < steps) lines.push(`${steps - node.trained} of ${steps} steps left out of the update`);
    return lines.join("\n");
  }

  function drawNode(node, limit, sheet, links) {
    const side = size(node), box = make("div", "node" + (node.to > node.from && !node.trained ? " left-out" : ""));
    box.style.left = node.x + "px";
    box.style.top = node.y - side / 2 + "px";
    box.title = say(node);
    const shown = picture(node.leaves, side);
    shown.style.borderColor = node.level ? colour(node.advantage, limit) : "var(--rule)";
    box.append(shown);
    if (!node.children.length) {
      const verdict = { true: "✓", false: "✗" }[node.leaves[0].correct] ?? "";
      box.append(make("span", "said", `${signed(node.advantage)}  reward ${short(node.value)} ${verdict}`));
    } else if (node.level) box.append(make("span", "said", signed(node.advantage)));
    sheet.append(box);
    for (const child of node.children) {
      const line = document.createElementNS(SVG, "path");
      const [x, end] = [node.x + side + (node.level ? LABEL : 6), child.x];
      line.setAttribute("d", `M${x},${node.y}C${(x + end) / 2},${node.y} ${(x + end) / 2},${child.y} ${end},${child.y}`);
      line.style.stroke = colour(child.advantage, limit);
      if (!child.trained) line.setAttribute("stroke-dasharray", "3 4");
      links.append(line);
      drawNode(child, limit, sheet, links);
    }
  }

  function tree(rollouts, limit) {
    const root = grow(rollouts, 0, 0);
    const height = lay(root, HEAD);
    const deepest = (node) => (node.children.length ? node.children.map(deepest).sort((a, b) => b.level - a.level)[0] : node);
    const levels = deepest(root).level, sheet = make("div", "tree"), links = document.createElementNS(SVG, "svg");
    const wide = levels * WIDE + size({ level: levels }) + MORE;
    sheet.style.width = wide + "px";
    sheet.style.height = Math.max(height, SIZES[0]) + "px";
    links.setAttribute("viewBox", `0 0 ${wide} ${height}`);
    links.setAttribute("width", wide);
    links.setAttribute("height", height);
    sheet.append(links);
    drawNode(root, limit, sheet, links);
    for (let node = root; node; node = node.children.map((child) => [deepest(child).level, child]).sort((a, b) => b[0] - a[0])[0]?.[1]) {
      const head = make("span", "head", node.level ? `from step ${node.from}` : node.to > node.from ? "shared" : "start");
      head.style.left = node.x + "px";
      sheet.append(head);
    }
    const frame = make("div", "tree-frame");
    frame.append(sheet);
    return frame;
  }

  function row(rollouts, limit) {
    const sheet = make("div", "row");
    for (const rollout of rollouts) {
      const advantage = mean(known([rollout.actions.advantage ?? []].flat()));
      const box = make("figure", "shot"), shown = picture([rollout], 76);
      shown.style.borderColor = colour(advantage, limit);
      box.append(shown, make("figcaption", "said", advantage === null ? short(rollout.reward) : `${signed(advantage)}  reward ${short(rollout.reward)}`));
      sheet.append(box);
    }
    return sheet;
  }

  // What is shown of a group of images: one tree for each start that rollouts share.
  oneloop.pictures = (rollouts, limit) => {
    const trees = new Map();
    for (const rollout of rollouts) trees.set(rollout.tree ?? -1, [...(trees.get(rollout.tree ?? -1) ?? []), rollout]);
    return [...trees].map(([number, leaves]) =>
      number >= 0 && leaves.length > 1 && leaves.every((leaf) => leaf.path?.length) ? tree(leaves, limit) : row(leaves, limit));
  };
})();
