"""The style sheet and the script of a report."""

STYLE = """
:root{color-scheme:light}
*{box-sizing:border-box}
body{font:14px/1.45 -apple-system,'Segoe UI','Helvetica Neue',Arial,sans-serif;color:#1f2933;
background:#fff;max-width:1160px;margin:28px auto;padding:0 24px}
h1{font-size:24px;margin:0 0 2px}h2{font-size:16px;margin:26px 0 8px}
header p,.hint,figcaption{color:#5f6b7a;margin:0 0 8px;font-size:13px}
.strip{border:1px solid #d9dee5;border-radius:10px;padding:12px 18px;background:#f8fafc}
section{break-inside:auto}figure{margin:0 0 14px;break-inside:avoid}
.plots{display:flex;flex-wrap:wrap;gap:4px 26px;align-items:flex-end}
figure svg{max-width:100%;height:auto}
table{border-collapse:collapse;font-size:13px}
.rows{width:100%}.rows th{text-align:left;border-bottom:2px solid #9aa5b1;padding:4px 8px;
cursor:pointer;white-space:nowrap;background:#fff;position:sticky;top:0}
.rows td{border-bottom:1px solid #e4e8ed;padding:3px 8px;vertical-align:middle}
.rows th[data-d='1']:after{content:' \\25B4'}.rows th[data-d='-1']:after{content:' \\25BE'}
tr{break-inside:avoid}
td.n{font-variant-numeric:tabular-nums;white-space:nowrap}
td.p{width:180px}td.p svg{display:block}
td.t{font-family:ui-monospace,'SF Mono',Menlo,Consolas,monospace;font-size:12px;
overflow-wrap:anywhere;max-width:300px}
tr.wrong td{background:#fdf3ee}tr.wrong td:last-child{color:#9c2f00}.none{color:#9c2f00}
.reasons td{padding:2px 8px}.bar{width:160px}.bar i{display:block;height:9px;background:#d55e00;
border-radius:2px}
pre{background:#f8fafc;border:1px solid #d9dee5;border-radius:8px;padding:10px 14px;
font-size:12px;white-space:pre-wrap;overflow-wrap:anywhere}
@media print{body{margin:0;max-width:none;padding:0}.hint{display:none}.rows th{position:static}
h2{break-after:avoid}}
"""

SCRIPT = """
document.querySelectorAll('.rows th').forEach((th, c) => th.onclick = () => {
  const body = th.closest('table').tBodies[0], d = th.dataset.d === '-1' ? 1 : -1;
  th.parentNode.querySelectorAll('th').forEach(o => delete o.dataset.d); th.dataset.d = d;
  const key = r => { const e = r.cells[c], v = e.dataset.v ?? e.textContent;
    return v !== '' && !isNaN(v) ? +v : v; };
  const rows = [...body.rows].sort((a, b) => { const x = key(a), y = key(b);
    return d * (typeof x === 'number' && typeof y === 'number' ? x - y
      : String(x).localeCompare(String(y))); });
  body.append(...rows);
});
"""
