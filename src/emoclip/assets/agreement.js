"use strict";
// Strips are SVGs whose unit is a second: to show a time is to narrow the viewBox.
function show(strip, start, end) {
  const svg = strip.querySelector("svg");
  svg.dataset.whole ??= svg.getAttribute("viewBox");
  const [, , whole, height] = svg.dataset.whole.split(" ").map(Number);
  const margin = Math.max(5, end - start);
  const from = Math.max(0, start - margin), to = Math.min(whole, end + margin);
  svg.setAttribute("viewBox", `${from} 0 ${to - from} ${height}`);
  strip.querySelector(".range").textContent = `${from.toFixed(1)} s to ${to.toFixed(1)} s`;
}
document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if ("all" in button.dataset) {
    for (const strip of document.querySelectorAll(".strip")) {
      strip.classList.remove("shown");
      show(strip, 0, Infinity);
      strip.querySelector(".range").textContent = "";
    }
    return;
  }
  for (const other of document.querySelectorAll(".strip.shown")) other.classList.remove("shown");
  const strip = document.getElementById(button.dataset.strip);
  strip.classList.add("shown");
  show(strip, Number(button.dataset.start), Number(button.dataset.end));
  strip.scrollIntoView({ block: "start", behavior: "smooth" });
});
