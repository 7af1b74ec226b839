// The report's player: meshes of a clip side by side under one camera, with a slider for time.
//
// Built with three.js into viewer.min.js by tools/viewer/build.sh. A page has any number of
// <section class="player">; each holds its data as JSON: what tpifu/page.py writes (`_player`).
// A section's data-state says how far it is: "ready" once it was drawn, "failed" with a reason in
// sight; data-frame is the frame that is shown.

import {
  BufferAttribute,
  BufferGeometry,
  DataTexture,
  DirectionalLight,
  DoubleSide,
  HemisphereLight,
  LinearFilter,
  Mesh,
  MeshStandardMaterial,
  OrthographicCamera,
  Scene,
  SRGBColorSpace,
  Vector2,
  WebGLRenderer,
} from "three";

const DISTANCE = 10; // metres from the body to the camera; orthographic, so only clipping depends on it
const CLAY = 0xbaaa9b;
const ZOOMS = [0.5, 12];
const STEEPEST = (85 * Math.PI) / 180; // tilt of the camera
const KEY_TURN = 15; // degrees a key press

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const radians = (degrees) => (degrees * Math.PI) / 180;

/** The player's binary: gzip in base64, because pages opened as files may fetch nothing. */
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

/** One mesh as three.js has it: 16-bit coordinates over the box, smooth normals, and where it has
 * errors their place along the scale as texture coordinates. */
function geometryOf(parts, buffer, half) {
  const geometry = new BufferGeometry();
  const codes = new Uint16Array(buffer, parts.vertices.offset, parts.vertices.count);
  const positions = Float32Array.from(codes, (code) => (code / 65535) * 2 * half - half);
  geometry.setAttribute("position", new BufferAttribute(positions, 3));
  const faces = new Uint32Array(buffer, parts.faces.offset, parts.faces.count);
  geometry.setIndex(new BufferAttribute(faces, 1));
  geometry.computeVertexNormals();
  if (parts.errors) {
    const errors = new Uint8Array(buffer, parts.errors.offset, parts.errors.count);
    const places = new Float32Array(2 * errors.length);
    errors.forEach((error, vertex) => (places[2 * vertex] = (error + 0.5) / 256));
    geometry.setAttribute("uv", new BufferAttribute(places, 2));
  }
  return geometry;
}

/** The scale of errors as a texture: between vertices the error is interpolated, not its colour. */
function textureOf(scale) {
  const texture = new DataTexture(new Uint8Array(scale.flatMap((colour) => [...colour, 255])), 256, 1);
  texture.colorSpace = SRGBColorSpace;
  texture.magFilter = texture.minFilter = LinearFilter;
  texture.needsUpdate = true;
  return texture;
}

/** What all panes share: the body's yaw, the camera's tilt, zoom, and where in the image plane it
 * looks. Not three.js's OrbitControls, which take their element for one view, not for several.
 *
 * A pane is `2 view.x / zoom` metres wide. Dragging turns, with Shift it moves; two fingers zoom
 * and move; the wheel zooms with Ctrl, and else scrolls the page. */
class Turntable {
  constructor(stage, view, changed) {
    this.view = view;
    this.changed = changed;
    this.pointers = new Map();
    stage.addEventListener("pointerdown", (event) => this.press(event));
    stage.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) {
      stage.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    }
    stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  /** Look at the whole body as if it were turned by `yaw` degrees about the vertical. */
  look(yaw) {
    this.yaw = radians(yaw);
    this.tilt = 0;
    this.zoom = 1;
    this.pan = { x: 0, y: this.view.centre };
    this.changed();
  }

  turn(yaw, tilt) {
    this.yaw += yaw;
    this.tilt = clamp(this.tilt + tilt, -STEEPEST, STEEPEST);
    this.changed();
  }

  /** Zoom so that what is (x, y) metres from a pane's centre at zoom 1 stays where it is. */
  zoomBy(factor, x = 0, y = 0) {
    const zoom = clamp(this.zoom * factor, ...ZOOMS);
    const kept = 1 / this.zoom - 1 / zoom;
    this.pan.x += x * kept;
    this.pan.y += y * kept;
    this.zoom = zoom;
    this.changed();
  }

  place(camera) {
    const { x, y } = { x: this.view.x / this.zoom, y: this.view.y / this.zoom };
    [camera.left, camera.right] = [this.pan.x - x, this.pan.x + x];
    [camera.bottom, camera.top] = [this.pan.y - y, this.pan.y + y];
    camera.rotation.set(-this.tilt, -this.yaw, 0, "YXZ");
    camera.position.set(0, 0, DISTANCE).applyEuler(camera.rotation);
    camera.updateProjectionMatrix();
  }

