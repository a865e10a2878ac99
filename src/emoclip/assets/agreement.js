"use strict";
const strips = [...document.querySelectorAll(".strip")], rows = [...document.querySelectorAll("button[data-strip]")];
let current = -1; // place of the disagreement that is shown
const clock = (seconds) => {
  const tenths = Math.round(seconds * 10), minutes = Math.floor(tenths / 600), hours = Math.floor(minutes / 60);
  const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
};
// Strips are SVGs whose unit is a second: to show a time is to narrow the viewBox.
function show(strip, start, end) {
  const svg = strip.querySelector("svg");
  svg.dataset.whole ??= svg.getAttribute("viewBox");
  const [, , whole, height] = svg.dataset.whole.split(" ").map(Number);
  const margin = Math.max(5, end - start);
  const from = Math.max(0, start - margin), to = Math.min(whole, end + margin);
  svg.setAttribute("viewBox", `${from} 0 ${to - from} ${height}`);
  strip.querySelectorAll(".times span").forEach((place, at) => { place.textContent = clock(from + (to - from) * at / 2); });
  const box = svg.querySelector(".at");
  box.setAttribute("visibility", end < Infinity ? "visible" : "hidden");
  if (end < Infinity) { box.setAttribute("x", start); box.setAttribute("width", end - start); }
}
function leave() {
  for (const shown of document.querySelectorAll(".shown")) shown.classList.remove("shown");
  for (const strip of strips) strip.querySelector(".range").textContent = "";
}
function all() {
  leave();
  current = -1;
  for (const strip of strips) show(strip, 0, Infinity);
}
function visit(at) {
  leave();
  current = at;
  const { strip: id, start, end, said } = rows[at].dataset, strip = document.getElementById(id);
  for (const other of strips) if (other !== strip) show(other, 0, Infinity);
  rows[at].closest("tr").classList.add("shown");
  strip.classList.add("shown");
  show(strip, Number(start), Number(end));
  strip.querySelector(".range").textContent = `${clock(start)} to ${clock(end)}: ${said}`;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  strip.scrollIntoView({ block: "start", behavior: calm ? "auto" : "smooth" });
}
document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if ("all" in button.dataset) all();
  else if ("move" in button.dataset) {
    const move = Number(button.dataset.move), from = current < 0 && move < 0 ? 0 : current;
    visit((from + move + rows.length) % rows.length);
  } else visit(rows.indexOf(button));
});
all();
