"use strict";
// Charts of a timeline: one canvas per face, all on one time axis.  No library, so that the page stays small.
(() => {
  const data = JSON.parse(document.getElementById("timeline").textContent);
  // Okabe and Ito's colours with a dash of its own each: told apart without colour vision, and in print.
  const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c8c"];
  const DASHES = [[], [8, 4], [3, 3], [10, 3, 2, 3], [5, 5], [14, 4], [3, 6]];
  const style = (at) => ({
    colour: COLOURS[at % COLOURS.length],
    dash: DASHES[(at + Math.floor(at / COLOURS.length)) % DASHES.length],
  });
  const shown = data.labels.map(() => true);
  const whole = [data.start, Math.max(data.end, data.start + 0.5)];
  let view = [...whole];
  let cursor = null; // seconds under the pointer, on every chart
  let picked = null; // [from, to] while a range is dragged
  let drawn = "probs"; // or "scores", where these were asked for
  const charts = [];

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const clock = (seconds, digits = 1) => {
    const sign = seconds < 0 ? "-" : "";
    seconds = Math.abs(Number(seconds.toFixed(digits)));
    const hours = Math.floor(seconds / 3600), minutes = Math.floor(seconds / 60) % 60;
    const rest = (seconds % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
    return `${sign}${hours ? `${hours}:${String(minutes).padStart(2, "0")}` : minutes}:${rest}`;
  };

  function setView(from, to) {
    const least = Math.min(0.5, whole[1] - whole[0]);
    const span = Math.min(Math.max(to - from, least), whole[1] - whole[0]);
    from = Math.min(Math.max((from + to - span) / 2, whole[0]), whole[1] - span);
    view = [from, from + span];
    document.querySelector(".range").textContent = `${clock(view[0])} – ${clock(view[1])}`;
    draw();
  }
  function zoom(factor, around = (view[0] + view[1]) / 2) {
    setView(around - (around - view[0]) * factor, around + (view[1] - around) * factor);
  }
  function pan(share) {
    const by = (view[1] - view[0]) * share;
    const from = Math.min(Math.max(view[0] + by, whole[0]), whole[1] - (view[1] - view[0]));
    setView(from, from + view[1] - view[0]);
  }

  // The row whose centre is nearest to a time, by halving.
  function nearest(track, time) {
    let low = 0, high = track.centre.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (track.centre[middle] < time) low = middle + 1; else high = middle;
    }
    return low > 0 && time - track.centre[low - 1] < track.centre[low] - time ? low - 1 : low;
  }

  // Mean time and share of the readable ones among rows `from` to before `to`; share is null if there are none.
  function mean(track, label, from, to) {
    let count = 0, time = 0, share = 0;
    for (let at = from; at < Math.min(to, track.centre.length); at++) {
      if (track[drawn][label][at] === null) continue;
      count++; time += track.centre[at]; share += track[drawn][label][at];
    }
    return count ? [time / count, share / count / 1000] : [0, null];
  }

  // Rows `first` to `last` in stretches of at most `size`, as [from, to before]; none goes on over a gap.
  function stretches(track, first, last, size) {
    const found = [];
    for (let at = first, to; at <= last; at = to) {
      for (to = at + 1; to <= last && to < at + size && !track.gap[to];) to++;
      found.push([at, to]);
    }
    return found;
  }

  const LEFT = 42, RIGHT = 8, TOP = 8, AXIS = 18, BAND = 22, STRIP = 8, GAP = 4, THIN = 3;
  // How well a face is seen, from 0 to 1: a full-size, sharp, lit face towards the camera is 1.
  const SEEN = [
    ["size", (pixels) => pixels / 120],
    ["sharpness", (sharpness) => Math.sqrt(sharpness / 0.25)],
    ["exposure", (exposure) => exposure / 0.6],
    ["yaw", (yaw) => 1 - Math.abs(yaw) / 50],
  ];

  function draw() { for (const chart of charts) paint(chart); }

  function paint({ canvas, track, tip }) {
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width) return;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const ink = css("--ink"), faint = css("--faint"), line = css("--line");
    const lines = SEEN.length * (THIN + 1) + GAP;
    const bottom = height - AXIS - lines - STRIP - BAND - 2 * GAP;
    const x = (time) => LEFT + (time - view[0]) / (view[1] - view[0]) * (width - LEFT - RIGHT);
    const y = (share) => bottom - share * (bottom - TOP);
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "middle";
    pen.lineWidth = 1;

    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      pen.strokeStyle = line;
      pen.beginPath(); pen.moveTo(LEFT, y(share)); pen.lineTo(width - RIGHT, y(share)); pen.stroke();
      pen.fillStyle = faint; pen.textAlign = "right";
      if (share * 2 % 1 === 0) pen.fillText(share.toFixed(1), LEFT - 5, y(share));
    }
    pen.save(); pen.translate(7, (TOP + bottom) / 2); pen.rotate(-Math.PI / 2);
    pen.textAlign = "center"; pen.fillText(drawn === "probs" ? "probability" : "score", 0, 0);
    pen.restore();
    const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
    const step = steps.find((size) => (view[1] - view[0]) / size <= width / 70) || 7200;
    pen.textAlign = "center"; pen.fillStyle = faint;
    for (let time = Math.ceil(view[0] / step) * step; time <= view[1] + 1e-9; time += step) {
      const at = x(time);
      pen.strokeStyle = line;
      pen.beginPath(); pen.moveTo(at, TOP); pen.lineTo(at, height - AXIS); pen.stroke();
      if (at > LEFT + 8 && at < width - 16) pen.fillText(clock(time, step < 1 ? 1 : 0), at, height - AXIS / 2);
    }

    pen.save();
    pen.beginPath(); pen.rect(LEFT - 2, 0, width - LEFT - RIGHT + 4, height); pen.clip(); // a point on the edge is whole
    const first = Math.max(nearest(track, view[0]) - 1, 0);
    const last = Math.min(nearest(track, view[1]) + 1, track.centre.length - 1);
    // Hours on one screen: a point is the mean of so many windows that the points stay three pixels apart.
    const bin = Math.max(1, Math.ceil((last - first) * 3 / width));
    const bins = stretches(track, first, last, bin);
    data.labels.forEach((_, label) => {
      if (!shown[label]) return;
      const { colour, dash } = style(label);
      pen.strokeStyle = colour; pen.fillStyle = colour; pen.lineWidth = 2; pen.setLineDash(dash);
      pen.beginPath();
      const points = bins.map(([from, to]) => mean(track, label, from, to));
      const linked = (at) => at > 0 && at < bins.length && points[at - 1][1] !== null && points[at][1] !== null && !track.gap[bins[at][0]];
      points.forEach(([time, share], at) => {
        if (share === null) return;
        if (!linked(at) && !linked(at + 1)) pen.fillRect(x(time) - 2, y(share) - 2, 4, 4);
        if (linked(at)) pen.lineTo(x(time), y(share)); else pen.moveTo(x(time), y(share));
      });
      pen.stroke();
    });
    pen.setLineDash([]);

    // Segments: a bar each, with its label where there is room for it.
    const band = bottom + GAP;
    for (const [label, from, to] of track.segments) {
      const left = Math.max(x(from), LEFT), right = Math.min(x(to), width - RIGHT);
      if (right < LEFT || left > width - RIGHT) continue;
      const { colour } = style(label);
      pen.globalAlpha = shown[label] ? 0.28 : 0.08; pen.fillStyle = colour;
      pen.fillRect(left, band, Math.max(right - left, 1), BAND);
      pen.globalAlpha = shown[label] ? 1 : 0.3;
      pen.fillRect(left, band, 2, BAND);
      const text = data.labels[label], room = right - left - 8;
      if (room > 18) {
        pen.fillStyle = ink; pen.textAlign = "left";
        let fit = text;
        while (fit.length > 1 && pen.measureText(fit + (fit === text ? "" : "…")).width > room) fit = fit.slice(0, -1);
        if (fit.length > 2 || fit === text) pen.fillText(fit + (fit === text ? "" : "…"), left + 5, band + BAND / 2);
      }
      pen.globalAlpha = 1;
    }

    // Where nothing could be read: hatched.
    const strip = band + BAND + GAP;
    pen.strokeStyle = faint; pen.lineWidth = 1;
    let from = -1;
    for (let at = first; at <= last + 1; at++) {
      const bad = at <= last && track.status[at] !== 0;
      if (from >= 0 && (!bad || track.gap[at])) {
        const left = Math.max(x(track.from[from]), LEFT), right = x(track.to[at - 1]);
        pen.strokeRect(left, strip, right - left, STRIP - 1);
        pen.beginPath();
        for (let slash = left; slash < Math.min(right, width); slash += 5) {
          pen.moveTo(slash, strip + STRIP - 1); pen.lineTo(Math.min(slash + 5, right), strip);
        }
        pen.stroke();
        from = -1;
      }
      if (bad && from < 0) from = at;
    }

    // How well it is seen: a line each, stronger is better.
    pen.fillStyle = ink;
    SEEN.forEach(([name, grade], place) => {
      const values = track.quality[name], top = strip + STRIP + GAP + place * (THIN + 1);
      for (const [at, to] of bins) {
        const known = values.slice(at, to).filter((value) => value !== null);
        if (!known.length) continue;
        const worth = known.reduce((sum, value) => sum + grade(value), 0) / known.length;
        const left = x(track.from[at]), right = x(track.to[to - 1]);
        pen.globalAlpha = 0.05 + 0.6 * Math.min(Math.max(worth, 0), 1) ** 2;
        pen.fillRect(Math.round(left), top, Math.max(Math.round(right) - Math.round(left), 1), THIN);
      }
    });
    pen.globalAlpha = 1;

    if (picked) {
      pen.globalAlpha = 0.15; pen.fillStyle = css("--link");
      pen.fillRect(x(picked[0]), TOP, x(picked[1]) - x(picked[0]), height - AXIS - TOP);
      pen.globalAlpha = 1;
    }
    if (cursor !== null) {
      pen.strokeStyle = ink;
      pen.beginPath(); pen.moveTo(x(cursor), TOP); pen.lineTo(x(cursor), height - AXIS); pen.stroke();
    }
    pen.restore();
    point(track, tip, cursor === null ? null : x(cursor), width);
  }

  // What the row under the cursor says; built from text nodes, so that no label is ever read as HTML.
  function point(track, tip, at, width) {
    const row = cursor === null ? -1 : nearest(track, cursor);
    tip.hidden = row < 0 || cursor < track.start[row] - 0.5 || cursor > track.end[row] + 0.5;
    if (tip.hidden) return;
    tip.replaceChildren();
    const add = (text, colour) => {
      const entry = document.createElement("div");
      if (colour) entry.appendChild(document.createElement("i")).style.background = colour;
      entry.append(text);
      tip.appendChild(entry);
    };
    add(`${clock(track.start[row], 2)} – ${clock(track.end[row], 2)}`);
    if (track.status[row] !== 0) add(`not read: ${data.statuses[track.status[row]].replaceAll("_", " ")}`);
    else data.labels
      .map((label, place) => [track[drawn][place][row], label, place])
      .filter(([, , place]) => shown[place])
      .sort((one, other) => other[0] - one[0])
      .forEach(([share, label, place], rank, all) => {
        if (rank < 8) add(`${(share / 1000).toFixed(2)} ${label}`, style(place).colour);
        else if (rank === 8) add(`+${all.length - 8} more`);
      });
    const seen = SEEN.map(([name]) => [name, track.quality[name][row]]).filter(([, value]) => value !== null);
    if (seen.length) add(seen.map(([name, value]) => `${name} ${value}${{ size: " px", yaw: "°" }[name] ?? ""}`).join(", "));
    tip.style.left = at < width / 2 ? `${at + 10}px` : "auto";
    tip.style.right = at < width / 2 ? "auto" : `${width - at + 10}px`;
  }

  function listen({ canvas, track }) {
    const timeAt = (event) => {
      const box = canvas.getBoundingClientRect();
      const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
      return view[0] + Math.min(Math.max(share, 0), 1) * (view[1] - view[0]);
    };
    const fingers = new Map();
    let pinch = null;
    canvas.addEventListener("pointerdown", (event) => {
      fingers.set(event.pointerId, event.clientX);
      if (event.pointerType === "mouse" && event.button === 0) picked = [timeAt(event), timeAt(event)];
      if (fingers.size === 2) pinch = { view: [...view], xs: [...fingers.values()] };
      cursor = timeAt(event);
      draw();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (fingers.has(event.pointerId)) fingers.set(event.pointerId, event.clientX);
      if (fingers.size === 2 && pinch) {
        const [one, two] = [...fingers.values()], box = canvas.getBoundingClientRect();
        const span = pinch.view[1] - pinch.view[0], size = box.width - LEFT - RIGHT;
        const factor = Math.abs(pinch.xs[0] - pinch.xs[1]) / Math.max(Math.abs(one - two), 10);
        const middle = pinch.view[0] + ((pinch.xs[0] + pinch.xs[1]) / 2 - box.left - LEFT) / size * span;
        const from = middle - ((one + two) / 2 - box.left - LEFT) / size * span * factor;
        setView(from, from + span * factor);
        return;
      }
      cursor = timeAt(event);
      if (picked) picked[1] = cursor;
      draw();
    });
    const lift = (event) => {
      fingers.delete(event.pointerId);
      pinch = null;
      const range = picked && [Math.min(...picked), Math.max(...picked)];
      picked = null;
      // A click wobbles by a few pixels; a range is dragged.
      if (range && event.type === "pointerup" && range[1] - range[0] > (view[1] - view[0]) * 0.01) setView(...range);
      else draw();
    };
    canvas.addEventListener("pointerup", lift);
    canvas.addEventListener("pointercancel", lift);
    canvas.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") cursor = null; lift(event); });
    canvas.addEventListener("dblclick", () => setView(...whole));
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // the plain wheel scrolls the page
      event.preventDefault();
      zoom(event.deltaY > 0 ? 1.25 : 0.8, timeAt(event));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const row = cursor === null ? nearest(track, view[0]) : nearest(track, cursor);
      const moves = { ArrowRight: 1, ArrowLeft: -1 };
      if (event.key in moves) {
        cursor = track.centre[Math.min(Math.max(row + (cursor === null ? 0 : moves[event.key]), 0), track.centre.length - 1)];
        if (cursor < view[0] || cursor > view[1]) pan((cursor - (view[0] + view[1]) / 2) / (view[1] - view[0]));
      } else if (event.key === "+") zoom(0.5, cursor ?? undefined);
      else if (event.key === "-") zoom(2, cursor ?? undefined);
      else if (event.key === "0") setView(...whole);
      else if (event.key === "Escape") cursor = null;
      else return;
      event.preventDefault();
      draw();
    });
  }

  const legend = document.querySelector(".legend");
  data.labels.forEach((label, at) => {
    const button = legend.appendChild(document.createElement("button"));
    button.setAttribute("aria-pressed", "true");
    const { colour, dash } = style(at);
    button.innerHTML = `<svg aria-hidden="true"><line x1="0" y1="6" x2="36" y2="6" stroke="${colour}" stroke-width="3" stroke-dasharray="${dash}"/></svg>`;
    button.append(label);
    button.addEventListener("click", () => {
      shown[at] = !shown[at];
      button.setAttribute("aria-pressed", String(shown[at]));
      draw();
    });
  });
  const scores = (button) => {
    drawn = drawn === "probs" ? "scores" : "probs";
    button.setAttribute("aria-pressed", String(drawn === "scores"));
    draw();
  };
  const actions = { scores, in: () => zoom(0.5), out: () => zoom(2), back: () => pan(-0.5), on: () => pan(0.5), all: () => setView(...whole) };
  for (const button of document.querySelectorAll("[data-action]")) {
    button.addEventListener("click", () => actions[button.dataset.action](button));
  }
  for (const button of document.querySelectorAll("[data-time]")) {
    button.addEventListener("click", () => {
      cursor = Number(button.dataset.time);
      setView(cursor - 10, cursor + 10);
      document.getElementById(button.dataset.chart).scrollIntoView({ block: "center", behavior: "smooth" });
    });
  }
  for (const track of data.tracks) {
    track.centre = track.start.map((start, at) => (start + track.end[at]) / 2);
    // What each row speaks for: halfway to its neighbours, but for gaps, where Python says it.
    track.from = track.centre.map((time, at) => at ? (track.centre[at - 1] + time) / 2 : track.start[0]);
    track.to = track.centre.map((_, at) => track.from[at + 1] ?? track.end[at]);
    track.gap = track.centre.map(() => false);
    for (const [at, from, to] of track.gaps) [track.gap[at], track.to[at - 1], track.from[at]] = [true, from, to];
    // Nothing is drawn before a face is in the picture, or after.
    for (const times of ["centre", "from", "to"]) {
      track[times] = track[times].map((time) => Math.min(Math.max(time, track.seen[0]), track.seen[1]));
    }
    const chart = document.getElementById(`chart-${track.id}`);
    charts.push({ canvas: chart.querySelector("canvas"), tip: chart.querySelector(".tip"), track });
    listen(charts.at(-1));
  }
  window.addEventListener("resize", draw);
  // The style of paper: its width, and dark ink.
  const print = (on) => { document.documentElement.classList.toggle("print", on); draw(); };
  window.addEventListener("beforeprint", () => print(true));
  window.addEventListener("afterprint", () => print(false));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  setView(...whole);
})();
