// Axes, histograms of every numeric column, and the curves of campaigns.

const DASHES = ['', '5 2', '2 2', '7 2 2 2', '1 2', '9 3'];  // of runs, beside their colours

// About `wanted` round numbers in [low, high] (1, 2 or 5 times a power of ten apart).
function ticks(low, high, wanted = 5) {
  if (!(high > low)) return [low];
  const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(k => k * power).find(k => k >= rough * 0.99);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high + step * 1e-9; k += 1) found.push(+(k * step).toPrecision(12));
  return found;
}

// A frame with both axes; x and y map values to places.
function frame(width, height, xs, ys, names) {
  const [left, bottom, top, right] = [ys ? 46 : 8, names[0] ? 34 : 20, 8, 10];
  const scale = ([low, high], from, to) => value => from + (value - low) / ((high - low) || 1) * (to - from);
  const x = scale(xs, left, width - right), y = ys ? scale(ys, height - bottom, top) : null;
  const axis = [svg('path', {class: 'axis', d: `M${left} ${ys ? top : height - bottom}V${height - bottom}H${width - right}`})];
  for (const t of ticks(...xs)) {
    axis.push(svg('text', {class: 'tick', x: x(t), y: height - bottom + 13, 'text-anchor': 'middle'}, tickText(t)));
  }
  for (const t of ys ? ticks(...ys) : []) {
    axis.push(svg('text', {class: 'tick', x: left - 5, y: y(t) + 3.5, 'text-anchor': 'end'}, tickText(t)));
  }
  if (names[0]) axis.push(svg('text', {class: 'name', x: (left + width - right) / 2, y: height - 4, 'text-anchor': 'middle'}, names[0]));
  if (names[1]) {
    axis.push(svg('text', {class: 'name', transform: `translate(11 ${(top + height - bottom) / 2}) rotate(-90)`,
      'text-anchor': 'middle'}, names[1]));
  }
  return {x, y, axis, left, right: width - right, top, bottom: height - bottom};
}

const tickText = t => Math.abs(t) >= 1e5 ? t.toExponential(0) : String(+t.toPrecision(6));

// ---- histograms

// Bins of a column over all rows: one a value where these are few whole numbers, else 24 between the
// outermost half percents, what lies beyond in the last ones.
function binsOf(column, extra = []) {
  const all = [...column.values, ...extra.filter(v => v !== null)].filter(v => !Number.isNaN(v)).sort((a, b) => a - b);
  if (!all.length) return null;
  const at = share => all[Math.round(share * (all.length - 1))];
  const whole = all.every(Number.isInteger) && all[all.length - 1] - all[0] < 30;
  if (whole) return {low: all[0] - 0.5, high: all[all.length - 1] + 0.5, n: all[all.length - 1] - all[0] + 1};
  let [low, high] = [at(0.005), at(0.995)];
  if (low === high) [low, high] = [low - (Math.abs(low) * 0.01 || 0.5), high + (Math.abs(high) * 0.01 || 0.5)];
  return {low, high, n: 24};
}

function tally(column, bins, rows) {
  const found = doc.runs.map(() => new Int32Array(bins.n));
  for (const i of rows) {
    const value = column.values[i];
    if (!Number.isNaN(value)) found[doc.run[i]][binAt(bins, value)] += 1;
  }
  return found;
}

const binAt = (bins, value) => Math.min(bins.n - 1, Math.max(0,
  Math.floor((value - bins.low) / (bins.high - bins.low) * bins.n)));
const share = counts => {
  const total = counts.reduce((a, b) => a + b, 0);
  return Array.from(counts, c => total ? c / total : 0);
};

