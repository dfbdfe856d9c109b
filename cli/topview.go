package cli

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"pushpod/presence"
)

// topOrders are what the pods can be sorted by.
func topOrders() []string { return []string{"pod", "connections", "heartbeat", "state"} }

// A look is what was read at one time.
type look struct {
	pods  []presence.Pod
	err   error // why they could not be read
	local []localLook
}

// A localLook is what a pod on this machine answered.
type localLook struct {
	admin  string // its admin.listen
	quiet  bool   // nobody asked for this one: that it does not answer is not shown
	scrape scrape
	err    error
}

// A topPod is a row of `pushpod top`.
type topPod struct {
	pod
	Rate *float64 `json:"connections_per_second"` // how fast they become more, between its last two heartbeats; null: not known
}

// A topLocal is a pod on this machine in `pushpod top`. What is null is not known, or there
// were no messages.
type topLocal struct {
	Admin      string   `json:"admin"`
	Deliveries *float64 `json:"deliveries_per_second"`
	P50        *float64 `json:"p50_ms"` // from publish to write
	P99        *float64 `json:"p99_ms"`
	Error      string   `json:"error,omitempty"`
}

// A beat is what a pod told with one heartbeat.
type beat struct {
	at, started int64 // Unix ms by Redis's TIME
	connections int
	rate        *float64 // since the one before
}

// A topView is what `pushpod top` shows. It is owned by one goroutine.
type topView struct {
	// Static.
	keys    presence.Keys
	lease   time.Duration
	only    []string // addresses; none: all pods
	colours colours

	order  string // one of topOrders
	err    error  // of the last look; the pods are then older
	looked bool   // the pods have been read
	pods   []topPod
	local  []topLocal

	missing []string        // of only
	beats   map[string]beat // by channel
	before  map[string]scrape
}

// take makes a look what is shown.
func (v *topView) take(l look) {
	v.takeLocal(l.local)
	if v.err = l.err; l.err != nil {
		return
	}
	v.looked = true
	beats := make(map[string]beat, len(l.pods))
	v.pods = v.pods[:0]
	v.missing = slices.Clone(v.only)
	for _, p := range l.pods {
		b := v.beats[p.Channel].next(p)
		beats[p.Channel] = b
		if len(v.only) > 0 && !slices.Contains(v.only, p.Address) {
			continue
		}
		v.missing = slices.DeleteFunc(v.missing, func(address string) bool { return address == p.Address })
		v.pods = append(v.pods, topPod{pod{
			Address: p.Address, Channel: p.Channel, Connections: p.Info.Connections, Version: p.Info.Version, Started: p.Info.Started,
			HeartbeatAge: p.Age.Milliseconds(), Draining: p.Info.Draining, State: p.State(v.lease),
		}, b.rate})
	}
	v.beats = beats
	v.sort()
}

// next is the beat that a pod is known by after this one.
func (b beat) next(p presence.Pod) beat {
	if p.Beat == b.at && p.Info.Started == b.started {
		return b
	}
	n := beat{at: p.Beat, started: p.Info.Started, connections: p.Info.Connections}
	if b.at != 0 && n.at > b.at && n.started == b.started {
		rate := float64(n.connections-b.connections) / (float64(n.at-b.at) / 1000)
		n.rate = &rate
	}
	return n
}

func (v *topView) takeLocal(looks []localLook) {
	before := map[string]scrape{}
	v.local = v.local[:0]
	known := func(value float64, is bool) *float64 {
		if !is {
			return nil
		}
		return &value
	}
	for _, l := range looks {
		if l.err != nil {
			if !l.quiet {
				v.local = append(v.local, topLocal{Admin: l.admin, Error: l.err.Error()})
			}
			continue
		}
		was := v.before[l.admin]
		before[l.admin] = l.scrape
		p50, any50 := l.scrape.quantile(0.5, was)
		p99, any99 := l.scrape.quantile(0.99, was)
		v.local = append(v.local, topLocal{
			Admin: l.admin, Deliveries: known(l.scrape.since(was)), P50: known(p50*1000, any50), P99: known(p99*1000, any99),
		})
	}
	v.before = before
}

// nextOrder sorts the pods by something else.
func (v *topView) nextOrder() {
	orders := topOrders()
	v.order = orders[(slices.Index(orders, v.order)+1)%len(orders)]
	v.sort()
}

// sort puts first what is looked for: many connections, old heartbeats, pods in trouble.
func (v *topView) sort() {
	slices.SortFunc(v.pods, func(a, b topPod) int {
		first := 0
		switch v.order {
		case "connections":
			first = cmp.Compare(b.Connections, a.Connections)
		case "heartbeat":
			first = cmp.Compare(age(b.pod), age(a.pod))
		case "state":
			states := []string{"conflict", "dead", "draining", "alive"}
			first = cmp.Compare(slices.Index(states, a.State), slices.Index(states, b.State))
		}
		return cmp.Or(first, strings.Compare(a.Channel, b.Channel))
	})
}

