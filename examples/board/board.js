// The page: a tile an airport, in the order of the ids, as the server tells.

const board = document.querySelector('#board');
const tiles = new Map();         // id => { element, flights }

function element(tag, name) {
  const made = document.createElement(tag);
  made.className = name;
  return made;
}

function tile(id) {
  const made = element('article', 'airport');
  const code = document.createElement('b');

  code.textContent = id;
  made.dataset.id = id;
  made.append(code, element('span', 'delay'), element('span', 'flights'));
  made.addEventListener('animationend', () => made.classList.remove('new'));
  const next = [...board.children].find((other) => other.dataset.id > id);
  board.insertBefore(made, next ?? null);
  return { element: made, flights: 0 };
}

function draw(id, state) {
  if (state === null) {
    tiles.get(id)?.element.remove();
    tiles.delete(id);
    return;
  }
  if (!tiles.has(id)) tiles.set(id, tile(id));
  const shown = tiles.get(id);
  const { departures, arrivals, total_delay: delay } = state;
  const mean = delay / (departures + arrivals);

  shown.flights = departures + arrivals;
  shown.element.querySelector('.delay').textContent = mean.toFixed(1);
  shown.element.querySelector('.flights').textContent = `${departures} dep, ${arrivals} arr`;
  shown.element.style.setProperty('--hue', 130 - 130 * Math.min(1, Math.max(0, mean / 60)));
}

function sumUp() {
  document.querySelector('#airports').value = tiles.size;
  document.querySelector('#flights').value = [...tiles.values()].reduce((sum, { flights }) => sum + flights, 0);
}

const state = document.querySelector('#state');
const events = new EventSource('events');

events.addEventListener('all', ({ data }) => {
  const all = JSON.parse(data);

  for (const id of [...tiles.keys()]) if (!(id in all)) draw(id, null);
  for (const [id, airport] of Object.entries(all)) draw(id, airport);
  sumUp();
});
events.addEventListener('changes', ({ data }) => {
  for (const [id, airport] of Object.entries(JSON.parse(data))) {
    draw(id, airport);
    tiles.get(id)?.element.classList.add('new');
  }
  sumUp();
});
events.addEventListener('open', () => { state.textContent = 'live'; });
events.addEventListener('error', () => { state.textContent = 'connecting'; });
