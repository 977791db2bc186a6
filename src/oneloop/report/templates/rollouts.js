// The rollout browser: one step and one group at a time, each token tinted by what it was credited with.
(function () {
  "use strict";
  const data = JSON.parse(document.getElementById("rollouts-data").textContent);
  if (!data.steps.length) return;
  const { make } = oneloop;
  const by = (id) => document.getElementById(id);
  const view = { step: 0, group: 0, filter: "all", query: "", colour: "advantage" };
  const READINGS = ["logprob", "entropy", "advantage", "share", "ratio", "version", "flaw"];

  // Numbers
  const number = (value) => (value === null || value === undefined ? "none" : String(Number(value.toPrecision(4))).replace("-", "−"));
  const signed = (value) => (value > 0 ? "+" : "") + number(value);
  const reading = (tokens, name, place) => (Array.isArray(tokens[name]) ? tokens[name][place] : tokens[name]);
  const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null);

  // Text equal to its tokens is not stored twice.
  const textOf = (rollout) => (rollout.text ??= rollout.tokens.piece.map((index) => data.pieces[index][1]).join(""));

  function largest(step, name) {
    let most = 0;
    for (const group of step.groups)
      for (const { tokens } of group.rollouts)
        for (const value of tokens ? [tokens[name]].flat() : []) most = Math.max(most, Math.abs(value ?? 0));
    return most;
  }

  // Filters
  const failed = (rollout) => rollout.status === "failed" || Object.keys(rollout.errors).length > 0;
  const KEPT = {
    all: () => true,
    correct: (rollout) => rollout.correct === true,
    incorrect: (rollout) => rollout.correct === false && !failed(rollout),
    failed,
    cut: (rollout) => rollout.status === "length",
  };
  function matching(group) {
    const query = view.query.toLowerCase();
    const whole = group.prompt.toLowerCase().includes(query);
    return group.rollouts.filter((r) => KEPT[view.filter](r) && (whole || textOf(r).toLowerCase().includes(query)));
  }
  const matches = (step) => step.groups.reduce((sum, group) => sum + matching(group).length, 0);

  // Colour: advantage diverges around 0, the others grow from 0
  function tint(tokens, place, limit) {
    const name = view.colour === "surprise" ? "logprob" : view.colour;
    const value = reading(tokens, name, place);
    if (value === null || value === undefined || !limit) return "";
    const strength = Math.min(1, Math.abs(value) / limit) * 75;
    if (strength < 0.5) return "";
    const colour = view.colour !== "advantage" ? "heat" : value > 0 ? "plus" : "minus";
    return `color-mix(in srgb, var(--${colour}) ${strength.toFixed(1)}%, transparent)`;
  }
  function limitOf(step) {
    return view.colour === "advantage" ? step.scale : largest(step, view.colour === "surprise" ? "logprob" : "entropy");
  }
  function drawScale(step) {
    const limit = limitOf(step);
    const ends = view.colour === "advantage" ? [signed(-limit), signed(limit)] : ["0", number(limit) + " nats"];
    const ramp = make("span", "ramp " + (view.colour === "advantage" ? "advantage" : "heat"));
    const dim = make("span", "token left-out", "left out of the update");
    by("scale").replaceChildren(make("span", "", ends[0]), ramp, make("span", "", ends[1]), dim);
  }

  // One rollout
  function drawTokens(rollout, limit) {
    const { tokens } = rollout;
    const text = make("div", "text");
    if (!tokens) {
      text.textContent = textOf(rollout);
      return text;
    }
    tokens.piece.forEach((index, place) => {
      const [token, piece] = data.pieces[index];
      const span = make("span", "token");
      span.dataset.place = place;
      span.style.background = tint(tokens, place, limit);
      if (reading(tokens, "share", place) === 0) span.classList.add("left-out");
      if (reading(tokens, "flaw", place) > 0) span.classList.add("flawed");
      if (place && reading(tokens, "version", place) !== reading(tokens, "version", place - 1)) span.classList.add("newer");
      if (piece === "") span.append(make("span", "glyph", token === null ? "∅" : "⟨" + token + "⟩"));
      piece.split(/(\n)/).forEach((part) => {
        if (part === "\n") span.append(make("span", "glyph", "⏎"));
        if (part) span.append(part);
      });
      text.append(span);
    });
    text.addEventListener("pointermove", (event) => showToken(rollout, event));
    text.addEventListener("pointerleave", () => (by("token-tip").hidden = true));
    if (tokens.count > tokens.piece.length) {
      text.append(make("span", "glyph", ` … ${(tokens.count - tokens.piece.length).toLocaleString("en")} more tokens`));
    }
    return text;
  }
  function showToken(rollout, event) {
    const span = event.target.closest(".token");
    const tip = by("token-tip");
    if (!span) return void (tip.hidden = true);
    const place = Number(span.dataset.place);
    const [token, piece] = data.pieces[rollout.tokens.piece[place]];
    const list = make("dl");
    const add = (name, value) => list.append(make("dt", "", name), make("dd", "", value));
    add("token", `no. ${place + 1}` + (token === null ? "" : `, id ${token}`));
    for (const name of READINGS) {
      const value = reading(rollout.tokens, name, place);
      if (value === undefined) continue;
      add({ logprob: "log-prob", share: "share in the update", version: "weight version", flaw: "voted wrong" }[name] || name,
        name === "advantage" ? signed(value) : number(value));
      if (name === "logprob" && value !== null) add("probability", (100 * Math.exp(value)).toPrecision(3) + "%");
    }
    tip.replaceChildren(make("strong", "", JSON.stringify(piece)), list);
    const stepNumber = reading(rollout.tokens, "solution_step", place);
    const step = (rollout.critique ?? []).find((other) => other.step === stepNumber);
    if (step) tip.append(make("p", "critique", `Step ${step.step}: ${step.words || "voted wrong"}`));
    oneloop.place(tip, event.clientX, event.clientY);
  }
  // What critics said of the steps they voted wrong
  function drawCritique(critique) {
    const list = make("ul", "critique");
    for (const { step, text, wrong, words } of critique) {
      const entry = make("li");
      entry.append(make("b", "", `step ${step}`), " ", make("s", "", text.trim()));
      if (wrong < 1) entry.append(` (${number(wrong)} of the votes)`);
      if (words) entry.append(": " + words);
      list.append(entry);
    }
    return list;
  }
  function versionsOf(tokens) {
    const known = [tokens.version ?? []].flat().filter((value) => value !== null);
    return known.length ? [Math.min(...known), Math.max(...known)] : [0, 0];
  }
  function drawRollout(rollout, limit) {
    const card = make("article", "rollout");
    card.dataset.id = rollout.id;
    const head = make("header");
    const verdict = failed(rollout) ? "failed" : rollout.correct === true ? "correct" : rollout.correct === false ? "incorrect" : "";
    if (verdict) head.append(make("span", "verdict " + verdict, { correct: "✓ ", incorrect: "✗ ", failed: "! " }[verdict] + verdict));
    const item = (name, value) => {
      const span = make("span", "", name + " ");
      span.append(make("b", "", value));
      head.append(span);
    };
    item("reward", number(rollout.reward));
    if (data.judges.length > 1) for (const [judge, value] of Object.entries(rollout.verdicts))
      item(judge, judge in rollout.errors ? "error" : number(value));
    if (rollout.tokens) {
      const advantages = [rollout.tokens.advantage ?? []].flat().filter((value) => value !== null);
      if (advantages.length) item("advantage", signed(mean(advantages)) + (advantages.length > 1 ? " on average" : ""));
      item("tokens", String(rollout.tokens.count));
      const [oldest, newest] = versionsOf(rollout.tokens);
      if (newest > oldest) item("weight versions", `${oldest}–${newest}`);
    }
    if (rollout.round !== undefined) item("round", String(rollout.round));
    if (rollout.seeded) item("exemplars before the prompt", String(rollout.seeded));
    if (rollout.critique) item("steps voted wrong", String(rollout.critique.length));
    if (rollout.status === "length") head.append(make("span", "flag", "cut at the cap"));
    if (rollout.trained === false) head.append(make("span", "flag", "not trained on"));
    head.append(make("span", "", "id " + rollout.id));
    card.append(head);
    for (const [judge, words] of Object.entries(rollout.errors)) card.append(make("p", "error", `${judge} gave no verdict: ${words}`));
    card.append(drawTokens(rollout, limit));
    if (rollout.trained === false) card.lastChild.classList.add("untrained");
    if (rollout.critique?.length) card.append(drawCritique(rollout.critique));
    return card;
  }

  // A group of images: what it is about in a line, then all of it
  function drawPictures(rollouts, limit) {
    const about = rollouts[0].path
      ? "From left to right: what rollouts share, then where they part. A picture is the mean of the images that came of it; its frame and the line to it show the advantage of its steps, dashed where none is learned from."
      : "Frames show the advantage of the steps that made the image.";
    const errors = rollouts.flatMap((rollout) => Object.entries(rollout.errors).map(([judge, words]) => make("p", "error", `${judge} gave no verdict: ${words}`)));
    return [make("p", "remark", about), ...errors, ...oneloop.pictures(rollouts, limit)];
  }

  // The page
  function drawGroups(step) {
    by("groups").replaceChildren(...step.groups.map((group, index) => {
      const entry = make("li", matching(group).length ? "" : "unmatched");
      if (index === view.group) entry.setAttribute("aria-current", "true");
      const button = make("button");
      const reward = mean(group.rollouts.map((r) => r.reward).filter((value) => value !== null));
      const signs = group.rollouts.map((r) => (failed(r) ? "!" : r.correct === true ? "●" : r.correct === false ? "○" : "·"));
      button.append(make("span", "", "Group " + group.group), make("span", "reward", reward === null ? "no verdict" : number(Number(reward.toFixed(2)))));
      button.append(make("span", "outcomes", signs.join("")));
      button.addEventListener("click", () => show({ group: index }));
      entry.append(button);
      return entry;
    }));
    const current = by("groups").querySelector("[aria-current]");
    const list = by("groups");
    if (current.offsetTop < list.scrollTop || current.offsetTop > list.scrollTop + list.clientHeight - 50)
      list.scrollTop = current.offsetTop - 60;
  }
  function drawMatches(step) {
    const all = step.groups.reduce((sum, group) => sum + group.rollouts.length, 0);
    const line = by("matches");
    line.textContent = `${step.phase ? step.phase + ", " : ""}step ${step.step}: ${matches(step)} of ${all} rollouts shown.`;
    if (step.recorded > step.groups.length) line.append(` The page holds ${step.groups.length} of its ${step.recorded} groups.`);
    if (view.filter === "all" && !view.query) return;
    const next = data.steps.findIndex((other, index) => index > view.step && matches(other));
    if (next < 0) return void line.append(" No later step has a match.");
    const button = make("button", "", "Next step with a match");
    button.addEventListener("click", () => show({ step: next, group: data.steps[next].groups.findIndex((group) => matching(group).length) }));
    line.append(" ", button);
  }
  function shownPicture(bytes) {
    const image = make("img", "shown");
    image.src = "data:image/png;base64," + bytes;
    image.alt = "what the prompt shows";
    return image;
  }
  function drawGroup(step) {
    const group = step.groups[view.group];
    const shown = matching(group);
    const limit = limitOf(step);
    by("group").replaceChildren(
      make("p", "prompt-name", `Prompt of group ${group.group}` + (group.key === null ? "" : ` (data row ${group.key})`)),
      make("div", "prompt", group.prompt),
      ...(group.shown ? [shownPicture(group.shown)] : []),
      ...(shown.length && shown.every((rollout) => rollout.image) ? drawPictures(shown, limit) : shown.map((rollout) => drawRollout(rollout, limit))),
    );
    if (shown.length < group.rollouts.length)
      by("group").append(make("p", "remark", `${group.rollouts.length - shown.length} rollouts of this group do not match.`));
  }
  function show(changes, quiet = false) {
    Object.assign(view, changes);
    const step = data.steps[view.step];
    view.group = Math.min(Math.max(view.group, 0), step.groups.length - 1);
    by("step").value = view.step;
    by("token-tip").hidden = true;
    drawScale(step);
    drawGroups(step);
    drawMatches(step);
    drawGroup(step);
    if (!quiet) history.replaceState(null, "", `#step=${step.step}&group=${step.groups[view.group].group}`);
  }
  function nearestStep(number) {
    return data.steps.reduce((best, step, index) =>
      Math.abs(step.step - number) < Math.abs(data.steps[best].step - number) ? index : best, 0);
  }
  function follow() {
    const asked = new URLSearchParams(location.hash.slice(1));
    if (!asked.has("step")) return false;
    const step = nearestStep(Number(asked.get("step")));
    const group = data.steps[step].groups.findIndex((other) => String(other.group) === asked.get("group"));
    show({ step, group: Math.max(group, 0) });
    by("rollouts").scrollIntoView({ behavior: "instant" });
    return true;
  }
  function move(event) {
    if (event.target.closest("input, select") || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "/") {
      event.preventDefault();
      return void by("search").focus();
    }
    const by_one = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by_one) return;
    event.preventDefault();
    if (event.shiftKey) go(by_one);
    else show({ group: view.group + by_one });
  }
  const go = (distance) => show({ step: Math.min(Math.max(view.step + distance, 0), data.steps.length - 1) });

  by("step").append(...data.steps.map((step, index) => {
    const option = make("option", "", String(step.step));
    option.value = index;
    return option;
  }));
  by("step").addEventListener("change", () => show({ step: Number(by("step").value) }));
  by("step-before").addEventListener("click", () => go(-1));
  by("step-after").addEventListener("click", () => go(1));
  by("filter").addEventListener("change", () => show({ filter: by("filter").value }));
  by("colour").addEventListener("change", () => show({ colour: by("colour").value }));
  by("search").addEventListener("input", () => show({ query: by("search").value }));
  document.addEventListener("keydown", move);
  window.addEventListener("hashchange", follow);
  oneloop.openStep = (number) => show({ step: nearestStep(number) });

  if (!follow()) show({ step: data.steps.length - 1 }, true);
})();