  press(event) {
    const pane = event.target.closest(".pane");
    if (!pane || event.button !== 0) return;
    this.box = pane.getBoundingClientRect();
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    event.currentTarget.setPointerCapture(event.pointerId);
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    const [right, down] = [now.x - before.x, now.y - before.y];
    this.pointers.set(event.pointerId, now);
    const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId);
    if (other) {
      const still = other[1];
      const spread = (point) => Math.max(1, Math.hypot(point.x - still.x, point.y - still.y));
      this.shift(right / 2, down / 2);
      this.zoomBy(spread(now) / spread(before), ...this.metres((now.x + still.x) / 2, (now.y + still.y) / 2));
    } else if (event.shiftKey) {
      this.shift(right, down);
    } else {
      const turn = Math.PI / this.box.width; // half a turn across a pane
      this.turn(right * turn, down * turn);
    }
  }

  wheel(event) {
    const pane = event.target.closest(".pane");
    if (!event.ctrlKey || !pane) return;
    event.preventDefault();
    this.box = pane.getBoundingClientRect();
    this.zoomBy(Math.exp(-event.deltaY / 300), ...this.metres(event.clientX, event.clientY));
  }

  /** Move what is seen by pixels. */
  shift(right, down) {
    const metres = (2 * this.view.x) / this.box.width / this.zoom;
    this.pan.x -= right * metres;
    this.pan.y += down * metres;
    this.changed();
  }

  /** From the pane's centre to a point of the screen, in metres at zoom 1. */
  metres(x, y) {
    const metres = (2 * this.view.x) / this.box.width;
    const { left, top, width, height } = this.box;
    return [(x - left - width / 2) * metres, (top + height / 2 - y) * metres];
  }
}

