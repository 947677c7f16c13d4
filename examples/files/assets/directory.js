// The listing of a directory: sorts and filters it, and where the server lets files be written, uploads and deletes them.
'use strict';
(() => {
  const entries = document.getElementById('entries');
  const headers = [...document.querySelectorAll('th[data-key]')];
  const filter = document.getElementById('filter');
  const writable = document.body.dataset.writable === 'true';
  const rows = () => [...entries.querySelectorAll('tr[data-name]')];

  // Sorting: directories stay before files, "file2" comes before "file10".
  const byName = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' });
  let sorting = { key: 'name', descending: false };
  const compare = (a, b) => {
    const kind = Number(b.dataset.directory) - Number(a.dataset.directory);
    if (kind !== 0) return kind;
    const order = sorting.key === 'name' ? 0 : Number(a.dataset[sorting.key]) - Number(b.dataset[sorting.key]);
    return (sorting.descending ? -1 : 1) * (order || byName.compare(a.dataset.name, b.dataset.name));
  };
  const show = () => {
    entries.append(...rows().sort(compare));
    const wanted = filter.value.trim().toLowerCase();
    for (const row of rows()) row.hidden = !row.dataset.name.toLowerCase().includes(wanted);
    for (const header of headers) {
      if (header.dataset.key !== sorting.key) header.removeAttribute('aria-sort');
      else header.setAttribute('aria-sort', sorting.descending ? 'descending' : 'ascending');
    }
  };
  for (const header of headers) {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = header.textContent;
    button.addEventListener('click', () => {
      const key = header.dataset.key;
      sorting = { key, descending: sorting.key === key ? !sorting.descending : key !== 'name' };
      show();
    });
    header.replaceChildren(button);
  }
  filter.hidden = false;
  filter.addEventListener('input', show);
  if (!writable) return;

  // What the server has now takes the place of what it had.
  const refresh = async () => {
    const answer = await fetch('./', { headers: { Accept: 'text/html' }, cache: 'no-store' });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
    entries.replaceChildren(...fresh.getElementById('entries').children);
    document.querySelector('.summary').textContent = fresh.querySelector('.summary').textContent;
    addDeleteButtons();
    show();
  };

  // Relative: a path that begins with two slashes would be another server's.
  const urlOf = (name) => new URL('./' + encodeURIComponent(name), location.href).href;
  const existing = (name) => rows().find((row) => row.dataset.name === name);

  const addDeleteButtons = () => {
    for (const row of rows()) {
      if (row.dataset.directory === '1') continue;
      const button = document.createElement('button');
      button.type = 'button';
      button.className = 'delete';
      button.textContent = '\u2715';
      button.title = 'Delete ' + row.dataset.name;
      button.setAttribute('aria-label', button.title);
      button.addEventListener('click', () => remove(row.dataset.name, row.querySelector('a').href));
      row.lastElementChild.replaceChildren(button);
    }
  };
  const remove = async (name, url) => {
    if (!confirm('Delete "' + name + '"?')) return;
    const answer = await fetch(url, { method: 'DELETE' });
    if (!answer.ok && answer.status !== 404) alert('"' + name + '" was not deleted: ' + reason(answer.status));
    await refresh();
  };

  const reasons = {
    403: 'the server does not allow it', 405: 'the server does not allow it', 408: 'the connection is too slow',
    409: 'something else has this name', 412: 'another file of this name has appeared', 413: 'it is too large for the server',
    507: 'the disk of the server is full',
  };
  const reason = (status) => reasons[status] || (status ? 'the server says ' + status : 'the connection broke');

  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const formatSize = (bytes) => {
    let unit = 0;
    for (; bytes >= 1024 && unit + 1 < units.length; ++unit) bytes /= 1024;
    return (unit === 0 ? String(Math.round(bytes)) : bytes.toFixed(1)) + ' ' + units[unit];
  };

  // One upload at a time, each with a card that shows how far it is.
  const transfers = document.getElementById('transfers');
  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  let queue = Promise.resolve();
  const enqueue = (files) => {
    transfers.hidden = false;
    for (const file of files) {
      const card = element('div', 'transfer');
      const state = element('span', 'state', 'waiting');
      const bar = element('progress');
      bar.max = 1;
      bar.value = 0;
      bar.setAttribute('aria-label', 'Upload of ' + file.name);
      card.append(element('span', 'name', file.name), state, bar);
      transfers.append(card);
      queue = queue.then(() => send(file, card, state, bar)).then(refresh).catch(() => {});
    }
  };
  const send = (file, card, state, bar) => new Promise((done) => {
    const end = (className, text) => {
      card.classList.add(className);
      state.textContent = text;
      done();
    };
    const replaces = existing(file.name);
    if (replaces && !confirm('Replace "' + file.name + '"?')) return end('failed', 'not replaced');
    const request = new XMLHttpRequest();
    const started = performance.now();
    request.upload.addEventListener('progress', (event) => {
      const seconds = (performance.now() - started) / 1000;
      bar.value = event.total ? event.loaded / event.total : 1;
      state.textContent = formatSize(event.loaded) + ' of ' + formatSize(event.total) + ' \u00b7 ' +
        formatSize(event.loaded / Math.max(seconds, 0.001)) + '/s';
    });
    request.addEventListener('loadend', () => {
      if (request.status >= 200 && request.status < 300) end('done', formatSize(file.size) + ' uploaded');
      else end('failed', 'failed: ' + reason(request.status));
    });
    request.open('PUT', urlOf(file.name));
    // One that has appeared meanwhile is not replaced unasked.
    if (!replaces) request.setRequestHeader('If-None-Match', '*');
    request.send(file);
  });

  const chosen = document.getElementById('chosen');
  document.getElementById('upload').hidden = false;
  chosen.addEventListener('change', () => {
    enqueue([...chosen.files]);
    chosen.value = '';
  });

  // Dragging over a child leaves its parent: only the last leave is one.
  const drop = document.getElementById('drop');
  let depth = 0;
  const carriesFiles = (event) => event.dataTransfer && [...event.dataTransfer.types].includes('Files');
  addEventListener('dragenter', (event) => {
    if (!carriesFiles(event)) return;
    ++depth;
    drop.hidden = false;
  });
  addEventListener('dragleave', (event) => {
    if (carriesFiles(event) && --depth === 0) drop.hidden = true;
  });
  addEventListener('dragover', (event) => {
    if (carriesFiles(event)) event.preventDefault();
  });
  addEventListener('drop', (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    depth = 0;
    drop.hidden = true;
    // A directory has no bytes to send: entry.isFile tells it from a file.
    const items = [...event.dataTransfer.items];
    enqueue(items.filter((item) => item.kind === 'file' && (!item.webkitGetAsEntry || item.webkitGetAsEntry() === null ||
      item.webkitGetAsEntry().isFile)).map((item) => item.getAsFile()));
  });
  addDeleteButtons();
  show();
})();
