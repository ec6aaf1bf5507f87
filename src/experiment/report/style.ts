/** The report's looks, and the script behind a point's details. */

export const STYLE = `
:root { color-scheme: light dark; --text: #1c2430; --quiet: #5b6675; --back: #fff; --line: #dfe4ea; --panel: #f4f6f9;
  --series-1: #2b6cb0; --series-2: #c05621; --series-3: #2f855a; --series-4: #805ad5; --series-5: #b7791f;
  --series-6: #c2407a; --series-7: #0d8a94; --series-8: #6b7280; }
@media (prefers-color-scheme: dark) { :root { --text: #e6eaf0; --quiet: #9aa6b5; --back: #12161c; --line: #2b333d;
  --panel: #1b212a; --series-1: #63a4e8; --series-2: #f0955a; --series-3: #68c990; --series-4: #b39df5;
  --series-5: #e3b54a; --series-6: #f08fbb; --series-7: #4fc4cf; --series-8: #a3acb9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1140px; padding: 16px; font: 15px/1.5 system-ui, sans-serif; color: var(--text);
  background: var(--back); }
h1 { font-size: 1.5rem; margin: 8px 0; overflow-wrap: anywhere; } h2 { margin: 32px 0 8px; font-size: 1.25rem; }
h3 { font-size: 1rem; margin: 16px 0 4px; } p, li { margin: 4px 0; max-width: 80ch; overflow-wrap: anywhere; }
.quiet { color: var(--quiet); font-size: 13px; }
pre { background: var(--panel); padding: 8px 12px; border-radius: 6px; white-space: pre-wrap; overflow-wrap: anywhere;
  font-size: 13px; margin: 4px 0; } pre span { display: inline-block; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; margin: 8px 0; }
th, td { padding: 4px 16px 4px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 600; vertical-align: bottom; } td { white-space: nowrap; }
td:first-child { max-width: 60ch; overflow: hidden; text-overflow: ellipsis; }
.number { text-align: right; font-variant-numeric: tabular-nums; } th.number { min-width: 5.5em; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 460px), 1fr)); gap: 24px 32px; }
figure { margin: 0; } figcaption { font-weight: 600; font-size: 14px; } svg { width: 100%; height: auto; display: block; }
svg text { font: 12px system-ui, sans-serif; fill: var(--quiet); } svg text.axis { fill: var(--text); }
svg .grid { stroke: var(--line); } svg .line, svg .guide { fill: none; stroke-width: 1.5; }
svg .guide { stroke-dasharray: 4 4; } svg .ring { fill: none; stroke: var(--text); stroke-width: 1.5; }
svg .dot { stroke: var(--back); stroke-width: 1; } svg .dot:hover { stroke: var(--text); stroke-width: 2; }
.legend { list-style: none; margin: 4px 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 12px;
  color: var(--quiet); }
.legend li { margin: 0; } .legend i { display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 6px; }
.legend .dash { border-radius: 0; height: 0; width: 16px; border-top: 2px dashed var(--quiet); vertical-align: middle; }
#tip { position: fixed; pointer-events: none; max-width: min(320px, 90vw); background: var(--panel); color: var(--text);
  border: 1px solid var(--quiet); border-radius: 6px; padding: 6px 10px; font-size: 13px; white-space: pre-line; z-index: 1; }
#tip[hidden] { display: none; }
`;

/** Takes the browser's slow hints away and shows the same text at once, by pointer or by finger. */
export const TIP_SCRIPT = `
const tip = document.getElementById('tip');
for (const title of document.querySelectorAll('.dot title')) {
  const dot = title.parentNode;
  const text = title.textContent;
  title.remove();
  dot.setAttribute('aria-label', text);
  dot.addEventListener('pointerenter', (event) => {
    tip.textContent = text;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 4)) + 'px';
    tip.style.top = Math.max(4, Math.min(event.clientY + 14, innerHeight - height - 4)) + 'px';
  });
  dot.addEventListener('pointerleave', () => { tip.hidden = true; });
}
addEventListener('scroll', () => { tip.hidden = true; });
`;