class Player {
  constructor(section, data, buffer, context) {
    this.section = section;
    this.data = data;
    this.buffer = buffer;
    this.timer = null;
    this.seen = false;
    this.drawing = null;
    this.geometries = new Map();
    this.stage = section.querySelector(".stage");
    this.panes = [...section.querySelectorAll(".track")];
    this.picture = section.querySelector(".input img");
    this.slider = section.querySelector("input[type=range]");
    this.label = section.querySelector(".frame");
    this.playing = section.querySelector(".play");
    this.byError = section.querySelector(".by-error");
    this.speed = section.querySelector(".speed");
    this.legend = section.querySelector(".legend");

    const canvas = section.querySelector("canvas");
    // The drawing is kept: panes are drawn one by one, and a printed page shows them.
    const options = { canvas, context, alpha: true, antialias: true, preserveDrawingBuffer: true };
    this.renderer = new WebGLRenderer(options);
    this.renderer.setScissorTest(true);
    canvas.addEventListener("webglcontextrestored", () => this.draw());
    this.setScene();
    this.table = new Turntable(this.stage, data.view, () => this.draw());
    this.table.look(data.yaw);

    this.slider.addEventListener("input", () => this.show(Number(this.slider.value)));
    this.playing.addEventListener("click", () => this.play(this.timer === null));
    this.speed.addEventListener("change", () => this.timer !== null && this.play(true));
    this.byError?.addEventListener("change", () => this.show(this.frame));
    for (const button of section.querySelectorAll("[data-yaw]")) {
      button.addEventListener("click", () => this.table.look(Number(button.dataset.yaw)));
    }
    for (const button of section.querySelectorAll("[data-zoom]")) {
      button.addEventListener("click", () => this.table.zoomBy(Number(button.dataset.zoom)));
    }
    section.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.stage);
    this.show(0);
    this.watch();
  }

  /** One scene: a mesh a track, of which each pane shows its own. The lights go with the camera. */
  setScene() {
    this.scene = new Scene();
    this.camera = new OrthographicCamera();
    this.camera.near = 0.1;
    this.camera.far = 2 * DISTANCE;
    const lamp = (intensity, ...place) => {
      const light = new DirectionalLight(0xffffff, intensity);
      light.position.set(...place);
      this.camera.add(light, light.target);
    };
    // What faces the viewer has its own colour, so that errors have their legend's.
    lamp(2.9, -0.7, 0.8, 1); // the key, over the viewer's left shoulder
    lamp(0.8, 1, 0.1, 0.6); // opens the key's shadows
    lamp(1.0, 0.3, 0.6, -1); // from behind, along the edges
    this.scene.add(this.camera, new HemisphereLight(0xffffff, 0x9a8f86, 1.7));
    // Both sides: a mesh that is turned inside out should still be seen.
    const surface = { roughness: 0.8, side: DoubleSide };
    this.clay = new MeshStandardMaterial({ ...surface, color: CLAY });
    this.scale = new MeshStandardMaterial({ ...surface, map: textureOf(this.data.scale) });
    this.meshes = this.data.tracks.map(() => new Mesh(new BufferGeometry(), this.clay));
    this.scene.add(...this.meshes);
  }

  /** The geometry of a track's frame, made when it is first shown; null where there is no mesh. */
  geometry(track, frame) {
    const parts = this.data.tracks[track].frames[frame];
    if (parts === null) return null;
    const key = `${track} ${frame}`;
    if (!this.geometries.has(key)) {
      this.geometries.set(key, geometryOf(parts, this.buffer, this.data.half));
    }
    return this.geometries.get(key);
  }

  show(frame) {
    this.frame = frame;
    this.slider.value = frame;
    this.label.textContent = this.data.labels[frame];
    this.slider.setAttribute("aria-valuetext", this.data.labels[frame]);
    this.picture.src = this.data.inputs[frame];
    this.section.dataset.frame = frame;
    const byError = this.byError?.checked ?? false;
    this.legend?.classList.toggle("off", !byError);
    this.meshes.forEach((mesh, track) => {
      const geometry = this.geometry(track, frame);
      this.panes[track].classList.toggle("empty", geometry === null);
      mesh.userData.shown = geometry !== null;
      if (geometry === null) return;
      mesh.geometry = geometry;
      mesh.material = byError && geometry.hasAttribute("uv") ? this.scale : this.clay;
    });
    this.draw();
  }

  step(by) {
    const count = this.data.labels.length;
    this.show((this.frame + by + count) % count);
  }

  play(on) {
    clearInterval(this.timer);
    this.timer = on ? setInterval(() => this.seen && this.step(1), 1000 / Number(this.speed.value)) : null;
    this.playing.textContent = on ? "Pause" : "Play";
  }

  /** Rest while out of sight; begin to play when first in sight, where motion is welcome. */
  watch() {
    let begins = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    const seen = ([entry]) => {
      this.seen = entry.isIntersecting;
      if (this.seen && begins) this.play(true);
      begins &&= !this.seen;
    };
    new IntersectionObserver(seen, { threshold: 0.25 }).observe(this.stage);
  }

  key(event) {
    const { key, target } = event;
    const turn = radians(KEY_TURN);
    const arrows = !target.matches("input[type=range]"); // which has its own
    if (event.ctrlKey || event.metaKey || event.altKey || target.matches("select")) return;
    if (key === " " && !target.matches("button, input[type=checkbox]")) this.play(this.timer === null);
    else if (key === "+" || key === "=") this.table.zoomBy(1.25);
    else if (key === "-") this.table.zoomBy(1 / 1.25);
    else if (key === "0") this.table.look(this.data.yaw);
    else if (key === "ArrowLeft" && event.shiftKey) this.table.turn(-turn, 0);
    else if (key === "ArrowRight" && event.shiftKey) this.table.turn(turn, 0);
    else if (key === "ArrowUp" && event.shiftKey) this.table.turn(0, -turn);
    else if (key === "ArrowDown" && event.shiftKey) this.table.turn(0, turn);
    else if (key === "ArrowLeft" && arrows) this.step(-1);
    else if (key === "ArrowRight" && arrows) this.step(1);
    else return;
    event.preventDefault();
  }

  /** Draw with the browser's next frame, however often it is asked for. */
  draw() {
    this.drawing ??= requestAnimationFrame(() => {
      this.drawing = null;
      this.drawPanes();
      this.placePicture();
      this.section.dataset.state = "ready";
    });
  }

  /** Every track into its part of the one canvas. */
  drawPanes() {
    const stage = this.stage.getBoundingClientRect();
    const ratio = Math.min(window.devicePixelRatio, 2);
    const size = this.renderer.getSize(new Vector2());
    if (size.x !== stage.width || size.y !== stage.height || this.renderer.getPixelRatio() !== ratio) {
      this.renderer.setPixelRatio(ratio);
      this.renderer.setSize(stage.width, stage.height, false);
    }
    this.table.place(this.camera);
    this.panes.forEach((element, track) => {
      const pane = element.getBoundingClientRect();
      const box = [pane.left - stage.left, stage.bottom - pane.bottom, pane.width, pane.height];
      this.meshes.forEach((mesh, other) => (mesh.visible = other === track && mesh.userData.shown));
      this.renderer.setViewport(...box);
      this.renderer.setScissor(...box);
      this.renderer.render(this.scene, this.camera);
    });
  }

  /** The input, which is the whole box wide, to the camera's scale; it cannot turn. */
  placePicture() {
    const { zoom, pan, view } = this.table;
    const style = this.picture.style;
    style.width = `${(100 * this.data.half * zoom) / view.x}%`;
    style.left = `${50 - (50 * pan.x * zoom) / view.x}%`;
    style.top = `${50 + (50 * pan.y * zoom) / view.y}%`;
  }
}

async function start(section) {
  try {
    if (!("DecompressionStream" in window)) throw new Error("this browser is too old to unpack the meshes");
    const canvas = section.querySelector("canvas");
    const context = canvas.getContext("webgl2", { alpha: true, antialias: true, preserveDrawingBuffer: true });
    if (!context) throw new Error("WebGL 2 is missing or switched off in this browser");
    const data = JSON.parse(section.querySelector("script").textContent);
    new Player(section, data, await unpack(data.binary), context);
  } catch (error) {
    const note = section.querySelector(".trouble");
    note.hidden = false;
    note.textContent = `The 3D view cannot start: ${error.message}. The rest of the page is complete.`;
    section.dataset.state = "failed";
  }
}

document.querySelectorAll("section.player").forEach(start);
