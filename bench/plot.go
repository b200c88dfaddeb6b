package main

import (
	"fmt"
	"html"
	"io"
	"math"
)

// plot draws every ratio that has a target, as a bar on a logarithmic scale
// that begins at 1: to the right this library is ahead. For memory and latency the ratio
// is turned over, so that right is better there, too.
func (r *report) plot(w io.Writer) {
	const (
		left, right, top, bar, gap = 400, 60, 64, 14, 6
		width                      = 960
		least, most                = 0.4, 16.0
	)
	colour := map[string]string{plainC: "#57606a", goTLS: "#0969da", libp2p: "#bf8700"}
	x := func(v float64) float64 {
		v = min(max(v, least), most)
		return left + (width-left-right)*math.Log(v/least)/math.Log(most/least)
	}
	type row struct {
		name, against          string
		value, low, high, goal float64
		text                   string
	}
	var rows []row
	for _, c := range r.Cases {
		for _, q := range c.Ratios {
			if q.Target == 0 {
				continue
			}
			one := row{c.Name, q.Against, q.Median, q.Low, q.High, q.Target, fmt.Sprintf("%.2f", q.Median)}
			if c.lower {
				one.value, one.low, one.high, one.goal = 1/q.Median, 1/q.High, 1/q.Low, 1/q.Target
				one.text = fmt.Sprintf("%.2f", one.value)
			}
			rows = append(rows, one)
		}
	}
	height := top + len(rows)*(bar+gap) + 34
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">
<rect width="100%%" height="100%%" fill="#ffffff"/>
<text x="12" y="20" font-size="15" font-weight="bold">This library against its peers: CPU time saved, paired medians</text>
`, width, height, width, height)
	fmt.Fprintf(w, `<text x="12" y="38" fill="#57606a">%s, %s; GOMAXPROCS=%d. Right of 1: this library is cheaper. Black mark: target; thin line: quartiles.</text>
`, html.EscapeString(r.OpenSSL), html.EscapeString(r.Go), r.GOMAXPROCS)
	bottom := top + len(rows)*(bar+gap)
	for _, v := range []float64{0.5, 1, 2, 4, 8, 16} {
		stroke := "#d0d7de"
		if v == 1 {
			stroke = "#24292f"
		}
		fmt.Fprintf(w, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s"/><text x="%.1f" y="%d" text-anchor="middle" fill="#57606a">%g×</text>
`, x(v), top-6, x(v), bottom, stroke, x(v), bottom+16, v)
	}
	for i, q := range rows {
		y := top + i*(bar+gap)
		from, to := min(x(1), x(q.value)), max(x(1), x(q.value))
		fmt.Fprintf(w, `<text x="12" y="%d">%s</text><text x="%d" y="%d" text-anchor="end" fill="%s">vs %s</text>
`, y+bar-3, html.EscapeString(q.name), left-8, y+bar-3, colour[q.against], html.EscapeString(q.against))
		fmt.Fprintf(w, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s" opacity="0.6"/>`, from, y, to-from, bar, colour[q.against])
		fmt.Fprintf(w, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#24292f"/>`, x(q.low), y+bar/2, x(q.high), y+bar/2)
		fmt.Fprintf(w, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#000000" stroke-width="2"/>`, x(q.goal), y-2, x(q.goal), y+bar+2)
		fmt.Fprintf(w, `<text x="%.1f" y="%d">%s</text>
`, max(x(q.value), x(q.high), x(q.goal), x(1))+6, y+bar-3, q.text)
	}
	fmt.Fprintln(w, "</svg>")
}
