// A line of the last two minutes, as SVG, with its last value in words.

import { el, say } from './shared.js'

const space = 'http://www.w3.org/2000/svg'

const short = (v) => (v >= 1e6 ? `${(v / 1e6).toFixed(1)} M` : v >= 1e4 ? `${(v / 1e3).toFixed(1)} k` : Number.isInteger(v) ? String(v) : v.toFixed(v < 10 ? 2 : 0))
// From how many of them on a unit is called by the next one.
const larger = { ' ms': [1000, ' s'], ' KiB': [1024, ' MiB'] }

/** A value as people say it. */
function words(v, unit) {
  if (v === null) return '–'
  const [many, next] = larger[unit] ?? [Infinity]
  return v >= many ? `${short(v / many)}${next}` : `${short(v)}${unit}`
}

function shape(name, attributes) {
  const e = document.createElementNS(space, name)
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v)
  return e
}

/** The line alone. Between two values lie so many seconds. */
export class Line {
  constructor(title, unit = '', seconds = 1) {
    Object.assign(this, { title, unit, points: 120 / seconds, values: [] })
    this.element = shape('svg', { class: 'plot', viewBox: `0 0 ${this.points - 1} 32`, preserveAspectRatio: 'none', role: 'img', 'aria-label': title })
    this.path = shape('path', {})
    this.element.append(shape('line', { x1: 0, y1: 31, x2: this.points - 1, y2: 31 }), this.path)
  }
  /** Takes one more value, and says it in words; null: there is none, which leaves a gap. */
  add(value, about = '') {
    this.values.push(value)
    if (this.values.length > this.points) this.values.shift()
    const top = Math.max(0, ...this.values)
    const first = this.points - this.values.length
    let d = ''
    this.values.forEach((v, i) => {
      if (v === null) return
      const y = (31 - (top && (28 * v) / top)).toFixed(2)
      d += i > 0 && this.values[i - 1] !== null ? `L${first + i} ${y}` : `M${first + i} ${y}h.01` // a value alone is a dot
    })
    this.path.setAttribute('d', d)
    const text = `${value === null ? '' : about}${words(value, this.unit)}`
    this.element.setAttribute('aria-label', `${this.title}: ${text}; highest in two minutes ${words(top, this.unit)}`)
    return text
  }
}

/** A card with the value, and its line. */
export class Plot extends Line {
  constructor(parent, title, unit, seconds) {
    super(title, unit, seconds)
    this.value = el('p', { class: 'value' }, '–')
    parent.append(el('div', { class: 'card' }, el('h3', {}, title), this.value, this.element))
  }
  add(value, about) {
    say(this.value, super.add(value, about), 'value')
  }
}
