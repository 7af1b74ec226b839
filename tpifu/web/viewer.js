// The report's player: meshes of a clip side by side under one camera, with a slider for time.
//
// Built with three.js into viewer.min.js by tools/viewer/build.sh. A page has any number of
// <section class="player">; each holds its data as JSON: what tpifu/page.py writes (`_player`).

import {
  BufferAttribute,
  BufferGeometry,
  Color,
  DirectionalLight,
  DoubleSide,
  HemisphereLight,
  Mesh,
  MeshStandardMaterial,
  OrthographicCamera,
  Scene,
  Vector2,
  WebGLRenderer,
} from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";

const DISTANCE = 10; // metres from the body to the camera; orthographic, so only clipping depends on it
const CLAY = new Color(0xc9b8a8);
const PLAIN = new Color(0xffffff);

/** The player's binary: gzip in base64, because pages opened as files may fetch nothing. */
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

/** One mesh as three.js has it: 16-bit coordinates over the box, smooth normals. */
function geometryOf(parts, buffer, half) {
  const geometry = new BufferGeometry();
  const corners = new Uint16Array(buffer, parts.vertices.offset, parts.vertices.count);
  const positions = Float32Array.from(corners, (code) => (code / 65535) * 2 * half - half);
  geometry.setAttribute("position", new BufferAttribute(positions, 3));
  const faces = new Uint32Array(buffer, parts.faces.offset, parts.faces.count);
  geometry.setIndex(new BufferAttribute(faces, 1));
  geometry.computeVertexNormals();
  return geometry;
}

/** Colours of vertices by their error, 0..255, along the page's scale. */
function coloursOf(parts, buffer, scale) {
  const errors = new Uint8Array(buffer, parts.errors.offset, parts.errors.count);
  const colours = new Uint8Array(3 * errors.length);
  errors.forEach((error, vertex) => colours.set(scale[error], 3 * vertex));
  return new BufferAttribute(colours, 3, true);
}

