// Dots of two columns. All dots of a colour are one path, so that thousands are redrawn at once; the
// nearest one to the pointer, or to the arrow keys, is told and can be opened.

const CIVIDIS = ['#1f3b6d', '#434e6c', '#5f636e', '#7a7877', '#948e77', '#b3a66f', '#cebd60'];
const REACH = 14;  // pixels

function extent(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const v of values) {
    if (v === null || Number.isNaN(v)) continue;
    if (v < low) low = v;
    if (v > high) high = v;
  }
  if (low > high) return [0, 1];
  const pad = (high - low) * 0.04 || Math.abs(low) * 0.02 || 0.5;
  return [low - pad, high + pad];
}

// The shape of a run's dots, so that colour is not all that tells them apart.
const SHAPES = [
  (x, y) => `M${x - 2.4} ${y}a2.4 2.4 0 1 0 4.8 0a2.4 2.4 0 1 0 -4.8 0Z`,
  (x, y) => `M${x - 2.2} ${y - 2.2}h4.4v4.4h-4.4Z`, (x, y) => `M${x} ${y - 3}l3 5.2h-6Z`,
  (x, y) => `M${x} ${y - 3.2}l3.2 3.2l-3.2 3.2l-3.2 -3.2Z`, (x, y) => `M${x} ${y + 3}l3 -5.2h-6Z`,
  (x, y) => `M${x - 3.4} ${y - 1}h6.8v2h-6.8Z`,
];
const round = v => Math.round(v * 10) / 10;

// plot: {x, y: {name, values}, rows, groups: [{class or fill, shape, rows}], behind: [xs, ys] or null,
// front: rows to be joined, say: row -> text, open: row -> void, label}
function scatter(plot) {
  const [width, height] = [520, 380];
  const spans = ['x', 'y'].map((a, k) => extent([...(plot.behind?.[k] ?? []), ...plot[a].values]));
  const f = frame(width, height, ...spans, [plot.x.name, plot.y.name]);
  const at = i => [round(f.x(plot.x.values[i])), round(f.y(plot.y.values[i]))];
  const there = plot.rows.filter(i => Number.isFinite(plot.x.values[i] ?? NaN) && Number.isFinite(plot.y.values[i] ?? NaN));
  const places = new Map([...there].map(i => [i, at(i)]));
  const dots = group => Array.from(group.rows).filter(i => places.has(i))
    .map(i => SHAPES[group.shape ?? 0](...places.get(i))).join('');
  const back = (plot.behind?.[0] ?? []).map((v, k) => [v, plot.behind[1][k]])
    .filter(p => p[0] !== null && p[1] !== null).map(([x, y]) => SHAPES[0](round(f.x(x)), round(f.y(y))));
  const ring = svg('circle', {class: 'near', r: 7, visibility: 'hidden'});
  const picture = svg('svg', {viewBox: `0 0 ${width} ${height}`, width, height, class: 'scatter', role: 'application',
    tabindex: 0, 'aria-label': `${plot.label}: arrow keys go from dot to dot, Enter opens one`}, ...f.axis,
  back.length ? svg('path', {class: 'dots back', d: back.join('')}) : null,
  ...plot.groups.map(g => svg('path', {class: `dots ${g.class ?? ''}`, fill: g.fill, d: dots(g)})),
  plot.front?.length ? svg('path', {class: 'line front', d: joined(plot.front.filter(i => places.has(i)).map(i => places.get(i)))}) : null,
  ring);
  return el('div', {class: 'plot'}, picture, pointed(picture, ring, plot, places));
}

const joined = points => points.sort((a, b) => a[0] - b[0]).map(([x, y], k) => `${k ? 'L' : 'M'}${x} ${y}`).join('');

