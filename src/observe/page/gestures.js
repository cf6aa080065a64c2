// What a pointer does on the map, as pan, zoom, hover and click. The wheel zooms once the map has the focus (or with Ctrl),
// so that whoever scrolls down the page is not caught by it.

const CLICK_PX = 4;

/** `on`: `pan(dx, dy)`, `zoom(factor, x, y)`, `hover(x, y)`, `click(x, y)`, `leave()`, in CSS pixels of `element`. */
export const listen = (element, on) => {
  const down = new Map();
  let moved = 0;
  const place = (event) => {
    const box = element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const mean = () => {
    const all = [...down.values()];
    return [0, 1].map((axis) => all.reduce((sum, at) => sum + at[axis], 0) / all.length);
  };
  const spread = () => {
    const [a, b] = [...down.values()];
    return Math.hypot(a[0] - b[0], a[1] - b[1]);
  };

  element.addEventListener('pointerdown', (event) => {
    if (event.button !== 0 || event.target.closest('button')) return;
    element.setPointerCapture(event.pointerId);
    down.set(event.pointerId, place(event));
    if (down.size === 1) moved = 0;
  });
  element.addEventListener('pointermove', (event) => {
    if (!down.has(event.pointerId)) {
      if (event.pointerType === 'mouse') on.hover(...place(event));
      return;
    }
    const [x, y] = mean();
    const apart = down.size === 2 ? spread() : 0;
    down.set(event.pointerId, place(event));
    const [toX, toY] = mean();
    moved += Math.hypot(toX - x, toY - y);
    if (moved < CLICK_PX && down.size === 1) return;
    on.pan(toX - x, toY - y);
    if (apart > 0) on.zoom(spread() / apart, toX, toY);
    moved = Math.max(moved, CLICK_PX);
  });
  const up = (event) => {
    if (!down.delete(event.pointerId) || down.size > 0) return;
    if (event.type === 'pointerup' && moved < CLICK_PX) on.click(...place(event));
  };
  element.addEventListener('pointerup', up);
  element.addEventListener('pointercancel', up);
  element.addEventListener('pointerleave', on.leave);
  element.addEventListener(
    'wheel',
    (event) => {
      if (!event.ctrlKey && document.activeElement !== element) return;
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
      on.zoom(Math.exp(-0.0018 * lines * event.deltaY), ...place(event));
    },
    { passive: false },
  );
};