class Player {
  constructor(section, data, buffer) {
    this.section = section;
    this.data = data;
    this.buffer = buffer;
    this.frame = 0;
    this.timer = null;
    this.geometries = new Map();
    this.stage = section.querySelector(".stage");
    this.panes = [...section.querySelectorAll(".pane")];
    this.picture = section.querySelector(".input");
    this.slider = section.querySelector("input[type=range]");
    this.label = section.querySelector(".frame");
    this.playing = section.querySelector(".play");
    this.byError = section.querySelector(".by-error");
    this.speed = section.querySelector(".speed");
    this.legend = section.querySelector(".legend");

    const canvas = section.querySelector("canvas");
    this.renderer = new WebGLRenderer({ canvas, alpha: true, antialias: true, preserveDrawingBuffer: true });
    this.renderer.setScissorTest(true);
    this.camera = new OrthographicCamera(-data.half, data.half, data.half, -data.half, 0.1, 2 * DISTANCE);
    this.scenes = data.tracks.map(() => this.newScene());
    this.controls = new OrbitControls(this.camera, this.stage);
    this.controls.enablePan = false;
    this.controls.enableZoom = false; // a wheel over the player scrolls the page; Ctrl zooms
    this.controls.addEventListener("change", () => this.draw());
    this.stage.style.touchAction = "pan-y";
    this.stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });

    this.slider.addEventListener("input", () => this.show(Number(this.slider.value)));
    this.playing.addEventListener("click", () => this.play(this.timer === null));
    this.speed.addEventListener("change", () => this.timer !== null && this.play(true));
    this.byError?.addEventListener("change", () => this.show(this.frame));
    for (const button of section.querySelectorAll("[data-yaw]")) {
      button.addEventListener("click", () => this.look(Number(button.dataset.yaw)));
    }
    section.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.stage);
    this.look(data.yaw);
    this.show(0);
    section.dataset.state = "ready";
  }

  newScene() {
    const scene = new Scene();
    const light = new DirectionalLight(0xffffff, 2.2);
    scene.add(new HemisphereLight(0xffffff, 0x8a8078, 1.1), light);
    // Both sides: a mesh that is turned inside out should still be seen.
    const mesh = new Mesh(new BufferGeometry(), new MeshStandardMaterial({ roughness: 0.85, side: DoubleSide }));
    scene.add(mesh);
    return { scene, light, mesh };
  }

  /** The geometry of a track's frame, made when it is first shown; null where there is no mesh. */
  geometry(track, frame) {
    const parts = this.data.tracks[track].frames[frame];
    if (parts === null) return null;
    const key = `${track} ${frame}`;
    if (!this.geometries.has(key)) {
      const geometry = geometryOf(parts, this.buffer, this.data.half);
      if (parts.errors) geometry.setAttribute("color", coloursOf(parts, this.buffer, this.data.scale));
      this.geometries.set(key, geometry);
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
    if (this.legend) this.legend.hidden = !byError;
    this.scenes.forEach(({ mesh }, track) => {
      const geometry = this.geometry(track, frame);
      mesh.visible = geometry !== null;
      this.panes[track].classList.toggle("empty", geometry === null);
      if (geometry === null) return;
      const coloured = byError && geometry.hasAttribute("color");
      mesh.geometry = geometry;
      mesh.material.color = coloured ? PLAIN : CLAY;
      if (mesh.material.vertexColors !== coloured) {
        mesh.material.vertexColors = coloured;
        mesh.material.needsUpdate = true;
      }
    });
    this.draw();
  }

  step(by) {
    const count = this.data.labels.length;
    this.show((this.frame + by + count) % count);
  }

  play(on) {
    clearInterval(this.timer);
    this.timer = on ? setInterval(() => this.step(1), 1000 / Number(this.speed.value)) : null;
    this.playing.textContent = on ? "Pause" : "Play";
    this.playing.setAttribute("aria-pressed", on);
  }

  /** Look at the body as if it were turned by `yaw` degrees about the vertical. */
  look(yaw) {
    const angle = (-yaw * Math.PI) / 180;
    this.camera.position.set(DISTANCE * Math.sin(angle), 0, DISTANCE * Math.cos(angle));
    this.camera.zoom = 1;
    this.camera.updateProjectionMatrix();
    this.controls.target.set(0, 0, 0);
    this.controls.update();
    this.draw();
  }

  wheel(event) {
    if (!event.ctrlKey) return;
    event.preventDefault();
    this.camera.zoom = Math.min(8, Math.max(0.5, this.camera.zoom * Math.exp(-event.deltaY / 300)));
    this.camera.updateProjectionMatrix();
    this.draw();
  }

  key(event) {
    const ofControl = event.target.matches("input, select, button");
    if (event.key === " " && !ofControl) this.play(this.timer === null);
    else if (event.key === "ArrowLeft" && !event.target.matches("input, select")) this.step(-1);
    else if (event.key === "ArrowRight" && !event.target.matches("input, select")) this.step(1);
    else return;
    event.preventDefault();
  }

  /** Every pane's scene into its part of the one canvas. */
  draw() {
    const stage = this.stage.getBoundingClientRect();
    const ratio = Math.min(window.devicePixelRatio, 2);
    const size = this.renderer.getSize(new Vector2());
    if (size.x !== stage.width || size.y !== stage.height || this.renderer.getPixelRatio() !== ratio) {
      this.renderer.setPixelRatio(ratio);
      this.renderer.setSize(stage.width, stage.height, false);
    }
    this.scenes.forEach(({ scene, light }, track) => {
      const pane = this.panes[track].getBoundingClientRect();
      const box = [pane.left - stage.left, stage.bottom - pane.bottom, pane.width, pane.height];
      light.position.copy(this.camera.position);
      this.renderer.setViewport(...box);
      this.renderer.setScissor(...box);
      this.renderer.render(scene, this.camera);
    });
  }
}

async function start(section) {
  const note = section.querySelector(".trouble");
  try {
    if (!("DecompressionStream" in window)) throw new Error("this browser cannot unpack the meshes; a newer one can");
    const data = JSON.parse(section.querySelector("script").textContent);
    new Player(section, data, await unpack(data.binary));
  } catch (error) {
    note.hidden = false;
    note.textContent = `The 3D view cannot start: ${error.message}. The pictures below show the same meshes.`;
    section.dataset.state = "failed";
  }
}

document.querySelectorAll("section.player").forEach(start);
