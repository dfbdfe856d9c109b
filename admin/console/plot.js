// A line of the last two minutes, as SVG, with its last value in words.

import { el } from './shared.js'

const points = 120
const space = 'http://www.w3.org/2000/svg'

const short = (v) => (v === null ? '–' : v >= 1e6 ? `${(v / 1e6).toFixed(1)} M` : v >= 1e4 ? `${(v / 1e3).toFixed(1)} k` : Number.isInteger(v) ? String(v) : v.toFixed(v < 10 ? 2 : 0))

export class Plot {
  constructor(parent, title, unit = '') {
    this.values = []
    this.title = title
    this.unit = unit
    this.value = el('p', { class: 'value' }, '–')
    this.svg = document.createElementNS(space, 'svg')
    for (const [k, v] of Object.entries({ class: 'plot', viewBox: `0 0 ${points - 1} 32`, preserveAspectRatio: 'none', role: 'img', 'aria-label': title })) this.svg.setAttribute(k, v)
    const base = document.createElementNS(space, 'line')
    for (const [k, v] of Object.entries({ x1: 0, y1: 31, x2: points - 1, y2: 31 })) base.setAttribute(k, v)
    this.line = document.createElementNS(space, 'polyline')
    this.svg.append(base, this.line)
    parent.append(el('div', { class: 'card' }, el('h3', {}, title), this.value, this.svg))
  }
  /** Takes the value of one more second; null: there is none. */
  add(value) {
    this.values.push(value)
    if (this.values.length > points) this.values.shift()
    const top = Math.max(1e-9, ...this.values)
    const first = points - this.values.length
    this.line.setAttribute('points', this.values.map((v, i) => `${first + i},${(31 - (28 * (v ?? 0)) / top).toFixed(2)}`).join(' '))
    const text = `${short(value)}${value === null ? '' : this.unit}`
    this.value.textContent = text
    this.svg.setAttribute('aria-label', `${this.title}: ${text}; highest in two minutes ${short(top < 1e-6 ? 0 : top)}${this.unit}`)
  }
}
