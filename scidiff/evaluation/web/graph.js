// Graphs: nodes placed so that distances on paper are those along edges.

const NODE_COLOURS = 7;

// Stress majorisation (Gansner, Koren and North 2004, eq. 13) from a circle: with weights d^-2,
// x_i <- mean over j of x_j + d_ij (x_i - x_j) / |x_i - x_j|, sum_ij w_ij (|x_i - x_j| - d_ij)^2 falls.
function layout(n, edges) {
  const far = distances(n, edges);
  const x = Float64Array.from({length: n}, (_, i) => Math.cos(2 * Math.PI * i / n) * Math.sqrt(n));
  const y = Float64Array.from({length: n}, (_, i) => Math.sin(2 * Math.PI * i / n) * Math.sqrt(n) * 0.97);
  const rounds = Math.min(500, Math.max(40, 2e6 / (n * n)));  // of n^2 steps each
  for (let round = 0; round < rounds; round += 1) {
    for (let i = 0; i < n; i += 1) {
      let sx = 0, sy = 0, sw = 0;
      for (let j = 0; j < n; j += 1) {
        if (i === j) continue;
        const d = far[i * n + j], w = 1 / (d * d);
        const [dx, dy] = [x[i] - x[j], y[i] - y[j]];
        const here = Math.hypot(dx, dy) || 1e-9;
        sx += w * (x[j] + d * dx / here);
        sy += w * (y[j] + d * dy / here);
        sw += w;
      }
      if (sw > 0) { x[i] = sx / sw; y[i] = sy / sw; }
    }
  }
  return {x, y};
}

// Edges along the shortest way, (n * n,); parts that no way joins are kept a little apart.
function distances(n, edges) {
  const near = Array.from({length: n}, () => []);
  for (let k = 0; k < edges.length; k += 2) {
    near[edges[k]].push(edges[k + 1]);
    near[edges[k + 1]].push(edges[k]);
  }
  const far = new Float64Array(n * n).fill(1.5 * Math.sqrt(n) + 1);
  for (let start = 0; start < n; start += 1) {
    const seen = new Map([[start, 0]]);
    const queue = [start];
    for (let k = 0; k < queue.length; k += 1) {
      for (const next of near[queue[k]]) {
        if (seen.has(next)) continue;
        seen.set(next, seen.get(queue[k]) + 1);
        queue.push(next);
      }
    }
    for (const [node, d] of seen) far[start * n + node] = d;
  }
  return far;
}

const laidOut = new Map();
const nodeTypes = [...new Set(doc.kind === 'graph' ? doc.drawn.flatMap(g => g?.t ?? []) : [])].sort();

function drawGraph(row, width, height) {
  const graph = doc.drawn[row];
  if (!graph) return null;
  if (!laidOut.has(row)) laidOut.set(row, layout(graph.n, graph.e));
  const {x, y} = laidOut.get(row);
  const [left, right, top, bottom] = [Math.min(...x), Math.max(...x), Math.min(...y), Math.max(...y)];
  const pad = 12;
  const scale = Math.min((width - 2 * pad) / Math.max(right - left, 1e-9),
    (height - 2 * pad) / Math.max(bottom - top, 1e-9), 40);
  const at = i => [width / 2 + (x[i] - (left + right) / 2) * scale,
    height / 2 + (y[i] - (top + bottom) / 2) * scale];
  const lines = new Map();
  for (let k = 0; k < graph.e.length / 2; k += 1) {
    const [[ax, ay], [bx, by]] = [at(graph.e[2 * k]), at(graph.e[2 * k + 1])];
    const wide = 0.5 + 0.7 * (typeof graph.w?.[k] === 'number' ? graph.w[k] : 1);
    lines.set(wide, `${lines.get(wide) ?? ''}M${fix(ax)} ${fix(ay)}L${fix(bx)} ${fix(by)}`);
  }
  const radius = Math.min(5, Math.max(1.5, 16 / Math.sqrt(graph.n || 1)));
  return svg('svg', {viewBox: `0 0 ${width} ${height}`, width, height, class: 'graph', 'aria-hidden': 'true'},
    ...[...lines].map(([wide, d]) => svg('path', {class: 'edge', d, 'stroke-width': wide})),
    ...Array.from({length: graph.n}, (_, i) => svg('circle', {cx: fix(at(i)[0]), cy: fix(at(i)[1]), r: radius,
      class: `node${nodeTypes.indexOf(graph.t?.[i]) % NODE_COLOURS}`})));
}
