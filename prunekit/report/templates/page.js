"use strict";
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const original = [...body.rows];
  heads.forEach((head, column) => {
    head.querySelector("button")?.addEventListener("click", () => {
      // Numbers are read for the largest first, names from their beginning; the third click restores the order.
      const first = original.some((row) => row.cells[column].hasAttribute("data-number")) ? "descending" : "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      const now = head.getAttribute("aria-sort");
      const next = now === first ? second : now === second ? null : first;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (next) head.setAttribute("aria-sort", next);
      body.replaceChildren(...(next ? sorted(original, column, next === "ascending" ? 1 : -1) : original));
      table.classList.toggle("sorted", Boolean(next));
    });
  });
}

function sorted(rows, column, sign) {
  const value = (row) => row.cells[column].dataset.value;
  return [...rows].sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a === "" || b === "") return (a === "") - (b === "");
    const numbers = one.cells[column].hasAttribute("data-number") && other.cells[column].hasAttribute("data-number");
    return sign * (numbers ? a - b : a.localeCompare(b, "en", { numeric: true }));
  });
}

for (const player of document.querySelectorAll(".player")) {
  const screens = [...player.querySelectorAll(".screen")];
  const returns = screens.map((screen) => screen.dataset.returns.split(" "));
  const outputs = [...player.querySelectorAll("output")];
  const [button, slider] = player.querySelectorAll(".controls button, .controls input");
  const frames = Math.max(...returns.map((list) => list.length));
  const pause = 1000;
  let playing = false, position = 0, last = 0, rest = 0;

  function show(frame) {
    slider.value = frame;
    screens.forEach((screen, index) => {
      const { columns, rows } = screen.dataset;
      const own = Math.min(frame, returns[index].length - 1);
      const share = (place, count) => (count > 1 ? (100 * place) / (count - 1) : 0);
      const [x, y] = [share(own % columns, columns), share(Math.floor(own / columns), rows)];
      screen.style.backgroundPosition = `${x}% ${y}%`;
      screen.classList.toggle("over", frame >= returns[index].length && frames > returns[index].length);
      outputs[index].textContent = returns[index][own];
    });
  }

  function tick(now) {
    if (!playing) return;
    const passed = Math.min(now - last, 200);
    last = now;
    if (position >= frames - 1) {
      rest += passed;
      if (rest > pause) position = rest = 0;
    } else {
      position = Math.min(position + (passed * player.dataset.fps) / 1000, frames - 1);
    }
    show(Math.floor(position));
    requestAnimationFrame(tick);
  }

  function play(wanted) {
    if (wanted && !playing) {
      last = performance.now();
      requestAnimationFrame(tick);
    }
    playing = wanted;
    button.textContent = wanted ? "Pause" : "Play";
  }

  slider.max = frames - 1;
  player.querySelector(".controls").hidden = false;
  let begun = matchMedia("(prefers-reduced-motion: reduce)").matches;
  button.addEventListener("click", () => {
    begun = true;
    play(!playing);
  });
  slider.addEventListener("input", () => {
    begun = true;
    play(false);
    position = Number(slider.value);
    show(position);
  });
  show(0);
  new IntersectionObserver(([entry]) => {
    if (!entry.isIntersecting) play(false);
    else if (!begun) play((begun = true));
  }, { threshold: 0.3 }).observe(player);
}
