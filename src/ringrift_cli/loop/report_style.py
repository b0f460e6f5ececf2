"""How the page of the report looks, by day and by night."""

STYLE = """\
:root {
  color-scheme: light dark;
  --paper: #fbfaf7; --ink: #26252c; --faint: #6d6a73; --line: #dcd8d0; --card: #ffffff;
  --c0: #2f6db5; --c1: #d1543f; --c2: #5b9a86; --c3: #b98a1c; --c4: #8a5fb0; --c5: #7a7a7a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #18181c; --ink: #e8e6e1; --faint: #a19ea8; --line: #38373f; --card: #212127;
    --c0: #7db2ee; --c1: #f08a76; --c2: #86cbb5; --c3: #e5c163; --c4: #c3a1e6; --c5: #b5b5b5;
  }
}
body {
  margin: 0 auto; padding: 1.5rem; max-width: 84rem;
  background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
}
h1 { font-size: 1.6rem; margin: 0 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 0.6rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 0.4rem; }
.facts {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 0.8rem;
  margin: 0;
}
.facts div {
  background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 0.5rem 0.8rem;
}
dt { color: var(--faint); font-size: 0.8rem; }
dd { margin: 0; overflow-wrap: anywhere; }
.charts {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(28rem, 100%), 1fr)); gap: 1rem;
}
figure {
  margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 0.6rem;
}
.charts figure { max-width: 44rem; }
figcaption { font-weight: 600; font-size: 0.9rem; }
figure svg { display: block; width: 100%; height: auto; }
figure p { margin: 0; font-size: 0.8rem; color: var(--faint); }
figure text { fill: var(--faint); font-size: 12px; }
.key { margin-right: 1rem; white-space: nowrap; }
.key i {
  display: inline-block; width: 0.7em; height: 0.7em; border-radius: 2px; margin-right: 0.35em;
  background: var(--c);
}
.c0 { --c: var(--c0); } .c1 { --c: var(--c1); } .c2 { --c: var(--c2); }
.c3 { --c: var(--c3); } .c4 { --c: var(--c4); } .c5 { --c: var(--c5); }
.grid { stroke: var(--line); fill: none; }
.line { stroke: var(--c); stroke-width: 2; fill: none; }
.dashed { stroke-dasharray: 5 5; stroke-width: 1.5; }
.bar { stroke: var(--c); fill: none; opacity: 0.7; }
.band { fill: var(--c); opacity: 0.2; }
.dot { fill: var(--c); }
.fill { fill: var(--c); }
.boards {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 0.8rem;
}
.boards figcaption { font-weight: 400; text-align: center; }
.boards text { fill: initial; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.88rem; font-variant-numeric: tabular-nums; }
th, td {
  text-align: left; padding: 0.25rem 0.9rem 0.25rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top;
}
th { color: var(--faint); font-weight: 600; }
pre { overflow: auto; max-height: 30rem; font-size: 0.8rem; }
summary { cursor: pointer; color: var(--faint); }
@media print { details { display: none; } }
"""
