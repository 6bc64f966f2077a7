// The part of the graph that is seen: fitting, zooming by wheel, fingers and keys, dragging; and the curves of edges.

const NEAREST = 0.35; // units of the graph per pixel
const FARTHEST = 12;
const LEGIBLE = 1.65;

export class Sight {
  constructor(svg) {
    this.svg = svg;
    this.box = { x: 0, y: 0, width: 1, height: 1 };
    this.size = [0, 0];
    this.moved = false; // whether the reader chose what to see
    this.dragged = false;
    this.fingers = new Map();
    svg.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    svg.addEventListener("pointerdown", (event) => this.down(event));
    svg.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) svg.addEventListener(name, (event) => this.up(event));
  }

  follow(place) {
    this.observer?.disconnect();
    this.observer = new ResizeObserver(() => (this.moved ? this.draw() : this.fit()));
    this.observer.observe(place);
    this.fit();
  }

  // How large the graph is, and the node that is open beside it.
  extent(width, height, few, chosen) {
    Object.assign(this, { few, chosen });
    const first = !this.size[0];
    const same = this.size[0] === width && this.size[1] === height;
    this.size = [width, height];
    if (first || (!same && !this.moved)) this.fit();
  }

  pixels() {
    const { clientWidth, clientHeight } = this.svg;
    return [clientWidth || 1, clientHeight || 1];
  }

  fit() {
    const [width, height] = this.size;
    const [wide, high] = this.pixels();
    if (!width) return;
    const whole = Math.max(0.75, width / wide, height / high);
    const scale = this.few ? Math.min(whole, LEGIBLE) : whole; // of a few nodes those that can be read, not all
    const [w, h] = [wide * scale, high * scale];
    const along = (size, seen, middle) => (size <= seen ? (size - seen) / 2 : Math.max(0, Math.min(size - seen, middle - seen / 2)));
    this.moved = false;
    this.box = { width: w, height: h, x: along(width, w, this.chosen?.x ?? 0), y: along(height, h, this.chosen?.y ?? height / 2) };
    this.draw();
  }

  draw() {
    const [wide, high] = this.pixels();
    this.box.height = (this.box.width * high) / wide;
    const { x, y, width, height } = this.box;
    const scale = width / wide;
    this.svg.setAttribute("viewBox", `${x} ${y} ${width} ${height}`);
    this.svg.classList.toggle("far", scale > 1.7);
    this.svg.classList.toggle("farther", scale > 4.2);
  }

  zoom(factor, at) {
    const [wide, high] = this.pixels();
    const [px, py] = at ?? [wide / 2, high / 2];
    const scale = Math.max(NEAREST, Math.min(FARTHEST, (this.box.width / wide) * factor));
    const [fx, fy] = [px / wide, py / high];
    const [x, y] = [this.box.x + this.box.width * fx, this.box.y + this.box.height * fy];
    this.box = { width: wide * scale, height: high * scale, x: x - wide * scale * fx, y: y - high * scale * fy };
    this.moved = true;
    this.draw();
  }

  // Bring a node into sight, if it is not.
  show(node) {
    if (!node) return;
    const { x, y, width, height } = this.box;
    const [mx, my] = [Math.min(110, width / 2), Math.min(60, height / 2)];
    const nx = Math.min(Math.max(x, node.x + mx - width), node.x - mx);
    const ny = Math.min(Math.max(y, node.y + my - height), node.y - my);
    if (nx === x && ny === y) return;
    Object.assign(this.box, { x: nx, y: ny });
    this.moved = true;
    this.draw();
  }

  place(event) {
    const box = this.svg.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  wheel(event) {
    event.preventDefault();
    const step = event.deltaMode === 1 ? event.deltaY * 18 : event.deltaY;
    this.zoom(Math.exp(Math.max(-240, Math.min(240, step)) * 0.0016), this.place(event));
  }

  down(event) {
    if (event.button) return;
    this.fingers.set(event.pointerId, this.place(event));
    this.dragged = false;
  }

  move(event) {
    const before = this.fingers.get(event.pointerId);
    if (!before) return;
    const now = this.place(event);
    const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
    if (this.fingers.size === 1 && !this.dragged && Math.hypot(dx, dy) < 5) return;
    if (!this.dragged) {
      this.svg.setPointerCapture(event.pointerId);
      this.svg.classList.add("dragged");
    }
    this.dragged = true;
    if (this.fingers.size === 2) {
      const other = [...this.fingers].find(([id]) => id !== event.pointerId)[1];
      const [was, is] = [before, now].map((one) => Math.hypot(one[0] - other[0], one[1] - other[1]));
      if (is > 10) this.zoom(was / is, [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
    } else {
      const scale = this.box.width / this.pixels()[0];
      this.box.x -= dx * scale;
      this.box.y -= dy * scale;
      this.moved = true;
      this.draw();
    }
    this.fingers.set(event.pointerId, now);
  }

  up(event) {
    this.fingers.delete(event.pointerId);
    this.svg.classList.remove("dragged");
  }
}

// The curve from one node to another, where its middle and its end are, and how the end points.
export function edgePath(from, to, width, height) {
  const half = width / 2;
  if (from === to) {
    const [x, y] = [from.x + half, from.y];
    return { path: `M${x - 30} ${y - height / 2}C${x - 30} ${y - 90} ${x + 50} ${y - 40} ${x + 2} ${y - 10}`, middle: [x + 6, y - 58], end: [x + 1, y - 10], angle: 145 };
  }
  if (to.x > from.x + 1) {
    const [x1, y1, x2, y2] = [from.x + half, from.y, to.x - half - 2, to.y];
    const reach = Math.max(36, (x2 - x1) * 0.45);
    return { path: `M${x1} ${y1}C${x1 + reach} ${y1} ${x2 - reach} ${y2} ${x2 - 4} ${y2}`, middle: [(x1 + x2) / 2, (y1 + y2) / 2], end: [x2, y2], angle: 0 };
  }
  const down = to.y >= from.y ? 1 : -1; // back to the left, or within a column: around
  const [x1, y1, x2, y2] = [from.x, from.y + (down * height) / 2, to.x + half + 2, to.y];
  const out = Math.max(x1, x2) + 56;
  const path = `M${x1} ${y1}C${x1} ${y1 + down * 40} ${out} ${y1 + down * 10} ${out} ${(y1 + y2) / 2}S${x2 + 44} ${y2} ${x2 + 4} ${y2}`;
  return { path, middle: [out, (y1 + y2) / 2], end: [x2, y2], angle: 180 };
}