// A picture of a column and how it is redrawn: {node, draw}. `onPick` is told the ends of a bar.
function histogram(column, bins, onPick) {
  const [width, height] = [252, 122];
  const base = height - 20;
  const f = frame(width, height, [bins.low, bins.high], null, ['', '']);
  const step = (bins.high - bins.low) / bins.n;
  const every = tally(column, bins, doc.run.keys());
  const all = share(every.reduce((sum, c) => sum.map((v, k) => v + c[k]), new Int32Array(bins.n)));
  const behind = doc.behind?.columns[column.name]?.filter(v => v !== null);
  const back = behind?.length ? share(behind.reduce((sum, v) => {
    sum[binAt(bins, v)] += 1;
    return sum;
  }, new Int32Array(bins.n))) : null;
  const paths = svg('g');
  let now = every;
  const edge = k => bins.low + k * step;
  const said = k => `${short(+edge(k).toPrecision(4))} to ${short(+edge(k + 1).toPrecision(4))}: `
    + doc.runs.map((r, j) => `${several ? `${r.name} ` : ''}${count(now[j][k])}`).join(', ') + ' rows';
  const bars = Array.from({length: bins.n}, (_, k) => {
    const title = svg('title');
    return svg('rect', {class: 'bin', x: f.x(edge(k)), width: Math.max(0.1, f.x(edge(1)) - f.x(edge(0))), y: 4,
      height: base - 4, pointerenter: () => { title.textContent = said(k); },
      click: () => onPick(k === 0 ? -Infinity : edge(k), k === bins.n - 1 ? Infinity : edge(k + 1))}, title);
  });
  const outline = (heights, most) => 'M' + heights.map((h, k) => `${f.x(edge(k)).toFixed(1)} `
    + `${(base - h / most * (base - 8)).toFixed(1)}H${f.x(edge(k + 1)).toFixed(1)}`).join('L');
  const draw = () => {
    now = view.length === rowTotal ? every : tally(column, bins, view);
    const shares = now.map(share);
    const most = Math.max(1e-9, ...shares.flat(), ...(back ?? []), ...(now === every ? [] : all));
    const closed = heights => `${outline(heights, most)}V${base}H${f.left}Z`;
    paths.replaceChildren(...[now === every ? null : svg('path', {class: 'all', d: closed(all)}),
      ...shares.map((h, j) => svg('path', {class: `filled run${j}`, d: closed(h)})),
      ...shares.map((h, j) => svg('path', {class: `line run${j}`, d: outline(h, most), 'stroke-dasharray': DASHES[j]})),
      back ? svg('path', {class: 'behind', d: outline(back, most)}) : null].filter(Boolean));
  };
  draw();
  return {draw, node: svg('svg', {viewBox: `0 0 ${width} ${height}`, width, height, class: 'histogram', role: 'img',
    'aria-label': `histogram of ${column.name}`}, paths, ...f.axis, ...bars)};
}

// ---- curves

// Best score and mean of the ten best of every campaign, by objects asked.
function curves(campaigns) {
  const [width, height] = [460, 300];
  const told = campaigns.filter(c => (c.history.best ?? []).some(v => v !== null));
  if (!told.length) return el('p', {class: 'hint'}, 'No round was finished.');
  const values = told.flatMap(c => [...c.history.best, ...(c.history.mean_10 ?? [])]).filter(v => v !== null);
  const most = Math.max(...told.flatMap(c => c.history.asked));
  const pad = (Math.max(...values) - Math.min(...values)) * 0.06 || 0.05;
  const f = frame(width, height, [0, most], [Math.min(...values) - pad, Math.max(...values) + pad],
    ['distinct objects asked', 'score']);
  const line = (c, name) => {
    const points = c.history.asked.map((x, k) => [x, c.history[name]?.[k] ?? null]).filter(p => p[1] !== null);
    return points.map(([x, y], k) => `${k ? 'L' : 'M'}${f.x(x).toFixed(1)} ${f.y(y).toFixed(1)}`).join('');
  };
  return svg('svg', {viewBox: `0 0 ${width} ${height}`, width, height, class: 'curves', role: 'img',
    'aria-label': 'best score and mean of the ten best by distinct objects asked'}, ...f.axis,
  ...told.flatMap(c => [svg('path', {class: `line run${c.run}`, d: line(c, 'best')},
    svg('title', {}, `${doc.runs[c.run].name}: best`)),
  svg('path', {class: `line run${c.run}`, d: line(c, 'mean_10'), 'stroke-dasharray': '4 3'},
    svg('title', {}, `${doc.runs[c.run].name}: mean of the ten best`))]));
}
