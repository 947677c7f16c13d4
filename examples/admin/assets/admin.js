// The live page of a server's pools: asks /stats once a second and draws what it says.
'use strict';
(() => {
  const period_ms = 1000;
  const history_max = 180;  // samples, and so seconds

  // Numbers for people: three digits and a unit.
  const scaled = (value, step, units) => {
    let unit = 0;
    let left = Math.abs(value);
    while (left >= (step === 1024 ? 1000 : step) && unit + 1 < units.length) {
      left /= step;
      ++unit;
    }
    const digits = unit === 0 ? (step === 1024 || Number.isInteger(left) ? 0 : 1) : left < 10 ? 2 : left < 100 ? 1 : 0;
    return [(value < 0 ? '-' : '') + left.toFixed(digits), units[unit]];
  };
  const bytes = (value) => scaled(value, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB']);
  const count = (value) => value < 10000 && Number.isInteger(value)
    ? [value.toLocaleString('en').replaceAll(',', '\u202f'), '']
    : scaled(value, 1000, ['', 'k', 'M', 'G', 'T']);
  const percent = (part, whole) => whole > 0 ? [(100 * part / whole).toFixed(part === whole ? 0 : 1), '%'] : ['\u2013', ''];
  const text = ([value, unit], suffix = '') => value + (unit ? '\u00a0' : '') + unit + suffix;
  const counted = (value, singular) => text(count(value)) + ' ' + singular + (value === 1 ? '' : 's');
  const duration = (seconds) => {
    const parts = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
    const first = Math.max(0, parts.findIndex(([length]) => seconds >= length));
    return parts.slice(seconds < 1 ? 3 : first, (seconds < 1 ? 3 : first) + 2).map(([length, unit], index) => {
      const whole = Math.floor((index === 0 ? seconds : seconds % parts[first + index - 1][0]) / length);
      return whole + '\u00a0' + unit;
    }).join(' ');
  };

  const element = (tag, className, content) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (content !== undefined) made.append(content);
    return made;
  };
  const svg = (tag, attributes) => {
    const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };

  // What is drawn of a sample: gauges as they are, counters by their change since the sample before.
  const history = [];
  let chosen = 0;  // index of the pool
  const metric = (stats, name) => stats.metrics.find((each) => each.name === name)?.value;
  const pool = (stats) => stats.pools[Math.min(chosen, stats.pools.length - 1)];
  const rate = (index, of) => {
    if (index < 1) return undefined;
    const [before, now] = [history[index - 1], history[index]];
    const [first, second] = [of(before.stats), of(now.stats)];
    if (first === undefined || second === undefined || second < first) return undefined;
    return (second - first) / Math.max((now.at - before.at) / 1000, 0.001);
  };
  const last = () => history.length - 1;

  // --- tiles
  const tiles = document.getElementById('tiles');
  const tile = (label, value, detail, part) => {
    const made = element('div', 'tile');
    const number = element('div', 'value', value[0]);
    if (value[1]) number.append(element('span', 'unit', value[1]));
    made.append(element('div', 'label', label), number);
    if (part !== undefined) {
      const meter = element('div', part > 0.9 ? 'meter high' : 'meter');
      const filled = element('div');
      filled.style.width = (100 * Math.min(1, part)).toFixed(1) + '%';
      meter.append(filled);
      made.append(meter);
    }
    made.append(element('div', 'detail', detail || '\u00a0'));
    return made;
  };
  const perSecond = (value, format) => {
    if (value === undefined) return ['\u2013', ''];
    const [number, unit] = format(value);
    return [number, unit + '/s'];
  };
  const drawTiles = (stats) => {
    const now = pool(stats);
    const budget = now.budget_bytes_max;
    const made = [];
    made.push(tile('Memory in use', bytes(now.in_use_bytes),
      counted(now.in_use, 'buffer') + ', ' + text(bytes(now.cached_bytes)) + ' cached'));
    made.push(budget === null
      ? tile('Budget', ['none', ''], 'most ever ' + text(bytes(now.bytes_high_water)))
      : tile('Budget taken', percent(now.bytes, budget),
        text(bytes(now.bytes)) + ' of ' + text(bytes(budget)) + ', most ' + text(bytes(now.bytes_high_water)),
        now.bytes / budget));
    const hits = rate(last(), (each) => pool(each).hits);
    const acquired = rate(last(), (each) => pool(each).acquired);
    made.push(tile('From a thread\u2019s cache', acquired ? percent(hits, acquired) : percent(now.hits, now.acquired),
      text(perSecond(acquired, count)) + ' buffers, ' + text(percent(now.hits, now.acquired)) + ' ever'));
    const connections = metric(stats, 'connections');
    if (connections !== undefined) {
      made.push(tile('Connections', count(connections), text(count(metric(stats, 'connections_accepted') ?? 0)) + ' ever'));
    }
    const received = rate(last(), (each) => metric(each, 'received_bytes'));
    const sent = rate(last(), (each) => metric(each, 'sent_bytes'));
    if (metric(stats, 'sent_bytes') !== undefined) {
      made.push(tile('Sent', perSecond(sent, bytes), 'received ' + text(perSecond(received, bytes))));
    }
    if (metric(stats, 'requests') !== undefined) {
      made.push(tile('Requests', perSecond(rate(last(), (each) => metric(each, 'requests')), count),
        text(count(metric(stats, 'requests'))) + ' ever'));
    }
    const cpu = rate(last(), (each) => each.process.cpu_s);
    made.push(tile('Process', bytes(stats.process.resident_bytes),
      (cpu === undefined ? '' : (100 * cpu).toFixed(0) + '\u00a0% of a CPU, ') +
      counted(stats.process.open_descriptors, 'descriptor')));
    tiles.replaceChildren(...made);
  };

  // --- charts: a line or two over the time that is remembered
  const height = 150;  // and as wide as there is room
  const left = 58;
  const bottom = 18;
  const top = 6;
  const charts = [
    {
      title: 'Throughput', format: (value) => text(bytes(value), '/s'), step: 1024,
      has: (stats) => metric(stats, 'sent_bytes') !== undefined,
      series: [
        ['sent', 'first', (index) => rate(index, (each) => metric(each, 'sent_bytes'))],
        ['received', 'second', (index) => rate(index, (each) => metric(each, 'received_bytes'))],
      ],
    },
    {
      title: 'Pool memory', format: (value) => text(bytes(value)), step: 1024, has: () => true,
      limit: (stats) => pool(stats).budget_bytes_max,
      series: [
        ['in use', 'first', (index) => pool(history[index].stats).in_use_bytes],
        ['cached', 'second', (index) => pool(history[index].stats).cached_bytes],
      ],
    },
    {
      title: 'Connections', format: (value) => text(count(value)), step: 1000,
      has: (stats) => metric(stats, 'connections') !== undefined,
      series: [['open', 'first', (index) => metric(history[index].stats, 'connections')]],
    },
    {
      title: 'Buffers acquired', format: (value) => text(count(value), '/s'), step: 1000, has: () => true,
      series: [
        ['all', 'first', (index) => rate(index, (each) => pool(each).acquired)],
        ['not from a cache', 'second', (index) => rate(index, (each) => pool(each).acquired - pool(each).hits)],
      ],
    },
  ];
  // The next round number whose half is round, too: 1, 2 or 4 times a power of ten, of the unit it will be shown in.
  const ceiling = (value, step) => {
    let unit = 1;
    while (step === 1024 && value / unit > 400) unit *= 1024;
    const power = 10 ** Math.floor(Math.log10(value / unit));
    const lead = value / unit / power;
    return unit * power * (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 4 ? 4 : 10);
  };
  // The time that is shown grows with what is known, from half a minute on.
  const span_s = () => Math.max(30, (history[last()].at - history[0].at) / 1000);

  const holder = document.getElementById('charts');
  for (const chart of charts) {
    chart.card = element('div', 'chart');
    chart.legend = element('p', 'legend');
    chart.drawing = svg('svg', { role: 'img', 'aria-label': chart.title });
    chart.card.append(element('h2', '', chart.title), chart.legend, chart.drawing);
    holder.append(chart.card);
    chart.drawing.addEventListener('pointermove', (event) => {
      const box = chart.drawing.getBoundingClientRect();
      chart.pointer = event.clientX - box.left;
      drawChart(chart);
    });
    chart.drawing.addEventListener('pointerleave', () => {
      chart.pointer = undefined;
      drawChart(chart);
    });
  }
  const drawChart = (chart) => {
    const stats = history[last()].stats;
    chart.card.hidden = !chart.has(stats);
    if (chart.card.hidden) return;
    const width = chart.drawing.clientWidth;
    const span = span_s();
    const x = (index) => left + (width - left) * (1 - (history[last()].at - history[index].at) / 1000 / span);
    const values = chart.series.map(([, , of]) => history.map((_, index) => of(index)));
    const largest = Math.max(0, ...values.flat().filter((value) => value !== undefined));
    const limit = chart.limit ? chart.limit(stats) : null;
    // A budget is drawn where it is near; far above, it would flatten everything below.
    const limitShown = limit !== null && limit !== undefined && limit <= 4 * largest;
    const most = ceiling(Math.max(largest, limitShown ? limit : 0, chart.step === 1024 ? 1024 : 2), chart.step);
    const y = (value) => height - bottom - (height - bottom - top) * value / most;
    const parts = [];
    for (const part of [0, 0.5, 1]) {
      parts.push(svg('line', { class: 'grid', x1: left, x2: width, y1: y(part * most), y2: y(part * most) }));
      const label = svg('text', { x: left - 8, y: y(part * most) + 4, 'text-anchor': 'end' });
      label.textContent = part === 0 ? '0' : chart.format(part * most);
      parts.push(label);
    }
    for (const [label, at, anchor] of [[duration(span) + ' ago', left, 'start'], ['now', width, 'end']]) {
      const written = svg('text', { x: at, y: height - 3, 'text-anchor': anchor });
      written.textContent = label;
      parts.push(written);
    }
    if (limitShown) parts.push(svg('line', { class: 'limit', x1: left, x2: width, y1: y(limit), y2: y(limit) }));
    chart.series.forEach(([, color], number) => {
      const points = [];
      values[number].forEach((value, index) => {
        if (value !== undefined) points.push([x(index).toFixed(1), y(value).toFixed(1)]);
      });
      if (points.length === 0) return;
      const line = points.map((point) => point.join(',')).join(' ');
      const base = y(0).toFixed(1);
      parts.push(svg('polygon', {
        class: 'area ' + color, points: `${points[0][0]},${base} ${line} ${points[points.length - 1][0]},${base}`,
      }));
      parts.push(svg('polyline', { class: 'line ' + color, points: line }));
    });
    // Under the pointer what was then; else what is now.
    let shown = last();
    if (chart.pointer !== undefined) {
      for (let index = 0; index < history.length; ++index) {
        if (Math.abs(x(index) - chart.pointer) < Math.abs(x(shown) - chart.pointer)) shown = index;
      }
      parts.push(svg('line', { class: 'cursor', x1: x(shown), x2: x(shown), y1: top, y2: height - bottom }));
    }
    chart.drawing.replaceChildren(...parts);
    const legend = [];
    chart.series.forEach(([name, color], number) => {
      const value = values[number][shown];
      legend.push(element('span', 'key ' + color), name + ' ' + (value === undefined ? '\u2013' : chart.format(value)));
    });
    const ago = Math.round((history[last()].at - history[shown].at) / 1000);
    if (chart.pointer !== undefined) legend.push(element('span', 'right', ago + '\u00a0s ago'));
    else if (limitShown) legend.push(element('span', 'right', 'budget ' + chart.format(limit)));
    chart.legend.replaceChildren(...legend);
  };

  // --- size classes
  const drawClasses = (stats) => {
    const classes = pool(stats).classes;
    const most = Math.max(1, ...classes.map((each) => Math.max(each.high_water, each.in_use + each.cached) * each.size));
    document.getElementById('classes-scale').textContent = 'full width: ' + text(bytes(most));
    const share = (blocks, each) => (100 * blocks * each.size / most).toFixed(2) + '%';
    const rows = classes.map((each) => {
      const row = element('tr');
      const bar = element('div', 'bar');
      for (const [className, blocks] of [['in-use', each.in_use], ['cached', each.cached]]) {
        const part = element('div', className);
        part.style.width = share(blocks, each);
        bar.append(part);
      }
      const mark = element('div', 'mark');
      mark.style.left = `min(${share(each.high_water, each)}, 100% - 2px)`;
      bar.append(mark);
      const occupancy = element('td', 'occupancy', bar);
      occupancy.title = text(bytes(each.in_use * each.size)) + ' in use, ' + text(bytes(each.cached * each.size)) +
        ' cached, at most ' + text(bytes(each.high_water * each.size));
      const cells = [count(each.in_use), count(each.cached), count(each.high_water), count(each.acquired),
        percent(each.hits, each.acquired), count(each.slabs)];
      row.append(element('td', 'number', text(bytes(each.size))), occupancy,
        ...cells.map((cell) => element('td', 'number', text(cell))));
      return row;
    });
    document.getElementById('classes').replaceChildren(...rows);
  };

  // --- the rest
  const drawMetrics = (stats) => {
    const now = pool(stats);
    const pairs = stats.metrics.map((each) => [
      each.help.replace(/\.$/, ''), text(each.name.endsWith('_bytes') ? bytes(each.value) : count(each.value)),
    ]);
    pairs.push(['Pool: requests refused, ever', text(count(now.refused))],
      ['Pool: memory that may be there for it', text(bytes(now.resident_bytes))],
      ['Pool: slabs', text(count(now.slabs)) + ', ' + text(bytes(now.slab_bytes))],
      ['Pool: buffers above the largest class, now', text(count(now.oversize_in_use)) + ', ' + text(bytes(now.oversize_bytes))],
      ['Pool: threads with a cache', text(count(now.threads))],
      ['Process: CPU time, ever', duration(stats.process.cpu_s)],
      ['Process: threads', text(count(stats.process.threads))]);
    document.getElementById('metrics').replaceChildren(...pairs.map(([name, value]) => {
      const pair = element('div');
      pair.append(element('dt', '', name), element('dd', '', value));
      return pair;
    }));
  };

  const pools = document.getElementById('pools');
  const drawPools = (stats) => {
    pools.hidden = stats.pools.length < 2;
    pools.replaceChildren(...stats.pools.map((each, index) => {
      const button = element('button', '', each.name);
      button.type = 'button';
      button.setAttribute('aria-pressed', String(index === chosen));
      button.addEventListener('click', () => {
        chosen = index;
        draw();
      });
      return button;
    }));
  };

  const draw = () => {
    const { stats } = history[last()];
    document.title = stats.program + ' \u00b7 ' + text(bytes(pool(stats).in_use_bytes)) + ' in use';
    document.getElementById('program').textContent = stats.program;
    document.getElementById('about').textContent = 'slabbuf ' + stats.version + ', up for ' + duration(stats.uptime_s);
    document.querySelector('main').hidden = false;
    drawPools(stats);
    drawTiles(stats);
    charts.forEach(drawChart);
    drawClasses(stats);
    drawMetrics(stats);
  };

  const say = (state, message) => {
    document.getElementById('state').className = state;
    document.getElementById('state-text').textContent = message;
  };
  let samples = 0;
  const ask = async () => {
    try {
      const answer = await fetch('/stats', { cache: 'no-store', signal: AbortSignal.timeout(5 * period_ms) });
      if (!answer.ok) throw new Error('status ' + answer.status);
      history.push({ at: performance.now(), stats: await answer.json() });
      if (history.length > history_max) history.shift();
      draw();
      document.documentElement.dataset.samples = String(++samples);
      say('live', 'live');
    } catch (fault) {
      say('lost', 'no answer');
    }
    setTimeout(ask, period_ms);
  };
  ask();
})();