// What pointer and keys do to a plot: a line under it tells the dot that is meant.
function pointed(picture, ring, plot, places) {
  const said = el('p', {class: 'said', 'aria-live': 'polite'}, `${count(places.size)} dots`);
  let here = null;
  const mean = i => {
    here = i;
    ring.setAttribute('visibility', i === null ? 'hidden' : 'visible');
    if (i === null) return;
    const [x, y] = places.get(i);
    ring.setAttribute('cx', x);
    ring.setAttribute('cy', y);
    said.textContent = plot.say(i);
  };
  const nearest = event => {
    const box = picture.getBoundingClientRect();
    const scale = picture.viewBox.baseVal.width / box.width;
    const [px, py] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    let best = null, least = (REACH * scale) ** 2;
    for (const [i, [x, y]] of places) {
      const d = (x - px) ** 2 + (y - py) ** 2;
      if (d <= least) [best, least] = [i, d];
    }
    return best;
  };
  picture.addEventListener('pointermove', event => mean(nearest(event)));
  picture.addEventListener('click', event => {
    const i = nearest(event);
    if (i !== null) plot.open(i);
  });
  let walk = null;
  picture.addEventListener('keydown', event => {
    const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
    if (event.key === 'Enter' && here !== null) plot.open(here);
    if (!step || !places.size) return;
    event.preventDefault();
    walk ??= [...places.keys()].sort((a, b) => places.get(a)[0] - places.get(b)[0] || a - b);
    const k = here === null ? -1 : walk.indexOf(here);
    mean(walk[(k + step + walk.length) % walk.length]);
  });
  return said;
}

// ---- the plot of rows: any two columns, coloured by run or by a column

const axes = {x: null, y: null, colour: null};
const hasMap = () => columnNamed('map 1') !== undefined;

function rowScatter(open) {
  const name = axis => hasMap() && axis.name.startsWith('map ') ? {...axis, name: ''} : axis;
  return scatter({x: name(axes.x), y: name(axes.y), rows: view, groups: axes.colour ? byValue(axes.colour) : byRun(),
    behind: doc.behind && axes.x.name in doc.behind.columns && axes.y.name in doc.behind.columns
      ? [doc.behind.columns[axes.x.name], doc.behind.columns[axes.y.name]] : null,
    say: i => `${rowName(i)}: ${doc.text[i].slice(0, 90)}`
      + (axes.colour ? `, ${axes.colour.name} ${short(axes.colour.values[i])}` : ''),
    open, label: `${axes.y.name} by ${axes.x.name}`});
}

const byRun = () => doc.runs.map((_, r) => ({class: `run${r}`, shape: r, rows: view.filter(i => doc.run[i] === r)}));

// Seven steps of a colour scale that every eye orders, darkest first, so that the best lie on top.
function byValue(column) {
  const [low, high] = extent(column.values);
  const bucket = i => Math.min(6, Math.floor((column.values[i] - low) / (high - low) * 7));
  const groups = CIVIDIS.map(fill => ({fill, rows: []}));
  const none = {class: 'back', rows: []};
  for (const i of view) (Number.isNaN(column.values[i]) ? none : groups[bucket(i)]).rows.push(i);
  return [none, ...groups];
}

function legend() {
  const parts = [];
  if (doc.behind) parts.push(el('span', {}, el('i', {class: 'run back'}), doc.behind.name));
  if (axes.colour) {
    const [low, high] = extent(axes.colour.values);
    parts.push(el('span', {class: 'scale'}, short(low), ...CIVIDIS.map(c => svg('svg', {width: 16, height: 10},
      svg('rect', {width: 16, height: 10, fill: c}))), short(high)));
  } else if (several) {
    doc.runs.forEach((r, i) => parts.push(el('span', {}, svg('svg', {width: 12, height: 12},
      svg('path', {class: `dots run${i}`, d: SHAPES[i](6, 6)})), r.name)));
  }
  return el('p', {class: 'legend'}, ...parts);
}

// ---- what a campaign asked, by two terms of its reward

function paretoPlot(campaign, open) {
  const terms = Object.entries(campaign.terms).slice(0, 2).map(([name, values]) => ({name, values}));
  if (terms.length < 2) return null;
  const rows = campaign.text.map((_, i) => i);
  const best = rows.filter(i => campaign.best[i]), rest = rows.filter(i => !campaign.best[i]);
  return scatter({x: terms[0], y: terms[1], rows, label: `${terms[1].name} by ${terms[0].name}`, front: best,
    groups: [{class: 'back', rows: rest}, {class: `run${campaign.run}`, shape: 0, rows: best}], behind: null, open,
    say: i => `${campaign.text[i].slice(0, 90)}: ${terms.map(t => `${t.name} ${short(t.values[i])}`).join(', ')}`
      + (campaign.best[i] ? ', beaten by none' : '')});
}