// age of a pod's heartbeat in ms; one without any is the oldest.
func age(p pod) int64 {
	if p.HeartbeatAge == 0 && p.State == "dead" {
		return 1 << 62
	}
	return p.HeartbeatAge
}

// lines are the frame, without line ends: in height lines where that is above 0, of width
// columns where that is.
func (v *topView) lines(now time.Time, width, height int) []string {
	cut := func(c colour, text string) string {
		if runes := []rune(text); width > 0 && len(runes) > width {
			text = string(runes[:width])
		}
		return v.colours.paint(c, text)
	}
	lines := []string{cut(bold, v.summary(now))}
	for _, l := range v.local {
		lines = append(lines, cut(plain, l.text()))
	}
	for _, address := range v.missing {
		lines = append(lines, cut(yellow, "there is no pod "+shown(address)))
	}
	switch {
	case v.err != nil && v.looked:
		lines = append(lines, cut(red, "what follows is old: "+inLine(v.err.Error())))
	case v.err != nil:
		lines = append(lines, cut(red, inLine(v.err.Error())))
	}
	lines = append(lines, "")
	table, colours := v.table(width)
	room := len(table)
	if height > 0 {
		room = max(height-len(lines)-2, 1) // two for the foot
	}
	for i, line := range table[:min(room, len(table))] {
		lines = append(lines, cut(colours[i], line))
	}
	if height > 0 {
		foot := fmt.Sprintf("q quits, s sorts (by %s)", v.order)
		if more := len(table) - room; more > 0 {
			foot += fmt.Sprintf(", %s do not fit", many(more, "more pod"))
		}
		lines = append(lines, "", cut(faint, foot))
		lines = lines[:min(len(lines), height)]
	}
	return lines
}

func (v *topView) summary(now time.Time) string {
	if !v.looked {
		return "pushpod top, " + now.UTC().Format(time.TimeOnly) + "Z"
	}
	connections, states := 0, map[string]int{}
	for _, p := range v.pods {
		if states[p.State]++; p.State != "dead" {
			connections += p.Connections
		}
	}
	text := fmt.Sprintf("pushpod top, %sZ: %s, %s", now.UTC().Format(time.TimeOnly), many(connections, "connection"), many(len(v.pods)-states["dead"], "pod"))
	for _, state := range []string{"draining", "conflict", "dead"} {
		if n := states[state]; n > 0 {
			text += fmt.Sprintf(", %d %s", n, map[string]string{"draining": "draining", "conflict": "in conflict", "dead": "dead"}[state])
		}
	}
	return text
}

// table returns the head and a line for each pod, with the colour of each. Where width is
// above 0 and less than they need, columns are left out: STATE is the last that is cut off.
func (v *topView) table(width int) (lines []string, of []colour) {
	of = []colour{bold}
	rows := [][]string{{"POD", "CONNECTIONS", "A SECOND", "HEARTBEAT", "VERSION", "STARTED", "STATE"}}
	for _, p := range v.pods {
		heartbeat := "-"
		if age(p.pod) != 1<<62 {
			heartbeat = (time.Duration(p.HeartbeatAge) * time.Millisecond).Round(100 * time.Millisecond).String()
		}
		rows = append(rows, []string{
			shown(podName(p.Address, p.Channel)), strconv.Itoa(p.Connections), number(p.Rate, "%+.1f"), heartbeat, shown(p.Version), instant(p.Started), p.State,
		})
		of = append(of, stateColour(p.State))
	}
	for {
		var b bytes.Buffer
		_ = writeTable(&b, rows[0], rows[1:]) // a buffer takes all
		lines = strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		columns := len(rows[0])
		if width <= 0 || columns == 2 || !slices.ContainsFunc(lines, func(l string) bool { return utf8.RuneCountInString(l) > width }) {
			return lines, of
		}
		// STARTED is left out first, then VERSION and so on to the left, up to POD.
		gone := max(columns-2, 1)
		for i := range rows {
			rows[i] = slices.Delete(rows[i], gone, gone+1)
		}
	}
}

func (l topLocal) text() string {
	if l.Error != "" {
		return fmt.Sprintf("admin %s: %s", shown(l.Admin), inLine(l.Error))
	}
	return fmt.Sprintf("admin %s: %s deliveries/s, p50 %s ms, p99 %s ms from publish to write",
		shown(l.Admin), number(l.Deliveries, "%.0f"), number(l.P50, "%.2f"), number(l.P99, "%.2f"))
}

// many is a count of things.
func many(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func number(n *float64, format string) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprintf(format, *n)
}

// inLine is an error's text for one line of a terminal.
func inLine(text string) string { return shown(strings.ReplaceAll(text, "\n", "; ")) }
